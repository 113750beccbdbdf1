/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of logits, written by several threads and shards and merged: the best entries, the
 * log-sum-exp, targets and whole rows are those of the plain definitions over the whole row.
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

enum { V = 1000, CHUNK = 16, N_CHUNKS = 63, N_ROWS = 6, SHARDS = 3 };

static choir_slice slices[SHARDS];
static const choir_layout layout = {.n_ranks = SHARDS,
                                    .n_stages = 1,
                                    .n_shards = SHARDS,
                                    .vocab_size = V,
                                    .vocab_chunk = CHUNK,
                                    .n_vocab_chunks = N_CHUNKS,
                                    .slices = slices};
static const choir_wanted wanted[N_ROWS] = {
    {0, -1, 1, false, NULL}, {1, 5, 20, true, NULL},  {2, 999, 64, false, NULL},
    {3, -1, 0, true, NULL},  {4, 17, 3, false, NULL}, {5, -1, 64, false, NULL},
};
static float logits[N_ROWS][V];

/* Few different values, so that there are many ties, also between chunks and of -0 with +0. */
static void fill_logits(void)
{
    for (int row = 0; row < N_ROWS; row++)
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
    float mine[N_ROWS * V];
    choir_threads *threads;
    assert_int_equal(choir_kernels_get(choir_level_best(), &kernels), CHOIR_OK);
    for (int row = 0; row < N_ROWS; row++)
        memcpy(mine + row * n, logits[row] + slice->vocab_rows.begin, (size_t)n * sizeof *mine);
    assert_int_equal(choir_threads_create(n_threads, &threads), CHOIR_OK);
#pragma omp parallel num_threads(n_threads)
    {
        const choir_team team = choir_team_here(threads);
        choir_record_write(record, kernels, &layout, slice, wanted, N_ROWS, mine, NULL, &team);
    }
    choir_threads_destroy(&threads);
}

static void check_best(const choir_row_result *found, int row)
{
    bool is_taken[V] = {false};
    assert_int_equal(found->n_top, wanted[row].n_top);
    for (int place = 0; place < found->n_top; place++) {
        int best = -1;
        for (int i = 0; i < V; i++)
            if (!is_taken[i] && (best < 0 || logits[row][i] > logits[row][best]))
                best = i;
        is_taken[best] = true;
        assert_int_equal(found->top_ids[place], best);
        assert_memory_equal(&found->top_logits[place], &logits[row][best], sizeof(float));
    }
}

static void check_row(const choir_row_result *found, int row)
{
    const choir_kernels *ref;
    float m = -INFINITY, l = 0.0f;
    assert_int_equal(choir_kernels_get(CHOIR_LEVEL_REF, &ref), CHOIR_OK);
    assert_int_equal(found->is_finite, row < 4);
    if (!found->is_finite)
        return;
    for (int at = 0; at < V; at += CHUNK) {
        float chunk_m, chunk_l;
        ref->lse_chunk(logits[row] + at, V - at < CHUNK ? V - at : CHUNK, &chunk_m, &chunk_l);
        choir_lse_merge(&m, &l, chunk_m, chunk_l);
    }
    const float lse = m + choir_logf(l);
    assert_memory_equal(&found->lse, &lse, sizeof lse);
    if (wanted[row].target >= 0)
        assert_memory_equal(&found->target_logit, &logits[row][wanted[row].target], sizeof(float));
    check_best(found, row);
    if (wanted[row].is_full)
        assert_memory_equal(found->logits, logits[row], sizeof logits[row]);
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
                slices[s] = (choir_slice){.vocab_chunks = {cuts[c][s], cuts[c][s + 1]},
                                          .vocab_rows = {begin < V ? begin : V, end < V ? end : V}};
                records[s] = calloc(choir_record_words(&slices[s], wanted, N_ROWS), 4);
                write_shard(s, n_threads, records[s]);
            }
            assert_int_equal(choir_results_prepare(&results, &layout, wanted, N_ROWS), CHOIR_OK);
            choir_results_merge(&results, &layout, wanted, 0, N_ROWS,
                                (const uint32_t *const *)records);
            for (int row = 0; row < N_ROWS; row++)
                check_row(&results.rows[row], row);
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
