/* Checks every kernel table that runs here: bit-equal to the scalar table, within its extents, and (scalar) against double.
 *
 *     check_kernels [all] [bits] [isa...]
 *
 * Fails when an isa named is not available here. "all" measures the elementary functions over all 2^32 floats (minutes),
 * "bits" does not measure them: what is left on a CPU without doubles, whose bits the hash compares with those of another.
 * The hash covers every output of the bit-equality checks: it must be the same on every CPU, compiler and option. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../../src_c/kernels/crc32c.h"
#include "checker.h"

/* The CRC instruction against the table, with lengths around where three lanes begin (crc32c.c) and odd starts. */
static void check_crc32c(void) {
    static const size_t lengths[] = {0, 1, 7, 8, 9, 63, 65535, 65536, 65537, 65559, 65560, 65561, 200003};
    const rnnrt_crc32c_fn best = rnnrt_crc32c_best();
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t *data = at(IN0, lengths[i] + 3, 1);
        for (size_t b = 0; b < lengths[i] + 3; b++) { data[b] = (uint8_t)draw(); }
        for (size_t start = 0; start < 4; start++) {
            const size_t n = lengths[i] + 3 - start;
            const uint32_t crc = (uint32_t)i * 0x9E3779B9u;
            if (best(crc, data + start, n) != rnnrt_crc32c(crc, data + start, n)) { fail("crc32c", "best"); }
            comparisons++;
        }
    }
}

/* ---- matrix products ---- */

typedef struct product {
    rnnrt_matrix m;
    uint32_t block0, block1, n;
    const float *bias, *x, *xscale;
    const int8_t *q;
    size_t ldx, ldy;
} product;

static void run_f32(const rnnrt_kernels *k, const void *of, float *y) {
    const product *p = of;
    k->matmul_f32(&p->m, p->block0, p->block1, p->bias, p->x, p->ldx, p->n, y, p->ldy);
}

static void run_s8(const rnnrt_kernels *k, const void *of, float *y) {
    const product *p = of;
    k->matmul_s8(&p->m, p->block0, p->block1, p->bias, p->q, p->ldx, p->xscale, p->n, y, p->ldy);
}

static uint32_t rows_written(const product *p) {
    const uint32_t end = p->block1 * 16 < p->m.rows ? p->block1 * 16 : p->m.rows;
    return end - p->block0 * 16;
}

/* Rounding of cols products and cols + 1 sums, each at most 2^-24 of the sum of magnitudes; 2^-149 for underflow. */
static void reference_f32(const product *p, const float *y) {
    for (uint32_t r = 0; r < rows_written(p); r++) {
        const uint32_t row = p->block0 * 16 + r;
        const double bias = p->bias ? (double)p->bias[row] : 0.0;
        double sum = bias, magnitude = fabs(bias);
        for (uint32_t c = 0; c < p->m.cols; c++) {
            const float w = p->m.w32[(size_t)(row / 16) * p->m.cols * 16 + c * 16 + row % 16];
            sum += (double)w * (double)p->x[c];
            magnitude += fabs((double)w * (double)p->x[c]);
        }
        near("matmul_f32", (double)y[r], sum, magnitude * 0x1p-24 * (p->m.cols + 2));
    }
}

static void reference_s8(const product *p, const float *y) {
    const size_t cols = RNNRT_PAD(p->m.cols, 4u);
    for (uint32_t r = 0; r < rows_written(p); r++) {
        const uint32_t row = p->block0 * 16 + r;
        const int8_t *w = p->m.w8 + row / 16 * cols * 16 + row % 16 * 4;
        int64_t sum = 0;
        for (size_t c = 0; c < cols; c++) { sum += (int64_t)w[c / 4 * 64 + c % 4] * p->q[c]; }
        const double value = (double)sum * (double)p->m.scale[row] * (double)p->xscale[0];
        const double bias = p->bias ? (double)p->bias[row] : 0.0;
        near("matmul_s8", (double)y[r], value + bias, (fabs(value) * 4 + fabs(bias)) * 0x1p-24);
    }
}

