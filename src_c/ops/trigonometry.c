/* Sin, Cos and Atan in double, then rounded to float; portable C without libm, the same bits everywhere. Infinities give NaN.
 *
 * x = n pi/2 + r, |r| <= pi/4, then a Taylor series of sine or cosine: the first term left out is below 2^-45 of the sum.
 * Atan: atan x = pi/2 - atan 1/x above 1, atan x = atan 1/2 + atan((x - 1/2) / (1 + x/2)) from 1/4 on, Taylor below 1/3.
 * Largest error over all floats: 0.50000001 ulp (Atan 0.5), against libm's double functions.
 */
#include "../kernels/float_exact.h"

#include "registry.h"

#include <string.h>

#define CODE_COS 77u

#define TWO_OVER_PI 0.63661977236758138
#define HALF_PI 1.5707963267948966
#define ATAN_HALF 0.46364760900080609
/* pi/2 = HALF_PI_HI + HALF_PI_LO; HALF_PI_HI has 28 bits, so that n * HALF_PI_HI is exact for |n| < 2^25. */
#define HALF_PI_HI 1.570796325802803
#define HALF_PI_LO 9.920935796805404e-10

static rnnrt_status check(const rnnrt_call *call) { return rnnrt_check_counts(call, 0, 0, 0); }

static rnnrt_status shape(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_shape_input(call, 0, 0);
    return status == RNNRT_OK ? rnnrt_shape_same(call->out[0], call->in[0]) : status;
}

/* x: 2^25 or more, finite: m 2^e with 24-bit m and 2 <= e <= 104. Of x 2/pi only the value modulo 4 matters: m times the
 * 96 bits of 2/pi whose weights, times 2^e, are 2 and below. q holds it in units of 2^-62; what is left out is below 2^-67
 * (and no float is nearer than 2^-35 to a multiple of pi/2). */
static double reduce_large(float x, uint32_t *n) {
    static const uint32_t two_over_pi[] = {0xA2F9836E, 0x4E441529, 0xFC2757D1, 0xF534DDC0,
                                           0xDB629599, 0x3C439041, 0xFE5163AB};
    uint32_t bits, w[3];
    memcpy(&bits, &x, sizeof bits);
    const uint64_t m = (bits & 0x7FFFFFu) | 0x800000u;
    const uint32_t start = (bits >> 23 & 0xFFu) - 150u - 2u, word = start / 32u, shift = start % 32u;
    for (uint32_t i = 0; i < 3; i++) { /* word + 3 <= 102 / 32 + 3 = 6 */
        const uint64_t both = (uint64_t)two_over_pi[word + i] << 32 | two_over_pi[word + i + 1];
        w[i] = (uint32_t)(both >> (32u - shift));
    }
    uint64_t q = (w[0] * m << 32) + w[1] * m + (w[2] * m >> 32); /* modulo 2^64: modulo 4 */
    *n = (uint32_t)((q + (UINT64_C(1) << 61)) >> 62);
    q -= (uint64_t)*n << 62;
    const double part = q >> 63 ? -(double)(0u - q) : (double)q;
    return part * (HALF_PI / 4611686018427387904.0); /* 2^62 */
}

/* x: finite, not negative. r in [-pi/4, pi/4] and n modulo 4. */
static double reduce(float x, uint32_t *n) {
    if (x >= 33554432.0f) return reduce_large(x, n);
    *n = (uint32_t)((double)x * TWO_OVER_PI + 0.5);
    const double whole = (double)*n;
    return ((double)x - whole * HALF_PI_HI) - whole * HALF_PI_LO;
}

/* quarter: 0 for the sine, 1 for the cosine. */
static float sine(float x, uint32_t quarter) {
    uint32_t n;
    const float size = x < 0.0f ? -x : x;
    if (!(size <= FLT_MAX)) return x - x; /* NaN */
    const double r = reduce(size, &n), z = r * r;
    double y = 1.0, p = 1.0;
    if ((n + quarter) & 1u) {
        for (uint32_t k = 14; k >= 2; k -= 2) p = 1.0 - p * z / (double)(k * (k - 1u));
        y = p;
    } else {
        for (uint32_t k = 15; k >= 3; k -= 2) p = 1.0 - p * z / (double)(k * (k - 1u));
        y = size > 0.0f ? r * p : (double)x; /* sin -0 = -0 */
    }
    if ((n + quarter) & 2u) y = -y;
    return (float)(x < 0.0f && !quarter ? -y : y);
}

/* |t| <= 1/3: the first term left out, t^35/35, is below 2^-60 t. */
static double arc_tangent_series(double t) {
    const double z = t * t;
    double p = 1.0 / 33.0;
    for (int32_t k = 31; k >= 1; k -= 2) p = 1.0 / (double)k - p * z;
    return t * p;
}

static float arc_tangent(float x) {
    const double size = x < 0.0f ? -(double)x : (double)x, t = size > 1.0 ? 1.0 / size : size;
    double y = t < 0.25 ? arc_tangent_series(t) : ATAN_HALF + arc_tangent_series((t - 0.5) / (1.0 + 0.5 * t));
    if (!(size > 0.0)) return x; /* -0 and NaN, too */
    if (size > 1.0) y = HALF_PI - y;
    return (float)(x < 0.0f ? -y : y);
}

static void run_atan(const rnnrt_call *call) {
    const rnnrt_tensor *in = call->in[0];
    const float *x = in->data;
    float *y = call->out[0]->data;
    for (uint32_t i = 0; i < rnnrt_shape_count(in, 0, in->ndim); i++) y[i] = arc_tangent(x[i]);
}

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *in = call->in[0];
    const float *x = in->data;
    float *y = call->out[0]->data;
    const uint32_t quarter = call->node->op->code == CODE_COS;
    for (uint32_t i = 0; i < rnnrt_shape_count(in, 0, in->ndim); i++) y[i] = sine(x[i], quarter);
}

/* In the order of the fields: code, flags, inputs, outputs, name, attributes, functions. */
const rnnrt_op rnnrt_op_sin = {76, RNNRT_OP_IN_PLACE, 1, 1, 1, 1, "Sin", "", "", check, shape, NULL, run};
const rnnrt_op rnnrt_op_cos = {77, RNNRT_OP_IN_PLACE, 1, 1, 1, 1, "Cos", "", "", check, shape, NULL, run};
const rnnrt_op rnnrt_op_atan = {78, RNNRT_OP_IN_PLACE, 1, 1, 1, 1, "Atan", "", "", check, shape, NULL, run_atan};
