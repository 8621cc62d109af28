/* The table's recurrent cells and steps over the vector words of simd_math.h: the equations stand in kernels.h.
 *
 * A step does all gates of 16 units at a time, so that what the gates compute is still in L1 and the CPU fills their latency
 * (about 150 cycles) with the products of the next 16. A format of weights takes part by its rows_function. */
#ifndef RNNRT_SIMD_CELLS_H
#define RNNRT_SIMD_CELLS_H

#include "simd_math.h"

/* NULL: a format that this build does not have, which no loaded model has either. */
RNNRT_INLINE TARGET rows_function rows_of(const rnnrt_matrix *m) {
    if (RNNRT_HAS_WEIGHTS(RNNRT_S8) && m->w8) { return KERNEL(rows_s8); }
    if (RNNRT_HAS_WEIGHTS(RNNRT_S4) && m->w4) { return KERNEL(rows_s4); }
    if (RNNRT_HAS_WEIGHTS(RNNRT_F16) && m->w16) { return KERNEL(rows_f16); }
    return RNNRT_HAS_WEIGHTS(RNNRT_F32) ? KERNEL(rows_f32) : NULL;
}

#if defined(STEPS_BY_CALLS)
#define STEP_ROWS 4u /* rows of a step at once: what the largest tiles have */
#else
#define STEP_ROWS 12u /* several times that, of tiles with 2, 3 and 4 rows */
#endif

/* A table may define both, where it was measured to be faster with one row of s8 weights:
 *   FETCH_LINES    lines of the next block's weights that each stage of the gates asks for
 *   STREAM_BYTES   weights of a layer from which on they are read as they lie, block after block, which L3 is fastest at */
#if !defined(FETCH_LINES)
#define FETCH_LINES 0
#define STREAM_BYTES SIZE_MAX
#endif
#define FETCH_COLS 64u /* a layer of fewer columns is in L1 */

/* The next LANES of the units, or the n < LANES that are left. */
RNNRT_INLINE TARGET vf load_units(const float *x, uint32_t n) {
    return n >= LANES ? vf_load(x) : vf_load_n(x, n, 0.0f);
}

RNNRT_INLINE TARGET void store_units(float *y, vf v, uint32_t n) {
    if (n >= LANES) {
        vf_store(y, v);
    } else {
        vf_store_n(y, v, n);
    }
}

RNNRT_INLINE TARGET uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Gate g of a block: p + r. */
RNNRT_INLINE TARGET vf gate_sum(const float *p, const float *r, uint32_t g) {
    return vf_add(vf_load(p + g * 16u), vf_load(r + g * 16u));
}

/* Gates fill the window of instructions that wait for operands, so that no load behind them starts. Between their stages the
 * next block's weights, from address `next` on, are asked for; 0: not. All at once they would wait for each other. */
RNNRT_INLINE TARGET void fetch(uintptr_t next, int stage) {
    if (next == 0) { return; }
    RNNRT_UNROLL
    for (int k = 0; k < FETCH_LINES; k++) { rnnrt_prefetch(next + (uintptr_t)(stage * FETCH_LINES + k) * 64u); }
}

/* LANES units of a block, `left` of them exist. p, r: [z r n][16] */
RNNRT_INLINE TARGET void gru_units(uintptr_t next, uint32_t left, const float *p, const float *r, const float *h,
                                   float *y) {
    const vf old = load_units(h, left);
    const vf z = one_plus_exp(gate_sum(p, r, 0));
    fetch(next, 0);
    const vf reset = vf_div(vf_load(r + 32), one_plus_exp_minus(gate_sum(p, r, 1)));
    fetch(next, 1);
    const vf m = expm1_twice(vf_add(vf_load(p + 32), reset));
    fetch(next, 2);
    /* m2 <= 2^26 + 2: old * m2 is finite for |old| < 2^101 (a state is within +-1 unless a caller sets it otherwise). An
     * infinite z * m2 leaves the state as it is: its change would have been below 2^-100. */
    const vf m2 = vf_add(m, vf_set(2.0f));
    const vf change = vf_div(vf_sub(m, vf_mul(old, m2)), vf_mul(z, m2));
    store_units(y, flushed(vf_add(old, change)), left);
}

/* The same. p, r: [i o f c][16] */
RNNRT_INLINE TARGET void lstm_units(uintptr_t next, uint32_t left, const float *p, const float *r, const float *c_in,
                                    float *c_out, float *y) {
    const vf two = vf_set(2.0f);
    const vf kept = vf_div(load_units(c_in, left), one_plus_exp_minus(gate_sum(p, r, 2)));
    fetch(next, 0);
    const vf m = expm1_twice(gate_sum(p, r, 3));
    fetch(next, 1);
    const vf fresh = vf_div(m, vf_mul(one_plus_exp_minus(gate_sum(p, r, 0)), vf_add(m, two)));
    fetch(next, 2);
    const vf o = one_plus_exp_minus(gate_sum(p, r, 1));
    fetch(next, 3);
    const vf c = flushed(vf_add(kept, fresh));
    fetch(next, 4);
    const vf mc = expm1_twice(c);
    fetch(next, 5);
    store_units(c_out, c, left);
    store_units(y, vf_div(mc, vf_mul(o, vf_add(mc, two))), left);
}

static TARGET void KERNEL(gru_cell)(uint32_t units, const float *p, const float *r, const float *h, float *y) {
    for (uint32_t u = 0; u < units; u += LANES) {
        const size_t at = (size_t)(u / 16u) * 48u + u % 16u;
        gru_units(0, units - u, p + at, r + at, h + u, y + u);
    }
}

