/* The table's unary and binary functions over the vector words of simd_math.h. */
#ifndef RNNRT_SIMD_ELEMENTWISE_H
#define RNNRT_SIMD_ELEMENTWISE_H

#include "simd_math.h"

/* The functions go to the loops as constants and are inlined there; without optimization they are called. */
typedef vf (*unary_function)(vf a, vf b, vf x);
typedef vf (*binary_function)(vf a, vf b);

RNNRT_INLINE TARGET vf unary_relu(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return vf_max(vf_set(0.0f), x);
}

RNNRT_INLINE TARGET vf unary_sigmoid(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return sigmoid(x);
}

RNNRT_INLINE TARGET vf unary_tanh(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return tangent_hyperbolic(x);
}

RNNRT_INLINE TARGET vf unary_affine(vf a, vf b, vf x) { return vf_add(vf_mul(a, x), b); }

RNNRT_INLINE TARGET vf unary_leaky_relu(vf a, vf b, vf x) {
    (void)b;
    return vf_select(vf_lt(x, vf_set(0.0f)), vf_mul(a, x), x);
}

RNNRT_INLINE TARGET vf unary_thresholded_relu(vf a, vf b, vf x) {
    (void)b;
    return keep_nan(x, vf_select(vf_lt(a, x), x, vf_set(0.0f)));
}

RNNRT_INLINE TARGET vf unary_scaled_tanh(vf a, vf b, vf x) { return vf_mul(a, tangent_hyperbolic(vf_mul(b, x))); }

RNNRT_INLINE TARGET vf unary_hard_sigmoid(vf a, vf b, vf x) {
    return vf_min(vf_set(1.0f), vf_max(vf_set(0.0f), vf_add(vf_mul(a, x), b)));
}

RNNRT_INLINE TARGET vf unary_elu(vf a, vf b, vf x) {
    (void)b;
    return vf_select(vf_lt(x, vf_set(0.0f)), vf_mul(a, expm1_negative(x)), x);
}

RNNRT_INLINE TARGET vf unary_softsign(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return vf_div(x, vf_add(vf_set(1.0f), absolute(x)));
}

RNNRT_INLINE TARGET vf unary_softplus(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return softplus(x);
}

RNNRT_INLINE TARGET vf unary_clip(vf a, vf b, vf x) { return vf_min(b, vf_max(a, x)); }

RNNRT_INLINE TARGET vf unary_exp(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return exponential(x);
}

RNNRT_INLINE TARGET vf unary_log(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return logarithm(x);
}

RNNRT_INLINE TARGET vf unary_sqrt(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return vf_sqrt(x);
}

RNNRT_INLINE TARGET vf unary_abs(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return absolute(x);
}

RNNRT_INLINE TARGET vf unary_neg(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return negative(x);
}

RNNRT_INLINE TARGET vf unary_floor(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return round_down(x);
}

RNNRT_INLINE TARGET vf unary_ceil(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return round_up(x);
}

RNNRT_INLINE TARGET vf unary_round(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return round_half_even(x);
}

RNNRT_INLINE TARGET vf unary_sign(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return vf_select(vf_lt(x, vf_set(0.0f)), vf_set(-1.0f), vf_select(vf_lt(vf_set(0.0f), x), vf_set(1.0f), x));
}

RNNRT_INLINE TARGET vf unary_erf(vf a, vf b, vf x) {
    (void)a;
    (void)b;
    return error_function(x);
}

/* n is a multiple of LANES: each function is in the code once, and the ends of arrays go through last[] below. */
RNNRT_INLINE TARGET void unary_loop(unary_function f, float a, float b, const float *x, float *y, size_t n) {
    const vf va = vf_set(a), vb = vf_set(b);
    for (size_t i = 0; i < n; i += LANES) { vf_store(y + i, f(va, vb, vf_load(x + i))); }
}

static TARGET void unary_vectors(rnnrt_unary f, float a, float b, const float *x, float *y, size_t n) {
    switch (f) {
    case RNNRT_RELU: unary_loop(unary_relu, a, b, x, y, n); break;
    case RNNRT_SIGMOID: unary_loop(unary_sigmoid, a, b, x, y, n); break;
    case RNNRT_TANH: unary_loop(unary_tanh, a, b, x, y, n); break;
    case RNNRT_AFFINE: unary_loop(unary_affine, a, b, x, y, n); break;
    case RNNRT_LEAKY_RELU: unary_loop(unary_leaky_relu, a, b, x, y, n); break;
    case RNNRT_THRESHOLDED_RELU: unary_loop(unary_thresholded_relu, a, b, x, y, n); break;
    case RNNRT_SCALED_TANH: unary_loop(unary_scaled_tanh, a, b, x, y, n); break;
    case RNNRT_HARD_SIGMOID: unary_loop(unary_hard_sigmoid, a, b, x, y, n); break;
    case RNNRT_ELU: unary_loop(unary_elu, a, b, x, y, n); break;
    case RNNRT_SOFTSIGN: unary_loop(unary_softsign, a, b, x, y, n); break;
    case RNNRT_SOFTPLUS: unary_loop(unary_softplus, a, b, x, y, n); break;
    case RNNRT_CLIP: unary_loop(unary_clip, a, b, x, y, n); break;
    case RNNRT_EXP: unary_loop(unary_exp, a, b, x, y, n); break;
    case RNNRT_LOG: unary_loop(unary_log, a, b, x, y, n); break;
    case RNNRT_SQRT: unary_loop(unary_sqrt, a, b, x, y, n); break;
    case RNNRT_ABS: unary_loop(unary_abs, a, b, x, y, n); break;
    case RNNRT_NEG: unary_loop(unary_neg, a, b, x, y, n); break;
    case RNNRT_FLOOR: unary_loop(unary_floor, a, b, x, y, n); break;
    case RNNRT_CEIL: unary_loop(unary_ceil, a, b, x, y, n); break;
    case RNNRT_ROUND: unary_loop(unary_round, a, b, x, y, n); break;
    case RNNRT_SIGN: unary_loop(unary_sign, a, b, x, y, n); break;
    case RNNRT_ERF: unary_loop(unary_erf, a, b, x, y, n); break;
    case RNNRT_UNARIES: break;
    }
}

