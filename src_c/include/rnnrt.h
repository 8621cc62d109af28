/* rnnrt: recurrent networks, one frame at a time, the same bits on every CPU.
 *
 * This header is the whole public API and its manual. C11 and C++11.
 *
 *   A MODEL is immutable and may be shared by any number of threads. It lives in memory you provide and points into the
 *   blob (the bytes of a .rnnrt file), which must stay where it is, unchanged, for as long as the model is used.
 *   A STATE belongs to one stream (or to `batch` streams advancing together). It too lives in memory you provide.
 *
 *   Nothing here allocates, locks, makes a system call, prints, or keeps global mutable state. After rnnrt_state_init has
 *   succeeded, rnnrt_step cannot fail for lack of anything.
 *
 *     size_t n;
 *     rnnrt_model *model;  rnnrt_state *state;
 *     if (rnnrt_model_size(blob, len, &n)) ...            // 0 is RNNRT_OK; check every status
 *     rnnrt_model_init(malloc(n), n, blob, len, &model);  // validates every byte of the blob, once
 *     rnnrt_state_size(model, 1, 1, &n);                  // at most 1 time step a call, batch 1
 *     rnnrt_state_init(malloc(n), n, model, 1, 1, &state);
 *     const void *in[] = {frame};  void *out[] = {result};
 *     rnnrt_step(state, in, out);                         // microseconds
 *
 * To end, drop the memory. A model or a state must not be moved (memcpy'd) to another address.
 */
#ifndef RNNRT_H
#define RNNRT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A shared library built with -fvisibility=hidden shows these functions and nothing else. */
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

#define RNNRT_VERSION "0.1.0"
#define RNNRT_ABI_VERSION 1

/* Largest rank of a tensor. */
#define RNNRT_MAX_RANK 6

/* A dimension is a number >= 0 or one of these two symbols. */
#define RNNRT_DIM_TIME (-2)
#define RNNRT_DIM_BATCH (-3)

/* Numbers are fixed for ever; new ones are added at the end. */
typedef enum rnnrt_status {
    RNNRT_OK = 0,
    RNNRT_ERR_ARGUMENT = 1,       /* a null pointer, an index out of range, time > max_time, batch 0, ... */
    RNNRT_ERR_MEMORY = 2,         /* the memory given is smaller than the matching _size call said */
    RNNRT_ERR_TRUNCATED = 3,      /* the blob ends before its header says it does, or is longer */
    RNNRT_ERR_MAGIC = 4,          /* not a .rnnrt file */
    RNNRT_ERR_VERSION = 5,        /* written for another version of the format */
    RNNRT_ERR_FEATURE = 6,        /* needs a feature that this library does not have */
    RNNRT_ERR_CHECKSUM = 7,       /* a CRC-32C does not match: the file is damaged */
    RNNRT_ERR_FORMAT = 8,         /* the checksums match but the contents contradict each other */
    RNNRT_ERR_OPERATOR = 9,       /* an operator that this library does not have */
    RNNRT_ERR_SHAPE = 10,         /* shapes do not fit each other at this time and batch */
    RNNRT_ERR_OVERFLOW = 11,      /* a size does not fit in memory arithmetic */
    RNNRT_ERR_ISA = 12,           /* unknown instruction set, or one that this CPU or OS does not have */
    RNNRT_ERR_ALIGNMENT = 13,     /* the blob is not 64-byte aligned */
    RNNRT_ERR_NOT_STREAMABLE = 14 /* the model looks into the future: only whole sequences from zero state */
} rnnrt_status;

typedef enum rnnrt_dtype {
    RNNRT_F32 = 1,
    RNNRT_S8 = 2, /* weights only */
    RNNRT_I32 = 3,
    RNNRT_F16 = 4, /* weights only */
    RNNRT_S4 = 5   /* weights only */
} rnnrt_dtype;

typedef struct rnnrt_model rnnrt_model;
typedef struct rnnrt_state rnnrt_state;

/* What a model's input, output or state variable looks like. */
typedef struct rnnrt_info {
    const char *name;             /* UTF-8, NUL-terminated, lives in the blob */
    int32_t dims[RNNRT_MAX_RANK]; /* number, RNNRT_DIM_TIME or RNNRT_DIM_BATCH; row-major (C) order */
    uint32_t ndim;
    rnnrt_dtype dtype;
} rnnrt_info;

/* ---- model ---- */

/* Bytes of memory that rnnrt_model_init needs. blob: [len] bytes, 64-byte aligned. Checks the header and the section table
 * only (so it is quick); rnnrt_model_init checks everything. */
rnnrt_status rnnrt_model_size(const void *blob, size_t len, size_t *bytes);

/* Validates the blob completely (checksums, every record, every weight) and builds the model in mem (`bytes` bytes, any
 * alignment); the best instruction set of this CPU is chosen. Nothing in a file, however made, is trusted after less. */
rnnrt_status rnnrt_model_init(void *mem, size_t bytes, const void *blob, size_t len, rnnrt_model **model);

/* Forces an instruction set by name ("scalar", "avx2", ...). Call before any state is made from the model. */
rnnrt_status rnnrt_model_use_isa(rnnrt_model *model, const char *isa);
const char *rnnrt_model_isa(const rnnrt_model *model);

uint32_t rnnrt_model_inputs(const rnnrt_model *model);
uint32_t rnnrt_model_outputs(const rnnrt_model *model);
uint32_t rnnrt_model_states(const rnnrt_model *model); /* number of state variables */
rnnrt_status rnnrt_model_input(const rnnrt_model *model, uint32_t i, rnnrt_info *info);
rnnrt_status rnnrt_model_output(const rnnrt_model *model, uint32_t i, rnnrt_info *info);
rnnrt_status rnnrt_model_state(const rnnrt_model *model, uint32_t i, rnnrt_info *info);

