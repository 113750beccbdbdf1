/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on rows, which threads share by whole rows. */
#include "tests/bench/subject.h"

#include "common/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct rows_data rows_data;
typedef void (*row_fn)(const rows_data *d, const choir_kernels *kernels, int64_t row,
                       int64_t iteration);

struct rows_data {
    row_fn run_row;
    int64_t n;          /* elements of a row */
    int64_t S;          /* of a head */
    float *x, *y, *out; /* [T][n], [n], [T][n] */
    choir_q8 *q8;       /* [T][n / 32] */
    choir_q15 *q15;     /* the same */
    choir_type type;    /* of the table, which the look-up alone has */
    int64_t n_table_rows;
    size_t row_bytes;
    uint8_t *table; /* [n_table_rows][row_bytes] */
};

static void quantize_row(const rows_data *d, const choir_kernels *kernels, int64_t row,
                         int64_t iteration)
{
    (void)iteration;
    kernels->quantize(d->q8 + row * (d->n / 32), 1, d->x + row * d->n, d->n);
}

static void quantize_q15_row(const rows_data *d, const choir_kernels *kernels, int64_t row,
                             int64_t iteration)
{
    (void)iteration;
    kernels->quantize_q15(d->q15 + row * (d->n / 32), 1, d->x + row * d->n, d->n);
}

static void rms_norm_row(const rows_data *d, const choir_kernels *kernels, int64_t row,
                         int64_t iteration)
{
    (void)iteration;
    kernels->rms_norm(d->out + row * d->n, d->x + row * d->n, d->y, d->n, 1e-5f);
}

static void layer_norm_row(const rows_data *d, const choir_kernels *kernels, int64_t row,
                           int64_t iteration)
{
    (void)iteration;
    kernels->layer_norm(d->out + row * d->n, d->x + row * d->n, d->y, d->y, d->n, 1e-5f);
}

static void swiglu_row(const rows_data *d, const choir_kernels *kernels, int64_t row,
                       int64_t iteration)
{
    (void)iteration;
    kernels->swiglu(d->out + row * d->n, d->x + row * d->n, d->y, d->n);
}

static void geglu_row(const rows_data *d, const choir_kernels *kernels, int64_t row,
                      int64_t iteration)
{
    (void)iteration;
    kernels->geglu(d->out + row * d->n, d->x + row * d->n, d->y, d->n);
}

static void add_row(const rows_data *d, const choir_kernels *kernels, int64_t row,
                    int64_t iteration)
{
    (void)iteration;
    kernels->add(d->out + row * d->n, d->y, d->n);
}

static void rotary_row(const rows_data *d, const choir_kernels *kernels, int64_t row,
                       int64_t iteration)
{
    (void)iteration;
    static const float cosines[256] = {1.0f}, sines[256] = {0.0f};
    for (int64_t at = 0; at < d->n; at += d->S)
        kernels->rotary(d->out + row * d->n + at, cosines, sines, d->S, true);
}

static void lse_row(const rows_data *d, const choir_kernels *kernels, int64_t row,
                    int64_t iteration)
{
    (void)iteration;
    const int64_t chunk = choir_lse_chunk_size(d->n);
    for (int64_t at = 0; at < d->n; at += chunk)
        kernels->lse_chunk(d->x + row * d->n + at, d->n - at < chunk ? d->n - at : chunk,
                           &d->out[row * d->n], &d->out[row * d->n + 1]);
}

/* Rows of the table that are far from each other. */
static void embedding_row(const rows_data *d, const choir_kernels *kernels, int64_t row,
                          int64_t iteration)
{
    const int64_t id = (iteration * 7919 + row * 104729) % d->n_table_rows;
    kernels->dequantize(d->out + row * d->n, d->table + (size_t)id * d->row_bytes, d->type, d->n);
}

static void run(const void *context, int64_t iteration, int thread, int n_threads)
{
    const choir_subject_run *r = context;
    const rows_data *d = r->subject->data;
    for (int64_t row = r->T * thread / n_threads; row < r->T * (thread + 1) / n_threads; row++)
        d->run_row(d, r->kernels, row, iteration);
}

