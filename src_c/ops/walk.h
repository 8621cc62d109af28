/* Visiting the elements of one or two tensors, seen under arbitrary (also zero or negative) strides, in the row-major
 * order of `dims`: the one odometer of all operators that move data, broadcast or reduce.
 *
 *   rnnrt_walk w;
 *   rnnrt_walk_start(&w, ndim, dims, a_steps, b_steps);
 *   do
 *       the run of w.n elements at a[w.a + i * w.a_step], b[w.b + i * w.b_step]
 *   while (rnnrt_walk_next(&w));
 *
 * No dimension may be 0. Positions count elements; they stay within ptrdiff_t because tensors are below 2^31 bytes.
 */
#ifndef RNNRT_WALK_H
#define RNNRT_WALK_H

#include "op.h"

typedef struct rnnrt_walk {
    uint32_t outer;                                             /* number of dimensions around the run */
    uint32_t dims[RNNRT_MAX_RANK], index[RNNRT_MAX_RANK];       /* [outer] */
    ptrdiff_t a_steps[RNNRT_MAX_RANK], b_steps[RNNRT_MAX_RANK]; /* [outer] */
    uint32_t n;                                                 /* the run: the inner dimensions that merge into one */
    ptrdiff_t a_step, b_step;
    ptrdiff_t a, b; /* where the present run starts */
} rnnrt_walk;

/* dims, a_steps, b_steps: [ndim]; b_steps NULL: only one tensor. */
void rnnrt_walk_start(rnnrt_walk *w, uint32_t ndim, const uint32_t *dims, const ptrdiff_t *a_steps,
                      const ptrdiff_t *b_steps);
/* 0 after the last run. */
int rnnrt_walk_next(rnnrt_walk *w);

/* steps[d] = row-major distance between neighbours along dimension d, in elements. */
void rnnrt_walk_steps(ptrdiff_t *steps, const uint32_t *dims, uint32_t ndim);

/* The same for t seen as a tensor of `dims` [ndim] that it broadcasts to: 0 where it is broadcast. */
void rnnrt_walk_broadcast(ptrdiff_t *steps, const rnnrt_tensor *t, uint32_t ndim);

/* dst[...] = src[...]: 4-byte elements; dst contiguous in row-major order of dims, src under steps. Dim 0: nothing. */
void rnnrt_walk_copy(void *dst, const void *src, uint32_t ndim, const uint32_t *dims, const ptrdiff_t *steps);

#endif
