/* WebAssembly with 128-bit SIMD (every browser since 2023, Node 16): 4 lanes. A module can't ask the engine what it has, so
 * the table is there when the file is compiled for it (-msimd128). Relaxed SIMD isn't used: its results differ by CPU. */
#include "float_exact.h"

#include "compiler.h"
#include "tables.h"

#if defined(RNNRT_HAS_WASM_SIMD)

#include <string.h>
#include <wasm_simd128.h>

#define STEPS_BY_CALLS /* V8 makes worse code of the large functions otherwise: LSTM steps of 128 take 1.15 times as long */
#define LANES 4
#define TARGET
#define KERNEL(name) name##_wasm

/* As many values as 16 registers hold, which is what engines have on x86: f32 4 vectors * (even, odd) = 8 sums; s8 2 blocks
 * * 4 vectors, or 4 vectors * 2 rows of x. */
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

typedef v128_t vf;
typedef v128_t vi;
typedef v128_t vm;

RNNRT_INLINE TARGET vf vf_set(float s) { return wasm_f32x4_splat(s); }

RNNRT_INLINE TARGET vi vi_set(int32_t s) { return wasm_i32x4_splat(s); }

RNNRT_INLINE TARGET vf vf_load(const float *p) { return wasm_v128_load(p); }

RNNRT_INLINE TARGET void vf_store(float *p, vf v) { wasm_v128_store(p, v); }

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

RNNRT_INLINE TARGET vf vf_add(vf a, vf b) { return wasm_f32x4_add(a, b); }

RNNRT_INLINE TARGET vf vf_sub(vf a, vf b) { return wasm_f32x4_sub(a, b); }

RNNRT_INLINE TARGET vf vf_mul(vf a, vf b) { return wasm_f32x4_mul(a, b); }

RNNRT_INLINE TARGET vf vf_div(vf a, vf b) { return wasm_f32x4_div(a, b); }

RNNRT_INLINE TARGET vf vf_sqrt(vf a) { return wasm_f32x4_sqrt(a); }

/* pmin(b, a) is a < b ? a : b and pmax(b, a) is b < a ? a : b; f32x4.min would order zeros and spread NaN. */
RNNRT_INLINE TARGET vf vf_min(vf a, vf b) { return wasm_f32x4_pmin(b, a); }

RNNRT_INLINE TARGET vf vf_max(vf a, vf b) { return wasm_f32x4_pmax(b, a); }

RNNRT_INLINE TARGET vm vf_lt(vf a, vf b) { return wasm_f32x4_lt(a, b); }

RNNRT_INLINE TARGET vm vf_eq(vf a, vf b) { return wasm_f32x4_eq(a, b); }

RNNRT_INLINE TARGET vf vf_select(vm m, vf a, vf b) { return wasm_v128_bitselect(a, b, m); }

RNNRT_INLINE TARGET vi vf_bits(vf v) { return v; }

RNNRT_INLINE TARGET vf vi_floats(vi v) { return v; }

RNNRT_INLINE TARGET vf vf_from(vi v) { return wasm_f32x4_convert_i32x4(v); }

RNNRT_INLINE TARGET vi vi_add(vi a, vi b) { return wasm_i32x4_add(a, b); }

RNNRT_INLINE TARGET vi vi_sub(vi a, vi b) { return wasm_i32x4_sub(a, b); }

RNNRT_INLINE TARGET vi vi_and(vi a, vi b) { return wasm_v128_and(a, b); }

RNNRT_INLINE TARGET vi vi_or(vi a, vi b) { return wasm_v128_or(a, b); }

RNNRT_INLINE TARGET vi vi_max(vi a, vi b) { return wasm_i32x4_max(a, b); }

RNNRT_INLINE TARGET vi vi_shl23(vi v) { return wasm_i32x4_shl(v, 23); }

RNNRT_INLINE TARGET vi vi_shr23(vi v) { return wasm_i32x4_shr(v, 23); }

RNNRT_INLINE TARGET void vi_store(int32_t *p, vi v) { wasm_v128_store(p, v); }

RNNRT_INLINE TARGET void vi_store_s8(int8_t *p, vi v) {
    const v128_t words = wasm_i16x8_narrow_i32x4(v, v);
    wasm_v128_store32_lane(p, wasm_i8x16_narrow_i16x8(words, words), 0);
}

