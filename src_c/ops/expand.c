/* Expand: numpy broadcasting to (the broadcast of the input and) a shape. */
#include "registry.h"
#include "walk.h"

static rnnrt_status check(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_check_counts(call, 0, RNNRT_MAX_RANK, 0);
    if (status != RNNRT_OK) return status;
    for (uint32_t d = 0; d < call->node->ints; d++) {
        uint32_t dim;
        if (rnnrt_shape_symbol(call, call->node->i[d], &dim) != RNNRT_OK) return RNNRT_ERR_FORMAT;
    }
    return RNNRT_OK;
}

static rnnrt_status shape(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0];
    rnnrt_tensor wanted = {0};
    rnnrt_status status = rnnrt_shape_input(call, 0, 1);
    if (status != RNNRT_OK) return status;
    wanted.ndim = (uint8_t)call->node->ints;
    for (uint32_t d = 0; d < wanted.ndim; d++) {
        status = rnnrt_shape_symbol(call, call->node->i[d], &wanted.dims[d]);
        if (status != RNNRT_OK) return status;
    }
    status = rnnrt_shape_broadcast(call->out[0], x, &wanted);
    if (status == RNNRT_OK) call->out[0]->dtype = x->dtype;
    return status;
}

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0], *y = call->out[0];
    ptrdiff_t steps[RNNRT_MAX_RANK];
    rnnrt_walk_broadcast(steps, x, y->ndim);
    rnnrt_walk_copy(y->data, x->data, y->ndim, y->dims, steps);
}

const rnnrt_op rnnrt_op_expand = {
    .code = 69,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .name = "Expand",
    .ints = "shape...",
    .floats = "",
    .check = check,
    .shape = shape,
    .run = run,
};
