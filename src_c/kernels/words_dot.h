/* The integer products of kernels_scalar.c, by the means of a 32-bit ARM or of RISC-V where the file is compiled for them.
 *
 * Of these CPUs' vector units only the integers are used: NEON's floats (32-bit) and Helium's flush denormals to zero and
 * know no division, the scalar VFP is IEEE. So the products, where the time goes, are the only difference to the portable
 * table, and which it is is known when compiling: -mcpu names a microcontroller, -mfpu=neon a larger CPU. RISC-V's vector
 * unit has IEEE floats, which compilers use by themselves; its product needs the intrinsics of gcc 13 or clang 16, -march=rv64gcv.
 *
 * Defines DOT_ISA, the table's name, and
 *   dot_columns(w, q, cols, acc)   acc[r] = sum over c of w[r][c] * q[c], r < 16; exact, see kernels.h
 *                                  w: [cols/4][16][4], q: [cols], cols a multiple of 4, both of any alignment
 * RNNRT_PORTABLE takes the portable one everywhere. */
#ifndef RNNRT_WORDS_DOT_H
#define RNNRT_WORDS_DOT_H

#include <stdint.h>
#include <string.h>

#include "compiler.h"

#if defined(__GNUC__) && defined(__arm__) && !defined(__ARM_BIG_ENDIAN) && !defined(RNNRT_PORTABLE)
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1)
#define DOT_HELIUM 1
#elif defined(__ARM_NEON)
#define DOT_NEON 1
#elif defined(__ARM_FEATURE_DSP)
#define DOT_DSP 1
#endif
#elif defined(__riscv_v_intrinsic) && __riscv_v_intrinsic >= 11000 && __riscv_v_min_vlen >= 128 &&                     \
    !defined(RNNRT_PORTABLE)
#define DOT_RVV 1
#endif

#if defined(DOT_NEON)

#include <arm_neon.h>
#define DOT_ISA "neon32"

/* Products |w * x| <= 127 * 127; sums of two 32258 < 2^15. rows: [4][4], x: 4 activations twice */
RNNRT_INLINE int32x4_t dot_rows(int32x4_t acc, int8x16_t rows, int8x8_t x) {
    const int16x8_t rows01 = vmull_s8(vget_low_s8(rows), x);
    const int16x8_t rows23 = vmull_s8(vget_high_s8(rows), x);
    return vpadalq_s16(acc, vcombine_s16(vpadd_s16(vget_low_s16(rows01), vget_high_s16(rows01)),
                                         vpadd_s16(vget_low_s16(rows23), vget_high_s16(rows23))));
}

static void dot_columns(const int8_t *w, const int8_t *q, uint32_t cols, int32_t acc[16]) {
    int32x4_t sum[4];
    RNNRT_UNROLL
    for (int v = 0; v < 4; v++) { sum[v] = vdupq_n_s32(0); }
    for (uint32_t c = 0; c < cols; c += 4, w += 64) {
        int32_t four;
        memcpy(&four, q + c, sizeof four);
        const int8x8_t x = vreinterpret_s8_s32(vdup_n_s32(four));
        RNNRT_UNROLL
        for (int v = 0; v < 4; v++) { sum[v] = dot_rows(sum[v], vld1q_s8(w + v * 16), x); }
    }
    RNNRT_UNROLL
    for (int v = 0; v < 4; v++) { vst1q_s32(acc + v * 4, sum[v]); }
}

#elif defined(DOT_RVV)

#include <riscv_vector.h>
#define DOT_ISA "rvv"

/* A group of four columns of vl/4 rows: w: [vl/4][4] times q: [4], repeated. */
RNNRT_INLINE vint8m2_t dot_repeated(const int8_t *q, size_t vl) {
    int32_t four;
    memcpy(&four, q, sizeof four);
    return __riscv_vreinterpret_v_i32m2_i8m2(__riscv_vmv_v_x_i32m2(four, vl / 4));
}

/* Sums of the vl/4 rows' four lanes: halves of 64 bits, then again. */
RNNRT_INLINE void dot_store(int32_t *acc, vint32m8_t lanes, size_t vl) {
    const vuint64m8_t four = __riscv_vreinterpret_v_u32m8_u64m8(__riscv_vreinterpret_v_i32m8_u32m8(lanes));
    const vuint32m4_t two = __riscv_vadd_vv_u32m4(__riscv_vnsrl_wx_u32m4(four, 0, vl / 2),
                                                  __riscv_vnsrl_wx_u32m4(four, 32, vl / 2), vl / 2);
    const vuint64m4_t pair = __riscv_vreinterpret_v_u32m4_u64m4(two);
    const vuint32m2_t one = __riscv_vadd_vv_u32m2(__riscv_vnsrl_wx_u32m2(pair, 0, vl / 4),
                                                  __riscv_vnsrl_wx_u32m2(pair, 32, vl / 4), vl / 4);
    __riscv_vse32_v_i32m2(acc, __riscv_vreinterpret_v_u32m2_i32m2(one), vl / 4);
}

/* Eight rows at a time, all sixteen where vectors have 256 bits or more: a lane for each row and column modulo 4. Products
 * |w * x| <= 127 * 127; sums of two 32258 < 2^15. */
