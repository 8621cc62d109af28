/* Laying out a state in memory: tensors, tasks, state variables, slots, scratch. */
#include "state.h"

#include <string.h>

/* The parts of a state's memory in this order, each at a multiple of 64. */
typedef struct state_layout {
    size_t tensors, refs, tasks, bound, kept, states, slots, scratch, end;
} state_layout;

/* Sums stay below SIZE_MAX / 2: every part is < SIZE_MAX / 8 or the whole is refused. */
static size_t add_part(size_t *end, uint64_t bytes) {
    const size_t start = *end;
    if (bytes > SIZE_MAX >> 3 || start > SIZE_MAX >> 2) {
        *end = SIZE_MAX;
        return 0;
    }
    *end = start + (((size_t)bytes + 63u) & ~(size_t)63u);
    return start;
}

static rnnrt_status layout_of(const rnnrt_model *m, const rnnrt_sizes *sizes, uint32_t batch, state_layout *l) {
    uint64_t states = 0, slots = 0, kept = 0;
    size_t end = RNNRT_PAD(sizeof(rnnrt_state), 64u);
    for (uint32_t s = 0; s < m->states; s++) { /* a tensor is < 2^31 bytes, there are < 2^24 of them */
        rnnrt_tensor t;
        const rnnrt_status status = rnnrt_value_tensor(&m->value[m->state[s]], 0, batch, &t);
        if (status) return status;
        states += RNNRT_PAD(rnnrt_tensor_bytes(&t), 64u);
    }
    for (uint32_t s = 0; s < m->slots; s++) slots += RNNRT_PAD((uint64_t)sizes->slot[s], 64u);
    l->tensors = add_part(&end, (uint64_t)m->variables * sizeof(rnnrt_tensor));
    for (uint32_t n = 0; n < m->nodes; n++) kept += rnnrt_kept(&m->node[n]);
    l->refs = add_part(&end, ((uint64_t)m->refs + m->inputs + m->outputs + 2u * m->states) * sizeof(rnnrt_tensor *));
    l->tasks = add_part(&end, (uint64_t)m->nodes * sizeof(rnnrt_task));
    l->bound = add_part(&end, (uint64_t)m->variables * sizeof(uint32_t));
    l->kept = add_part(&end, kept);
    l->states = add_part(&end, states);
    l->slots = add_part(&end, slots);
    l->scratch = add_part(&end, sizes->scratch);
    l->end = end;
    return end > SIZE_MAX - 64u ? RNNRT_ERR_OVERFLOW : RNNRT_OK;
}

/* Without a time dimension a time step is one evaluation, and shapes do not depend on max_time. */
static uint32_t plan_time(const rnnrt_model *model, uint32_t max_time) { return model->has_time ? max_time : 1; }

rnnrt_status rnnrt_state_size(const rnnrt_model *model, uint32_t max_time, uint32_t batch, size_t *bytes) {
    rnnrt_tensor table[RNNRT_MAX_LIVE];
    rnnrt_sizes sizes;
    state_layout layout;
    rnnrt_status status;
    if (!model || !bytes || max_time == 0 || batch == 0) return RNNRT_ERR_ARGUMENT;
    memset(table, 0, sizeof table);
    status = rnnrt_shapes(model, table, 1, plan_time(model, max_time), batch, &sizes);
    if (!status) status = layout_of(model, &sizes, batch, &layout);
    if (!status) *bytes = layout.end + 63u; /* mem may have any alignment */
    return status;
}

