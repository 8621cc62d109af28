/* SSE4.1 (with SSSE3, which every CPU that has it also has): 4 lanes, for x86-64 without AVX. */
#include "float_exact.h"

#include "compiler.h"
#include "tables.h"

#if defined(RNNRT_ARCH_X86)

#include <smmintrin.h>
#include <string.h>

#define LANES 4
#define STEPS_BY_CALLS /* half of the table's code otherwise, for CPUs of before 2011 */
#define TARGET __attribute__((target("sse4.1")))
#define KERNEL(name) name##_sse41

/* 16 registers. f32: 4 vectors * (even, odd) = 8 sums, for many rows of x one at a time (two would spill).
 * s8, one row: 2 blocks * 4 vectors = 8 sums; two rows: 4 vectors * 2 rows = 8, the rows as (x, |x|), the ones and two
 * temporaries: 15. */
#define F32_BLOCKS 1
#define F32_BLOCKS_MANY 1
#define F32_ROWS 1
#define S8_BLOCKS 2
#define S8_BLOCKS_MANY 1
#define S8_ROWS 2
#define S4_BLOCKS 1
#define S4_BLOCKS_MANY 1
#define S4_ROWS 1
#define S8_SUMS 8

typedef __m128 vf;
typedef __m128i vi;
typedef __m128 vm;

RNNRT_INLINE TARGET vf vf_set(float s) { return _mm_set1_ps(s); }

RNNRT_INLINE TARGET vi vi_set(int32_t s) { return _mm_set1_epi32(s); }

RNNRT_INLINE TARGET vf vf_load(const float *p) { return _mm_loadu_ps(p); }

RNNRT_INLINE TARGET void vf_store(float *p, vf v) { _mm_storeu_ps(p, v); }

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

RNNRT_INLINE TARGET vf vf_add(vf a, vf b) { return _mm_add_ps(a, b); }

RNNRT_INLINE TARGET vf vf_sub(vf a, vf b) { return _mm_sub_ps(a, b); }

RNNRT_INLINE TARGET vf vf_mul(vf a, vf b) {
    vf product = _mm_mul_ps(a, b);
    RNNRT_PRODUCT(product);
    return product;
}

RNNRT_INLINE TARGET vf vf_div(vf a, vf b) { return _mm_div_ps(a, b); }

RNNRT_INLINE TARGET vf vf_sqrt(vf a) { return _mm_sqrt_ps(a); }

/* MINPS and MAXPS are exactly the comparisons: the second operand where one is NaN or both are zero. */
RNNRT_INLINE TARGET vf vf_min(vf a, vf b) { return _mm_min_ps(a, b); }

RNNRT_INLINE TARGET vf vf_max(vf a, vf b) { return _mm_max_ps(a, b); }

RNNRT_INLINE TARGET vm vf_lt(vf a, vf b) { return _mm_cmplt_ps(a, b); }

RNNRT_INLINE TARGET vm vf_eq(vf a, vf b) { return _mm_cmpeq_ps(a, b); }

RNNRT_INLINE TARGET vf vf_select(vm m, vf a, vf b) { return _mm_blendv_ps(b, a, m); }

RNNRT_INLINE TARGET vi vf_bits(vf v) { return _mm_castps_si128(v); }

RNNRT_INLINE TARGET vf vi_floats(vi v) { return _mm_castsi128_ps(v); }

RNNRT_INLINE TARGET vf vf_from(vi v) { return _mm_cvtepi32_ps(v); }

RNNRT_INLINE TARGET vi vi_add(vi a, vi b) { return _mm_add_epi32(a, b); }

RNNRT_INLINE TARGET vi vi_sub(vi a, vi b) { return _mm_sub_epi32(a, b); }

RNNRT_INLINE TARGET vi vi_and(vi a, vi b) { return _mm_and_si128(a, b); }

RNNRT_INLINE TARGET vi vi_or(vi a, vi b) { return _mm_or_si128(a, b); }

RNNRT_INLINE TARGET vi vi_max(vi a, vi b) { return _mm_max_epi32(a, b); }

RNNRT_INLINE TARGET vi vi_shl23(vi v) { return _mm_slli_epi32(v, 23); }

RNNRT_INLINE TARGET vi vi_shr23(vi v) { return _mm_srai_epi32(v, 23); }

