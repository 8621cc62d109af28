/* Checks the recurrent steps of every kernel table: bit-equal to the scalar table, and there to products and cell apart. */
#include <string.h>

#include "checker.h"

#define MAX_UNITS 96u
#define MAX_ROWS 9u

typedef struct layer {
    rnnrt_recurrent_step step;
    rnnrt_matrix w, r;
    uint32_t gates;
    uint32_t block0, block1;
    int y_is_h, c_in_place;
} layer;

/* A matrix's constants and what multiplies it. */
typedef struct constants {
    float scale[8 * MAX_UNITS], bias[8 * MAX_UNITS], xscale[MAX_ROWS]; /* 4 gates, 2 directions */
    int32_t row_sum[8 * MAX_UNITS];
    int8_t q[MAX_ROWS * (MAX_UNITS + 32u)];
    int8_t step[4 * MAX_UNITS * (MAX_UNITS / 32u + 1u)];
    int32_t start[MAX_ROWS * (MAX_UNITS / 32u + 1u)];
} constants;

static constants of_w, of_r, of_reset;
static float x[MAX_ROWS * MAX_UNITS], h[MAX_ROWS * MAX_UNITS], h_copy[MAX_ROWS * MAX_UNITS], c[MAX_ROWS * MAX_UNITS];

/* y: [n][ldy], then for LSTM c_out: [n][ldc_out] */
static void run_step(const rnnrt_kernels *k, const void *of, float *y) {
    const layer *l = of;
    rnnrt_recurrent_step s = l->step;
    s.y = y;
    s.c_out = y + s.n * s.ldy;
    if (l->y_is_h) { s.h = y; }
    if (l->c_in_place) { s.c = s.c_out; }
    (l->gates == 3 ? k->gru_step : k->lstm_step)(&s, l->block0, l->block1);
}

static void moderate(float *to, size_t n) {
    for (size_t i = 0; i < n; i++) { to[i] = (float)(int32_t)draw() * 0x1p-29f; }
}

enum format { F32, F16, S8, S4 };

/* w8: [rows/16][padded/4][16][4], 0 where there is no column. */
static void set_s8(rnnrt_matrix *m, constants *k, int buffer, uint32_t padded) {
    int8_t *w = bytes(buffer, (size_t)m->rows * padded, draw() % 8 ? 0 : 3);
    for (uint32_t row = 0; row < m->rows; row++) {
        k->row_sum[row] = 0;
        for (uint32_t col = 0; col < padded; col++) {
            int8_t *weight = w + (size_t)(row / 16) * padded * 16 + col / 4 * 64 + row % 16 * 4 + col % 4;
            *weight = col < m->cols ? *weight : 0;
            k->row_sum[row] += *weight;
        }
    }
    m->w8 = w;
    m->row_sum = k->row_sum;
}

static void set_weights(rnnrt_matrix *m, constants *k, int buffer, enum format format) {
    const uint32_t groups = RNNRT_PAD(m->cols, 32u) / 32u;
    const size_t count = (size_t)m->rows * m->cols;
    for (uint32_t row = 0; row < m->rows; row++) { k->scale[row] = (float)(draw() % 64 + 1) * 0x1p-14f; }
    if (format == F32) {
        m->w32 = floats(buffer, count, MODERATE);
    } else if (format == F16) {
        uint16_t *w = at(buffer, count * sizeof *w, sizeof *w);
        for (size_t i = 0; i < count; i++) { w[i] = (uint16_t)(draw() & 0xBFFFu); } /* |w| < 2 */
        m->w16 = w;
    } else if (format == S8) {
        set_s8(m, k, buffer, RNNRT_PAD(m->cols, 4u));
        m->scale = k->scale;
    } else {
        uint8_t *w = at(buffer, (size_t)m->rows * groups * 16u, 1);
        for (size_t i = 0; i < (size_t)m->rows * groups * 16u; i++) { w[i] = (uint8_t)draw(); }
        for (size_t i = 0; i < (size_t)m->rows * groups; i++) { k->step[i] = (int8_t)(draw() % 255 - 127); }
        m->w4 = w;
        m->step = k->step;
        m->scale = k->scale;
    }
}

