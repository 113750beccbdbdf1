/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/steps.h"

#include "common/clock.h"
#include "common/mem.h"
#include "coordinator/scheduler.h"
#include "tests/bench/timing.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * POOL_PAGES is about twice what 64 sequences hold at once, so a cache that keeps pages has to give
 * up old ones. A row's results are one of MADE that are drawn before, each with other tokens.
 */
enum {
    POOL_PAGES = 2048,
    PAGE = 64,
    ROWS = 512,
    MADE = 256,
    CANDIDATES = 64,
    USERS = 32,
    BEGINNINGS = 8,
    ANSWER_LEAST = 64,
    ANSWER_MORE = 512,
};

typedef struct made_row {
    int32_t ids[CANDIDATES];
    float z[CANDIDATES];
} made_row;

typedef struct steps_bench {
    const choir_bench_steps_options *options;
    choir_step_limits limits;
    choir_scheduler *scheduler;
    choir_step_builder *builder;
    made_row made[MADE];
    choir_row_result rows[ROWS];
    int32_t prompt[CHOIR_BENCH_PROMPT];
    uint64_t random, n_submitted, n_ended;
    int64_t now_us, submit_ns, next_ns, n_decodes, n_new_pages;
    double *step_us; /* [n_steps] */
    char *evicted;   /* [evict_bytes] */
    unsigned sum;    /* of what was read, so that reading cannot be left out */
} steps_bench;

static uint32_t draw_below(steps_bench *b, uint32_t n)
{
    b->random = b->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((b->random >> 33) % n);
}

static void take(void *context, const choir_output *output)
{
    steps_bench *b = context;
    b->n_ended += output->finish != CHOIR_FINISH_NONE;
}

/* The ids of a row fall by a fixed step, so that none comes twice; 10 of them have 95 %. */
static void make_rows(steps_bench *b)
{
    for (int i = 0; i < MADE; i++) {
        const uint32_t first = draw_below(b, CHOIR_BENCH_VOCABULARY);
        for (uint32_t k = 0; k < CANDIDATES; k++) {
            b->made[i].ids[k] = (int32_t)((first + 761 * k) % CHOIR_BENCH_VOCABULARY);
            b->made[i].z[k] = -0.3f * (float)k;
        }
    }
}

static choir_status open_bench(const choir_bench_steps_options *options, steps_bench *b)
{
    const choir_kernels *kernels = NULL;
    b->options = options;
    b->limits = (choir_step_limits){.max_num_seqs = options->n_sequences,
                                    .max_num_batched_tokens = ROWS,
                                    .max_model_len = 8192,
                                    .n_pages = POOL_PAGES,
                                    .page_positions = PAGE,
                                    .vocab_size = CHOIR_BENCH_VOCABULARY};
    choir_status status = choir_kernels_get(choir_level_best(), &kernels);
    const choir_scheduler_options wanted = {.limits = b->limits,
                                            .width = 576,
                                            .n_stages = 1,
                                            .max_waiting = options->n_waiting + USERS + ROWS,
                                            .keeps_pages = options->keeps_pages,
                                            .kernels = kernels,
                                            .take = take,
                                            .context = b};
    if (status == CHOIR_OK)
        status = choir_scheduler_create(&wanted, &b->scheduler);
    if (status == CHOIR_OK)
        status = choir_step_builder_create(&b->limits, &b->builder);
    if (status == CHOIR_OK)
        status = choir_alloc((size_t)options->n_steps, sizeof *b->step_us, (void **)&b->step_us);
    if (status == CHOIR_OK)
        status = choir_alloc(options->evict_bytes, 1, (void **)&b->evicted);
    if (status == CHOIR_OK && options->evict_bytes > 0)
        memset(b->evicted, 1, options->evict_bytes);
    make_rows(b);
    return status;
}

static void close_bench(steps_bench *b)
{
    choir_step_builder_destroy(&b->builder);
    choir_scheduler_destroy(&b->scheduler);
    free(b->step_us);
    free(b->evicted);
}

/* Keeps as many requests open as run and wait. */
static choir_status submit_missing(steps_bench *b)
{
    const uint64_t n_wanted = (uint64_t)(b->options->n_sequences + b->options->n_waiting);
    choir_status status = CHOIR_OK;
    while (status == CHOIR_OK && b->n_submitted - b->n_ended < n_wanted) {
        const uint32_t beginning = draw_below(b, BEGINNINGS);
        for (uint32_t i = 0; i < CHOIR_BENCH_PROMPT; i++)
            b->prompt[i] =
                (int32_t)(i < PAGE ? beginning * PAGE + i : draw_below(b, CHOIR_BENCH_VOCABULARY));
        const choir_request request = {
            .id = ++b->n_submitted,
            .user_id = b->n_submitted % USERS,
            .cache_salt = "all",
            .n_cache_salt = 3,
            .token_ids = b->prompt,
            .n_token_ids = CHOIR_BENCH_PROMPT,
            .sampling = {.temperature = b->options->is_sampled ? 0.8f : 0,
                         .top_p = b->options->is_sampled ? 0.9f : 1,
                         .seed = b->n_submitted},
            .max_tokens = ANSWER_LEAST + draw_below(b, ANSWER_MORE),
        };
        const int64_t start_ns = choir_clock_ns();
        status = choir_scheduler_submit(b->scheduler, &request, b->now_us);
        b->submit_ns += choir_clock_ns() - start_ns;
    }
    return status;
}

