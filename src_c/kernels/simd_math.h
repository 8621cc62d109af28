/* exp, log, sigmoid, tanh, ... on vectors: written once, included by each kernels_<isa>.c, the same bits everywhere.
 *
 * The including file defines before:
 *   LANES                      floats in a vf: 1, 4, 8 or 16
 *   TARGET                     the target attribute of its functions, or nothing
 *   KERNEL(name)               name_<isa>
 *   vf, vi, vm                 LANES floats, LANES int32, LANES truth values
 *   vf_set(s)  vi_set(s)       all lanes s
 *   vf_load(p) vf_store(p, v)  LANES floats
 *   vf_load_n(p, n, fill)      the first n < LANES floats of p, then fill; touches no more
 *   vf_store_n(p, v, n)        the first n < LANES lanes; touches no more
 *   vf_add sub mul div sqrt    IEEE, rounded once
 *   vf_min(a, b)               a < b ? a : b    (b where either is NaN)
 *   vf_max(a, b)               a > b ? a : b    (b where either is NaN)
 *   vf_lt(a, b) vf_eq(a, b)    false where either is NaN
 *   vf_select(m, a, b)         m ? a : b
 *   vf_bits(v) vi_floats(v)    the same bits as the other type
 *   vf_from(v)                 int32 to float, rounded to nearest even
 *   vi_add sub and or max      max signed
 *   vi_shl23(v) vi_shr23(v)    shift by 23, right arithmetic
 *   vi_store(p, v)             LANES int32
 *   vi_store_s8(p, v)          LANES int32, all within [-128, 127], as int8
 *
 * Rounding to an integer adds and subtracts 1.5 * 2^23, which leaves |v| < 2^22 rounded half to even, and the integer in
 * the low bits of the sum.
 *
 * Maximal errors over all 2^32 floats, measured by tests/c/check_kernels (argument "all") against libm's double functions;
 * 1 ulp = the distance of floats at the true result:
 *   sigmoid   9.5e-8 absolute         tanh      1.04e-7 absolute, 4.3 ulp
 *   exp       1.05 ulp                log       0.87 ulp
 *   softplus  2.2 ulp                 e^x - 1   1.17 ulp (x < 0)
 *   erf       7.9e-8 absolute, 1.33 ulp
 */
#ifndef RNNRT_SIMD_MATH_H
#define RNNRT_SIMD_MATH_H

/* Of the functions that an ISA may take from another table without losing anything, those without integer products:
 *   LINKAGE        what the ISA defines its own with; empty where another takes them
 *   SHARED(name)   the name of the one it uses */
#if !defined(LINKAGE)
#define LINKAGE static
#endif
#if !defined(SHARED)
#define SHARED KERNEL
#endif

#define ROUNDER 12582912.0f /* 1.5 * 2^23, bits 0x4B400000 */
#define LOG2E 1.44269504f
/* ln 2 = LN2_HI + LN2_LO; LN2_HI has 10 significant bits, so that n * LN2_HI is exact for |n| < 2^14. */
#define LN2_HI 0.693359375f
#define LN2_LO (-2.12194440e-4f)

/* Where x is NaN, x; else y. */
RNNRT_INLINE TARGET vf keep_nan(vf x, vf y) { return vf_select(vf_eq(x, x), y, x); }

RNNRT_INLINE TARGET vf absolute(vf x) { return vi_floats(vi_and(vf_bits(x), vi_set(0x7FFFFFFF))); }

RNNRT_INLINE TARGET vf negative(vf x) { return vf_sub(vf_set(-0.0f), x); }

/* x < 1e-30 in magnitude: +0 (a decaying state must not reach the denormals, which are slow). NaN stays. */
RNNRT_INLINE TARGET vf flushed(vf x) { return vf_select(vf_lt(absolute(x), vf_set(1e-30f)), vf_set(0.0f), x); }

/* x = n ln 2 + r, |r| <= 0.3467, for |x| < 2^14. n comes as ROUNDER + n. */
typedef struct reduced {
    vf rounder_n;
    vf n;
    vf r;
} reduced;

RNNRT_INLINE TARGET reduced split(vf x) {
    reduced y;
    y.rounder_n = vf_add(vf_mul(x, vf_set(LOG2E)), vf_set(ROUNDER));
    y.n = vf_sub(y.rounder_n, vf_set(ROUNDER));
    y.r = vf_sub(vf_sub(x, vf_mul(y.n, vf_set(LN2_HI))), vf_mul(y.n, vf_set(LN2_LO)));
    return y;
}

