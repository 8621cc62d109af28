/* Equal, Less, LessOrEqual: two inputs of one type under numpy broadcasting; I32, 1 where it holds, else 0. A comparison
 * with NaN does not hold. */
#include "../kernels/float_exact.h"

#include "registry.h"
#include "walk.h"

#define CODE_EQUAL 73u
#define CODE_LESS 74u

static rnnrt_status check(const rnnrt_call *call) { return rnnrt_check_counts(call, 0, 0, 0); }

static rnnrt_status shape(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_shape_pair(call, 0, 1, call->out[0]);
    if (status == RNNRT_OK) call->out[0]->dtype = RNNRT_I32;
    return status;
}

static int32_t floats_hold(uint32_t code, float a, float b) {
    return code == CODE_EQUAL ? a == b : code == CODE_LESS ? a < b : a <= b;
}

static int32_t integers_hold(uint32_t code, int32_t a, int32_t b) {
    return code == CODE_EQUAL ? a == b : code == CODE_LESS ? a < b : a <= b;
}

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *a = call->in[0], *b = call->in[1], *out = call->out[0];
    ptrdiff_t a_steps[RNNRT_MAX_RANK], b_steps[RNNRT_MAX_RANK];
    uint32_t code = call->node->op->code;
    int32_t *y = out->data;
    if (rnnrt_shape_count(out, 0, out->ndim) == 0) return;
    rnnrt_walk_broadcast(a_steps, a, out->ndim);
    rnnrt_walk_broadcast(b_steps, b, out->ndim);
    rnnrt_walk w;
    rnnrt_walk_start(&w, out->ndim, out->dims, a_steps, b_steps);
    do {
        for (uint32_t i = 0; i < w.n; i++, y++) {
            ptrdiff_t at = w.a + (ptrdiff_t)i * w.a_step, bt = w.b + (ptrdiff_t)i * w.b_step;
            if (a->dtype == RNNRT_I32)
                *y = integers_hold(code, ((const int32_t *)a->data)[at], ((const int32_t *)b->data)[bt]);
            else
                *y = floats_hold(code, ((const float *)a->data)[at], ((const float *)b->data)[bt]);
        }
    } while (rnnrt_walk_next(&w));
}

/* In the order of the fields: code, flags, inputs, outputs, name, attributes, functions. */
const rnnrt_op rnnrt_op_equal = {73, 0, 2, 2, 1, 1, "Equal", "", "", check, shape, NULL, run};
const rnnrt_op rnnrt_op_less = {74, 0, 2, 2, 1, 1, "Less", "", "", check, shape, NULL, run};
const rnnrt_op rnnrt_op_less_or_equal = {75, 0, 2, 2, 1, 1, "LessOrEqual", "", "", check, shape, NULL, run};
