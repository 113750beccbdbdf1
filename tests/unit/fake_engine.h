/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scheduler with a made-up engine behind it, for the tests of the scheduler: the logits of a row
 * are a hash of the tokens up to it, taken from what the slot was fed, so a token in the wrong
 * slot, order or position changes everything that follows. They are read back from the pages, as
 * ranks read keys and values, so a page that was given to a second sequence too early or shared by
 * mistake does so too. The engine runs a step when it is made (ranks take them in order) and gives
 * the results back when it is told to. It checks what ranks rely on: messages, positions, tables.
 */
#ifndef CHOIR_TESTS_UNIT_FAKE_ENGINE_H
#define CHOIR_TESTS_UNIT_FAKE_ENGINE_H

#include "coordinator/scheduler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    FAKE_V = 97,
    FAKE_LENGTH = 128,  /* the largest max_model_len */
    FAKE_ROWS = 64,     /* the largest max_num_batched_tokens */
    FAKE_SEQS = 8,      /* the largest max_num_seqs */
    FAKE_STAGES = 4,    /* the largest n_stages */
    FAKE_PAGES = 256,   /* the largest n_pages */
    FAKE_REQUESTS = 96, /* ids are below */
    FAKE_TOP = 64,
    FAKE_PAGE = 64, /* the largest page_positions */
    FAKE_WIDTH = 5,
};

/* All that was told of one request. */
typedef struct fake_record {
    int n_tokens, n_ends;
    int n_prompt; /* of the tokens: the first ones, told of the prompt before an answer */
    choir_output_token tokens[FAKE_LENGTH]; /* without their alternatives, which `top` sums up */
    uint64_t top[FAKE_LENGTH];
    choir_finish finish;
    choir_status status;
    choir_timings timings;
    int64_t n_cached;
    float embedding[FAKE_WIDTH];
} fake_record;

typedef struct fake_slot {
    int32_t pages[FAKE_LENGTH];
    int n_tokens, n_pages;
} fake_slot;

typedef struct fake_results {
    uint64_t step_id;
    int n;
    choir_row_result rows[FAKE_ROWS];
    int32_t top_ids[FAKE_ROWS][FAKE_TOP];
    float top_logits[FAKE_ROWS][FAKE_TOP];
    float logits[FAKE_ROWS][FAKE_V], states[FAKE_ROWS][FAKE_WIDTH];
    int32_t candidate_ids[FAKE_ROWS][FAKE_V];
    float candidate_z[FAKE_ROWS][FAKE_V], candidate_logits[FAKE_ROWS][FAKE_V];
} fake_results;

typedef struct fake_engine {
    choir_step_limits limits;
    int n_stages;
    choir_scheduler *scheduler;
    choir_step_builder *builder;
    fake_slot slots[FAKE_SEQS];
    int32_t page_tokens[FAKE_PAGES][FAKE_PAGE];
    fake_results flights[FAKE_STAGES];
    int first_flight, n_flights;
    choir_step_sequence last[FAKE_SEQS]; /* of the step made last */
    int n_last;
    int n_rows, n_begun; /* computed in all; sequences that got a slot */
    int64_t now_us;
    fake_record records[FAKE_REQUESTS];
} fake_engine;

static inline uint64_t fake_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static inline uint32_t fake_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* The row behind tokens[0..n): coarse logits, so that ties occur; now and then not finite. */
static inline bool fake_row(const int32_t *tokens, int n, float logits[FAKE_V], float *lse)
{
    uint64_t hash = 7;
    for (int i = 0; i < n; i++)
        hash = fake_mix(hash * 31 + (uint64_t)tokens[i] + 1);
    for (int v = 0; v < FAKE_V; v++)
        logits[v] = (float)(int)(fake_mix(hash + (uint64_t)v) % 41) * 0.25f - 5;
    *lse = 6 + (float)(hash % 1000) * 0.001f;
    return hash % 499 != 0;
}

