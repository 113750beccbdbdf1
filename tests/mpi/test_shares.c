/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shares of a layer's rows, and their chunks: they cover everything once, and heads of k and v are
 * never cut.
 */
#include "worker/shares.h"

#include "worker/deal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MOST_THREADS = 9 };

static choir_matrix matrix_of(choir_type type, int64_t rows)
{
    choir_matrix matrix = {0};
    if (rows > 0)
        assert_int_equal(choir_matrix_plan(&matrix, type, rows, 256, 0), CHOIR_OK);
    return matrix;
}

/* The next range continues the last one. */
static void follow(choir_range range, int64_t *end)
{
    assert_int_equal(range.begin, *end);
    assert_true(range.end >= range.begin);
    *end = range.end;
}

static int64_t row_of(const choir_matrix *w, int64_t group)
{
    const int64_t row = group * CHOIR_GROUP_ROWS;
    return row < w->rows ? row : w->rows;
}

static void check_heads(choir_range groups, choir_range heads, const choir_matrix *w, int64_t S)
{
    assert_int_equal(row_of(w, groups.begin), heads.begin * S);
    assert_int_equal(row_of(w, groups.end), heads.end * S);
}

static void check_qkv_chunks(const choir_team *team, const choir_share_qkv *share,
                             const choir_matrix *k, const choir_matrix *v, int64_t S)
{
    choir_share_qkv end = {
        .q.end = share->q.begin, .k.end = share->k.begin, .v.end = share->v.begin};
    for (choir_share_qkv taken; choir_share_qkv_take(team, share, 3, &taken);) {
        const bool is_k = choir_range_size(taken.k) > 0, is_v = choir_range_size(taken.v) > 0;
        assert_int_equal((choir_range_size(taken.q) > 0) + is_k + is_v, 1);
        if (is_k) {
            follow(taken.k, &end.k.end);
            check_heads(taken.k, taken.k_heads, k, S);
        } else if (is_v) {
            follow(taken.v, &end.v.end);
            check_heads(taken.v, taken.v_heads, v, S);
        } else {
            follow(taken.q, &end.q.end);
        }
    }
    assert_int_equal(end.q.end, share->q.end);
    assert_int_equal(end.k.end, share->k.end);
    assert_int_equal(end.v.end, share->v.end);
}

/* A thread as a region of `threads` sees it. */
static choir_team team_of(choir_threads *threads, int thread)
{
    return (choir_team){.thread = thread,
                        .n_threads = threads->n,
                        .barrier = &threads->barrier,
                        .deals = threads->deals};
}

static void check_qkv(int64_t S, int64_t n_heads, int64_t n_kv_heads, choir_type v_type,
                      int n_threads)
{
    const choir_matrix q = matrix_of(CHOIR_Q4_0, n_heads * S);
    const choir_matrix k = matrix_of(CHOIR_Q4_0, n_kv_heads * S);
    const choir_matrix v = matrix_of(v_type, n_kv_heads * S);
    int64_t q_end = 0, k_end = 0, v_end = 0, k_head = 0, v_head = 0;
    choir_threads *threads;
    assert_int_equal(choir_threads_create(n_threads, &threads), CHOIR_OK);
    for (int thread = 0; thread < n_threads; thread++) {
        const choir_team team = team_of(threads, thread);
        const choir_share_qkv share = choir_share_qkv_of(&team, &q, &k, &v, S);
        follow(share.q, &q_end);
        follow(share.k, &k_end);
        follow(share.v, &v_end);
        follow(share.k_heads, &k_head);
        follow(share.v_heads, &v_head);
        check_heads(share.k, share.k_heads, &k, S);
        check_heads(share.v, share.v_heads, &v, S);
        check_qkv_chunks(&team, &share, &k, &v, S);
    }
    assert_int_equal(q_end, choir_matrix_groups(&q));
    assert_int_equal(k_end, choir_matrix_groups(&k));
    assert_int_equal(v_end, choir_matrix_groups(&v));
    assert_int_equal(k_head, n_kv_heads);
    assert_int_equal(v_head, n_kv_heads);
    choir_threads_destroy(&threads);
}

static void heads_are_never_cut(void **state)
{
    static const int64_t sizes[] = {2, 16, 24, 40, 64, 80, 128};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int64_t n_kv_heads = 0; n_kv_heads <= 8; n_kv_heads++)
            for (int n_threads = 1; n_threads <= MOST_THREADS; n_threads++) {
                check_qkv(sizes[i], 3 * n_kv_heads, n_kv_heads, CHOIR_Q4_0, n_threads);
                check_qkv(sizes[i], n_kv_heads, n_kv_heads, CHOIR_Q6_K, n_threads);
            }
}

/* The default model's layer on two threads: as even in bytes as groups of 16 rows allow. */
static void shares_are_even(void **state)
{
    const choir_matrix q = matrix_of(CHOIR_Q4_1, 576), k = matrix_of(CHOIR_Q4_1, 192);
    const choir_team first = {.thread = 0, .n_threads = 2};
    (void)state;
    const choir_share_qkv share = choir_share_qkv_of(&first, &q, &k, &k, 64);
    assert_int_equal(share.q.end, 30);
    assert_int_equal(share.k.end, 0);
    assert_int_equal(share.v.end, 0);
}

static void check_columns(const choir_share_ff *share)
{
    assert_int_equal(share->groups.begin * CHOIR_GROUP_ROWS,
                     share->blocks.begin * CHOIR_BLOCK_COLUMNS);
    assert_int_equal(share->groups.end * CHOIR_GROUP_ROWS, share->blocks.end * CHOIR_BLOCK_COLUMNS);
}

/* All columns once, in chunks that T rows take. */
static void check_gate_and_up(int64_t n_blocks, int n_threads, int T)
{
    const choir_matrix gate = matrix_of(CHOIR_Q4_0, n_blocks * CHOIR_BLOCK_COLUMNS);
    int64_t end = 0;
    choir_threads *threads;
    assert_int_equal(choir_threads_create(n_threads, &threads), CHOIR_OK);
    for (int thread = 0; thread < n_threads; thread++) {
        const choir_team team = team_of(threads, thread);
        const choir_share_ff share = choir_share_ff_of(&team, &gate);
        const int64_t chunk = choir_share_chunk(&team, &gate, T);
        check_columns(&share);
        assert_int_equal(share.blocks.begin, end);
        for (choir_share_ff taken; choir_share_ff_take(&team, &share, chunk, &taken);) {
            const int64_t n = choir_range_size(taken.blocks);
            assert_in_range(n * CHOIR_BLOCK_COLUMNS, 1, choir_share_ff_columns(&gate, n_threads));
            follow(taken.blocks, &end);
            check_columns(&taken);
        }
        assert_int_equal(share.blocks.end, end);
    }
    assert_int_equal(end, n_blocks);
    choir_threads_destroy(&threads);
}

static void gate_and_up_share_columns(void **state)
{
    (void)state;
    for (int64_t n_blocks = 0; n_blocks <= 100; n_blocks++)
        for (int n_threads = 1; n_threads <= MOST_THREADS; n_threads++) {
            check_gate_and_up(n_blocks, n_threads, 1);
            check_gate_and_up(n_blocks, n_threads, CHOIR_FEW_ROWS + 1);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_never_cut),
        cmocka_unit_test(shares_are_even),
        cmocka_unit_test(gate_and_up_share_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
