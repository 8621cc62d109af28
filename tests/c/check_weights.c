/* Checks of the matrix products with f16 and s4 weights; see check_kernels.c. */
#include <math.h>
#include <string.h>

#include "checker.h"

typedef struct product {
    rnnrt_matrix m;
    uint32_t block0, block1, n;
    const float *bias, *x, *xscale;
    const int8_t *q;
    const int32_t *start;
    size_t ldx, ldy;
} product;

static void run_f16(const rnnrt_kernels *k, const void *of, float *y) {
    const product *p = of;
    k->matmul_f16(&p->m, p->block0, p->block1, p->bias, p->x, p->ldx, p->n, y, p->ldy);
}

static void run_s4(const rnnrt_kernels *k, const void *of, float *y) {
    const product *p = of;
    k->matmul_s4(&p->m, p->block0, p->block1, p->bias, p->q, p->ldx, p->start, p->xscale, p->n, y, p->ldy);
}

static product product_of(uint32_t rows, uint32_t cols, uint32_t n, size_t ldx) {
    const uint32_t blocks = RNNRT_PAD(rows, 16u) / 16;
    product p = {.m = {.rows = rows, .cols = cols}, .block1 = blocks, .n = n, .ldx = ldx};
    p.block0 = draw() % 3 == 0 ? blocks / 3 : 0;
    p.block1 -= p.block0 + 1 < blocks && draw() % 3 == 0;
    return p;
}

static uint32_t rows_written(const product *p) {
    const uint32_t end = p->block1 * 16 < p->m.rows ? p->block1 * 16 : p->m.rows;
    return end - p->block0 * 16;
}

/* ---- f16 ---- */

static float widened(uint16_t half) {
    const int exponent = half >> 10 & 31, mantissa = half & 1023;
    const double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
    return (float)(half & 0x8000 ? -value : value);
}

/* Every finite half, 16 at a time: widened it is the very number that it means. */
void check_halves(void) {
    uint16_t *w = at(IN0, 32, 2);
    float *one = at(IN1, 4, 4);
    product p = {.m = {.rows = 16, .cols = 1, .w16 = w}, .block1 = 1, .n = 1, .ldx = 1, .ldy = 16, .x = one};
    *one = 1.0f;
    for (uint32_t first = 0; first < 0x10000; first += 16) {
        if ((first & 0x7C00) == 0x7C00) { continue; }
        for (uint32_t r = 0; r < 16; r++) { w[r] = (uint16_t)(first + r); }
        const float *y = check("matmul_f16", run_f16, &p, NULL, 16);
        for (uint32_t r = 0; r < 16; r++) { near("half", (double)y[r], (double)widened(w[r]), 0.0); }
    }
}

/* The bits of matmul_f32 on the widened weights. cols * n small enough for the stack. */
static void same_as_f32(product p, const float *y) {
    static float w32[144 * 257], expected[9 * 144];
    const size_t weights = (size_t)RNNRT_PAD(p.m.rows, 16u) * p.m.cols;
    for (size_t i = 0; i < weights; i++) { w32[i] = widened(p.m.w16[i]); }
    p.m.w32 = w32;
    const size_t wide = rows_written(&p);
    scalar->matmul_f32(&p.m, p.block0, p.block1, p.bias, p.x, p.ldx, p.n, expected, wide);
    references++;
    for (size_t k = 0; k < p.n * wide; k++) {
        if (bits_of(y[k / wide * p.ldy + k % wide]) != bits_of(expected[k])) {
            fail("matmul_f16", "scalar against matmul_f32");
            return;
        }
    }
}

static void check_f16(uint32_t rows, uint32_t cols, uint32_t n, enum fill fill) {
    product p = product_of(rows, cols, n, cols + n % 3);
    const size_t weights = (size_t)RNNRT_PAD(rows, 16u) * cols;
    uint16_t *w = at(IN0, weights * 2, 2);
    for (size_t i = 0; i < weights; i++) {
        const uint32_t r = draw();
        w[i] = (uint16_t)(r % 4 ? (r & 0x83FF) | 0x3800 : r % 16 ? (r & 0xFBFF) : r & 0x83FF); /* |w| ~ 1; any; tiny */
    }
    p.m.w16 = w;
    p.x = floats(IN1, (n - 1) * p.ldx + cols, fill);
    p.bias = draw() % 4 ? floats(IN2, rows, fill) : NULL;
    p.ldy = rows_written(&p) + n % 2 * 5;
    same_as_f32(p, check("matmul_f16", run_f16, &p, NULL, (n - 1) * p.ldy + rows_written(&p)));
}

