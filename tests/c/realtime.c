/* Real-time safety, shown: rnnrt_step, rnnrt_run, rnnrt_reset and the state accessors make no system call, no allocation
 * and take no lock.
 *
 *   realtime [--provoke syscall|malloc|lock] MODEL...
 *
 * Allocators and locks are counted by the linker's --wrap (test_realtime.py gives the list); system calls are forbidden by
 * seccomp's strict mode: but for read, write, exit and sigreturn the kernel kills the process. --provoke does what is
 * forbidden, so that the test can see that it would be noticed. Exit status: 0 clean, 1 something counted, 2 could not run.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "rnnrt.h"

enum { MAX_MODELS = 16, MAX_PORTS = 4, MAX_TIME = 8, BATCH = 2, ROUNDS = 50, ROOM = 1 << 16 };

static unsigned allocations, locks;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
void __real_free(void *p);
int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
void __wrap_free(void *p);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);

void *__wrap_malloc(size_t n) {
    allocations++;
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size) {
    allocations++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n) {
    allocations++;
    return __real_realloc(p, n);
}

void *__wrap_aligned_alloc(size_t alignment, size_t n) {
    allocations++;
    return __real_aligned_alloc(alignment, n);
}

void __wrap_free(void *p) {
    allocations++;
    __real_free(p);
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex) {
    locks++;
    return __real_pthread_mutex_lock(mutex);
}

/* One model with room for everything that it reads and writes. */
typedef struct subject {
    rnnrt_model *model;
    rnnrt_state *state;
    const void *in[MAX_PORTS];
    void *out[MAX_PORTS];
} subject;

static float input[ROOM], output[MAX_PORTS][ROOM], variable[ROOM];

static void stop(const char *what, int status) {
    fprintf(stderr, "realtime: %s: %s\n", what, status < 0 ? "failed" : rnnrt_strerror((rnnrt_status)status));
    exit(2);
}

/* The bytes of a file at a multiple of 64. */
static void *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    void *blob = NULL;
    long n = -1;
    if (file && fseek(file, 0, SEEK_END) == 0) n = ftell(file);
    if (n > 0) blob = aligned_alloc(64, ((size_t)n + 63u) / 64u * 64u);
    if (!blob || fseek(file, 0, SEEK_SET) != 0 || fread(blob, 1, (size_t)n, file) != (size_t)n) stop(path, -1);
    fclose(file);
    *len = (size_t)n;
    return blob;
}

/* Elements for MAX_TIME steps of BATCH signals. */
static size_t elements(const rnnrt_info *info, int has_time) {
    size_t n = has_time ? 1 : MAX_TIME;
    for (uint32_t d = 0; d < info->ndim; d++) {
        const int32_t dim = info->dims[d];
        n *= dim == RNNRT_DIM_TIME ? MAX_TIME : dim == RNNRT_DIM_BATCH ? BATCH : (size_t)dim;
    }
    return n;
}

static void prepare(subject *s, const char *path) {
    size_t len, n;
    void *blob = read_file(path, &len);
    rnnrt_status status = rnnrt_model_size(blob, len, &n);
    if (status == RNNRT_OK) status = rnnrt_model_init(malloc(n), n, blob, len, &s->model);
    if (status == RNNRT_OK) status = rnnrt_state_size(s->model, MAX_TIME, BATCH, &n);
    if (status == RNNRT_OK) status = rnnrt_state_init(malloc(n), n, s->model, MAX_TIME, BATCH, &s->state);
    if (status != RNNRT_OK) stop(path, (int)status);
    if (rnnrt_model_inputs(s->model) > MAX_PORTS || rnnrt_model_outputs(s->model) > MAX_PORTS) stop(path, -1);
    for (uint32_t i = 0; i < rnnrt_model_inputs(s->model); i++) {
        rnnrt_info info;
        rnnrt_model_input(s->model, i, &info);
        if (elements(&info, rnnrt_model_has_time(s->model)) > ROOM) stop(path, -1);
        s->in[i] = input;
    }
    for (uint32_t i = 0; i < rnnrt_model_outputs(s->model); i++) {
        rnnrt_info info;
        rnnrt_model_output(s->model, i, &info);
        if (elements(&info, rnnrt_model_has_time(s->model)) > ROOM) stop(path, -1);
        s->out[i] = output[i];
    }
}

