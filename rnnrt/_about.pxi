# Included by _rnnrt.pyx: what the C library tells about itself and about a model.


def isas():
    """Instruction sets that this build can use on this CPU, best first."""
    found = []
    while rnnrt_isa(len(found)) != NULL:
        found.append(rnnrt_isa(len(found)).decode())
    return found


def operators():
    """Operators of this build: (code, ONNX name, names of the integer attributes, names of the float attributes)."""
    cdef uint32_t code
    cdef const char *name
    cdef const char *ints
    cdef const char *floats
    found = []
    while (name := rnnrt_operator(len(found), &code, &ints, &floats)) != NULL:
        found.append((code, name.decode(), tuple(ints.decode().split()), tuple(floats.decode().split())))
    return found


cdef list describe(const rnnrt_model *model, info_getter get, uint32_t count):
    cdef rnnrt_info info
    found = []
    for i in range(count):
        get(model, i, &info)
        dims = []
        for d in info.dims[:info.ndim]:  # no comprehension: where its list can't grow, Cython 3.3 frees an element twice
            dims.append(d)
        found.append((info.name.decode(errors="backslashreplace"), tuple(dims), info.dtype))
    return found
