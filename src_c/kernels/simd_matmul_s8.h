/* The table's matrix product with s8 weights, over the words of simd_math.h and these:
 *   vx                    4 activations, in the form the ISA multiplies best, for all rows
 *   vx_set(q)             from q[4]
 *   vi_dot4(acc, w, x)    acc[l] + sum over k < 4 of w[4 * l + k] * q[k];  w: [LANES][4]
 *   VI_DOT4_ROWS          a better one for many rows of x, if there is one
 *   vi_start(row_sum)     what an accumulator must start from, row_sum: [LANES]: 0 or a correction
 *   S8_LEFT_OUT(q, n)     what vi_dot4 leaves out of each sum over the columns of q [n], if it does; n a multiple of 4
 *   S8_BLOCKS, S8_BLOCKS_MANY, S8_ROWS   the tile
 *   S8_GATE_TILES         many rows of 3 and of 4 blocks, the gates of 16 units, have tiles of their own
 *   S8_SUMS               accumulators that keep the integer products busy: a smaller tile takes two for each output */
#ifndef RNNRT_SIMD_MATMUL_S8_H
#define RNNRT_SIMD_MATMUL_S8_H

#include "simd_matmul.h"

#if !defined(S8_LEFT_OUT)
#define S8_LEFT_OUT(q, n) 0
#endif
#if !defined(VI_DOT4_ROWS)
#define VI_DOT4_ROWS vi_dot4
#endif

#if defined(S8_GATE_TILES)
#define S8_STRIP 4u /* blocks for which all rows are multiplied before the next ones */
#define S8_MOST_ROWS 6
#else
#define S8_STRIP S8_BLOCKS_MANY
#define S8_MOST_ROWS S8_ROWS
#endif

/* Four columns of a tile, w: [blocks][C/4][16][4], q: [rows][ldx], both from these columns on. */
RNNRT_INLINE TARGET void s8_columns(const rnnrt_product *p, const int8_t *w, size_t block_bytes, const int8_t *q,
                                    int blocks, int rows, vi acc[MAX_TILE]) {
    vx x[S8_MOST_ROWS];
    RNNRT_UNROLL
    for (int i = 0; i < rows; i++) { x[i] = vx_set(q + (size_t)i * p->ldx); }
    RNNRT_UNROLL
    for (int b = 0; b < blocks; b++) {
        RNNRT_UNROLL
        for (int v = 0; v < VECTORS; v++) {
            RNNRT_UNROLL
            for (int i = 0; i < rows; i++) {
                vi *a = &acc[(b * VECTORS + v) * rows + i];
                const int8_t *four = w + (size_t)b * block_bytes + (size_t)(v * LANES * 4);
                *a = rows > 1 ? VI_DOT4_ROWS(*a, four, x[i]) : vi_dot4(*a, four, x[i]);
            }
        }
    }
}

/* LANES rows of the matrix from `first` on times a row of x, from their sums. */
RNNRT_INLINE TARGET vf s8_scaled(const rnnrt_product *p, uint32_t row, size_t first, vi sum) {
    return vf_mul(vf_from(sum), vf_mul(vf_load(p->m->scale + first), vf_set(p->xscale[row])));
}

/* Vector v of block `block` + b for row `row` + i of x, from its sum. */
RNNRT_INLINE TARGET void s8_store(const rnnrt_product *p, uint32_t row, uint32_t block, vi sum, int b, int v, int i,
                                  target t) {
    store_rows(t, b, v, i, s8_scaled(p, row + (uint32_t)i, block * 16u + (size_t)(b * 16 + v * LANES), sum));
}

