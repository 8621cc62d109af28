/* Prints, a line per model file, the status of the first call that refuses it, or 0: model_size, model_init, state_size,
 * state_init at 2 time steps and batch 1, one run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src_c/include/rnnrt.h"

#define ELEMENTS 4096

static rnnrt_status try_state(const rnnrt_model *model) {
    static const float x[ELEMENTS];
    static float y[ELEMENTS];
    const void *in[] = {x};
    void *out[] = {y};
    size_t n = 0;
    rnnrt_state *state = NULL;
    void *mem;
    rnnrt_status status = rnnrt_state_size(model, 2, 1, &n);
    if (status) return status;
    mem = malloc(n);
    if (!mem) return RNNRT_ERR_MEMORY;
    status = rnnrt_state_init(mem, n, model, 2, 1, &state);
    if (!status && rnnrt_model_inputs(model) == 1 && rnnrt_model_outputs(model) == 1) {
        status = rnnrt_run(state, in, out, 2);
    }
    free(mem);
    return status;
}

static rnnrt_status try_file(const char *path) {
    FILE *f = fopen(path, "rb");
    long len;
    size_t n = 0;
    uint8_t *room, *blob;
    void *mem = NULL;
    rnnrt_model *model = NULL;
    rnnrt_status status;
    if (!f || fseek(f, 0, SEEK_END) || (len = ftell(f)) < 0) return RNNRT_ERR_ARGUMENT;
    rewind(f);
    room = malloc((size_t)len + 64); /* the blob ends where the allocation ends: a sanitizer sees a byte too far */
    if (!room) return RNNRT_ERR_MEMORY;
    blob = room + (64 - (uintptr_t)room % 64) % 64;
    if (fread(blob, 1, (size_t)len, f) != (size_t)len) return RNNRT_ERR_ARGUMENT;
    fclose(f);
    status = rnnrt_model_size(blob, (size_t)len, &n);
    if (!status) mem = malloc(n);
    if (!status) status = rnnrt_model_init(mem, n, blob, (size_t)len, &model);
    if (!status) status = try_state(model);
    free(mem);
    free(room);
    return status;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) printf("%d\n", (int)try_file(argv[i]));
    return 0;
}
