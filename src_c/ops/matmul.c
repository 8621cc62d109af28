/* MatMul of two data tensors, numpy.matmul's semantics: batch dimensions broadcast, 1-d is a row or a column.
 *
 * Each element of Y is +0 + a[0] * b[0] + a[1] * b[1] + ... in ascending order of k, every product and sum rounded. */
#include "../kernels/float_exact.h"

#include <string.h>

#include "op.h"

#define TILE 256u /* products at once: 1 KiB of stack */

/* An operand as matrices: [batch dims..., rows, cols]. */
typedef struct operand {
    const float *data;
    uint32_t rows, cols;
    uint32_t batch[RNNRT_MAX_RANK]; /* aligned to the right end: batch[RNNRT_MAX_RANK - 1] is the innermost */
} operand;

static operand operand_of(const rnnrt_tensor *t, int left) {
    operand v = {(const float *)t->data, 1, 1, {1, 1, 1, 1, 1, 1}};
    uint32_t batches = 0;
    if (t->ndim == 1) {
        *(left ? &v.cols : &v.rows) = t->dims[0];
    } else {
        batches = t->ndim - 2u;
        v.rows = t->dims[batches];
        v.cols = t->dims[batches + 1u];
    }
    for (uint32_t i = 0; i < batches; i++) { v.batch[RNNRT_MAX_RANK - batches + i] = t->dims[i]; }
    return v;
}

static rnnrt_status check(const rnnrt_call *call) {
    const rnnrt_node *node = call->node;
    const int bad = node->ints != 0 || node->floats != 0 || node->refs[0] == RNNRT_NONE ||
                    node->refs[1] == RNNRT_NONE || node->refs[node->inputs] == RNNRT_NONE;
    return bad ? RNNRT_ERR_FORMAT : RNNRT_OK;
}

static int is_operand(const rnnrt_tensor *t) {
    return t->dtype == RNNRT_F32 && t->layout == RNNRT_PLAIN && t->ndim >= 1;
}

static rnnrt_status shape(const rnnrt_call *call) {
    const rnnrt_tensor *a = call->in[0], *b = call->in[1];
    if (!is_operand(a) || !is_operand(b)) { return RNNRT_ERR_SHAPE; }
    const operand va = operand_of(a, 1), vb = operand_of(b, 0);
    if (va.cols != vb.rows) { return RNNRT_ERR_SHAPE; }
    uint32_t dims[RNNRT_MAX_RANK] = {0}, ndim = 0;
    const uint32_t rank_a = a->ndim > 2 ? a->ndim - 2u : 0, rank_b = b->ndim > 2 ? b->ndim - 2u : 0;
    const uint32_t batches = rank_a > rank_b ? rank_a : rank_b; /* <= 4 */
    for (uint32_t i = RNNRT_MAX_RANK - batches; i < RNNRT_MAX_RANK; i++) {
        if (va.batch[i] != vb.batch[i] && va.batch[i] != 1 && vb.batch[i] != 1) { return RNNRT_ERR_SHAPE; }
        dims[ndim++] = va.batch[i] == 1 ? vb.batch[i] : va.batch[i];
    }
    if (a->ndim > 1) { dims[ndim++] = va.rows; }
    if (b->ndim > 1) { dims[ndim++] = vb.cols; }
    return rnnrt_shape_set(call->out[0], dims, ndim);
}

/* y [m][n] = a [m][k] * b [k][n]. The kernels multiply and add apart, so that no compiler can fuse the two. */
static void multiply(const rnnrt_kernels *kernels, uint32_t m, uint32_t n, uint32_t k, const float *a, const float *b,
                     float *y) {
    float product[TILE];
    for (size_t i = 0; i < m; i++, a += k, y += n) {
        for (size_t j = 0; j < n; j += TILE) {
            const size_t width = n - j < TILE ? n - j : TILE;
            memset(y + j, 0, width * sizeof(float));
            for (size_t c = 0; c < k; c++) {
                kernels->binary(RNNRT_MUL, a + c, 0, b + c * n + j, 1, product, width);
                kernels->binary(RNNRT_ADD, y + j, 1, product, 1, y + j, width);
            }
        }
    }
}

/* The same for n = 1: y [m] = a [m][k] . b [k]. */
static void multiply_column(const rnnrt_kernels *kernels, uint32_t m, uint32_t k, const float *a, const float *b,
                            float *y) {
    float product[TILE];
    for (size_t i = 0; i < m; i++, a += k) {
        float sum = 0;
        for (size_t c = 0; c < k; c += TILE) {
            const size_t width = k - c < TILE ? k - c : TILE;
            kernels->binary(RNNRT_MUL, a + c, 1, b + c, 1, product, width);
            for (size_t l = 0; l < width; l++) { sum += product[l]; }
        }
        y[i] = sum;
    }
}

static void run(const rnnrt_call *call) {
    const operand a = operand_of(call->in[0], 1), b = operand_of(call->in[1], 0);
    const size_t size_a = (size_t)a.rows * a.cols, size_b = (size_t)b.rows * b.cols, size_y = (size_t)a.rows * b.cols;
    if (call->out[0]->elements == 0) {
        return; /* some dimension is 0; the loop below counts matrices, of which there may be 0 */
    }
    float *y = (float *)call->out[0]->data;
    uint32_t at[RNNRT_MAX_RANK] = {0};
    for (;;) {
        size_t i_a = 0, i_b = 0; /* which matrix of a and of b */
        for (uint32_t d = 0; d < RNNRT_MAX_RANK; d++) {
            i_a = i_a * a.batch[d] + (a.batch[d] == 1 ? 0 : at[d]);
            i_b = i_b * b.batch[d] + (b.batch[d] == 1 ? 0 : at[d]);
        }
        if (b.cols == 1) {
            multiply_column(call->k, a.rows, a.cols, a.data + i_a * size_a, b.data + i_b * size_b, y);
        } else {
            multiply(call->k, a.rows, b.cols, a.cols, a.data + i_a * size_a, b.data + i_b * size_b, y);
        }
        y += size_y;
        uint32_t d = RNNRT_MAX_RANK;
        while (d-- > 0) { /* the next index, the innermost dimension fastest */
            if (++at[d] < (a.batch[d] == 1 ? b.batch[d] : a.batch[d])) { break; }
            at[d] = 0;
        }
        if (d > RNNRT_MAX_RANK) { /* d wrapped below 0: every dimension has been through */
            return;
        }
    }
}

const rnnrt_op rnnrt_op_matmul = {
    .code = 11,
    .min_in = 2,
    .max_in = 2,
    .min_out = 1,
    .max_out = 1,
    .name = "MatMul",
    .ints = "",
    .floats = "",
    .check = check,
    .shape = shape,
    .run = run,
};
