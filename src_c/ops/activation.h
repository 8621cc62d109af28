/* An elementwise function with its two parameters, as operators carry it in their attributes: an int (rnnrt_unary, -1
 * for none where that is allowed) and two floats. */
#ifndef RNNRT_ACTIVATION_H
#define RNNRT_ACTIVATION_H

#include "../kernels/float_exact.h"

#include <float.h>

#include "op.h"

typedef struct rnnrt_activation {
    int32_t f; /* rnnrt_unary, -1: identity */
    float a, b;
} rnnrt_activation;

static inline int rnnrt_is_finite(float x) { return x >= -FLT_MAX && x <= FLT_MAX; /* false for NaN */ }

/* Is it one of the functions [lowest, end) with finite parameters? */
static inline int rnnrt_activation_is(rnnrt_activation act, int32_t lowest, int32_t end) {
    return act.f >= lowest && act.f < end && rnnrt_is_finite(act.a) && rnnrt_is_finite(act.b);
}

/* y = f(x), [n], in place allowed. */
static inline void rnnrt_activate(const rnnrt_kernels *k, rnnrt_activation act, const float *x, float *y, size_t n) {
    k->unary((rnnrt_unary)act.f, act.a, act.b, x, y, n);
}

#endif
