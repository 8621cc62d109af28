/* The table's matrix products with f32 and f16 weights over the words of simd_math.h and these:
 *   vf_load_f16(p)        LANES finite halves as floats, exactly; subnormal ones too, whatever the CPU's modes
 *   VF_TIMES(w, x)        a better w * x[0] for many rows of x, if there is one
 *   F32_BLOCKS, F32_BLOCKS_MANY, F32_ROWS
 *                         the tile: row blocks by rows of x, for one row of x and for many
 * half (are the weights f16?), blocks and rows are constants wherever a function that takes them is inlined. */
#ifndef RNNRT_SIMD_MATMUL_FLOAT_H
#define RNNRT_SIMD_MATMUL_FLOAT_H

#include "simd_matmul.h"

#if !defined(VF_TIMES)
#define VF_TIMES(w, x) vf_mul(w, vf_set(*(x)))
#endif

/* One column of a tile: acc[] += w * x, from weight `at` on: [blocks][cols][16], x: [rows][ldx]. */
RNNRT_INLINE TARGET void float_column(const rnnrt_product *p, int half, size_t at, const float *x, int blocks, int rows,
                                      vf acc[MAX_TILE]) {
    RNNRT_UNROLL
    for (int b = 0; b < blocks; b++, at += p->m->cols * (size_t)16) {
        vf w[VECTORS];
        RNNRT_UNROLL
        for (int v = 0; v < VECTORS; v++) {
            w[v] = half ? vf_load_f16(p->m->w16 + at + v * LANES) : vf_load(p->m->w32 + at + v * LANES);
        }
        RNNRT_UNROLL
        for (int i = 0; i < rows; i++) {
            const float *xi = x + (size_t)i * p->ldx;
            RNNRT_UNROLL
            for (int v = 0; v < VECTORS; v++) {
                vf *a = &acc[(b * VECTORS + v) * rows + i];
                *a = vf_add(*a, rows > 1 ? VF_TIMES(w[v], xi) : vf_mul(w[v], vf_set(*xi)));
            }
        }
    }
}

/* Where to ask for the weights behind block1, which come next: each tile asks for a line every two columns, those of other rows of
 * x for other lines. Once all are asked for, again the weights from block0 on. */
RNNRT_INLINE TARGET uintptr_t next_weights(const rnnrt_product *p, int half, uint32_t row_group, uint32_t block0,
                                           uint32_t block1, uint32_t tiles) {
    const size_t block_lines = p->m->cols / (half ? 2u : 1u), lines = (block1 - block0) * block_lines;
    const size_t skip = (size_t)row_group * tiles * (p->m->cols / 2u);
    const uintptr_t w = half ? (uintptr_t)p->m->w16 : (uintptr_t)p->m->w32;
    return w + (block0 * block_lines + (skip < lines ? lines + skip : 0)) * 64u;
}

/* blocks * VECTORS * rows <= MAX_TILE. With many rows it asks for cols / 2 lines from `next` on and returns where they end. */
RNNRT_INLINE TARGET uintptr_t float_tile(const rnnrt_product *p, int half, uint32_t row, uint32_t block, int blocks,
                                         int rows, uintptr_t next, target t) {
    const float *x = p->x + row * p->ldx;
    size_t at = (size_t)block * p->m->cols * 16u;
    vf even[MAX_TILE], odd[MAX_TILE];
    RNNRT_UNROLL
    for (int k = 0; k < blocks * VECTORS * rows; k++) {
        even[k] = vf_set(0.0f);
        odd[k] = vf_set(0.0f);
    }
    for (uint32_t left = p->m->cols; left > 0; left -= 2, at += 32, x += 2) {
        if (rows > 1) {
            rnnrt_prefetch_l2(next);
            next += 64;
        }
        float_column(p, half, at, x, blocks, rows, even);
        if (left == 1) { break; }
        float_column(p, half, at + 16, x + 1, blocks, rows, odd);
    }
    RNNRT_UNROLL
    for (int k = 0; k < blocks * VECTORS * rows; k++) {
        store_rows(t, k / rows / VECTORS, k / rows % VECTORS, k % rows, vf_add(even[k], odd[k]));
    }
    return next;
}

/* Blocks [block0, block1) of `rows` rows of p from `row` on. Four blocks (the gates of an LSTM) are twice two, not three and
 * one. */
RNNRT_INLINE TARGET void float_tiles(const rnnrt_product *p, int half, uint32_t row, uint32_t block0, uint32_t block1,
                                     const float *bias, float *y, size_t ldy, int blocks, int rows) {
    const uint32_t whole_blocks = p->m->rows / 16u,
                   tiles = (block1 - block0 + (uint32_t)blocks - 1u) / (uint32_t)blocks;
    const uint32_t end = block1 < whole_blocks ? block1 : whole_blocks;
    uintptr_t next = rows > 1 ? next_weights(p, half, row / (uint32_t)rows, block0, block1, tiles) : 0;
    uint32_t b = block0;
    for (; b + (uint32_t)blocks <= end && (blocks != 3 || end - b != 4); b += (uint32_t)blocks) {
        next = float_tile(p, half, row, b, blocks, rows, next, target_of(bias, b, block0, y, ldy));
    }
    for (; blocks > 2 && b + 2u <= end; b += 2u) {
        next = float_tile(p, half, row, b, 2, rows, next, target_of(bias, b, block0, y, ldy));
    }
    for (; b < block1; b++) {
        const target t = target_of(bias, b, block0, y, ldy);
        const uint32_t n = p->m->rows % 16u;
        float last_bias[16], whole[16 * F32_ROWS];
        next = float_tile(p, half, row, b, 1, rows, next, b < whole_blocks ? t : whole_block(t, n, last_bias, whole));
        if (b == whole_blocks) { copy_rows(t, n, whole, rows); }
    }
}