RNNRT_INLINE TARGET void vi_store(int32_t *p, vi v) { _mm_storeu_si128((__m128i *)(void *)p, v); }

RNNRT_INLINE TARGET void vi_store_s8(int8_t *p, vi v) {
    const __m128i words = _mm_packs_epi32(v, v);
    const int32_t four = _mm_cvtsi128_si32(_mm_packs_epi16(words, words));
    memcpy(p, &four, sizeof four);
}

typedef struct vx {
    __m128i x, magnitude;
} vx;

RNNRT_INLINE TARGET vx vx_set(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, sizeof four);
    const __m128i x = _mm_set1_epi32(four);
    const vx y = {x, _mm_abs_epi8(x)};
    return y;
}

/* w * x = (w with the sign of x) * |x|. Pairs: 2 * 127 * 127 = 32258 < 2^15, so that maddubs never saturates. */
RNNRT_INLINE TARGET vi vi_dot4(vi acc, const int8_t *w, vx x) {
    const __m128i signed_w = _mm_sign_epi8(_mm_loadu_si128((const __m128i *)(const void *)w), x.x);
    const __m128i pairs = _mm_maddubs_epi16(x.magnitude, signed_w);
    return _mm_add_epi32(acc, _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
}

RNNRT_INLINE TARGET vi vi_start(const int32_t *row_sum) {
    (void)row_sum;
    return _mm_setzero_si128();
}

/* No F16C here. A half's exponent is 112 less than a float's; a subnormal half is m * 2^-24. */
RNNRT_INLINE TARGET vf vf_load_f16(const uint16_t *p) {
    const __m128i half = _mm_cvtepu16_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
    const __m128i magnitude = _mm_and_si128(half, _mm_set1_epi32(0x7FFF));
    const __m128i sign = _mm_slli_epi32(_mm_xor_si128(half, magnitude), 16);
    const __m128i normal = _mm_add_epi32(_mm_slli_epi32(magnitude, 13), _mm_set1_epi32(112 << 23));
    const vf subnormal = _mm_mul_ps(_mm_cvtepi32_ps(magnitude), _mm_set1_ps(0x1p-24f));
    const vf small = _mm_castsi128_ps(_mm_cmplt_epi32(magnitude, _mm_set1_epi32(0x400)));
    return _mm_or_ps(_mm_blendv_ps(_mm_castsi128_ps(normal), subnormal, small), _mm_castsi128_ps(sign));
}

/* Two 16-bit sums a row, over columns k = 0, 1 (with the start) and 2, 3 of each four. */
typedef __m128i v4;

RNNRT_INLINE TARGET v4 v4_start(int32_t s) { return _mm_set1_epi32(s & 0xFFFF); }

/* Unsigned nibbles times signed q: pairs of at most 2 * 15 * 127 never saturate. */
RNNRT_INLINE TARGET v4 v4_dot8(v4 sum, const uint8_t *w, const int8_t *q) {
    int32_t four[2];
    memcpy(four, q, sizeof four);
    const __m128i two = _mm_loadu_si128((const __m128i *)(const void *)w);
    const __m128i low = _mm_and_si128(two, _mm_set1_epi8(15));
    const __m128i high = _mm_and_si128(_mm_srli_epi16(two, 4), _mm_set1_epi8(15));
    sum = _mm_add_epi16(sum, _mm_maddubs_epi16(low, _mm_set1_epi32(four[0])));
    return _mm_add_epi16(sum, _mm_maddubs_epi16(high, _mm_set1_epi32(four[1])));
}

RNNRT_INLINE TARGET vi v4_end(vi acc, v4 sum, const int8_t *step) {
    int32_t four;
    memcpy(&four, step, sizeof four);
    const __m128i steps = _mm_cvtepi8_epi32(_mm_cvtsi32_si128(four));
    return _mm_add_epi32(acc, _mm_mullo_epi32(_mm_madd_epi16(sum, _mm_set1_epi16(1)), steps));
}

#include "simd_elementwise.h"
#include "simd_matmul_float.h"
#include "simd_matmul_s8.h"
#include "simd_matmul_s4.h"
#include "simd_reduce.h"
#include "simd_cells.h"
#include "simd_steps.h"
#include "simd_reset.h"
#include "simd_table.h"

const rnnrt_kernels rnnrt_kernels_sse41 = RNNRT_TABLE("sse41");

#endif