/* ---- s4 ---- */

/* Nibbles, 8 where no row or column is. extreme: all 0 (-8) or all 15 (7). */
static uint8_t *nibbles(uint32_t rows, uint32_t cols, int extreme) {
    const uint32_t blocks = RNNRT_PAD(rows, 16u) / 16, groups = RNNRT_PAD(cols, 32u) / 32;
    uint8_t *w = at(IN0, (size_t)blocks * groups * 256, 1);
    for (size_t i = 0; i < (size_t)blocks * groups * 256; i++) {
        const uint32_t row = (uint32_t)(i / 256 / groups * 16 + i / 4 % 16);
        const uint32_t col = (uint32_t)(i / 256 % groups * 32 + i / 64 % 4 * 8 + i % 4);
        const uint32_t two = extreme == 1 ? 0 : extreme == 2 ? 0xFF : draw() & 0xFF;
        const uint32_t low = row < rows && col < cols ? two & 15 : 8;
        const uint32_t high = row < rows && col + 4 < cols ? two >> 4 : 8;
        w[i] = (uint8_t)(high << 4 | low);
    }
    return w;
}

static void reference_s4(const product *p, const float *y) {
    const size_t groups = RNNRT_PAD(p->m.cols, 32u) / 32;
    for (uint32_t r = 0; r < rows_written(p); r++) {
        const uint32_t row = p->block0 * 16 + r;
        const size_t block = row / 16 * groups;
        int64_t sum = 0;
        for (uint32_t c = 0; c < p->m.cols; c++) {
            const uint32_t two = p->m.w4[(block + c / 32) * 256 + c % 32 / 8 * 64 + row % 16 * 4 + c % 4];
            const int weight = (int)(c / 4 % 2 ? two >> 4 : two & 15) - 8;
            sum += (int64_t)weight * p->m.step[(block + c / 32) * 16 + row % 16] * p->q[c];
        }
        const double value = (double)sum * (double)p->m.scale[row] * (double)p->xscale[0];
        const double bias = p->bias ? (double)p->bias[row] : 0.0;
        near("matmul_s4", (double)y[r], value + bias, (fabs(value) * 4 + fabs(bias)) * 0x1p-24);
    }
}

static void check_s4(uint32_t rows, uint32_t cols, uint32_t n, int saturated) {
    const uint32_t blocks = RNNRT_PAD(rows, 16u) / 16, padded = RNNRT_PAD(cols, 32u), groups = padded / 32;
    product p = product_of(rows, cols, n, padded + n % 3);
    p.m.w4 = nibbles(rows, cols, saturated ? 1 + (int)(draw() % 2) : 0);
    p.m.step = bytes(IN3, (size_t)blocks * groups * 16, saturated);
    int8_t *q = bytes(IN1, (n - 1) * p.ldx + padded, saturated);
    float *scale = floats(IN2, blocks * 16 + n + n * groups, MODERATE); /* xscale, then start behind it */
    int32_t *start = (int32_t *)(void *)(scale + blocks * 16 + n);
    for (uint32_t i = 0; i < n; i++) {
        memset(q + i * p.ldx + cols, 0, padded - cols);
        for (uint32_t g = 0; g < groups; g++) {
            start[i * groups + g] = 0;
            for (uint32_t c = 0; c < 32; c++) { start[i * groups + g] -= 8 * q[i * p.ldx + g * 32 + c]; }
        }
    }
    p.m.scale = scale, p.q = q, p.start = start, p.xscale = scale + blocks * 16;
    p.bias = draw() % 4 ? floats(IN4, rows, MODERATE) : NULL;
    p.ldy = rows_written(&p) + n % 2 * 5;
    reference_s4(&p, check("matmul_s4", run_s4, &p, NULL, (n - 1) * p.ldy + rows_written(&p)));
}

void check_weights(uint32_t cols) {
    static const uint32_t rows[] = {1, 15, 16, 17, 48, 100, 131}, batch[] = {1, 2, 3, 4, 5, 9};
    for (uint32_t k = 0; k < 6; k++) {
        for (int fill = 0; fill < FILLS; fill++) { check_f16(rows[(cols + k) % 7], cols, batch[k], (enum fill)fill); }
        for (int saturated = 0; saturated < 4; saturated++) {
            check_s4(rows[(cols + k) % 7], cols, batch[k], saturated);
        }
    }
}
