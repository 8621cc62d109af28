/* x ^ y in the same bits everywhere. */
#ifndef RNNRT_POWER_H
#define RNNRT_POWER_H

#include <stddef.h>

/* y[i] = a[i * a_step] ^ b[i * b_step], special cases as C's powf; steps 0 or 1; in place allowed where a step is 1. */
void rnnrt_power(const float *a, size_t a_step, const float *b, size_t b_step, float *y, size_t n);

#endif
