/* Reshape, Squeeze, Unsqueeze: the same elements under another shape, so core shares the memory and nothing runs. */
#include "registry.h"

static rnnrt_status check_reshape(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_check_counts(call, 1, RNNRT_MAX_RANK, 0);
    if (status != RNNRT_OK) return status;
    uint32_t inferred = 0;
    for (uint32_t d = 0; d < call->node->ints; d++) {
        if (call->node->i[d] < RNNRT_DIM_BATCH) /* the smallest of the four symbols */
            return RNNRT_ERR_FORMAT;
        inferred += call->node->i[d] == -1;
    }
    return inferred <= 1 ? RNNRT_OK : RNNRT_ERR_FORMAT;
}

/* What dims [ndim] multiply to, 0 counted as 1; saturates at 2^32. */
static uint64_t product(const uint32_t *dims, uint32_t ndim) {
    uint64_t n = 1;
    for (uint32_t d = 0; d < ndim; d++) {
        n *= dims[d] ? dims[d] : 1u; /* at most 2^32 * (2^32 - 1) */
        if (n > 0xFFFFFFFFu) n = (uint64_t)1 << 32;
    }
    return n;
}

static int has_zero(const uint32_t *dims, uint32_t ndim) {
    for (uint32_t d = 0; d < ndim; d++)
        if (dims[d] == 0) return 1;
    return 0;
}

/* -1 stands for what is left. Where 0 steps of time make both sides empty, it is what it would be at time 1. */
static rnnrt_status infer(const rnnrt_tensor *x, uint32_t *dims, uint32_t ndim, uint32_t unknown) {
    int empty = has_zero(x->dims, x->ndim);
    dims[unknown] = 1;
    if (has_zero(dims, ndim) && !empty) return RNNRT_ERR_SHAPE;
    if (empty && !has_zero(dims, ndim)) {
        dims[unknown] = 0;
        return RNNRT_OK;
    }
    uint64_t all = product(x->dims, x->ndim), known = product(dims, ndim);
    if (all % known) return RNNRT_ERR_SHAPE;
    dims[unknown] = (uint32_t)(all / known); /* all < 2^29 */
    return RNNRT_OK;
}

static rnnrt_status shape_reshape(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0];
    rnnrt_tensor *out = call->out[0];
    rnnrt_status status = rnnrt_shape_input(call, 0, 1);
    uint32_t dims[RNNRT_MAX_RANK], ndim = call->node->ints, unknown = ndim;
    for (uint32_t d = 0; d < ndim && status == RNNRT_OK; d++) {
        int32_t written = call->node->i[d];
        dims[d] = 1;
        if (written == -1)
            unknown = d;
        else if (written == 0 && d < x->ndim)
            dims[d] = x->dims[d];
        else if (written == 0)
            status = RNNRT_ERR_SHAPE; /* nothing to copy from */
        else
            status = rnnrt_shape_symbol(call, written, &dims[d]);
    }
    if (status == RNNRT_OK && unknown < ndim) status = infer(x, dims, ndim, unknown);
    if (status == RNNRT_OK) status = rnnrt_shape_set(out, dims, ndim);
    if (status != RNNRT_OK) return status;
    out->dtype = x->dtype;
    return out->elements == rnnrt_shape_count(x, 0, x->ndim) ? RNNRT_OK : RNNRT_ERR_SHAPE;
}

static rnnrt_status check_axes(const rnnrt_call *call) { return rnnrt_check_counts(call, 0, RNNRT_MAX_RANK, 0); }

/* Bit d: dimension d of ndim is named. */
static rnnrt_status named_axes(const rnnrt_call *call, uint32_t ndim, uint32_t *mask) {
    *mask = 0;
    for (uint32_t i = 0; i < call->node->ints; i++) {
        uint32_t axis = rnnrt_shape_axis(call->node->i[i], ndim);
        if (axis >= ndim || (*mask >> axis & 1u)) return RNNRT_ERR_SHAPE;
        *mask |= 1u << axis;
    }
    return RNNRT_OK;
}

static rnnrt_status set_view(const rnnrt_call *call, const uint32_t *dims, uint32_t ndim) {
    rnnrt_status status = rnnrt_shape_set(call->out[0], dims, ndim);
    if (status == RNNRT_OK) call->out[0]->dtype = call->in[0]->dtype;
    return status;
}

static rnnrt_status shape_squeeze(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0];
    uint32_t dims[RNNRT_MAX_RANK], ndim = 0, mask = 0;
    rnnrt_status status = rnnrt_shape_input(call, 0, 1);
    if (status == RNNRT_OK) status = named_axes(call, x->ndim, &mask);
    if (status != RNNRT_OK) return status;
    for (uint32_t d = 0; d < x->ndim; d++) {
        int named = (mask >> d & 1u) || (call->node->ints == 0 && x->dims[d] == 1);
        if (!named)
            dims[ndim++] = x->dims[d];
        else if (x->dims[d] != 1)
            return RNNRT_ERR_SHAPE;
    }
    return set_view(call, dims, ndim);
}

static rnnrt_status shape_unsqueeze(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0];
    uint32_t dims[RNNRT_MAX_RANK], mask = 0, from = 0;
    rnnrt_status status = rnnrt_shape_input(call, 0, 1);
    if (status != RNNRT_OK) return status;
    uint32_t ndim = x->ndim + call->node->ints;
    if (ndim > RNNRT_MAX_RANK) return RNNRT_ERR_SHAPE;
    status = named_axes(call, ndim, &mask);
    if (status != RNNRT_OK) return status;
    for (uint32_t d = 0; d < ndim; d++) dims[d] = mask >> d & 1u ? 1 : x->dims[from++];
    return set_view(call, dims, ndim);
}

const rnnrt_op rnnrt_op_reshape = {
    .code = 60,
    .flags = RNNRT_OP_VIEW,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .name = "Reshape",
    .ints = "shape...",
    .floats = "",
    .check = check_reshape,
    .shape = shape_reshape,
};
const rnnrt_op rnnrt_op_squeeze = {
    .code = 61,
    .flags = RNNRT_OP_VIEW,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .name = "Squeeze",
    .ints = "axes...",
    .floats = "",
    .check = check_axes,
    .shape = shape_squeeze,
};
const rnnrt_op rnnrt_op_unsqueeze = {
    .code = 62,
    .flags = RNNRT_OP_VIEW,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .name = "Unsqueeze",
    .ints = "axes...",
    .floats = "",
    .check = check_axes,
    .shape = shape_unsqueeze,
};
