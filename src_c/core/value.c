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

/* Bytes of a constant by its dtype, layout and dims; 0 when these don't go together or overflow. */
static uint64_t constant_bytes(const rnnrt_file_value *v) {
    uint64_t elements = 1;
    if (v->layout != RNNRT_PLAIN) {
        uint64_t rows, cols;
        if (v->ndim != 2) return 0;
        rows = RNNRT_PAD((uint64_t)(uint32_t)v->dims[0], RNNRT_BLOCK); /* < 2^31 + 16 */
        cols = (uint64_t)(uint32_t)v->dims[1];
        if (rows == 0 || cols == 0 || cols > RNNRT_MAX_COLS) return 0;
        if (v->layout == RNNRT_R16C1) return v->dtype == RNNRT_F32 ? rows * cols * 4u : 0; /* < 2^32 * 2^17 * 4 */
        return v->dtype == RNNRT_S8 ? rows * 8u + rows * RNNRT_PAD(cols, 4u) : 0;
    }
    if (v->dtype == RNNRT_S8) return 0;
    for (uint32_t d = 0; d < v->ndim; d++) {
        elements *= (uint64_t)(uint32_t)v->dims[d];
        if (elements > UINT64_C(0x1FFFFFFF))
            return UINT64_MAX; /* the next factor is < 2^31: no wrap before this test */
    }
    return elements * 4u;
}

/* Weights never -128 (the sign trick of AVX2 would wrap), row sums right, scales finite, padding zero: with that, every
 * instruction set computes the same integers. */
static int packed_s8_is_sound(const rnnrt_matrix *m) {
    const uint32_t groups = RNNRT_PAD(m->cols, 4u) / 4u;
    for (uint32_t block = 0; block < RNNRT_PAD(m->rows, RNNRT_BLOCK) / RNNRT_BLOCK; block++) {
        const int8_t *w = m->w8 + (size_t)block * groups * 64u;
        int32_t sum[RNNRT_BLOCK] = {0}; /* |sum| <= 131072 * 128 = 2^24 */
        int8_t least = 0;
        for (uint32_t g = 0; g < groups; g++, w += 64) {
            for (uint32_t r = 0; r < RNNRT_BLOCK; r++) {
                sum[r] += w[r * 4] + w[r * 4 + 1] + w[r * 4 + 2] + w[r * 4 + 3];
            }
            for (uint32_t b = 0; b < 64; b++) least = w[b] < least ? w[b] : least;
        }
        if (least == -128) return 0;
        for (uint32_t r = 0; r < RNNRT_BLOCK; r++) {
            const uint32_t row = block * RNNRT_BLOCK + r;
            const float scale = m->scale[row];
            if (m->row_sum[row] != sum[r] || !(scale >= 0.0f && scale <= 3.4028235e38f)) return 0;
            if (row >= m->rows && (scale > 0.0f || sum[r] != 0)) return 0;
        }
    }
    return 1;
}

static rnnrt_status read_constant(const rnnrt_file *file, rnnrt_value *value) {
    const rnnrt_file_value *v = &value->file;
    const rnnrt_section *data = &file->section[RNNRT_SECTION_DATA];
    rnnrt_tensor *t = &value->tensor;
    const uint64_t bytes = constant_bytes(v);
    if (v->size != bytes || v->data % 64u != 0 || v->data > data->size || bytes > data->size - v->data) {
        return RNNRT_ERR_FORMAT;
    }
    if (v->layout == RNNRT_R16C4 && !(file->features & RNNRT_FEATURE_S8)) return RNNRT_ERR_FORMAT;
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
    if (v->layout == RNNRT_R16C4) {
        const rnnrt_matrix m = rnnrt_matrix_of(t);
        if (!packed_s8_is_sound(&m)) return RNNRT_ERR_FORMAT;
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
    if (v->ndim > RNNRT_MAX_RANK || v->is_output > 1 || v->layout > RNNRT_R16C4) return RNNRT_ERR_FORMAT;
    if (v->zero[0] || v->zero[1] || v->zero[2] || v->zero2) return RNNRT_ERR_FORMAT;
    if (v->kind == RNNRT_VALUE_TEMP && !v->is_output ? v->dtype != 0 : v->dtype < RNNRT_F32 || v->dtype > RNNRT_I32) {
        return RNNRT_ERR_FORMAT;
    }
    if (check_dims(v)) return RNNRT_ERR_FORMAT;
    if (v->kind == RNNRT_VALUE_CONST)
        return v->pair == RNNRT_NONE && v->init == RNNRT_NONE ? read_constant(file, value) : RNNRT_ERR_FORMAT;
    if (v->layout != RNNRT_PLAIN || v->data || v->size || v->dtype == RNNRT_S8) return RNNRT_ERR_FORMAT;
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
