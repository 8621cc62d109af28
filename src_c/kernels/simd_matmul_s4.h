/* The table's matrix product with s4 weights, over the words of simd_matmul.h and these:
 *   v4                        for LANES rows the sum over one group of 32 columns, in the form the ISA adds best
 *   v4_start(s)               s = -8 * the group's sum of q in every row: the nibbles' offset, taken back in advance
 *   v4_dot8(sum, w, q)        sum[l] + sum over k < 4 of low nibble of w[4 * l + k] * q[k] + high nibble * q[4 + k]
 *                             w: [LANES][4] bytes, q: [8]
 *   v4_end(acc, sum, step)    acc[l] + step[l] * sum[l]; step: [LANES]
 *   S4_BLOCKS, S4_BLOCKS_MANY, S4_ROWS   the tile
 *
 * Bounds. A group's true sum, of (nibble - 8) * q, is at most 32 * 8 * 127 = 32512 in magnitude: it fits 16 bits. So does any
 * part of its columns together with all of s: a share of c columns is at most c * 8 * 127 + (32 - c) * 8 * 127 = 32512 off
 * zero, and c <= 16 columns without s at most 16 * 15 * 127 = 30480. acc: see RNNRT_S4_STEPS. */
#ifndef RNNRT_SIMD_MATMUL_S4_H
#define RNNRT_SIMD_MATMUL_S4_H

#include "simd_matmul.h"

typedef struct product_s4 {
    const rnnrt_matrix *m;
    const int8_t *q;      /* [rows of x][ldq] */
    const int32_t *start; /* [rows of x][groups] */
    const float *xscale;  /* [rows of x] */
    size_t ldq;
    uint32_t groups;
} product_s4;

/* One group of a tile: acc[] += step * sum. w: [blocks][groups][256], step: [blocks][groups][16], q: [rows][ldq],
 * start: [rows][groups], all from that group on. */
RNNRT_INLINE TARGET void s4_group(const product_s4 *p, const uint8_t *w, const int8_t *step, const int8_t *q,
                                  const int32_t *start, int blocks, int rows, vi acc[MAX_TILE]) {
    v4 sum[MAX_TILE];
    RNNRT_UNROLL
    for (int k = 0; k < blocks * VECTORS * rows; k++) { sum[k] = v4_start(start[(size_t)(k % rows) * p->groups]); }
    RNNRT_UNROLL
    for (int t = 0; t < 4; t++) {
        RNNRT_UNROLL
        for (int k = 0; k < blocks * VECTORS * rows; k++) {
            const int b = k / rows / VECTORS, v = k / rows % VECTORS, i = k % rows;
            const uint8_t *tile = w + (size_t)b * p->groups * 256u + (size_t)(t * 64 + v * LANES * 4);
            sum[k] = v4_dot8(sum[k], tile, q + (size_t)i * p->ldq + t * 8);
        }
    }
    RNNRT_UNROLL
    for (int k = 0; k < blocks * VECTORS * rows; k++) {
        const int b = k / rows / VECTORS, v = k / rows % VECTORS;
        acc[k] = v4_end(acc[k], sum[k], step + (size_t)b * p->groups * 16u + v * LANES);
    }
}

RNNRT_INLINE TARGET void s4_tile(const product_s4 *p, uint32_t block, int blocks, int rows, target t) {
    const uint8_t *w = p->m->w4 + (size_t)block * p->groups * 256u;
    const int8_t *step = p->m->step + (size_t)block * p->groups * 16u;
    vi acc[MAX_TILE];
    RNNRT_UNROLL
    for (int k = 0; k < blocks * VECTORS * rows; k++) { acc[k] = vi_set(0); }
    for (uint32_t g = 0; g < p->groups; g++, w += 256, step += 16) {
        s4_group(p, w, step, p->q + (size_t)g * RNNRT_GROUP, p->start + g, blocks, rows, acc);
    }
    RNNRT_UNROLL
    for (int k = 0; k < blocks * VECTORS * rows; k++) {
        const vf row_scale = vf_load(p->m->scale + block * 16u + k / rows * LANES);
        const vf scale = vf_mul(row_scale, vf_set(p->xscale[k % rows]));
        store_rows(t, k / rows / VECTORS, k / rows % VECTORS, k % rows, vf_mul(vf_from(acc[k]), scale));
    }
}

RNNRT_INLINE TARGET void s4_tiles(const product_s4 *p, uint32_t block0, uint32_t block1, const float *bias, float *y,
                                  size_t ldy, int blocks, int rows) {
    const uint32_t whole_blocks = p->m->rows / 16u;
    const uint32_t end = block1 < whole_blocks ? block1 : whole_blocks;
    uint32_t b = block0;
    for (; b + (uint32_t)blocks <= end; b += (uint32_t)blocks) {
        s4_tile(p, b, blocks, rows, target_of(bias, b, block0, y, ldy));
    }
    for (; blocks > 1 && b < end; b++) { s4_tile(p, b, 1, rows, target_of(bias, b, block0, y, ldy)); }
    if (b < block1) {
        const uint32_t n = p->m->rows % 16u;
        float last_bias[16], whole[16 * S4_ROWS];
        const target t = target_of(bias, b, block0, y, ldy);
        s4_tile(p, b, 1, rows, whole_block(t, n, last_bias, whole));
        copy_rows(t, n, whole, rows);
    }
}

static TARGET void KERNEL(matmul_s4)(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias,
                                     const int8_t *q, size_t ldq, const int32_t *start, const float *xscale, uint32_t n,
                                     float *y, size_t ldy) {
    product_s4 p = {m, q, start, xscale, ldq, RNNRT_PAD(m->cols, RNNRT_GROUP) / RNNRT_GROUP};
    for (; n >= S4_ROWS; n -= S4_ROWS) {
        s4_tiles(&p, block0, block1, bias, y, ldy, S4_BLOCKS_MANY, S4_ROWS);
        p.q += S4_ROWS * ldq;
        p.start += (size_t)S4_ROWS * p.groups;
        p.xscale += S4_ROWS;
        y += S4_ROWS * ldy;
    }
    for (; n > 0; n--) {
        s4_tiles(&p, block0, block1, bias, y, ldy, S4_BLOCKS, 1);
        p.q += ldq;
        p.start += p.groups;
        p.xscale++;
        y += ldy;
    }
}

#endif
