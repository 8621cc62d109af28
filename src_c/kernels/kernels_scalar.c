/* The reference: portable C, one float at a time. The elementwise functions are the simd_*.h ones with one lane, in which
 * every vector word is a C operator; the matrix products are written out here as the definition that the others match. */
#include "float_exact.h"

#include <string.h>

#include "compiler.h"
#include "tables.h"
#include "words_dot.h"

#define LANES 1
#define STEPS_BY_CALLS
#define TARGET
#define KERNEL(name) name##_scalar

typedef float vf;
typedef int32_t vi;
typedef int vm;

RNNRT_INLINE vf vf_set(float s) { return s; }

RNNRT_INLINE vi vi_set(int32_t s) { return s; }

RNNRT_INLINE vf vf_load(const float *p) { return *p; }

RNNRT_INLINE void vf_store(float *p, vf v) { *p = v; }

/* n < LANES = 1: nothing to load. */
RNNRT_INLINE vf vf_load_n(const float *p, size_t n, float fill) {
    (void)p;
    (void)n;
    return fill;
}

RNNRT_INLINE void vf_store_n(float *p, vf v, size_t n) {
    (void)p;
    (void)v;
    (void)n;
}

RNNRT_INLINE vf vf_add(vf a, vf b) { return a + b; }

RNNRT_INLINE vf vf_sub(vf a, vf b) { return a - b; }

RNNRT_INLINE vf vf_mul(vf a, vf b) {
    vf product = a * b;
    RNNRT_PRODUCT(product);
    return product;
}

RNNRT_INLINE vf vf_div(vf a, vf b) { return a / b; }

RNNRT_INLINE vf vf_min(vf a, vf b) {
    int less = a < b;
    RNNRT_CHOICE(less);
    return less ? a : b;
}

RNNRT_INLINE vf vf_max(vf a, vf b) {
    int greater = a > b;
    RNNRT_CHOICE(greater);
    return greater ? a : b;
}

RNNRT_INLINE vm vf_lt(vf a, vf b) { return a < b; }

RNNRT_INLINE vm vf_eq(vf a, vf b) { return a == b; }

RNNRT_INLINE vf vf_select(vm m, vf a, vf b) { return m ? a : b; }

