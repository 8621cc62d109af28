/* A model in memory: the file's records parsed once, checked once, and the life of every value planned. */
#ifndef RNNRT_MODEL_H
#define RNNRT_MODEL_H

#include "../ops/op.h"
#include "format.h"

/* Largest number of inputs plus outputs of one node. */
#define RNNRT_MAX_REFS 64u
/* Largest number of memory slots, and of tensors alive at one time. Bounds the stack of rnnrt_state_size (docs/targets.md); the
 * runtime that is exported with a model has as many as the model's variables. */
#ifndef RNNRT_MAX_LIVE
#define RNNRT_MAX_LIVE 256u
#endif

typedef struct rnnrt_value {
    rnnrt_file_value file;
    rnnrt_tensor tensor; /* CONST: complete; other kinds: shapes of the nominal plan, while a model is built */
    uint32_t producer;   /* node that makes it (TEMP) or RNNRT_NONE */
    uint32_t last_read;  /* last node that reads this very value; model->nodes: needed after the last node */
    uint32_t last_use;   /* of a root: the last node that reads any value in its memory; likewise */
    uint32_t root;       /* the value whose memory it shares: itself unless a view or computed in place */
    uint32_t slot;       /* TEMP roots: memory slot; else RNNRT_NONE */
    uint32_t reg;        /* not CONST: where rnnrt_state_size keeps its shape while it is alive */
    uint32_t index;      /* not CONST: its number among the values that are no constants: where a state keeps it */
} rnnrt_value;

struct rnnrt_model {
    const rnnrt_kernels *kernels;
    rnnrt_file file;
    uint32_t values, nodes, refs;
    uint32_t inputs, outputs, states;
    uint32_t slots;     /* memory slots that TEMP values share */
    uint32_t variables; /* values that are no constants */
    int has_time;
    rnnrt_value *value; /* [values] */
    rnnrt_node *node;   /* [nodes] */
    uint32_t *input;    /* [inputs] value numbers */
    uint32_t *output;   /* [outputs] */
    uint32_t *state;    /* [states] */
};

/* plan.c: decides which values share memory; fills last_read, last_use, root, slot, reg, index, slots, variables. */
rnnrt_status rnnrt_plan(rnnrt_model *model);
/* Does the node's output 0 share the memory of its input 0, so that there is nothing to run? */
int rnnrt_plan_shares(const rnnrt_model *model, const rnnrt_node *node);

/* shapes.c: the shape functions of all nodes at one time and batch. */
typedef struct rnnrt_sizes {
    size_t slot[RNNRT_MAX_LIVE]; /* bytes of each memory slot */
    size_t scratch;              /* bytes of the largest scratch */
} rnnrt_sizes;
/* table: the tensors of the variables, at value.index, or at value.reg when by_reg; NULL: value.tensor of the model itself
 * (only while it is built). Data pointers are left as they are. */
rnnrt_status rnnrt_shapes(const rnnrt_model *model, rnnrt_tensor *table, int by_reg, uint32_t time, uint32_t batch,
                          rnnrt_sizes *sizes);

/* packed.c: bytes of a packed matrix; 0 when layout, dtype and dims don't go together. */
uint64_t rnnrt_packed_bytes(uint32_t layout, uint32_t dtype, uint32_t rows, uint32_t cols);
/* Does its data keep what format.h says of it? */
int rnnrt_packed_is_sound(const rnnrt_matrix *m);

/* value.c: checks one value record against the file (not its data's meaning) and completes a constant's tensor. */
rnnrt_status rnnrt_value_read(const rnnrt_file *file, uint32_t i, rnnrt_value *value);
/* A tensor with the declared dims, symbols replaced. */
rnnrt_status rnnrt_value_tensor(const rnnrt_value *value, uint32_t time, uint32_t batch, rnnrt_tensor *tensor);
/* Has the tensor the declared dtype and dims? */
int rnnrt_value_matches(const rnnrt_value *value, uint32_t time, uint32_t batch, const rnnrt_tensor *tensor);
/* Bytes of a tensor; dims were checked to stay below 2^31. */
static inline size_t rnnrt_tensor_bytes(const rnnrt_tensor *t) { return (size_t)t->elements * 4u; }

#endif