/* The state behind tokens[0..n), with rounding in its sums; false where the row is not finite. */
static inline bool fake_state(const int32_t *tokens, int n, float state[FAKE_WIDTH])
{
    float logits[FAKE_V], lse;
    const bool is_finite = fake_row(tokens, n, logits, &lse);
    for (int i = 0; i < FAKE_WIDTH; i++)
        state[i] = logits[i] / 3 + lse;
    return is_finite;
}

/* The n best of a row, by selection. */
static inline void fake_top(const float logits[FAKE_V], int n, int32_t *ids, float *values)
{
    bool is_taken[FAKE_V] = {false};
    for (int i = 0; i < n; i++) {
        int best = -1;
        for (int v = 0; v < FAKE_V; v++)
            if (!is_taken[v] && (best < 0 || logits[v] > logits[best]))
                best = v;
        is_taken[best] = true;
        ids[i] = best;
        values[i] = logits[best];
    }
}

static inline uint64_t fake_sum_top(const choir_top_token *top, int n)
{
    uint64_t hash = (uint64_t)n;
    for (int i = 0; i < n; i++)
        hash = fake_mix(hash + (uint64_t)top[i].id * 5) + fake_bits(top[i].logprob);
    return hash;
}

static inline void fake_record_token(fake_record *record, const choir_output_token *token)
{
    assert_true(record->n_tokens < FAKE_LENGTH);
    record->top[record->n_tokens] = fake_sum_top(token->top, token->n_top);
    record->tokens[record->n_tokens] = *token;
    record->tokens[record->n_tokens++].top = NULL;
}

static inline void fake_take(void *context, const choir_output *output)
{
    fake_engine *engine = context;
    assert_true(output->id < FAKE_REQUESTS);
    fake_record *record = &engine->records[output->id];
    assert_int_equal(record->n_ends, 0); /* nothing after the end */
    assert_true(output->n_tokens > 0 || output->finish);
    assert_non_null(output->error);
    assert_int_equal(output->error[0] != 0, output->finish == CHOIR_FINISH_ERROR);
    if (output->is_prompt) {
        assert_int_equal(record->n_prompt, record->n_tokens);
        record->n_prompt += output->n_tokens;
    }
    for (int i = 0; i < output->n_tokens; i++)
        fake_record_token(record, &output->tokens[i]);
    record->n_ends += output->finish != CHOIR_FINISH_NONE;
    record->finish = output->finish;
    record->status = output->status;
    record->timings = output->timings;
    record->n_cached = output->n_cached;
    assert_int_equal(output->n_embedding, output->finish == CHOIR_FINISH_EMBEDDED ? FAKE_WIDTH : 0);
    if (output->n_embedding)
        memcpy(record->embedding, output->embedding, sizeof record->embedding);
}

/* limits, n_stages, max_waiting, keeps_pages and max_step_us are the caller's. */
static inline fake_engine *fake_create_with(choir_scheduler_options options)
{
    fake_engine *engine = calloc(1, sizeof *engine);
    const choir_step_limits *limits = &options.limits;
    assert_non_null(engine);
    assert_true(limits->max_model_len <= FAKE_LENGTH && limits->max_num_seqs <= FAKE_SEQS);
    assert_true(limits->max_num_batched_tokens <= FAKE_ROWS && limits->n_pages <= FAKE_PAGES);
    assert_true(options.n_stages <= FAKE_STAGES && limits->page_positions <= FAKE_PAGE);
    options.limits.vocab_size = FAKE_V;
    options.width = FAKE_WIDTH;
    options.take = fake_take;
    options.context = engine;
    assert_int_equal(choir_kernels_get(CHOIR_LEVEL_REF, &options.kernels), CHOIR_OK);
    engine->limits = options.limits;
    engine->n_stages = options.n_stages;
    assert_int_equal(choir_scheduler_create(&options, &engine->scheduler), CHOIR_OK);
    assert_int_equal(choir_step_builder_create(&engine->limits, &engine->builder), CHOIR_OK);
    return engine;
}

static inline fake_engine *fake_create(const choir_step_limits *limits, int n_stages,
                                       int max_waiting)
{
    return fake_create_with((choir_scheduler_options){
        .limits = *limits, .n_stages = n_stages, .max_waiting = max_waiting});
}

