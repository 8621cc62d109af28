/* The table's reductions and the quantization of activations over the vector words of simd_math.h.
 * The 16 partial results of kernels.h live in PARTS vectors, whatever the vector's width. */
#ifndef RNNRT_SIMD_REDUCE_H
#define RNNRT_SIMD_REDUCE_H

#include <string.h>

#include "simd_math.h"

#define PARTS (16 / LANES)
#if LANES == 1
#define UNROLL_PARTS /* 16 parts are more than the registers hold: it would only be more code */
#else
#define UNROLL_PARTS RNNRT_UNROLL
#endif

typedef enum reduction { REDUCE_SUM, REDUCE_SUM_SQ_DIFF, REDUCE_MAX } reduction;

/* part[] op= the next 16 elements. */
RNNRT_INLINE TARGET void reduce_block(reduction f, vf part[PARTS], const float x[16], vf mean) {
    UNROLL_PARTS
    for (int v = 0; v < PARTS; v++) {
        vf e = vf_load(x + v * LANES);
        if (f == REDUCE_SUM_SQ_DIFF) {
            e = vf_sub(e, mean);
            e = vf_mul(e, e);
        }
        part[v] = f == REDUCE_MAX ? keep_nan(part[v], vf_max(part[v], e)) : vf_add(part[v], e);
    }
}

/* The fixed tree: lanes 0-7 op= 8-15, 0-3 op= 4-7, 0-1 op= 2-3, 0 op= 1. */
RNNRT_INLINE TARGET float reduce_lanes(reduction f, float lane[16]) {
    for (int half = 8; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) {
            const float a = lane[l], b = lane[l + half];
            const float larger = a > b || a != a ? a : b;
            lane[l] = f == REDUCE_MAX ? larger : a + b;
        }
    }
    return lane[0];
}

/* f is a constant wherever this is inlined; start is its neutral element. */
RNNRT_INLINE TARGET float reduce(reduction f, float start, const float *x, float mean, size_t n) {
    vf part[PARTS];
    float lane[16];
    size_t i = 0;
    UNROLL_PARTS
    for (int v = 0; v < PARTS; v++) { part[v] = vf_set(start); }
    for (; i + 16 <= n; i += 16) { reduce_block(f, part, x + i, vf_set(mean)); }
    if (i < n) {
        for (size_t l = 0; l < 16; l++) {
            lane[l] = start;
            if (i + l < n) {
                const float d = x[i + l] - mean;
                float square = d * d;
                RNNRT_PRODUCT(square);
                lane[l] = f == REDUCE_SUM_SQ_DIFF ? square : x[i + l];
            }
        }
        reduce_block(f == REDUCE_MAX ? REDUCE_MAX : REDUCE_SUM, part, lane, vf_set(mean));
    }
    UNROLL_PARTS
    for (int v = 0; v < PARTS; v++) { vf_store(lane + v * LANES, part[v]); }
    return reduce_lanes(f, lane);
}

LINKAGE TARGET float KERNEL(sum)(const float *x, size_t n) { return reduce(REDUCE_SUM, 0.0f, x, 0.0f, n); }

LINKAGE TARGET float KERNEL(sum_sq_diff)(const float *x, float mean, size_t n) {
    return reduce(REDUCE_SUM_SQ_DIFF, 0.0f, x, mean, n);
}

LINKAGE TARGET float KERNEL(max)(const float *x, size_t n) {
    const uint32_t minus_infinity = 0xFF800000u;
    float start;
    memcpy(&start, &minus_infinity, sizeof start);
    return reduce(REDUCE_MAX, start, x, 0.0f, n);
}

/* The bits of max |x[0 .. n)|, n a multiple of 16. */
RNNRT_INLINE TARGET int32_t largest_of_vectors(const float *x, uint32_t n) {
    vi part[PARTS];
    int32_t lane[16], largest = 0;
    UNROLL_PARTS
    for (int v = 0; v < PARTS; v++) { part[v] = vi_set(0); }
    for (uint32_t i = 0; i < n; i += 16) {
        UNROLL_PARTS
        for (int v = 0; v < PARTS; v++) { part[v] = vi_max(part[v], vf_bits(absolute(vf_load(x + i + v * LANES)))); }
    }
    UNROLL_PARTS
    for (int v = 0; v < PARTS; v++) { vi_store(lane + v * LANES, part[v]); }
    for (int l = 0; l < 16; l++) { largest = lane[l] > largest ? lane[l] : largest; }
    return largest;
}

/* The bits of max |x|: the order of non-negative floats is the order of their bits, and NaN comes above infinity. */
RNNRT_INLINE TARGET int32_t largest_bits(const float *x, uint32_t n) {
    const uint32_t vectors = LANES > 1 ? n / 16u * 16u : 0;
    int32_t largest = LANES > 1 ? largest_of_vectors(x, vectors) : 0;
    for (uint32_t i = vectors; i < n; i++) {
        int32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7FFFFFFF;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

/* |x * factor| <= 127.0001, so that adding ROUNDER rounds to an integer within [-127, 127] and leaves it in the low bits. */
RNNRT_INLINE TARGET void quantize_block(const float x[16], vf factor, int8_t q[16]) {
    UNROLL_PARTS
    for (int v = 0; v < PARTS; v++) {
        const vf rounder_n = vf_add(vf_mul(vf_load(x + v * LANES), factor), vf_set(ROUNDER));
        vi_store_s8(q + v * LANES, vi_sub(vf_bits(rounder_n), vf_bits(vf_set(ROUNDER))));
    }
}

LINKAGE TARGET float KERNEL(quantize_s8)(const float *x, uint32_t n, int8_t *q) {
    const int32_t bits = largest_bits(x, n);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    if (bits >= 0x7F800000 || largest < 1e-30f) {
        const uint32_t quiet_nan = 0x7FC00000u;
        float scale = 0.0f;
        if (bits >= 0x7F800000) { memcpy(&scale, &quiet_nan, sizeof scale); }
        memset(q, 0, RNNRT_PAD(n, 4));
        return scale;
    }
    const vf factor = vf_set(127.0f / largest);
    uint32_t i = 0;
    for (; n - i >= 16; i += 16) { quantize_block(x + i, factor, q + i); }
    if (i < n) {
        float last[16] = {0};
        int8_t rounded[16];
        memcpy(last, x + i, (n - i) * sizeof *x);
        quantize_block(last, factor, rounded);
        memcpy(q + i, rounded, RNNRT_PAD(n - i, 4));
    }
    return largest / 127.0f;
}

#endif
