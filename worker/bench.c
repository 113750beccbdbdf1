/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stages work at the same time where the steps allow it: the chunks of a prefill follow each other
 * without waiting for results, and many sequences decode in as many groups as there are stages,
 * each group's next step handed in when its last one is collected. One sequence alone has one step
 * at a time, since each token would depend on the one before.
 */
#include "worker/bench.h"

#include "common/clock.h"
#include "common/mem.h"
#include "common/philox.h"

#include <stdlib.h>

typedef struct run {
    choir_worker *worker;
    const choir_bench_test *test;
    choir_step_builder *builder;
    int32_t *ids;   /* [positions] of every sequence */
    int32_t *pages; /* [pages of the pool], their own numbers */
    int64_t pages_per_sequence;
    uint64_t n_steps;
    int n_open, max_open; /* steps handed in and not collected */
} run;

static int64_t pages_of(int64_t positions)
{
    return choir_ceil_div(positions, CHOIR_PAGE_POSITIONS);
}

static int64_t positions_of(const choir_bench_test *test)
{
    return test->depth + test->n_tokens;
}

choir_bench_needs choir_bench_needs_of(const choir_bench_test *tests, int n_tests)
{
    choir_bench_needs needs = {1, 1, 1};
    for (int i = 0; i < n_tests; i++) {
        if (positions_of(&tests[i]) > needs.max_model_len)
            needs.max_model_len = positions_of(&tests[i]);
        if (tests[i].batch > needs.max_num_seqs)
            needs.max_num_seqs = needs.max_num_batched_tokens = tests[i].batch;
    }
    return needs;
}

static choir_status collect(run *r)
{
    uint64_t step_id;
    const choir_row_result *rows;
    int64_t n_rows;
    r->n_open--;
    return choir_worker_collect(r->worker, &step_id, &rows, &n_rows);
}

static choir_status collect_all(run *r)
{
    choir_status status = CHOIR_OK;
    while (status == CHOIR_OK && r->n_open > 0)
        status = collect(r);
    return status;
}

/* One step of positions [position, position + n_tokens) of some sequences. */
static choir_status submit(run *r, choir_range sequences, int64_t position, int64_t n_tokens,
                           bool wants_last)
{
    const int64_t n_before = pages_of(position), n_after = pages_of(position + n_tokens);
    const void *message;
    size_t bytes;
    choir_status status = r->n_open == r->max_open ? collect(r) : CHOIR_OK;
    choir_step_builder_begin(r->builder, ++r->n_steps);
    for (int64_t s = sequences.begin; status == CHOIR_OK && s < sequences.end; s++) {
        const choir_step_sequence sequence = {
            .slot = (int32_t)s,
            .first_position = (int32_t)position,
            .n_tokens = (int32_t)n_tokens,
            .n_pages_before = (int32_t)n_before,
            .n_new_pages = (int32_t)(n_after - n_before),
            .first_wanted = (int32_t)(wants_last ? n_tokens - 1 : n_tokens),
            .n_top = 1,
        };
        status = choir_step_builder_add(r->builder, &sequence, r->ids + position,
                                        r->pages + s * r->pages_per_sequence + n_before, NULL);
    }
    if (status != CHOIR_OK)
        return status;
    choir_step_builder_finish(r->builder, 0, &message, &bytes);
    r->n_open++;
    return choir_worker_step(r->worker, message, bytes);
}

/* Positions [begin, end) of one sequence in chunks; as in a service, the last row gives logits. */
static choir_status prefill(run *r, int64_t sequence, int64_t begin, int64_t end)
{
    const choir_range one = {sequence, sequence + 1};
    const int64_t chunk = choir_worker_limits(r->worker)->max_num_batched_tokens;
    choir_status status = CHOIR_OK;
    r->max_open = choir_worker_layout(r->worker)->n_stages;
    for (int64_t at = begin; status == CHOIR_OK && at < end; at += chunk) {
        const int64_t n = end - at < chunk ? end - at : chunk;
        status = submit(r, one, at, n, at + n == end);
    }
    return status == CHOIR_OK ? collect_all(r) : status;
}

static choir_status decode(run *r, int64_t begin, int64_t end)
{
    const int64_t batch = r->test->batch, n_stages = choir_worker_layout(r->worker)->n_stages;
    const int64_t n_groups = batch < n_stages ? batch : n_stages;
    choir_status status = CHOIR_OK;
    r->max_open = (int)n_groups;
    for (int64_t at = begin; at < end; at++)
        for (int64_t g = 0; status == CHOIR_OK && g < n_groups; g++) {
            const choir_range group = {batch * g / n_groups, batch * (g + 1) / n_groups};
            status = submit(r, group, at, 1, true);
        }
    return status == CHOIR_OK ? collect_all(r) : status;
}

static choir_status run_once(run *r)
{
    const int64_t begin = r->test->depth, end = positions_of(r->test);
    return r->test->is_prefill ? prefill(r, 0, begin, end) : decode(r, begin, end);
}

