/* See drive.h. */
#define _POSIX_C_SOURCE 200112L /* posix_memalign: exactly the bytes asked for, aligned */
#include "drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src_c/include/rnnrt.h"

#define MAX_IO 16
#define MAX_STATE (1u << 20) /* larger states are left out: a run's time grows with them */
#define MAX_FRAME (1u << 16) /* elements of an input or output */

/* Bytes of a model per byte of its file: a value record of 64 bytes becomes a struct of less than 256, a node record of 32
 * less than 192, a reference of 4 one pointer in the largest node. */
#define MODEL_BYTES_PER_BYTE 8u
#define MODEL_BYTES_FIXED 4096u

static void require(int truth, const char *what) {
    if (!truth) {
        fprintf(stderr, "fuzz: %s\n", what);
        abort();
    }
}

static void known(rnnrt_status status) { require(status >= RNNRT_OK && status <= RNNRT_ERR_NOT_STREAMABLE, "status"); }

static void *block(size_t bytes) {
    void *p = NULL;
    require(posix_memalign(&p, 64, bytes ? bytes : 1) == 0, "out of memory");
    return p;
}

static uint64_t elements(const rnnrt_info *info, uint32_t time, uint32_t batch) {
    uint64_t n = 1;
    for (uint32_t d = 0; d < info->ndim; d++) {
        const uint64_t dim = info->dims[d] == RNNRT_DIM_TIME    ? time
                             : info->dims[d] == RNNRT_DIM_BATCH ? batch
                                                                : (uint64_t)info->dims[d];
        n = n * dim > MAX_FRAME ? MAX_FRAME + 1 : n * dim;
    }
    return n;
}

typedef struct ports {
    uint32_t inputs, outputs;
    void *in[MAX_IO], *out[MAX_IO];
    size_t out_bytes[MAX_IO];
} ports;

static void free_ports(ports *p) {
    for (uint32_t i = 0; i < MAX_IO; i++) {
        free(p->in[i]);
        free(p->out[i]);
    }
}

/* Inputs and outputs for `time` steps, exactly as large as documented; 0 where they would be too large. */
static int make_ports(const rnnrt_model *model, uint32_t time, uint32_t batch, ports *p) {
    const uint32_t frames = rnnrt_model_has_time(model) ? 1 : time; /* without a time axis: frame behind frame */
    rnnrt_info info;
    memset(p, 0, sizeof *p);
    p->inputs = rnnrt_model_inputs(model);
    p->outputs = rnnrt_model_outputs(model);
    if (p->inputs > MAX_IO || p->outputs > MAX_IO) return 0;
    for (uint32_t i = 0; i < p->inputs; i++) {
        require(rnnrt_model_input(model, i, &info) == RNNRT_OK, "input");
        const uint64_t n = elements(&info, time, batch) * frames;
        if (n > MAX_FRAME) return 0;
        p->in[i] = block((size_t)n * 4);
        for (size_t j = 0; j < n; j++) {
            const float value = (float)(int)(j * 37 % 101) / 50.0f - 1.0f;
            const int32_t index = (int32_t)(j % 5) - 1; /* -1: indices out of range are data too */
            memcpy((uint8_t *)p->in[i] + j * 4, info.dtype == RNNRT_F32 ? (const void *)&value : &index, 4);
        }
    }
    for (uint32_t i = 0; i < p->outputs; i++) {
        require(rnnrt_model_output(model, i, &info) == RNNRT_OK, "output");
        const uint64_t n = elements(&info, time, batch) * frames;
        if (n > MAX_FRAME) return 0;
        p->out_bytes[i] = (size_t)n * 4;
        p->out[i] = block(p->out_bytes[i]);
        memset(p->out[i], 0, p->out_bytes[i]);
    }
    return 1;
}

/* FNV-1a over the outputs, every NaN counted as one and the same (its bits are the CPU's business). */
static uint32_t hash(const ports *p) {
    uint32_t h = 2166136261u;
    for (uint32_t i = 0; i < p->outputs; i++) {
        for (size_t at = 0; at < p->out_bytes[i]; at += 4) {
            uint32_t word;
            memcpy(&word, (const uint8_t *)p->out[i] + at, 4);
            if ((word & 0x7FFFFFFFu) > 0x7F800000u) word = 0x7FC00000u;
            h = (h ^ word) * 16777619u;
        }
    }
    return h;
}

static void states_are_readable(const rnnrt_model *model, rnnrt_state *state, uint32_t batch) {
    for (uint32_t i = 0; i < rnnrt_model_states(model); i++) {
        rnnrt_info info;
        require(rnnrt_model_state(model, i, &info) == RNNRT_OK, "state");
        const uint64_t n = elements(&info, 1, batch);
        if (n > MAX_FRAME) continue;
        void *copy = block((size_t)n * 4);
        require(rnnrt_state_get(state, i, copy, (size_t)n * 4) == RNNRT_OK, "state_get");
        require(rnnrt_state_set(state, i, copy, (size_t)n * 4) == RNNRT_OK, "state_set");
        free(copy);
    }
}

/* One call of `time` steps after another of one step; the hash of what came out, 0 where nothing did. */
static uint32_t run_once(const rnnrt_model *model, uint32_t time, uint32_t batch) {
    size_t bytes = 0;
    rnnrt_state *state = NULL;
    ports p;
    uint32_t h = 0;
    rnnrt_status status = rnnrt_state_size(model, time, batch, &bytes);
    known(status);
    if (status || bytes > MAX_STATE) return 0;
    if (!make_ports(model, time, batch, &p)) {
        free_ports(&p);
        return 0;
    }
    void *mem = block(bytes);
    status = rnnrt_state_init(mem, bytes, model, time, batch, &state);
    known(status);
    if (status == RNNRT_OK) {
        known(rnnrt_step(state, (const void *const *)p.in, p.out));
        states_are_readable(model, state, batch);
        status = rnnrt_run(state, (const void *const *)p.in, p.out, time);
        known(status);
        if (status == RNNRT_OK) h = hash(&p);
        known(rnnrt_run(state, (const void *const *)p.in, p.out, 0));
        rnnrt_reset(state);
    }
    free(mem);
    free_ports(&p);
    return h;
}

void drive(const uint8_t *data, size_t len) {
    size_t bytes = 0;
    rnnrt_model *model = NULL;
    uint8_t *blob = (uint8_t *)block(len);
    memcpy(blob, data, len);
    rnnrt_status status = rnnrt_model_size(blob, len, &bytes);
    known(status);
    if (status == RNNRT_OK) {
        require(bytes <= len * MODEL_BYTES_PER_BYTE + MODEL_BYTES_FIXED, "a model's memory is not bounded by its file");
        void *mem = block(bytes);
        status = rnnrt_model_init(mem, bytes, blob, len, &model);
        known(status);
        for (uint32_t shape = 0; status == RNNRT_OK && shape < 2; shape++) {
            uint32_t first = 0;
            for (uint32_t i = 0; rnnrt_isa(i); i++) {
                require(rnnrt_model_use_isa(model, rnnrt_isa(i)) == RNNRT_OK, "use_isa");
                const uint32_t h = run_once(model, shape ? 3 : 1, shape ? 2 : 1);
                if (i == 0) first = h;
                require(h == first, "two instruction sets differ");
            }
        }
        free(mem);
    }
    free(blob);
}
