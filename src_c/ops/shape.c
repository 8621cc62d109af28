/* What the check and shape functions of all operators share: counts, sizes that cannot overflow, axes, broadcasting. */
#include "op.h"

#define MAX_ELEMENTS 0x1FFFFFFFu /* 4 bytes each: less than 2^31 bytes */

static int fits(const uint32_t *dims, uint32_t ndim) {
    uint64_t n = 1;
    for (uint32_t d = 0; d < ndim; d++) {
        n *= dims[d] ? dims[d] : 1u; /* below 2^29 * 2^32 */
        if (n > MAX_ELEMENTS) return 0;
    }
    return 1;
}

static int counts_fit(uint32_t n, uint32_t min, uint32_t max, const uint32_t *refs) {
    if (n < min || n > max) return 0;
    for (uint32_t i = 0; i < min; i++)
        if (refs[i] == RNNRT_NONE) return 0;
    return 1;
}

rnnrt_status rnnrt_check_counts(const rnnrt_call *call, uint32_t min_ints, uint32_t max_ints, uint32_t floats) {
    const rnnrt_node *node = call->node;
    const rnnrt_op *op = node->op;
    int fit = counts_fit(node->inputs, op->min_in, op->max_in, node->refs) &&
              counts_fit(node->outputs, op->min_out, op->max_out, node->refs + node->inputs) &&
              node->ints >= min_ints && node->ints <= max_ints && node->floats == floats;
    return fit ? RNNRT_OK : RNNRT_ERR_FORMAT;
}

rnnrt_status rnnrt_shape_input(const rnnrt_call *call, uint32_t i, int i32_allowed) {
    const rnnrt_tensor *t = i < call->node->inputs ? call->in[i] : NULL;
    if (!t || t->layout != RNNRT_PLAIN || t->ndim > RNNRT_MAX_RANK) return RNNRT_ERR_FORMAT;
    if (t->dtype != RNNRT_F32 && !(i32_allowed && t->dtype == RNNRT_I32)) return RNNRT_ERR_FORMAT;
    return fits(t->dims, t->ndim) ? RNNRT_OK : RNNRT_ERR_OVERFLOW;
}

rnnrt_status rnnrt_shape_symbol(const rnnrt_call *call, int32_t written, uint32_t *dim) {
    if (written == RNNRT_DIM_TIME)
        *dim = call->time;
    else if (written == RNNRT_DIM_BATCH)
        *dim = call->batch;
    else if (written >= 0)
        *dim = (uint32_t)written;
    else
        return RNNRT_ERR_FORMAT;
    return RNNRT_OK;
}

rnnrt_status rnnrt_shape_set(rnnrt_tensor *t, const uint32_t *dims, uint32_t ndim) {
    if (ndim > RNNRT_MAX_RANK) return RNNRT_ERR_SHAPE;
    if (!fits(dims, ndim)) return RNNRT_ERR_OVERFLOW;
    uint32_t n = 1;
    for (uint32_t d = 0; d < ndim; d++) {
        t->dims[d] = dims[d];
        n *= dims[d];
    }
    for (uint32_t d = ndim; d < RNNRT_MAX_RANK; d++) t->dims[d] = 0;
    t->ndim = (uint8_t)ndim;
    t->dtype = RNNRT_F32;
    t->layout = RNNRT_PLAIN;
    t->elements = n;
    return RNNRT_OK;
}

rnnrt_status rnnrt_shape_same(rnnrt_tensor *t, const rnnrt_tensor *as) {
    uint8_t dtype = as->dtype;
    rnnrt_status status = rnnrt_shape_set(t, as->dims, as->ndim);
    if (status == RNNRT_OK) t->dtype = dtype;
    return status;
}

rnnrt_status rnnrt_shape_broadcast(rnnrt_tensor *t, const rnnrt_tensor *a, const rnnrt_tensor *b) {
    uint32_t dims[RNNRT_MAX_RANK], ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (uint32_t d = 0; d < ndim; d++) { /* d counts from the last dimension */
        uint32_t da = d < a->ndim ? a->dims[a->ndim - 1 - d] : 1;
        uint32_t db = d < b->ndim ? b->dims[b->ndim - 1 - d] : 1;
        if (da != db && da != 1 && db != 1) return RNNRT_ERR_SHAPE;
        dims[ndim - 1 - d] = da == 1 ? db : da;
    }
    return rnnrt_shape_set(t, dims, ndim);
}

rnnrt_status rnnrt_shape_pair(const rnnrt_call *call, uint32_t i, uint32_t j, rnnrt_tensor *t) {
    rnnrt_status status = rnnrt_shape_input(call, i, 1);
    if (status == RNNRT_OK) status = rnnrt_shape_input(call, j, 1);
    if (status != RNNRT_OK) return status;
    uint8_t dtype = call->in[i]->dtype;
    if (call->in[j]->dtype != dtype) return RNNRT_ERR_FORMAT;
    status = rnnrt_shape_broadcast(t, call->in[i], call->in[j]);
    if (status == RNNRT_OK) t->dtype = dtype;
    return status;
}

uint32_t rnnrt_shape_axis(int32_t axis, uint32_t ndim) {
    int64_t at = axis < 0 ? (int64_t)axis + ndim : axis;
    return at >= 0 && at < (int64_t)ndim ? (uint32_t)at : 0xFFFFFFFFu;
}

uint32_t rnnrt_shape_count(const rnnrt_tensor *t, uint32_t from, uint32_t to) {
    uint32_t n = 1;
    for (uint32_t d = from; d < to; d++) n *= t->dims[d];
    return n;
}
