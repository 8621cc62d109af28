/* Threads are the caller's: whatever order a parallel-for runs its parts in, the bits are those of one thread.
 *
 *     team steps threads model.rnnrt ...
 *
 * Each model has one input and one output. Here the parts run on this thread, the last one first. Prints for each model
 * "<parallel calls> <parts>" of the run with `threads`; exits with 1 where its outputs differ from a run alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src_c/include/rnnrt.h"

typedef struct tally {
    unsigned long calls, parts, most;
} tally;

static void *room(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (!p) exit(2);
    return p;
}

static void backwards(void *context, uint32_t parts, rnnrt_work work, void *job) {
    tally *t = (tally *)context;
    t->calls++;
    t->parts += parts;
    if (parts > t->most) t->most = parts;
    for (uint32_t i = parts; i-- > 0;) work(job, i);
}

static size_t elements(const rnnrt_info *info, uint32_t time) {
    size_t n = 1;
    for (uint32_t d = 0; d < info->ndim; d++) {
        n *= info->dims[d] == RNNRT_DIM_TIME ? time : info->dims[d] == RNNRT_DIM_BATCH ? 1 : (size_t)info->dims[d];
    }
    return n;
}

/* Outputs of `time` steps in one call and then of `time` single steps. */
static float *outputs(const rnnrt_model *model, uint32_t time, uint32_t threads, tally *t, size_t *bytes) {
    rnnrt_info in, out;
    rnnrt_state *state;
    size_t n, x_size, y_size;
    float *x, *y;
    void *mem;
    rnnrt_model_input(model, 0, &in);
    rnnrt_model_output(model, 0, &out);
    x_size = elements(&in, 1);
    y_size = elements(&out, 1);
    x = room(x_size * time * sizeof *x);
    y = room(2 * y_size * time * sizeof *y);
    for (size_t i = 0; i < x_size * time; i++) x[i] = (float)((int)(i * 2654435761u >> 16 & 0x3ff) - 512) / 256.0f;
    if (rnnrt_state_size(model, time, 1, &n)) exit(2);
    mem = room(n);
    if (rnnrt_state_init(mem, n, model, time, 1, &state)) exit(2);
    if (threads > 1 && rnnrt_state_parallel(state, threads, backwards, t)) exit(2);
    {
        const void *px[] = {x};
        void *py[] = {y};
        if (rnnrt_run(state, px, py, time)) exit(2);
    }
    for (uint32_t i = 0; i < time; i++) {
        const void *px[] = {x + i * x_size};
        void *py[] = {y + (time + i) * y_size};
        if (rnnrt_step(state, px, py)) exit(2);
    }
    *bytes = 2 * y_size * time * sizeof *y;
    free(mem);
    free(x);
    return y;
}

static int check(const char *path, uint32_t steps, uint32_t threads) {
    FILE *f = fopen(path, "rb");
    rnnrt_model *model;
    tally t = {0, 0, 0};
    size_t len, n, bytes;
    float *alone, *together;
    void *blob;
    if (!f || fseek(f, 0, SEEK_END)) return 2;
    len = (size_t)ftell(f);
    rewind(f);
    blob = room(len);
    if (fread(blob, 1, len, f) != len || rnnrt_model_size(blob, len, &n)) return 2;
    if (rnnrt_model_init(room(n), n, blob, len, &model)) return 2;
    alone = outputs(model, steps, 1, &t, &bytes);
    together = outputs(model, steps, threads, &t, &bytes);
    fclose(f);
    printf("%lu %lu\n", t.calls, t.parts);
    return memcmp(alone, together, bytes) != 0 || t.most > threads;
}

int main(int argc, char **argv) {
    int worst = 0;
    for (int i = 3; i < argc; i++) {
        const int result = check(argv[i], (uint32_t)atoi(argv[1]), (uint32_t)atoi(argv[2]));
        if (result > worst) worst = result;
    }
    return worst;
}
