/* The harness of check_kernels: see checker.h. */
#if !defined(_DEFAULT_SOURCE)
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#endif
#include "checker.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__unix__) || defined(__APPLE__)
#define PAGES 1
#include <sys/mman.h>
#include <unistd.h>
#endif

#define CAPACITY ((size_t)1 << 18) /* seven of them fit a microcontroller board's 4 MiB */
#define CANARY 0xA5A5A5A5u
#define CANARIES 16u

unsigned long comparisons, references, failures;
uint64_t hash = 14695981039346656037u;
static uint64_t seed = 1;
const rnnrt_kernels *scalar;

void fail(const char *what, const char *isa) {
    if (failures++ < 20) { printf("FAILED: %s, %s\n", what, isa); }
}

/* ---- memory ---- */

static enum { AT_END, AT_START, SHIFTED, PLACES } place;

#if !defined(PAGES)
/* WebAssembly and bare metal have none to protect: only the canaries watch. */
static uint8_t *guarded(void) {
    static _Alignas(64) uint8_t memory[BUFFERS][CAPACITY];
    static int next;
    return memory[next++];
}
#else
static uint8_t *guarded(void) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *p = mmap(NULL, CAPACITY + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + page, CAPACITY, PROT_READ | PROT_WRITE)) {
        perror("mmap");
        exit(2);
    }
    return p + page;
}
#endif

static uint8_t *buffers[BUFFERS];

void checker_init(void) {
    for (uint32_t t = 0; rnnrt_kernels_at(t); t++) { scalar = rnnrt_kernels_at(t); } /* the last, by whatever name */
    for (int b = 0; b < BUFFERS; b++) { buffers[b] = guarded(); }
}

void *at(int buffer, size_t bytes, size_t element) {
    if (bytes + element > CAPACITY) {
        printf("case of %zu bytes does not fit\n", bytes);
        exit(2);
    }
    return buffers[buffer] + (place == AT_START ? 0 : CAPACITY - bytes - (place == SHIFTED ? element : 0));
}

/* ---- data: the same on every machine, so integers until the last, exact operation ---- */

uint32_t draw(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

float float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return f != f ? 0x7FC00000u : bits;
}

float *floats(int buffer, size_t n, enum fill fill) {
    static const uint32_t special[] = {0,          0x80000000, 1,          0x80000001, 0x007FFFFF, 0x00800000,
                                       0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00001, 0xFFFFFFFF,
                                       0x0DA24260, 0x0DA2425F, 0x3F800000, 0xBF800000, 0x42B17218, 0xC2B17218,
                                       0xC2AEAC50, 0x3EFFFFFF, 0x4B400000};
    float *p = at(buffer, n * sizeof *p, sizeof *p);
    for (size_t i = 0; i < n; i++) {
        const uint32_t r = draw();
        p[i] = fill == ANY_BITS                ? float_of(r)
               : fill == SPECIAL && r % 4 != 0 ? float_of(special[(r >> 8) % (sizeof special / sizeof *special)])
                                               : (float)(int32_t)r * 0x1p-29f;
    }
    return p;
}

int8_t *bytes(int buffer, size_t n, int saturated) {
    int8_t *p = at(buffer, n, 1);
    for (size_t i = 0; i < n; i++) {
        const int extreme = saturated == 1 || (saturated == 3 && draw() % 2) ? 127 : -127;
        p[i] = (int8_t)(saturated ? extreme : (int)(draw() % 255) - 127);
    }
    return p;
}

/* ---- one case: scalar into one buffer, every other table into another ---- */

/* How many of the canaries stand in front of y; the others stand behind. */
static size_t in_front(void) { return place == AT_START ? 0 : place == SHIFTED ? CANARIES - 1 : CANARIES; }

/* y: [n] starts as before[n] (in place) or as canaries. Returns it and the canaries around it. */
static uint32_t *run_in(int buffer, runner run, const rnnrt_kernels *k, const void *of, const float *before, size_t n) {
    const size_t bytes = (n + CANARIES) * 4;
    uint32_t *words = (uint32_t *)(void *)(buffers[buffer] + (place == AT_START ? 0 : CAPACITY - bytes));
    if (bytes > CAPACITY) {
        printf("case of %zu bytes does not fit\n", bytes);
        exit(2);
    }
    for (size_t i = 0; i < n + CANARIES; i++) { words[i] = CANARY; }
    if (before) { memcpy(words + in_front(), before, n * 4); }
    run(k, of, (float *)(void *)(words + in_front()));
    return words;
}

/* NaNs are equal: bits_of. */
static uint32_t same_nan(uint32_t word) { return bits_of(float_of(word)); }

const float *check(const char *what, runner run, const void *of, const float *before, size_t n) {
    const uint32_t *expected = run_in(OUT_SCALAR, run, scalar, of, before, n);
    const size_t front = in_front();
    for (size_t i = 0; i < n + CANARIES; i++) {
        hash = (hash ^ same_nan(expected[i])) * 1099511628211u;
        const int canary = i < front || i >= front + n;
        if (canary && expected[i] != CANARY) { fail(what, "the reference writes beside its output"); }
    }
    const rnnrt_kernels *k;
    for (uint32_t t = 0; (k = rnnrt_kernels_at(t)) != NULL; t++) {
        if (k == scalar) { continue; }
        const uint32_t *got = run_in(OUT_OTHER, run, k, of, before, n);
        comparisons++;
        for (size_t i = 0; i < n + CANARIES; i++) {
            if (same_nan(got[i]) != same_nan(expected[i])) {
                fail(what, k->isa);
                break;
            }
        }
    }
    place = (place + 1) % PLACES;
    return (const float *)(const void *)(expected + front);
}

void near(const char *what, double got, double reference, double bound) {
    references++;
    if (!(fabs(got - reference) <= bound)) {
        printf("%s: %.9g instead of %.9g, bound %.3g\n", what, got, reference, bound);
        fail(what, "scalar against double");
    }
}
