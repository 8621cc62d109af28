/* Steps a stream as a C program would, without Python between the steps; called by peer_backends.py. */
#include "rnnrt.h"

typedef rnnrt_status (*bench_step)(rnnrt_state *state, const void *const in[], void *const out[]);

/* `count` steps over frames [frames, width] again and again, each result into y; the first status that is not 0, else 0. */
rnnrt_status bench_steps(bench_step step, rnnrt_state *state, const float *frames, size_t number, size_t width,
                         float *y, size_t count) {
    void *out[1] = {y};
    for (size_t i = 0, k = 0; i < count; i++, k = k + 1 == number ? 0 : k + 1) {
        const void *in[1] = {frames + k * width};
        rnnrt_status status = step(state, in, out);
        if (status) return status;
    }
    return RNNRT_OK;
}
