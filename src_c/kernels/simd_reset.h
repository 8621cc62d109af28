/* The table's step of a GRU with linear_before_reset = 0, in two parts: the equations stand in kernels.h. With one lane a
 * table goes without: it gains nothing beside its products, and on a Cortex-M4 the two would be 1.6 kB of code. */
#ifndef RNNRT_SIMD_RESET_H
#define RNNRT_SIMD_RESET_H

#include "simd_steps.h"

#if LANES == 1
#define GRU_RESET NULL
#define GRU_RENEW NULL
#else
#define GRU_RESET KERNEL(gru_reset)
#define GRU_RENEW KERNEL(gru_renew)

/* With a vector for each block the tiles are short; elsewhere they would be 6 kB of code. */
#define RESET_INLINED (LANES == 16)
#define RENEW_BLOCKS 4u /* of units at once */

/* Part `part` of row i of s->between: 0: 1 - z, 1: p of n, 2: r (.) h */
RNNRT_INLINE TARGET float *between(const rnnrt_recurrent_step *s, uint32_t i, uint32_t part) {
    return s->between + ((size_t)i * 3u + part) * RNNRT_PAD((size_t)s->units, 16u);
}

/* One block of row i; p: [z r n][16], q: [z r][16]; next: see fetch */
RNNRT_INLINE TARGET void reset_block(const rnnrt_recurrent_step *s, uint32_t i, uint32_t block, const float *p,
                                     const float *q, uintptr_t next) {
    const vf one = vf_set(1.0f);
    float *share = between(s, i, 0), *n = between(s, i, 1), *reset = between(s, i, 2);
    for (uint32_t v = 0, u = block * 16u; v < 16u && u < s->units; v += LANES, u += LANES) {
        const vf h = load_units(s->h + i * s->ldh + u, s->units - u);
        vf_store(share + u, vf_div(one, one_plus_exp(gate_sum(p + v, q + v, 0))));
        fetch(next, 0);
        vf_store(reset + u, vf_mul(vf_div(one, one_plus_exp_minus(gate_sum(p + v, q + v, 1))), h));
        vf_store(n + u, vf_load(p + 32 + v));
        fetch(next, 1);
    }
}

/* `left` units of row i from u on; q: [left]; next: see fetch */
RNNRT_INLINE TARGET void renew_units(const rnnrt_recurrent_step *s, uint32_t i, uint32_t u, uint32_t left,
                                     const float *q, uintptr_t next) {
    const float *share = between(s, i, 0) + u, *n = between(s, i, 1) + u, *h = s->h + i * s->ldh + u;
    float *y = s->y + i * s->ldy + u;
    for (uint32_t v = 0; v < left; v += LANES) {
        const vf old = load_units(h + v, left - v);
        const vf fresh = tangent_hyperbolic(vf_add(vf_load(n + v), vf_load(q + v)));
        const vf change = vf_mul(vf_load(share + v), vf_sub(fresh, old));
        fetch(next, 0);
        store_units(y + v, flushed(vf_add(old, change)), left - v);
    }
}

#if RESET_INLINED
/* One row of s8 weights: inlined, as in simd_steps.h. */
RNNRT_INLINE TARGET void reset_row(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    _Alignas(64) float own_p[48], q[32];
    block_order o = order_of(block0, block1, s->backward);
    for (uint32_t left = block1 - block0; left > 0; left--, o.at += o.by) {
        const uint32_t b = o.at, next = left > 1 ? b + o.by : b;
        const uint32_t w = s->first + b * 3u, r = s->first + b * 2u;
        if (s->w.m) { s8_gates(&s->w, w, 3, s->bw, own_p); }
        s8_gates(&s->r, r, 2, NULL, q);
        reset_block(s, 0, b, s->w.m ? own_p : s->p + b * 48u, q,
                    s->w.m ? s8_address(s->w.m, s->first + next * 3u) : s8_address(s->r.m, s->first + next * 2u));
    }
}

#endif

static TARGET void KERNEL(gru_reset)(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    _Alignas(64) float own_p[STEP_ROWS * 48u], q[STEP_ROWS * 32u];
    const rows_function rows_w = s->w.m ? rows_of(s->w.m) : NULL, rows_r = rows_of(s->r.m);
#if RESET_INLINED
    if (RNNRT_HAS_WEIGHTS(RNNRT_S8) && s->n == 1 && s->r.m->w8 && (!s->w.m || s->w.m->w8)) {
        reset_row(s, block0, block1);
        return;
    }
#endif
    block_order o = order_of(block0, block1, s->backward);
    for (uint32_t left = block1 - block0; left > 0; left--, o.at += o.by) {
        const uint32_t b = o.at, w = s->first + b * 3u, r = s->first + b * 2u;
        for (uint32_t i = 0, rows; i < s->n; i += rows) {
            const float *p = rows_w ? own_p : s->p + i * s->ldp + b * 48u;
            rows = smaller(s->n - i, STEP_ROWS);
            if (rows_w) { rows_w(&s->w, i, rows, w, w + 3u, s->bw, own_p, 48u); }
            rows_r(&s->r, i, rows, r, r + 2u, NULL, q, 32u);
            for (uint32_t k = 0; k < rows; k++) {
                reset_block(s, i + k, b, p + k * (rows_w ? 48u : s->ldp), q + k * 32u, 0);
            }
        }
    }
}

#if RESET_INLINED
/* Whole RENEW_BLOCKS of one row of s8 weights; returns the first block that is left. */
RNNRT_INLINE TARGET uint32_t renew_row(const rnnrt_recurrent_step *s, uint32_t first, uint32_t block0,
                                       uint32_t block1) {
    _Alignas(64) float q[RENEW_BLOCKS * 16u];
    uint32_t b = block0;
    for (; block1 - b >= RENEW_BLOCKS; b += RENEW_BLOCKS) {
        s8_gates(&s->r, first + b, (int)RENEW_BLOCKS, NULL, q);
        renew_units(s, 0, b * 16u, smaller(s->units - b * 16u, RENEW_BLOCKS * 16u), q,
                    s8_address(s->r.m, first + b + RENEW_BLOCKS));
    }
    return b;
}
#endif

static TARGET void KERNEL(gru_renew)(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    _Alignas(64) float q[STEP_ROWS * 16u];
    const rows_function rows_r = rows_of(s->r.m);
    const uint32_t first = s->first + RNNRT_PAD(s->units, 16u) / 16u * 2u;
    uint32_t b = block0;
#if RESET_INLINED
    if (RNNRT_HAS_WEIGHTS(RNNRT_S8) && s->n == 1 && s->r.m->w8) { b = renew_row(s, first, block0, block1); }
#endif
    for (uint32_t blocks; b < block1; b += blocks) {
        blocks = smaller(block1 - b, s->n < STEP_ROWS ? STEP_ROWS / s->n : 1u);
        const uint32_t left = smaller(s->units - b * 16u, blocks * 16u);
        for (uint32_t i = 0, rows; i < s->n; i += rows) {
            rows = smaller(s->n - i, STEP_ROWS);
            rows_r(&s->r, i, rows, first + b, first + b + blocks, NULL, q, blocks * 16u);
            for (uint32_t k = 0; k < rows; k++) { renew_units(s, i + k, b * 16u, left, q + k * blocks * 16u, 0); }
        }
    }
}

#endif

#endif
