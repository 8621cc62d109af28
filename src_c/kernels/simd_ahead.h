/* Steps of one row that project the input of later time steps meanwhile (rnnrt_ahead in kernels.h), s8, over the vector
 * words of simd_matmul_s8.h. A step waits for R's weights, from L2 or L3, half of its time; a product of several rows waits
 * for nothing. So the columns of both are multiplied in turn: 12 to 16 vectors of R, then AHEAD_TILE products with W.
 * Few rows of W by many of x, since W's weights take the same way through L1 as R's. For tables of one vector a block. */
#ifndef RNNRT_SIMD_AHEAD_H
#define RNNRT_SIMD_AHEAD_H

#include "simd_matmul_s8.h"
#include "simd_step_row.h"

#define AHEAD_TILE (AHEAD_BLOCKS * AHEAD_ROWS)
#define AHEAD_UNITS 4u /* blocks of units beside one tile */

/* What is left of a tile's columns. */
typedef struct columns {
    const int8_t *w, *x; /* x: as in rnnrt_ahead */
    uint32_t left;       /* four columns each */
} columns;

/* The next four columns of the tile: acc[block][row]; rows [first, end). */
RNNRT_INLINE TARGET void ahead_rows(const rnnrt_product *p, const columns *at, int first_row, int end, vi *acc) {
    const size_t block_bytes = (size_t)RNNRT_PAD(p->m->cols, 4u) * 16u;
    RNNRT_UNROLL
    for (int i = first_row; i < end; i++) {
        const vx x = vx_set(at->x + i * 4);
        RNNRT_UNROLL
        for (int b = 0; b < AHEAD_BLOCKS; b++) {
            vi *a = &acc[b * AHEAD_ROWS + i];
            *a = VI_DOT4_ROWS(*a, at->w + (size_t)b * block_bytes, x);
        }
    }
}

/* `side` blocks of R from `block` on, side by side, and as many of the tile's columns as go with them. One block alone has
 * four sums in flight. side is a constant wherever this is inlined. */
RNNRT_INLINE TARGET void ahead_blocks(const rnnrt_product *r, uint32_t block, int side, target t,
                                      const rnnrt_product *p, columns *at, vi *acc) {
    const int sums = 4 / side > 1 ? 4 / side : 1, turn = side == 1 ? 16 : 4; /* times four columns of R */
    const size_t block_bytes = (size_t)RNNRT_PAD(r->m->cols, 4u) * 16u;
    const int8_t *w = r->m->w8 + block * block_bytes, *q = r->q;
    vi sum[4];
    RNNRT_UNROLL
    for (int k = 0; k < side * sums; k++) {
        sum[k] = k % sums ? vi_set(0) : vi_start(r->m->row_sum + (block + (uint32_t)(k / sums)) * 16u);
    }
    uint32_t left = RNNRT_PAD(r->m->cols, 4u) / 4u;
    for (; left >= (uint32_t)turn && at->left > 0;
         left -= (uint32_t)turn, at->left--, at->w += 64, at->x += AHEAD_ROWS * 4) {
        RNNRT_UNROLL
        for (int c = 0; c < turn; c++, w += 64, q += 4) {
            const vx x = vx_set(q);
            RNNRT_UNROLL
            for (int b = 0; b < side; b++) {
                vi *a = &sum[b * sums + c % sums];
                *a = vi_dot4(*a, w + (size_t)b * block_bytes, x);
            }
            ahead_rows(p, at, c * AHEAD_ROWS / turn, (c + 1) * AHEAD_ROWS / turn, acc);
        }
    }
    for (; left > 0; left--, w += 64, q += 4) {
        const vx x = vx_set(q);
        RNNRT_UNROLL
        for (int b = 0; b < side; b++) { sum[b * sums] = vi_dot4(sum[b * sums], w + (size_t)b * block_bytes, x); }
    }
    RNNRT_UNROLL
    for (int b = 0; b < side; b++) {
        RNNRT_UNROLL
        for (int k = 1; k < sums; k++) { sum[b * sums] = vi_add(sum[b * sums], sum[b * sums + k]); }
        s8_store(r, 0, block, sum[b * sums], b, 0, 0, t);
    }
}

/* The tile's columns that are left, and its results; sums is used up. A function of its own, as the next two are: code that is
 * not inlined four times. */
