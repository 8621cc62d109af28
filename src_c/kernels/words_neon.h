/* The vector words of simd_math.h in AArch64 NEON, for every ISA that differs only in its integer products. */
#ifndef RNNRT_WORDS_NEON_H
#define RNNRT_WORDS_NEON_H

#include <arm_neon.h>
#include <string.h>

#define LANES 4

/* 32 registers. f32: 2 blocks * 4 vectors * (even, odd) = 16 sums for one row of x, 4 vectors * 2 rows * 2 = 16 for many.
 * s8: 2 blocks * 4 vectors = 8 sums, 16 with two rows. */
#define F32_BLOCKS 2
#define F32_BLOCKS_MANY 1
#define F32_ROWS 2
#define S8_BLOCKS 2
#define S8_BLOCKS_MANY 2
#define S8_ROWS 2
#define S4_BLOCKS 2
#define S4_BLOCKS_MANY 1
#define S4_ROWS 2
#define S8_SUMS 8

typedef float32x4_t vf;
typedef int32x4_t vi;
typedef uint32x4_t vm;

RNNRT_INLINE TARGET vf vf_set(float s) { return vdupq_n_f32(s); }

RNNRT_INLINE TARGET vi vi_set(int32_t s) { return vdupq_n_s32(s); }

RNNRT_INLINE TARGET vf vf_load(const float *p) { return vld1q_f32(p); }

RNNRT_INLINE TARGET void vf_store(float *p, vf v) { vst1q_f32(p, v); }

RNNRT_INLINE TARGET vf vf_load_n(const float *p, size_t n, float fill) {
    float lane[LANES];
    for (size_t l = 0; l < LANES; l++) { lane[l] = l < n ? p[l] : fill; }
    return vf_load(lane);
}

RNNRT_INLINE TARGET void vf_store_n(float *p, vf v, size_t n) {
    float lane[LANES];
    vf_store(lane, v);
    for (size_t l = 0; l < LANES; l++) {
        if (l < n) { p[l] = lane[l]; }
    }
}

RNNRT_INLINE TARGET vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }

RNNRT_INLINE TARGET vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }

RNNRT_INLINE TARGET vf vf_mul(vf a, vf b) {
    vf product = vmulq_f32(a, b);
    RNNRT_PRODUCT(product);
    return product;
}

RNNRT_INLINE TARGET vf vf_div(vf a, vf b) { return vdivq_f32(a, b); }

RNNRT_INLINE TARGET vf vf_sqrt(vf a) { return vsqrtq_f32(a); }

/* Not FMIN and FMAX, which order zeros and return NaN for either operand. */
RNNRT_INLINE TARGET vf vf_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }

RNNRT_INLINE TARGET vf vf_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }

RNNRT_INLINE TARGET vm vf_lt(vf a, vf b) { return vcltq_f32(a, b); }

RNNRT_INLINE TARGET vm vf_eq(vf a, vf b) { return vceqq_f32(a, b); }

RNNRT_INLINE TARGET vf vf_select(vm m, vf a, vf b) { return vbslq_f32(m, a, b); }

RNNRT_INLINE TARGET vi vf_bits(vf v) { return vreinterpretq_s32_f32(v); }

RNNRT_INLINE TARGET vf vi_floats(vi v) { return vreinterpretq_f32_s32(v); }

RNNRT_INLINE TARGET vf vf_from(vi v) { return vcvtq_f32_s32(v); }

RNNRT_INLINE TARGET vi vi_add(vi a, vi b) { return vaddq_s32(a, b); }

RNNRT_INLINE TARGET vi vi_sub(vi a, vi b) { return vsubq_s32(a, b); }

RNNRT_INLINE TARGET vi vi_and(vi a, vi b) { return vandq_s32(a, b); }

RNNRT_INLINE TARGET vi vi_or(vi a, vi b) { return vorrq_s32(a, b); }

RNNRT_INLINE TARGET vi vi_max(vi a, vi b) { return vmaxq_s32(a, b); }

RNNRT_INLINE TARGET vi vi_shl23(vi v) { return vshlq_n_s32(v, 23); }

RNNRT_INLINE TARGET vi vi_shr23(vi v) { return vshrq_n_s32(v, 23); }

RNNRT_INLINE TARGET void vi_store(int32_t *p, vi v) { vst1q_s32(p, v); }

RNNRT_INLINE TARGET void vi_store_s8(int8_t *p, vi v) {
    const int16x4_t words = vmovn_s32(v);
    const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
    const int32_t four = vget_lane_s32(vreinterpret_s32_s8(bytes), 0);
    memcpy(p, &four, sizeof four);
}

RNNRT_INLINE TARGET vf vf_load_f16(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }

/* acc[l] + step[l] * sum[l] */
RNNRT_INLINE TARGET vi vi_add_steps(vi acc, vi sum, const int8_t *step) {
    int32_t four;
    memcpy(&four, step, sizeof four);
    return vmlaq_s32(acc, sum, vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8((uint32_t)four)))));
}

typedef int8x16_t vx;

RNNRT_INLINE TARGET vx vx_set(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

RNNRT_INLINE TARGET vi vi_start(const int32_t *row_sum) {
    (void)row_sum;
    return vdupq_n_s32(0);
}

#endif
