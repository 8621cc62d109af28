/* AArch64 NEON: 4 lanes; every AArch64 CPU has it. */
#include "float_exact.h"

#include "compiler.h"
#include "tables.h"

#if defined(RNNRT_ARCH_AARCH64)

#define TARGET
#define KERNEL(name) name##_neon

#include "words_neon.h"

/* Products |w * x| <= 127 * 127; sums of two 32258 < 2^15. */
RNNRT_INLINE TARGET vi vi_dot4(vi acc, const int8_t *w, vx x) {
    const int8x16_t rows = vld1q_s8(w);
    const int16x8_t rows01 = vmull_s8(vget_low_s8(rows), vget_low_s8(x));
    const int16x8_t rows23 = vmull_high_s8(rows, x);
    return vpadalq_s16(acc, vpaddq_s16(rows01, rows23));
}

/* 16-bit sums a row and column k of each four; k = 0 with the start. */
typedef struct v4 {
    int16x8_t rows01, rows23;
} v4;

RNNRT_INLINE TARGET v4 v4_start(int32_t s) {
    const int16x8_t row = vreinterpretq_s16_s64(vdupq_n_s64(s & 0xFFFF));
    const v4 sum = {row, row};
    return sum;
}

RNNRT_INLINE TARGET v4 v4_dot8(v4 sum, const uint8_t *w, const int8_t *q) {
    const uint8x16_t two = vld1q_u8(w);
    const int8x16_t low = vreinterpretq_s8_u8(vandq_u8(two, vdupq_n_u8(15)));
    const int8x16_t high = vreinterpretq_s8_u8(vshrq_n_u8(two, 4));
    const int8x16_t q0 = vx_set(q), q1 = vx_set(q + 4);
    sum.rows01 = vmlal_s8(sum.rows01, vget_low_s8(low), vget_low_s8(q0));
    sum.rows23 = vmlal_high_s8(sum.rows23, low, q0);
    sum.rows01 = vmlal_s8(sum.rows01, vget_low_s8(high), vget_low_s8(q1));
    sum.rows23 = vmlal_high_s8(sum.rows23, high, q1);
    return sum;
}

RNNRT_INLINE TARGET vi v4_end(vi acc, v4 sum, const int8_t *step) {
    return vi_add_steps(acc, vpaddlq_s16(vpaddq_s16(sum.rows01, sum.rows23)), step);
}

#include "simd_elementwise.h"
#include "simd_matmul_float.h"
#include "simd_matmul_s8.h"
#include "simd_matmul_s4.h"
#include "simd_reduce.h"
#include "simd_cells.h"
#include "simd_steps_f32.h"
#include "simd_steps.h"
#include "simd_reset.h"
#include "simd_table.h"

const rnnrt_kernels rnnrt_kernels_neon = RNNRT_TABLE("neon");

#endif
