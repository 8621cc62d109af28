/* What the checks of kernels share: guarded memory, reproducible data, one case on all tables. */
#ifndef CHECKER_H
#define CHECKER_H

#include "../../src_c/kernels/kernels.h"

extern unsigned long comparisons, references, failures;
extern uint64_t hash; /* of all outputs of check() */
extern const rnnrt_kernels *scalar;

/* Before anything else. */
void checker_init(void);
void fail(const char *what, const char *isa);

/* `bytes` bytes that end where an unreadable page begins, start where one ends, or end one element before one, so that they
 * have no more than the element's alignment; cases take turns. One live allocation a buffer. */
enum { IN0, IN1, IN2, IN3, IN4, OUT_SCALAR, OUT_OTHER, BUFFERS };
void *at(int buffer, size_t bytes, size_t element);

uint32_t draw(void);
float float_of(uint32_t bits);
/* All NaNs are one. */
uint32_t bits_of(float f);

/* MODERATE: within [-4, 4); SPECIAL: mostly zeros, denormals, infinities, NaN and thresholds. */
enum fill { MODERATE, ANY_BITS, SPECIAL, FILLS };
float *floats(int buffer, size_t n, enum fill fill);
/* Within [-127, 127]. saturated: 0 random; 1 all 127; 2 all -127; 3 either */
int8_t *bytes(int buffer, size_t n, int saturated);

/* Runs one case on every table: y [n] starts as before[n] (in place) or as canaries, and lies between canaries and an
 * unreadable page or between canaries. Returns the reference's y. The next case's data is placed in another way. */
typedef void (*runner)(const rnnrt_kernels *k, const void *of, float *y);
const float *check(const char *what, runner run, const void *of, const float *before, size_t n);

/* |got - reference| <= bound */
void near(const char *what, double got, double reference, double bound);

/* check_weights.c: f16 and s4 weights, this many columns; every finite half. */
void check_weights(uint32_t cols);
void check_halves(void);
/* check_elementwise.c */
void check_elementwise(void);
/* check_steps.c */
void check_steps(uint32_t units);
/* check_accuracy.c: over every stride-th float. */
void check_accuracy(uint32_t stride);

#endif
