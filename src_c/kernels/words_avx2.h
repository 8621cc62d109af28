/* The vector words of simd_math.h in AVX2, for every ISA that differs only in its integer products. */
#ifndef RNNRT_WORDS_AVX2_H
#define RNNRT_WORDS_AVX2_H

#include <immintrin.h>
#include <string.h>

#define LANES 8

/* f32, one row: 2 blocks * 2 vectors * (even, odd) = 8 sums in flight cover the 3-4 cycles of an addition.
 * Many rows: 2 vectors * 3 rows * (even, odd) = 12, 2 for weights, one for x, one for a product. */
#define F32_BLOCKS 2
#define F32_BLOCKS_MANY 1
#define F32_ROWS 3

typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vm;

RNNRT_INLINE TARGET vf vf_set(float s) { return _mm256_set1_ps(s); }

RNNRT_INLINE TARGET vi vi_set(int32_t s) { return _mm256_set1_epi32(s); }

RNNRT_INLINE TARGET vf vf_load(const float *p) { return _mm256_loadu_ps(p); }

RNNRT_INLINE TARGET void vf_store(float *p, vf v) { _mm256_storeu_ps(p, v); }

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

RNNRT_INLINE TARGET vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }

RNNRT_INLINE TARGET vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }

RNNRT_INLINE TARGET vf vf_mul(vf a, vf b) {
    vf product = _mm256_mul_ps(a, b);
    RNNRT_PRODUCT(product);
    return product;
}

RNNRT_INLINE TARGET vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }

RNNRT_INLINE TARGET vf vf_sqrt(vf a) { return _mm256_sqrt_ps(a); }

/* MINPS and MAXPS are exactly the comparisons: the second operand where one is NaN or both are zero. */
RNNRT_INLINE TARGET vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }

RNNRT_INLINE TARGET vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }

RNNRT_INLINE TARGET vm vf_lt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }

RNNRT_INLINE TARGET vm vf_eq(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }

RNNRT_INLINE TARGET vf vf_select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }

RNNRT_INLINE TARGET vi vf_bits(vf v) { return _mm256_castps_si256(v); }

RNNRT_INLINE TARGET vf vi_floats(vi v) { return _mm256_castsi256_ps(v); }

RNNRT_INLINE TARGET vf vf_from(vi v) { return _mm256_cvtepi32_ps(v); }

RNNRT_INLINE TARGET vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }

RNNRT_INLINE TARGET vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }

RNNRT_INLINE TARGET vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }

RNNRT_INLINE TARGET vi vi_or(vi a, vi b) { return _mm256_or_si256(a, b); }

RNNRT_INLINE TARGET vi vi_max(vi a, vi b) { return _mm256_max_epi32(a, b); }

RNNRT_INLINE TARGET vi vi_shl23(vi v) { return _mm256_slli_epi32(v, 23); }

RNNRT_INLINE TARGET vi vi_shr23(vi v) { return _mm256_srai_epi32(v, 23); }

RNNRT_INLINE TARGET void vi_store(int32_t *p, vi v) { _mm256_storeu_si256((__m256i *)(void *)p, v); }

RNNRT_INLINE TARGET void vi_store_s8(int8_t *p, vi v) {
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(words, words));
}

/* VCVTPH2PS takes subnormal halves as they are, whatever MXCSR says. */
RNNRT_INLINE TARGET vf vf_load_f16(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

#endif
