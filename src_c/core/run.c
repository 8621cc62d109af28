/* Running a state: shapes for this many time steps, inputs bound, every task in order, states committed, outputs copied. */
#include <string.h>

#include "state.h"

/* Brings all shapes to `time` steps and this batch. Cheap when they are there already, as when stepping. */
static rnnrt_status set_shapes(rnnrt_state *s, uint32_t time, uint32_t batch) {
    rnnrt_sizes sizes;
    rnnrt_status status;
    if (s->time == time && s->rows == batch) return RNNRT_OK;
    s->time = UINT32_MAX;
    status = rnnrt_shapes(s->model, s->tensor, 0, time, batch, &sizes);
    if (status) return status;
    /* Fewer steps and rows than there may be normally need less; a graph for which that is not so must not write past its room. */
    for (uint32_t i = 0; i < s->model->slots; i++) {
        if (sizes.slot[i] > RNNRT_PAD(s->room.slot[i], 64u)) return RNNRT_ERR_SHAPE;
    }
    if (sizes.scratch > s->room.scratch) return RNNRT_ERR_SHAPE;
    for (uint32_t i = 0; i < s->tasks; i++) {
        s->task[i].call.time = time;
        s->task[i].call.batch = batch;
    }
    s->time = time;
    s->rows = batch;
    return RNNRT_OK;
}

static rnnrt_tensor *variable(const rnnrt_state *s, uint32_t value) { return &s->tensor[s->model->value[value].index]; }

static void run_probed(rnnrt_state *s) {
    for (uint32_t i = 0; i < s->tasks; i++) {
        s->probe(s->probe_context, (uint32_t)(s->task[i].call.node - s->model->node));
        s->task[i].run(&s->task[i].call);
    }
    s->probe(s->probe_context, s->model->nodes);
}

/* Evaluates the graph once at the current shapes. frame: which frame of in and out (0 unless the model has no time). */
static void evaluate(rnnrt_state *s, const void *const in[], void *const out[], uint32_t frame) {
    const rnnrt_model *m = s->model;
    for (uint32_t i = 0; i < m->inputs; i++) {
        rnnrt_tensor *t = variable(s, m->input[i]);
        /* inputs are only read; a tensor has no const twin because it would double every operator's code */
        t->data = (void *)((uintptr_t)in[i] + frame * rnnrt_tensor_bytes(t));
    }
    for (uint32_t i = 0; i < s->bound; i++) {
        variable(s, s->bound_value[i])->data = variable(s, m->value[s->bound_value[i]].root)->data;
    }
    if (s->probe)
        run_probed(s);
    else
        for (uint32_t i = 0; i < s->tasks; i++) s->task[i].run(&s->task[i].call);
    s->steps += s->time;
    for (uint32_t i = 0; i < m->states; i++) { /* a pair is never a state's own memory: model.c, plan.c */
        const rnnrt_tensor *pair = variable(s, m->value[m->state[i]].file.pair);
        memcpy(variable(s, m->state[i])->data, pair->data, rnnrt_tensor_bytes(pair));
    }
    for (uint32_t i = 0; i < m->outputs; i++) {
        const rnnrt_value *v = &m->value[m->output[i]];
        const rnnrt_tensor *t = v->file.kind == RNNRT_VALUE_CONST ? &v->tensor : variable(s, m->output[i]);
        const size_t bytes = rnnrt_tensor_bytes(t);
        if (out[i] && bytes) memmove((uint8_t *)out[i] + frame * bytes, t->data, bytes); /* in and out may overlap */
    }
}

/* Is an output wanted that exists without any time step, such as a final state? */
static int wants_final(const rnnrt_model *m, void *const out[]) {
    for (uint32_t i = 0; i < m->outputs; i++) {
        const rnnrt_file_value *v = &m->value[m->output[i]].file;
        int timed = 0;
        for (uint32_t d = 0; d < v->ndim; d++) timed |= v->dims[d] == RNNRT_DIM_TIME;
        if (out[i] && !timed) return 1;
    }
    return 0;
}

rnnrt_status rnnrt_run_batch(rnnrt_state *s, const void *const in[], void *const out[], uint32_t time, uint32_t batch) {
    const uint32_t frames = s->model->has_time ? 1 : time;
    rnnrt_status status;
    if (!in || !out || time > s->max_time) return RNNRT_ERR_ARGUMENT;
    for (uint32_t i = 0; i < s->model->inputs; i++) {
        if (!in[i] && time > 0) return RNNRT_ERR_ARGUMENT; /* at time 0 there is nothing to read */
    }
    if (time == 0 && !(s->model->has_time && wants_final(s->model, out))) return RNNRT_OK;
    status = set_shapes(s, s->model->has_time ? time : 1, batch);
    if (status) return status;
    if (!rnnrt_model_streamable(s->model)) rnnrt_reset(s);
    for (uint32_t f = 0; f < frames; f++) evaluate(s, in, out, f);
    return RNNRT_OK;
}

rnnrt_status rnnrt_run(rnnrt_state *state, const void *const in[], void *const out[], uint32_t time) {
    return state ? rnnrt_run_batch(state, in, out, time, state->batch) : RNNRT_ERR_ARGUMENT;
}

rnnrt_status rnnrt_step(rnnrt_state *state, const void *const in[], void *const out[]) {
    if (state && !rnnrt_model_streamable(state->model)) return RNNRT_ERR_NOT_STREAMABLE;
    return rnnrt_run(state, in, out, 1);
}