/* |sum| <= RNNRT_MAX_COLS * 127 * 127 < 2^31; what vi_start and S8_LEFT_OUT bring in wraps and is taken out again. */
RNNRT_INLINE TARGET void s8_tile(const rnnrt_product *p, uint32_t row, uint32_t block, int blocks, int rows, target t) {
    const uint32_t groups = RNNRT_PAD(p->m->cols, 4u) / 4u;
    const size_t block_bytes = (size_t)groups * 64u;
    const int8_t *w = p->m->w8 + block * block_bytes;
    const int8_t *q = p->q + row * p->ldx;
    const int outputs = blocks * VECTORS * rows, second = outputs * 2 <= S8_SUMS;
    vi acc[MAX_TILE], more[MAX_TILE], rest[S8_MOST_ROWS];
    RNNRT_UNROLL
    for (int i = 0; i < rows; i++) { rest[i] = vi_set(S8_LEFT_OUT(q + (size_t)i * p->ldx, groups * 4u)); }
    RNNRT_UNROLL
    for (int k = 0; k < outputs; k++) {
        acc[k] = vi_add(vi_start(p->m->row_sum + block * 16u + k / rows * LANES), rest[k % rows]);
        more[k] = vi_set(0);
    }
    uint32_t left = groups;
    for (; second && left > 1; left -= 2, w += 64, q += 8) {
        s8_columns(p, w, block_bytes, q, blocks, rows, acc);
        w += 64;
        RNNRT_APART(w);
        s8_columns(p, w, block_bytes, q + 4, blocks, rows, more);
    }
    for (; left > 0; left--, w += 64, q += 4) { s8_columns(p, w, block_bytes, q, blocks, rows, acc); }
    vf y[MAX_TILE]; /* all before the first is stored: for all a compiler knows, into p */
    RNNRT_UNROLL
    for (int k = 0; k < outputs; k++) {
        const vi sum = second ? vi_add(acc[k], more[k]) : acc[k];
        y[k] = s8_scaled(p, row + (uint32_t)(k % rows), block * 16u + (size_t)(k / rows * LANES), sum);
    }
    RNNRT_UNROLL
    for (int k = 0; k < outputs; k++) { store_rows(t, k / rows / VECTORS, k / rows % VECTORS, k % rows, y[k]); }
}

/* Blocks [block0, block1) of `rows` rows of p from `row` on; blocks and rows are constants wherever this is inlined. */
RNNRT_INLINE TARGET void s8_tiles(const rnnrt_product *p, uint32_t row, uint32_t block0, uint32_t block1,
                                  const float *bias, float *y, size_t ldy, int blocks, int rows) {
    const uint32_t whole_blocks = p->m->rows / 16u;
    const uint32_t end = block1 < whole_blocks ? block1 : whole_blocks;
    uint32_t b = block0;
    for (; b + (uint32_t)blocks <= end; b += (uint32_t)blocks) {
        s8_tile(p, row, b, blocks, rows, target_of(bias, b, block0, y, ldy));
    }
    for (; b < block1; b++) {
        const target t = target_of(bias, b, block0, y, ldy);
        const uint32_t n = p->m->rows % 16u;
        float last_bias[16], whole[16 * S8_ROWS];
        s8_tile(p, row, b, 1, rows, b < whole_blocks ? t : whole_block(t, n, last_bias, whole));
        if (b == whole_blocks) { copy_rows(t, n, whole, rows); }
    }
}

static RNNRT_NOINLINE TARGET void KERNEL(s8_many)(const rnnrt_product *p, uint32_t row, uint32_t block0,
                                                  uint32_t block1, const float *bias, float *y, size_t ldy) {
    s8_tiles(p, row, block0, block1, bias, y, ldy, S8_BLOCKS_MANY, S8_ROWS);
}

static RNNRT_NOINLINE TARGET void KERNEL(s8_three)(const rnnrt_product *p, uint32_t row, uint32_t block0,
                                                   uint32_t block1, const float *bias, float *y, size_t ldy) {
    s8_tiles(p, row, block0, block1, bias, y, ldy, S8_BLOCKS_MANY, 3);
}

static RNNRT_NOINLINE TARGET void KERNEL(s8_two)(const rnnrt_product *p, uint32_t row, uint32_t block0, uint32_t block1,
                                                 const float *bias, float *y, size_t ldy) {
    s8_tiles(p, row, block0, block1, bias, y, ldy, S8_BLOCKS_MANY, 2);
}

static RNNRT_NOINLINE TARGET void KERNEL(s8_one)(const rnnrt_product *p, uint32_t row, uint32_t block0, uint32_t block1,
                                                 const float *bias, float *y, size_t ldy) {
    s8_tiles(p, row, block0, block1, bias, y, ldy, S8_BLOCKS, 1);
}

#if defined(S8_GATE_TILES)

/* One tile a function: where several shared one, gcc 12 kept addresses in vector and mask registers. */
typedef void (*tile_function)(const rnnrt_product *p, uint32_t row, uint32_t block, const float *bias, float *y,
                              size_t ldy);

static RNNRT_NOINLINE TARGET void KERNEL(s8_3x6)(const rnnrt_product *p, uint32_t row, uint32_t block,
                                                 const float *bias, float *y, size_t ldy) {
    s8_tile(p, row, block, 3, 6, target_of(bias, block, block, y, ldy));
}

static RNNRT_NOINLINE TARGET void KERNEL(s8_3x4)(const rnnrt_product *p, uint32_t row, uint32_t block,
                                                 const float *bias, float *y, size_t ldy) {
    s8_tile(p, row, block, 3, 4, target_of(bias, block, block, y, ldy));
}