/* One or two streams in the state's memory; a model with a fixed batch takes one. */
static rnnrt_status together(const subject *s, uint32_t n, uint32_t time) {
    static float memory[BATCH][ROOM];
    void *const streams[BATCH] = {memory[0], memory[1]};
    size_t bytes;
    rnnrt_status status = rnnrt_stream_size(s->model, &bytes);
    if (status == RNNRT_OK && bytes > sizeof memory[0]) status = RNNRT_ERR_MEMORY;
    for (uint32_t i = 0; i < n && status == RNNRT_OK; i++) status = rnnrt_stream_init(s->model, streams[i]);
    if (status == RNNRT_OK) status = rnnrt_run_streams(s->state, streams, n, s->in, s->out, time);
    return status == RNNRT_ERR_SHAPE && n > 1 ? RNNRT_OK : status;
}

/* Everything that may happen between rnnrt_state_init and the end of a stream. */
static rnnrt_status use(const subject *s) {
    rnnrt_status status = RNNRT_OK;
    for (uint32_t round = 0; round < ROUNDS && status == RNNRT_OK; round++) {
        status = rnnrt_step(s->state, s->in, s->out);
        if (status == RNNRT_OK) status = rnnrt_run(s->state, s->in, s->out, round % (MAX_TIME + 1));
        for (uint32_t i = 0; i < rnnrt_model_states(s->model) && status == RNNRT_OK; i++) {
            rnnrt_info info;
            size_t bytes;
            status = rnnrt_model_state(s->model, i, &info);
            bytes = elements(&info, 1) * sizeof(float);
            if (status == RNNRT_OK) status = rnnrt_state_get(s->state, i, variable, bytes);
            if (status == RNNRT_OK) status = rnnrt_state_set(s->state, i, variable, bytes);
        }
        if (status == RNNRT_OK) status = together(s, 1 + round % 2, round % 3);
        if (round == ROUNDS / 2) rnnrt_reset(s->state);
    }
    return status;
}

static void provoke(const char *what) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    void *volatile p;
    if (strcmp(what, "syscall") == 0) syscall(SYS_getpid);
    if (strcmp(what, "lock") == 0) pthread_mutex_lock(&mutex);
    if (strcmp(what, "malloc") == 0) {
        p = malloc(1);
        free(p);
    }
}

/* stdio may make other calls than write. */
static void say(const char *text) {
    if (write(STDOUT_FILENO, text, strlen(text)) < 0) syscall(SYS_exit, 2);
}

int main(int argc, char **argv) {
    static subject subjects[MAX_MODELS];
    const int provoked = argc > 2 && strcmp(argv[1], "--provoke") == 0;
    const int first = provoked ? 3 : 1;
    const int models = argc - first;
    rnnrt_status status = RNNRT_OK;
    if (models < 1 || models > MAX_MODELS) stop("expected 1 to 16 models", -1);
    for (size_t i = 0; i < ROOM; i++) input[i] = (float)((i * 37u) % 101u) / 50.0f - 1.0f;
    for (int i = 0; i < models; i++) prepare(&subjects[i], argv[first + i]);
    allocations = locks = 0;
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) stop("seccomp", -1);
    if (provoked) provoke(argv[2]);
    for (int i = 0; i < models && status == RNNRT_OK; i++) {
        status = use(&subjects[i]);
        say(status == RNNRT_OK ? "used " : "failed ");
        say(argv[first + i]);
        say("\n");
    }
    if (allocations) say("allocations\n");
    if (locks) say("locks\n");
    /* exit and _exit call exit_group, which strict mode does not know */
    syscall(SYS_exit, status != RNNRT_OK ? 2 : allocations || locks);
    return 2;
}