/* The address of every variable that does not move: slots and states. Inputs (and views of them) are bound at each call. */
static void place_tensors(rnnrt_state *s, uint8_t *states, uint8_t *slots) {
    const rnnrt_model *m = s->model;
    uint8_t *slot_at[RNNRT_MAX_LIVE];
    for (uint32_t i = 0; i < m->slots; i++) {
        slot_at[i] = slots;
        slots += RNNRT_PAD(s->room.slot[i], 64u);
    }
    for (uint32_t i = 0; i < m->values; i++) {
        const rnnrt_value *root = &m->value[m->value[i].root];
        rnnrt_tensor *t;
        if (m->value[i].file.kind == RNNRT_VALUE_CONST) continue;
        t = &s->tensor[m->value[i].index];
        if (root->file.kind == RNNRT_VALUE_CONST) t->data = root->tensor.data;
        if (root->file.kind == RNNRT_VALUE_TEMP) t->data = slot_at[root->slot];
        if (root->file.kind == RNNRT_VALUE_INPUT && m->value[i].root != i) s->bound_value[s->bound++] = i;
        if (m->value[i].file.kind == RNNRT_VALUE_STATE) {
            t->data = states;
            states += RNNRT_PAD(rnnrt_tensor_bytes(t), 64u);
        }
    }
}

/* A view that may not share memory (see rnnrt_plan_shares). */
static void copy_view(const rnnrt_call *call) {
    memcpy(call->out[0]->data, call->in[0]->data, rnnrt_tensor_bytes(call->in[0]));
}

/* Where n values of the model are, NULL for RNNRT_NONE; returns the end. */
static rnnrt_tensor **find_tensors(const rnnrt_state *s, const uint32_t *value, uint32_t n, rnnrt_tensor **to) {
    for (uint32_t i = 0; i < n; i++) {
        rnnrt_value *v = value[i] == RNNRT_NONE ? NULL : &s->model->value[value[i]];
        *to++ = !v ? NULL : v->file.kind == RNNRT_VALUE_CONST ? &v->tensor : &s->tensor[v->index];
    }
    return to;
}

static void make_tasks(rnnrt_state *s, uint8_t *kept) {
    const rnnrt_model *m = s->model;
    rnnrt_tensor **refs = find_tensors(s, m->input, m->inputs, s->ends);
    refs = find_tensors(s, m->output, m->outputs, refs);
    refs = find_tensors(s, m->state, m->states, refs);
    for (uint32_t i = 0; i < m->states; i++) refs = find_tensors(s, &m->value[m->state[i]].file.pair, 1, refs);
    for (uint32_t n = 0; n < m->nodes; n++) {
        const rnnrt_node *node = &m->node[n];
        rnnrt_task *task = &s->task[s->tasks];
        rnnrt_tensor **next = find_tensors(s, node->refs, node->inputs + node->outputs, refs);
        if (!rnnrt_plan_shares(m, node)) {
            memset(task, 0, sizeof *task);
            task->run = node->op->flags & RNNRT_OP_VIEW ? copy_view : node->op->run;
            task->call.node = node;
            task->call.in = (const rnnrt_tensor *const *)refs;
            task->call.out = refs + node->inputs;
            task->call.batch = s->batch;
            task->call.k = m->kernels;
            task->call.team = &s->team;
            task->call.steps = &s->steps;
            task->call.scratch = s->scratch;
            task->call.kept = kept;
            kept += rnnrt_kept(node);
            s->tasks++;
        }
        refs = next;
    }
}

rnnrt_status rnnrt_state_init(void *mem, size_t bytes, const rnnrt_model *model, uint32_t max_time, uint32_t batch,
                              rnnrt_state **state) {
    rnnrt_sizes sizes;
    state_layout layout;
    rnnrt_state *s;
    uint8_t *base;
    size_t need;
    rnnrt_status status;
    if (!mem || !state) return RNNRT_ERR_ARGUMENT;
    status = rnnrt_state_size(model, max_time, batch, &need);
    if (status) return status;
    if (bytes < need) return RNNRT_ERR_MEMORY;
    base = (uint8_t *)mem + ((64u - (uintptr_t)mem % 64u) % 64u);
    s = (rnnrt_state *)(void *)base;
    s->tensor = (rnnrt_tensor *)(void *)(base + RNNRT_PAD(sizeof *s, 64u));
    memset(s->tensor, 0, (size_t)model->variables * sizeof *s->tensor);
    status = rnnrt_shapes(model, s->tensor, 0, plan_time(model, max_time), batch, &sizes);
    if (!status) status = layout_of(model, &sizes, batch, &layout);
    if (status) return status;
    s->model = model;
    s->max_time = max_time;
    s->batch = batch;
    s->time = UINT32_MAX;
    s->rows = batch;
    s->tasks = s->bound = 0;
    s->steps = 0;
    s->team = (rnnrt_team){1, NULL, NULL};
    rnnrt_state_probe(s, NULL, NULL);
    s->room = sizes;
    s->arena = layout.end - layout.slots;
    s->ends = (rnnrt_tensor **)(void *)(base + layout.refs);
    s->task = (rnnrt_task *)(void *)(base + layout.tasks);
    s->bound_value = (uint32_t *)(void *)(base + layout.bound);
    s->scratch = base + layout.scratch;
    place_tensors(s, base + layout.states, base + layout.slots);
    make_tasks(s, base + layout.kept);
    rnnrt_reset(s);
    *state = s;
    return RNNRT_OK;
}

