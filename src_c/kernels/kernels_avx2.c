/* AVX2: 8 lanes. */
#include "float_exact.h"

#include "compiler.h"
#include "tables.h"

#if defined(RNNRT_ARCH_X86)

#include <immintrin.h>
#include <string.h>

#define LANES 8
#define TARGET __attribute__((target("avx2,f16c")))
#define KERNEL(name) name##_avx2

/* f32, one row: 2 blocks * 2 vectors * (even, odd) = 8 sums in flight cover the 3-4 cycles of an addition.
 * Many rows: 2 vectors * 2 rows * (even, odd) = 8; s8: 8 sums, 2 rows as (x, |x|), the ones and two temporaries: 15. */
#define F32_BLOCKS 2
#define F32_BLOCKS_MANY 1
#define F32_ROWS 2
#define S8_BLOCKS 4
#define S8_BLOCKS_MANY 2
#define S8_ROWS 2
#define S4_BLOCKS 2
#define S4_BLOCKS_MANY 1
#define S4_ROWS 2
#define S8_SUMS 8

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

typedef struct vx {
    __m256i x, magnitude;
} vx;

RNNRT_INLINE TARGET vx vx_set(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, sizeof four);
    const __m256i x = _mm256_set1_epi32(four);
    const vx y = {x, _mm256_abs_epi8(x)};
    return y;
}

/* w * x = (w with the sign of x) * |x|. Pairs: 2 * 127 * 127 = 32258 < 2^15, so that maddubs never saturates. */
RNNRT_INLINE TARGET vi vi_dot4(vi acc, const int8_t *w, vx x) {
    const __m256i signed_w = _mm256_sign_epi8(_mm256_loadu_si256((const __m256i *)(const void *)w), x.x);
    const __m256i pairs = _mm256_maddubs_epi16(x.magnitude, signed_w);
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

RNNRT_INLINE TARGET vi vi_start(const int32_t *row_sum) {
    (void)row_sum;
    return _mm256_setzero_si256();
}

/* VCVTPH2PS takes subnormal halves as they are, whatever MXCSR says. */
RNNRT_INLINE TARGET vf vf_load_f16(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* Two 16-bit sums a row, over columns k = 0, 1 (with the start) and 2, 3 of each four. */
typedef __m256i v4;

RNNRT_INLINE TARGET v4 v4_start(int32_t s) { return _mm256_set1_epi32(s & 0xFFFF); }

/* Unsigned nibbles times signed q: pairs of at most 2 * 15 * 127 never saturate. */
RNNRT_INLINE TARGET v4 v4_dot8(v4 sum, const uint8_t *w, const int8_t *q) {
    int32_t four[2];
    memcpy(four, q, sizeof four);
    const __m256i two = _mm256_loadu_si256((const __m256i *)(const void *)w);
    const __m256i low = _mm256_and_si256(two, _mm256_set1_epi8(15));
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(two, 4), _mm256_set1_epi8(15));
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(low, _mm256_set1_epi32(four[0])));
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(high, _mm256_set1_epi32(four[1])));
}

RNNRT_INLINE TARGET vi v4_end(vi acc, v4 sum, const int8_t *step) {
    const __m256i steps = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)step));
    return _mm256_add_epi32(acc, _mm256_mullo_epi32(_mm256_madd_epi16(sum, _mm256_set1_epi16(1)), steps));
}

#include "simd_elementwise.h"
#include "simd_matmul.h"
#include "simd_matmul_f16.h"
#include "simd_matmul_s4.h"
#include "simd_reduce.h"
#include "simd_cells.h"
#include "simd_table.h"

const rnnrt_kernels rnnrt_kernels_avx2 = RNNRT_TABLE("avx2");

#endif
