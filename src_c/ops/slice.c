/* Slice: start, end and step along some axes, clamped as ONNX says; steps may be negative. */
#include "registry.h"
#include "walk.h"

#define PER_AXIS 4u /* axis start end step */

static rnnrt_status check(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_check_counts(call, 0, PER_AXIS * RNNRT_MAX_RANK, 0);
    if (status != RNNRT_OK || call->node->ints % PER_AXIS) return RNNRT_ERR_FORMAT;
    for (uint32_t i = 0; i < call->node->ints; i += PER_AXIS)
        if (call->node->i[i + 3] == 0) return RNNRT_ERR_FORMAT;
    return RNNRT_OK;
}

static int64_t clamp(int64_t value, int64_t min, int64_t max) { return value < min ? min : value > max ? max : value; }

/* One dimension n cut by attr [start end step]: the first index kept and how many are. */
static uint32_t cut(const int32_t *attr, uint32_t n, uint32_t *first) {
    int64_t start = attr[0] < 0 ? (int64_t)attr[0] + n : attr[0];
    int64_t end = attr[1] < 0 ? (int64_t)attr[1] + n : attr[1];
    int64_t step = attr[2], span;
    *first = 0;
    if (n == 0) return 0;
    if (step > 0) {
        start = clamp(start, 0, n);
        span = clamp(end, 0, n) - start;
    } else {
        start = clamp(start, 0, (int64_t)n - 1);
        span = start - clamp(end, -1, (int64_t)n - 1);
        step = -step;
    }
    if (span <= 0) return 0;
    *first = (uint32_t)start;
    return (uint32_t)((span + step - 1) / step);
}

/* The output's dims; origin and steps (in elements of the input) may be NULL. */
static rnnrt_status plan(const rnnrt_call *call, uint32_t *dims, ptrdiff_t *origin, ptrdiff_t *steps) {
    const rnnrt_tensor *x = call->in[0];
    ptrdiff_t own[RNNRT_MAX_RANK];
    uint32_t seen = 0, first;
    rnnrt_walk_steps(own, x->dims, x->ndim);
    for (uint32_t d = 0; d < x->ndim; d++) {
        dims[d] = x->dims[d];
        if (steps) steps[d] = own[d];
    }
    for (uint32_t i = 0; i < call->node->ints; i += PER_AXIS) {
        const int32_t *attr = call->node->i + i;
        uint32_t axis = rnnrt_shape_axis(attr[0], x->ndim);
        if (axis >= x->ndim || (seen >> axis & 1u)) return RNNRT_ERR_SHAPE;
        seen |= 1u << axis;
        dims[axis] = cut(attr + 1, x->dims[axis], &first);
        if (steps) {
            *origin += (ptrdiff_t)first * own[axis];
            steps[axis] = dims[axis] > 1 ? attr[3] * own[axis] : 0; /* several are kept: |step| < dim, no overflow */
        }
    }
    return RNNRT_OK;
}

static rnnrt_status shape(const rnnrt_call *call) {
    uint32_t dims[RNNRT_MAX_RANK];
    rnnrt_status status = rnnrt_shape_input(call, 0, 1);
    if (status == RNNRT_OK) status = plan(call, dims, NULL, NULL);
    if (status == RNNRT_OK) status = rnnrt_shape_set(call->out[0], dims, call->in[0]->ndim);
    if (status == RNNRT_OK) call->out[0]->dtype = call->in[0]->dtype;
    return status;
}

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0], *y = call->out[0];
    uint32_t dims[RNNRT_MAX_RANK];
    ptrdiff_t steps[RNNRT_MAX_RANK], origin = 0;
    plan(call, dims, &origin, steps);
    if (rnnrt_shape_count(y, 0, y->ndim))
        rnnrt_walk_copy(y->data, (const uint32_t *)x->data + origin, y->ndim, dims, steps);
}

const rnnrt_op rnnrt_op_slice = {
    .code = 65,
    .min_in = 1,
    .max_in = 1,
    .min_out = 1,
    .max_out = 1,
    .name = "Slice",
    .ints = "axis_start_end_step...",
    .floats = "",
    .check = check,
    .shape = shape,
    .run = run,
};
