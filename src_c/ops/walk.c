/* The odometer over strided tensors, and the strided copy made of it. */
#include "walk.h"

#include <string.h>

void rnnrt_walk_steps(ptrdiff_t *steps, const uint32_t *dims, uint32_t ndim) {
    ptrdiff_t step = 1;
    for (uint32_t d = ndim; d-- > 0;) {
        steps[d] = step;
        step *= dims[d] ? (ptrdiff_t)dims[d] : 1;
    }
}

void rnnrt_walk_broadcast(ptrdiff_t *steps, const rnnrt_tensor *t, uint32_t ndim) {
    ptrdiff_t own[RNNRT_MAX_RANK];
    uint32_t lead = ndim - t->ndim;
    rnnrt_walk_steps(own, t->dims, t->ndim);
    for (uint32_t d = 0; d < ndim; d++) steps[d] = d < lead || t->dims[d - lead] == 1 ? 0 : own[d - lead];
}

void rnnrt_walk_start(rnnrt_walk *w, uint32_t ndim, const uint32_t *dims, const ptrdiff_t *a_steps,
                      const ptrdiff_t *b_steps) {
    w->outer = 0;
    w->a = w->b = 0;
    uint32_t top = 0; /* merged dimensions so far; the innermost becomes the run */
    for (uint32_t d = 0; d < ndim; d++) {
        ptrdiff_t a = a_steps[d], b = b_steps ? b_steps[d] : 0, n = (ptrdiff_t)dims[d];
        if (n == 1) continue;
        if (top && w->a_steps[top - 1] == a * n && (!b_steps || w->b_steps[top - 1] == b * n)) {
            w->dims[top - 1] *= dims[d];
        } else {
            w->dims[top] = dims[d];
            w->index[top] = 0;
            top++;
        }
        w->a_steps[top - 1] = a;
        w->b_steps[top - 1] = b;
    }
    if (!top) { /* one element: any step will do, 1 is contiguous */
        w->n = 1;
        w->a_step = w->b_step = 1;
        return;
    }
    w->outer = top - 1;
    w->n = w->dims[top - 1];
    w->a_step = w->a_steps[top - 1];
    w->b_step = w->b_steps[top - 1];
}

int rnnrt_walk_next(rnnrt_walk *w) {
    for (uint32_t d = w->outer; d-- > 0;) {
        w->a += w->a_steps[d];
        w->b += w->b_steps[d];
        if (++w->index[d] < w->dims[d]) return 1;
        w->index[d] = 0;
        w->a -= w->a_steps[d] * (ptrdiff_t)w->dims[d];
        w->b -= w->b_steps[d] * (ptrdiff_t)w->dims[d];
    }
    return 0;
}

void rnnrt_walk_copy(void *dst, const void *src, uint32_t ndim, const uint32_t *dims, const ptrdiff_t *steps) {
    for (uint32_t d = 0; d < ndim; d++)
        if (dims[d] == 0) return;
    rnnrt_walk w;
    uint32_t *to = dst;
    const uint32_t *from = src;
    rnnrt_walk_start(&w, ndim, dims, steps, NULL);
    do {
        const uint32_t *run = from + w.a;
        if (w.a_step == 1) {
            memcpy(to, run, (size_t)w.n * sizeof *to);
        } else {
            for (uint32_t i = 0; i < w.n; i++) /* memcpy: the elements may be float or int32_t */
                memcpy(to + i, run + (ptrdiff_t)i * w.a_step, sizeof *to);
        }
        to += w.n;
    } while (rnnrt_walk_next(&w));
}
