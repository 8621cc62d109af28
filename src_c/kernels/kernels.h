/* Everything that depends on an instruction set: one table of functions per ISA, all bit-identical.
 *
 * What keeps the bits identical (the reference is kernels_scalar.c):
 *  - integers: int32 accumulators, exact in any order (|sum| <= cols * 127 * 127 < 2^31 for cols <= RNNRT_MAX_COLS;
 *    s4: see RNNRT_S4_STEPS);
 *  - floats: elementwise + - * / only, each rounded once, in the order written in kernels_scalar.c; no FMA, no rcp;
 *    a matvec row is summed as   (even + odd) + bias,   even = the sum over columns 0, 2, 4, ... in ascending order,
 *    starting from +0, odd likewise over 1, 3, 5, ...;
 *  - reductions over a vector use 16 partial results, lane l taking elements l, l+16, ...; then lanes 0-7 op= lanes 8-15,
 *    0-3 op= 4-7, 0-1 op= 2-3, 0 op= 1. A tail is filled with the neutral element.
 * NaNs are equal as NaNs: their sign and payload are the CPU's business.
 *
 * No pointer needs more than its element's alignment (weights in a file happen to be 64-byte aligned). No kernel reads or
 * writes outside the extents given beside each pointer. Outputs may be the same array as an input where it says "in place".
 */
#ifndef RNNRT_KERNELS_H
#define RNNRT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "../include/rnnrt.h"
#include "compiler.h"

#define RNNRT_BLOCK 16u        /* rows of a packed tile = units of a recurrent block */
#define RNNRT_MAX_COLS 131072u /* 131072 * 127 * 127 = 2114060288 < 2^31 */
#define RNNRT_GROUP 32u        /* columns that share a step of s4 weights */
#define RNNRT_S4_STEPS 66051   /* sum of a row's |step|: 66051 * 32 * 8 * 127 = 2147450112 < 2^31 */
#define RNNRT_PAD(n, m) (((n) + (m)-1u) / (m) * (m))

/* Weight formats that this build can multiply with: bit d for rnnrt_dtype d. A runtime exported with a model has no
 * kernels for others, and matrix.c refuses them at load. */
#ifndef RNNRT_WEIGHTS
#define RNNRT_WEIGHTS 0xFFFFFFFFu
#endif
#define RNNRT_HAS_WEIGHTS(dtype) ((RNNRT_WEIGHTS >> (dtype)&1u) != 0)

/* A packed constant matrix of format.h: the one of w32, w16, w8, w4 that is not NULL tells its layout and type. */
typedef struct rnnrt_matrix {
    uint32_t rows, cols;    /* logical */
    const float *w32;       /* [R/16][cols][16], R = RNNRT_PAD(rows, 16) */
    const uint16_t *w16;    /* f16, likewise; finite */
    const int8_t *w8;       /* [R/16][C/4][16][4], C = RNNRT_PAD(cols, 4) */
    const uint8_t *w4;      /* [R/16][G][4][16][4], G = RNNRT_PAD(cols, 32) / 32; two columns a byte, 8 is zero */
    const float *scale;     /* [R], s8 and s4 */
    const int32_t *row_sum; /* [R], s8 only */
    const int8_t *step;     /* [R/16][G][16], s4 only: weight = scale * step * (nibble - 8) */
} rnnrt_matrix;

/* A matrix and the rows of activations that it multiplies, in the form its format wants. */
typedef struct rnnrt_product {
    const rnnrt_matrix *m;
    const float *x; /* [n] rows of m->cols, ldx apart: f32, f16 */
    const int8_t
        *q; /* [n] rows of RNNRT_PAD(m->cols, 4 or 32), ldx apart: s8, s4, as matmul_s8 and matmul_s4 want it */
    const float *xscale;  /* [n]: s8, s4 */
    const int32_t *start; /* [n][groups]: s4 */
    size_t ldx;
} rnnrt_product;

/* Has any table of this architecture ahead_rows? Where none has, compilers leave out what is for it. */
#if defined(RNNRT_ARCH_X86)
#define RNNRT_LOOKS_AHEAD 1
#else
#define RNNRT_LOOKS_AHEAD 0
#endif

/* The input's part of the next time steps of a stream, s8, made tile by tile beside the steps of now, as far as these get. */
typedef struct rnnrt_ahead {
    rnnrt_product w; /* times ahead_rows rows */
    const int8_t *x; /* w.q as [cols/4][ahead_rows][4]: rows 1 kB apart would push each other out of L1 */
    const float *bias;
    uint32_t first;     /* block of w.m that y begins with */
    uint32_t next, end; /* blocks still to be made; a step moves next on */
    float *y;           /* [ahead_rows] rows, ldy apart */
    size_t ldy;
} rnnrt_ahead;

