/* Runs a model file on every instruction set of this CPU and prints one hash each, so that machines can be compared.
 *
 *     golden model.rnnrt [max_time batch]
 *
 * prints a line "isa whole steps" per instruction set: CRC-32C of all outputs of one call with 1 .. max_time steps and of
 * the same input in single steps ("-" where the model can't stream). Inputs come from a fixed linear congruential generator.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src_c/include/rnnrt.h"
#include "../../src_c/kernels/crc32c.h"

#define MAX_IO 8

typedef struct buffers {
    void *in[MAX_IO];
    void *out[MAX_IO];
    size_t in_frame[MAX_IO], out_frame[MAX_IO]; /* elements with TIME = 1 */
} buffers;

static void fail(const char *what, rnnrt_status status) {
    fprintf(stderr, "golden: %s: %s\n", what, rnnrt_strerror(status));
    exit(2);
}

static void *aligned(size_t bytes) { return aligned_alloc(64, (bytes + 64) / 64 * 64); }

static void *read_file(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    void *p;
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    *len = (size_t)ftell(f);
    rewind(f);
    p = aligned(*len);
    if (fread(p, 1, *len, f) != *len) *len = 0;
    fclose(f);
    return p;
}

static size_t frame_elements(const rnnrt_info *info, uint32_t batch) {
    size_t n = 1;
    for (uint32_t d = 0; d < info->ndim; d++) {
        n *= info->dims[d] == RNNRT_DIM_TIME ? 1 : info->dims[d] == RNNRT_DIM_BATCH ? batch : (size_t)info->dims[d];
    }
    return n;
}

static void make_buffers(const rnnrt_model *model, uint32_t time, uint32_t batch, buffers *b) {
    uint32_t seed = 12345;
    rnnrt_info info;
    for (uint32_t i = 0; i < rnnrt_model_inputs(model); i++) {
        rnnrt_model_input(model, i, &info);
        b->in_frame[i] = frame_elements(&info, batch);
        b->in[i] = aligned(b->in_frame[i] * time * 4);
        for (size_t j = 0; j < b->in_frame[i] * time; j++) {
            seed = seed * 1664525u + 1013904223u;
            if (info.dtype == RNNRT_I32)
                ((int32_t *)b->in[i])[j] = (int32_t)(seed >> 30);
            else
                ((float *)b->in[i])[j] =
                    (float)((int32_t)(seed >> 8) - (1 << 23)) / (float)(1 << 22); /* [-2, 2), exact */
        }
    }
    for (uint32_t i = 0; i < rnnrt_model_outputs(model); i++) {
        rnnrt_model_output(model, i, &info);
        b->out_frame[i] = frame_elements(&info, batch);
        b->out[i] = aligned(b->out_frame[i] * time * 4);
    }
}

static uint32_t hash_outputs(const rnnrt_model *model, const buffers *b, uint32_t time, uint32_t crc) {
    for (uint32_t i = 0; i < rnnrt_model_outputs(model); i++)
        crc = rnnrt_crc32c(crc, b->out[i], b->out_frame[i] * time * 4);
    return crc;
}

/* Its memory is aligned, so the state is where the memory starts and can be freed by its own pointer. */
static rnnrt_state *new_state(const rnnrt_model *model, uint32_t time, uint32_t batch) {
    size_t n = 0;
    rnnrt_state *state = NULL;
    rnnrt_status status = rnnrt_state_size(model, time, batch, &n);
    if (status) fail("state_size", status);
    status = rnnrt_state_init(aligned(n), n, model, time, batch, &state);
    if (status) fail("state_init", status);
    return state;
}

/* The hash over one call each of 1, 2, 4, ... max_time steps, every one from the initial state. */
static uint32_t hash_whole(const rnnrt_model *model, const buffers *b, uint32_t max_time, uint32_t batch) {
    rnnrt_state *state = new_state(model, max_time, batch);
    uint32_t crc = 0;
    for (uint32_t t = 1; t <= max_time; t *= 2) {
        rnnrt_status status;
        rnnrt_reset(state);
        status = rnnrt_run(state, (const void *const *)b->in, b->out, t);
        if (status) fail("run", status);
        crc = hash_outputs(model, b, t, crc);
    }
    free(state);
    return crc;
}

/* The same hash from single steps; only for batch 1, where a frame of any layout is contiguous. */
static uint32_t hash_steps(const rnnrt_model *model, const buffers *b, uint32_t max_time) {
    rnnrt_state *state = new_state(model, 1, 1);
    uint32_t crc = 0;
    for (uint32_t t = 1; t <= max_time; t *= 2) {
        rnnrt_reset(state);
        for (uint32_t s = 0; s < t; s++) {
            const void *in[MAX_IO];
            void *out[MAX_IO];
            rnnrt_status status;
            for (uint32_t i = 0; i < rnnrt_model_inputs(model); i++)
                in[i] = (uint8_t *)b->in[i] + b->in_frame[i] * s * 4;
            for (uint32_t i = 0; i < rnnrt_model_outputs(model); i++) {
                out[i] = (uint8_t *)b->out[i] + b->out_frame[i] * s * 4;
            }
            status = rnnrt_step(state, in, out);
            if (status) fail("step", status);
        }
        crc = hash_outputs(model, b, t, crc);
    }
    free(state);
    return crc;
}

int main(int argc, char **argv) {
    size_t len = 0, n = 0;
    const void *blob = argc > 1 ? read_file(argv[1], &len) : NULL;
    const uint32_t max_time = argc > 2 ? (uint32_t)atoi(argv[2]) : 16;
    const uint32_t batch = argc > 3 ? (uint32_t)atoi(argv[3]) : 1;
    rnnrt_model *model = NULL;
    rnnrt_status status;
    buffers b = {{0}, {0}, {0}, {0}};
    void *mem;
    if (!blob) fail("reading the model", RNNRT_ERR_ARGUMENT);
    status = rnnrt_model_size(blob, len, &n);
    if (status) fail("model_size", status);
    mem = aligned(n);
    status = rnnrt_model_init(mem, n, blob, len, &model);
    if (status) fail("model_init", status);
    make_buffers(model, max_time, batch, &b);
    for (uint32_t i = 0; rnnrt_isa(i); i++) {
        status = rnnrt_model_use_isa(model, rnnrt_isa(i));
        if (status) fail("use_isa", status);
        printf("%s %08x ", rnnrt_isa(i), (unsigned)hash_whole(model, &b, max_time, batch));
        if (rnnrt_model_streamable(model) && batch == 1)
            printf("%08x\n", (unsigned)hash_steps(model, &b, max_time));
        else
            printf("-\n");
    }
    for (uint32_t i = 0; i < MAX_IO; i++) {
        free(b.in[i]);
        free(b.out[i]);
    }
    free(mem);
    free((void *)(uintptr_t)blob);
    return 0;
}