/* 2^n from ROUNDER + n, -127 < n <= 128; 2^128 is inf. 0x4B400000 shifted out leaves n + 127 after adding. */
RNNRT_INLINE TARGET vf power_of_two(vf rounder_n) {
    return vi_floats(vi_shl23(vi_add(vf_bits(rounder_n), vi_set(127))));
}

/* e^r - 1 for |r| <= 0.3467: r + r^2 * P(r), P minimax of degree 4 (relative error of the polynomial 1.6e-8). */
RNNRT_INLINE TARGET vf expm1_reduced(vf r) {
    const vf square = vf_mul(r, r);
    const vf low = vf_add(vf_mul(vf_set(0.16666543f), r), vf_set(0.5f));
    const vf high = vf_add(vf_mul(vf_set(0.008366596f), r), vf_set(0.04166628f));
    const vf p = vf_add(vf_mul(vf_add(vf_mul(vf_set(0.0013946472f), square), high), square), low);
    return vf_add(vf_mul(square, p), r);
}

/* The clamps below keep NaN: vf_max(c, x) and vf_min(c, x) return x where the comparison fails. From there it spreads. */

/* e^x where the result may be 2^-126 or less. 2^n in two halves: the first product is exact, the second rounds once. */
RNNRT_INLINE TARGET vf exponential(vf x) {
    const vf clamped = vf_max(vf_set(-104.0f), vf_min(vf_set(89.0f), x)); /* e^89 > FLT_MAX, e^-104 < 2^-150 */
    const reduced y = split(clamped);
    const vf half = vf_add(vf_mul(y.n, vf_set(0.5f)), vf_set(ROUNDER));
    const vf rest = vf_add(vf_sub(y.n, vf_sub(half, vf_set(ROUNDER))), vf_set(ROUNDER));
    const vf e = vf_add(expm1_reduced(y.r), vf_set(1.0f));
    return vf_mul(vf_mul(e, power_of_two(half)), power_of_two(rest));
}

/* e^x - 1, x <= 0; -1 from -87 on (and long before). Accurate near 0, where n = 0. */
RNNRT_INLINE TARGET vf expm1_negative(vf x) {
    const reduced y = split(vf_max(vf_set(-87.0f), x));
    const vf scale = power_of_two(y.rounder_n);
    return vf_add(vf_mul(scale, expm1_reduced(y.r)), vf_sub(scale, vf_set(1.0f)));
}

/* The gates' exponential 2^u. Their errors may be absolute, so that u = x log2(e) rounded once serves for a two-part
 * reduction, u = n + f, n = u rounded half to even. An ISA that has the words defines GATE_UNIT, 1 or 2, and
 *   gate_split(u)     n and f for any u; NaN stays in f; n <= -126 may count as -126
 *   gate_scale(v, e)  v * 2^n / GATE_UNIT, inf from n = 128 on */
#if !defined(GATE_UNIT)
#define GATE_UNIT 2.0f
#define GATE_ROUNDER                                                                                                   \
    12583038.0f /* 1.5 * 2^23 + 126, even as ROUNDER is: the bias of the exponent of 2^(n-1) comes along */

typedef struct gate_parts {
    vf n; /* GATE_ROUNDER + n */
    vf f;
} gate_parts;

RNNRT_INLINE TARGET gate_parts gate_split(vf u) {
    gate_parts e;
    const vf clamped = vf_max(vf_set(-126.0f), vf_min(vf_set(128.0f), u));
    e.n = vf_add(clamped, vf_set(GATE_ROUNDER));
    e.f = vf_sub(clamped, vf_sub(e.n, vf_set(GATE_ROUNDER)));
    return e;
}

/* 2^-127 comes out as 0: what 2^-126 is added to is 1 or -1. */
RNNRT_INLINE TARGET vf gate_scale(vf v, gate_parts e) { return vf_mul(v, vi_floats(vi_shl23(vf_bits(e.n)))); }
#endif

/* (2^f - 1) * GATE_UNIT = f * Q(f), |f| <= 1/2, Q minimax of degree 5 with ln 2 in front (relative error 1.1e-8); 0 where f
 * is 0. The unit doubles coefficients and results exactly. */
