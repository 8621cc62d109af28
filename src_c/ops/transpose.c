/* Transpose: output dimension d is input dimension perm[d]. */
#include "registry.h"
#include "walk.h"

static rnnrt_status check(const rnnrt_call *call) {
    const rnnrt_node *node = call->node;
    rnnrt_status status = rnnrt_check_counts(call, 0, RNNRT_MAX_RANK, 0);
    if (status != RNNRT_OK) return status;
    uint32_t seen = 0;
    for (uint32_t d = 0; d < node->ints; d++) {
        if (node->i[d] < 0 || (uint32_t)node->i[d] >= node->ints || (seen >> node->i[d] & 1u)) return RNNRT_ERR_FORMAT;
        seen |= 1u << node->i[d];
    }
    return RNNRT_OK;
}

static rnnrt_status shape(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0];
    uint32_t dims[RNNRT_MAX_RANK];
    rnnrt_status status = rnnrt_shape_input(call, 0, 1);
    if (status != RNNRT_OK) return status;
    if (call->node->ints != x->ndim) return RNNRT_ERR_SHAPE;
    for (uint32_t d = 0; d < x->ndim; d++) dims[d] = x->dims[call->node->i[d]];
    status = rnnrt_shape_set(call->out[0], dims, x->ndim);
    if (status == RNNRT_OK) call->out[0]->dtype = x->dtype;
    return status;
}

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0], *y = call->out[0];
    ptrdiff_t steps[RNNRT_MAX_RANK], permuted[RNNRT_MAX_RANK];
    rnnrt_walk_steps(steps, x->dims, x->ndim);
    for (uint32_t d = 0; d < x->ndim; d++) permuted[d] = steps[call->node->i[d]];
    rnnrt_walk_copy(y->data, x->data, y->ndim, y->dims, permuted);
}

const rnnrt_op rnnrt_op_transpose = {
    .code = 64,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .name = "Transpose",
    .ints = "perm...",
    .floats = "",
    .check = check,
    .shape = shape,
    .run = run,
};
