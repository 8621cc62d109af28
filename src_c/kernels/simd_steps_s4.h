/* Recurrent steps of one row with s4 weights, for a table where calls of the products would take visibly longer. The table defines
 *   S4_RUN_BYTES   the weights of a layer from which on one run of memory after the other is faster than all gates side by side */
#ifndef RNNRT_SIMD_STEPS_S4_H
#define RNNRT_SIMD_STEPS_S4_H

#include "simd_matmul_s4.h"
#include "simd_step_row.h"

#define ROW_S4

/* All gates of a recurrent layer's block, one row of x; out: [gates][16] */
RNNRT_INLINE TARGET void s4_gates(const rnnrt_product *p, uint32_t block, int gates, const float *bias, float *out) {
    s4_tile(p, 0, block, gates, 1, target_of(bias, block, block, out, 0));
}

static RNNRT_NOINLINE TARGET void gru_row_s4(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    step_row(s, block0, block1, 3, s4_gates, s4_gates, 0);
}

static RNNRT_NOINLINE TARGET void lstm_row_s4(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    step_row(s, block0, block1, 4, s4_gates, s4_gates, 0);
}

/* Of one row: are its weights s4, and less than S4_RUN_BYTES? */
RNNRT_INLINE TARGET int s4_is_near(const rnnrt_recurrent_step *s, uint32_t gates) {
    const rnnrt_matrix *r = s->r.m, *w = s->w.m ? s->w.m : r;
    const size_t cols = (size_t)r->cols + (s->w.m ? w->cols : 0);
    return RNNRT_HAS_WEIGHTS(RNNRT_S4) && r->w4 && w->w4 && cols * s->units * gates / 2 < S4_RUN_BYTES;
}

#endif
