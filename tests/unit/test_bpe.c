/* SPDX-License-Identifier: Apache-2.0 */
#include "model/bpe.h"

#include "common/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static choir_bpe *make(const choir_bpe_merge *merges, size_t n_merges)
{
    choir_bpe_merge *copy;
    choir_bpe *bpe;
    assert_int_equal(choir_alloc(n_merges, sizeof *copy, (void **)&copy), CHOIR_OK);
    memcpy(copy, merges, n_merges * sizeof *copy);
    assert_int_equal(choir_bpe_create(&copy, n_merges, &bpe), CHOIR_OK);
    assert_null(copy);
    return bpe;
}

static void check(const choir_bpe *bpe, const int32_t *ids, size_t n_ids, const int32_t *expected,
                  size_t n_expected)
{
    int32_t merged[32];
    choir_bpe_scratch scratch = {0};
    assert_in_range(n_ids, 0, 32);
    memcpy(merged, ids, n_ids * sizeof *ids);
    assert_int_equal(choir_bpe_apply(bpe, &scratch, merged, &n_ids), CHOIR_OK);
    assert_int_equal(n_ids, n_expected);
    assert_memory_equal(merged, expected, n_expected * sizeof *ids);
    choir_bpe_scratch_release(&scratch);
}

#define CHECK(bpe, in, out)                                                                        \
    check(bpe, in, sizeof in / sizeof in[0], out, sizeof out / sizeof out[0])

/* Tokens: 0..3 are a, b, c, d; the results follow. */
static void the_lowest_rank_merges_first(void **state)
{
    (void)state;
    static const choir_bpe_merge merges[] = {{1, 2, 4}, {0, 1, 5}, {5, 2, 6}, {0, 4, 7}};
    static const int32_t in[] = {0, 1, 2}, out[] = {7};
    static const int32_t in_pair[] = {0, 1, 3}, out_pair[] = {5, 3};
    choir_bpe *bpe = make(merges, 4);
    CHECK(bpe, in, out);
    CHECK(bpe, in_pair, out_pair);
    choir_bpe_destroy(&bpe);
    choir_bpe_destroy(&bpe);
}

static void the_leftmost_of_equal_ranks_merges_first(void **state)
{
    (void)state;
    static const choir_bpe_merge merges[] = {{0, 0, 4}};
    static const int32_t in[] = {0, 0, 0, 0, 0}, out[] = {4, 4, 0};
    choir_bpe *bpe = make(merges, 1);
    CHECK(bpe, in, out);
    choir_bpe_destroy(&bpe);
}

static void of_equal_pairs_the_first_counts(void **state)
{
    (void)state;
    static const choir_bpe_merge merges[] = {{0, 1, 4}, {2, 3, 5}, {0, 1, 6}};
    static const int32_t in[] = {0, 1, 2, 3}, out[] = {4, 5};
    choir_bpe *bpe = make(merges, 3);
    CHECK(bpe, in, out);
    choir_bpe_destroy(&bpe);
}

static void bytes_without_a_token_stand_between_and_are_left_out(void **state)
{
    (void)state;
    static const choir_bpe_merge merges[] = {{0, 1, 4}};
    static const int32_t in[] = {-1, 0, -1, 1, -1, 0, 1, -1}, out[] = {0, 1, 4};
    choir_bpe *bpe = make(merges, 1);
    CHECK(bpe, in, out);
    choir_bpe_destroy(&bpe);
}

static void nothing_and_no_merges_are_fine(void **state)
{
    (void)state;
    static const int32_t in[] = {3, 2, 1};
    choir_bpe *bpe = make((const choir_bpe_merge[]){{0, 0, 0}}, 0);
    CHECK(bpe, in, in);
    check(bpe, in, 0, in, 0);
    choir_bpe_destroy(&bpe);
}

/* The rule word for word: again and again the lowest rank, leftmost, in the whole list. */
static size_t merge_simply(const choir_bpe_merge *merges, size_t n_merges, int32_t *ids, size_t n)
{
    for (;;) {
        size_t best = n_merges, at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t rank = 0; rank < best; rank++)
                if (merges[rank].left == ids[i] && merges[rank].right == ids[i + 1]) {
                    best = rank;
                    at = i;
                }
        if (best == n_merges)
            return n;
        ids[at] = merges[best].result;
        memmove(&ids[at + 1], &ids[at + 2], (n - at - 2) * sizeof *ids);
        n--;
    }
}

static void random_vocabularies_give_what_the_rule_says(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (int round = 0; round < 300; round++) {
        choir_bpe_merge merges[40];
        int32_t ids[48], expected[48];
        size_t n = sizeof ids / sizeof ids[0];
        for (int i = 0; i < 40; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            /* Few letters, so that merges meet; parts among the tokens that exist so far. */
            merges[i] = (choir_bpe_merge){(int32_t)((seed >> 33) % (unsigned)(3 + i)),
                                          (int32_t)((seed >> 48) % (unsigned)(3 + i)), 3 + i};
        }
        for (size_t i = 0; i < n; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            ids[i] = (int32_t)((seed >> 33) % 3);
        }
        memcpy(expected, ids, sizeof ids);
        const size_t n_expected = merge_simply(merges, 40, expected, n);
        choir_bpe *bpe = make(merges, 40);
        choir_bpe_scratch scratch = {0};
        assert_int_equal(choir_bpe_apply(bpe, &scratch, ids, &n), CHOIR_OK);
        assert_int_equal(n, n_expected);
        assert_memory_equal(ids, expected, n * sizeof *ids);
        choir_bpe_scratch_release(&scratch);
        choir_bpe_destroy(&bpe);
    }
}

/* 4 MiB of one letter, with merges that double it again and again, and with one for every length.
 */
static void t21_a_long_piece_costs_n_log_n(void **state)
{
    (void)state;
    enum { N = 4 << 20, LOG_N = 22 };
    choir_bpe_merge doubling[16], growing[64];
    for (int32_t i = 0; i < 16; i++)
        doubling[i] = (choir_bpe_merge){i, i, i + 1};
    for (int32_t i = 0; i < 64; i++)
        growing[i] = (choir_bpe_merge){i, 0, i + 1};
    choir_bpe *bpes[] = {make(doubling, 16), make(growing, 64)};
    int32_t *ids;
    assert_int_equal(choir_alloc(N, sizeof *ids, (void **)&ids), CHOIR_OK);
    for (int i = 0; i < 2; i++) {
        choir_bpe_scratch scratch = {0};
        size_t n = N;
        memset(ids, 0, N * sizeof *ids);
        assert_int_equal(choir_bpe_apply(bpes[i], &scratch, ids, &n), CHOIR_OK);
        assert_int_equal(n, i == 0 ? N >> 16 : N / 2);
        assert_in_range(scratch.steps, 1, (uint64_t)3 * N * LOG_N);
        choir_bpe_scratch_release(&scratch);
        choir_bpe_destroy(&bpes[i]);
    }
    free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lowest_rank_merges_first),
        cmocka_unit_test(the_leftmost_of_equal_ranks_merges_first),
        cmocka_unit_test(of_equal_pairs_the_first_counts),
        cmocka_unit_test(bytes_without_a_token_stand_between_and_are_left_out),
        cmocka_unit_test(nothing_and_no_merges_are_fine),
        cmocka_unit_test(random_vocabularies_give_what_the_rule_says),
        cmocka_unit_test(t21_a_long_piece_costs_n_log_n),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
