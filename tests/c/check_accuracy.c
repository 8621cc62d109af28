/* Part of check_kernels: the elementary functions of the scalar table against libm's double functions. */
#include <math.h>
#include <stdio.h>

#include "checker.h"

#define BLOCK 4096u

typedef struct function {
    const char *name;
    rnnrt_unary f;
    double (*reference)(double);
    double absolute, ulps; /* bounds; 0: none */
} function;

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

static double elu(double x) { return x < 0.0 ? expm1(x) : x; }

static double softplus(double x) { return fmax(x, 0.0) + log1p(exp(-fabs(x))); }

/* The distance of floats at |x|: 2^-149 for denormals. */
static double ulp(double x) {
    int exponent;
    (void)frexp(x, &exponent);
    return ldexp(1.0, exponent < -125 ? -149 : exponent - 24);
}

/* Measured maxima over x[BLOCK]. Where the reference rounds to infinity or is NaN, y must be that. */
static void measure(const function *f, const float *x, const float *y, double *absolute, double *ulps) {
    for (uint32_t i = 0; i < BLOCK; i++) {
        const double reference = f->reference((double)x[i]);
        if (isnan(reference) || isinf((float)reference)) {
            if (bits_of(y[i]) != bits_of((float)reference)) {
                /* one ulp below the overflow is allowed either way */
                if (isnan(reference) || fabs((double)y[i]) < 3.4028e38) {
                    printf("%s(%.9g) = %.9g instead of %.9g\n", f->name, (double)x[i], (double)y[i], reference);
                    fail(f->name, "scalar against double");
                }
            }
            continue;
        }
        const double error = fabs((double)y[i] - reference);
        *absolute = fmax(*absolute, isinf(y[i]) ? 0.0 : error);
        *ulps = fmax(*ulps, isinf(y[i]) && reference > 3.4028e38 ? 0.0 : error / ulp(reference));
    }
    references += BLOCK;
}

void check_accuracy(uint32_t stride) {
    static const function functions[] = {
        {"sigmoid", RNNRT_SIGMOID, sigmoid, 2.5e-7, 0.0},
        {"tanh", RNNRT_TANH, tanh, 2.5e-7, 5.0},
        {"exp", RNNRT_EXP, exp, 0.0, 2.0},
        {"log", RNNRT_LOG, log, 0.0, 2.0},
        {"sqrt", RNNRT_SQRT, sqrt, 0.0, 0.5},
        {"elu", RNNRT_ELU, elu, 2.5e-7, 4.0},
        {"softplus", RNNRT_SOFTPLUS, softplus, 0.0, 4.0},
        {"erf", RNNRT_ERF, erf, 1.5e-7, 3.0},
    };
    float x[BLOCK], y[BLOCK];
    for (size_t k = 0; k < sizeof functions / sizeof *functions; k++) {
        const function *f = &functions[k];
        double absolute = 0.0, ulps = 0.0;
        for (uint64_t bits = 0; bits < (uint64_t)1 << 32;) {
            for (uint32_t i = 0; i < BLOCK; i++, bits += stride) {
                x[i] = float_of(bits < (uint64_t)1 << 32 ? (uint32_t)bits : 0);
            }
            scalar->unary(f->f, 1.0f, 0.0f, x, y, BLOCK);
            measure(f, x, y, &absolute, &ulps);
        }
        printf("%-9s max error %.4g absolute, %.4g ulp\n", f->name, absolute, ulps);
        if ((f->absolute > 0.0 && !(absolute <= f->absolute)) || (f->ulps > 0.0 && !(ulps <= f->ulps))) {
            fail(f->name, "error bound");
        }
    }
}
