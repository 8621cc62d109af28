/* Part of check_kernels: unary, binary and reduction kernels. */
#include <math.h>
#include <string.h>

#include "checker.h"

typedef struct vectors {
    size_t n, a_step, b_step;
    const float *a, *b;
    int f, in_place;
    float alpha, beta;
} vectors;

static void run_unary(const rnnrt_kernels *k, const void *of, float *y) {
    const vectors *v = of;
    k->unary((rnnrt_unary)v->f, v->alpha, v->beta, v->in_place ? y : v->a, y, v->n);
}

static void run_binary(const rnnrt_kernels *k, const void *of, float *y) {
    const vectors *v = of;
    k->binary((rnnrt_binary)v->f, v->in_place == 1 ? y : v->a, v->a_step, v->in_place == 2 ? y : v->b, v->b_step, y,
              v->n);
}

static void run_reductions(const rnnrt_kernels *k, const void *of, float *y) {
    const vectors *v = of;
    y[0] = k->sum(v->a, v->n);
    y[1] = k->sum_sq_diff(v->a, v->alpha, v->n);
    y[2] = v->n ? k->max(v->a, v->n) : 0.0f;
}

static void equal(const char *what, float got, float expected) {
    references++;
    if (bits_of(got) != bits_of(expected)) { fail(what, "scalar against its definition"); }
}

/* The functions that are one or two exact operations, where x has fill SPECIAL too. volatile: nothing is contracted. */
static void exact_unary(const vectors *v, float x, float y) {
    volatile float product = v->alpha * x;
    const float affine = product + v->beta;
    volatile int below = x < 0.0f; /* volatile: clang 14 for WebAssembly makes f32.max of the choice, which loses -0 */
    switch (v->f) {
    case RNNRT_RELU: equal("relu", y, below ? 0.0f : x); break;
    case RNNRT_AFFINE: equal("affine", y, affine); break;
    case RNNRT_LEAKY_RELU: equal("leaky relu", y, x < 0.0f ? product : x); break;
    case RNNRT_THRESHOLDED_RELU: equal("thresholded relu", y, x <= v->alpha ? 0.0f : x); break;
    case RNNRT_HARD_SIGMOID: equal("hard sigmoid", y, affine < 0.0f ? 0.0f : affine > 1.0f ? 1.0f : affine); break;
    case RNNRT_SOFTSIGN: equal("softsign", y, x / (1.0f + fabsf(x))); break;
    case RNNRT_CLIP: equal("clip", y, isnan(x) ? x : fminf(fmaxf(x, v->alpha), v->beta)); break;
    case RNNRT_SQRT: equal("sqrt", y, sqrtf(x)); break;
    case RNNRT_ABS: equal("abs", y, fabsf(x)); break;
    case RNNRT_NEG: equal("neg", y, -x); break;
    case RNNRT_FLOOR: equal("floor", y, floorf(x)); break;
    case RNNRT_CEIL: equal("ceil", y, ceilf(x)); break;
    case RNNRT_ROUND: equal("round", y, rintf(x)); break;
    case RNNRT_SIGN: equal("sign", y, x < 0.0f ? -1.0f : x > 0.0f ? 1.0f : x); break;
    default: /* check_accuracy.c; here NaN must stay NaN and nothing else but log and inf - inf may become it */
        references++;
        if (isnan(x) != isnan(y) && !(v->f == RNNRT_LOG && x < 0.0f) && v->f != RNNRT_SCALED_TANH) {
            fail("NaN", "scalar against its definition");
        }
    }
}

static void check_unary(size_t n, enum fill fill) {
    static const float alpha[] = {0.2f, 1.0f, -1.5f, 0.01f}, beta[] = {0.5f, 3.0f, 0.25f, -0.75f};
    for (int f = 0; f < RNNRT_UNARIES; f++) {
        const size_t k = draw() % 4;
        vectors v = {.n = n, .a = floats(IN0, n, fill), .f = f, .alpha = alpha[k], .beta = beta[k]};
        v.in_place = draw() % 2;
        const float *y = check("unary", run_unary, &v, v.in_place ? v.a : NULL, n);
        for (size_t i = 0; i < n; i++) { exact_unary(&v, v.a[i], y[i]); }
    }
}

static float exact_binary(int f, float a, float b) {
    switch (f) {
    case RNNRT_ADD: return a + b;
    case RNNRT_SUB: return a - b;
    case RNNRT_MUL: return a * b;
    case RNNRT_DIV: return a / b;
    case RNNRT_MIN: return isnan(a) ? a : a < b ? a : b;
    default: return isnan(a) ? a : a > b ? a : b;
    }
}

static void check_binary(size_t n, enum fill fill) {
    for (int f = 0; f < RNNRT_BINARIES; f++) {
        for (size_t steps = 0; steps < 4; steps++) {
            vectors v = {.n = n, .f = f, .a_step = steps & 1, .b_step = steps >> 1};
            v.a = floats(IN0, v.a_step ? n : 1, fill);
            v.b = floats(IN1, v.b_step ? n : 1, fill);
            v.in_place = draw() % 2 ? (int)steps % 3 : 0; /* 1: on a, 2: on b; both have step 1 then */
            const float *before = v.in_place == 1 ? v.a : v.in_place == 2 ? v.b : NULL;
            const float *y = check("binary", run_binary, &v, before, n);
            for (size_t i = 0; i < n; i++) {
                equal("binary", y[i], exact_binary(f, v.a[i * v.a_step], v.b[i * v.b_step]));
            }
        }
    }
}

/* n / 16 + 5 roundings at most on the way of each element, 2 more for the square. */
static void check_reductions(size_t n, enum fill fill) {
    const vectors v = {.n = n, .a = floats(IN0, n, fill), .alpha = 0.375f};
    const float *y = check("reductions", run_reductions, &v, NULL, 3);
    double sum = 0.0, magnitude = 0.0, squares = 0.0;
    float largest = n ? v.a[0] : 0.0f;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)v.a[i] - (double)v.alpha;
        sum += (double)v.a[i];
        magnitude += fabs((double)v.a[i]);
        squares += d * d;
        largest = isnan(largest) || largest > v.a[i] ? largest : v.a[i];
    }
    if (fill == MODERATE) {
        const double roundings = ((double)n / 16 + 8) * 0x1p-24;
        near("sum", (double)y[0], sum, magnitude * roundings);
        near("sum_sq_diff", (double)y[1], squares, squares * roundings);
    }
    references++;
    if (isnan(largest) ? !isnan(y[2]) : y[2] != largest) { fail("max", "scalar against its definition"); }
}

void check_elementwise(void) {
    for (size_t n = 0; n <= 257; n = n == 67 ? 127 : n == 129 ? 255 : n + 1) {
        for (int fill = 0; fill < FILLS; fill++) {
            check_unary(n, (enum fill)fill);
            check_binary(n, (enum fill)fill);
            check_reductions(n, (enum fill)fill);
        }
    }
}