/* What a node of the graph is. */
typedef struct rnnrt_node_info {
    const char *name;      /* UTF-8, NUL-terminated, lives in the blob; may be empty */
    const char *op;        /* ONNX operator name */
    rnnrt_dtype weights;   /* of its largest packed matrix; 0: it has none */
    uint64_t weight_bytes; /* of all its packed matrices */
} rnnrt_node_info;
uint32_t rnnrt_model_nodes(const rnnrt_model *model);
rnnrt_status rnnrt_model_node(const rnnrt_model *model, uint32_t i, rnnrt_node_info *info);

/* 1 when stepping frame by frame equals running the whole sequence, else 0 (see meta for the reason). */
int rnnrt_model_streamable(const rnnrt_model *model);
/* 1 when an input has a RNNRT_DIM_TIME dimension. Where none has, a "time step" is one evaluation of the graph. */
int rnnrt_model_has_time(const rnnrt_model *model);
/* The converter's report: UTF-8 JSON of *len bytes, not NUL-terminated; never read by this library. */
const char *rnnrt_model_meta(const rnnrt_model *model, size_t *len);

/* ---- instruction sets of this build on this CPU, best first; NULL past the end ---- */
const char *rnnrt_isa(uint32_t i);

/* ---- state ---- */

/* Bytes for a state that takes at most max_time (>= 1) time steps a call, for batch (>= 1) streams. */
rnnrt_status rnnrt_state_size(const rnnrt_model *model, uint32_t max_time, uint32_t batch, size_t *bytes);
rnnrt_status rnnrt_state_init(void *mem, size_t bytes, const rnnrt_model *model, uint32_t max_time, uint32_t batch,
                              rnnrt_state **state);

/* One time step. in[i]: the i-th input with TIME = 1; out[i]: room for the i-th output with TIME = 1 (NULL: not wanted).
 * Any alignment that the element type has. in and out may overlap. */
rnnrt_status rnnrt_step(rnnrt_state *state, const void *const in[], void *const out[]);

/* `time` steps at once, 0 <= time <= max_time; the same bits as `time` calls of rnnrt_step. With 0 steps no state changes,
 * and outputs without a TIME dimension (a final state) get what they are then; RNNRT_ERR_SHAPE where that is nothing.
 * Where the model has no TIME dimension, in[i] and out[i] hold `time` frames one behind the other.
 * A model that is not streamable sees a whole sequence: every call starts from the initial state. */
rnnrt_status rnnrt_run(rnnrt_state *state, const void *const in[], void *const out[], uint32_t time);

/* Back to the initial state. */
void rnnrt_reset(rnnrt_state *state);

/* This library has no threads. Who has some lends them to a state: `parallel` must call work(job, part) once for every part
 * in [0, parts), parts <= threads, on any threads and in any order, and return when all are done. It is called from within
 * rnnrt_step and rnnrt_run, for layers that are worth it. threads 1 or parallel NULL: alone, as after rnnrt_state_init. The
 * bits are the same for every number of threads. */
typedef void (*rnnrt_work)(void *job, uint32_t part);
typedef void (*rnnrt_parallel)(void *context, uint32_t parts, rnnrt_work work, void *job);
rnnrt_status rnnrt_state_parallel(rnnrt_state *state, uint32_t threads, rnnrt_parallel parallel, void *context);

/* Copies state variable i (see rnnrt_model_state for its shape) out of or into the stream. */
rnnrt_status rnnrt_state_get(const rnnrt_state *state, uint32_t i, void *dst, size_t bytes);
rnnrt_status rnnrt_state_set(rnnrt_state *state, uint32_t i, const void *src, size_t bytes);

/* ---- many streams, together ----
 * A STREAM here is only what one signal's state variables hold: at BATCH 1, one after the other in the order of
 * rnnrt_model_state, of any alignment that an int32_t has. It may be moved and copied. */
rnnrt_status rnnrt_stream_size(const rnnrt_model *model, size_t *bytes);
/* Puts a stream at the initial state. */
rnnrt_status rnnrt_stream_init(const rnnrt_model *model, void *stream);
/* `time` steps of n different streams, 1 <= n <= the state's batch, as one batch: the weights are read once for all of them.
 * in[i] and out[i] have BATCH = n, in the order of streams[]; everything else is as in rnnrt_run, and each stream gets the
 * bits that it gets alone. The state lends its memory: what its own variables held is lost. RNNRT_ERR_SHAPE when n > 1 and
 * a state variable has no BATCH dimension. After an error no stream has changed. */
rnnrt_status rnnrt_run_streams(rnnrt_state *state, void *const streams[], uint32_t n, const void *const in[],
                               void *const out[], uint32_t time);

/* Bytes of the working memory (arena and scratch) in a state; for reports. */
size_t rnnrt_state_arena(const rnnrt_state *state);

/* For profiles: this library has no clock, so it calls the caller, who has one. In every evaluation of the graph `probe`
 * is called before each node that has something to do, with the node's number, and after the last one with
 * rnnrt_model_nodes(). NULL switches it off again. */
typedef void (*rnnrt_probe)(void *context, uint32_t node);
void rnnrt_state_probe(rnnrt_state *state, rnnrt_probe probe, void *context);

/* ---- misc ---- */
const char *rnnrt_strerror(rnnrt_status status);
uint32_t rnnrt_abi_version(void);
/* The i-th operator: its ONNX name, NULL past the end; *ints and *floats name its attributes in file order. */
const char *rnnrt_operator(uint32_t i, uint32_t *code, const char **ints, const char **floats);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif
#endif
