/* Building a model: every record of the file is read and checked here, once, before anything may run. */
#include "model.h"

#include <string.h>

/* The parts of a model's memory, in this order, each aligned to 64. */
typedef struct model_layout {
    size_t values, nodes, lists, end;
} model_layout;

static size_t add_part(size_t *end, uint64_t count, size_t unit) {
    const size_t start = *end;
    /* counts are < 2^32 and units < 2^8, so the product fits in 64 bits; a 32-bit size_t is checked against a bound that
     * leaves room for the sums of layout_of */
    const uint64_t bytes = (count * unit + 63u) & ~UINT64_C(63);
    *end = bytes > (SIZE_MAX >> 3) || start > (SIZE_MAX >> 1) ? SIZE_MAX : start + (size_t)bytes;
    return start;
}

static rnnrt_status layout_of(const rnnrt_file *file, model_layout *layout) {
    const uint64_t values = file->section[RNNRT_SECTION_VALUES].count;
    size_t end = RNNRT_PAD(sizeof(rnnrt_model), 64u);
    layout->values = add_part(&end, values, sizeof(rnnrt_value));
    layout->nodes = add_part(&end, file->section[RNNRT_SECTION_NODES].count, sizeof(rnnrt_node));
    layout->lists = add_part(&end, 3u * values, sizeof(uint32_t));
    layout->end = end;
    return end > SIZE_MAX - 64u ? RNNRT_ERR_OVERFLOW : RNNRT_OK;
}

rnnrt_status rnnrt_model_size(const void *blob, size_t len, size_t *bytes) {
    rnnrt_file file;
    model_layout layout;
    rnnrt_status status;
    if (!bytes) return RNNRT_ERR_ARGUMENT;
    status = rnnrt_file_open(&file, blob, len);
    if (!status) status = layout_of(&file, &layout);
    if (!status) *bytes = layout.end + 63u; /* mem may have any alignment */
    return status;
}

static rnnrt_status read_values(rnnrt_model *m) {
    for (uint32_t i = 0; i < m->values; i++) {
        rnnrt_value *v = &m->value[i];
        const rnnrt_status status = rnnrt_value_read(&m->file, i, v);
        if (status) return status;
        if (v->file.kind == RNNRT_VALUE_INPUT) {
            m->input[m->inputs++] = i;
            for (uint32_t d = 0; d < v->file.ndim; d++) m->has_time |= v->file.dims[d] == RNNRT_DIM_TIME;
        }
        if (v->file.kind == RNNRT_VALUE_STATE) m->state[m->states++] = i;
        if (v->file.is_output) m->output[m->outputs++] = i;
    }
    return m->inputs && m->outputs ? RNNRT_OK : RNNRT_ERR_FORMAT;
}

/* Is init of v's shape, with 1 for its only batch dimension? */
static int init_fits(const rnnrt_file_value *v, const rnnrt_file_value *init) {
    uint32_t batches = 0;
    if (init->kind != RNNRT_VALUE_CONST || init->dtype != RNNRT_F32 || init->layout != RNNRT_PLAIN) return 0;
    for (uint32_t d = 0; d < RNNRT_MAX_RANK; d++) { /* dims behind ndim are 0 in both */
        const int is_batch = v->dims[d] == RNNRT_DIM_BATCH;
        if (init->dims[d] != (is_batch ? 1 : v->dims[d])) return 0;
        batches += (uint32_t)is_batch;
    }
    return init->ndim == v->ndim && batches <= 1;
}

/* A state must become a value of the graph that isn't a state itself (else committing one state could overwrite another
 * that is still to be read), and an initial value must be a constant that fits it. */
static rnnrt_status check_states(const rnnrt_model *m) {
    for (uint32_t s = 0; s < m->states; s++) {
        const rnnrt_file_value *v = &m->value[m->state[s]].file;
        const rnnrt_file_value *pair = &m->value[v->pair].file;
        if (pair->kind != RNNRT_VALUE_TEMP && pair->kind != RNNRT_VALUE_INPUT) return RNNRT_ERR_FORMAT;
        if (v->init != RNNRT_NONE && !init_fits(v, &m->value[v->init].file)) return RNNRT_ERR_FORMAT;
    }
    return RNNRT_OK;
}

/* Inputs must have been defined before, outputs must be TEMP values that nothing else makes. */
static rnnrt_status check_refs(rnnrt_model *m, uint32_t n) {
    const rnnrt_node *node = &m->node[n];
    for (uint32_t r = 0; r < node->inputs + node->outputs; r++) {
        const uint32_t ref = node->refs[r];
        rnnrt_value *v;
        if (ref == RNNRT_NONE) continue;
        if (ref >= m->values) return RNNRT_ERR_FORMAT;
        v = &m->value[ref];
        if (r < node->inputs) {
            if (v->file.kind == RNNRT_VALUE_TEMP && v->producer == RNNRT_NONE) return RNNRT_ERR_FORMAT;
        } else {
            if (v->file.kind != RNNRT_VALUE_TEMP || v->producer != RNNRT_NONE) return RNNRT_ERR_FORMAT;
            v->producer = n;
        }
    }
    return RNNRT_OK;
}

