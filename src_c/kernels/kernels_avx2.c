/* AVX2: 8 lanes. */
#include "float_exact.h"

#include "compiler.h"
#include "shared_avx2.h"
#include "tables.h"

#if defined(RNNRT_ARCH_X86)

#define TARGET __attribute__((target("avx2,f16c")))
#define KERNEL(name) rnnrt_##name##_avx2
#define LINKAGE /* the functions of shared_avx2.h */

#include "words_avx2.h"

/* 8 sums, 2 rows as (x, |x|), the ones and two temporaries: 15 registers. */
#define S8_BLOCKS 4
#define S8_BLOCKS_MANY 2
#define S8_ROWS 2
#define S4_BLOCKS 2
#define S4_BLOCKS_MANY 1
#define S4_ROWS 2
#define S8_SUMS 8

/* |x|, and all ones where x is negative. */
typedef struct vx {
    __m256i magnitude, negative;
} vx;

RNNRT_INLINE TARGET vx vx_set(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, sizeof four);
    const __m256i x = _mm256_set1_epi32(four);
    const vx y = {_mm256_abs_epi8(x), _mm256_cmpgt_epi8(_mm256_setzero_si256(), x)};
    return y;
}

/* w * x = -w * |x| where x is negative, and -w = ~w + 1: ~w * |x| leaves |x| out, in every row. PSIGNB would give -w, but on
 * the two units that PMADDUBSW and PMADDWD keep busy. Pairs: 2 * 128 * 127 = 32512 < 2^15, so that PMADDUBSW never saturates.
 * Around the addition's intrinsic gcc 12 keeps half of a tile's sums in memory. */
RNNRT_INLINE TARGET vi vi_dot4(vi acc, const int8_t *w, vx x) {
    const __m256i signed_w = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(const void *)w), x.negative);
    const __m256i pairs = _mm256_maddubs_epi16(x.magnitude, signed_w);
    const __m256i four = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    __asm__("vpaddd %1, %0, %0" : "+x"(acc) : "x"(four));
    return acc;
}

/* The sum of |x| over negative x. */
#define S8_LEFT_OUT left_out
RNNRT_INLINE TARGET int32_t left_out(const int8_t *q, uint32_t n) {
    const __m128i zero = _mm_setzero_si128();
    __m128i sums = zero;
    uint32_t c = 0;
    for (; c + 16 <= n; c += 16) {
        const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(q + c));
        sums = _mm_add_epi32(sums, _mm_sad_epu8(_mm_max_epi8(_mm_sub_epi8(zero, x), zero), zero));
    }
    for (; c < n; c += 4) {
        int32_t four;
        memcpy(&four, q + c, sizeof four);
        const __m128i x = _mm_cvtsi32_si128(four);
        sums = _mm_add_epi32(sums, _mm_sad_epu8(_mm_max_epi8(_mm_sub_epi8(zero, x), zero), zero));
    }
    return _mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_shuffle_epi32(sums, 2)));
}

RNNRT_INLINE TARGET vi vi_start(const int32_t *row_sum) {
    (void)row_sum;
    return _mm256_setzero_si256();
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
#include "simd_matmul_float.h"
#include "simd_matmul_s8.h"
#include "simd_matmul_s4.h"
#include "simd_reduce.h"
#include "simd_cells.h"
#include "simd_steps_f32.h"
#include "simd_steps.h"
#include "simd_reset.h"
#include "simd_table.h"

const rnnrt_kernels rnnrt_kernels_avx2 = RNNRT_TABLE("avx2");

#endif