static RNNRT_NOINLINE TARGET void KERNEL(ahead_end)(rnnrt_ahead *a, columns at, vi *sums) {
    const target t = target_of(a->bias, a->next, a->first, a->y, a->ldy);
    vi acc[AHEAD_TILE];
    RNNRT_UNROLL
    for (int k = 0; k < AHEAD_TILE; k++) { acc[k] = sums[k]; }
    for (; at.left > 0; at.left--, at.w += 64, at.x += AHEAD_ROWS * 4) { ahead_rows(&a->w, &at, 0, AHEAD_ROWS, acc); }
    RNNRT_UNROLL
    for (int k = 0; k < AHEAD_TILE; k++) { sums[k] = acc[k]; }
    for (int k = 0; k < AHEAD_TILE; k++) { s8_store(&a->w, 0, a->next, sums[k], k / AHEAD_ROWS, 0, k % AHEAD_ROWS, t); }
    a->next += AHEAD_BLOCKS;
}

/* The sums of the gates of AHEAD_UNITS blocks of units from `block` of R on, q: [AHEAD_UNITS][gates][16], and a->next's
 * tile. Reads `side` blocks at once, which is a constant wherever this is inlined. */
RNNRT_INLINE TARGET void ahead_tile(const rnnrt_recurrent_step *s, uint32_t block, uint32_t gates, int side, float *q) {
    rnnrt_ahead *a = s->ahead;
    const uint32_t end = block + AHEAD_UNITS * gates;
    const uint32_t groups = RNNRT_PAD(a->w.m->cols, 4u) / 4u;
    columns at = {a->w.m->w8 + (size_t)a->next * groups * 64u, a->x, groups};
    vi acc[AHEAD_TILE], sums[AHEAD_TILE];
    RNNRT_UNROLL
    for (uint32_t k = 0; k < AHEAD_TILE; k++) { acc[k] = vi_start(a->w.m->row_sum + (a->next + k / AHEAD_ROWS) * 16u); }
    for (uint32_t b = block; b < end; b += (uint32_t)side) {
        ahead_blocks(&s->r, b, side, target_of(s->br, b, block, q, 0), &a->w, &at, acc);
    }
    RNNRT_UNROLL
    for (int k = 0; k < AHEAD_TILE; k++) { sums[k] = acc[k]; }
    KERNEL(ahead_end)(a, at, sums);
}

static RNNRT_NOINLINE TARGET void KERNEL(ahead_one)(const rnnrt_recurrent_step *s, uint32_t block, uint32_t gates,
                                                    float *q) {
    ahead_tile(s, block, gates, 1, q);
}

/* The gates of blocks of units [b, b + AHEAD_UNITS). They ask for the begin of what is read next, from block `next` of R on:
 * of each gate, where those are read side by side. */
RNNRT_INLINE TARGET void ahead_cells(const rnnrt_recurrent_step *s, uint32_t b, uint32_t gates, const float *q,
                                     uint32_t next, int streamed) {
    const uint32_t bytes = (gates == 4 ? 6u : 3u) * FETCH_LINES * 64u; /* a block's: lstm_units, gru_units */
    for (uint32_t u = 0; u < AHEAD_UNITS; u++, q += gates * 16u) {
        const uintptr_t fetched = streamed    ? s8_address(s->r.m, next) + u * bytes
                                  : u < gates ? s8_address(s->r.m, next + u)
                                              : 0;
        step_cells(s, (b + u) * 16u, gates, s->p + (size_t)(b + u) * gates * 16u, q, fetched);
    }
}

/* Blocks of units in the step's order as long as there are tiles to make; *left becomes those that are left. gates is a
 * constant wherever this is inlined. */
RNNRT_INLINE TARGET void step_ahead(const rnnrt_recurrent_step *s, block_range *left, uint32_t gates, int streamed) {
    _Alignas(64) float q[AHEAD_UNITS * 64u];
    while (left->end - left->begin >= AHEAD_UNITS && s->ahead->end - s->ahead->next >= AHEAD_BLOCKS) {
        const uint32_t b = s->backward ? left->end -= AHEAD_UNITS : left->begin, block = s->first + b * gates;
        left->begin += s->backward ? 0 : AHEAD_UNITS;
        if (streamed) {
            KERNEL(ahead_one)(s, block, gates, q);
        } else {
            ahead_tile(s, block, gates, (int)gates, q);
        }
        ahead_cells(s, b, gates, q, s->backward ? block - AHEAD_UNITS * gates : block + AHEAD_UNITS * gates, streamed);
    }
}

#endif