static void dot_columns(const int8_t *w, const int8_t *q, uint32_t cols, int32_t acc[16]) {
    const size_t vl = __riscv_vsetvl_e8m2(64);
    for (uint32_t r = 0; r < 16; r += (uint32_t)(vl / 4)) {
        vint32m8_t sum = __riscv_vmv_v_x_i32m8(0, vl);
        const int8_t *row = w + r * 4;
        uint32_t c = 0;
        for (; c + 8 <= cols; c += 8, row += 128) {
            vint16m4_t two = __riscv_vwmul_vv_i16m4(__riscv_vle8_v_i8m2(row, vl), dot_repeated(q + c, vl), vl);
            two = __riscv_vwmacc_vv_i16m4(two, __riscv_vle8_v_i8m2(row + 64, vl), dot_repeated(q + c + 4, vl), vl);
            sum = __riscv_vwadd_wv_i32m8(sum, two, vl);
        }
        if (c < cols) {
            const vint8m2_t x = dot_repeated(q + c, vl);
            sum = __riscv_vwadd_wv_i32m8(sum, __riscv_vwmul_vv_i16m4(__riscv_vle8_v_i8m2(row, vl), x, vl), vl);
        }
        dot_store(acc + r, sum, vl);
    }
}

#elif defined(DOT_DSP)

#define DOT_ISA "armdsp"

/* Bytes 0 and 2, or 1 and 3, as two int16. */
RNNRT_INLINE uint32_t even_bytes(uint32_t four) {
    uint32_t two;
    __asm__("sxtb16 %0, %1" : "=r"(two) : "r"(four));
    return two;
}

RNNRT_INLINE uint32_t odd_bytes(uint32_t four) {
    uint32_t two;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(two) : "r"(four));
    return two;
}

RNNRT_INLINE int32_t two_products(int32_t sum, uint32_t a, uint32_t b) {
    int32_t out;
    __asm__("smlad %0, %1, %2, %3" : "=r"(out) : "r"(a), "r"(b), "r"(sum));
    return out;
}

RNNRT_INLINE uint32_t load_four(const int8_t *p) {
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return four;
}

/* Four columns of four rows. w: [4][4], q: [4] */
RNNRT_INLINE void dot_rows(const int8_t *w, const int8_t *q, int32_t sum[4]) {
    const uint32_t x = load_four(q), even = even_bytes(x), odd = odd_bytes(x);
    RNNRT_UNROLL
    for (int r = 0; r < 4; r++) {
        const uint32_t four = load_four(w + r * 4);
        sum[r] = two_products(two_products(sum[r], even_bytes(four), even), odd_bytes(four), odd);
    }
}

/* Four rows at a time: as many sums as stay in registers, if the caller's variables don't want some. */
static RNNRT_NOINLINE void dot_columns(const int8_t *w, const int8_t *q, uint32_t cols, int32_t acc[16]) {
    for (uint32_t r = 0; r < 16; r += 4) {
        const int8_t *row = w + r * 4;
        int32_t sum[4] = {0, 0, 0, 0};
        for (const int8_t *x = q; x != q + cols; x += 4, row += 64) { dot_rows(row, x, sum); }
        memcpy(acc + r, sum, sizeof sum);
    }
}

#else

/* acc[r] += the products of four columns. w: [16][4], q: [4] */
RNNRT_INLINE void dot_four(const int8_t *w, const int8_t *q, int32_t acc[16]) {
    for (uint32_t r = 0; r < 16; r++) {
        acc[r] += w[r * 4] * q[0] + w[r * 4 + 1] * q[1] + w[r * 4 + 2] * q[2] + w[r * 4 + 3] * q[3];
    }
}

#if defined(DOT_HELIUM)

#include <arm_mve.h>
#define DOT_ISA "helium"

/* Sixteen columns of a row are four words 64 bytes apart: gathered, multiplied and summed by one instruction each. */
static void dot_columns(const int8_t *w, const int8_t *q, uint32_t cols, int32_t acc[16]) {
    const uint32x4_t words = vmulq_n_u32(vidupq_n_u32(0, 1), 64);
    const uint32_t in_vectors = (uintptr_t)w % 4 == 0 ? cols / 16 * 16 : 0; /* a gather of words faults elsewhere */
    for (uint32_t r = 0; r < 16; r += 4) {
        int32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
        const int8_t *row = w + r * 4;
        for (uint32_t c = 0; c < in_vectors; c += 16, row += 256) {
            const int8x16_t x = vldrbq_s8(q + c);
            const int32_t *base = (const int32_t *)(const void *)row;
            sum0 = vmladavaq_s8(sum0, vreinterpretq_s8_s32(vldrwq_gather_offset_s32(base, words)), x);
            sum1 = vmladavaq_s8(sum1, vreinterpretq_s8_s32(vldrwq_gather_offset_s32(base + 1, words)), x);
            sum2 = vmladavaq_s8(sum2, vreinterpretq_s8_s32(vldrwq_gather_offset_s32(base + 2, words)), x);
            sum3 = vmladavaq_s8(sum3, vreinterpretq_s8_s32(vldrwq_gather_offset_s32(base + 3, words)), x);
        }
        acc[r] = sum0, acc[r + 1] = sum1, acc[r + 2] = sum2, acc[r + 3] = sum3;
    }
    for (uint32_t c = in_vectors; c < cols; c += 4) { dot_four(w + c * 16, q + c, acc); }
}

#else

#define DOT_ISA "scalar"

static void dot_columns(const int8_t *w, const int8_t *q, uint32_t cols, int32_t acc[16]) {
    memset(acc, 0, 16 * sizeof *acc);
    for (uint32_t c = 0; c < cols; c += 4) { dot_four(w + c * 16, q + c, acc); }
}

#endif
#endif

#endif
