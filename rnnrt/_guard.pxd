"""One thread at a time may be inside a stream."""


cdef extern from *:
    """
    /* Under the GIL a plain flag is enough, since no other thread runs between the test and the assignment; without it
     * (free-threaded Python) they are one atomic exchange. */
    #ifdef Py_GIL_DISABLED
    #include <stdatomic.h>
    typedef atomic_int rnnrt_guard;
    static inline int rnnrt_try_enter(rnnrt_guard *busy) {
        return !atomic_exchange_explicit(busy, 1, memory_order_acquire);
    }
    static inline void rnnrt_leave(rnnrt_guard *busy) { atomic_store_explicit(busy, 0, memory_order_release); }
    #else
    typedef int rnnrt_guard;
    static inline int rnnrt_try_enter(rnnrt_guard *busy) {
        const int was_free = !*busy;
        *busy = 1;
        return was_free;
    }
    static inline void rnnrt_leave(rnnrt_guard *busy) { *busy = 0; }
    #endif
    """
    ctypedef int rnnrt_guard
    bint rnnrt_try_enter(rnnrt_guard *busy) noexcept nogil
    void rnnrt_leave(rnnrt_guard *busy) noexcept nogil