static void clear(choir_subject *subject)
{
    rows_data *d = subject->data;
    free(d->x);
    free(d->y);
    free(d->out);
    free(d->q8);
    free(d->q15);
    free(d->table);
    free(d);
}

static choir_status create(const choir_subject_options *options, choir_subject *subject,
                           const rows_data *values)
{
    rows_data *d;
    choir_status status = choir_alloc(1, sizeof *d, (void **)&d);
    if (status != CHOIR_OK)
        return status;
    *d = *values;
    subject->run = run;
    subject->clear = clear;
    subject->data = d;
    snprintf(subject->shape, sizeof subject->shape, "%lld", (long long)d->n);
    const size_t n_blocks = (size_t)(options->max_rows * choir_ceil_div(d->n, 32));
    status = choir_subject_floats(options->max_rows * d->n, &d->x);
    if (status == CHOIR_OK)
        status = choir_subject_floats(d->n, &d->y);
    if (status == CHOIR_OK)
        status = choir_alloc_aligned((size_t)(options->max_rows * d->n), sizeof *d->out,
                                     (void **)&d->out);
    if (status == CHOIR_OK)
        status = choir_alloc_aligned(n_blocks, sizeof *d->q8, (void **)&d->q8);
    if (status == CHOIR_OK)
        status = choir_alloc_aligned(n_blocks, sizeof *d->q15, (void **)&d->q15);
    if (status != CHOIR_OK)
        choir_subject_clear(subject);
    return status;
}

choir_status choir_subject_rows(const choir_subject_options *options, const char *op,
                                choir_subject *subject)
{
    const choir_shape *m = options->model;
    const int64_t D = m->width, S = m->head_size, heads = (m->n_heads + m->n_kv_heads) * S;
    const struct {
        const char *op;
        row_fn run_row;
        int64_t n;
        double bytes_per_element; /* read and written */
    } ops[] = {
        {"quantize", quantize_row, D, 4 + sizeof(choir_q8) / 32.0},
        {"quantize_q15", quantize_q15_row, D, 4 + sizeof(choir_q15) / 32.0},
        {"rms_norm", rms_norm_row, D, 12},
        {"layer_norm", layer_norm_row, D, 12},
        {"swiglu", swiglu_row, m->ff_width, 12},
        {"geglu", geglu_row, m->ff_width, 12},
        {"add", add_row, D, 12},
        {"rotary", rotary_row, heads, 8},
        {"lse", lse_row, m->vocab_size, 4},
    };
    *subject = (choir_subject){.type = "", .activations = "f32"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (strcmp(op, ops[i].op) == 0) {
            subject->op = ops[i].op;
            subject->bytes_per_row = (double)ops[i].n * ops[i].bytes_per_element;
            return create(options, subject,
                          &(rows_data){.run_row = ops[i].run_row, .n = ops[i].n, .S = S});
        }
    return choir_fail(CHOIR_EUSAGE, "%s is no operation", op);
}

choir_status choir_subject_embedding(const choir_subject_options *options, choir_type type,
                                     choir_subject *subject)
{
    const choir_type_info *info = choir_type_info_of(type);
    const int64_t D = options->model->width;
    const rows_data values = {
        .run_row = embedding_row,
        .n = D,
        .type = type,
        .n_table_rows = options->model->vocab_size,
        .row_bytes = (size_t)(D / info->block_elements) * (size_t)info->block_bytes,
    };
    *subject = (choir_subject){.op = "embedding",
                               .type = info->name,
                               .activations = "f32",
                               .bytes_per_row = (double)values.row_bytes + 4.0 * (double)D};
    choir_status status = create(options, subject, &values);
    if (status != CHOIR_OK)
        return status;
    rows_data *d = subject->data;
    status = choir_subject_file_rows(type, d->n_table_rows, D, &d->table);
    if (status != CHOIR_OK)
        choir_subject_clear(subject);
    return status;
}
