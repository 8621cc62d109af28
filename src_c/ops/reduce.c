/* ReduceMean of F32, ReduceMax and ReduceSum of F32 or I32 (whose sum wraps around). The elements that make one output form a vector in row-major order, which is copied
 * together unless it lies contiguous already, and reduced as kernels.h says: the same bits on every instruction set. */
#include "../kernels/float_exact.h"

#include "registry.h"
#include "walk.h"

#include <string.h>

#define CODE_MEAN 52u
#define CODE_MAX 53u
#define INTS "keepdims axes..."

static rnnrt_status check(const rnnrt_call *call) {
    rnnrt_status status = rnnrt_check_counts(call, 1, 1 + RNNRT_MAX_RANK, 0);
    if (status != RNNRT_OK) return status;
    return call->node->i[0] == 0 || call->node->i[0] == 1 ? RNNRT_OK : RNNRT_ERR_FORMAT;
}

/* Bit d: dimension d is reduced. 0xFFFFFFFF: an axis is out of range or named twice. */
static uint32_t reduced_axes(const rnnrt_call *call) {
    uint32_t ndim = call->in[0]->ndim, mask = 0;
    if (call->node->ints == 1) return (1u << ndim) - 1u;
    for (uint32_t i = 1; i < call->node->ints; i++) {
        uint32_t axis = rnnrt_shape_axis(call->node->i[i], ndim);
        if (axis >= ndim || (mask >> axis & 1u)) return 0xFFFFFFFFu;
        mask |= 1u << axis;
    }
    return mask;
}

static uint32_t reduced_count(const rnnrt_tensor *x, uint32_t mask) {
    uint32_t n = 1;
    for (uint32_t d = 0; d < x->ndim; d++)
        if (mask >> d & 1u) n *= x->dims[d];
    return n;
}

static rnnrt_status shape(const rnnrt_call *call) {
    const rnnrt_tensor *x = call->in[0];
    rnnrt_status status = rnnrt_shape_input(call, 0, call->node->op->code != CODE_MEAN);
    if (status != RNNRT_OK) return status;
    uint32_t dims[RNNRT_MAX_RANK], ndim = 0, mask = reduced_axes(call);
    if (mask == 0xFFFFFFFFu) return RNNRT_ERR_SHAPE;
    for (uint32_t d = 0; d < x->ndim; d++) {
        if (!(mask >> d & 1u))
            dims[ndim++] = x->dims[d];
        else if (call->node->i[0])
            dims[ndim++] = 1;
    }
    status = rnnrt_shape_set(call->out[0], dims, ndim);
    if (status != RNNRT_OK) return status;
    call->out[0]->dtype = x->dtype;
    int of_nothing = reduced_count(x, mask) == 0 && call->out[0]->elements > 0;
    return of_nothing && call->node->op->code == CODE_MAX ? RNNRT_ERR_SHAPE : RNNRT_OK;
}

/* Do the elements of a vector lie side by side? After the first dimension reduced only dimensions of 1 are kept. */
static int contiguous(const rnnrt_tensor *x, uint32_t mask) {
    int reduced = 0;
    for (uint32_t d = 0; d < x->ndim; d++) {
        if (mask >> d & 1u)
            reduced = 1;
        else if (reduced && x->dims[d] != 1)
            return 0;
    }
    return 1;
}

static size_t scratch(const rnnrt_call *call) {
    uint32_t mask = reduced_axes(call);
    return contiguous(call->in[0], mask) ? 0 : (size_t)reduced_count(call->in[0], mask) * sizeof(float);
}

static float reduce(const rnnrt_call *call, const float *x, uint32_t n) {
    const rnnrt_kernels *k = call->k;
    if (call->node->op->code == CODE_MAX) return k->max(x, n);
    float sum = k->sum(x, n), count = (float)n;
    if (call->node->op->code == CODE_MEAN)
        k->binary(RNNRT_DIV, &sum, 1, &count, 1, &sum, 1); /* of nothing: 0 / 0, NaN */
    return sum;
}

static int32_t reduce_integers(const rnnrt_call *call, const int32_t *x, uint32_t n) {
    const int is_max = call->node->op->code == CODE_MAX;
    int32_t y = is_max ? x[0] : 0; /* of nothing only the sum is asked for */
    for (uint32_t i = 0; i < n; i++) {
        if (is_max)
            y = x[i] > y ? x[i] : y;
        else
            y = (int32_t)((uint32_t)y + (uint32_t)x[i]);
    }
    return y;
}

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *in = call->in[0];
    uint32_t mask = reduced_axes(call), n = reduced_count(in, mask);
    uint32_t kept[RNNRT_MAX_RANK], gone[RNNRT_MAX_RANK], nkept = 0, ngone = 0;
    ptrdiff_t steps[RNNRT_MAX_RANK], kept_steps[RNNRT_MAX_RANK], gone_steps[RNNRT_MAX_RANK];
    if (rnnrt_shape_count(call->out[0], 0, call->out[0]->ndim) == 0) return;
    rnnrt_walk_steps(steps, in->dims, in->ndim);
    for (uint32_t d = 0; d < in->ndim; d++) {
        if (mask >> d & 1u) {
            gone_steps[ngone] = steps[d];
            gone[ngone++] = in->dims[d];
        } else {
            kept_steps[nkept] = steps[d];
            kept[nkept++] = in->dims[d];
        }
    }
    int together = n == 0 || contiguous(in, mask);
    uint32_t *y = call->out[0]->data;
    void *vector = call->scratch;
    rnnrt_walk w;
    rnnrt_walk_start(&w, nkept, kept, kept_steps, NULL);
    do {
        for (uint32_t i = 0; i < w.n; i++) {
            const void *x = (const uint32_t *)in->data + (n ? w.a + (ptrdiff_t)i * w.a_step : 0);
            if (!together) {
                rnnrt_walk_copy(vector, x, ngone, gone, gone_steps);
                x = vector;
            }
            const float real = in->dtype == RNNRT_F32 ? reduce(call, x, n) : 0.0f;
            const int32_t integer = in->dtype == RNNRT_I32 ? reduce_integers(call, x, n) : 0;
            memcpy(y++, in->dtype == RNNRT_I32 ? (const void *)&integer : &real, sizeof *y);
        }
    } while (rnnrt_walk_next(&w));
}

/* In the order of the fields: code, flags, inputs, outputs, name, attributes, functions. */
const rnnrt_op rnnrt_op_reduce_mean = {52, 0, 1, 1, 1, 1, "ReduceMean", INTS, "", check, shape, scratch, run};
const rnnrt_op rnnrt_op_reduce_max = {53, 0, 1, 1, 1, 1, "ReduceMax", INTS, "", check, shape, scratch, run};
const rnnrt_op rnnrt_op_reduce_sum = {54, 0, 1, 1, 1, 1, "ReduceSum", INTS, "", check, shape, scratch, run};
