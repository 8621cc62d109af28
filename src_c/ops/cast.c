/* Cast between F32, I32 and truth values (I32, 0 or 1). To I32: towards zero, what lies outside becomes the nearest integer,
 * NaN becomes 0. To a truth value: 1 unless it is 0 (NaN is 1). To F32: rounded to nearest even. */
#include "../kernels/float_exact.h"

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

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0], *y = call->out[0];
    const float *floats = x->data;
    const int32_t *integers = x->data;
    int is_float = x->dtype == RNNRT_F32;
    for (uint32_t i = 0; i < rnnrt_shape_count(x, 0, x->ndim); i++) {
        if (call->node->i[0] == TO_F32)
            ((float *)y->data)[i] = is_float ? floats[i] : (float)integers[i];
        else if (call->node->i[0] == TO_I32)
            ((int32_t *)y->data)[i] = is_float ? truncated(floats[i]) : integers[i];
        else
            ((int32_t *)y->data)[i] = is_float ? !(floats[i] == 0.0f) : integers[i] != 0;
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
