/* A state: the memory of one stream (or of a batch of them) and the list of things to do in a time step. */
#ifndef RNNRT_STATE_H
#define RNNRT_STATE_H

#include "model.h"

/* A node to run: its function and its arguments, made when the state is. */
typedef struct rnnrt_task {
    void (*run)(const rnnrt_call *call);
    rnnrt_call call;
} rnnrt_task;

/* Bytes of call->kept. */
static inline size_t rnnrt_kept(const rnnrt_node *node) { return node->op->flags & RNNRT_OP_KEEPS ? RNNRT_KEPT : 0; }

struct rnnrt_state {
    const rnnrt_model *model;
    uint32_t max_time, batch;
    uint32_t time, rows; /* time steps and batch that the shapes stand at; time 0xFFFFFFFF: nothing valid */
    uint32_t tasks, bound;
    uint32_t steps;   /* time steps done, modulo 2^32 */
    rnnrt_sizes room; /* what slots and scratch hold */
    size_t arena;     /* bytes of slots and scratch */
    void *scratch;
    rnnrt_team team;
    rnnrt_probe probe; /* NULL: off */
    void *probe_context;
    rnnrt_tensor *tensor; /* [model->variables] */
    /* [inputs], [outputs], [states], what becomes of these [states], then the tensors of the tasks [model->refs] */
    rnnrt_tensor **ends;
    rnnrt_task *task;      /* [tasks] */
    uint32_t *bound_value; /* [bound] values in an input's memory: their address changes with every call */
};

/* run.c: rnnrt_run with another batch, 1 <= batch <= state->batch. */
rnnrt_status rnnrt_run_batch(rnnrt_state *state, const void *const in[], void *const out[], uint32_t time,
                             uint32_t batch);

#endif