static inline void fake_destroy(fake_engine *engine)
{
    choir_step_builder_destroy(&engine->builder);
    choir_scheduler_destroy(&engine->scheduler);
    assert_null(engine->scheduler);
    free(engine);
}

/* Feeds one sequence's tokens to its slot, with what a rank would do to its page table. */
static inline void fake_feed(fake_engine *engine, const choir_step_sequence *sequence,
                             const int32_t *token_ids, const int32_t *new_pages)
{
    fake_slot *slot = &engine->slots[sequence->slot];
    const int size = engine->limits.page_positions;
    if (sequence->n_pages_before == 0) {
        slot->n_tokens = sequence->first_position; /* those of the cache are there already */
        slot->n_pages = 0;
        engine->n_begun++;
    }
    /* In the middle, too, pages of others may come in between. */
    assert_true(sequence->first_position == slot->n_tokens ||
                (sequence->first_position == slot->n_tokens - 1 && sequence->n_tokens == 1) ||
                (sequence->first_position > slot->n_tokens && slot->n_tokens % size == 0 &&
                 sequence->first_position % size == 0));
    assert_int_equal(sequence->n_pages_before, slot->n_pages);
    slot->n_tokens = sequence->first_position;
    for (int i = 0; i < sequence->n_new_pages; i++)
        slot->pages[slot->n_pages++] = new_pages[i];
    for (int i = 0; i < sequence->n_tokens; i++, slot->n_tokens++)
        engine->page_tokens[slot->pages[slot->n_tokens / size]][slot->n_tokens % size] =
            token_ids[i];
    engine->n_rows += sequence->n_tokens;
}

/* What a single shard with the whole vocabulary would give of a sampled row. */
static inline void fake_sampled(const float logits[FAKE_V], const choir_step_settings *settings,
                                fake_results *results, int at)
{
    const choir_kernels *kernels = NULL;
    choir_row_result *result = &results->rows[at];
    choir_sampling sampling;
    choir_sampling_lists lists;
    float z[FAKE_V], m = -INFINITY, sum;
    int32_t counts[FAKE_V] = {0}, *ids = results->candidate_ids[at];
    assert_int_equal(choir_kernels_get(CHOIR_LEVEL_REF, &kernels), CHOIR_OK);
    choir_step_settings_read(settings, &sampling, &lists);
    choir_sampling_apply(z, logits, 0, FAKE_V, &sampling, &lists, counts);
    result->n_candidates = settings->n_candidates < FAKE_V ? settings->n_candidates : FAKE_V;
    result->has_all = result->n_candidates == FAKE_V;
    result->candidate_ids = ids;
    result->candidate_z = results->candidate_z[at];
    result->candidate_logits = results->candidate_logits[at];
    fake_top(z, result->n_candidates, ids, results->candidate_z[at]);
    for (int i = 0; i < result->n_candidates; i++)
        results->candidate_logits[at][i] = logits[ids[i]];
    result->total = 0;
    for (int64_t first = 0; first < FAKE_V; first += choir_lse_chunk_size(FAKE_V)) {
        const int64_t rest = FAKE_V - first, size = choir_lse_chunk_size(FAKE_V);
        float chunk_m, chunk_l;
        kernels->lse_chunk(z + first, rest < size ? rest : size, &chunk_m, &chunk_l);
        choir_lse_merge(&m, &result->total, chunk_m, chunk_l);
    }
    const int64_t drawn =
        choir_sampling_draw(&sampling, settings->position, z, NULL, 0, FAKE_V, &sum);
    result->drawn_id = sum > -INFINITY ? (int32_t)drawn : -1;
    result->drawn_logit = logits[drawn];
}

