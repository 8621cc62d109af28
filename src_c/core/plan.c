/* The memory plan of a model, made once and valid for every time and batch.
 *
 * Values that live in the same memory form a family with one root: views share their input's memory, elementwise
 * operators work in place on an input that dies with them. Roots whose lives don't overlap share a slot (linear scan in
 * node order, the free slot of the nearest nominal size first). A state later only adds up the slots' sizes.
 */
#include "model.h"

/* Shapes at this time and batch guide the plan: large primes, so that no constant dimension equals one by accident. */
#define NOMINAL_TIME 61u
#define NOMINAL_BATCH 53u

static uint32_t find_root(const rnnrt_model *m, uint32_t i) {
    while (m->value[i].root != i) i = m->value[i].root;
    return i;
}

static void use(rnnrt_model *m, uint32_t i, uint32_t node) {
    rnnrt_value *root = &m->value[find_root(m, i)];
    if (m->value[i].last_read < node) m->value[i].last_read = node;
    if (root->last_use < node) root->last_use = node;
}

/* Does node n only show its first input under another shape? A view of a state is a copy all the same: the state is
 * overwritten at the end of the step, when the view may be an output or another state's new value. */
int rnnrt_plan_shares(const rnnrt_model *m, const rnnrt_node *node) {
    return (node->op->flags & RNNRT_OP_VIEW) && m->value[find_root(m, node->refs[0])].file.kind != RNNRT_VALUE_STATE;
}

static void plan_lives(rnnrt_model *m) {
    for (uint32_t n = 0; n < m->nodes; n++) {
        const rnnrt_node *node = &m->node[n];
        for (uint32_t r = 0; r < node->outputs; r++) {
            const uint32_t ref = node->refs[node->inputs + r];
            if (ref == RNNRT_NONE) continue;
            if (r == 0 && rnnrt_plan_shares(m, node)) m->value[ref].root = find_root(m, node->refs[0]);
            use(m, ref, n);
        }
        for (uint32_t r = 0; r < node->inputs; r++) {
            if (node->refs[r] != RNNRT_NONE) use(m, node->refs[r], n);
        }
    }
    for (uint32_t i = 0; i < m->outputs; i++) use(m, m->output[i], m->nodes);
    for (uint32_t i = 0; i < m->states; i++) {
        use(m, m->state[i], m->nodes);
        use(m, m->value[m->state[i]].file.pair, m->nodes);
    }
}

/* Nominal shapes into value.tensor; all elements 0 where the graph does not fit the nominal time and batch. */
static void plan_nominal(rnnrt_model *m) {
    rnnrt_sizes sizes;
    if (rnnrt_shapes(m, NULL, 1, NOMINAL_TIME, NOMINAL_BATCH, &sizes) == RNNRT_OK) return;
    for (uint32_t i = 0; i < m->values; i++) {
        if (m->value[i].file.kind != RNNRT_VALUE_CONST) m->value[i].tensor.elements = 0;
    }
}

/* Lets elementwise nodes write over an input that nobody reads later. */
static void plan_in_place(rnnrt_model *m) {
    for (uint32_t n = 0; n < m->nodes; n++) {
        const rnnrt_node *node = &m->node[n];
        const uint32_t out = node->refs[node->inputs];
        if (!(node->op->flags & RNNRT_OP_IN_PLACE) || out == RNNRT_NONE) continue;
        for (uint32_t r = 0; r < node->inputs; r++) {
            const uint32_t root = node->refs[r] == RNNRT_NONE ? RNNRT_NONE : find_root(m, node->refs[r]);
            if (root == RNNRT_NONE || m->value[root].file.kind != RNNRT_VALUE_TEMP || m->value[root].last_use != n)
                continue;
            if (m->value[node->refs[r]].tensor.elements != m->value[out].tensor.elements) continue;
            if (m->value[out].tensor.elements == 0) continue; /* no nominal shapes: no proof */
            m->value[out].root = root;
            if (m->value[root].last_use < m->value[out].last_use) m->value[root].last_use = m->value[out].last_use;
            break;
        }
    }
    for (uint32_t i = 0; i < m->values; i++) m->value[i].root = find_root(m, i);
}

