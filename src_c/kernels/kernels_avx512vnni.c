/* AVX-512 (F, DQ, BW, VL) with VNNI: 16 lanes, one vector per row block. */
#include "float_exact.h"

#include "compiler.h"
#include "tables.h"

#if defined(RNNRT_ARCH_X86)

#include <immintrin.h>
#include <string.h>

#define LANES 16
#define TARGET __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512vnni,f16c")))
#define KERNEL(name) name##_avx512vnni

/* f32: 4 blocks * (even, odd) = 8 sums in flight for one row of x; 3 blocks * 4 rows * (even, odd) = 24 registers for many. */
#define F32_BLOCKS 4
#define F32_BLOCKS_MANY 3
#define F32_ROWS 4
#define S8_BLOCKS 4
#define S8_BLOCKS_MANY 2
#define S8_ROWS 4
#define S8_GATE_TILES
#define S4_BLOCKS 1
#define S4_BLOCKS_MANY 2
#define S4_ROWS 4
#define S4_RUN_BYTES (2u << 20)
#define S8_SUMS 8
#define FETCH_LINES 8
#define STREAM_BYTES (4u << 20)
#define AHEAD_BLOCKS 2
#define AHEAD_ROWS 8

typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

RNNRT_INLINE TARGET vf vf_set(float s) { return _mm512_set1_ps(s); }

RNNRT_INLINE TARGET vi vi_set(int32_t s) { return _mm512_set1_epi32(s); }

RNNRT_INLINE TARGET vf vf_load(const float *p) { return _mm512_loadu_ps(p); }

RNNRT_INLINE TARGET void vf_store(float *p, vf v) { _mm512_storeu_ps(p, v); }

/* Masked lanes are not touched: no fault beyond the end. */
RNNRT_INLINE TARGET __mmask16 first(size_t n) { return (__mmask16)((1u << n) - 1u); }

RNNRT_INLINE TARGET vf vf_load_n(const float *p, size_t n, float fill) {
    return _mm512_mask_loadu_ps(vf_set(fill), first(n), p);
}

RNNRT_INLINE TARGET void vf_store_n(float *p, vf v, size_t n) { _mm512_mask_storeu_ps(p, first(n), v); }

RNNRT_INLINE TARGET vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }

RNNRT_INLINE TARGET vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }

RNNRT_INLINE TARGET vf vf_mul(vf a, vf b) {
    vf product = _mm512_mul_ps(a, b);
    RNNRT_PRODUCT(product);
    return product;
}

/* VBROADCASTSS takes the place of a multiplication or addition; in the multiplication's memory operand it costs nothing. gcc takes
 * it apart where two multiplications share it. */
#define VF_TIMES vf_times
RNNRT_INLINE TARGET vf vf_times(vf w, const float *x) {
    vf product;
    __asm__("vmulps %2%{1to16%}, %1, %0" : "=v"(product) : "v"(w), "m"(*x));
    return product;
}

RNNRT_INLINE TARGET vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }

RNNRT_INLINE TARGET vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }

/* MINPS and MAXPS are exactly the comparisons: the second operand where one is NaN or both are zero. */
RNNRT_INLINE TARGET vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }

RNNRT_INLINE TARGET vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }

RNNRT_INLINE TARGET vm vf_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }

RNNRT_INLINE TARGET vm vf_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }

RNNRT_INLINE TARGET vf vf_select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }

RNNRT_INLINE TARGET vi vf_bits(vf v) { return _mm512_castps_si512(v); }

RNNRT_INLINE TARGET vf vi_floats(vi v) { return _mm512_castsi512_ps(v); }

RNNRT_INLINE TARGET vf vf_from(vi v) { return _mm512_cvtepi32_ps(v); }

RNNRT_INLINE TARGET vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }

RNNRT_INLINE TARGET vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }

RNNRT_INLINE TARGET vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }

RNNRT_INLINE TARGET vi vi_or(vi a, vi b) { return _mm512_or_si512(a, b); }

RNNRT_INLINE TARGET vi vi_max(vi a, vi b) { return _mm512_max_epi32(a, b); }

RNNRT_INLINE TARGET vi vi_shl23(vi v) { return _mm512_slli_epi32(v, 23); }

RNNRT_INLINE TARGET vi vi_shr23(vi v) { return _mm512_srai_epi32(v, 23); }

RNNRT_INLINE TARGET void vi_store(int32_t *p, vi v) { _mm512_storeu_si512(p, v); }

RNNRT_INLINE TARGET void vi_store_s8(int8_t *p, vi v) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(v));
}

/* Rounding and scaling in one instruction each, for any exponent: no clamps. VREDUCEPS is v - round(v), 0 for inf. */
#define GATE_UNIT 1.0f
typedef struct gate_parts {
    vf n, f;
} gate_parts;

