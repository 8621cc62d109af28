/* A recurrent step of one row, block by block, with the tiles of its products inlined. */
#ifndef RNNRT_SIMD_STEP_ROW_H
#define RNNRT_SIMD_STEP_ROW_H

#include "simd_units.h"

#if !defined(STEPS_BY_CALLS)

/* The units of one block from u on. p, q: [gates][16] */
RNNRT_INLINE TARGET void step_cells(const rnnrt_recurrent_step *s, uint32_t u, uint32_t gates, const float *p,
                                    const float *q, uintptr_t next) {
    const uint32_t n = smaller(s->units - u, 16u);
    const float *h = s->h + u;
    float *y = s->y + u;
    for (uint32_t v = 0; v < n; v += LANES) {
        if (gates == 4) {
            lstm_units(next, n - v, p + v, q + v, s->c + u + v, s->c_out + u + v, y + v);
        } else {
            gru_units(next, n - v, p + v, q + v, h + v, y + v);
        }
    }
}

RNNRT_INLINE TARGET uintptr_t s8_address(const rnnrt_matrix *m, uint32_t block) {
    return (uintptr_t)m->w8 + (uintptr_t)block * RNNRT_PAD(m->cols, 4u) * 16u;
}

/* gates: 3 for GRU, 4 for LSTM; it, the functions and `fetching` are constants wherever this is inlined. A table that defines
 * STEPS_BY_CALLS goes without: with one lane a call costs nothing beside the product, and on a Cortex-M4 the copies would be
 * 0.7 kB of code (GRU) or 1.9 (LSTM) for 0.2 % of the instructions. */
RNNRT_INLINE TARGET void step_row(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1, uint32_t gates,
                                  gates_function gates_w, gates_function gates_r, int fetching) {
    _Alignas(64) float own_p[64], q[64];
    block_order o = order_of(block0, block1, s->backward);
    for (uint32_t left = block1 - block0; left > 0; left--, o.at += o.by) {
        const uint32_t b = o.at, first = s->first + b * gates;
        const uint32_t next = left > 1 ? first + o.by * gates : first;
        const float *p = own_p;
        if (s->w.m) {
            gates_w(&s->w, first, (int)gates, s->bw, own_p);
        } else {
            p = s->p + (size_t)b * gates * 16u;
        }
        gates_r(&s->r, first, (int)gates, s->br, q);
        step_cells(s, b * 16u, gates, p, q, fetching ? s8_address(s->w.m ? s->w.m : s->r.m, next) : 0);
    }
}

#endif

#endif
