/* AArch64 NEON with the 8-bit matrix products (Armv8.6-A; optional before): SMMLA for four rows of x at a time, SDOT for the
 * rest. */
#include "float_exact.h"

#include "compiler.h"
#include "tables.h"

#if defined(RNNRT_ARCH_AARCH64)

#if defined(__clang__)
#define TARGET __attribute__((target("dotprod,i8mm")))
#else
#define TARGET __attribute__((target("arch=armv8.2-a+dotprod+i8mm")))
#endif
#define KERNEL(name) name##_neoni8mm

#include "words_neondot.h"

#include "simd_elementwise.h"
#include "simd_matmul_float.h"
#include "simd_matmul_s8.h"
#include "simd_matmul_s4.h"
#include "simd_reduce.h"
#include "simd_cells.h"
#include "simd_steps_f32.h"
#include "simd_steps.h"
#include "simd_reset.h"

#define MM_ROWS 4 /* rows of x in a tile */

/* acc[0..3] += w0 x0, w0 x1, w1 x0, w1 x1 for two rows w and two rows x of 8 columns. */
RNNRT_INLINE TARGET vi vi_mmla(vi acc, int8x16_t w, int8x16_t x) {
    __asm__("smmla %0.4s, %1.16b, %2.16b" : "+w"(acc) : "w"(w), "w"(x));
    return acc;
}

/* Eight columns of the tile. near, far: [16][4], columns 0-3 and 4-7 of a block's rows; x01, x23: two rows of x each */
RNNRT_INLINE TARGET void mm_columns(const int8_t *near, const int8_t *far, int8x16_t x01, int8x16_t x23,
                                    vi acc[4][MM_ROWS]) {
    RNNRT_UNROLL
    for (int v = 0; v < 4; v++) {
        const vi first = vreinterpretq_s32_s8(vld1q_s8(near + v * 16));
        const vi second = vreinterpretq_s32_s8(vld1q_s8(far + v * 16));
        const int8x16_t w01 = vreinterpretq_s8_s32(vzip1q_s32(first, second));
        const int8x16_t w23 = vreinterpretq_s8_s32(vzip2q_s32(first, second));
        acc[v][0] = vi_mmla(acc[v][0], w01, x01);
        acc[v][1] = vi_mmla(acc[v][1], w23, x01);
        acc[v][2] = vi_mmla(acc[v][2], w01, x23);
        acc[v][3] = vi_mmla(acc[v][3], w23, x23);
    }
}

/* One block of rows for MM_ROWS rows of x. q: [MM_ROWS][ldq], xscale: [MM_ROWS] */
RNNRT_INLINE TARGET void mm_tile(const rnnrt_matrix *m, uint32_t block, const int8_t *q, size_t ldq,
                                 const float *xscale, target t) {
    static const int8_t nothing[64] = {0};
    const uint32_t groups = RNNRT_PAD(m->cols, 4u) / 4u;
    const int8_t *w = m->w8 + (size_t)block * groups * 64u;
    vi acc[4][MM_ROWS];
    RNNRT_UNROLL
    for (int k = 0; k < 4 * MM_ROWS; k++) { acc[k / MM_ROWS][k % MM_ROWS] = vdupq_n_s32(0); }
    for (uint32_t pairs = groups / 2; pairs > 0; pairs--, w += 128, q += 8) {
        const int8x16_t x01 = vcombine_s8(vld1_s8(q), vld1_s8(q + ldq));
        const int8x16_t x23 = vcombine_s8(vld1_s8(q + 2 * ldq), vld1_s8(q + 3 * ldq));
        mm_columns(w, w + 64, x01, x23, acc);
    }
    if (groups % 2) { /* the last four columns and four zeros */
        int8_t last[MM_ROWS][8] = {{0}};
        RNNRT_UNROLL
        for (int i = 0; i < MM_ROWS; i++) { memcpy(last[i], q + (size_t)i * ldq, 4); }
        mm_columns(w, nothing, vld1q_s8(last[0]), vld1q_s8(last[2]), acc);
    }
    RNNRT_UNROLL
    for (int v = 0; v < 4; v++) {
        const vf row_scale = vf_load(m->scale + block * 16u + v * 4);
        RNNRT_UNROLL
        for (int i = 0; i < MM_ROWS; i++) {
            const vi a = acc[v][i / 2 * 2], b = acc[v][i / 2 * 2 + 1];
            const vi sum = i % 2 ? vuzp2q_s32(a, b) : vuzp1q_s32(a, b);
            store_rows(t, 0, v, i, vf_mul(vf_from(sum), vf_mul(row_scale, vf_set(xscale[i]))));
        }
    }
}

/* matmul_s8 of kernels.h; a block's weights are used for all rows of x before the next block's. */
static TARGET void mm_s8(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias, const int8_t *q,
                         size_t ldq, const float *xscale, uint32_t n, float *y, size_t ldy) {
    const uint32_t in_tiles = n / MM_ROWS * MM_ROWS;
    for (uint32_t b = block0; in_tiles > 0 && b < block1; b++) {
        const uint32_t rest = m->rows - b * 16u; /* >= 1 */
        for (uint32_t i = 0; i < in_tiles; i += MM_ROWS) {
            const target t = target_of(bias, b, block0, y + i * ldy, ldy);
            float last_bias[16], whole[16 * MM_ROWS];
            if (rest >= 16) {
                mm_tile(m, b, q + i * ldq, ldq, xscale + i, t);
            } else {
                mm_tile(m, b, q + i * ldq, ldq, xscale + i, whole_block(t, rest, last_bias, whole));
                copy_rows(t, rest, whole, MM_ROWS);
            }
        }
    }
    KERNEL(matmul_s8)
    (m, block0, block1, bias, q + in_tiles * ldq, ldq, xscale + in_tiles, n - in_tiles, y + in_tiles * ldy, ldy);
}

#define MATMUL_S8 mm_s8
#include "simd_table.h"

const rnnrt_kernels rnnrt_kernels_neoni8mm = RNNRT_TABLE("neoni8mm");

#endif