/* p's n rows of activations: those of `from`, ld apart, as they are or quantized into k. */
static void set_activations(rnnrt_product *p, constants *k, uint32_t n, const float *from, size_t ld,
                            enum format format) {
    const uint32_t cols = p->m->cols, groups = RNNRT_PAD(cols, 32u) / 32u;
    if (format == F32 || format == F16) {
        p->x = from;
        p->ldx = ld;
        return;
    }
    p->q = k->q;
    p->ldx = (format == S4 ? groups * 32u : RNNRT_PAD(cols, 4u)) + n % 2;
    p->xscale = k->xscale;
    p->start = k->start;
    memset(k->q, 0, sizeof k->q);
    for (uint32_t i = 0; i < n; i++) {
        int8_t *q = k->q + i * p->ldx;
        k->xscale[i] = scalar->quantize_s8(from + i * ld, cols, q);
        for (uint32_t g = 0; format == S4 && g < groups; g++) {
            int32_t sum = 0;
            for (uint32_t col = 0; col < 32; col++) { sum += q[g * 32 + col]; }
            k->start[i * groups + g] = -8 * sum;
        }
    }
}

/* rows: a multiple of 16. Weights go to a guarded buffer, activations are the n rows of `from`, cols apart. */
static void make_product(rnnrt_product *p, rnnrt_matrix *m, constants *k, int buffer, uint32_t rows, uint32_t cols,
                         uint32_t n, const float *from, enum format format) {
    memset(m, 0, sizeof *m);
    memset(p, 0, sizeof *p);
    m->rows = rows;
    m->cols = cols;
    p->m = m;
    moderate(k->bias, rows);
    set_weights(m, k, buffer, format);
    set_activations(p, k, n, from, cols, format);
}

static enum format format_of(const rnnrt_matrix *m) { return m->w32 ? F32 : m->w16 ? F16 : m->w8 ? S8 : S4; }

/* to [n][ld] = blocks [block0, block1) of p's rows */
static void multiply(const rnnrt_kernels *k, const rnnrt_product *p, uint32_t n, uint32_t block0, uint32_t block1,
                     const float *bias, float *to, size_t ld) {
    const rnnrt_matrix *m = p->m;
    switch (format_of(m)) {
    case F32: k->matmul_f32(m, block0, block1, bias, p->x, p->ldx, n, to, ld); break;
    case F16: k->matmul_f16(m, block0, block1, bias, p->x, p->ldx, n, to, ld); break;
    case S8: k->matmul_s8(m, block0, block1, bias, p->q, p->ldx, p->xscale, n, to, ld); break;
    case S4: k->matmul_s4(m, block0, block1, bias, p->q, p->ldx, p->start, p->xscale, n, to, ld); break;
    }
}

