/* Streams frames through a model: little-endian f32 frames on standard input, f32 results on standard output.
 *
 *     cc -O2 -o step examples/c/step.c $(find src_c -name '*.c')
 *     ./step model.rnnrt < frames.f32 > results.f32
 *
 * For a model with one f32 input and any f32 outputs of fixed size; the results of a frame stand one behind the other.
 * Memory is taken before the first frame; after that rnnrt asks for nothing.
 */
#include "../../src_c/include/rnnrt.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_OUTPUTS 8

/* Ends the program with a message. */
static void fail(const char *what, const char *why) {
    fprintf(stderr, "step: %s: %s\n", what, why);
    exit(1);
}

static void check(rnnrt_status status, const char *what) {
    if (status != RNNRT_OK) fail(what, rnnrt_strerror(status));
}

/* The whole file in memory, 64-byte aligned as a model has to be. */
static void *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) fail(path, "can't be read");
    long size = ftell(file);
    if (size <= 0) fail(path, "is empty");
    *len = (size_t)size;
    void *blob = aligned_alloc(64, (*len + 63) / 64 * 64);
    rewind(file);
    if (blob == NULL || fread(blob, 1, *len, file) != *len) fail(path, "can't be read");
    fclose(file);
    return blob;
}

static void *take(size_t bytes) {
    void *mem = malloc(bytes);
    if (mem == NULL) fail("memory", "there is not enough");
    return mem;
}

/* Numbers in one time step of one stream. */
static size_t numbers(const rnnrt_info *info) {
    size_t n = 1;
    if (info->dtype != RNNRT_F32) fail(info->name, "is not f32");
    for (uint32_t i = 0; i < info->ndim; i++) n *= info->dims[i] < 0 ? 1 : (size_t)info->dims[i];
    return n;
}

int main(int argc, char **argv) {
    if (argc != 2) fail("usage", "step MODEL.rnnrt < frames.f32 > results.f32");

    size_t len, bytes;
    void *blob = read_file(argv[1], &len);
    rnnrt_model *model;
    check(rnnrt_model_size(blob, len, &bytes), argv[1]);
    check(rnnrt_model_init(take(bytes), bytes, blob, len, &model), argv[1]);

    rnnrt_state *state;
    check(rnnrt_state_size(model, 1, 1, &bytes), "state");
    check(rnnrt_state_init(take(bytes), bytes, model, 1, 1, &state), "state");

    rnnrt_info info;
    uint32_t outputs = rnnrt_model_outputs(model);
    if (rnnrt_model_inputs(model) != 1) fail(argv[1], "has more than one input");
    if (outputs > MAX_OUTPUTS) fail(argv[1], "has too many outputs");
    check(rnnrt_model_input(model, 0, &info), "input");
    size_t frame_size = numbers(&info);
    float *frame = take(frame_size * sizeof(float));
    void *results[MAX_OUTPUTS];
    size_t sizes[MAX_OUTPUTS];
    for (uint32_t i = 0; i < outputs; i++) {
        check(rnnrt_model_output(model, i, &info), "output");
        sizes[i] = numbers(&info);
        results[i] = take(sizes[i] * sizeof(float));
    }

    const void *in[1] = {frame};
    while (fread(frame, sizeof(float), frame_size, stdin) == frame_size) {
        check(rnnrt_step(state, in, results), "step");
        for (uint32_t i = 0; i < outputs; i++) {
            if (fwrite(results[i], sizeof(float), sizes[i], stdout) != sizes[i]) fail("standard output", "is closed");
        }
    }
    return 0;
}