LINKAGE TARGET void KERNEL(unary)(rnnrt_unary f, float a, float b, const float *x, float *y, size_t n) {
    const size_t rest = n % LANES, whole = n - rest;
    if (whole > 0) { unary_vectors(f, a, b, x, y, whole); }
    if (rest > 0) {
        float last[LANES];
        vf_store(last, vf_load_n(x + whole, rest, 0.0f));
        unary_vectors(f, a, b, last, last, LANES);
        vf_store_n(y + whole, vf_load(last), rest);
    }
}

RNNRT_INLINE TARGET vf binary_add(vf a, vf b) { return vf_add(a, b); }

RNNRT_INLINE TARGET vf binary_sub(vf a, vf b) { return vf_sub(a, b); }

RNNRT_INLINE TARGET vf binary_mul(vf a, vf b) { return vf_mul(a, b); }

RNNRT_INLINE TARGET vf binary_div(vf a, vf b) { return vf_div(a, b); }

RNNRT_INLINE TARGET vf binary_min(vf a, vf b) { return keep_nan(a, vf_min(a, b)); }

RNNRT_INLINE TARGET vf binary_max(vf a, vf b) { return keep_nan(a, vf_max(a, b)); }

/* n is a multiple of LANES, at least one step is 1; they are constants wherever this is inlined. */
RNNRT_INLINE TARGET void binary_loop(binary_function f, const float *a, size_t a_step, const float *b, size_t b_step,
                                     float *y, size_t n) {
    const vf a0 = vf_set(a[0]), b0 = vf_set(b[0]);
    for (size_t i = 0; i < n; i += LANES) {
        vf_store(y + i, f(a_step ? vf_load(a + i) : a0, b_step ? vf_load(b + i) : b0));
    }
}

RNNRT_INLINE TARGET void binary_steps(binary_function f, const float *a, size_t a_step, const float *b, size_t b_step,
                                      float *y, size_t n) {
    if (a_step && b_step) {
        binary_loop(f, a, 1, b, 1, y, n);
    } else if (a_step) {
        binary_loop(f, a, 1, b, 0, y, n);
    } else {
        binary_loop(f, a, 0, b, 1, y, n);
    }
}

static TARGET void binary_vectors(rnnrt_binary f, const float *a, size_t a_step, const float *b, size_t b_step,
                                  float *y, size_t n) {
    switch (f) {
    case RNNRT_ADD: binary_steps(binary_add, a, a_step, b, b_step, y, n); break;
    case RNNRT_SUB: binary_steps(binary_sub, a, a_step, b, b_step, y, n); break;
    case RNNRT_MUL: binary_steps(binary_mul, a, a_step, b, b_step, y, n); break;
    case RNNRT_DIV: binary_steps(binary_div, a, a_step, b, b_step, y, n); break;
    case RNNRT_MIN: binary_steps(binary_min, a, a_step, b, b_step, y, n); break;
    case RNNRT_MAX: binary_steps(binary_max, a, a_step, b, b_step, y, n); break;
    case RNNRT_BINARIES: break;
    }
}

LINKAGE TARGET void KERNEL(binary)(rnnrt_binary f, const float *a, size_t a_step, const float *b, size_t b_step,
                                   float *y, size_t n) {
    float scalar;
    if (n > 0 && !a_step && !b_step) { /* y may be b where it is one element */
        scalar = *b;
        for (size_t i = 0; i < n; i++) { y[i] = *a; }
        a = y;
        b = &scalar;
        a_step = 1;
    }
    const size_t rest = n % LANES, whole = n - rest;
    if (whole > 0) { binary_vectors(f, a, a_step, b, b_step, y, whole); }
    if (rest > 0) {
        float last_a[LANES], last_b[LANES];
        vf_store(last_a, a_step ? vf_load_n(a + whole, rest, 0.0f) : vf_set(*a));
        vf_store(last_b, b_step ? vf_load_n(b + whole, rest, 0.0f) : vf_set(*b));
        binary_vectors(f, last_a, 1, last_b, 1, last_a, LANES);
        vf_store_n(y + whole, vf_load(last_a), rest);
    }
}

#endif
