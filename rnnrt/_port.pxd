"""What arrives at an input or leaves an output of a stream: the shape of a frame, and whether an array has it."""

from libc.stdint cimport uint32_t
cimport numpy as cnp

from rnnrt._rnnrt cimport (
    RNNRT_DIM_BATCH, RNNRT_DIM_TIME, RNNRT_F32, RNNRT_MAX_RANK,
    rnnrt_info, rnnrt_model, rnnrt_model_has_time, rnnrt_status,
)

ctypedef rnnrt_status (*info_getter)(const rnnrt_model *, uint32_t, rnnrt_info *) noexcept nogil

cdef struct Port:
    bint timed               # a frame per time step follows another; else one array for the whole call
    int type                 # numpy's number of the dtype
    int ndim                 # of a frame: the axes other than time
    cnp.npy_intp dims[RNNRT_MAX_RANK]
    int core_ndim            # of a frame without its axes of length 1
    cnp.npy_intp core_dims[RNNRT_MAX_RANK]
    Py_ssize_t bytes         # of a frame


cdef inline void set_port(Port *port, const rnnrt_model *model, info_getter get, uint32_t i, uint32_t batch) noexcept:
    """The i-th input or output with this batch. Fits in memory: rnnrt_state_size has said so."""
    cdef rnnrt_info info
    cdef uint32_t axis
    cdef cnp.npy_intp dim
    get(model, i, &info)
    port.timed = not rnnrt_model_has_time(model)
    port.type = cnp.NPY_FLOAT32 if info.dtype == RNNRT_F32 else cnp.NPY_INT32
    port.ndim = port.core_ndim = 0
    port.bytes = 4
    for axis in range(info.ndim):
        if info.dims[axis] == RNNRT_DIM_TIME:
            port.timed = True
            continue
        dim = batch if info.dims[axis] == RNNRT_DIM_BATCH else info.dims[axis]
        port.dims[port.ndim] = dim
        port.ndim += 1
        port.bytes *= dim
        if dim != 1:
            port.core_dims[port.core_ndim] = dim
            port.core_ndim += 1


cdef inline bint is_frame(object x, const Port *port, int flags) noexcept:
    """Is x an ndarray that can be used as it is, of the frame's shape but for axes of length 1?"""
    cdef int i, axis = 0
    if not isinstance(x, cnp.ndarray):
        return False
    cdef cnp.ndarray a = <cnp.ndarray>x
    if cnp.PyArray_TYPE(a) != port.type or not cnp.PyArray_CHKFLAGS(a, flags) or not cnp.PyArray_ISNOTSWAPPED(a):
        return False
    cdef cnp.npy_intp *dims = cnp.PyArray_DIMS(a)
    for i in range(cnp.PyArray_NDIM(a)):
        if dims[i] != 1:
            if axis == port.core_ndim or dims[i] != port.core_dims[axis]:
                return False
            axis += 1
    return axis == port.core_ndim