RNNRT_INLINE vi vf_bits(vf v) {
    vi bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

RNNRT_INLINE vf vi_floats(vi v) {
    vf floats;
    memcpy(&floats, &v, sizeof floats);
    return floats;
}

RNNRT_INLINE vf vf_from(vi v) { return (float)v; }

/* Sums and shifts wrap, as in the vector units. */
RNNRT_INLINE vi vi_add(vi a, vi b) { return (vi)((uint32_t)a + (uint32_t)b); }

RNNRT_INLINE vi vi_sub(vi a, vi b) { return (vi)((uint32_t)a - (uint32_t)b); }

RNNRT_INLINE vi vi_and(vi a, vi b) { return a & b; }

RNNRT_INLINE vi vi_or(vi a, vi b) { return a | b; }

RNNRT_INLINE vi vi_max(vi a, vi b) { return a > b ? a : b; }

RNNRT_INLINE vi vi_shl23(vi v) { return (vi)((uint32_t)v << 23); }

/* Not >>: of a negative number it is the compiler's choice. */
RNNRT_INLINE vi vi_shr23(vi v) { return v < 0 ? ~(~v >> 23) : v >> 23; }

RNNRT_INLINE void vi_store(int32_t *p, vi v) { *p = v; }

RNNRT_INLINE void vi_store_s8(int8_t *p, vi v) { *p = (int8_t)v; }

/* Correctly rounded, by integers: x = m * 2^e with e even and m in [2^46, 2^48), so that root = floor(sqrt(m)) has 24 bits.
 * sqrt(m) is never halfway between two integers ((root + 1/2)^2 is no integer), so the remainder decides. */
static vf vf_sqrt(vf x) {
    int32_t bits = vf_bits(x);
    if (!(x > 0.0f) || bits == 0x7F800000) { /* -0, +0, inf and NaN are their own roots */
        return x < 0.0f ? vi_floats(0x7FC00000) : x;
    }
    int32_t exponent = bits >> 23;
    uint64_t m = (uint64_t)(bits & 0x7FFFFF);
    if (exponent == 0) {
        exponent = 1;
        while (m < 0x800000) {
            m <<= 1;
            exponent--;
        }
    } else {
        m |= 0x800000;
    }
    exponent -= 127; /* x = m * 2^(exponent - 23); keeps its parity under m's shift by 23 or 24 */
    const int odd = exponent & 1;
    m <<= odd ? 24 : 23;
    uint64_t root = 0;
    for (uint64_t bit = (uint64_t)1 << 23; bit > 0; bit >>= 1) {
        if ((root | bit) * (root | bit) <= m) { root |= bit; }
    }
    root += m - root * root > root; /* m > (root + 1/2)^2; never up to 2^24, as m < (2^24 - 1/2)^2 */
    return vi_floats((int32_t)root +
                     (((exponent - odd) / 2 + 126) * 0x800000)); /* root's top bit adds 1 to the exponent */
}

#include "simd_elementwise.h"
#include "simd_reduce.h"

/* y[r] = v[r] + bias[r] for the rows of a block that exist. */
static void store_block(const rnnrt_matrix *m, uint32_t block, const float *bias, const float v[16], float *y) {
    for (uint32_t r = 0; r < 16 && block * 16 + r < m->rows; r++) { y[r] = bias ? v[r] + bias[block * 16 + r] : v[r]; }
}

/* v[r] = sum over even columns + sum over odd columns. w: [cols][16], x: [cols] */
static void sum_columns(const float *w, const float *x, uint32_t cols, float v[16]) {
    float sum[2][16] = {{0}};
    for (uint32_t c = 0; c < cols; c++) {
        for (uint32_t r = 0; r < 16; r++) {
            sum[c % 2][r] = vf_add(sum[c % 2][r], vf_mul(w[(size_t)c * 16 + r], x[c]));
        }
    }
    for (uint32_t r = 0; r < 16; r++) { v[r] = sum[0][r] + sum[1][r]; }
}

static void rows_f32_scalar(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block0, uint32_t block1,
                            const float *bias, float *y, size_t ldy) {
    const rnnrt_matrix *m = p->m;
    for (uint32_t block = block0; block < block1; block++) {
        const float *w = m->w32 + (size_t)block * m->cols * 16;
        for (uint32_t i = 0; i < n; i++) {
            float v[16];
            sum_columns(w, p->x + (row + i) * p->ldx, m->cols, v);
            store_block(m, block, bias, v, y + i * ldy + (size_t)(block - block0) * 16);
        }
    }
}

/* A finite half as a float, exactly: a subnormal m * 2^-24 is shifted up until its leading one is implied. Then its exponent
 * wraps below 0, to -9 at the least, and adding 112 = 127 - 15 brings it back. */
static float widened(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 31u, mantissa = half & 0x3FFu;
    if (exponent == 0 && mantissa != 0) {
        for (exponent = 1; (mantissa & 0x400u) == 0; exponent--) { mantissa <<= 1; }
        mantissa &= 0x3FFu;
    } else if (exponent == 0) {
        return vi_floats((vi)sign);
    }
    return vi_floats((vi)(sign | (exponent + 112u) << 23 | mantissa << 13));
}

static void rows_f16_scalar(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block0, uint32_t block1,
                            const float *bias, float *y, size_t ldy) {
    const rnnrt_matrix *m = p->m;
    for (uint32_t block = block0; block < block1; block++) {
        const uint16_t *w = m->w16 + (size_t)block * m->cols * 16;
        for (uint32_t i = 0; i < n; i++) {
            float sum[2][16] = {{0}}, v[16]; /* even and odd columns */
            for (uint32_t c = 0; c < m->cols; c++) {
                for (uint32_t r = 0; r < 16; r++) {
                    const float weight = widened(w[(size_t)c * 16 + r]);
                    sum[c % 2][r] = vf_add(sum[c % 2][r], vf_mul(weight, p->x[(row + i) * p->ldx + c]));
                }
            }
            for (uint32_t r = 0; r < 16; r++) { v[r] = sum[0][r] + sum[1][r]; }
            store_block(m, block, bias, v, y + i * ldy + (size_t)(block - block0) * 16);
        }
    }
}

static void matmul_f16_scalar(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias,
                              const float *x, size_t ldx, uint32_t n, float *y, size_t ldy) {
    const rnnrt_product p = {.m = m, .x = x, .ldx = ldx};
    rows_f16_scalar(&p, 0, n, block0, block1, bias, y, ldy);
}

static void matmul_f32_scalar(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias,
                              const float *x, size_t ldx, uint32_t n, float *y, size_t ldy) {
    const rnnrt_product p = {.m = m, .x = x, .ldx = ldx};
    rows_f32_scalar(&p, 0, n, block0, block1, bias, y, ldy);
}

static void rows_s8_scalar(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block0, uint32_t block1,
                           const float *bias, float *y, size_t ldy) {
    const rnnrt_matrix *m = p->m;
    const uint32_t cols = RNNRT_PAD(m->cols, 4u);
    for (uint32_t block = block0; block < block1; block++) {
        const int8_t *w = m->w8 + (size_t)block * cols * 16;
        for (uint32_t i = 0; i < n; i++) {
            int32_t acc[16];
            float v[16];
            dot_columns(w, p->q + (row + i) * p->ldx, cols, acc);
            for (uint32_t r = 0; r < 16; r++) {
                v[r] = vf_mul((float)acc[r], m->scale[block * 16 + r] * p->xscale[row + i]);
            }
            store_block(m, block, bias, v, y + i * ldy + (size_t)(block - block0) * 16);
        }
    }
}

static void matmul_s8_scalar(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias,
                             const int8_t *q, size_t ldq, const float *xscale, uint32_t n, float *y, size_t ldy) {
    const rnnrt_product p = {.m = m, .q = q, .xscale = xscale, .ldx = ldq};
    rows_s8_scalar(&p, 0, n, block0, block1, bias, y, ldy);
}

/* acc[r] += step[r] * sum over a group's 32 columns of (nibble - 8) * q. w: [4][16][4], q: [32] */
static void dot_group(const uint8_t *w, const int8_t *step, const int8_t *q, int32_t acc[16]) {
    for (uint32_t r = 0; r < 16; r++) {
        int32_t sum = 0;
        for (uint32_t t = 0; t < 4; t++) {
            for (uint32_t k = 0; k < 4; k++) {
                const int32_t two = w[t * 64 + r * 4 + k];
                sum += ((two & 15) - 8) * q[t * 8 + k] + ((two >> 4) - 8) * q[t * 8 + 4 + k];
            }
        }
        acc[r] += step[r] * sum;
    }
}

/* 8 is taken from each nibble instead of using `start`. */
static void rows_s4_scalar(const rnnrt_product *p, uint32_t row, uint32_t n, uint32_t block0, uint32_t block1,
                           const float *bias, float *y, size_t ldy) {
    const rnnrt_matrix *m = p->m;
    const uint32_t groups = RNNRT_PAD(m->cols, RNNRT_GROUP) / RNNRT_GROUP;
    for (uint32_t block = block0; block < block1; block++) {
        for (uint32_t i = 0; i < n; i++) {
            int32_t acc[16] = {0};
            float v[16];
            for (uint32_t g = 0; g < groups; g++) {
                const size_t at = (size_t)block * groups + g;
                dot_group(m->w4 + at * 256u, m->step + at * 16u, p->q + (row + i) * p->ldx + g * RNNRT_GROUP, acc);
            }
            for (uint32_t r = 0; r < 16; r++) {
                v[r] = vf_mul((float)acc[r], m->scale[block * 16 + r] * p->xscale[row + i]);
            }
            store_block(m, block, bias, v, y + i * ldy + (size_t)(block - block0) * 16);
        }
    }
}

static void matmul_s4_scalar(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias,
                             const int8_t *q, size_t ldq, const int32_t *start, const float *xscale, uint32_t n,
                             float *y, size_t ldy) {
    const rnnrt_product p = {.m = m, .q = q, .xscale = xscale, .ldx = ldq, .start = start};
    rows_s4_scalar(&p, 0, n, block0, block1, bias, y, ldy);
}

#include "simd_cells.h"
#include "simd_steps.h"
#include "simd_reset.h"
#include "simd_table.h"

const rnnrt_kernels rnnrt_kernels_scalar = RNNRT_TABLE(DOT_ISA);