static void check_f32(uint32_t rows, uint32_t cols, uint32_t n, enum fill fill) {
    const uint32_t blocks = RNNRT_PAD(rows, 16u) / 16;
    product p = {.m = {.rows = rows, .cols = cols}, .block1 = blocks, .n = n, .ldx = cols + n % 3};
    p.m.w32 = floats(IN0, (size_t)blocks * 16 * cols, fill);
    p.x = floats(IN1, (n - 1) * p.ldx + cols, fill);
    p.bias = draw() % 4 ? floats(IN2, rows, fill) : NULL;
    p.block0 = draw() % 3 == 0 ? blocks / 3 : 0;
    p.block1 -= p.block0 + 1 < blocks && draw() % 3 == 0;
    p.ldy = rows_written(&p) + n % 2 * 5;
    const float *y = check("matmul_f32", run_f32, &p, NULL, (n - 1) * p.ldy + rows_written(&p));
    if (fill == MODERATE) { reference_f32(&p, y); }
}

static void check_s8(uint32_t rows, uint32_t cols, uint32_t n, int saturated) {
    const uint32_t blocks = RNNRT_PAD(rows, 16u) / 16, padded = RNNRT_PAD(cols, 4u);
    product p = {.m = {.rows = rows, .cols = cols}, .block1 = blocks, .n = n, .ldx = padded + n % 3};
    int8_t *w = bytes(IN0, (size_t)blocks * 16 * padded, saturated);
    int8_t *q = bytes(IN1, (n - 1) * p.ldx + padded, saturated);
    float *scale = floats(IN2, blocks * 16 + n, MODERATE); /* xscale behind it */
    int32_t *row_sum = at(IN3, (size_t)blocks * 64, 4);
    for (uint32_t r = 0; r < blocks * 16; r++) {
        row_sum[r] = 0;
        for (uint32_t c = 0; c < padded; c++) {
            int8_t *weight = w + (size_t)(r / 16) * padded * 16 + c / 4 * 64 + r % 16 * 4 + c % 4;
            *weight = r < rows && c < cols ? *weight : 0;
            row_sum[r] += *weight;
        }
    }
    for (uint32_t i = 0; i < n; i++) { memset(q + i * p.ldx + cols, 0, padded - cols); }
    p.m.w8 = w, p.m.scale = scale, p.m.row_sum = row_sum, p.q = q, p.xscale = scale + blocks * 16;
    p.bias = draw() % 4 ? floats(IN4, rows, MODERATE) : NULL;
    p.block0 = draw() % 3 == 0 ? blocks / 3 : 0;
    p.block1 -= p.block0 + 1 < blocks && draw() % 3 == 0;
    p.ldy = rows_written(&p) + n % 2 * 5;
    const float *y = check("matmul_s8", run_s8, &p, NULL, (n - 1) * p.ldy + rows_written(&p));
    reference_s8(&p, y);
}

/* ---- cells and quantization ---- */

typedef struct vectors {
    uint32_t n;
    const float *a, *b, *c;
    int in_place;
} vectors;

static void run_quantize(const rnnrt_kernels *k, const void *of, float *y) {
    const vectors *v = of;
    y[0] = k->quantize_s8(v->a, v->n, (int8_t *)(void *)(y + 1));
}

static void check_quantize(uint32_t n, enum fill fill) {
    const vectors v = {.n = n, .a = floats(IN0, n, fill)};
    if (fill == ANY_BITS) { /* mostly finite: NaN hides the rest */
        float *x = at(IN0, (size_t)n * 4, 4);
        for (uint32_t i = 0; i < n; i++) { x[i] = isfinite(x[i]) ? x[i] : 0.0f; }
    }
    const float *y = check("quantize_s8", run_quantize, &v, NULL, 1 + RNNRT_PAD(n, 4u) / 4);
    const int8_t *q = (const int8_t *)(const void *)(y + 1);
    float largest = 0.0f;
    for (uint32_t i = 0; i < n; i++) {
        largest = fabsf(v.a[i]) <= largest ? largest : fabsf(v.a[i]); /* NaN gets in ... */
        if (largest != largest) { break; /* ... and stays */ }
    }
    const int useless = !isfinite(largest) || largest < 1e-30f;
    const float scale = !isfinite(largest) ? NAN : useless ? 0.0f : largest / 127.0f;
    int wrong = bits_of(y[0]) != bits_of(scale);
    for (uint32_t i = 0; i < RNNRT_PAD(n, 4u); i++) {
        const float expected = useless || i >= n ? 0.0f : rintf(v.a[i] * (127.0f / largest));
        wrong |= (float)q[i] != expected || q[i] == -128;
    }
    references++;
    if (wrong) { fail("quantize_s8", "scalar against its definition"); }
}

static void run_gru(const rnnrt_kernels *k, const void *of, float *y) {
    const vectors *v = of;
    k->gru_cell(v->n, v->a, v->b, v->in_place ? y : v->c, y);
}