/* The same by the scalar table's matmul and cell; y as in run_step. */
static void compare(const layer *l, const float *y) {
    static float p[MAX_ROWS * 4 * MAX_UNITS], q[MAX_ROWS * 4 * MAX_UNITS];
    const rnnrt_recurrent_step *s = &l->step;
    const uint32_t blocks = RNNRT_PAD(s->units, 16u) / 16 * l->gates;
    const size_t ld = (size_t)blocks * 16;
    const rnnrt_product *products[2] = {&s->w, &s->r};
    for (int i = 0; i < 2; i++) {
        const rnnrt_product *m = products[i];
        const float *bias = i ? s->br : s->bw;
        float *to = i ? q : p;
        if (!m->m) {
            for (uint32_t row = 0; row < s->n; row++) { memcpy(to + row * ld, s->p + row * s->ldp, ld * sizeof *to); }
        } else {
            multiply(scalar, m, s->n, 0, blocks, bias, to, ld);
        }
    }
    int wrong = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        float new_y[MAX_UNITS], new_c[MAX_UNITS] = {0};
        if (l->gates == 3) {
            scalar->gru_cell(s->units, p + i * ld, q + i * ld, h_copy + (size_t)i * s->units, new_y);
        } else {
            scalar->lstm_cell(s->units, p + i * ld, q + i * ld, c + (size_t)i * s->units, new_c, new_y);
        }
        for (uint32_t u = l->block0 * 16; u < s->units && u < l->block1 * 16; u++) {
            wrong |= bits_of(new_y[u]) != bits_of(y[i * s->ldy + u]);
            wrong |= l->gates == 4 && bits_of(new_c[u]) != bits_of(y[s->n * s->ldy + i * s->ldc_out + u]);
        }
    }
    references++;
    if (wrong) { fail(l->gates == 3 ? "gru_step" : "lstm_step", "scalar against matmul and cell"); }
}

/* y [count] = a + b */
static void add(const rnnrt_kernels *k, const float *a, const float *b, float *y, uint32_t count) {
    k->binary(RNNRT_ADD, a, 1, b, 1, y, count);
}

/* What GRU does with linear_before_reset = 0 where a table has no kernels for it. */
static void step_apart(const rnnrt_kernels *k, const rnnrt_recurrent_step *s) {
    static float p[MAX_ROWS * 3 * MAX_UNITS], q[MAX_ROWS * 3 * MAX_UNITS];
    static float share[MAX_ROWS * MAX_UNITS], reset[MAX_ROWS * MAX_UNITS];
    const uint32_t blocks = RNNRT_PAD(s->units, 16u) / 16u;
    const size_t ld = (size_t)blocks * 48u;
    const float minus_one = -1.0f;
    if (s->w.m) { multiply(k, &s->w, s->n, 0, blocks * 3, s->bw, p, ld); }
    multiply(k, &s->r, s->n, 0, blocks * 2, NULL, q, ld);
    for (uint32_t i = 0; i < s->n; i++) {
        const float *row = s->w.m ? p + i * ld : s->p + i * s->ldp;
        for (uint32_t u = 0; u < s->units; u += 16) {
            const uint32_t count = s->units - u < 16 ? s->units - u : 16;
            float *z = share + i * MAX_UNITS + u, *r = reset + i * MAX_UNITS + u;
            add(k, row + u * 3, q + i * ld + u * 2, z, count);
            k->binary(RNNRT_MUL, z, 1, &minus_one, 0, z, count);
            k->unary(RNNRT_SIGMOID, 0, 0, z, z, count);
            add(k, row + u * 3 + 16, q + i * ld + u * 2 + 16, r, count);
            k->unary(RNNRT_SIGMOID, 0, 0, r, r, count);
            k->binary(RNNRT_MUL, r, 1, s->h + i * s->ldh + u, 1, r, count);
        }
    }
    rnnrt_product r = {.m = s->r.m};
    set_activations(&r, &of_reset, s->n, reset, MAX_UNITS, format_of(r.m));
    multiply(k, &r, s->n, blocks * 2, blocks * 3, NULL, q, ld);
    for (uint32_t i = 0; i < s->n; i++) {
        const float *row = s->w.m ? p + i * ld : s->p + i * s->ldp, *before = s->h + i * s->ldh;
        float *n = q + i * ld, *y = s->y + i * s->ldy;
        for (uint32_t u = 0; u < s->units; u++) { n[u] = row[u / 16 * 48 + 32 + u % 16] + n[u]; }
        k->unary(RNNRT_TANH, 0, 0, n, n, s->units);
        k->binary(RNNRT_SUB, n, 1, before, 1, n, s->units);
        k->binary(RNNRT_MUL, share + i * MAX_UNITS, 1, n, 1, n, s->units);
        add(k, before, n, y, s->units);
        for (uint32_t u = 0; u < s->units; u++) { y[u] = y[u] < 1e-30f && y[u] > -1e-30f ? 0.0f : y[u]; }
    }
}

