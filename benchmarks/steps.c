/* Steps a stream as a C program would, without Python between the steps; called by peer_backends.py. */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */
#include <time.h>

#include "rnnrt.h"

typedef rnnrt_status (*bench_step)(rnnrt_state *state, const void *const in[], void *const out[]);

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* `groups` times `count` steps over frames [frames, width] again and again, each result into y, the nanoseconds of each
 * group into ns [groups]; the first status that is not 0, else 0. */
rnnrt_status bench_steps(bench_step step, rnnrt_state *state, const float *frames, size_t number, size_t width,
                         float *y, size_t count, size_t groups, int64_t *ns) {
    void *out[1] = {y};
    size_t k = 0;
    for (size_t g = 0; g < groups; g++) {
        const int64_t begin = now();
        for (size_t i = 0; i < count; i++, k = k + 1 == number ? 0 : k + 1) {
            const void *in[1] = {frames + k * width};
            rnnrt_status status = step(state, in, out);
            if (status) return status;
        }
        ns[g] = now() - begin;
    }
    return RNNRT_OK;
}
