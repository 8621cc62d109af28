# cython: language_level=3, auto_pickle=False, autotestdict=False
"""Owns the memory of models and streams and hands pointers to the C library; `rnnrt.model` is the public face."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport int64_t
from libc.string cimport memcpy
cimport numpy as cnp

from rnnrt._guard cimport rnnrt_guard, rnnrt_leave, rnnrt_try_enter
from rnnrt._port cimport Port, info_getter, is_frame, set_port
from rnnrt.errors import ModelFormatError, RnnrtError, UnsupportedError

cnp.import_array()

__version__ = RNNRT_VERSION.decode()

# The GIL is released for calls that go through at least so many bytes of model: a core streams weights at 30 to 100
# bytes per ns, so that this is 2.5 to 9 us. Below, giving the GIL away and taking it back would cost a fair part of it.
cdef double RELEASE_BYTES = 262144


cdef int check(rnnrt_status status, bint loading=False) except -1:
    """Raise what a status means: about a file (loading) or about a call."""
    if status == RNNRT_OK:
        return 0
    text = rnnrt_strerror(status).decode()
    if status in (RNNRT_ERR_OPERATOR, RNNRT_ERR_ISA, RNNRT_ERR_NOT_STREAMABLE):
        raise UnsupportedError(text)
    if loading:
        raise ModelFormatError(text)
    if status in (RNNRT_ERR_ARGUMENT, RNNRT_ERR_SHAPE, RNNRT_ERR_OVERFLOW):
        raise ValueError(text)
    raise RnnrtError(text)


include "_about.pxi"


include "_threads.pxi"


cdef class ModelCore:
    """A loaded model: the blob it points into, and the C library's memory for it. Immutable."""

    cdef readonly Pool pool  # who helps its streams
    cdef Py_buffer view
    cdef void *mem
    cdef rnnrt_model *model

    def __cinit__(self, blob, isa=None, Pool pool=None):
        cdef size_t n
        cdef rnnrt_status status
        self.pool = pool
        PyObject_GetBuffer(blob, &self.view, PyBUF_SIMPLE)
        with nogil:  # reads the whole blob
            status = rnnrt_model_size(self.view.buf, self.view.len, &n)
        check(status, loading=True)
        self.mem = PyMem_RawMalloc(n)
        if self.mem == NULL:
            raise MemoryError(f"{n} bytes for a model")
        with nogil:
            status = rnnrt_model_init(self.mem, n, self.view.buf, self.view.len, &self.model)
        check(status, loading=True)
        if isa is not None and rnnrt_model_use_isa(self.model, isa.encode()) != RNNRT_OK:
            raise UnsupportedError(f"isa {isa!r}: this build on this CPU has {', '.join(isas())}")

    def __dealloc__(self):
        PyMem_RawFree(self.mem)
        PyBuffer_Release(&self.view)

    @property
    def isa(self):
        """Instruction set in use, for example ``"avx2"``; every one gives the same bits."""
        return rnnrt_model_isa(self.model).decode()

    @property
    def streamable(self):
        """Whether frames can be stepped through one by one; ``stream`` says why where they cannot."""
        return rnnrt_model_streamable(self.model) != 0

    @property
    def has_time(self):
        """Whether an input has a time axis; where none has, a time step is one evaluation of the graph."""
        return rnnrt_model_has_time(self.model) != 0

    @property
    def nbytes(self):
        """Bytes of the model file."""
        return self.view.len

    def _sizes(self, uint32_t max_time, uint32_t batch):
        """Bytes that rnnrt_model_init and rnnrt_state_init need here."""
        cdef size_t model_bytes, state_bytes
        check(rnnrt_model_size(self.view.buf, self.view.len, &model_bytes))
        check(rnnrt_state_size(self.model, max_time, batch, &state_bytes))
        return model_bytes, state_bytes

    def _blob(self):
        """A copy of the model file's bytes."""
        return (<const char *>self.view.buf)[:self.view.len]

    def _meta(self):
        """The converter's JSON."""
        cdef size_t n = 0
        cdef const char *text = rnnrt_model_meta(self.model, &n)
        return text[:n] if n else b""

    def _infos(self):
        """(name, dims, dtype number) of all inputs, of all outputs and of all state variables."""
        return (
            describe(self.model, rnnrt_model_input, rnnrt_model_inputs(self.model)),
            describe(self.model, rnnrt_model_output, rnnrt_model_outputs(self.model)),
            describe(self.model, rnnrt_model_state, rnnrt_model_states(self.model)),
        )


