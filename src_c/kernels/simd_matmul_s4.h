/* The table's matrix product with s4 weights, over the words of simd_math.h and these:
 *   v4                        for LANES rows the sum over one group of 32 columns, in the form the ISA adds best
 *   v4_start(s)               s = -8 * the group's sum of q in every row: the nibbles' offset, taken back in advance
 *   v4_dot8(sum, w, q)        sum[l] + sum over k < 4 of low nibble of w[4 * l + k] * q[k] + high nibble * q[4 + k]
 *                             w: [LANES][4] bytes, q: [8]
 *   V4_DOT8_ALONE             a better one for a tile of one vector, if there is one
 *   v4_end(acc, sum, step)    acc[l] + step[l] * sum[l]; step: [LANES]
 *   S4_BLOCKS, S4_BLOCKS_MANY, S4_ROWS   the tile
 *
 * Bounds. A group's true sum, of (nibble - 8) * q, is at most 32 * 8 * 127 = 32512 in magnitude: it fits 16 bits. So does any
 * part of its columns together with all of s: a share of c columns is at most c * 8 * 127 + (32 - c) * 8 * 127 = 32512 off
 * zero, and c <= 16 columns without s at most 16 * 15 * 127 = 30480. acc: see RNNRT_S4_STEPS. */
#ifndef RNNRT_SIMD_MATMUL_S4_H
#define RNNRT_SIMD_MATMUL_S4_H

#include "simd_matmul.h"

#if !defined(V4_DOT8_ALONE)
#define V4_DOT8_ALONE v4_dot8
#endif

/* One group of a tile: acc[] += step * sum. w: [blocks][groups][256], step: [blocks][groups][16], q: [rows][ldq],
 * start: [rows][groups], all from that group on. */
RNNRT_INLINE TARGET void s4_group(const rnnrt_product *p, uint32_t groups, const uint8_t *w, const int8_t *step,
                                  const int8_t *q, const int32_t *start, int blocks, int rows, vi acc[MAX_TILE]) {
    v4 sum[MAX_TILE];
    RNNRT_UNROLL
    for (int k = 0; k < blocks * VECTORS * rows; k++) { sum[k] = v4_start(start[(size_t)(k % rows) * groups]); }
    RNNRT_UNROLL
    for (int t = 0; t < 4; t++) {
        RNNRT_UNROLL
        for (int k = 0; k < blocks * VECTORS * rows; k++) {
            const int b = k / rows / VECTORS, v = k / rows % VECTORS, i = k % rows;
            const uint8_t *tile = w + (size_t)b * groups * 256u + (size_t)(t * 64 + v * LANES * 4);
            const int8_t *eight = q + (size_t)i * p->ldx + t * 8;
            sum[k] = blocks * VECTORS * rows > 1 ? v4_dot8(sum[k], tile, eight) : V4_DOT8_ALONE(sum[k], tile, eight);
        }
    }
    RNNRT_UNROLL
    for (int k = 0; k < blocks * VECTORS * rows; k++) {
        const int b = k / rows / VECTORS, v = k / rows % VECTORS;
        acc[k] = v4_end(acc[k], sum[k], step + (size_t)b * groups * 16u + v * LANES);
    }
}

