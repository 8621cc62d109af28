/* The table's recurrent cells over the vector words of simd_math.h: the equations stand in kernels.h.
 *
 * Each cell makes two passes over at most CHUNK units, with what the second needs on the stack: the tanh that depends on a
 * gate is about 50 cycles behind it, and one pass over both leaves a CPU too few independent operations to fill them. */
#ifndef RNNRT_SIMD_CELLS_H
#define RNNRT_SIMD_CELLS_H

#include "simd_math.h"

#define CHUNK 128u /* a multiple of 16 */

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

/* z = sigmoid(p_z + r_z), a = p_n + sigmoid(p_r + r_r) * r_n. p, r: [n/16][z r n][16], z, a: [n padded to LANES] */
RNNRT_INLINE TARGET void gru_gates(uint32_t n, const float *p, const float *r, float *z, float *a) {
    for (uint32_t u = 0; u < n; u += LANES) {
        const float *pu = p + (u / 16u) * 48u + u % 16u;
        const float *ru = r + (u / 16u) * 48u + u % 16u;
        vf_store(z + u, sigmoid(vf_add(vf_load(pu), vf_load(ru))));
        const vf g = sigmoid(vf_add(vf_load(pu + 16), vf_load(ru + 16)));
        vf_store(a + u, vf_add(vf_load(pu + 32), vf_mul(g, vf_load(ru + 32))));
    }
}

static TARGET void KERNEL(gru_cell)(uint32_t units, const float *p, const float *r, const float *h, float *y) {
    float z[CHUNK], a[CHUNK];
    for (uint32_t first = 0; first < units; first += CHUNK) {
        const uint32_t n = smaller(units - first, CHUNK);
        gru_gates(n, p + (size_t)first * 3, r + (size_t)first * 3, z, a);
        for (uint32_t u = 0; u < n; u += LANES) {
            const vf zu = vf_load(z + u);
            const vf kept = vf_mul(zu, load_units(h + first + u, n - u));
            const vf fresh = vf_mul(vf_sub(vf_set(1.0f), zu), tangent_hyperbolic(vf_load(a + u)));
            store_units(y + first + u, flushed(vf_add(fresh, kept)), n - u);
        }
    }
}

/* c_out = sigmoid(f) * c_in + sigmoid(i) * tanh(c), o = sigmoid(o). p, r: [n/16][i o f c][16], o: [n padded to LANES] */
RNNRT_INLINE TARGET void lstm_gates(uint32_t n, const float *p, const float *r, const float *c_in, float *c_out,
                                    float *o) {
    for (uint32_t u = 0; u < n; u += LANES) {
        const float *pu = p + (u / 16u) * 64u + u % 16u;
        const float *ru = r + (u / 16u) * 64u + u % 16u;
        const vf i = sigmoid(vf_add(vf_load(pu), vf_load(ru)));
        vf_store(o + u, sigmoid(vf_add(vf_load(pu + 16), vf_load(ru + 16))));
        const vf f = sigmoid(vf_add(vf_load(pu + 32), vf_load(ru + 32)));
        const vf t = tangent_hyperbolic(vf_add(vf_load(pu + 48), vf_load(ru + 48)));
        const vf kept = vf_mul(f, load_units(c_in + u, n - u));
        store_units(c_out + u, flushed(vf_add(kept, vf_mul(i, t))), n - u);
    }
}

static TARGET void KERNEL(lstm_cell)(uint32_t units, const float *p, const float *r, const float *c_in, float *c_out,
                                     float *y) {
    float o[CHUNK];
    for (uint32_t first = 0; first < units; first += CHUNK) {
        const uint32_t n = smaller(units - first, CHUNK);
        lstm_gates(n, p + (size_t)first * 4, r + (size_t)first * 4, c_in + first, c_out + first, o);
        for (uint32_t u = 0; u < n; u += LANES) {
            const vf c = load_units(c_out + first + u, n - u);
            store_units(y + first + u, vf_mul(vf_load(o + u), tangent_hyperbolic(c)), n - u);
        }
    }
}

#endif