/* What the samples have in common: the positions before them, and a run that warms the caches. */
static choir_status prepare(run *r)
{
    choir_status status = CHOIR_OK;
    for (int64_t s = 0; status == CHOIR_OK && r->test->depth > 0 && s < r->test->batch; s++)
        status = prefill(r, s, 0, r->test->depth);
    return status == CHOIR_OK ? run_once(r) : status;
}

static choir_status take_samples(run *r, int n_samples, int64_t *samples_us)
{
    choir_status status = CHOIR_OK;
    for (int i = 0; status == CHOIR_OK && i < n_samples; i++) {
        const int64_t start_us = choir_clock_us();
        status = run_once(r);
        samples_us[i] = choir_clock_us() - start_us;
    }
    return status;
}

static choir_status check_needs(const choir_worker *worker, const choir_bench_test *test)
{
    const choir_bench_needs needs = choir_bench_needs_of(test, 1);
    const choir_step_limits *limits = choir_worker_limits(worker);
    const int64_t pages = pages_of(needs.max_model_len) * needs.max_num_seqs;
    if (limits->max_model_len < needs.max_model_len || limits->max_num_seqs < needs.max_num_seqs ||
        limits->max_num_batched_tokens < needs.max_num_batched_tokens || limits->n_pages < pages)
        return choir_fail(CHOIR_EUNSUPPORTED,
                          "%lld sequences of %lld positions need %lld pages of keys and values and "
                          "%lld tokens in a step; there are %d and %d",
                          (long long)needs.max_num_seqs, (long long)needs.max_model_len,
                          (long long)pages, (long long)needs.max_num_batched_tokens,
                          limits->n_pages, limits->max_num_batched_tokens);
    return CHOIR_OK;
}

/* Any tokens do: the work does not depend on them. */
static choir_status make_sequences(run *r)
{
    const int64_t n_positions = positions_of(r->test);
    const choir_step_limits *limits = choir_worker_limits(r->worker);
    choir_status status = choir_alloc((size_t)n_positions, sizeof *r->ids, (void **)&r->ids);
    if (status == CHOIR_OK)
        status = choir_alloc((size_t)limits->n_pages, sizeof *r->pages, (void **)&r->pages);
    if (status != CHOIR_OK)
        return status;
    for (int64_t i = 0; i < n_positions; i++) {
        const uint32_t key[2] = {0, 0}, counter[4] = {(uint32_t)i, 0, 0, 0};
        uint32_t words[4];
        choir_philox(key, counter, words);
        r->ids[i] = (int32_t)((uint64_t)words[0] * (uint64_t)limits->vocab_size >> 32);
    }
    for (int32_t i = 0; i < limits->n_pages; i++)
        r->pages[i] = i;
    r->pages_per_sequence = pages_of(n_positions);
    return status;
}

/*
 * Between the preparing and the samples the followers leave their loop, start their clocks and come
 * back.
 */
static choir_status start_clocks(choir_worker *worker, bool is_wanted)
{
    choir_status status = CHOIR_OK;
    if (is_wanted && choir_worker_is_lead(worker))
        status = choir_worker_stop(worker);
    return is_wanted && status == CHOIR_OK ? choir_worker_start_clocks(worker) : status;
}

static choir_status lead(choir_worker *worker, const choir_bench_test *test, int n_samples,
                         int64_t *samples_us, choir_bench_clocks *clocks)
{
    run r = {.worker = worker, .test = test};
    uint64_t n_before = 0;
    choir_status status = choir_step_builder_create(choir_worker_limits(worker), &r.builder);
    if (status == CHOIR_OK)
        status = make_sequences(&r);
    if (status == CHOIR_OK)
        status = prepare(&r);
    if (status == CHOIR_OK)
        status = start_clocks(worker, clocks != NULL);
    n_before = r.n_steps;
    if (status == CHOIR_OK)
        status = take_samples(&r, n_samples, samples_us);
    if (clocks)
        clocks->n_steps = r.n_steps - n_before;
    choir_step_builder_destroy(&r.builder);
    free(r.ids);
    free(r.pages);
    return status == CHOIR_OK ? choir_worker_stop(worker) : status;
}

static choir_status follow(choir_worker *worker, bool has_clocks)
{
    choir_status status = choir_worker_follow(worker);
    if (status == CHOIR_OK && has_clocks)
        status = start_clocks(worker, true);
    return status == CHOIR_OK && has_clocks ? choir_worker_follow(worker) : status;
}

choir_status choir_bench_run(choir_worker *worker, const choir_bench_test *test, int n_samples,
                             int64_t *samples_us, choir_bench_clocks *clocks)
{
    if (clocks)
        *clocks = (choir_bench_clocks){0};
    choir_status status = check_needs(worker, test);
    if (status == CHOIR_OK)
        status = choir_worker_is_lead(worker) ? lead(worker, test, n_samples, samples_us, clocks)
                                              : follow(worker, clocks != NULL);
    if (status == CHOIR_OK && clocks)
        status = choir_worker_gather_clocks(worker, &clocks->n_threads, &clocks->clocks);
    return status;
}