static rnnrt_status check_op(const rnnrt_model *m, const rnnrt_node *node) {
    const rnnrt_tensor *in[RNNRT_MAX_REFS];
    rnnrt_call call;
    if (node->inputs < node->op->min_in || node->inputs > node->op->max_in) return RNNRT_ERR_FORMAT;
    if (node->outputs < node->op->min_out || node->outputs > node->op->max_out) return RNNRT_ERR_FORMAT;
    for (uint32_t r = 0; r < node->inputs; r++) {
        const uint32_t ref = node->refs[r];
        in[r] = ref != RNNRT_NONE && m->value[ref].file.kind == RNNRT_VALUE_CONST ? &m->value[ref].tensor : NULL;
    }
    memset(&call, 0, sizeof call);
    call.node = node;
    call.in = in;
    return node->op->check(&call);
}

static int in_range(uint32_t first, uint32_t count, const rnnrt_section *section) {
    return first <= section->count && count <= section->count - first;
}

static rnnrt_status read_node(rnnrt_model *m, uint32_t n) {
    const rnnrt_section *section = m->file.section;
    const rnnrt_file_node f = rnnrt_file_node_at(&m->file, n);
    rnnrt_node *node = &m->node[n];
    const uint32_t refs = (uint32_t)f.inputs + f.outputs;
    rnnrt_status status;
    if (f.name >= section[RNNRT_SECTION_STRINGS].size || f.zero || refs > RNNRT_MAX_REFS) return RNNRT_ERR_FORMAT;
    if (!in_range(f.first_ref, refs, &section[RNNRT_SECTION_REFS])) return RNNRT_ERR_FORMAT;
    if (!in_range(f.first_int, f.ints, &section[RNNRT_SECTION_INTS])) return RNNRT_ERR_FORMAT;
    if (!in_range(f.first_float, f.floats, &section[RNNRT_SECTION_FLOATS])) return RNNRT_ERR_FORMAT;
    node->op = rnnrt_op_find(f.op);
    if (!node->op) return RNNRT_ERR_OPERATOR;
    node->name = (const char *)section[RNNRT_SECTION_STRINGS].bytes + f.name;
    /* sections start at multiples of 64, so these are aligned */
    node->refs = (const uint32_t *)(const void *)section[RNNRT_SECTION_REFS].bytes + f.first_ref;
    node->i = (const int32_t *)(const void *)section[RNNRT_SECTION_INTS].bytes + f.first_int;
    node->f = (const float *)(const void *)section[RNNRT_SECTION_FLOATS].bytes + f.first_float;
    node->ints = f.ints;
    node->floats = f.floats;
    node->inputs = f.inputs;
    node->outputs = f.outputs;
    m->refs += refs; /* nodes * 64 < 2^38 would wrap; the file would have to hold 2^26 nodes: refused in build */
    status = check_refs(m, n);
    return status ? status : check_op(m, node);
}

static rnnrt_status build(rnnrt_model *m) {
    const rnnrt_section *strings = &m->file.section[RNNRT_SECTION_STRINGS];
    rnnrt_status status;
    if (strings->size == 0 || strings->bytes[0] != 0 || strings->bytes[strings->size - 1] != 0) return RNNRT_ERR_FORMAT;
    if (m->nodes >= 1u << 24 || m->values >= 1u << 24) return RNNRT_ERR_OVERFLOW;
    status = read_values(m);
    if (!status) status = check_states(m);
    for (uint32_t n = 0; !status && n < m->nodes; n++) status = read_node(m, n);
    if (status) return status;
    for (uint32_t i = 0; i < m->values; i++) { /* a TEMP that no node makes would be read as garbage */
        if (m->value[i].file.kind == RNNRT_VALUE_TEMP && m->value[i].producer == RNNRT_NONE) return RNNRT_ERR_FORMAT;
    }
    return rnnrt_plan(m);
}

rnnrt_status rnnrt_model_init(void *mem, size_t bytes, const void *blob, size_t len, rnnrt_model **model) {
    rnnrt_file file;
    model_layout layout;
    rnnrt_model *m;
    uint8_t *base;
    rnnrt_status status;
    if (!mem || !model) return RNNRT_ERR_ARGUMENT;
    status = rnnrt_file_open(&file, blob, len);
    if (!status) status = rnnrt_file_check(&file, blob);
    if (!status) status = layout_of(&file, &layout);
    if (status) return status;
    if (bytes < layout.end + 63u) return RNNRT_ERR_MEMORY;
    base = (uint8_t *)mem + ((64u - (uintptr_t)mem % 64u) % 64u);
    m = (rnnrt_model *)(void *)base;
    memset(m, 0, sizeof *m);
    m->file = file;
    m->kernels = rnnrt_kernels_at(0);
    m->values = file.section[RNNRT_SECTION_VALUES].count;
    m->nodes = file.section[RNNRT_SECTION_NODES].count;
    m->value = (rnnrt_value *)(void *)(base + layout.values);
    m->node = (rnnrt_node *)(void *)(base + layout.nodes);
    m->input = (uint32_t *)(void *)(base + layout.lists);
    m->output = m->input + m->values;
    m->state = m->output + m->values;
    status = build(m);
    if (!status) *model = m;
    return status;
}
