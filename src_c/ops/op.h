/* What an operator is: the contract between core and ops.
 *
 *   check    once, when a model is loaded: attributes and constant inputs, everything that does not depend on shapes of
 *            data. After it, run() may trust attributes and constants.
 *   shape    for given input shapes, fills in the output tensors' dtype, ndim and dims (never data). Refuses what does
 *            not fit; must not overflow. Called when a state is made and again when the number of time steps changes.
 *   scratch  bytes of 64-byte aligned working memory that run() needs for these shapes (tensors as in shape()).
 *   run      computes. Cannot fail, allocate, lock or call the system. Scratch and outputs hold garbage before.
 *
 * Attributes are positional: node->i[k], node->f[k]; the registry names them in order ("axis keepdims"; a last name
 * ending in "..." stands for all that remain). Names and meaning are ONNX's. Tensors are row-major and contiguous.
 */
#ifndef RNNRT_OP_H
#define RNNRT_OP_H

#include "../core/format.h"
#include "../kernels/kernels.h"

typedef struct rnnrt_tensor {
    void *data; /* NULL while shapes are computed, except for constants */
    uint32_t dims[RNNRT_MAX_RANK];
    uint8_t ndim;
    uint8_t dtype;  /* rnnrt_dtype */
    uint8_t layout; /* rnnrt_layout */
    uint8_t is_const;
    uint32_t elements; /* product of dims, kept by core after shape() */
} rnnrt_tensor;

typedef struct rnnrt_node {
    const struct rnnrt_op *op;
    const char *name;
    const int32_t *i;
    const float *f;
    uint32_t ints, floats;
    uint32_t inputs, outputs;
    const uint32_t *refs; /* [inputs + outputs] value numbers or RNNRT_NONE */
} rnnrt_node;

/* Who helps: the threads that the caller has lent. 1: nobody. */
typedef struct rnnrt_team {
    uint32_t threads;
    rnnrt_parallel parallel;
    void *context;
} rnnrt_team;

/* One evaluation (or one question about one) of a node. Pointers are NULL for inputs and outputs left out. */
typedef struct rnnrt_call {
    const rnnrt_node *node;
    const rnnrt_tensor *const *in; /* [node->inputs] */
    rnnrt_tensor *const *out;      /* [node->outputs] */
    uint32_t time, batch;          /* what the symbols stand for now */
    const rnnrt_kernels *k;        /* run only */
    const rnnrt_team *team;        /* run only */
    const uint32_t *steps;         /* run only: time steps that the state has done, modulo 2^32 */
    void *scratch;                 /* run only */
    /* Run only, with RNNRT_OP_KEEPS: RNNRT_KEPT bytes, zeros when shapes may have changed, else as run left them. */
    void *kept;
} rnnrt_call;

#define RNNRT_OP_VIEW 1u     /* output 0 is input 0 under another shape: they share memory, run() is not called */
#define RNNRT_OP_IN_PLACE 2u /* output 0 may be the same memory as an input of the same number of elements */
#define RNNRT_OP_KEEPS 4u    /* a node has memory of its own from one run to the next */
#define RNNRT_KEPT 512u      /* bytes of it */

typedef struct rnnrt_op {
    uint16_t code;
    uint16_t flags;
    uint8_t min_in, max_in, min_out, max_out;
    const char *name;                              /* ONNX operator name */
    const char *ints, *floats;                     /* attribute names in file order, separated by one space */
    rnnrt_status (*check)(const rnnrt_call *call); /* out is NULL; in holds constants, NULL for anything else */
    rnnrt_status (*shape)(const rnnrt_call *call);
    size_t (*scratch)(const rnnrt_call *call); /* NULL: none */
    void (*run)(const rnnrt_call *call);
} rnnrt_op;

/* registry.c: the one table. NULL: unknown. */
const rnnrt_op *rnnrt_op_find(uint32_t code);
const rnnrt_op *rnnrt_op_at(uint32_t i);

/* shape.c: what check and shape functions share. */
/* Number of inputs and outputs as the registry row says, required ones not left out; ints within [min, max]. */
rnnrt_status rnnrt_check_counts(const rnnrt_call *call, uint32_t min_ints, uint32_t max_ints, uint32_t floats);
/* Input i is present, PLAIN, F32 (or I32, if allowed), and its dims (0 counted as 1) multiply to less than 2^29: so no
 * product of some of its dims overflows. */
