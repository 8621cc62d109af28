/* Recurrent steps of one row with s4 weights, for a table where calls of the products would take visibly longer. */
#ifndef RNNRT_SIMD_STEPS_S4_H
#define RNNRT_SIMD_STEPS_S4_H

#include "simd_matmul_s4.h"
#include "simd_step_row.h"

#define ROW_S4

/* All gates of a recurrent layer's block, one row of x; out: [gates][16] */
RNNRT_INLINE TARGET void s4_gates(const rnnrt_product *p, uint32_t block, int gates, const float *bias, float *out) {
    RNNRT_UNROLL
    for (int b = 0; b < gates; b += S4_BLOCKS) {
        const int blocks = gates - b < S4_BLOCKS ? gates - b : S4_BLOCKS;
        s4_tile(p, 0, block + (uint32_t)b, blocks, 1, target_of(bias, block + (uint32_t)b, block, out, 0));
    }
}

static RNNRT_NOINLINE TARGET void gru_row_s4(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    step_row(s, block0, block1, 3, s4_gates, s4_gates, 0, s->backward);
}

static RNNRT_NOINLINE TARGET void lstm_row_s4(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    step_row(s, block0, block1, 4, s4_gates, s4_gates, 0, s->backward);
}

#endif
