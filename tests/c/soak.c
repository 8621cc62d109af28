/* Many steps of one stream: the same bits period after period, no growth, the floating-point environment untouched.
 *
 *     soak MODEL STEPS PERIOD
 *
 * A period is PERIOD steps from the initial state with the same inputs; its hash covers every output and the final state.
 * Prints "periods HASH resident_growth_in_kB"; exit status 1 where a hash differs or a control register was changed.
 */
#define _POSIX_C_SOURCE 200112L
#include <fenv.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src_c/include/rnnrt.h"

#define ROOM 16384 /* elements of an input, an output, a state variable */
#define MAX_IO 4

static float in_room[MAX_IO][ROOM], out_room[MAX_IO][ROOM], state_room[ROOM];

static void require(int truth, const char *what) {
    if (!truth) {
        fprintf(stderr, "soak: %s\n", what);
        exit(1);
    }
}

static size_t elements(const rnnrt_info *info) {
    size_t n = 1;
    for (uint32_t d = 0; d < info->ndim; d++) n *= info->dims[d] < 0 ? 1 : (size_t)info->dims[d];
    require(n <= ROOM, "a port is too large");
    return n;
}

static uint32_t hash(uint32_t h, const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 4) {
        uint32_t word;
        memcpy(&word, (const uint8_t *)data + i, 4);
        h = (h ^ word) * 16777619u;
    }
    return h;
}

static long resident_kb(void) {
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    require(f && fscanf(f, "%ld %ld", &pages, &resident) == 2, "statm");
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static uint32_t period(const rnnrt_model *model, rnnrt_state *state, long steps) {
    const void *in[MAX_IO];
    void *out[MAX_IO];
    rnnrt_info info;
    uint32_t seed = 1, h = 2166136261u;
    for (uint32_t i = 0; i < MAX_IO; i++) {
        in[i] = in_room[i];
        out[i] = out_room[i];
    }
    rnnrt_reset(state);
    for (long s = 0; s < steps; s++) {
        rnnrt_model_input(model, 0, &info);
        const size_t n = elements(&info);
        for (size_t i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            in_room[0][i] = (float)((int32_t)(seed >> 8) - (1 << 23)) / (float)(1 << 22);
        }
        require(rnnrt_step(state, in, out) == RNNRT_OK, "step");
        rnnrt_model_output(model, 0, &info);
        h = hash(h, out_room[0], elements(&info) * 4);
    }
    for (uint32_t i = 0; i < rnnrt_model_states(model); i++) {
        rnnrt_model_state(model, i, &info);
        const size_t bytes = elements(&info) * 4;
        require(rnnrt_state_get(state, i, state_room, bytes) == RNNRT_OK, "state_get");
        h = hash(h, state_room, bytes);
    }
    return h;
}

#if defined(__x86_64__)
/* Rounding, exception masks, flush-to-zero and denormals-are-zero; not the sticky flags, which every division sets. */
static uint32_t control(void) {
    uint32_t csr;
    __asm__ volatile("stmxcsr %0" : "=m"(csr));
    return csr & ~0x3Fu;
}
#else
static uint32_t control(void) { return (uint32_t)fegetround(); }
#endif

int main(int argc, char **argv) {
    static uint8_t blob_room[1 << 22];
    uint8_t *blob = blob_room + (64 - (uintptr_t)blob_room % 64) % 64;
    size_t n = 0;
    rnnrt_model *model = NULL;
    rnnrt_state *state = NULL;
    require(argc == 4, "usage: soak MODEL STEPS PERIOD");
    FILE *f = fopen(argv[1], "rb");
    require(f != NULL, "no such file");
    const size_t len = fread(blob, 1, sizeof blob_room - 64, f);
    fclose(f);
    require(rnnrt_model_size(blob, len, &n) == RNNRT_OK, "model_size");
    require(rnnrt_model_init(malloc(n), n, blob, len, &model) == RNNRT_OK, "model_init");
    require(rnnrt_model_inputs(model) == 1 && rnnrt_model_outputs(model) == 1, "one input and one output");
    require(rnnrt_state_size(model, 1, 1, &n) == RNNRT_OK, "state_size");
    require(rnnrt_state_init(malloc(n), n, model, 1, 1, &state) == RNNRT_OK, "state_init");
    const long steps = atol(argv[2]), length = atol(argv[3]), periods = steps / length;
    const uint32_t before = control(), first = period(model, state, length);
    resident_kb(); /* the first call of stdio's own buffers and code */
    const long resident = resident_kb();
    for (long p = 1; p < periods; p++) require(period(model, state, length) == first, "a later period gave other bits");
    require(control() == before, "the floating-point environment was changed");
    printf("%ld %08x %ld\n", periods, (unsigned)first, resident_kb() - resident);
    return 0;
}