/* The four activations twice, as int16. */
typedef v128_t vx;

RNNRT_INLINE TARGET vx vx_set(const int8_t *q) { return wasm_i16x8_extend_low_i8x16(wasm_v128_load32_splat(q)); }

/* Rows 0, 0, 1, 1 and 2, 2, 3, 3 to one sum a row. */
RNNRT_INLINE TARGET vi vi_pairs(vi rows01, vi rows23) {
    const v128_t first = wasm_i32x4_shuffle(rows01, rows23, 0, 2, 4, 6);
    return wasm_i32x4_add(first, wasm_i32x4_shuffle(rows01, rows23, 1, 3, 5, 7));
}

/* |product| <= 127 * 127 */
RNNRT_INLINE TARGET vi vi_dot4(vi acc, const int8_t *w, vx x) {
    const v128_t rows01 = wasm_i32x4_dot_i16x8(wasm_i16x8_load8x8(w), x);
    const v128_t rows23 = wasm_i32x4_dot_i16x8(wasm_i16x8_load8x8(w + 8), x);
    return wasm_i32x4_add(acc, vi_pairs(rows01, rows23));
}

RNNRT_INLINE TARGET vi vi_start(const int32_t *row_sum) {
    (void)row_sum;
    return wasm_i32x4_splat(0);
}

/* A half's exponent is 112 less than a float's; a subnormal half is m * 2^-24. */
RNNRT_INLINE TARGET vf vf_load_f16(const uint16_t *p) {
    const v128_t half = wasm_u32x4_load16x4(p);
    const v128_t magnitude = wasm_v128_and(half, wasm_i32x4_splat(0x7FFF));
    const v128_t sign = wasm_i32x4_shl(wasm_v128_xor(half, magnitude), 16);
    const v128_t normal = wasm_i32x4_add(wasm_i32x4_shl(magnitude, 13), wasm_i32x4_splat(112 << 23));
    const v128_t subnormal = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(magnitude), wasm_f32x4_splat(0x1p-24f));
    const v128_t small = wasm_i32x4_lt(magnitude, wasm_i32x4_splat(0x400));
    return wasm_v128_or(wasm_v128_bitselect(subnormal, normal, small), sign);
}

/* Two sums a row, over columns k = 0, 1 (with the start) and 2, 3 of each four. */
typedef struct v4 {
    v128_t rows01, rows23;
} v4;

RNNRT_INLINE TARGET v4 v4_start(int32_t s) {
    const v128_t row = wasm_i32x4_make(s, 0, s, 0);
    const v4 sum = {row, row};
    return sum;
}

RNNRT_INLINE TARGET v4 v4_dot8(v4 sum, const uint8_t *w, const int8_t *q) {
    const v128_t two = wasm_v128_load(w), q0 = vx_set(q), q1 = vx_set(q + 4);
    const v128_t low = wasm_v128_and(two, wasm_i8x16_splat(15)), high = wasm_u8x16_shr(two, 4);
    const v128_t low01 = wasm_i32x4_dot_i16x8(wasm_u16x8_extend_low_u8x16(low), q0);
    const v128_t low23 = wasm_i32x4_dot_i16x8(wasm_u16x8_extend_high_u8x16(low), q0);
    const v128_t high01 = wasm_i32x4_dot_i16x8(wasm_u16x8_extend_low_u8x16(high), q1);
    const v128_t high23 = wasm_i32x4_dot_i16x8(wasm_u16x8_extend_high_u8x16(high), q1);
    sum.rows01 = wasm_i32x4_add(sum.rows01, wasm_i32x4_add(low01, high01));
    sum.rows23 = wasm_i32x4_add(sum.rows23, wasm_i32x4_add(low23, high23));
    return sum;
}

RNNRT_INLINE TARGET vi v4_end(vi acc, v4 sum, const int8_t *step) {
    const v128_t steps = wasm_i32x4_extend_low_i16x8(wasm_i16x8_extend_low_i8x16(wasm_v128_load32_zero(step)));
    return wasm_i32x4_add(acc, wasm_i32x4_mul(vi_pairs(sum.rows01, sum.rows23), steps));
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

const rnnrt_kernels rnnrt_kernels_wasm = RNNRT_TABLE("wasm");

#endif
