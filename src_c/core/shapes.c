/* Runs the shape functions of a whole graph and adds up what memory they ask for. */
#include <string.h>

#include "model.h"

typedef struct walk {
    const rnnrt_model *model;
    rnnrt_tensor *table;
    int by_reg;
    uint32_t time, batch;
    rnnrt_sizes *sizes;
} walk;

static rnnrt_tensor *tensor_of(const walk *w, uint32_t i) {
    rnnrt_value *v = &w->model->value[i];
    if (v->file.kind == RNNRT_VALUE_CONST || !w->table) return &v->tensor;
    return w->table + (w->by_reg ? v->reg : v->index);
}

/* An output's bytes must fit in 31 bits, agree with its declaration and with the value whose memory it shares. */
static rnnrt_status finish_output(const walk *w, uint32_t i, rnnrt_tensor *t) {
    const rnnrt_value *v = &w->model->value[i];
    uint64_t elements = 1;
    for (uint32_t d = 0; d < t->ndim; d++) {
        elements *= t->dims[d]; /* < 2^29 * 2^32 */
        if (elements > UINT64_C(0x1FFFFFFF)) return RNNRT_ERR_OVERFLOW;
    }
    t->elements = (uint32_t)elements;
    if (v->file.is_output && !rnnrt_value_matches(v, w->time, w->batch, t)) return RNNRT_ERR_SHAPE;
    if (v->slot != RNNRT_NONE && rnnrt_tensor_bytes(t) > w->sizes->slot[v->slot]) {
        w->sizes->slot[v->slot] = rnnrt_tensor_bytes(t);
    }
    return RNNRT_OK;
}

static rnnrt_status walk_node(const walk *w, const rnnrt_node *node) {
    const rnnrt_tensor *in[RNNRT_MAX_REFS];
    rnnrt_tensor *out[RNNRT_MAX_REFS];
    rnnrt_call call;
    rnnrt_status status;
    for (uint32_t r = 0; r < node->inputs; r++)
        in[r] = node->refs[r] == RNNRT_NONE ? NULL : tensor_of(w, node->refs[r]);
    for (uint32_t r = 0; r < node->outputs; r++) {
        const uint32_t ref = node->refs[node->inputs + r];
        out[r] = ref == RNNRT_NONE ? NULL : tensor_of(w, ref);
    }
    memset(&call, 0, sizeof call);
    call.node = node;
    call.in = in;
    call.out = out;
    call.time = w->time;
    call.batch = w->batch;
    status = node->op->shape(&call);
    for (uint32_t r = 0; !status && r < node->outputs; r++) {
        if (out[r]) status = finish_output(w, node->refs[node->inputs + r], out[r]);
    }
    if (!status && node->op->scratch) {
        const size_t bytes = node->op->scratch(&call);
        if (bytes > w->sizes->scratch) w->sizes->scratch = bytes;
        if (bytes > SIZE_MAX >> 3) status = RNNRT_ERR_OVERFLOW;
    }
    return status;
}

/* A value computed in place of another must have as many elements: the plan saw it so at the nominal time and batch only. */
static rnnrt_status check_in_place(const walk *w, const rnnrt_node *node) {
    if (!(node->op->flags & RNNRT_OP_IN_PLACE) || w->by_reg) return RNNRT_OK;
    for (uint32_t r = 0; r < node->outputs; r++) {
        const uint32_t ref = node->refs[node->inputs + r];
        if (ref == RNNRT_NONE || w->model->value[ref].root == ref) continue;
        if (tensor_of(w, ref)->elements != tensor_of(w, w->model->value[ref].root)->elements) return RNNRT_ERR_SHAPE;
    }
    return RNNRT_OK;
}

rnnrt_status rnnrt_shapes(const rnnrt_model *model, rnnrt_tensor *table, int by_reg, uint32_t time, uint32_t batch,
                          rnnrt_sizes *sizes) {
    const walk w = {model, table, by_reg, time, batch, sizes};
    rnnrt_status status = RNNRT_OK;
    memset(sizes, 0, sizeof *sizes);
    for (uint32_t i = 0; !status && i < model->values; i++) {
        const uint8_t kind = model->value[i].file.kind;
        if (kind != RNNRT_VALUE_INPUT && kind != RNNRT_VALUE_STATE) continue;
        status = rnnrt_value_tensor(&model->value[i], time, batch, tensor_of(&w, i));
    }
    for (uint32_t n = 0; !status && n < model->nodes; n++) {
        status = walk_node(&w, &model->node[n]);
        if (!status) status = check_in_place(&w, &model->node[n]);
    }
    for (uint32_t s = 0; !status && s < model->states; s++) {
        const rnnrt_value *v = &model->value[model->state[s]];
        if (!rnnrt_value_matches(v, time, batch, tensor_of(&w, v->file.pair))) status = RNNRT_ERR_SHAPE;
    }
    return status;
}
