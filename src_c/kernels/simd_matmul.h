/* What the table's matrix products have in common: tiles over the vector words of simd_math.h. simd_matmul_<format>.h has the
 * products of a format of weights and names the words that it needs beside those.
 *
 * A tile keeps its accumulators in registers over all columns and loads each weight once for all its rows of x. A tile's
 * size changes no result: each output has its own accumulators (f32: one for even and one for odd columns; s8 is exact in
 * any order). An ISA names the sizes of its tiles,
 *   <FORMAT>_BLOCKS, <FORMAT>_BLOCKS_MANY, <FORMAT>_ROWS    row blocks by rows of x, for one row of x and for many */
#ifndef RNNRT_SIMD_MATMUL_H
#define RNNRT_SIMD_MATMUL_H

#include <string.h>

#include "simd_math.h"

#define VECTORS (16 / LANES) /* in a row block */
#define MAX_TILE 18          /* accumulators in the largest tile: blocks * VECTORS * rows of x */

/* Where a tile's results go: whole blocks, so that nothing in a tile depends on the matrix's last row. */
typedef struct target {
    const float *bias; /* [blocks][16], the blocks bias_step apart */
    size_t bias_step;  /* 16, or 0 where there is no bias: then [16] of -0, which changes no number when added */
    float *y;          /* [rows of x][ldy] from the tile's first row on */
    size_t ldy;
} target;

#define Z -0.0f
static const float no_bias[16] = {Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z};
#undef Z

RNNRT_INLINE TARGET target target_of(const float *bias, uint32_t block, uint32_t block0, float *y, size_t ldy) {
    const target t = {bias ? bias + block * 16u : no_bias, bias ? 16 : 0, y + (size_t)(block - block0) * 16u, ldy};
    return t;
}

/* Vector v of block b for row i of x. */
RNNRT_INLINE TARGET void store_rows(target t, int b, int v, int i, vf sum) {
    const vf bias = vf_load(t.bias + (size_t)b * t.bias_step + (size_t)(v * LANES));
    vf_store(t.y + (size_t)i * t.ldy + (size_t)(b * 16 + v * LANES), vf_add(sum, bias));
}

/* The matrix's last block has n < 16 rows: the tile's results go to whole[rows][16] first. */
RNNRT_INLINE TARGET target whole_block(target t, uint32_t n, float bias[16], float *whole) {
    for (uint32_t r = 0; r < 16; r++) { bias[r] = r < n ? t.bias[r] : 0.0f; }
    const target w = {bias, 16, whole, 16};
    return w;
}

RNNRT_INLINE TARGET void copy_rows(target t, uint32_t n, const float *whole, int rows) {
    for (int i = 0; i < rows; i++) { memcpy(t.y + (size_t)i * t.ldy, whole + i * 16, n * sizeof *whole); }
}

/* Weights are read once for all rows of x: blocks outside, rows inside. */
RNNRT_INLINE TARGET void all_blocks(rows_function f, const rnnrt_product *p, uint32_t n, uint32_t blocks,
                                    uint32_t block0, uint32_t block1, const float *bias, float *y, size_t ldy) {
    for (uint32_t b = block0, next; b < block1; b = next) {
        next = n > 1 && block1 - b > blocks ? b + blocks : block1;
        f(p, 0, n, b, next, bias, y + (size_t)(b - block0) * 16u, ldy);
    }
}

#endif
