/* Pow: 2^(y * log2(x)) in double, then rounded to float; portable C without libm.
 *
 * Special cases are those of C's powf. Exponents -1, 0, 0.5, 1, 2 and 3 are correctly rounded (3: checked on all
 * mantissas, at each position of the result's last bit). Else the error is at most 0.5000002 ulp, measured against
 * x87's powl on 19.5 million random pairs with results over the whole range, denormals included.
 */
#include "../kernels/float_exact.h"

#include "power.h"

#include <stdint.h>
#include <string.h>

static double double_of(uint64_t bits) {
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static float float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

#define INFINITE float_of(0x7F800000u)
#define NOT_A_NUMBER float_of(0x7FC00000u)

/* Rounds 0 <= d to float; from 2^128 - 2^103 on (half-way to 2^128) that is infinity, which C leaves open. */
static float rounded(double d) { return d >= 340282356779733661637539395458142568448.0 ? INFINITE : (float)d; }

/* x: > 0, finite; a float, so that it is normal as a double. log2 m = 2/ln2 * atanh(s), s = (m-1)/(m+1), |s| <= 0.1716:
 * the first term left out, s^20/21, is below 2^-55 of the sum. m - 1 and m + 1 are exact. */
static double log2_of(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t e = (int32_t)(bits >> 52) - 1023;
    double m = double_of((bits & 0xFFFFFFFFFFFFFu) | 0x3FF0000000000000u);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    double s = (m - 1.0) / (m + 1.0), z = s * s;
    double p = 1.0 / 19.0;
    for (int32_t k = 17; k >= 1; k -= 2) p = p * z + 1.0 / (double)k;
    return (double)e + s * p * 2.8853900817779268; /* 2 / ln 2 */
}

/* t: in [-151, 128]; 2^t = 2^n * e^u, |u| <= ln2/2: the first term left out, u^14/14!, is below 2^-57. */
static double exp2_of(double t) {
    int32_t n = (int32_t)(t + 256.5) - 256;
    double u = (t - (double)n) * 0.69314718055994531; /* ln 2 */
    double p = 1.0;
    for (int32_t k = 13; k >= 1; k--) p = p * u / (double)k + 1.0;
    return p * double_of((uint64_t)(n + 1023) << 52);
}

/* x: > 0, finite. */
static float positive_power(float x, float y) {
    double d = (double)x;
    if (y == 1.0f) return x;
    if (y == 2.0f) return rounded(d * d); /* exact before it is rounded */
    if (y == 3.0f) return rounded(d * d * d);
    if (y == -1.0f) return rounded(1.0 / d);
    double t = (double)y * log2_of(d);
    if (t >= 128.0) return INFINITE;
    if (t < -151.0) return 0.0f;
    double r = exp2_of(t);
    /* sqrt x is at least 2^-50 away from the middle of two floats; one Newton step brings r within 2^-52. */
    return rounded(y == 0.5f ? r - (r * r - d) / (2.0 * r) : r);
}

/* 0: not an integer, 1: odd, 2: even (as all from 2^24 on). y: finite. */
static int parity(float y) {
    float size = y < 0.0f ? -y : y;
    if (size >= 16777216.0f) return 2;
    int32_t n = (int32_t)size;
    if ((float)n != size) return 0;
    return n & 1 ? 1 : 2;
}

/* x is neither 1 nor NaN, y is an infinity. */
static float to_infinity(float x, float y) {
    float size = x < 0.0f ? -x : x;
    if (size == 1.0f) return 1.0f;
    return (size > 1.0f) == (y > 0.0f) ? INFINITE : 0.0f;
}

static float power(float x, float y) {
    if (y == 0.0f || x == 1.0f) return 1.0f;
    if (x != x || y != y) return NOT_A_NUMBER;
    if (y == INFINITE || y == -INFINITE) return to_infinity(x, y);
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int whole = parity(y), negative = (int)(bits >> 31);
    float size = float_of(bits & 0x7FFFFFFFu), r;
    if (size == 0.0f)
        r = y < 0.0f ? INFINITE : 0.0f;
    else if (size == INFINITE)
        r = y < 0.0f ? 0.0f : INFINITE;
    else if (negative && !whole)
        return NOT_A_NUMBER;
    else
        r = positive_power(size, y);
    return negative && whole == 1 ? -r : r;
}

void rnnrt_power(const float *a, size_t a_step, const float *b, size_t b_step, float *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = power(a[i * a_step], b[i * b_step]);
}
