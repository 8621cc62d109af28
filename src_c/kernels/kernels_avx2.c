/* AVX2: 8 lanes. */
#include "float_exact.h"

#include "compiler.h"
#include "tables.h"

#if defined(RNNRT_ARCH_X86)

#define TARGET __attribute__((target("avx2,f16c")))
#define KERNEL(name) name##_avx2

#include "words_avx2.h"

/* 8 sums, 2 rows as (x, |x|), the ones and two temporaries: 15 registers. */
#define S8_BLOCKS 4
#define S8_BLOCKS_MANY 2
#define S8_ROWS 2
#define S4_BLOCKS 2
#define S4_BLOCKS_MANY 1
#define S4_ROWS 2
#define S8_SUMS 8

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
#include "simd_matmul_float.h"
#include "simd_matmul_s4.h"
#include "simd_reduce.h"
#include "simd_cells.h"
#include "simd_reset.h"
#include "simd_table.h"

const rnnrt_kernels rnnrt_kernels_avx2 = RNNRT_TABLE("avx2");

#endif
