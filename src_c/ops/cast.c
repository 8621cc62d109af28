/* Cast between F32, I32 and truth values (I32, 0 or 1). To I32: towards zero, what lies outside becomes the nearest integer,
 * NaN becomes 0. To a truth value: 1 unless it is 0 (NaN is 1). To F32: rounded to nearest even. */
#include "../kernels/float_exact.h"

#include <string.h>

#include "registry.h"

enum { TO_F32 = 0, TO_I32 = 1, TO_BOOL = 2 };

static rnnrt_status check(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_check_counts(call, 1, 1, 0);
    if (status != RNNRT_OK) return status;
    return call->node->i[0] >= TO_F32 && call->node->i[0] <= TO_BOOL ? RNNRT_OK : RNNRT_ERR_FORMAT;
}

static rnnrt_status shape(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_shape_input(call, 0, 1);
    if (status == RNNRT_OK) status = rnnrt_shape_same(call->out[0], call->in[0]);
    if (status == RNNRT_OK) call->out[0]->dtype = call->node->i[0] == TO_F32 ? RNNRT_F32 : RNNRT_I32;
    return status;
}

static int32_t truncated(float x) {
    if (x >= 2147483648.0f) return INT32_MAX;
    if (x <= -2147483648.0f) return INT32_MIN;
    return x == x ? (int32_t)x : 0;
}

/* A loop for each pair of types: GNU as 2.40 for Helium refuses the conversion under a condition that gcc 12 makes of one. */
static void run(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0];
    const uint32_t n = rnnrt_shape_count(x, 0, x->ndim);
    const int32_t to = call->node->i[0], is_float = x->dtype == RNNRT_F32;
    const float *floats = x->data;
    const int32_t *integers = x->data;
    float *y = call->out[0]->data;
    int32_t *yi = call->out[0]->data;
    if (to == TO_BOOL) {
        for (uint32_t i = 0; i < n; i++) yi[i] = is_float ? !(floats[i] == 0.0f) : integers[i] != 0;
    } else if (is_float == (to == TO_F32)) {
        memmove(y, x->data, (size_t)n * sizeof *y);
    } else if (is_float) {
        for (uint32_t i = 0; i < n; i++) yi[i] = truncated(floats[i]);
    } else {
        for (uint32_t i = 0; i < n; i++) y[i] = (float)integers[i];
    }
}

const rnnrt_op rnnrt_op_cast = {
    .code = 71,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .name = "Cast",
    .ints = "to",
    .floats = "",
    .check = check,
    .shape = shape,
    .run = run,
};
