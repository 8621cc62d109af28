/* The table's recurrent steps of one row with f32 weights. */
#ifndef RNNRT_SIMD_STEPS_F32_H
#define RNNRT_SIMD_STEPS_F32_H

#include "simd_matmul_float.h"
#include "simd_step_row.h"

/* All gates of a recurrent layer's block, one row of x; out: [gates][16] */
RNNRT_INLINE TARGET void f32_gates(const rnnrt_product *p, uint32_t block, int gates, const float *bias, float *out) {
    RNNRT_UNROLL
    for (int b = 0; b < gates; b += F32_BLOCKS) {
        const int blocks = gates - b < F32_BLOCKS ? gates - b : F32_BLOCKS;
        const uint32_t first = block + (uint32_t)b;
        float_tile(p, 0, 0, first, blocks, 1, 0, target_of(bias, first, block, out, 0));
    }
}

LINKAGE RNNRT_NOINLINE TARGET void KERNEL(gru_row_f32)(const rnnrt_recurrent_step *s, uint32_t block0,
                                                       uint32_t block1) {
    step_row(s, block0, block1, 3, f32_gates, f32_gates, 0);
}

LINKAGE RNNRT_NOINLINE TARGET void KERNEL(lstm_row_f32)(const rnnrt_recurrent_step *s, uint32_t block0,
                                                        uint32_t block1) {
    step_row(s, block0, block1, 4, f32_gates, f32_gates, 0);
}

#endif
