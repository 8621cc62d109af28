/* Where: condition (I32, anything but 0 is true) ? X : Y, all three under numpy broadcasting. */
#include "registry.h"
#include "walk.h"

#include <string.h>

static rnnrt_status check(const rnnrt_call *call) { return rnnrt_check_counts(call, 0, 0, 0); }

static rnnrt_status shape(const rnnrt_call *call) {
    rnnrt_tensor pair = {0};
    rnnrt_status status = rnnrt_shape_input(call, 0, 1);
    if (status == RNNRT_OK) status = rnnrt_shape_pair(call, 1, 2, &pair);
    if (status != RNNRT_OK) return status;
    if (call->in[0]->dtype != RNNRT_I32) return RNNRT_ERR_FORMAT;
    status = rnnrt_shape_broadcast(call->out[0], call->in[0], &pair);
    if (status == RNNRT_OK) call->out[0]->dtype = pair.dtype;
    return status;
}

/* Where along the broadcast tensor t row-major element `at` of dims [0, outer) lies. */
static ptrdiff_t origin(const ptrdiff_t *steps, const uint32_t *dims, uint32_t outer, uint32_t at) {
    ptrdiff_t offset = 0;
    for (uint32_t d = outer; d-- > 0; at /= dims[d]) offset += (ptrdiff_t)(at % dims[d]) * steps[d];
    return offset;
}

static void run(const rnnrt_call *call) {
    const rnnrt_tensor *out = call->out[0];
    const uint32_t *from[3];
    ptrdiff_t steps[3][RNNRT_MAX_RANK], at[3];
    uint32_t inner = out->ndim ? out->dims[out->ndim - 1u] : 1u, outer = out->ndim ? out->ndim - 1u : 0u;
    uint32_t *y = out->data;
    if (rnnrt_shape_count(out, 0, out->ndim) == 0) return;
    for (uint32_t i = 0; i < 3; i++) {
        from[i] = call->in[i]->data;
        steps[i][0] = 0; /* of a scalar */
        rnnrt_walk_broadcast(steps[i], call->in[i], out->ndim);
    }
    for (uint32_t row = 0; row < rnnrt_shape_count(out, 0, outer); row++) {
        for (uint32_t i = 0; i < 3; i++) at[i] = origin(steps[i], out->dims, outer, row);
        for (uint32_t j = 0; j < inner; j++, y++) {
            int32_t condition;
            memcpy(&condition, from[0] + at[0], sizeof condition);
            memcpy(y, condition ? from[1] + at[1] : from[2] + at[2], sizeof *y);
            for (uint32_t i = 0; i < 3; i++) at[i] += steps[i][outer];
        }
    }
}

const rnnrt_op rnnrt_op_where = {
    .code = 70,
    .min_in = 3,
    .max_in = 3,
    .min_out = 1,
    .max_out = 1,
    .name = "Where",
    .ints = "",
    .floats = "",
    .check = check,
    .shape = shape,
    .run = run,
};
