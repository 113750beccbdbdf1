/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What shards give of a sampled row, merged: the sampler chooses from it the token that it chooses
 * from the whole row, or says that the candidates do not show it; and it seldom says so.
 */
#include "common/philox.h"
#include "coordinator/sampler.h"
#include "worker/results.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { V = 1000, CHUNK = 16, N_CHUNKS = 63, SHARDS = 3, ROUNDS = 4000, LIST = 20 };

static choir_slice slices[SHARDS];
static const choir_layout layout = {.n_ranks = SHARDS,
                                    .n_stages = 1,
                                    .n_shards = SHARDS,
                                    .vocab_size = V,
                                    .vocab_chunk = CHUNK,
                                    .n_vocab_chunks = N_CHUNKS,
                                    .slices = slices};
static const choir_kernels *kernels;
static uint32_t random_index;

static uint32_t random_word(void)
{
    const uint32_t key[2] = {17, 0}, counter[4] = {random_index++, 0, 0, 0};
    uint32_t words[4];
    choir_philox(key, counter, words);
    return words[0];
}

static float random_unit(void)
{
    return (float)(random_word() >> 8) * 0x1p-24f;
}

/* Three shards, one of which may have nothing, and one hardly anything. */
static void cut_vocabulary(void)
{
    static const int64_t cuts[][SHARDS + 1] = {
        {0, 21, 42, 63}, {0, 0, 40, 63}, {0, 1, 1, 63}, {0, 62, 63, 63}};
    const int64_t *cut = cuts[random_word() % 4];
    for (int s = 0; s < SHARDS; s++) {
        const int64_t begin = cut[s] * CHUNK, end = cut[s + 1] * CHUNK;
        slices[s] = (choir_slice){.vocab_chunks = {cut[s], cut[s + 1]},
                                  .vocab_rows = {begin < V ? begin : V, end < V ? end : V}};
    }
}

/* A block as a step has it. */
typedef struct block {
    choir_step_settings settings;
    int32_t words[6 * LIST];
} block;

static void fill_block(block *made, const choir_sampling *sampling, int64_t position,
                       int32_t n_candidates)
{
    made->settings = (choir_step_settings){
        .temperature = sampling->temperature,
        .repetition_penalty = sampling->repetition_penalty,
        .frequency_penalty = sampling->frequency_penalty,
        .presence_penalty = sampling->presence_penalty,
        .seed_low = (uint32_t)sampling->seed,
        .seed_high = (uint32_t)(sampling->seed >> 32),
        .choice = sampling->choice,
        .position = (int32_t)position,
        .n_candidates = n_candidates,
        .wants_total = n_candidates > 1,
    };
    int32_t *word = made->words;
    if (random_word() % 3 == 0)
        for (int32_t id = (int32_t)(random_word() % 40); made->settings.n_bias < LIST; id += 41) {
            const choir_logit_bias bias = {id, random_unit() * 6 - 3};
            memcpy(word, &bias, sizeof bias);
            word += 2;
            made->settings.n_bias++;
        }
    if (random_word() % 5 == 0)
        for (int32_t id = (int32_t)(random_word() % 40); made->settings.n_allowed < LIST;
             id += 45) {
            *word++ = id;
            made->settings.n_allowed++;
        }
    if (random_word() % 3 == 0)
        for (; made->settings.n_banned < LIST; made->settings.n_banned++)
            *word++ = (int32_t)(random_word() % V);
    for (; made->settings.n_history < LIST; made->settings.n_history++)
        *word++ = (int32_t)(random_word() % V);
    made->settings.n_prompt = LIST / 2;
}

static choir_sampling random_sampling(void)
{
    choir_sampling s = {.top_p = 1, .seed = random_word(), .choice = (int32_t)(random_word() % 3)};
    s.temperature = random_word() % 6 ? 0.2f + random_unit() * 2 : 0;
    if (random_word() % 3 == 0)
        s.top_k = 1 + (int32_t)(random_word() % 60);
    if (random_word() % 3 == 0)
        s.top_p = 0.1f + 0.9f * random_unit();
    if (random_word() % 4 == 0)
        s.min_p = random_unit() * 0.2f;
    if (random_word() % 4 == 0)
        s.repetition_penalty = 1.3f;
    if (random_word() % 4 == 0)
        s.presence_penalty = 0.5f;
    return s;
}

