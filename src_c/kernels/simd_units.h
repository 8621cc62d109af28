/* The gates of a recurrent layer's units over the vector words of simd_math.h: the equations stand in kernels.h.
 *
 * A table may define FETCH_LINES, the lines of the next block's weights that each stage of the gates asks for. */
#ifndef RNNRT_SIMD_UNITS_H
#define RNNRT_SIMD_UNITS_H

#include "simd_math.h"

#if !defined(FETCH_LINES)
#define FETCH_LINES 0
#endif

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

/* The new state from z = 1 + e^z and m = e^2n - 1. m2 <= 2^26 + 2: old * m2 is finite for |old| < 2^101 (a state is within +-1
 * unless a caller sets it otherwise). An infinite z * m2 leaves the state as it is: its change would have been below 2^-100. */
RNNRT_INLINE TARGET vf gru_state(vf old, vf z, vf m) {
    const vf m2 = vf_add(m, vf_set(2.0f));
    const vf change = vf_div(vf_sub(m, vf_mul(old, m2)), vf_mul(z, m2));
    return flushed(vf_add(old, change));
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
    store_units(y, gru_state(old, z, m), left);
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

/* What follows does the same for many rows, in two loops: the gates of a row side by side, then its output. A CPU that holds back
 * 64 operations whose operands are missing (Zen 4) is full with two or three gates that stand one behind the other. */

/* x = p + r of each gate; y: 1 + e^(sign x) of the first, 1 + e^-x of the others before `twice`, e^2x - 1 from there on. All but
 * p, r and y are constants wherever this is inlined. */
RNNRT_INLINE TARGET void gates_abreast(const float *p, const float *r, int gates, int twice, float sign, vf y[4]) {
    gate_parts e[4];
    vf f[4], unit = vf_set(0.0f);
    RNNRT_UNROLL
    for (int g = 0; g < gates; g++) {
        const vf x = gate_sum(p, r, (uint32_t)g);
        e[g] = gate_split(g < twice ? vf_mul(x, vf_set(g == 0 ? sign * LOG2E : -LOG2E))
                                    : vf_min(vf_set(26.0f), vf_mul(x, vf_set(2.0f * LOG2E))));
        f[g] = e[g].f;
    }
    gates_expm1(f, gates, y);
    RNNRT_UNROLL
    for (int g = 0; g < gates; g++) {
        if (g < twice) {
            y[g] = vf_add(y[g], vf_set(GATE_UNIT));
        } else {
            unit = gate_scale(vf_set(GATE_UNIT), e[g]);
        }
    }
    RNNRT_UNROLL
    for (int g = 0; g < gates; g++) { y[g] = gate_scale(y[g], e[g]); }
    RNNRT_UNROLL
    for (int g = 0; g < gates; g++) { y[g] = vf_add(y[g], g < twice ? vf_set(1.0f) : vf_sub(unit, vf_set(1.0f))); }
}

/* r: [z r n][16]; leaves 1 + e^z and the sum of n there. */
RNNRT_INLINE TARGET void gru_gates(const float *p, float *r) {
    vf y[4];
    gates_abreast(p, r, 2, 2, 1.0f, y);
    vf_store(r, y[0]);
    vf_store(r + 16, vf_add(vf_load(p + 32), vf_div(vf_load(r + 32), y[1])));
}

RNNRT_INLINE TARGET void gru_output(uint32_t left, const float *r, const float *h, float *y) {
    store_units(y, gru_state(load_units(h, left), vf_load(r), expm1_twice(vf_load(r + 16))), left);
}

/* r: [i o f c][16]; leaves 1 + e^-o there. */
RNNRT_INLINE TARGET void lstm_gates(uint32_t left, const float *p, float *r, const float *c_in, float *c_out) {
    vf y[4];
    gates_abreast(p, r, 4, 3, -1.0f, y);
    const vf kept = vf_div(load_units(c_in, left), y[2]);
    const vf fresh = vf_div(y[3], vf_mul(y[0], vf_add(y[3], vf_set(2.0f))));
    vf_store(r, y[1]);
    store_units(c_out, flushed(vf_add(kept, fresh)), left);
}

RNNRT_INLINE TARGET void lstm_output(uint32_t left, const float *r, const float *c, float *y) {
    const vf mc = expm1_twice(load_units(c, left));
    store_units(y, vf_div(mc, vf_mul(vf_load(r), vf_add(mc, vf_set(2.0f)))), left);
}

RNNRT_INLINE TARGET uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

typedef struct block_range {
    uint32_t begin, end;
} block_range;

/* The blocks [block0, block1) in a step's order: at, at + by, ... */
typedef struct block_order {
    uint32_t at, by; /* by: 1, or 2^32 - 1 backward */
} block_order;

RNNRT_INLINE TARGET block_order order_of(uint32_t block0, uint32_t block1, int backward) {
    const block_order forward = {block0, 1u}, back = {block1 - 1u, UINT32_MAX};
    return backward ? back : forward;
}

#endif
