/* What the public API tells about models, operators, instruction sets and errors. */
#include <string.h>

#include "model.h"

static rnnrt_status info_of(const rnnrt_model *model, const uint32_t *list, uint32_t count, uint32_t i,
                            rnnrt_info *info) {
    const rnnrt_file_value *v;
    if (i >= count || !info) return RNNRT_ERR_ARGUMENT;
    v = &model->value[list[i]].file;
    info->name = (const char *)model->file.section[RNNRT_SECTION_STRINGS].bytes + v->name;
    memcpy(info->dims, v->dims, sizeof info->dims);
    info->ndim = v->ndim;
    info->dtype = (rnnrt_dtype)v->dtype;
    return RNNRT_OK;
}

uint32_t rnnrt_model_inputs(const rnnrt_model *model) { return model->inputs; }
uint32_t rnnrt_model_outputs(const rnnrt_model *model) { return model->outputs; }
uint32_t rnnrt_model_states(const rnnrt_model *model) { return model->states; }

rnnrt_status rnnrt_model_input(const rnnrt_model *model, uint32_t i, rnnrt_info *info) {
    return info_of(model, model->input, model->inputs, i, info);
}

rnnrt_status rnnrt_model_output(const rnnrt_model *model, uint32_t i, rnnrt_info *info) {
    return info_of(model, model->output, model->outputs, i, info);
}

rnnrt_status rnnrt_model_state(const rnnrt_model *model, uint32_t i, rnnrt_info *info) {
    return info_of(model, model->state, model->states, i, info);
}

uint32_t rnnrt_model_nodes(const rnnrt_model *model) { return model->nodes; }

rnnrt_status rnnrt_model_node(const rnnrt_model *model, uint32_t i, rnnrt_node_info *info) {
    const rnnrt_node *node;
    uint64_t largest = 0;
    if (!model || i >= model->nodes || !info) return RNNRT_ERR_ARGUMENT;
    node = &model->node[i];
    memset(info, 0, sizeof *info);
    info->name = node->name;
    info->op = node->op->name;
    for (uint32_t r = 0; r < node->inputs; r++) {
        const rnnrt_file_value *v = node->refs[r] == RNNRT_NONE ? NULL : &model->value[node->refs[r]].file;
        if (!v || v->layout == RNNRT_PLAIN) continue;
        info->weight_bytes += v->size; /* <= 64 constants that lie in memory */
        if (v->size > largest) info->weights = (rnnrt_dtype)v->dtype;
        if (v->size > largest) largest = v->size;
    }
    return RNNRT_OK;
}

int rnnrt_model_streamable(const rnnrt_model *model) { return (model->file.flags & RNNRT_FLAG_STREAMABLE) != 0; }
int rnnrt_model_has_time(const rnnrt_model *model) { return model->has_time; }

const char *rnnrt_model_meta(const rnnrt_model *model, size_t *len) {
    *len = model->file.section[RNNRT_SECTION_META].size;
    return (const char *)model->file.section[RNNRT_SECTION_META].bytes;
}

rnnrt_status rnnrt_model_use_isa(rnnrt_model *model, const char *isa) {
    const rnnrt_kernels *kernels = model && isa ? rnnrt_kernels_find(isa) : NULL;
    if (!kernels) return RNNRT_ERR_ISA;
    model->kernels = kernels;
    return RNNRT_OK;
}

const char *rnnrt_model_isa(const rnnrt_model *model) { return model->kernels->isa; }

const char *rnnrt_isa(uint32_t i) {
    const rnnrt_kernels *kernels = rnnrt_kernels_at(i);
    return kernels ? kernels->isa : NULL;
}

const char *rnnrt_operator(uint32_t i, uint32_t *code, const char **ints, const char **floats) {
    const rnnrt_op *op = rnnrt_op_at(i);
    if (!op) return NULL;
    *code = op->code;
    *ints = op->ints;
    *floats = op->floats;
    return op->name;
}

uint32_t rnnrt_abi_version(void) { return RNNRT_ABI_VERSION; }

const char *rnnrt_strerror(rnnrt_status status) {
    static const char *const text[] = {
        "ok",
        "invalid argument",
        "the memory given is too small",
        "the file is truncated or has bytes too many",
        "not a .rnnrt file",
        "the file has another format version",
        "the file needs a feature that this library does not have",
        "checksum mismatch: the file is damaged",
        "the file contradicts itself",
        "the file uses an operator that this library does not have",
        "shapes do not fit each other",
        "a size is too large",
        "unknown instruction set, or not available on this CPU",
        "the file's bytes are not 64-byte aligned in memory",
        "the model looks into the future and cannot be streamed",
    };
    const unsigned i = (unsigned)status;
    return i < sizeof text / sizeof text[0] ? text[i] : "unknown status";
}
