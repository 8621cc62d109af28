/* A few threads that divide the layers of a state among themselves; see threads.h. */
#if !defined(_WIN32) && !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200112L /* under -std=c11 */
#endif

#include "threads.h"

#include <stdatomic.h>
#include <stdlib.h>

#ifdef _WIN32
#include <windows.h>
typedef HANDLE thread;
typedef SRWLOCK mutex;
typedef CONDITION_VARIABLE condition;
#define THREAD_RESULT DWORD WINAPI
static int start(thread *t, LPTHREAD_START_ROUTINE body, void *context) {
    *t = CreateThread(NULL, 0, body, context, 0, NULL);
    return *t != NULL;
}
static void join(thread t) {
    WaitForSingleObject(t, INFINITE);
    CloseHandle(t);
}
static void lock(mutex *m) { AcquireSRWLockExclusive(m); }
static void unlock(mutex *m) { ReleaseSRWLockExclusive(m); }
static void sleep_on(condition *c, mutex *m) { SleepConditionVariableSRW(c, m, INFINITE, 0); }
static void wake_all(condition *c) { WakeAllConditionVariable(c); }
static void give_way(void) { SwitchToThread(); }
static void make(mutex *m, condition *c) {
    InitializeSRWLock(m);
    InitializeConditionVariable(c);
}
static unsigned process(void) { return 0; } /* nothing forks here */
static int watch_forks(void) { return 1; }
#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
typedef pthread_t thread;
typedef pthread_mutex_t mutex;
typedef pthread_cond_t condition;
#define THREAD_RESULT void *
/* Without signals, which are for the threads of the program. */
static int start(thread *t, void *(*body)(void *), void *context) {
    sigset_t all, before;
    int failed;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(t, NULL, body, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !failed;
}
static void join(thread t) { pthread_join(t, NULL); }
static void lock(mutex *m) { pthread_mutex_lock(m); }
static void unlock(mutex *m) { pthread_mutex_unlock(m); }
static void sleep_on(condition *c, mutex *m) { pthread_cond_wait(c, m); }
static void wake_all(condition *c) { pthread_cond_broadcast(c); }
static void give_way(void) { sched_yield(); }
static void make(mutex *m, condition *c) {
    pthread_mutex_init(m, NULL);
    pthread_cond_init(c, NULL);
}
/* How often this process has been forked off: no system call, unlike getpid(). */
static unsigned forks;
static void forked(void) { forks++; } /* in the child, which has one thread */
static unsigned process(void) { return forks; }
/* 0: no memory. Two threads at once may both register, which counts a fork twice: all that matters is that it counts. */
static int watch_forks(void) {
    static atomic_int watched;
    if (!atomic_load(&watched)) {
        if (pthread_atfork(NULL, NULL, forked)) return 0;
        atomic_store(&watched, 1);
    }
    return 1;
}
#endif

/* About 50 us and then 0.5 ms of looking out: from one step to the next when steps follow each other, or from one layer to
 * the next; a stream of 10 ms frames wakes its workers for each. */
#define SPINS 2000
#define YIELDS 1000
#define MAX_THREADS 256u

struct rnnrt_pool {
    /* What there is to claim: (number of the job << 16) + parts left. One word, so that a late worker can't claim a part
     * of a job that it has not seen. On a cache line of its own, like `done`. */
    _Alignas(64) atomic_ullong ticket;
    _Alignas(64) atomic_uint done; /* parts finished of the current job */
    _Alignas(64) atomic_int busy;  /* a caller is in rnnrt_pool_run */
    atomic_uint sleepers;
    atomic_int stop;
    rnnrt_work work; /* of the current job: written before the ticket, read after a successful claim */
    void *job;
    mutex m;
    condition c;
    uint32_t workers, running; /* wanted, started */
    unsigned process;          /* whose threads they are */
    thread threads[MAX_THREADS];
};

#if defined(__x86_64__) || defined(__i386__)
static void relax(void) { __builtin_ia32_pause(); }
#elif defined(__aarch64__)
static void relax(void) { __asm__ volatile("yield"); }
#elif defined(_WIN32)
static void relax(void) { YieldProcessor(); }
#else
static void relax(void) {}
#endif

/* Claims parts and does them until none is left. */
static void work_off(rnnrt_pool *p) {
    unsigned long long ticket = atomic_load_explicit(&p->ticket, memory_order_acquire);
    while (ticket & 0xffffu) {
        if (atomic_compare_exchange_weak_explicit(&p->ticket, &ticket, ticket - 1u, memory_order_acquire,
                                                  memory_order_acquire)) {
            p->work(p->job, (uint32_t)(ticket & 0xffffu) - 1u);
            atomic_fetch_add_explicit(&p->done, 1u, memory_order_release);
            ticket = atomic_load_explicit(&p->ticket, memory_order_acquire);
        }
    }
}

static int nothing_to_do(rnnrt_pool *p) { return !(atomic_load(&p->ticket) & 0xffffu) && !atomic_load(&p->stop); }

/* Until there is work or an end. Who publishes a ticket looks at `sleepers` afterwards, who goes to sleep counts itself
 * before it looks at the ticket, all sequentially consistent: one of them sees the other. */
static void look_out(rnnrt_pool *p) {
    for (int i = 0; i < SPINS; i++) {
        if (!nothing_to_do(p)) return;
        relax();
    }
    for (int i = 0; i < YIELDS; i++) {
        if (!nothing_to_do(p)) return;
        give_way();
    }
    lock(&p->m);
    atomic_fetch_add(&p->sleepers, 1u);
    while (nothing_to_do(p)) sleep_on(&p->c, &p->m);
    atomic_fetch_sub(&p->sleepers, 1u);
    unlock(&p->m);
}

static THREAD_RESULT worker(void *context) {
    rnnrt_pool *p = (rnnrt_pool *)context;
    for (;;) {
        look_out(p);
        if (atomic_load(&p->stop)) return 0;
        work_off(p);
    }
}

static void wake(rnnrt_pool *p) {
    if (atomic_load(&p->sleepers)) {
        lock(&p->m);
        wake_all(&p->c);
        unlock(&p->m);
    }
}

/* By the one caller inside, before a job: the workers of this very process. After a fork the old ones are not there; a
 * lock that one of them held is made anew. */
static void ready(rnnrt_pool *p) {
    const unsigned here = process();
    if (p->running == p->workers && p->process == here) return;
    if (p->process != here) {
        p->running = 0;
        p->process = here;
        atomic_store(&p->sleepers, 0u);
        make(&p->m, &p->c);
    }
    while (p->running < p->workers && start(&p->threads[p->running], worker, p)) p->running++;
    p->workers = p->running; /* where the system gives no more threads, fewer do */
}

rnnrt_pool *rnnrt_pool_new(uint32_t threads) {
    void *memory = watch_forks() ? malloc(sizeof(rnnrt_pool) + 64u + sizeof(void *)) : NULL;
    rnnrt_pool *p;
    if (!memory) return NULL;
    p = (rnnrt_pool *)(((uintptr_t)memory + sizeof(void *) + 63u) / 64u * 64u);
    ((void **)p)[-1] = memory;
    atomic_init(&p->ticket, 0u);
    atomic_init(&p->done, 0u);
    atomic_init(&p->busy, 0);
    atomic_init(&p->sleepers, 0u);
    atomic_init(&p->stop, 0);
    p->workers = (threads < MAX_THREADS ? threads : MAX_THREADS) - 1u;
    p->running = 0;
    p->process = process();
    make(&p->m, &p->c);
    return p;
}

void rnnrt_pool_free(rnnrt_pool *p) {
    if (!p) return;
    if (p->process == process()) {
        atomic_store(&p->stop, 1);
        wake(p);
        for (uint32_t i = 0; i < p->running; i++) join(p->threads[i]);
    }
    free(((void **)p)[-1]);
}

void rnnrt_pool_run(void *context, uint32_t parts, rnnrt_work work, void *job) {
    rnnrt_pool *p = (rnnrt_pool *)context;
    unsigned long long number;
    if (parts > 0xffffu || atomic_exchange_explicit(&p->busy, 1, memory_order_acquire)) {
        for (uint32_t i = 0; i < parts; i++) work(job, i);
        return;
    }
    ready(p);
    p->work = work;
    p->job = job;
    atomic_store_explicit(&p->done, 0u, memory_order_relaxed);
    number = atomic_load_explicit(&p->ticket, memory_order_relaxed) >> 16;
    atomic_store(&p->ticket, (number + 1u) << 16 | parts); /* releases the job */
    wake(p);
    work_off(p);
    for (int i = 0; atomic_load_explicit(&p->done, memory_order_acquire) != parts; i++) {
        if (i < SPINS)
            relax();
        else
            give_way();
    }
    atomic_store_explicit(&p->busy, 0, memory_order_release);
}

uint32_t rnnrt_pool_workers(const rnnrt_pool *pool) { return pool->running; }
