/* A few threads that divide the layers of a state among themselves: the parallel-for that rnnrt.h asks a caller for.
 *
 * A pool has threads - 1 workers; the thread that calls is the last one. Parts are claimed one by one, so that a caller whose
 * workers are asleep or busy elsewhere does them all itself: nobody ever waits for a worker to wake up. Workers look out
 * for work for SPINS rounds, then yield for YIELDS rounds, then sleep. Nothing is allocated after pool_new.
 */
#ifndef RNNRT_THREADS_H
#define RNNRT_THREADS_H

#include "rnnrt.h"

typedef struct rnnrt_pool rnnrt_pool;

/* threads >= 2; NULL: no memory. The workers start with the first job. */
rnnrt_pool *rnnrt_pool_new(uint32_t threads);
/* Ends the workers. NULL is allowed; nobody may be in rnnrt_pool_run. */
void rnnrt_pool_free(rnnrt_pool *pool);
/* An rnnrt_parallel; context: the pool. Where another thread is in it (streams that share a pool), or where no worker can be
 * started, the caller does all parts itself. In a process forked off, workers are started anew. */
void rnnrt_pool_run(void *context, uint32_t parts, rnnrt_work work, void *job);
/* Workers that run now. */
uint32_t rnnrt_pool_workers(const rnnrt_pool *pool);

#endif