/* A time step of n rows (streams) of a recurrent layer with default activations. G gates, rows of matrices in blocks
 * [unit/16][gate][unit%16] from block `first` on; matrices have whole blocks (m->rows a multiple of 16). */
typedef struct rnnrt_recurrent_step {
    rnnrt_product w; /* w.m NULL: the input's part is in p */
    rnnrt_product r;
    const float *bw, *br; /* [m->rows] or NULL for +0 */
    uint32_t first, units, n;
    /* From the last block to the first: what the step before read last is still in the cache. The bits are the same. */
    int backward;
    const float *p; /* [n] rows, ldp apart, of [units/16][gate][16]: W x + BW */
    size_t ldp;
    const float *h, *c; /* before: [n] rows of `units`, ldh and ldc apart; c: LSTM */
    size_t ldh, ldc;
    float *y, *c_out; /* after; c_out may be c, y may be h unless r.x is h as well */
    size_t ldy, ldc_out;
    float *between; /* gru_reset to gru_renew: [n][1 - z, p of n, r (.) h][units16], units16 = RNNRT_PAD(units, 16) */
    /* Or NULL; only where the table has ahead_rows, w.m is NULL, n 1 and all blocks are one range. */
    rnnrt_ahead *ahead;
} rnnrt_recurrent_step;

/* y = f(x), elementwise, in place allowed. a and b are the parameters in the formula; NaN in gives NaN out. */
typedef enum rnnrt_unary {
    RNNRT_RELU,    /* x < 0 ? 0 : x */
    RNNRT_SIGMOID, /* 1 / (1 + e^-x) */
    RNNRT_TANH,
    RNNRT_AFFINE,           /* a * x + b */
    RNNRT_LEAKY_RELU,       /* x < 0 ? a * x : x */
    RNNRT_THRESHOLDED_RELU, /* x > a ? x : 0 */
    RNNRT_SCALED_TANH,      /* a * tanh(b * x) */
    RNNRT_HARD_SIGMOID,     /* clip(a * x + b, 0, 1) */
    RNNRT_ELU,              /* x < 0 ? a * (e^x - 1) : x */
    RNNRT_SOFTSIGN,         /* x / (1 + |x|) */
    RNNRT_SOFTPLUS,         /* max(x, 0) + log(1 + e^-|x|) */
    RNNRT_CLIP,             /* t = x < a ? a : x; b < t ? b : t  (a > b gives b, as ONNX says) */
    RNNRT_EXP,
    RNNRT_LOG,  /* log(0) = -inf, log(x < 0) = NaN */
    RNNRT_SQRT, /* correctly rounded; sqrt(x < 0) = NaN */
    RNNRT_ABS,
    RNNRT_NEG,
    RNNRT_FLOOR,
    RNNRT_CEIL,
    RNNRT_ROUND, /* half to even */
    RNNRT_SIGN,  /* -1, 0 or 1 */
    RNNRT_ERF,
    RNNRT_UNARIES
} rnnrt_unary;

typedef enum rnnrt_binary {
    RNNRT_ADD,
    RNNRT_SUB,
    RNNRT_MUL,
    RNNRT_DIV,
    RNNRT_MIN, /* a < b ? a : b, NaN where either is NaN */
    RNNRT_MAX, /* a > b ? a : b, NaN where either is NaN */
    RNNRT_BINARIES
} rnnrt_binary;