RNNRT_INLINE TARGET void gates_expm1(const vf *f, int n, vf *y) {
    vf square[4], low[4], mid[4];
    RNNRT_UNROLL
    for (int g = 0; g < n; g++) { square[g] = vf_mul(f[g], f[g]); }
    RNNRT_UNROLL
    for (int g = 0; g < n; g++) { low[g] = vf_mul(f[g], vf_set(0.2402265f * GATE_UNIT)); }
    RNNRT_UNROLL
    for (int g = 0; g < n; g++) { mid[g] = vf_mul(f[g], vf_set(0.009618037f * GATE_UNIT)); }
    RNNRT_UNROLL
    for (int g = 0; g < n; g++) { y[g] = vf_mul(f[g], vf_set(0.00015468024f * GATE_UNIT)); }
    RNNRT_UNROLL
    for (int g = 0; g < n; g++) { low[g] = vf_add(low[g], vf_set(0.6931472f * GATE_UNIT)); }
    RNNRT_UNROLL
    for (int g = 0; g < n; g++) { mid[g] = vf_add(mid[g], vf_set(0.055503663f * GATE_UNIT)); }
    RNNRT_UNROLL
    for (int g = 0; g < n; g++) { y[g] = vf_add(y[g], vf_set(0.0013387882f * GATE_UNIT)); }
    RNNRT_UNROLL
    for (int g = 0; g < n; g++) { y[g] = vf_mul(y[g], square[g]); }
    RNNRT_UNROLL
    for (int g = 0; g < n; g++) { y[g] = vf_add(y[g], mid[g]); }
    RNNRT_UNROLL
    for (int g = 0; g < n; g++) { y[g] = vf_mul(y[g], square[g]); }
    RNNRT_UNROLL
    for (int g = 0; g < n; g++) { y[g] = vf_add(y[g], low[g]); }
    RNNRT_UNROLL
    for (int g = 0; g < n; g++) { y[g] = vf_mul(y[g], f[g]); }
}

RNNRT_INLINE TARGET vf gate_expm1(vf f) {
    vf y;
    gates_expm1(&f, 1, &y);
    return y;
}

/* 1 + 2^u; inf from u = 128 on. */
RNNRT_INLINE TARGET vf one_plus_two_to(vf u) {
    const gate_parts e = gate_split(u);
    return vf_add(gate_scale(vf_add(gate_expm1(e.f), vf_set(GATE_UNIT)), e), vf_set(1.0f));
}

/* 1 + e^-x, so that sigmoid(x) = 1 / it; and 1 + e^x, so that 1 - sigmoid(x) = 1 / it without cancellation. */
RNNRT_INLINE TARGET vf one_plus_exp_minus(vf x) { return one_plus_two_to(vf_mul(x, vf_set(-LOG2E))); }
RNNRT_INLINE TARGET vf one_plus_exp(vf x) { return one_plus_two_to(vf_mul(x, vf_set(LOG2E))); }

/* 2^128 is inf and 2^f - 1 is then 0: sigmoid(-inf) = 0. */
RNNRT_INLINE TARGET vf sigmoid(vf x) { return vf_div(vf_set(1.0f), one_plus_exp_minus(x)); }

/* m = e^2x - 1, at most 2^26, so that tanh x = m / (m + 2) has exact -1, 0 and 1. */
RNNRT_INLINE TARGET vf expm1_twice(vf x) {
    const gate_parts e = gate_split(vf_min(vf_set(26.0f), vf_mul(x, vf_set(2.0f * LOG2E))));
    return vf_add(gate_scale(gate_expm1(e.f), e), vf_sub(gate_scale(vf_set(GATE_UNIT), e), vf_set(1.0f)));
}

/* With m = e^(2|x|) - 1: tanh |x| = m / (m + 2), which rounds to 1 from m = 2^26 on. */
RNNRT_INLINE TARGET vf tangent_hyperbolic(vf x) {
    const vi sign = vi_and(vf_bits(x), vi_set((int32_t)0x80000000u));
    const vf m = expm1_twice(absolute(x));
    const vf t = vf_div(m, vf_add(m, vf_set(2.0f)));
    return vi_floats(vi_or(vf_bits(t), sign));
}