/* The results of a sequence's wanted rows, appended to those of its step. */
static inline void fake_answer(fake_engine *engine, const choir_step_sequence *sequence,
                               const int32_t *targets, const choir_step_settings *settings,
                               fake_results *results)
{
    const fake_slot *slot = &engine->slots[sequence->slot];
    const int size = engine->limits.page_positions;
    int32_t tokens[FAKE_LENGTH];
    for (int i = 0; i < slot->n_tokens; i++)
        tokens[i] = engine->page_tokens[slot->pages[i / size]][i % size];
    for (int row = sequence->first_wanted; row < sequence->n_tokens; row++) {
        const int at = results->n++;
        choir_row_result *result = &results->rows[at];
        float *logits = results->logits[at];
        const bool is_state = sequence->flags & CHOIR_SEQUENCE_STATE;
        result->state = is_state ? results->states[at] : NULL;
        if (is_state) {
            result->is_finite =
                fake_state(tokens, sequence->first_position + row + 1, results->states[at]);
            continue;
        }
        result->is_finite =
            fake_row(tokens, sequence->first_position + row + 1, logits, &result->lse);
        fake_top(logits, sequence->n_top, results->top_ids[at], results->top_logits[at]);
        result->n_top = sequence->n_top;
        result->top_ids = results->top_ids[at];
        result->top_logits = results->top_logits[at];
        result->logits = sequence->flags & CHOIR_SEQUENCE_FULL_ROW ? logits : NULL;
        if (sequence->flags & CHOIR_SEQUENCE_SAMPLED)
            fake_sampled(logits, settings, results, at);
        result->target_logit = NAN;
        if (sequence->flags & CHOIR_SEQUENCE_HAS_TARGETS)
            result->target_logit = logits[targets[row - sequence->first_wanted]];
    }
}

/* Makes the next step and runs it; false where there is none. */
static inline bool fake_step(fake_engine *engine)
{
    const void *buffer;
    size_t bytes;
    choir_step step;
    if (!choir_scheduler_next_step(engine->scheduler, engine->now_us, engine->builder))
        return false;
    assert_true(engine->n_flights < engine->n_stages);
    choir_step_builder_finish(engine->builder, 0, &buffer, &bytes);
    if (choir_step_view(buffer, bytes, &engine->limits, &step))
        fail_msg("%s", choir_error());
    assert_true(step.n_seqs > 0);
    fake_results *results =
        &engine->flights[(engine->first_flight + engine->n_flights++) % engine->n_stages];
    results->step_id = step.id;
    results->n = 0;
    for (int i = 0; i < step.n_seqs; i++) {
        const choir_step_sequence *sequence = &step.seqs[i];
        engine->last[i] = *sequence;
        fake_feed(engine, sequence, step.token_ids, step.new_pages);
        fake_answer(engine, sequence, step.targets, step.settings, results);
        if (sequence->flags & CHOIR_SEQUENCE_SAMPLED)
            step.settings = choir_step_settings_next(step.settings);
        step.token_ids += sequence->n_tokens;
        step.new_pages += sequence->n_new_pages;
        if (sequence->flags & CHOIR_SEQUENCE_HAS_TARGETS)
            step.targets += sequence->n_tokens - sequence->first_wanted;
    }
    engine->n_last = step.n_seqs;
    assert_int_equal(results->n, step.n_wanted);
    return true;
}

/* Gives the results of the oldest step in flight; false where there is none. */
static inline bool fake_complete(fake_engine *engine)
{
    if (!engine->n_flights)
        return false;
    const fake_results *results = &engine->flights[engine->first_flight];
    engine->first_flight = (engine->first_flight + 1) % engine->n_stages;
    engine->n_flights--;
    assert_int_equal(choir_scheduler_complete(engine->scheduler, results->step_id, results->rows,
                                              results->n, engine->now_us),
                     CHOIR_OK);
    return true;
}

/* Steps and completes until nothing is left, and checks that all is free again. */
static inline void fake_drain(fake_engine *engine)
{
    choir_scheduler_load load;
    for (;;) {
        const bool has_step = fake_step(engine);
        engine->now_us += 10;
        if (!has_step && !fake_complete(engine))
            break;
    }
    choir_scheduler_get_load(engine->scheduler, &load);
    assert_int_equal(load.n_running, 0);
    assert_int_equal(load.n_waiting, 0);
    assert_int_equal(load.n_steps_in_flight, 0);
    assert_int_equal(load.n_pages_used, 0);
}

#endif