/* gru_reset and gru_renew, each as two ranges of blocks, or what they stand for. y: [n][ldy] */
static void run_reset(const rnnrt_kernels *k, const void *of, float *y) {
    const layer *l = of;
    const uint32_t blocks = l->block1;
    const size_t padded = blocks * 16u;
    rnnrt_recurrent_step s = l->step;
    s.y = y;
    if (l->y_is_h) { s.h = y; }
    if (!k->gru_reset) {
        step_apart(k, &s);
        return;
    }
    s.between = at(IN2, s.n * 3 * padded * sizeof(float), sizeof(float));
    k->gru_reset(&s, blocks / 2, blocks);
    k->gru_reset(&s, 0, blocks / 2);
    s.w.m = NULL;
    s.p = NULL;
    set_activations(&s.r, &of_reset, s.n, s.between + 2 * padded, 3 * padded, format_of(s.r.m));
    k->gru_renew(&s, blocks / 3, blocks);
    k->gru_renew(&s, 0, blocks / 3);
}

/* before_reset: GRU's linear_before_reset */
static void check_step(uint32_t units, uint32_t gates, uint32_t n, int before_reset) {
    const uint32_t blocks = RNNRT_PAD(units, 16u) / 16, rows = gates * blocks * 16, kind = draw();
    const uint32_t inputs = draw() % 5 ? draw() % 40 + 1 : units;
    static float before[2 * MAX_ROWS * (MAX_UNITS + 1u)];
    layer l = {.gates = gates, .block1 = blocks, .y_is_h = kind >> 8 & 1, .c_in_place = kind >> 9 & 1};
    rnnrt_recurrent_step *s = &l.step;
    moderate(x, (size_t)n * inputs);
    moderate(h, (size_t)n * units);
    moderate(c, (size_t)n * units);
    memcpy(h_copy, h, sizeof h);
    make_product(&s->r, &l.r, &of_r, IN0, rows, units, n, h_copy, (enum format)(kind >> 12 & 3));
    if (kind >> 1 & 1) {
        make_product(&s->w, &l.w, &of_w, IN1, rows, inputs, n, x,
                     (enum format)((kind >> 2 & 3 ? kind >> 12 : kind >> 14) & 3));
    } else {
        s->ldp = rows + n % 3;
        s->p = floats(IN1, (n - 1) * s->ldp + rows, MODERATE);
    }
    s->bw = kind >> 3 & 1 ? of_w.bias : NULL;
    s->br = kind >> 4 & 1 ? of_r.bias : NULL;
    s->backward = kind >> 11 & 1;
    s->units = units;
    s->n = n;
    s->h = h;
    s->c = c;
    s->ldh = s->ldc = units;
    s->ldy = l.y_is_h ? units : units + n % 2;
    s->ldc_out = units;
    s->ldh = units;
    const size_t size = n * s->ldy + (gates == 4 ? (size_t)n * units : 0);
    memcpy(before, h, (size_t)n * units * sizeof *h);
    memcpy(before + n * s->ldy, c, (size_t)n * units * sizeof *c);
    if (!before_reset) {
        check("gru_reset", run_reset, &l, before, size);
        return;
    }
    if (kind >> 10 & 1) { l.block0 = blocks / 2; }
    compare(&l, check(gates == 3 ? "gru_step" : "lstm_step", run_step, &l, before, size));
}

/* A step that may project ahead. The scalar table doesn't: it makes the whole product apart. */
typedef struct sequence {
    layer l;
    rnnrt_product w;
    rnnrt_matrix m;
    const float *bias;
} sequence;