RNNRT_INLINE TARGET void s4_tile(const rnnrt_product *p, uint32_t row, uint32_t block, int blocks, int rows, target t) {
    const uint32_t groups = RNNRT_PAD(p->m->cols, RNNRT_GROUP) / RNNRT_GROUP;
    const int8_t *q = p->q + row * p->ldx;
    const int32_t *start = p->start + (size_t)row * groups;
    const uint8_t *w = p->m->w4 + (size_t)block * groups * 256u;
    const int8_t *step = p->m->step + (size_t)block * groups * 16u;
    vi acc[MAX_TILE];
    RNNRT_UNROLL
    for (int k = 0; k < blocks * VECTORS * rows; k++) { acc[k] = vi_set(0); }
    for (uint32_t g = 0; g < groups; g++, w += 256, step += 16) {
        s4_group(p, groups, w, step, q + (size_t)g * RNNRT_GROUP, start + g, blocks, rows, acc);
    }
    RNNRT_UNROLL
    for (int k = 0; k < blocks * VECTORS * rows; k++) {
        const vf row_scale = vf_load(p->m->scale + block * 16u + k / rows * LANES);
        const vf scale = vf_mul(row_scale, vf_set(p->xscale[row + (uint32_t)(k % rows)]));
        store_rows(t, k / rows / VECTORS, k / rows % VECTORS, k % rows, vf_mul(vf_from(acc[k]), scale));
    }
}

RNNRT_INLINE TARGET void s4_tiles(const rnnrt_product *p, uint32_t row, uint32_t block0, uint32_t block1,
                                  const float *bias, float *y, size_t ldy, int blocks, int rows) {
    const uint32_t whole_blocks = p->m->rows / 16u;
    const uint32_t end = block1 < whole_blocks ? block1 : whole_blocks;
    uint32_t b = block0;
    for (; b + (uint32_t)blocks <= end; b += (uint32_t)blocks) {
        s4_tile(p, row, b, blocks, rows, target_of(bias, b, block0, y, ldy));
    }
    for (; b < block1; b++) {
        const target t = target_of(bias, b, block0, y, ldy);
        const uint32_t n = p->m->rows % 16u;
        float last_bias[16], whole[16 * S4_ROWS];
        s4_tile(p, row, b, 1, rows, b < whole_blocks ? t : whole_block(t, n, last_bias, whole));
        if (b == whole_blocks) { copy_rows(t, n, whole, rows); }
    }
}

static RNNRT_NOINLINE TARGET void KERNEL(s4_many)(const rnnrt_product *p, uint32_t row, uint32_t block0,
                                                  uint32_t block1, const float *bias, float *y, size_t ldy) {
    s4_tiles(p, row, block0, block1, bias, y, ldy, S4_BLOCKS_MANY, S4_ROWS);
}

static RNNRT_NOINLINE TARGET void KERNEL(s4_two)(const rnnrt_product *p, uint32_t row, uint32_t block0, uint32_t block1,
                                                 const float *bias, float *y, size_t ldy) {
    s4_tiles(p, row, block0, block1, bias, y, ldy, S4_BLOCKS_MANY, 2);
}

static RNNRT_NOINLINE TARGET void KERNEL(s4_one)(const rnnrt_product *p, uint32_t row, uint32_t block0, uint32_t block1,
                                                 const float *bias, float *y, size_t ldy) {
    s4_tiles(p, row, block0, block1, bias, y, ldy, S4_BLOCKS, 1);
}

static TARGET void KERNEL(rows_s4)(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block0, uint32_t block1,
                                   const float *bias, float *y, size_t ldy) {
    const uint32_t end = row + n;
    for (; end - row >= S4_ROWS; row += S4_ROWS, y += S4_ROWS * ldy) {
        KERNEL(s4_many)(p, row, block0, block1, bias, y, ldy);
    }
    if (S4_ROWS > 2 && end - row >= 2) {
        KERNEL(s4_two)(p, row, block0, block1, bias, y, ldy);
        row += 2;
        y += 2 * ldy;
    }
    if (row < end) { KERNEL(s4_one)(p, row, block0, block1, bias, y, ldy); }
}

static TARGET void KERNEL(matmul_s4)(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias,
                                     const int8_t *q, size_t ldq, const int32_t *start, const float *xscale, uint32_t n,
                                     float *y, size_t ldy) {
    const rnnrt_product p = {.m = m, .q = q, .xscale = xscale, .start = start, .ldx = ldq};
    all_blocks(KERNEL(rows_s4), &p, n, S4_BLOCKS_MANY, block0, block1, bias, y, ldy);
}

#endif