typedef struct rnnrt_kernels {
    const char *isa;

    /* y[i*ldy + r - 16*block0] = bias[r] + sum_c w[r][c] * x[i*ldx + c]
     * for i < n and the rows r of blocks [block0, block1), r < m->rows. Only those rows are written.
     * bias: [m->rows] indexed by r, or NULL for +0 (then the sum is stored as even + odd). x: [n] rows of m->cols. */
    void (*matmul_f32)(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias, const float *x,
                       size_t ldx, uint32_t n, float *y, size_t ldy);

    /* The same for s8: y = (float)acc * (scale[r] * xscale[i]) + bias[r], acc exact in int32.
     * q: [n] rows of RNNRT_PAD(m->cols, 4) values in [-127, 127], the padding 0, ldq apart. bias NULL: no addition. */
    void (*matmul_s8)(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias, const int8_t *q,
                      size_t ldq, const float *xscale, uint32_t n, float *y, size_t ldy);

    /* matmul_f32 with the f16 weights widened, to the bit. */
    void (*matmul_f16)(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias, const float *x,
                       size_t ldx, uint32_t n, float *y, size_t ldy);

    /* matmul_s8 for s4, acc = sum over groups g of step[r][g] * (sum over the group's columns of (nibble - 8) * q), exact.
     * q: [n] rows of RNNRT_PAD(m->cols, 32) values in [-127, 127], the padding 0, ldq apart.
     * start: [n][G], -8 * the sum of the group's q: with it the nibbles can be multiplied as they are. */
    void (*matmul_s4)(const rnnrt_matrix *m, uint32_t block0, uint32_t block1, const float *bias, const int8_t *q,
                      size_t ldq, const int32_t *start, const float *xscale, uint32_t n, float *y, size_t ldy);

    /* Symmetric quantization of x [n] to q [RNNRT_PAD(n, 4)] (padding 0); returns the scale.
     * amax = max |x|. amax < 1e-30: q = 0, scale 0. amax inf or NaN: q = 0, scale NaN (so that it stays visible).
     * Else scale = amax / 127 (one division), q = round_half_even(x * (127 / amax)), which is within [-127, 127]. */
    float (*quantize_s8)(const float *x, uint32_t n, int8_t *q);

    /* GRU gates, default activations. p: the input's part incl. bias, r: the recurrent part (lbr: incl. its bias), both
     * in blocks [units16/16][z r n][16], units16 = RNNRT_PAD(units, 16); h, y: [units], in place allowed.
     *   a = p_n + r_n / (1 + e^-(p_r + r_r))   (linear_before_reset = 1), m = e^2a - 1, so that tanh(a) = m / (m + 2)
     *   y = h + (m - h * (m + 2)) / ((1 + e^(p_z + r_z)) * (m + 2)), flushed to +0 where |y| < 1e-30
     * which is h + (1 - z) * (tanh(a) - h). 1 - z is never computed from z: a float z near 1 has lost it, and a state that
     * hardly changes from step to step would drift (docs/decisions.md). */
    void (*gru_cell)(uint32_t units, const float *p, const float *r, const float *h, float *y);

    /* LSTM gates, default activations; p + r in blocks [units16/16][i o f c][16]; c_in, c_out, y: [units], in place allowed.
     * Three divisions do for three sigmoids and two tanh, and a factor of 0 or 1 stays exact:
     *   c_out = c_in / (1 + e^-f) + m / ((1 + e^-i) * (m + 2)), m = e^2c - 1, flushed to +0 where |c_out| < 1e-30
     *   y = m / ((1 + e^-o) * (m + 2)), m = e^(2 c_out) - 1 */
    void (*lstm_cell)(uint32_t units, const float *p, const float *r, const float *c_in, float *c_out, float *y);

    /* A whole step of the unit blocks [block0, block1): both products and the cell above, block by block, the same bits as
     * matmul and cell one after the other. Ranges of blocks may run at the same time. */
    void (*gru_step)(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1);
    void (*lstm_step)(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1);

    /* Both or neither: a step of a GRU with linear_before_reset = 0, whose last product needs all of r (.) h; br is NULL. Rows of R: z and r in
     * blocks [unit/16][z r][unit%16], then n's. First gru_reset of all blocks, into `between`:
     *   1 - z = 1 / (1 + e^(p_z + r_z)),   r (.) h = (1 / (1 + e^-(p_r + r_r))) * h
     * then, with r.x or r.q made of r (.) h, gru_renew; it reads neither w nor p:
     *   y = h + (1 - z) * (tanh(p_n + r_n) - h), flushed to +0 where |y| < 1e-30 */
    void (*gru_reset)(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1);
    void (*gru_renew)(const rnnrt_recurrent_step *s, uint32_t block0, uint32_t block1);

    void (*unary)(rnnrt_unary f, float a, float b, const float *x, float *y, size_t n);

    /* y[i] = f(a[i * a_step], b[i * b_step]), steps 0 (a scalar) or 1; in place allowed on an operand with step 1. */
    void (*binary)(rnnrt_binary f, const float *a, size_t a_step, const float *b, size_t b_step, float *y, size_t n);

    float (*sum)(const float *x, size_t n);                     /* n = 0: 0 */
    float (*sum_sq_diff)(const float *x, float mean, size_t n); /* sum of (x - mean)^2 */
    float (*max)(const float *x, size_t n);                     /* n >= 1; NaN when any is NaN */

    uint32_t ahead_rows; /* time steps that gru_step and lstm_step project ahead, 0: they don't */
} rnnrt_kernels;

/* Tables of this build that this CPU and OS can run, best first; NULL past the end. */
const rnnrt_kernels *rnnrt_kernels_at(uint32_t i);
/* By name; NULL when unknown or not runnable here. */
const rnnrt_kernels *rnnrt_kernels_find(const char *isa);

#endif
