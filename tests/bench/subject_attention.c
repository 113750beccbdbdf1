/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/subject.h"

#include "common/mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct attention_data {
    choir_cache_type type;
    int64_t S, n_kv_heads, n_positions;
    int group; /* query heads that share a KV head */
    size_t page_bytes;
    int64_t n_copies;
    size_t pool_bytes;
    void *pool; /* [n_copies] caches, each [kv head][keys, values][page], all equal */
    float *q;   /* [T * H][S], in the order of the tasks */
    float *out; /* the same */
} attention_data;

static int64_t n_pages(const attention_data *d)
{
    return choir_ceil_div(d->n_positions, CHOIR_PAGE_POSITIONS);
}

static size_t cache_bytes(const attention_data *d)
{
    return (size_t)(d->n_kv_heads * 2 * n_pages(d)) * d->page_bytes;
}

static uint8_t *page_at(const attention_data *d, int64_t copy, int64_t kv_head, bool is_value,
                        int64_t page)
{
    const int64_t index = (kv_head * 2 + is_value) * n_pages(d) + page;
    return (uint8_t *)d->pool + (size_t)copy * cache_bytes(d) + (size_t)index * d->page_bytes;
}

static choir_status fill_pool(const choir_subject_options *options, attention_data *d)
{
    float *row;
    d->n_copies = choir_subject_copies(options, cache_bytes(d));
    d->pool_bytes = (size_t)d->n_copies * cache_bytes(d);
    choir_status status = choir_subject_floats(d->S + CHOIR_PAGE_POSITIONS, &row);
    if (status == CHOIR_OK)
        status = choir_pages_map(d->pool_bytes, &d->pool);
    if (status == CHOIR_OK) {
        uint8_t *first = d->pool;
        for (int position = 0; position < CHOIR_PAGE_POSITIONS; position++)
            choir_kv_store_key(first, d->type, d->S, position, row + position);
        for (size_t at = d->page_bytes; at < cache_bytes(d); at += d->page_bytes)
            memcpy(first + at, first, d->page_bytes);
        for (int64_t copy = 1; copy < d->n_copies; copy++)
            memcpy(first + (size_t)copy * cache_bytes(d), first, cache_bytes(d));
    }
    free(row);
    return status;
}

enum { MAX_QUERIES = 32, MAX_ROWS = 8 };

/* As worker/attend.c does it: a task is some rows and a KV head, dealt in turn. */
static void run(const void *context, int64_t iteration, int thread, int n_threads)
{
    const choir_subject_run *r = context;
    const attention_data *d = r->subject->data;
    const int most = MAX_QUERIES / d->group < MAX_ROWS ? MAX_QUERIES / d->group : MAX_ROWS;
    const int64_t n_runs = choir_ceil_div(r->T, most), S = d->S;
    const int64_t copy = iteration % d->n_copies;
    assert(d->group <= MAX_QUERIES);
    for (int64_t task = thread; task < n_runs * d->n_kv_heads; task += n_threads) {
        const int64_t kv_head = task % d->n_kv_heads, first = task / d->n_kv_heads * most;
        const int n = (int)(r->T - first < most ? r->T - first : most) * d->group;
        float *q = d->q + (first * d->n_kv_heads * d->group + kv_head * n) * S;
        float *out = d->out + (q - d->q);
        const void *keys[CHOIR_SPAN_PAGES], *values[CHOIR_SPAN_PAGES];
        choir_attention_state states[MAX_QUERIES];
        int64_t n_visible[MAX_QUERIES];
        for (int64_t page = 0; page < n_pages(d); page++) {
            keys[page] = page_at(d, copy, kv_head, false, page);
            values[page] = page_at(d, copy, kv_head, true, page);
        }
        for (int i = 0; i < n; i++) {
            states[i].o = out + i * S;
            n_visible[i] = d->n_positions;
        }
        r->kernels->attention_span(states, q, n, S, keys, values, d->type, d->type, n_visible);
        for (int i = 0; i < n; i++)
            r->kernels->attention_finish(states[i].o, &states[i], S);
    }
}

static void clear(choir_subject *subject)
{
    attention_data *d = subject->data;
    choir_pages_unmap(&d->pool, d->pool_bytes);
    free(d->q);
    free(d->out);
    free(d);
}

choir_status choir_subject_attention(const choir_subject_options *options, choir_cache_type type,
                                     int64_t n_positions, choir_subject *subject)
{
    assert(n_positions >= 1 && n_positions <= CHOIR_SPAN_PAGES * CHOIR_PAGE_POSITIONS);
    const choir_shape *model = options->model;
    const int64_t S = model->head_size, elements = options->max_rows * model->n_heads * S;
    attention_data *d;
    *subject = (choir_subject){0};
    choir_status status = choir_alloc(1, sizeof *d, (void **)&d);
    if (status != CHOIR_OK)
        return status;
    *d = (attention_data){.type = type,
                          .S = S,
                          .n_kv_heads = model->n_kv_heads,
                          .n_positions = n_positions,
                          .group = (int)(model->n_heads / model->n_kv_heads),
                          .page_bytes = choir_kv_page_bytes(type, S)};
    *subject = (choir_subject){
        .op = "attention",
        .type = choir_cache_type_name(type),
        .activations = "f32",
        .peak = CHOIR_PEAK_FMA,
        .n_products = 1,
        .macs_per_row = 2.0 * (double)(model->n_heads * S * n_positions),
        .bytes = (double)cache_bytes(d),
        .run = run,
        .clear = clear,
        .data = d,
    };
    snprintf(subject->shape, sizeof subject->shape, "%u/%u heads of %lld, %lld",
             (unsigned)model->n_heads, (unsigned)model->n_kv_heads, (long long)S,
             (long long)n_positions);
    status = fill_pool(options, d);
    if (status == CHOIR_OK)
        status = choir_subject_floats(elements, &d->q);
    if (status == CHOIR_OK)
        status = choir_subject_floats(elements, &d->out);
    if (status != CHOIR_OK)
        choir_subject_clear(subject);
    return status;
}
