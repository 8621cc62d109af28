/* One model, 64 streams, 8 callers at once, one pool of threads for all: built with ThreadSanitizer.
 *
 *     share model.rnnrt
 *
 * The model has one input and one output. Every caller steps its 8 streams in turn; exits with 1 where a stream's outputs
 * differ from those of the same steps alone, and ThreadSanitizer makes it fail where two threads race.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../rnnrt/threads.h"

enum { CALLERS = 8, STREAMS = 8, STEPS = 12, POOL = 3 };

typedef struct caller {
    const rnnrt_model *model;
    rnnrt_pool *pool;
    unsigned seed;
    size_t bytes;
    float *y; /* [STREAMS][STEPS][outputs] */
} caller;

static void *room(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (!p) exit(2);
    return p;
}

static size_t elements(const rnnrt_info *info) {
    size_t n = 1;
    for (uint32_t d = 0; d < info->ndim; d++) n *= info->dims[d] < 0 ? 1 : (size_t)info->dims[d];
    return n;
}

static void *run(void *context) {
    caller *c = (caller *)context;
    rnnrt_info in, out;
    rnnrt_state *state[STREAMS];
    void *memory[STREAMS];
    size_t n, x_size, y_size;
    float *x;
    rnnrt_model_input(c->model, 0, &in);
    rnnrt_model_output(c->model, 0, &out);
    x_size = elements(&in);
    y_size = elements(&out);
    x = room(x_size * sizeof *x);
    c->bytes = STREAMS * STEPS * y_size * sizeof(float);
    c->y = room(c->bytes);
    if (rnnrt_state_size(c->model, 1, 1, &n)) exit(2);
    for (int s = 0; s < STREAMS; s++) {
        memory[s] = room(n);
        if (rnnrt_state_init(memory[s], n, c->model, 1, 1, &state[s])) exit(2);
        if (c->pool && rnnrt_state_parallel(state[s], POOL, rnnrt_pool_run, c->pool)) exit(2);
    }
    for (int t = 0; t < STEPS; t++) {
        for (int s = 0; s < STREAMS; s++) {
            const void *px[] = {x};
            void *py[] = {c->y + (size_t)(s * STEPS + t) * y_size};
            for (size_t i = 0; i < x_size; i++) {
                x[i] = (float)((int)((i + 7u * (unsigned)(s + t) + c->seed) * 2654435761u >> 22) - 512) / 256.0f;
            }
            if (rnnrt_step(state[s], px, py)) exit(2);
        }
    }
    for (int s = 0; s < STREAMS; s++) free(memory[s]);
    free(x);
    return NULL;
}

int main(int argc, char **argv) {
    FILE *f = argc == 2 ? fopen(argv[1], "rb") : NULL;
    caller together[CALLERS];
    pthread_t threads[CALLERS];
    rnnrt_model *model;
    rnnrt_pool *pool = rnnrt_pool_new(POOL);
    size_t len, n;
    void *blob;
    int differ = 0;
    if (!f || !pool || fseek(f, 0, SEEK_END)) return 2;
    len = (size_t)ftell(f);
    rewind(f);
    blob = room(len);
    if (fread(blob, 1, len, f) != len || rnnrt_model_size(blob, len, &n)) return 2;
    if (rnnrt_model_init(room(n), n, blob, len, &model)) return 2;
    fclose(f);
    for (unsigned i = 0; i < CALLERS; i++) {
        together[i] = (caller){model, pool, i, 0, NULL};
        if (pthread_create(&threads[i], NULL, run, &together[i])) return 2;
    }
    for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < CALLERS; i++) {
        caller alone = {model, NULL, i, 0, NULL};
        run(&alone);
        differ |= memcmp(alone.y, together[i].y, alone.bytes) != 0;
        free(alone.y);
        free(together[i].y);
    }
    printf("workers %u, %s\n", rnnrt_pool_workers(pool), differ ? "different" : "same");
    rnnrt_pool_free(pool);
    return differ;
}