cdef class StreamCore:
    """A state of a model for `batch` signals, at most `max_time` steps per call of the C library, and who helps."""

    cdef readonly ModelCore core
    cdef readonly uint32_t max_time, batch
    cdef readonly Pool pool
    cdef void *mem
    cdef rnnrt_state *state   # NULL: closed
    cdef rnnrt_guard busy
    cdef bint simple, release # one input and one output; give the GIL away in a step
    cdef uint32_t n_in, n_out
    cdef Port *ports          # [n_in + n_out]
    cdef char **at            # [n_in + n_out]: pointers of the call under way

    def __cinit__(self, ModelCore model not None, uint32_t max_time, uint32_t batch, Pool pool=None):
        cdef size_t n
        cdef uint32_t i
        check(rnnrt_state_size(model.model, max_time, batch, &n))
        self.core, self.max_time, self.batch = model, max_time, batch
        self.n_in, self.n_out = rnnrt_model_inputs(model.model), rnnrt_model_outputs(model.model)
        self.simple = self.n_in == 1 and self.n_out == 1
        self.release = <double>model.view.len * batch >= RELEASE_BYTES
        self.mem = PyMem_RawMalloc(n)
        self.ports = <Port *>PyMem_RawCalloc(self.n_in + self.n_out + 1, sizeof(Port))
        self.at = <char **>PyMem_RawCalloc(self.n_in + self.n_out + 1, sizeof(char *))
        if self.mem == NULL or self.ports == NULL or self.at == NULL:
            raise MemoryError(f"{n} bytes for a stream")
        for i in range(self.n_in):
            set_port(&self.ports[i], model.model, rnnrt_model_input, i, batch)
        for i in range(self.n_out):
            set_port(&self.ports[self.n_in + i], model.model, rnnrt_model_output, i, batch)
        check(rnnrt_state_init(self.mem, n, model.model, max_time, batch, &self.state))
        self.pool = pool
        if pool is not None:
            check(rnnrt_state_parallel(self.state, pool.threads, rnnrt_pool_run, pool.pool))

    def __dealloc__(self):
        PyMem_RawFree(self.mem)
        PyMem_RawFree(self.ports)
        PyMem_RawFree(self.at)

    cdef int enter(self) except -1:
        """Every use of the state stands between enter and rnnrt_leave."""
        if not rnnrt_try_enter(&self.busy):
            raise RnnrtError("this stream is in use by another thread: give each its own, by model.stream() or clone()")
        if self.state == NULL:
            rnnrt_leave(&self.busy)
            raise RnnrtError("this stream is closed")

    def step(self, frame, out=None):
        """Advance by one time step.

        Parameters
        ----------
        frame : array-like or dict of str to array-like
            Shape of the model's input without its time axis; axes of length 1 may be left out or added. float32 (int32
            where the model says so); other than C-contiguous arrays are copied. Several inputs: a dict by name.
        out : ndarray or dict of str to ndarray, optional
            Where the result goes: C-contiguous and writable. With it nothing is allocated.

        Returns
        -------
        ndarray or dict of str to ndarray
            `out`, or a new array of the output's shape without its time axis. Several outputs: a dict by name.

        Raises
        ------
        TypeError, ValueError, RnnrtError
            Another dtype or shape, an `out` that can't be written to, a closed stream, another thread in it.
            Nothing has happened then.
        """
        cdef Port *ports = self.ports
        if not self.simple or not is_frame(frame, &ports[0], cnp.NPY_ARRAY_CARRAY_RO):
            return self._step_any(frame, out)
        if out is None:
            out = cnp.PyArray_EMPTY(ports[1].ndim, ports[1].dims, ports[1].type, 0)
        elif not is_frame(out, &ports[1], cnp.NPY_ARRAY_CARRAY):
            return self._step_any(frame, out)
        cdef const void *x = cnp.PyArray_DATA(<cnp.ndarray>frame)
        cdef void *y = cnp.PyArray_DATA(<cnp.ndarray>out)
        cdef rnnrt_status status
        self.enter()
        if self.release:
            with nogil:
                status = rnnrt_step(self.state, &x, &y)
        else:
            status = rnnrt_step(self.state, &x, &y)
        rnnrt_leave(&self.busy)
        check(status)
        return out

    def _step_any(self, frame, out):
        """`step` for everything that has to be looked at more closely; `rnnrt.model.Stream` knows how."""
        raise NotImplementedError

    cdef rnnrt_status advance(self, Py_ssize_t time) noexcept nogil:
        """From self.at, in chunks of max_time; arrays with a time axis hold frame after frame."""
        cdef uint32_t i, n
        cdef rnnrt_status status
        while True:
            n = <uint32_t>min(time, <Py_ssize_t>self.max_time)
            status = rnnrt_run(self.state, <const void *const *>self.at, <void *const *>(self.at + self.n_in), n)
            time -= n
            if status != RNNRT_OK or time == 0:
                return status
            for i in range(self.n_in + self.n_out):
                self.at[i] += n * self.ports[i].bytes if self.ports[i].timed else 0

    cdef int point(self, tuple arrays, Py_ssize_t time) except -1:
        """Enter, and set self.at to C-contiguous arrays of `time` time steps: the inputs, then the outputs."""
        cdef uint32_t i
        cdef cnp.ndarray a
        if len(arrays) != self.n_in + self.n_out or time < 0:
            raise ValueError(f"{len(arrays)} arrays for {self.n_in} inputs and {self.n_out} outputs, {time} steps")
        for i, a in enumerate(arrays):
            if (not cnp.PyArray_CHKFLAGS(a, cnp.NPY_ARRAY_CARRAY_RO if i < self.n_in else cnp.NPY_ARRAY_CARRAY)
                    or cnp.PyArray_NBYTES(a) != self.ports[i].bytes * (time if self.ports[i].timed else 1)):
                raise ValueError(f"array {i}: not C-contiguous and writable, or wrong size: {a.nbytes} bytes")
        self.enter()
        for i in range(self.n_in + self.n_out):
            self.at[i] = cnp.PyArray_BYTES(<cnp.ndarray>arrays[i])
        return 0

    def _run(self, tuple arrays not None, Py_ssize_t time):
        """`time` time steps over C-contiguous arrays: the inputs, then the outputs."""
        cdef rnnrt_status status
        self.point(arrays, time)
        if <double>self.core.view.len * self.batch * time >= RELEASE_BYTES:
            with nogil:
                status = self.advance(time)
        else:
            status = self.advance(time)
        rnnrt_leave(&self.busy)
        check(status)

    def _exchange(self, tuple arrays not None, bint into_state):
        """Copy the state variables into arrays, one each, or the other way round."""
        cdef uint32_t i
        cdef cnp.ndarray a
        cdef size_t n
        self.enter()
        try:
            for i, a in enumerate(arrays):
                n = cnp.PyArray_NBYTES(a) if cnp.PyArray_IS_C_CONTIGUOUS(a) else 0  # 0: refused
                check(rnnrt_state_set(self.state, i, cnp.PyArray_DATA(a), n) if into_state
                      else rnnrt_state_get(self.state, i, cnp.PyArray_DATA(a), n))
        finally:
            rnnrt_leave(&self.busy)

    def reset(self):
        """Back to the initial state."""
        self.enter()
        rnnrt_reset(self.state)
        rnnrt_leave(&self.busy)

    def close(self):
        """Give the memory back; any later use raises RnnrtError. Closing twice is allowed."""
        if self.state != NULL:
            self.enter()
            self.state = NULL
            PyMem_RawFree(self.mem)
            self.mem = NULL
            rnnrt_leave(&self.busy)

    def _swap(self, StreamCore other not None):
        """Exchange memory with a stream of the same model, batch and pool that nobody else knows."""
        self.enter()
        self.mem, other.mem = other.mem, self.mem
        self.state, other.state = other.state, self.state
        self.max_time, other.max_time = other.max_time, self.max_time
        rnnrt_leave(&self.busy)

    @property
    def arena(self):
        """Bytes of working memory: tensors between operators, and scratch."""
        self.enter()
        n = rnnrt_state_arena(self.state)
        rnnrt_leave(&self.busy)
        return n


include "_profile.pxi"
include "_streams.pxi"
