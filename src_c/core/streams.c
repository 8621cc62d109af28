/* Many streams in one state: what each remembers is gathered into the rows of a batch, run, and put back. */
#include <string.h>

#include "state.h"

/* A state variable [outer, n, inner bytes]: its dimensions around BATCH, which is 1 in a stream's own memory. */
typedef struct rows {
    size_t outer, inner;
} rows;

/* RNNRT_ERR_SHAPE where a variable does not have one BATCH dimension: then only one stream fits. */
static rnnrt_status rows_of(const rnnrt_model *m, uint32_t state, uint32_t n, rows *r) {
    const rnnrt_file_value *v = &m->value[m->state[state]].file;
    uint32_t batches = 0;
    r->outer = 1;
    r->inner = 4; /* both products fit: rnnrt_state_init has seen the variable at batch >= n */
    for (uint32_t d = 0; d < v->ndim; d++) {
        if (v->dims[d] == RNNRT_DIM_BATCH)
            batches++;
        else if (batches)
            r->inner *= (size_t)v->dims[d];
        else
            r->outer *= (size_t)v->dims[d];
    }
    if (!batches) { /* one run of bytes */
        r->inner *= r->outer;
        r->outer = 1;
    }
    return n == 1 ? (batches <= 1 ? RNNRT_OK : RNNRT_ERR_SHAPE) : batches == 1 ? RNNRT_OK : RNNRT_ERR_SHAPE;
}

rnnrt_status rnnrt_stream_size(const rnnrt_model *model, size_t *bytes) {
    size_t sum = 0;
    if (!model || !bytes) return RNNRT_ERR_ARGUMENT;
    for (uint32_t i = 0; i < model->states; i++) {
        rnnrt_tensor t;
        const rnnrt_status status = rnnrt_value_tensor(&model->value[model->state[i]], 0, 1, &t);
        if (status) return status;
        if (rnnrt_tensor_bytes(&t) > SIZE_MAX - sum) return RNNRT_ERR_OVERFLOW;
        sum += rnnrt_tensor_bytes(&t);
    }
    *bytes = sum;
    return RNNRT_OK;
}

rnnrt_status rnnrt_stream_init(const rnnrt_model *model, void *stream) {
    uint8_t *at = (uint8_t *)stream;
    if (!model || !stream) return RNNRT_ERR_ARGUMENT;
    for (uint32_t i = 0; i < model->states; i++) {
        const rnnrt_value *v = &model->value[model->state[i]];
        rnnrt_tensor t;
        const rnnrt_status status = rnnrt_value_tensor(v, 0, 1, &t);
        if (status) return status;
        if (v->file.init == RNNRT_NONE)
            memset(at, 0, rnnrt_tensor_bytes(&t));
        else
            memcpy(at, model->value[v->file.init].tensor.data, rnnrt_tensor_bytes(&t));
        at += rnnrt_tensor_bytes(&t);
    }
    return RNNRT_OK;
}

/* Between the state's variables at batch n and the streams' memory. */
static void exchange(rnnrt_state *s, void *const streams[], uint32_t n, int into_state) {
    const rnnrt_model *m = s->model;
    size_t offset = 0;
    for (uint32_t i = 0; i < m->states; i++) {
        uint8_t *variable = (uint8_t *)s->tensor[m->value[m->state[i]].index].data;
        rows r;
        (void)rows_of(m, i, n, &r); /* has been asked before */
        for (uint32_t b = 0; b < n; b++) {
            uint8_t *own = (uint8_t *)streams[b] + offset;
            for (size_t o = 0; o < r.outer; o++, own += r.inner) {
                uint8_t *row = variable + (o * n + b) * r.inner;
                memcpy(into_state ? row : own, into_state ? own : row, r.inner);
            }
        }
        offset += r.outer * r.inner;
    }
}

rnnrt_status rnnrt_run_streams(rnnrt_state *state, void *const streams[], uint32_t n, const void *const in[],
                               void *const out[], uint32_t time) {
    rnnrt_status status;
    if (!state || !streams || n == 0 || n > state->batch) return RNNRT_ERR_ARGUMENT;
    if (!rnnrt_model_streamable(state->model)) return RNNRT_ERR_NOT_STREAMABLE;
    for (uint32_t i = 0; i < n; i++) {
        if (!streams[i]) return RNNRT_ERR_ARGUMENT;
    }
    for (uint32_t i = 0; i < state->model->states; i++) {
        rows r;
        status = rows_of(state->model, i, n, &r);
        if (status) return status;
    }
    exchange(state, streams, n, 1);
    status = rnnrt_run_batch(state, in, out, time, n);
    if (!status) exchange(state, streams, n, 0);
    return status;
}