static TARGET void KERNEL(lstm_cell)(uint32_t units, const float *p, const float *r, const float *c_in, float *c_out,
                                     float *y) {
    for (uint32_t u = 0; u < units; u += LANES) {
        const size_t at = (size_t)(u / 16u) * 64u + u % 16u;
        lstm_units(0, units - u, p + at, r + at, c_in + u, c_out + u, y + u);
    }
}

/* `rows` rows from row i on, the units of one block from u on. p, q: [rows] of [gates][16], q's one behind the other */
RNNRT_INLINE TARGET void step_cells(const rnnrt_recurrent_step *s, uint32_t i, uint32_t rows, uint32_t u,
                                    uint32_t gates, const float *p, size_t ldp, const float *q, uintptr_t next) {
    const uint32_t n = smaller(s->units - u, 16u);
    for (uint32_t k = i; k < i + rows; k++, p += ldp, q += gates * 16u) {
        const float *h = s->h + k * s->ldh + u;
        float *y = s->y + k * s->ldy + u;
        for (uint32_t v = 0; v < n; v += LANES) {
            if (gates == 4) {
                lstm_units(next, n - v, p + v, q + v, s->c + k * s->ldc + u + v, s->c_out + k * s->ldc_out + u + v,
                           y + v);
            } else {
                gru_units(next, n - v, p + v, q + v, h + v, y + v);
            }
        }
    }
}

#if !defined(STEPS_BY_CALLS)

RNNRT_INLINE TARGET uintptr_t s8_address(const rnnrt_matrix *m, uint32_t block) {
    return (uintptr_t)m->w8 + (uintptr_t)block * RNNRT_PAD(m->cols, 4u) * 16u;
}

/* One row: the products' tiles are inlined, as calls cost more than small layers. gates: 3 for GRU, 4 for LSTM; it,
 * the functions and `fetching` are constants wherever this is inlined. A table that defines STEPS_BY_CALLS goes without:
 * with one lane a call costs nothing beside the product, and on a Cortex-M4 the copies would be 0.7 kB of code (GRU) or
 * 1.9 (LSTM) for 0.2 % of the instructions. */
RNNRT_INLINE TARGET void step_row(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1, uint32_t gates,
                                  gates_function gates_w, gates_function gates_r, int fetching) {
    _Alignas(64) float own_p[64], q[64];
    for (uint32_t b = block0; b < block1; b++) {
        const uint32_t first = s->first + b * gates;
        const float *p = own_p;
        if (s->w.m) {
            gates_w(&s->w, first, (int)gates, s->bw, own_p);
        } else {
            p = s->p + (size_t)b * gates * 16u;
        }
        gates_r(&s->r, first, (int)gates, s->br, q);
        step_cells(s, 0, 1, b * 16u, gates, p, 0, q,
                   fetching ? s8_address(s->w.m ? s->w.m : s->r.m, first + gates) : 0);
    }
}

#endif

/* Any number of rows, any formats. */
RNNRT_INLINE TARGET void step_blocks(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1, uint32_t gates) {
    _Alignas(64) float own_p[STEP_ROWS * 64], q[STEP_ROWS * 64];
    const rows_function rows_w = s->w.m ? rows_of(s->w.m) : NULL, rows_r = rows_of(s->r.m);
    for (uint32_t b = block0; b < block1; b++) {
        const uint32_t first = s->first + b * gates;
        for (uint32_t i = 0; i < s->n; i += STEP_ROWS) {
            const uint32_t rows = smaller(s->n - i, STEP_ROWS);
            const float *p = own_p;
            size_t ldp = gates * 16u;
            if (rows_w) {
                rows_w(&s->w, i, rows, first, first + gates, s->bw, own_p, ldp);
            } else {
                p = s->p + i * s->ldp + (size_t)b * ldp;
                ldp = s->ldp;
            }
            rows_r(&s->r, i, rows, first, first + gates, s->br, q, gates * 16u);
            step_cells(s, i, rows, b * 16u, gates, p, ldp, q, 0);
        }
    }
}

RNNRT_INLINE TARGET void step(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1, uint32_t gates) {
#if !defined(STEPS_BY_CALLS)
    const rnnrt_matrix *r = s->r.m, *w = s->w.m ? s->w.m : r;
    if (RNNRT_HAS_WEIGHTS(RNNRT_S8) && s->n == 1 && r->w8 && w->w8) {
        const size_t bytes = ((size_t)r->cols + (s->w.m ? w->cols : 0)) * s->units * gates;
        if (bytes >= STREAM_BYTES) {
            step_row(s, block0, block1, gates, s8_streamed, s8_streamed, 0);
        } else if (FETCH_LINES > 0 && w->cols >= FETCH_COLS) {
            step_row(s, block0, block1, gates, s8_gates, s8_gates, 1);
        } else {
            step_row(s, block0, block1, gates, s8_gates, s8_gates, 0);
        }
        return;
    }
    if (RNNRT_HAS_WEIGHTS(RNNRT_S4) && s->n == 1 && r->w4 && w->w4) {
        step_row(s, block0, block1, gates, s4_gates, s4_gates, 0);
        return;
    }
    if (RNNRT_HAS_WEIGHTS(RNNRT_F16) && s->n == 1 && r->w16 && w->w16) {
        step_row(s, block0, block1, gates, f16_gates, f16_gates, 0);
        return;
    }
    if (RNNRT_HAS_WEIGHTS(RNNRT_F32) && s->n == 1 && r->w32 && w->w32) {
        step_row(s, block0, block1, gates, f32_gates, f32_gates, 0);
        return;
    }
#endif
    step_blocks(s, block0, block1, gates);
}

static TARGET void KERNEL(gru_step)(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    step(s, block0, block1, 3);
}

static TARGET void KERNEL(lstm_step)(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1) {
    step(s, block0, block1, 4);
}

#endif