static int32_t candidates_of(const choir_sampling *s)
{
    if (s->temperature == 0)
        return 1;
    if (s->top_k > 0)
        return s->top_k;
    if (s->top_p < 1 || s->min_p > 0)
        return (const int32_t[]){4, 64, 256}[random_word() % 3];
    return 0;
}

/* The record of one row, written by each shard and merged. */
static void through_shards(const float *logits, const choir_step_settings *settings,
                           choir_results *results)
{
    static float z[V];
    static int32_t counts[V];
    const choir_candidates_scratch scratch = {z, counts};
    const choir_wanted wanted = {.target = -1, .settings = settings};
    const choir_team team = {.n_threads = 1};
    const uint32_t *records[SHARDS];
    uint32_t *written[SHARDS];
    for (int s = 0; s < SHARDS; s++) {
        written[s] = calloc(choir_record_words(&slices[s], &wanted, 1), 4);
        records[s] = written[s];
        choir_threads *threads = NULL;
        assert_int_equal(choir_threads_create(1, &threads), CHOIR_OK);
        choir_team one = team;
        one.barrier = &threads->barrier;
        choir_record_write(written[s], kernels, &layout, &slices[s], &wanted, 1,
                           logits + slices[s].vocab_rows.begin, NULL, &scratch, &one);
        choir_threads_destroy(&threads);
    }
    assert_int_equal(choir_results_prepare(results, &layout, &wanted, 1), CHOIR_OK);
    choir_results_merge(results, &layout, &wanted, 0, 1, records);
    for (int s = 0; s < SHARDS; s++)
        free(written[s]);
}

static void candidates_stand_for_the_row(void **state)
{
    static float logits[V];
    choir_sampler *sampler = NULL;
    choir_results results = {0};
    int n_unproved = 0, n_few = 0;
    (void)state;
    assert_int_equal(choir_kernels_get(choir_level_best(), &kernels), CHOIR_OK);
    assert_int_equal(choir_sampler_create(V, kernels, &sampler), CHOIR_OK);
    for (int round = 0; round < ROUNDS; round++) {
        block made = {0};
        choir_sampling read;
        choir_sampling_lists lists;
        float logit = NAN;
        const float scale = (const float[]){2, 8, 20}[random_word() % 3];
        const float grid = random_word() % 3 ? 0 : 0.5f; /* makes ties */
        for (int i = 0; i < V; i++) {
            logits[i] = (random_unit() + random_unit() + random_unit() - 1.5f) * scale;
            if (grid > 0)
                logits[i] = rintf(logits[i] / grid) * grid;
        }
        cut_vocabulary();
        const choir_sampling s = random_sampling();
        const int32_t n_candidates = candidates_of(&s);
        fill_block(&made, &s, round, n_candidates);
        choir_step_settings_read(&made.settings, &read, &lists);
        through_shards(logits, &made.settings, &results);
        const int32_t found = choir_sampler_pick_from(sampler, &s, &results.rows[0], round, &logit);
        const int32_t wanted = choir_sampler_pick(sampler, &s, &lists, logits, round);
        if (found == CHOIR_PICK_UNPROVED) {
            assert_true(n_candidates > 1 && s.top_k == 0);
            n_unproved += n_candidates == 256;
            n_few += n_candidates < 256;
            continue;
        }
        if (found != wanted)
            fail_msg("round %d, %d candidates: %d, not %d", round, n_candidates, found, wanted);
        if (found >= 0)
            assert_true(logit == logits[found]);
    }
    assert_in_range(n_few, ROUNDS / 100, ROUNDS / 4);
    assert_in_range(n_unproved, 1, ROUNDS / 20);
    choir_results_release(&results);
    choir_sampler_destroy(&sampler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(candidates_stand_for_the_row)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