/* The free slot whose size is nearest to `elements`, a new one where none is free; RNNRT_MAX_LIVE when there are too many. */
static uint32_t take_slot(uint32_t *owner, uint32_t *size, uint32_t *slots, uint32_t value, uint32_t elements) {
    uint32_t best = *slots, distance = 0xFFFFFFFFu;
    for (uint32_t s = 0; s < *slots; s++) {
        const uint32_t d = size[s] > elements ? size[s] - elements : elements - size[s];
        if (owner[s] == RNNRT_NONE && d < distance) {
            best = s;
            distance = d;
        }
    }
    if (best == RNNRT_MAX_LIVE) return best;
    if (best == *slots) {
        (*slots)++;
        size[best] = 0;
    }
    owner[best] = value;
    if (size[best] < elements) size[best] = elements;
    return best;
}

static rnnrt_status plan_slots(rnnrt_model *m) {
    uint32_t owner[RNNRT_MAX_LIVE], size[RNNRT_MAX_LIVE];
    for (uint32_t n = 0; n < m->nodes; n++) {
        const rnnrt_node *node = &m->node[n];
        for (uint32_t r = node->inputs; r < node->inputs + node->outputs; r++) {
            const uint32_t ref = node->refs[r];
            if (ref == RNNRT_NONE || m->value[ref].root != ref) continue;
            m->value[ref].slot = take_slot(owner, size, &m->slots, ref, m->value[ref].tensor.elements);
            if (m->value[ref].slot == RNNRT_MAX_LIVE) return RNNRT_ERR_OVERFLOW;
        }
        for (uint32_t r = 0; r < node->inputs + node->outputs; r++) {
            const uint32_t root = node->refs[r] == RNNRT_NONE ? RNNRT_NONE : m->value[node->refs[r]].root;
            if (root == RNNRT_NONE || m->value[root].slot == RNNRT_NONE || m->value[root].last_use != n) continue;
            owner[m->value[root].slot] = RNNRT_NONE;
        }
    }
    return RNNRT_OK;
}

/* Registers for shapes: the same scan over single values, inputs and states alive from the start. */
static rnnrt_status plan_registers(rnnrt_model *m) {
    uint32_t owner[RNNRT_MAX_LIVE], size[RNNRT_MAX_LIVE], registers = 0;
    for (uint32_t i = 0; i < m->values; i++) {
        rnnrt_value *v = &m->value[i];
        if (v->file.kind == RNNRT_VALUE_CONST) continue;
        v->index = m->variables++;
        if (v->file.kind == RNNRT_VALUE_TEMP) continue;
        v->reg = take_slot(owner, size, &registers, i, 0);
        if (v->reg == RNNRT_MAX_LIVE) return RNNRT_ERR_OVERFLOW;
    }
    for (uint32_t n = 0; n < m->nodes; n++) {
        const rnnrt_node *node = &m->node[n];
        for (uint32_t r = node->inputs; r < node->inputs + node->outputs; r++) {
            const uint32_t ref = node->refs[r];
            if (ref == RNNRT_NONE) continue;
            m->value[ref].reg = take_slot(owner, size, &registers, ref, 0);
            if (m->value[ref].reg == RNNRT_MAX_LIVE) return RNNRT_ERR_OVERFLOW;
        }
        for (uint32_t r = 0; r < node->inputs + node->outputs; r++) {
            const uint32_t ref = node->refs[r];
            if (ref == RNNRT_NONE || m->value[ref].file.kind == RNNRT_VALUE_CONST || m->value[ref].last_read != n)
                continue;
            owner[m->value[ref].reg] = RNNRT_NONE;
        }
    }
    return RNNRT_OK;
}

rnnrt_status rnnrt_plan(rnnrt_model *m) {
    rnnrt_status status;
    plan_lives(m);
    plan_nominal(m);
    plan_in_place(m);
    status = plan_slots(m);
    return status ? status : plan_registers(m);
}