/* t [outer][batch][inner] = init [outer][inner], for each of the batch; v: t as declared. */
static void start_from(const rnnrt_file_value *v, const rnnrt_tensor *init, const rnnrt_tensor *t) {
    const uint8_t *from = (const uint8_t *)init->data;
    uint8_t *to = (uint8_t *)t->data;
    uint32_t axis = 0;
    while (axis < t->ndim && v->dims[axis] != RNNRT_DIM_BATCH) axis++;
    const size_t batch = axis < t->ndim ? t->dims[axis] : 1, all = rnnrt_tensor_bytes(init);
    size_t outer = 1;
    for (uint32_t d = 0; d < axis && axis < t->ndim; d++) outer *= t->dims[d];
    if (all == 0) return;
    const size_t inner = all / outer; /* outer is a product of some of init's dims, none of which is 0 */
    for (size_t o = 0; o < outer; o++, from += inner)
        for (size_t b = 0; b < batch; b++, to += inner) memcpy(to, from, inner);
}

void rnnrt_reset(rnnrt_state *s) {
    const rnnrt_model *m = s->model;
    for (uint32_t i = 0; i < m->states; i++) {
        const rnnrt_value *v = &m->value[m->state[i]];
        rnnrt_tensor *t = &s->tensor[v->index];
        if (v->file.init == RNNRT_NONE)
            memset(t->data, 0, rnnrt_tensor_bytes(t));
        else
            start_from(&v->file, &m->value[v->file.init].tensor, t);
    }
}

/* The tensor of state variable i if `bytes` is its size, else NULL. */
static const rnnrt_tensor *state_variable(const rnnrt_state *s, uint32_t i, size_t bytes) {
    const rnnrt_tensor *t = s && i < s->model->states ? &s->tensor[s->model->value[s->model->state[i]].index] : NULL;
    return t && rnnrt_tensor_bytes(t) == bytes ? t : NULL;
}

rnnrt_status rnnrt_state_get(const rnnrt_state *state, uint32_t i, void *dst, size_t bytes) {
    const rnnrt_tensor *t = state_variable(state, i, bytes);
    if (!t || !dst) return RNNRT_ERR_ARGUMENT;
    memcpy(dst, t->data, bytes);
    return RNNRT_OK;
}

rnnrt_status rnnrt_state_set(rnnrt_state *state, uint32_t i, const void *src, size_t bytes) {
    const rnnrt_tensor *t = state_variable(state, i, bytes);
    if (!t || !src) return RNNRT_ERR_ARGUMENT;
    memcpy(t->data, src, bytes);
    return RNNRT_OK;
}

rnnrt_status rnnrt_state_parallel(rnnrt_state *state, uint32_t threads, rnnrt_parallel parallel, void *context) {
    if (!state || threads == 0) return RNNRT_ERR_ARGUMENT;
    state->team = (rnnrt_team){parallel ? threads : 1, parallel, context};
    return RNNRT_OK;
}

void rnnrt_state_probe(rnnrt_state *state, rnnrt_probe probe, void *context) {
    state->probe = probe;
    state->probe_context = context;
}

size_t rnnrt_state_arena(const rnnrt_state *state) { return state->arena; }
