# Included by _rnnrt.pyx: what `rnnrt.profile` needs of the C library and of the recorder beside it.

cdef extern from "recorder.h" nogil:
    rnnrt_status recorder_run(rnnrt_state *state, uint32_t nodes, const void *const *inputs, void *const *outputs,
                              uint32_t time, int64_t *record, size_t rows, int64_t *clock_ns)


def nodes(ModelCore model not None):
    """Nodes in the order in which they run: (name, ONNX operator, dtype number of the weights or 0, bytes of weights)."""
    cdef rnnrt_node_info info
    found = []
    for i in range(rnnrt_model_nodes(model.model)):
        rnnrt_model_node(model.model, i, &info)
        found.append((info.name.decode(errors="backslashreplace"), info.op.decode(), info.weights, info.weight_bytes))
    return found


def record(StreamCore stream not None, tuple arrays not None, uint32_t time, cnp.ndarray times not None):
    """Run `time` steps (one call) 2 * len(times) times and time them.

    times: int64 [rows, nodes + 2], C-contiguous; gets nanoseconds: nodes, the rest, the whole call without a probe.
    Returns what of each node's time is the probe's own.
    """
    cdef uint32_t count = rnnrt_model_nodes(stream.core.model)
    cdef int64_t clock_ns = 0
    cdef rnnrt_status status
    if (cnp.PyArray_TYPE(times) != cnp.NPY_INT64 or not cnp.PyArray_CHKFLAGS(times, cnp.NPY_ARRAY_CARRAY)
            or cnp.PyArray_NDIM(times) != 2 or cnp.PyArray_DIMS(times)[1] != count + 2):
        raise ValueError(f"times: expected int64 [rows, {count + 2}]")
    stream.point(arrays, time)
    with nogil:
        status = recorder_run(stream.state, count, <const void *const *>stream.at,
                              <void *const *>(stream.at + stream.n_in), time, <int64_t *>cnp.PyArray_DATA(times),
                              cnp.PyArray_DIMS(times)[0], &clock_ns)
    rnnrt_leave(&stream.busy)
    check(status)
    return clock_ns
