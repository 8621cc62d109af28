"""src_c/include/rnnrt.h, declared."""

from libc.stdint cimport int32_t, uint32_t, uint64_t


cdef extern from "rnnrt.h" nogil:
    const char *RNNRT_VERSION
    enum: RNNRT_ABI_VERSION
    enum: RNNRT_MAX_RANK
    enum: RNNRT_DIM_TIME
    enum: RNNRT_DIM_BATCH

    ctypedef enum rnnrt_status:
        RNNRT_OK
        RNNRT_ERR_ARGUMENT
        RNNRT_ERR_MEMORY
        RNNRT_ERR_TRUNCATED
        RNNRT_ERR_MAGIC
        RNNRT_ERR_VERSION
        RNNRT_ERR_FEATURE
        RNNRT_ERR_CHECKSUM
        RNNRT_ERR_FORMAT
        RNNRT_ERR_OPERATOR
        RNNRT_ERR_SHAPE
        RNNRT_ERR_OVERFLOW
        RNNRT_ERR_ISA
        RNNRT_ERR_ALIGNMENT
        RNNRT_ERR_NOT_STREAMABLE

    ctypedef enum rnnrt_dtype:
        RNNRT_F32
        RNNRT_S8
        RNNRT_I32
        RNNRT_F16
        RNNRT_S4

    ctypedef struct rnnrt_model:
        pass
    ctypedef struct rnnrt_state:
        pass
    ctypedef struct rnnrt_info:
        const char *name
        int32_t dims[RNNRT_MAX_RANK]
        uint32_t ndim
        rnnrt_dtype dtype
    ctypedef struct rnnrt_node_info:
        const char *name
        const char *op
        rnnrt_dtype weights
        uint64_t weight_bytes
    ctypedef void (*rnnrt_probe)(void *context, uint32_t node) noexcept nogil
    ctypedef void (*rnnrt_work)(void *job, uint32_t part) noexcept nogil
    ctypedef void (*rnnrt_parallel)(void *context, uint32_t parts, rnnrt_work work, void *job) noexcept nogil

    rnnrt_status rnnrt_model_size(const void *blob, size_t len, size_t *bytes)
    rnnrt_status rnnrt_model_init(void *mem, size_t bytes, const void *blob, size_t len, rnnrt_model **model)
    rnnrt_status rnnrt_model_use_isa(rnnrt_model *model, const char *isa)
    const char *rnnrt_model_isa(const rnnrt_model *model)
    uint32_t rnnrt_model_inputs(const rnnrt_model *model)
    uint32_t rnnrt_model_outputs(const rnnrt_model *model)
    uint32_t rnnrt_model_states(const rnnrt_model *model)
    rnnrt_status rnnrt_model_input(const rnnrt_model *model, uint32_t i, rnnrt_info *info)
    rnnrt_status rnnrt_model_output(const rnnrt_model *model, uint32_t i, rnnrt_info *info)
    rnnrt_status rnnrt_model_state(const rnnrt_model *model, uint32_t i, rnnrt_info *info)
    uint32_t rnnrt_model_nodes(const rnnrt_model *model)
    rnnrt_status rnnrt_model_node(const rnnrt_model *model, uint32_t i, rnnrt_node_info *info)
    int rnnrt_model_streamable(const rnnrt_model *model)
    int rnnrt_model_has_time(const rnnrt_model *model)
    const char *rnnrt_model_meta(const rnnrt_model *model, size_t *len)

    const char *rnnrt_isa(uint32_t i)

    rnnrt_status rnnrt_state_size(const rnnrt_model *model, uint32_t max_time, uint32_t batch, size_t *bytes)
    rnnrt_status rnnrt_state_init(void *mem, size_t bytes, const rnnrt_model *model, uint32_t max_time, uint32_t batch,
                                  rnnrt_state **state)
    rnnrt_status rnnrt_step(rnnrt_state *state, const void *const *inputs, void *const *outputs)
    rnnrt_status rnnrt_run(rnnrt_state *state, const void *const *inputs, void *const *outputs, uint32_t time)
    void rnnrt_reset(rnnrt_state *state)
    rnnrt_status rnnrt_state_parallel(rnnrt_state *state, uint32_t threads, rnnrt_parallel parallel, void *context)
    rnnrt_status rnnrt_state_get(const rnnrt_state *state, uint32_t i, void *dst, size_t bytes)
    rnnrt_status rnnrt_state_set(rnnrt_state *state, uint32_t i, const void *src, size_t bytes)
    rnnrt_status rnnrt_stream_size(const rnnrt_model *model, size_t *bytes)
    rnnrt_status rnnrt_stream_init(const rnnrt_model *model, void *stream)
    rnnrt_status rnnrt_run_streams(rnnrt_state *state, void *const *streams, uint32_t n, const void *const *inputs,
                                   void *const *outputs, uint32_t time)
    size_t rnnrt_state_arena(const rnnrt_state *state)
    void rnnrt_state_probe(rnnrt_state *state, rnnrt_probe probe, void *context)

    const char *rnnrt_strerror(rnnrt_status status)
    uint32_t rnnrt_abi_version()
    const char *rnnrt_operator(uint32_t i, uint32_t *code, const char **ints, const char **floats)