static RNNRT_NOINLINE TARGET void KERNEL(s8_3x3)(const rnnrt_product *p, uint32_t row, uint32_t block,
                                                 const float *bias, float *y, size_t ldy) {
    s8_tile(p, row, block, 3, 3, target_of(bias, block, block, y, ldy));
}

static RNNRT_NOINLINE TARGET void KERNEL(s8_3x2)(const rnnrt_product *p, uint32_t row, uint32_t block,
                                                 const float *bias, float *y, size_t ldy) {
    s8_tile(p, row, block, 3, 2, target_of(bias, block, block, y, ldy));
}

static RNNRT_NOINLINE TARGET void KERNEL(s8_4x4)(const rnnrt_product *p, uint32_t row, uint32_t block,
                                                 const float *bias, float *y, size_t ldy) {
    s8_tile(p, row, block, 4, 4, target_of(bias, block, block, y, ldy));
}

static RNNRT_NOINLINE TARGET void KERNEL(s8_4x3)(const rnnrt_product *p, uint32_t row, uint32_t block,
                                                 const float *bias, float *y, size_t ldy) {
    s8_tile(p, row, block, 4, 3, target_of(bias, block, block, y, ldy));
}

static RNNRT_NOINLINE TARGET void KERNEL(s8_4x2)(const rnnrt_product *p, uint32_t row, uint32_t block,
                                                 const float *bias, float *y, size_t ldy) {
    s8_tile(p, row, block, 4, 2, target_of(bias, block, block, y, ldy));
}

/* All of the n rows but one that may be left, by tiles of 6 (if there are), 4, 3 and 2; returns how many. 4 and 3 are faster
 * than 6 and 1. */
RNNRT_INLINE TARGET uint32_t in_tiles(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block,
                                      const float *bias, float *y, size_t ldy, tile_function six, tile_function four,
                                      tile_function three, tile_function two) {
    uint32_t done = 0;
    for (uint32_t left = n, rows; left > 1; left -= rows, done += rows, y += rows * ldy) {
        if (six && left >= 6 && left != 7) {
            rows = 6;
            six(p, row + done, block, bias, y, ldy);
        } else if (left >= 4) {
            rows = 4;
            four(p, row + done, block, bias, y, ldy);
        } else if (left == 3) {
            rows = 3;
            three(p, row + done, block, bias, y, ldy);
        } else {
            rows = 2;
            two(p, row + done, block, bias, y, ldy);
        }
    }
    return done;
}

static RNNRT_NOINLINE TARGET uint32_t KERNEL(s8_3)(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block,
                                                   const float *bias, float *y, size_t ldy) {
    return in_tiles(p, row, n, block, bias, y, ldy, KERNEL(s8_3x6), KERNEL(s8_3x4), KERNEL(s8_3x3), KERNEL(s8_3x2));
}

static RNNRT_NOINLINE TARGET uint32_t KERNEL(s8_4)(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block,
                                                   const float *bias, float *y, size_t ldy) {
    return in_tiles(p, row, n, block, bias, y, ldy, NULL, KERNEL(s8_4x4), KERNEL(s8_4x3), KERNEL(s8_4x2));
}

#endif

static TARGET void KERNEL(rows_s8)(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block0, uint32_t block1,
                                   const float *bias, float *y, size_t ldy) {
    const uint32_t end = row + n;
#if defined(S8_GATE_TILES)
    if (n > 1 && (block1 - block0 == 3 || block1 - block0 == 4) && block1 <= p->m->rows / 16u) {
        const uint32_t done = block1 - block0 == 3 ? KERNEL(s8_3)(p, row, n, block0, bias, y, ldy)
                                                   : KERNEL(s8_4)(p, row, n, block0, bias, y, ldy);
        row += done;
        y += done * ldy;
    }
#endif
    for (; end - row >= S8_ROWS; row += S8_ROWS, y += S8_ROWS * ldy) {
        KERNEL(s8_many)(p, row, block0, block1, bias, y, ldy);
    }
    if (S8_ROWS > 3 && end - row == 3) { KERNEL(s8_three)(p, row, block0, block1, bias, y, ldy); }
    if (S8_ROWS > 2 && end - row == 2) { KERNEL(s8_two)(p, row, block0, block1, bias, y, ldy); }
    if (end - row == 1) { KERNEL(s8_one)(p, row, block0, block1, bias, y, ldy); }
}

static TARGET void KERNEL(matmul_s8)(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias,
                                     const int8_t *q, size_t ldq, const float *xscale, uint32_t n, float *y,
                                     size_t ldy) {
    const rnnrt_product p = {.m = m, .q = q, .xscale = xscale, .ldx = ldq};
    all_blocks(KERNEL(rows_s8), &p, n, S8_STRIP, block0, block1, bias, y, ldy);
}

#endif