/* y: [units], c_out: [units], then the product [MAX_ROWS][blocks * 16]: what the step left, and the rows that no step makes. */
static void run_ahead(const rnnrt_kernels *k, const void *of, float *y) {
    const sequence *q = of;
    rnnrt_recurrent_step s = q->l.step;
    const uint32_t first = s.first, end = first + q->l.gates * q->l.block1, rows = k->ahead_rows;
    const rnnrt_product *w = &q->w;
    const size_t ld = (size_t)(end - first) * 16;
    float *product = y + 2 * (size_t)s.units;
    static int8_t by_columns[8 * (MAX_UNITS + 32u)]; /* at most 8 ahead_rows */
    rnnrt_ahead ahead = {*w, by_columns, q->bias, first, first, end, product, ld};
    for (uint32_t i = 0; i < rows; i++) {
        for (uint32_t col = 0; col < RNNRT_PAD(q->m.cols, 4u); col++) {
            by_columns[(col / 4 * rows + i) * 4 + col % 4] = w->q[i * w->ldx + col];
        }
    }
    s.y = y;
    s.c_out = y + s.units;
    s.ahead = rows ? &ahead : NULL;
    if (q->l.gates == 3) { memset(s.c_out, 0, s.units * sizeof(float)); }
    (q->l.gates == 3 ? k->gru_step : k->lstm_step)(&s, 0, q->l.block1);
    if (ahead.next > end || (rows && q->l.block1 >= 4 && ahead.next == first)) { fail("ahead", k->isa); }
    k->matmul_s8(&q->m, ahead.next, end, q->bias, w->q, w->ldx, w->xscale, MAX_ROWS,
                 product + (size_t)(ahead.next - first) * 16, ld);
    if (ahead.next > first) {
        k->matmul_s8(&q->m, first, ahead.next, q->bias, w->q + rows * w->ldx, w->ldx, w->xscale + rows, MAX_ROWS - rows,
                     product + rows * ld, ld);
    }
}

static void check_ahead(uint32_t units, uint32_t gates) {
    const uint32_t blocks = RNNRT_PAD(units, 16u) / 16, directions = draw() % 2 + 1, rows = gates * blocks * 16;
    const uint32_t inputs = draw() % 3 ? draw() % MAX_UNITS + 1 : units;
    sequence q = {.l = {.gates = gates, .block1 = blocks}};
    rnnrt_recurrent_step *s = &q.l.step;
    moderate(x, (size_t)MAX_ROWS * inputs);
    moderate(h, units);
    moderate(c, units);
    make_product(&s->r, &q.l.r, &of_r, IN0, directions * rows, units, 1, h, S8);
    make_product(&q.w, &q.m, &of_w, IN1, directions * rows, inputs, MAX_ROWS, x, S8);
    s->first = (directions - 1) * gates * blocks;
    s->ldp = rows;
    s->p = floats(IN2, rows, MODERATE);
    s->br = gates == 3 ? of_r.bias : NULL;
    s->units = units;
    s->n = 1;
    s->backward = draw() % 2;
    s->h = h;
    s->c = c;
    s->ldh = s->ldc = s->ldy = s->ldc_out = units;
    q.bias = draw() % 2 ? of_w.bias : NULL;
    check(gates == 3 ? "gru_step ahead" : "lstm_step ahead", run_ahead, &q, NULL, 2 * units + (size_t)MAX_ROWS * rows);
}

void check_steps(uint32_t units) {
    static const uint32_t rows[] = {1, 1, 2, 3, 4, 5, 9};
    for (uint32_t i = 0; units <= MAX_UNITS && i < sizeof rows / sizeof *rows; i++) {
        for (uint32_t gates = 3; gates <= 4; gates++) {
            for (uint32_t repeat = 0; repeat < 6; repeat++) { check_step(units, gates, rows[i], 1); }
            check_ahead(units, gates);
        }
        for (uint32_t repeat = 0; repeat < 6; repeat++) { check_step(units, 3, rows[i], 0); }
    }
}
