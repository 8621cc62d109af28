/* The table's matrix product with f16 weights: that of f32 (simd_matmul.h) but for how a weight is loaded, by one more word:
 *   vf_load_f16(p)        LANES finite halves as floats, exactly; subnormal ones too, whatever the CPU's modes
 */
#ifndef RNNRT_SIMD_MATMUL_F16_H
#define RNNRT_SIMD_MATMUL_F16_H

#include "simd_matmul.h"

/* f32_column with w: [blocks][cols][16] halves. */
RNNRT_INLINE TARGET void f16_column(const rnnrt_product *p, const uint16_t *w, const float *x, int blocks, int rows,
                                    vf acc[MAX_TILE]) {
    RNNRT_UNROLL
    for (int b = 0; b < blocks; b++) {
        RNNRT_UNROLL
        for (int v = 0; v < VECTORS; v++) {
            const vf wv = vf_load_f16(w + (size_t)b * p->m->cols * 16u + (size_t)(v * LANES));
            RNNRT_UNROLL
            for (int i = 0; i < rows; i++) {
                vf *a = &acc[(b * VECTORS + v) * rows + i];
                *a = vf_add(*a, vf_mul(wv, vf_set(x[(size_t)i * p->ldx])));
            }
        }
    }
}

/* blocks * VECTORS * rows <= MAX_TILE; both are constants wherever this is inlined. */
RNNRT_INLINE TARGET void f16_tile(const rnnrt_product *p, uint32_t row, uint32_t block, int blocks, int rows,
                                  target t) {
    const uint16_t *w = p->m->w16 + (size_t)block * p->m->cols * 16u;
    const float *x = p->x + row * p->ldx;
    vf even[MAX_TILE], odd[MAX_TILE];
    RNNRT_UNROLL
    for (int k = 0; k < blocks * VECTORS * rows; k++) {
        even[k] = vf_set(0.0f);
        odd[k] = vf_set(0.0f);
    }
    for (uint32_t left = p->m->cols / 2u; left > 0; left--, w += 32, x += 2) {
        f16_column(p, w, x, blocks, rows, even);
        f16_column(p, w + 16, x + 1, blocks, rows, odd);
    }
    if (p->m->cols % 2u) { f16_column(p, w, x, blocks, rows, even); }
    RNNRT_UNROLL
    for (int k = 0; k < blocks * VECTORS * rows; k++) {
        store_rows(t, k / rows / VECTORS, k / rows % VECTORS, k % rows, vf_add(even[k], odd[k]));
    }
}

#if !defined(STEPS_BY_CALLS)
/* All gates of a recurrent layer's block, one row of x; out: [gates][16] */
RNNRT_INLINE TARGET void f16_gates(const rnnrt_product *p, uint32_t block, int gates, const float *bias, float *out) {
    RNNRT_UNROLL
    for (int b = 0; b < gates; b += F32_BLOCKS) {
        const int blocks = gates - b < F32_BLOCKS ? gates - b : F32_BLOCKS;
        f16_tile(p, 0, block + (uint32_t)b, blocks, 1, target_of(bias, block + (uint32_t)b, block, out, 0));
    }
}
#endif

RNNRT_INLINE TARGET void f16_tiles(const rnnrt_product *p, uint32_t row, uint32_t block0, uint32_t block1,
                                   const float *bias, float *y, size_t ldy, int blocks, int rows) {
    const uint32_t whole_blocks = p->m->rows / 16u;
    const uint32_t end = block1 < whole_blocks ? block1 : whole_blocks;
    uint32_t b = block0;
    for (; b + (uint32_t)blocks <= end; b += (uint32_t)blocks) {
        f16_tile(p, row, b, blocks, rows, target_of(bias, b, block0, y, ldy));
    }
    for (; blocks > 2 && b + 2u <= end; b += 2u) { f16_tile(p, row, b, 2, rows, target_of(bias, b, block0, y, ldy)); }
    for (; b < block1; b++) {
        const target t = target_of(bias, b, block0, y, ldy);
        const uint32_t n = p->m->rows % 16u;
        float last_bias[16], whole[16 * F32_ROWS];
        f16_tile(p, row, b, 1, rows, b < whole_blocks ? t : whole_block(t, n, last_bias, whole));
        if (b == whole_blocks) { copy_rows(t, n, whole, rows); }
    }
}

static RNNRT_NOINLINE TARGET void KERNEL(f16_many)(const rnnrt_product *p, uint32_t row, uint32_t block0,
                                                   uint32_t block1, const float *bias, float *y, size_t ldy) {
    f16_tiles(p, row, block0, block1, bias, y, ldy, F32_BLOCKS_MANY, F32_ROWS);
}

static RNNRT_NOINLINE TARGET void KERNEL(f16_three)(const rnnrt_product *p, uint32_t row, uint32_t block0,
                                                    uint32_t block1, const float *bias, float *y, size_t ldy) {
    f16_tiles(p, row, block0, block1, bias, y, ldy, F32_BLOCKS_MANY, 3);
}

static RNNRT_NOINLINE TARGET void KERNEL(f16_two)(const rnnrt_product *p, uint32_t row, uint32_t block0,
                                                  uint32_t block1, const float *bias, float *y, size_t ldy) {
    f16_tiles(p, row, block0, block1, bias, y, ldy, F32_BLOCKS_MANY, 2);
}

static RNNRT_NOINLINE TARGET void KERNEL(f16_one)(const rnnrt_product *p, uint32_t row, uint32_t block0,
                                                  uint32_t block1, const float *bias, float *y, size_t ldy) {
    f16_tiles(p, row, block0, block1, bias, y, ldy, F32_BLOCKS, 1);
}

static TARGET void KERNEL(rows_f16)(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block0, uint32_t block1,
                                    const float *bias, float *y, size_t ldy) {
    const uint32_t end = row + n;
    for (; end - row >= F32_ROWS; row += F32_ROWS, y += F32_ROWS * ldy) {
        KERNEL(f16_many)(p, row, block0, block1, bias, y, ldy);
    }
    if (F32_ROWS > 3 && end - row == 3) { KERNEL(f16_three)(p, row, block0, block1, bias, y, ldy); }
    if (F32_ROWS > 2 && end - row == 2) { KERNEL(f16_two)(p, row, block0, block1, bias, y, ldy); }
    if (end - row == 1) { KERNEL(f16_one)(p, row, block0, block1, bias, y, ldy); }
}

static TARGET void KERNEL(matmul_f16)(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias,
                                      const float *x, size_t ldx, uint32_t n, float *y, size_t ldy) {
    const rnnrt_product p = {.m = m, .x = x, .ldx = ldx};
    all_blocks(KERNEL(rows_f16), &p, n, F32_BLOCKS_MANY, block0, block1, bias, y, ldy);
}

#endif
