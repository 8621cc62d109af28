# Included by _rnnrt.pyx: many streams that come and go, stepped together.

cdef extern from "slots.h" nogil:
    ctypedef struct rnnrt_slots:
        size_t bytes
        uint32_t capacity, used
        void **selected
    void rnnrt_slots_init(rnnrt_slots *slots, size_t bytes)
    int rnnrt_slots_reserve(rnnrt_slots *slots, uint32_t capacity)
    void rnnrt_slots_free(rnnrt_slots *slots)
    int64_t rnnrt_slots_next(const rnnrt_slots *slots)
    void *rnnrt_slots_take(rnnrt_slots *slots)
    void *rnnrt_slots_at(const rnnrt_slots *slots, int64_t handle)
    void rnnrt_slots_give(rnnrt_slots *slots, int64_t handle)
    int64_t rnnrt_slots_handle(const rnnrt_slots *slots, uint32_t slot)
    size_t rnnrt_slots_select(rnnrt_slots *slots, const int64_t *handles, size_t n)


cdef class StreamBatchCore:
    """What each of many streams remembers, and one state that runs any of them as the rows of a batch."""

    cdef StreamCore work   # batch: the capacity
    cdef rnnrt_guard busy
    cdef rnnrt_slots slots
    cdef uint32_t rows     # what work.ports stand at

    def __cinit__(self, ModelCore model not None, uint32_t capacity, Pool pool=None):
        cdef size_t n
        check(rnnrt_stream_size(model.model, &n))
        rnnrt_slots_init(&self.slots, n)
        self.work = StreamCore(model, 1, capacity, pool)
        if not rnnrt_slots_reserve(&self.slots, capacity):
            raise MemoryError(f"{capacity} streams of {n} bytes")

    def __dealloc__(self):
        rnnrt_slots_free(&self.slots)

    @property
    def core(self):
        """The model."""
        return self.work.core

    @property
    def capacity(self):
        """Streams that there is room for; `add` makes more."""
        return self.slots.capacity

    @property
    def handles(self):
        """Handles of all streams, in no particular order."""
        cdef int64_t handle
        found = []
        self.enter()
        try:
            for i in range(self.slots.capacity):
                handle = rnnrt_slots_handle(&self.slots, i)
                if handle >= 0:
                    found.append(handle)
        finally:
            rnnrt_leave(&self.busy)
        return found

    def __len__(self):
        return self.slots.used

    cdef int enter(self) except -1:
        if not rnnrt_try_enter(&self.busy):
            raise RnnrtError("these streams are in use by another thread")

    cdef void *memory(self, handle) except NULL:
        cdef void *found = rnnrt_slots_at(&self.slots, handle)
        if found == NULL:
            raise ValueError(f"there is no stream {handle}")
        return found

    def _add(self, cnp.ndarray bytes=None):
        """A new stream at the initial state or with these bytes. May grow, which moves memory but changes no stream."""
        cdef StreamCore larger
        cdef void *stream
        cdef object handle
        self.enter()
        try:
            if self.slots.used == self.slots.capacity:
                larger = StreamCore(self.work.core, 1, 2 * self.slots.capacity, self.work.pool)
                if not rnnrt_slots_reserve(&self.slots, larger.batch):
                    raise MemoryError(f"{larger.batch} streams of {self.slots.bytes} bytes")
                self.work, self.rows = larger, 0
            handle = rnnrt_slots_next(&self.slots)  # made an object here: behind it nothing can fail
            stream = rnnrt_slots_take(&self.slots)
            rnnrt_stream_init(self.work.core.model, stream)
            if bytes is not None:
                memcpy(stream, cnp.PyArray_DATA(bytes), min(<size_t>cnp.PyArray_NBYTES(bytes), self.slots.bytes))
        finally:
            rnnrt_leave(&self.busy)
        return handle

    def remove(self, handle):
        """Forget a stream; its handle is never used again."""
        self.enter()
        try:
            self.memory(handle)
            rnnrt_slots_give(&self.slots, handle)
        finally:
            rnnrt_leave(&self.busy)

    def reset(self, handle):
        """Back to the initial state."""
        self.enter()
        try:
            rnnrt_stream_init(self.work.core.model, self.memory(handle))
        finally:
            rnnrt_leave(&self.busy)

    def _exchange(self, handle, cnp.ndarray bytes not None, bint into_stream):
        """Copy a stream's memory into an array of as many bytes, or the other way round."""
        self.enter()
        try:
            if <size_t>cnp.PyArray_NBYTES(bytes) > self.slots.bytes or not cnp.PyArray_IS_C_CONTIGUOUS(bytes):
                raise ValueError(f"expected at most {self.slots.bytes} contiguous bytes")
            if into_stream:
                memcpy(self.memory(handle), cnp.PyArray_DATA(bytes), cnp.PyArray_NBYTES(bytes))
            else:
                memcpy(cnp.PyArray_DATA(bytes), self.memory(handle), cnp.PyArray_NBYTES(bytes))
        finally:
            rnnrt_leave(&self.busy)

    cdef int select(self, cnp.ndarray handles) except -1:
        """These streams, and the shapes of arrays for so many."""
        cdef StreamCore w = self.work
        cdef const rnnrt_model *model = w.core.model
        cdef size_t n = cnp.PyArray_SIZE(handles)
        cdef size_t known
        cdef uint32_t i
        known = rnnrt_slots_select(&self.slots, <const int64_t *>cnp.PyArray_DATA(handles), n)
        if known != n:
            handle = handles.flat[known]
            fault = "comes twice" if handle in handles.flat[:known] else "is not there"
            raise ValueError(f"stream {handle} {fault}")
        if n != self.rows:
            for i in range(w.n_in):
                set_port(&w.ports[i], model, rnnrt_model_input, i, n)
            for i in range(w.n_out):
                set_port(&w.ports[w.n_in + i], model, rnnrt_model_output, i, n)
            self.rows = n
        return 0

    def step(self, handles, frames, out=None):
        """Advance some of the streams by one time step, together: each gets the bits that it would get alone.

        Parameters
        ----------
        handles : sequence of int or ndarray of int64 [n]
            Which streams, in any order, none of them twice.
        frames : array-like or dict of str to array-like
            Shape of the model's input without its time axis and with a batch of n, in the order of `handles`. Dtypes
            and copies: as in `Stream.step`.
        out : ndarray or dict of str to ndarray, optional
            Where the result goes. With it, and `handles` as a contiguous array of int64, nothing is allocated.

        Returns
        -------
        ndarray or dict of str to ndarray
            `out`, or a new array of the output's shape without its time axis and with a batch of n.

        Raises
        ------
        TypeError, ValueError, RnnrtError
            An unknown or repeated handle, or as in `Stream.step`. No stream has advanced then.
        """
        cdef StreamCore w
        cdef cnp.ndarray a
        cdef uint32_t i
        cdef rnnrt_status status = RNNRT_OK
        if not (isinstance(handles, cnp.ndarray) and cnp.PyArray_TYPE(<cnp.ndarray>handles) == cnp.NPY_INT64
                and cnp.PyArray_CHKFLAGS(<cnp.ndarray>handles, cnp.NPY_ARRAY_CARRAY_RO)):
            handles = self._handles(handles)
        self.enter()
        w = self.work
        try:
            self.select(handles)
            if (w.simple and self.rows and is_frame(frames, &w.ports[0], cnp.NPY_ARRAY_CARRAY_RO)
                    and (out is None or is_frame(out, &w.ports[1], cnp.NPY_ARRAY_CARRAY))):
                if out is None:
                    out = cnp.PyArray_EMPTY(w.ports[1].ndim, w.ports[1].dims, w.ports[1].type, 0)
                w.at[0], w.at[1] = cnp.PyArray_BYTES(<cnp.ndarray>frames), cnp.PyArray_BYTES(<cnp.ndarray>out)
                arrays = None
            else:
                arrays, out = self._arrays(frames, out, self.rows)
                for i, a in enumerate(arrays):
                    w.at[i] = cnp.PyArray_BYTES(a)
            if self.rows and <double>w.core.view.len * self.rows >= RELEASE_BYTES:
                with nogil:
                    status = rnnrt_run_streams(w.state, self.slots.selected, self.rows, <const void *const *>w.at,
                                               <void *const *>(w.at + w.n_in), 1)
            elif self.rows:
                status = rnnrt_run_streams(w.state, self.slots.selected, self.rows, <const void *const *>w.at,
                                           <void *const *>(w.at + w.n_in), 1)
            check(status)
        finally:
            rnnrt_leave(&self.busy)
        return out

    def _handles(self, handles):
        """`handles` as an array."""
        raise NotImplementedError

    def _arrays(self, frames, out, n):
        """(inputs and outputs as they can be used for n streams, what to return)."""
        raise NotImplementedError
