/* Value records: what a file says of inputs, constants and states, checked, and turned into tensors. */
#include <string.h>

#include "model.h"

static rnnrt_status check_dims(const rnnrt_file_value *v) {
    for (uint32_t d = 0; d < RNNRT_MAX_RANK; d++) {
        const int32_t dim = v->dims[d];
        if (d >= v->ndim) {
            if (dim != 0) return RNNRT_ERR_FORMAT;
        } else if (dim < 0) {
            if (v->kind == RNNRT_VALUE_CONST || (dim != RNNRT_DIM_TIME && dim != RNNRT_DIM_BATCH))
                return RNNRT_ERR_FORMAT;
            if (v->kind == RNNRT_VALUE_STATE && dim == RNNRT_DIM_TIME) return RNNRT_ERR_FORMAT;
        }
    }
    return RNNRT_OK;
}

/* What tensors may hold; the rest is for packed weights. */
static int is_data(uint32_t dtype) { return dtype == RNNRT_F32 || dtype == RNNRT_I32; }

/* The feature that a reader must have for it. */
static uint32_t feature_of(uint32_t dtype) {
    switch (dtype) {
    case RNNRT_S8: return RNNRT_FEATURE_S8;
    case RNNRT_F16: return RNNRT_FEATURE_F16;
    case RNNRT_S4: return RNNRT_FEATURE_S4;
    default: return 0;
    }
}

/* Bytes of a constant by its dtype, layout and dims; 0 when these don't go together or overflow. */
static uint64_t constant_bytes(const rnnrt_file_value *v) {
    uint64_t elements = 1;
    if (v->layout != RNNRT_PLAIN) {
        return v->ndim == 2 ? rnnrt_packed_bytes(v->layout, v->dtype, (uint32_t)v->dims[0], (uint32_t)v->dims[1]) : 0;
    }
    if (!is_data(v->dtype)) return 0;
    for (uint32_t d = 0; d < v->ndim; d++) {
        elements *= (uint64_t)(uint32_t)v->dims[d];
        if (elements > UINT64_C(0x1FFFFFFF))
            return UINT64_MAX; /* the next factor is < 2^31: no wrap before this test */
    }
    return elements * 4u;
}

static rnnrt_status read_constant(const rnnrt_file *file, rnnrt_value *value) {
    const rnnrt_file_value *v = &value->file;
    const rnnrt_section *data = &file->section[RNNRT_SECTION_DATA];
    rnnrt_tensor *t = &value->tensor;
    const uint64_t bytes = constant_bytes(v);
    if (v->size != bytes || v->data % 64u != 0 || v->data > data->size || bytes > data->size - v->data) {
        return RNNRT_ERR_FORMAT;
    }
    if (feature_of(v->dtype) & ~file->features) return RNNRT_ERR_FORMAT;
    t->data = (void *)(uintptr_t)(data->bytes + v->data); /* never written to */
    t->is_const = 1;
    t->layout = v->layout;
    t->dtype = v->dtype;
    t->ndim = v->ndim;
    t->elements = 1;
    for (uint32_t d = 0; d < v->ndim; d++) {
        t->dims[d] = (uint32_t)v->dims[d];
        t->elements *= t->dims[d]; /* PLAIN: < 2^29; packed matrices may wrap, nothing reads it there */
    }
    if (v->layout != RNNRT_PLAIN) {
        const rnnrt_matrix m = rnnrt_matrix_of(t);
        if (!rnnrt_packed_is_sound(&m)) return RNNRT_ERR_FORMAT;
    }
    return RNNRT_OK;
}

rnnrt_status rnnrt_value_read(const rnnrt_file *file, uint32_t i, rnnrt_value *value) {
    const uint32_t values = file->section[RNNRT_SECTION_VALUES].count;
    rnnrt_file_value *v = &value->file;
    memset(value, 0, sizeof *value);
    *v = rnnrt_file_value_at(file, i);
    value->producer = value->slot = value->reg = RNNRT_NONE;
    value->root = i;
    if (v->name >= file->section[RNNRT_SECTION_STRINGS].size || v->kind > RNNRT_VALUE_STATE) return RNNRT_ERR_FORMAT;
    if (v->ndim > RNNRT_MAX_RANK || v->is_output > 1 || v->layout > RNNRT_R16G32) return RNNRT_ERR_FORMAT;
    if (v->zero[0] || v->zero[1] || v->zero[2] || v->zero2) return RNNRT_ERR_FORMAT;
    if (v->kind == RNNRT_VALUE_TEMP && !v->is_output ? v->dtype != 0 : v->dtype < RNNRT_F32 || v->dtype > RNNRT_S4) {
        return RNNRT_ERR_FORMAT;
    }
    if (check_dims(v)) return RNNRT_ERR_FORMAT;
    if (v->kind == RNNRT_VALUE_CONST)
        return v->pair == RNNRT_NONE && v->init == RNNRT_NONE ? read_constant(file, value) : RNNRT_ERR_FORMAT;
    if (v->layout != RNNRT_PLAIN || v->data || v->size || (v->dtype && !is_data(v->dtype))) return RNNRT_ERR_FORMAT;
    if (v->kind == RNNRT_VALUE_STATE) {
        if (v->pair >= values || v->dtype != RNNRT_F32) return RNNRT_ERR_FORMAT;
        return v->init == RNNRT_NONE || v->init < values ? RNNRT_OK : RNNRT_ERR_FORMAT;
    }
    return v->pair == RNNRT_NONE && v->init == RNNRT_NONE ? RNNRT_OK : RNNRT_ERR_FORMAT;
}

static uint32_t dim_now(int32_t dim, uint32_t time, uint32_t batch) {
    return dim == RNNRT_DIM_TIME ? time : dim == RNNRT_DIM_BATCH ? batch : (uint32_t)dim;
}

rnnrt_status rnnrt_value_tensor(const rnnrt_value *value, uint32_t time, uint32_t batch, rnnrt_tensor *tensor) {
    uint32_t dims[RNNRT_MAX_RANK];
    rnnrt_status status;
    for (uint32_t d = 0; d < value->file.ndim; d++) dims[d] = dim_now(value->file.dims[d], time, batch);
    status = rnnrt_shape_set(tensor, dims, value->file.ndim);
    tensor->dtype = value->file.dtype;
    tensor->elements = status ? 0 : rnnrt_shape_count(tensor, 0, tensor->ndim);
    return status;
}

int rnnrt_value_matches(const rnnrt_value *value, uint32_t time, uint32_t batch, const rnnrt_tensor *tensor) {
    if (tensor->dtype != value->file.dtype || tensor->ndim != value->file.ndim) return 0;
    for (uint32_t d = 0; d < tensor->ndim; d++) {
        if (tensor->dims[d] != dim_now(value->file.dims[d], time, batch)) return 0;
    }
    return 1;
}