RNNRT_INLINE TARGET gate_parts gate_split(vf u) {
    const gate_parts e = {_mm512_roundscale_ps(u, 0), _mm512_reduce_ps(u, 0)};
    return e;
}

RNNRT_INLINE TARGET vf gate_scale(vf v, gate_parts e) { return _mm512_scalef_ps(v, e.n); }

/* VPDPBUSD multiplies unsigned by signed: the activations are passed as x + 128, within [1, 255]. */
typedef __m512i vx;

RNNRT_INLINE TARGET vx vx_set(const int8_t *q) {
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm512_xor_si512(_mm512_set1_epi32(four), _mm512_set1_epi32((int32_t)0x80808080u));
}

/* Around the intrinsic gcc 12 moves a tile's sums from register to register. */
RNNRT_INLINE TARGET vi vi_dot4(vi acc, const int8_t *w, vx x) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "m"(*(const __m512i_u *)(const void *)w));
    return acc;
}

/* The weights are loaded once for all rows. */
#define VI_DOT4_ROWS vi_dot4_rows
RNNRT_INLINE TARGET vi vi_dot4_rows(vi acc, const int8_t *w, vx x) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(_mm512_loadu_si512(w)));
    return acc;
}

/* -128 * row_sum takes the 128 back; |128 * row_sum| <= 128 * 127 * RNNRT_MAX_COLS < 2^31. */
RNNRT_INLINE TARGET vi vi_start(const int32_t *row_sum) {
    return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(_mm512_loadu_si512(row_sum), 7));
}

/* VCVTPH2PS takes subnormal halves as they are, whatever MXCSR says. Twice 8, since 16 take longer on Zen 4. */
RNNRT_INLINE TARGET vf vf_load_f16(const uint16_t *p) {
    const __m256 low = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
    const __m256 high = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + 8)));
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
}

/* The high nibbles are multiplied where they lie, 16 times too large: at most 16 * 16 * 15 * 127. */
typedef struct v4 {
    __m512i low, high;
} v4;

RNNRT_INLINE TARGET v4 v4_start(int32_t s) {
    const v4 sum = {_mm512_set1_epi32(s), _mm512_setzero_si512()};
    return sum;
}

typedef int32_t four_bytes __attribute__((may_alias, aligned(1)));

/* Four activations reach all lanes in the multiplication's memory operand. */
RNNRT_INLINE TARGET v4 v4_nibbles(v4 sum, vi two, const int8_t *q) {
    const four_bytes *four = (const four_bytes *)(const void *)q;
    const vi mask = _mm512_set1_epi8(15);
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum.low) : "v"(_mm512_and_si512(two, mask)), "m"(four[0]));
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum.high) : "v"(_mm512_andnot_si512(mask, two)), "m"(four[1]));
    return sum;
}

/* gcc 12 would load a vector of weights twice for its two halves: they are hidden from it after the load. */
RNNRT_INLINE TARGET v4 v4_dot8(v4 sum, const uint8_t *w, const int8_t *q) {
    vi two = _mm512_loadu_si512(w);
    __asm__("" : "+v"(two));
    return v4_nibbles(sum, two, q);
}

/* The loads stay in order, which L3 is fastest at. */
#define V4_DOT8_ALONE v4_dot8_alone
RNNRT_INLINE TARGET v4 v4_dot8_alone(v4 sum, const uint8_t *w, const int8_t *q) {
    vi two;
    __asm__ volatile("vmovdqu64 %1, %0" : "=v"(two) : "m"(*(const __m512i_u *)(const void *)w));
    return v4_nibbles(sum, two, q);
}

/* VPDPWSSD multiplies the 16-bit halves of each lane: the sum fits the lower one, its upper one is cleared while adding. */
RNNRT_INLINE TARGET vi v4_end(vi acc, v4 sum, const int8_t *step) {
    const __m512i steps = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)step));
    const __m512i whole = _mm512_maskz_add_epi16(0x55555555u, sum.low, _mm512_srai_epi32(sum.high, 4));
    return _mm512_dpwssd_epi32(acc, whole, steps);
}

#include "simd_elementwise.h"
#include "simd_matmul_float.h"
#include "simd_matmul_s8.h"
#include "simd_matmul_s4.h"
#include "simd_reduce.h"
#include "simd_cells.h"
#include "simd_steps_f32.h"
#include "simd_steps_s4.h"
#include "simd_ahead.h"
#include "simd_steps.h"
#include "simd_reset.h"
#include "simd_table.h"

const rnnrt_kernels rnnrt_kernels_avx512vnni = RNNRT_TABLE("avx512vnni");

#endif