/* y: [2][units]: c_out, y */
static void run_lstm(const rnnrt_kernels *k, const void *of, float *y) {
    const vectors *v = of;
    k->lstm_cell(v->n, v->a, v->b, v->in_place ? y : v->c, y, y + v->n);
}

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

/* Gates err by 2.5e-7 of values up to 8 (|p|, |r|, |h| <= 4): far below 1e-5. */
static void check_cells(uint32_t units, enum fill fill, int in_place) {
    const size_t padded = RNNRT_PAD(units, 16u);
    const float *h = floats(IN2, units, fill);
    vectors v = {.n = units, .in_place = in_place, .c = h};
    v.a = floats(IN0, padded * 3, fill);
    v.b = floats(IN1, padded * 3, fill);
    const float *y = check("gru_cell", run_gru, &v, in_place ? h : NULL, units);
    for (uint32_t u = 0; fill == MODERATE && u < units; u++) {
        const float *p = v.a + u / 16 * 48 + u % 16, *r = v.b + u / 16 * 48 + u % 16;
        const double z = sigmoid((double)p[0] + (double)r[0]), g = sigmoid((double)p[16] + (double)r[16]);
        const double n = tanh((double)p[32] + g * (double)r[32]);
        near("gru_cell", (double)y[u], (1 - z) * n + z * (double)h[u], 1e-5);
    }
    v.a = floats(IN0, padded * 4, fill);
    v.b = floats(IN1, padded * 4, fill);
    float before[2 * 512] = {0};
    memcpy(before, h, (size_t)units * 4);
    y = check("lstm_cell", run_lstm, &v, in_place ? before : NULL, (size_t)units * 2);
    for (uint32_t u = 0; fill == MODERATE && u < units; u++) {
        const float *p = v.a + u / 16 * 64 + u % 16, *r = v.b + u / 16 * 64 + u % 16;
        const double kept = sigmoid((double)p[32] + (double)r[32]) * (double)h[u];
        const double c = kept + sigmoid((double)p[0] + (double)r[0]) * tanh((double)p[48] + (double)r[48]);
        near("lstm_cell c", (double)y[u], c, 1e-5);
        near("lstm_cell y", (double)y[units + u], sigmoid((double)p[16] + (double)r[16]) * tanh(c), 1e-5);
    }
}

/* ---- the whole ---- */

static void check_size(uint32_t n) {
    static const uint32_t rows[] = {1, 15, 16, 17, 48, 100, 131}, batch[] = {1, 2, 3, 4, 5, 9};
    for (uint32_t k = 0; k < 6; k++) {
        for (int fill = 0; fill < FILLS; fill++) { check_f32(rows[(n + k) % 7], n, batch[k], (enum fill)fill); }
        for (int saturated = 0; saturated < 4; saturated++) { check_s8(rows[(n + k) % 7], n, batch[k], saturated); }
    }
    check_weights(n);
    for (int fill = 0; fill < FILLS; fill++) {
        check_quantize(n, (enum fill)fill);
        check_cells(n, (enum fill)fill, 0);
        check_cells(n, (enum fill)fill, 1);
    }
    check_steps(n);
}

static int available(const char *isa) {
    const rnnrt_kernels *k = rnnrt_kernels_find(isa);
    printf("%s: %s\n", isa, k ? "available" : "NOT AVAILABLE");
    return k != NULL && strcmp(k->isa, isa) == 0;
}

int main(int argc, char **argv) {
    static const uint32_t large[] = {127, 128, 129, 255, 256, 257};
    int missing = 0;
    uint32_t stride = 4099; /* prime: all exponents and many low bits */
    checker_init();
    check_crc32c();
    for (uint32_t t = 0; rnnrt_kernels_at(t); t++) { printf("table %s\n", rnnrt_kernels_at(t)->isa); }
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "all") == 0) {
            stride = 1;
        } else if (strcmp(argv[i], "bits") == 0) {
            stride = 0;
        } else {
            missing += !available(argv[i]);
        }
    }
    for (uint32_t n = 1; n <= 67; n++) { check_size(n); }
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) { check_size(large[i]); }
    check_halves();
    check_elementwise();
    if (stride) { check_accuracy(stride); }
    missing += rnnrt_kernels_find("unknown") != NULL || rnnrt_kernels_find(NULL) != NULL || !scalar;
    printf("%lu comparisons, %lu references, %lu failures\n", comparisons, references, failures);
    printf("hash %016llx\n", (unsigned long long)hash);
    return missing || failures ? 1 : 0;
}
