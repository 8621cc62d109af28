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