/* Each number of rows is a function of its own: together they are more than a compiler's registers can hold. */
static RNNRT_NOINLINE TARGET void KERNEL(f32_many)(const rnnrt_product *p, uint32_t row, uint32_t block0,
                                                   uint32_t block1, const float *bias, float *y, size_t ldy) {
    float_tiles(p, 0, row, block0, block1, bias, y, ldy, F32_BLOCKS_MANY, F32_ROWS);
}

static RNNRT_NOINLINE TARGET void KERNEL(f32_three)(const rnnrt_product *p, uint32_t row, uint32_t block0,
                                                    uint32_t block1, const float *bias, float *y, size_t ldy) {
    float_tiles(p, 0, row, block0, block1, bias, y, ldy, F32_BLOCKS_MANY, 3);
}

static RNNRT_NOINLINE TARGET void KERNEL(f32_two)(const rnnrt_product *p, uint32_t row, uint32_t block0,
                                                  uint32_t block1, const float *bias, float *y, size_t ldy) {
    float_tiles(p, 0, row, block0, block1, bias, y, ldy, F32_BLOCKS_MANY, 2);
}

static RNNRT_NOINLINE TARGET void KERNEL(f32_one)(const rnnrt_product *p, uint32_t row, uint32_t block0,
                                                  uint32_t block1, const float *bias, float *y, size_t ldy) {
    float_tiles(p, 0, row, block0, block1, bias, y, ldy, F32_BLOCKS, 1);
}

static RNNRT_NOINLINE TARGET void KERNEL(f16_many)(const rnnrt_product *p, uint32_t row, uint32_t block0,
                                                   uint32_t block1, const float *bias, float *y, size_t ldy) {
    float_tiles(p, 1, row, block0, block1, bias, y, ldy, F32_BLOCKS_MANY, F32_ROWS);
}

static RNNRT_NOINLINE TARGET void KERNEL(f16_two)(const rnnrt_product *p, uint32_t row, uint32_t block0,
                                                  uint32_t block1, const float *bias, float *y, size_t ldy) {
    float_tiles(p, 1, row, block0, block1, bias, y, ldy, F32_BLOCKS_MANY, 2);
}

static RNNRT_NOINLINE TARGET void KERNEL(f16_one)(const rnnrt_product *p, uint32_t row, uint32_t block0,
                                                  uint32_t block1, const float *bias, float *y, size_t ldy) {
    float_tiles(p, 1, row, block0, block1, bias, y, ldy, F32_BLOCKS, 1);
}

LINKAGE TARGET void KERNEL(rows_f32)(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block0, uint32_t block1,
                                     const float *bias, float *y, size_t ldy) {
    const uint32_t end = row + n;
    for (; end - row >= F32_ROWS; row += F32_ROWS, y += F32_ROWS * ldy) {
        KERNEL(f32_many)(p, row, block0, block1, bias, y, ldy);
    }
    if (F32_ROWS > 3 && end - row == 3) { KERNEL(f32_three)(p, row, block0, block1, bias, y, ldy); }
    if (F32_ROWS > 2 && end - row == 2) { KERNEL(f32_two)(p, row, block0, block1, bias, y, ldy); }
    if (end - row == 1) { KERNEL(f32_one)(p, row, block0, block1, bias, y, ldy); }
}

LINKAGE TARGET void KERNEL(rows_f16)(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block0, uint32_t block1,
                                     const float *bias, float *y, size_t ldy) {
    const uint32_t end = row + n;
    for (; end - row >= F32_ROWS; row += F32_ROWS, y += F32_ROWS * ldy) {
        KERNEL(f16_many)(p, row, block0, block1, bias, y, ldy);
    }
    if (F32_ROWS > 2 && end - row >= 2) {
        KERNEL(f16_two)(p, row, block0, block1, bias, y, ldy);
        row += 2;
        y += 2 * ldy;
    }
    if (row < end) { KERNEL(f16_one)(p, row, block0, block1, bias, y, ldy); }
}

LINKAGE TARGET void KERNEL(matmul_f32)(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias,
                                       const float *x, size_t ldx, uint32_t n, float *y, size_t ldy) {
    const rnnrt_product p = {.m = m, .x = x, .ldx = ldx};
    all_blocks(KERNEL(rows_f32), &p, n, F32_BLOCKS_MANY, block0, block1, bias, y, ldy);
}

LINKAGE TARGET void KERNEL(matmul_f16)(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias,
                                       const float *x, size_t ldx, uint32_t n, float *y, size_t ldy) {
    const rnnrt_product p = {.m = m, .x = x, .ldx = ldx};
    all_blocks(KERNEL(rows_f16), &p, n, F32_BLOCKS_MANY, block0, block1, bias, y, ldy);
}

#endif