/* What the ranks would give for each wanted row. */
static choir_status make_up(steps_bench *b, const choir_step *step)
{
    const choir_step_settings *settings = step->settings;
    int n = 0;
    for (int i = 0; i < step->n_seqs; i++) {
        const choir_step_sequence *sequence = &step->seqs[i];
        const bool is_sampled = sequence->flags & CHOIR_SEQUENCE_SAMPLED;
        if (sequence->flags & CHOIR_SEQUENCE_FULL_ROW)
            return choir_fail(CHOIR_EINTERNAL, "a whole row of logits was asked for");
        b->n_decodes += sequence->n_tokens == 1;
        for (int row = sequence->first_wanted; row < sequence->n_tokens; row++) {
            const made_row *made = &b->made[draw_below(b, MADE)];
            choir_row_result *result = &b->rows[n++];
            *result = (choir_row_result){.is_finite = true,
                                         .lse = 2,
                                         .n_top = sequence->n_top,
                                         .top_ids = made->ids,
                                         .top_logits = made->z};
            if (!is_sampled)
                continue;
            if (settings->n_candidates < 1 || settings->n_candidates > CANDIDATES)
                return choir_fail(CHOIR_EINTERNAL, "%d candidates were asked for",
                                  settings->n_candidates);
            result->n_candidates = settings->n_candidates;
            result->candidate_ids = made->ids;
            result->candidate_z = result->candidate_logits = made->z;
            result->total = 3.9f;
        }
        if (is_sampled)
            settings = choir_step_settings_next(settings);
    }
    return CHOIR_OK;
}

static void evict(steps_bench *b)
{
    for (size_t i = 0; i < b->options->evict_bytes; i += 64)
        b->sum += (unsigned char)b->evicted[i];
}

/* One step from its making to its results; *us is the scheduler's time in it. */
static choir_status run_step(steps_bench *b, double *us)
{
    const void *buffer;
    size_t bytes;
    choir_step step;
    choir_status status = submit_missing(b);
    if (status != CHOIR_OK)
        return status;
    evict(b);
    const int64_t begun_ns = choir_clock_ns();
    const bool has_step = choir_scheduler_next_step(b->scheduler, b->now_us, b->builder);
    const int64_t next_ns = choir_clock_ns() - begun_ns;
    if (!has_step)
        return choir_fail(CHOIR_EINTERNAL, "the scheduler made no step");
    choir_step_builder_finish(b->builder, 0, &buffer, &bytes);
    status = choir_step_view(buffer, bytes, &b->limits, &step);
    if (status == CHOIR_OK)
        status = make_up(b, &step);
    if (status != CHOIR_OK)
        return status;
    evict(b);
    b->now_us += 5000 + 150 * step.n_rows;
    const int64_t back_ns = choir_clock_ns();
    status = choir_scheduler_complete(b->scheduler, step.id, b->rows, step.n_wanted, b->now_us);
    *us = (double)(next_ns + choir_clock_ns() - back_ns) / 1000;
    b->next_ns += next_ns;
    b->n_new_pages += step.n_new_pages;
    return status;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void sum_up(const steps_bench *b, uint64_t n_submitted, const choir_scheduler_load *before,
                   choir_bench_steps *result)
{
    const int64_t n = b->options->n_steps;
    choir_scheduler_load load;
    choir_scheduler_get_load(b->scheduler, &load);
    qsort(b->step_us, (size_t)n, sizeof *b->step_us, compare);
    *result = (choir_bench_steps){
        .median_us = choir_bench_median(b->step_us, (int)n),
        .p99_us = b->step_us[n * 99 / 100],
        .longest_us = b->step_us[n - 1],
        .mean_next_us = (double)b->next_ns / 1000 / (double)n,
        .mean_submit_us = (double)b->submit_ns / 1000 / (double)(b->n_submitted - n_submitted),
        .mean_decodes = (double)b->n_decodes / (double)n,
        .n_new_pages = b->n_new_pages,
        .n_ended = (int64_t)b->n_ended,
        .n_cache_hits = (int64_t)(load.n_cache_hits - before->n_cache_hits),
        .n_preemptions = (int64_t)(load.n_preemptions - before->n_preemptions),
        .n_prompt_tokens = (int64_t)(load.n_prompt_tokens - before->n_prompt_tokens),
    };
    for (int64_t i = 0; i < n; i++)
        result->mean_us += b->step_us[i] / (double)n;
}

choir_status choir_bench_steps_measure(const choir_bench_steps_options *options,
                                       choir_bench_steps *result)
{
    steps_bench *b;
    double ignored;
    choir_scheduler_load before;
    assert(options->n_sequences >= 1 && options->n_sequences <= ROWS && options->n_steps >= 1);
    choir_status status = choir_alloc(1, sizeof *b, (void **)&b);
    if (status != CHOIR_OK)
        return status;
    status = open_bench(options, b);
    for (int64_t i = 0; status == CHOIR_OK && i < options->n_warm; i++)
        status = run_step(b, &ignored);
    if (status == CHOIR_OK) {
        const uint64_t n_submitted = b->n_submitted, n_ended = b->n_ended;
        b->submit_ns = b->next_ns = b->n_decodes = b->n_new_pages = 0;
        choir_scheduler_get_load(b->scheduler, &before);
        for (int64_t i = 0; status == CHOIR_OK && i < options->n_steps; i++)
            status = run_step(b, &b->step_us[i]);
        if (status == CHOIR_OK) {
            sum_up(b, n_submitted, &before, result);
            result->n_ended -= (int64_t)n_ended;
        }
    }
    close_bench(b);
    free(b);
    return status;
}