rnnrt_status rnnrt_shape_input(const rnnrt_call *call, uint32_t i, int i32_allowed);
/* A dimension written as an attribute: a number or a symbol. */
rnnrt_status rnnrt_shape_symbol(const rnnrt_call *call, int32_t written, uint32_t *dim);
/* t = numpy's broadcast shape of a and b; RNNRT_ERR_SHAPE when they do not fit. t may be neither. */
rnnrt_status rnnrt_shape_broadcast(rnnrt_tensor *t, const rnnrt_tensor *a, const rnnrt_tensor *b);
/* Inputs i and j, F32 or I32, both of one type: t = their broadcast shape and type. */
rnnrt_status rnnrt_shape_pair(const rnnrt_call *call, uint32_t i, uint32_t j, rnnrt_tensor *t);
/* Sets dtype F32, layout PLAIN and dims; RNNRT_ERR_OVERFLOW when the bytes (0 counted as 1) are 2^31 or more. */
rnnrt_status rnnrt_shape_set(rnnrt_tensor *t, const uint32_t *dims, uint32_t ndim);
/* The same dtype and dims. */
rnnrt_status rnnrt_shape_same(rnnrt_tensor *t, const rnnrt_tensor *as);
/* axis in [-ndim, ndim) -> [0, ndim); 0xFFFFFFFF when outside. */
uint32_t rnnrt_shape_axis(int32_t axis, uint32_t ndim);
/* Product of dims [from, to). */
uint32_t rnnrt_shape_count(const rnnrt_tensor *t, uint32_t from, uint32_t to);

/* matrix.c: a packed constant matrix of any format times n rows of f32 (quantizing them when the matrix is s8 or s4). */
/* A constant tensor of a packed layout, dims [rows, cols], as a matrix. */
rnnrt_matrix rnnrt_matrix_of(const rnnrt_tensor *t);
/* Is t a packed constant with this many rows and columns? cols 0: any. */
int rnnrt_matrix_is(const rnnrt_tensor *t, uint32_t rows, uint32_t cols);
/* Scratch bytes for n rows: quantized rows and their scales (0 for f32 and f16), rounded up to 64. */
size_t rnnrt_matmul_scratch(const rnnrt_tensor *w, uint32_t n);
/* p, for p->m, = n rows of x in the form it multiplies: quantized into scratch for s8 and s4, as they lie for f32 and f16. */
void rnnrt_product_set(const rnnrt_kernels *k, rnnrt_product *p, const float *x, size_t ldx, uint32_t n, void *scratch);
/* In two parts: where the rows go, which may be done once for many x; and the rows of an x. */
void rnnrt_product_place(rnnrt_product *p, uint32_t n, void *scratch);
void rnnrt_product_fill(const rnnrt_kernels *k, rnnrt_product *p, const float *x, size_t ldx, uint32_t n);
/* Bytes of weights in these blocks times rows of x, for rnnrt_team_split: < 2^31 * 2^17 * n, n is bounded. */
uint64_t rnnrt_product_work(const rnnrt_matrix *m, uint32_t blocks, uint32_t n);
/* y[i*ldy + r - 16*block0] = bias[r] + w[r] . x[i*ldx ...], rows of blocks [block0, block1); see kernels.h. */
void rnnrt_matmul(const rnnrt_kernels *k, const rnnrt_team *team, const rnnrt_matrix *m, uint32_t block0,
                  uint32_t block1, const float *bias, const float *x, size_t ldx, uint32_t n, float *y, size_t ldy,
                  void *scratch);

/* team.c: calls run(job, first, end) for ranges that make up [0, blocks) once, among the team's threads when it is worth it.
 * What the ranges compute must be independent of each other. work: bytes of weights that are read, times rows of x. */
typedef void (*rnnrt_range)(void *job, uint32_t first, uint32_t end);
void rnnrt_team_split(const rnnrt_team *team, uint32_t blocks, uint64_t work, rnnrt_range run, void *job);

#endif
