/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of logits, written by several threads and shards and merged: the best entries, the
 * log-sum-exp, targets and whole rows are those of the plain definitions over the whole row. States
 * between them come through as they are.
 */
#include "common/philox.h"
#include "worker/results.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { V = 1000, CHUNK = 16, N_CHUNKS = 63, N_ROWS = 8, SHARDS = 3, D = 70 };

static choir_slice slices[SHARDS];
static const choir_layout layout = {.n_ranks = SHARDS,
                                    .n_stages = 1,
                                    .n_shards = SHARDS,
                                    .vocab_size = V,
                                    .vocab_chunk = CHUNK,
                                    .n_vocab_chunks = N_CHUNKS,
                                    .slices = slices};
static const choir_wanted wanted[N_ROWS] = {
    {0, -1, 1, false, 0, NULL},   {1, 5, 20, true, 0, NULL},   {2, -1, 0, false, D, NULL},
    {3, 999, 64, false, 0, NULL}, {4, -1, 0, true, 0, NULL},   {5, -1, 0, false, D, NULL},
    {6, 17, 3, false, 0, NULL},   {7, -1, 64, false, 0, NULL},
};
enum { N_STATES = 2, N_LOGITS = N_ROWS - N_STATES };
static float logits[N_LOGITS][V], states[N_STATES][D];
static const bool is_finite[N_ROWS] = {true, true, true, true, true, false, false, false};

/* Few different values, so that there are many ties, also between chunks and of -0 with +0. */
static void fill_logits(void)
{
    for (int i = 0; i < N_STATES * D; i++)
        states[i / D][i % D] = (float)i * 0.25f;
    states[1][D - 1] = INFINITY;
    for (int row = 0; row < N_LOGITS; row++)
        for (int i = 0; i < V; i++) {
            const uint32_t key[2] = {7, (uint32_t)row}, counter[4] = {(uint32_t)i, 0, 0, 0};
            uint32_t words[4];
            choir_philox(key, counter, words);
            logits[row][i] = (float)((int)(words[0] % 41) - 20) / 8.0f;
            if (logits[row][i] == 0.0f && words[1] % 2)
                logits[row][i] = -0.0f;
        }
    for (int i = 0; i < V; i++) /* -inf alone in a row that is finite otherwise */
        logits[4][i] = i == 500 ? -INFINITY : logits[4][i];
    logits[5][0] = NAN;
}

static void write_shard(int shard, int n_threads, uint32_t *record)
{
    const choir_slice *slice = &slices[shard];
    const int64_t n = choir_range_size(slice->vocab_rows);
    const choir_kernels *kernels;
    float mine[N_LOGITS * V];
    choir_threads *threads;
    assert_int_equal(choir_kernels_get(choir_level_best(), &kernels), CHOIR_OK);
    for (int row = 0; row < N_LOGITS; row++)
        memcpy(mine + row * n, logits[row] + slice->vocab_rows.begin, (size_t)n * sizeof *mine);
    assert_int_equal(choir_threads_create(n_threads, &threads), CHOIR_OK);
#pragma omp parallel num_threads(n_threads)
    {
        const choir_team team = choir_team_here(threads);
        choir_record_write(record, kernels, &layout, slice, wanted, N_ROWS, mine, &states[0][0],
                           NULL, &team);
    }
    choir_threads_destroy(&threads);
}

static void check_best(const choir_row_result *found, const choir_wanted *asked, const float *z)
{
    bool is_taken[V] = {false};
    assert_int_equal(found->n_top, asked->n_top);
    for (int place = 0; place < found->n_top; place++) {
        int best = -1;
        for (int i = 0; i < V; i++)
            if (!is_taken[i] && (best < 0 || z[i] > z[best]))
                best = i;
        is_taken[best] = true;
        assert_int_equal(found->top_ids[place], best);
        assert_memory_equal(&found->top_logits[place], &z[best], sizeof(float));
    }
}

static void check_row(const choir_row_result *found, const choir_wanted *asked, const float *z)
{
    const choir_kernels *ref;
    float m = -INFINITY, l = 0.0f;
    assert_int_equal(choir_kernels_get(CHOIR_LEVEL_REF, &ref), CHOIR_OK);
    for (int at = 0; at < V; at += CHUNK) {
        float chunk_m, chunk_l;
        ref->lse_chunk(z + at, V - at < CHUNK ? V - at : CHUNK, &chunk_m, &chunk_l);
        choir_lse_merge(&m, &l, chunk_m, chunk_l);
    }
    const float lse = m + choir_logf(l);
    assert_memory_equal(&found->lse, &lse, sizeof lse);
    if (asked->target >= 0)
        assert_memory_equal(&found->target_logit, &z[asked->target], sizeof(float));
    check_best(found, asked, z);
    if (asked->is_full)
        assert_memory_equal(found->logits, z, V * sizeof *z);
}

static void check_rows(const choir_row_result *rows)
{
    int n_states = 0;
    for (int i = 0; i < N_ROWS; i++) {
        const bool is_state = wanted[i].state_width > 0;
        const int place = is_state ? n_states++ : i - n_states;
        assert_int_equal(rows[i].is_finite, is_finite[i]);
        if (is_state)
            assert_memory_equal(rows[i].state, states[place], sizeof states[place]);
        else
            assert_null(rows[i].state);
        if (is_finite[i] && !is_state)
            check_row(&rows[i], &wanted[i], logits[place]);
    }
}

static void records_merge_to_the_whole_row(void **state)
{
    static const int64_t cuts[][SHARDS + 1] = {{0, 21, 42, 63}, {0, 1, 1, 63}, {0, 63, 63, 63}};
    (void)state;
    fill_logits();
    for (size_t c = 0; c < sizeof cuts / sizeof cuts[0]; c++)
        for (int n_threads = 1; n_threads <= 4; n_threads++) {
            uint32_t *records[SHARDS];
            choir_results results = {0};
            for (int s = 0; s < SHARDS; s++) {
                const int64_t begin = cuts[c][s] * CHUNK, end = cuts[c][s + 1] * CHUNK;
                slices[s] = (choir_slice){.shard = s,
                                          .vocab_chunks = {cuts[c][s], cuts[c][s + 1]},
                                          .vocab_rows = {begin < V ? begin : V, end < V ? end : V}};
                records[s] = calloc(choir_record_words(&slices[s], wanted, N_ROWS), 4);
                write_shard(s, n_threads, records[s]);
            }
            assert_int_equal(choir_results_prepare(&results, &layout, wanted, N_ROWS), CHOIR_OK);
            choir_results_merge(&results, &layout, wanted, 0, N_ROWS,
                                (const uint32_t *const *)records);
            check_rows(results.rows);
            choir_results_release(&results);
            for (int s = 0; s < SHARDS; s++)
                free(records[s]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(records_merge_to_the_whole_row)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
