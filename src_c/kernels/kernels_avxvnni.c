/* AVX2 with VNNI in its VEX encoding (Alder Lake and later, Zen 5): 8 lanes. */
#include "float_exact.h"

#include "compiler.h"
#include "shared_avx2.h"
#include "tables.h"

#if defined(RNNRT_HAS_AVXVNNI)

#define TARGET __attribute__((target("avx2,f16c,avxvnni")))
#define KERNEL(name) name##_avxvnni
#define SHARED(name) rnnrt_##name##_avx2

#include "words_avx2.h"

/* One row of x: 4 blocks * 2 vectors = 8 sums cover the 4-5 cycles of VPDPBUSD; 2 blocks * 2 vectors * 2 rows = 8 for many. */
#define S8_BLOCKS 4
#define S8_BLOCKS_MANY 2
#define S8_ROWS 2
#define S4_BLOCKS 2
#define S4_BLOCKS_MANY 1
#define S4_ROWS 2
#define S8_SUMS 8

/* VPDPBUSD multiplies unsigned by signed: the activations are passed as x + 128, within [1, 255]. */
typedef __m256i vx;

RNNRT_INLINE TARGET vx vx_set(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm256_xor_si256(_mm256_set1_epi32(four), _mm256_set1_epi32((int32_t)0x80808080u));
}

RNNRT_INLINE TARGET vi vi_dot4(vi acc, const int8_t *w, vx x) {
    return _mm256_dpbusd_avx_epi32(acc, x, _mm256_loadu_si256((const __m256i *)(const void *)w));
}

/* -128 * row_sum takes the 128 back; |128 * row_sum| <= 128 * 127 * RNNRT_MAX_COLS < 2^31. */
RNNRT_INLINE TARGET vi vi_start(const int32_t *row_sum) {
    const __m256i sums = _mm256_loadu_si256((const __m256i *)(const void *)row_sum);
    return _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(sums, 7));
}

/* The high nibbles are multiplied where they lie, 16 times too large: at most 16 * 16 * 15 * 127. */
typedef struct v4 {
    __m256i low, high;
} v4;

RNNRT_INLINE TARGET v4 v4_start(int32_t s) {
    const v4 sum = {_mm256_set1_epi32(s), _mm256_setzero_si256()};
    return sum;
}

RNNRT_INLINE TARGET v4 v4_dot8(v4 sum, const uint8_t *w, const int8_t *q) {
    int32_t four[2];
    memcpy(four, q, sizeof four);
    const __m256i two = _mm256_loadu_si256((const __m256i *)(const void *)w), mask = _mm256_set1_epi8(15);
    sum.low = _mm256_dpbusd_avx_epi32(sum.low, _mm256_and_si256(two, mask), _mm256_set1_epi32(four[0]));
    sum.high = _mm256_dpbusd_avx_epi32(sum.high, _mm256_andnot_si256(mask, two), _mm256_set1_epi32(four[1]));
    return sum;
}

/* VPDPWSSD multiplies the 16-bit halves of each lane: the sum fits the lower one, the step's upper one is cleared. */
RNNRT_INLINE TARGET vi v4_end(vi acc, v4 sum, const int8_t *step) {
    const __m256i steps = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)step));
    const __m256i whole = _mm256_add_epi32(sum.low, _mm256_srai_epi32(sum.high, 4));
    return _mm256_dpwssd_avx_epi32(acc, whole, _mm256_and_si256(steps, _mm256_set1_epi32(0xFFFF)));
}

#include "simd_matmul_s8.h"
#include "simd_matmul_s4.h"
#include "simd_steps.h"
#include "simd_reset.h"
#include "simd_table.h"

const rnnrt_kernels rnnrt_kernels_avxvnni = RNNRT_TABLE("avxvnni");

#endif
