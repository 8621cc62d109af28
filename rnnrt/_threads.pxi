# Included by _rnnrt.pyx: threads that a model or a stream divides its large layers among.

cdef extern from "threads.h" nogil:
    ctypedef struct rnnrt_pool:
        pass
    rnnrt_pool *rnnrt_pool_new(uint32_t threads)
    void rnnrt_pool_free(rnnrt_pool *pool)
    void rnnrt_pool_run(void *context, uint32_t parts, rnnrt_work work, void *job) noexcept
    uint32_t rnnrt_pool_workers(const rnnrt_pool *pool)


cdef class Pool:
    """Threads to share the work of a step. They start with the first layer that is worth it and end with this object."""

    cdef readonly uint32_t threads
    cdef rnnrt_pool *pool

    def __cinit__(self, uint32_t threads):
        self.threads = threads
        self.pool = rnnrt_pool_new(threads)
        if self.pool == NULL:
            raise MemoryError(f"{threads} threads")

    def __dealloc__(self):
        rnnrt_pool_free(self.pool)

    @property
    def workers(self):
        """Threads that run now, beside the one that calls."""
        return rnnrt_pool_workers(self.pool)
