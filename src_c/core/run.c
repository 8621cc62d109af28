/* Running a state: shapes for this many time steps, inputs bound, every task in order, states committed, outputs copied. */
#include <string.h>

#include "state.h"

/* Brings all shapes to `time` steps and this batch, where they are not. */
static rnnrt_status set_shapes(rnnrt_state *s, uint32_t time, uint32_t batch) {
    rnnrt_sizes sizes;
    rnnrt_status status;
    s->time = UINT32_MAX;
    status = rnnrt_shapes(s->model, s->tensor, 0, time, batch, &sizes);
    if (status) return status;
    /* Fewer steps and rows than there may be normally need less; a graph for which that is not so must not write past its room. */
    for (uint32_t i = 0; i < s->model->slots; i++) {
        if (sizes.slot[i] > RNNRT_PAD(s->room.slot[i], 64u)) return RNNRT_ERR_SHAPE;
    }
    if (sizes.scratch > s->room.scratch) return RNNRT_ERR_SHAPE;
    for (uint32_t i = 0; i < s->tasks; i++) {
        rnnrt_call *call = &s->task[i].call;
        call->time = time;
        call->batch = batch;
        memset(call->kept, 0, rnnrt_kept(call->node));
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
    const uint32_t inputs = m->inputs, outputs = m->outputs, states = m->states, tasks = s->tasks;
    rnnrt_tensor *const *input = s->ends, *const *output = input + inputs, *const *state = output + outputs;
    const rnnrt_task *task = s->task;
    for (uint32_t i = 0; i < inputs; i++) {
        rnnrt_tensor *t = input[i];
        /* inputs are only read; a tensor has no const twin because it would double every operator's code */
        t->data = (void *)((uintptr_t)in[i] + frame * rnnrt_tensor_bytes(t));
    }
    for (uint32_t i = 0; i < s->bound; i++) {
        variable(s, s->bound_value[i])->data = variable(s, m->value[s->bound_value[i]].root)->data;
    }
    if (s->probe)
        run_probed(s);
    else
        for (uint32_t i = 0; i < tasks; i++, task++) task->run(&task->call);
    s->steps += s->time;
    for (uint32_t i = 0; i < states; i++, state++) { /* a pair is never a state's own memory: model.c, plan.c */
        memcpy(state[0]->data, state[states]->data, rnnrt_tensor_bytes(state[states]));
    }
    for (uint32_t i = 0; i < outputs; i++) {
        const rnnrt_tensor *t = output[i];
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
    const uint32_t frames = s->model->has_time ? 1 : time, timed = s->model->has_time ? time : 1;
    if (!in || !out || time > s->max_time) return RNNRT_ERR_ARGUMENT;
    for (uint32_t i = 0; i < s->model->inputs; i++) {
        if (!in[i] && time > 0) return RNNRT_ERR_ARGUMENT; /* at time 0 there is nothing to read */
    }
    if (time == 0 && !(s->model->has_time && wants_final(s->model, out))) return RNNRT_OK;
    if (s->time != timed || s->rows != batch) {
        const rnnrt_status status = set_shapes(s, timed, batch);
        if (status) return status;
    }
    if (!(s->model->file.flags & RNNRT_FLAG_STREAMABLE)) rnnrt_reset(s);
    for (uint32_t f = 0; f < frames; f++) evaluate(s, in, out, f);
    return RNNRT_OK;
}

rnnrt_status rnnrt_run(rnnrt_state *state, const void *const in[], void *const out[], uint32_t time) {
    return state ? rnnrt_run_batch(state, in, out, time, state->batch) : RNNRT_ERR_ARGUMENT;
}

rnnrt_status rnnrt_step(rnnrt_state *state, const void *const in[], void *const out[]) {
    if (!state) return RNNRT_ERR_ARGUMENT;
    if (!(state->model->file.flags & RNNRT_FLAG_STREAMABLE)) return RNNRT_ERR_NOT_STREAMABLE;
    return rnnrt_run_batch(state, in, out, 1, state->batch);
}