/* log(m 2^e), m in [sqrt(1/2), sqrt 2), f = m - 1: f - f^2/2 + f^3 P(f) + e ln 2, P minimax of degree 7. */
RNNRT_INLINE TARGET vf logarithm(vf x) {
    const vf smallest_normal = vf_set(1.17549435e-38f);
    const vm denormal = vf_lt(x, smallest_normal);
    const vi bits = vf_bits(vf_select(denormal, vf_mul(x, vf_set(8388608.0f)), x));
    const vi exponent = vi_shr23(vi_sub(bits, vi_set(0x3F3504F3))); /* of sqrt(1/2) */
    const vf f = vf_sub(vi_floats(vi_sub(bits, vi_shl23(exponent))), vf_set(1.0f));
    const vf e = vf_sub(vf_from(exponent), vf_select(denormal, vf_set(23.0f), vf_set(0.0f)));
    vf p = vf_set(-0.07859615f);
    p = vf_add(vf_mul(p, f), vf_set(0.12881649f));
    p = vf_add(vf_mul(p, f), vf_set(-0.13128754f));
    p = vf_add(vf_mul(p, f), vf_set(0.14181192f));
    p = vf_add(vf_mul(p, f), vf_set(-0.16624554f));
    p = vf_add(vf_mul(p, f), vf_set(0.20002286f));
    p = vf_add(vf_mul(p, f), vf_set(-0.2500081f));
    p = vf_add(vf_mul(p, f), vf_set(0.33333316f));
    const vf square = vf_mul(f, f);
    vf y = vf_add(vf_mul(vf_mul(square, f), p), vf_mul(e, vf_set(LN2_LO)));
    y = vf_add(vf_add(vf_sub(y, vf_mul(square, vf_set(0.5f))), f), vf_mul(e, vf_set(LN2_HI)));
    const vf infinity = vi_floats(vi_set(0x7F800000));
    y = vf_select(vf_eq(x, infinity), x, y);
    y = vf_select(vf_eq(x, vf_set(0.0f)), negative(infinity), y);
    y = vf_select(vf_lt(x, vf_set(0.0f)), vi_floats(vi_set(0x7FC00000)), y);
    return keep_nan(x, y);
}

/* max(x, 0) + log(1 + t), t = e^-|x|. u = 1 + t loses t - (u - 1) to rounding: its share of the logarithm is added back. */
RNNRT_INLINE TARGET vf softplus(vf x) {
    const vf one = vf_set(1.0f);
    const vf t = exponential(negative(absolute(x)));
    const vf u = vf_add(one, t);
    const vf lost = vf_div(vf_sub(t, vf_sub(u, one)), u);
    return keep_nan(x, vf_add(vf_max(x, vf_set(0.0f)), vf_add(logarithm(u), lost)));
}

/* x with the sign of s; x is not negative. */
RNNRT_INLINE TARGET vf with_sign(vf x, vf s) {
    return vi_floats(vi_or(vf_bits(x), vi_and(vf_bits(s), vi_set((int32_t)0x80000000u))));
}

/* Half to even: |x| + 2^23 has no fraction left for |x| < 2^23; from there on x has none. -0.4 gives -0. */
RNNRT_INLINE TARGET vf round_half_even(vf x) {
    const vf size = absolute(x), limit = vf_set(8388608.0f);
    const vf rounded = vf_sub(vf_add(size, limit), limit);
    return vf_select(vf_lt(size, limit), with_sign(rounded, x), x);
}

RNNRT_INLINE TARGET vf round_down(vf x) {
    const vf y = round_half_even(x);
    return vf_select(vf_lt(x, y), vf_sub(y, vf_set(1.0f)), y);
}

RNNRT_INLINE TARGET vf round_up(vf x) { return negative(round_down(negative(x))); }

/* |x| < 0.9: x + x P(x^2), else 1 - e^(|x| Q(|x|)), P and Q minimax of degree 5 (errors 1.2e-8 relative, 3.1e-9). From 4
 * on 1 - erf is below 2^-25. */
RNNRT_INLINE TARGET vf error_function(vf x) {
    const vf size = absolute(x), square = vf_mul(x, x), t = vf_min(vf_set(4.0f), size);
    vf p = vf_set(-0.00060903526f);
    p = vf_add(vf_mul(p, square), vf_set(0.0050119613f));
    p = vf_add(vf_mul(p, square), vf_set(-0.026778908f));
    p = vf_add(vf_mul(p, square), vf_set(0.11282141f));
    p = vf_add(vf_mul(p, square), vf_set(-0.37612525f));
    p = vf_add(vf_mul(p, square), vf_set(0.12837915f));
    vf q = vf_set(0.00021459507f);
    q = vf_add(vf_mul(q, t), vf_set(-0.003219976f));
    q = vf_add(vf_mul(q, t), vf_set(0.022906033f));
    q = vf_add(vf_mul(q, t), vf_set(-0.10528686f));
    q = vf_add(vf_mul(q, t), vf_set(-0.6356994f));
    q = vf_add(vf_mul(q, t), vf_set(-1.12852f));
    const vf far = negative(expm1_negative(vf_mul(q, t)));
    return keep_nan(x, vf_select(vf_lt(size, vf_set(0.9f)), vf_add(vf_mul(x, p), x), with_sign(far, x)));
}

#endif
