/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts: leaves of known shapes, slices that cover everything once, splits and their errors.
 * Trees: both functions against a symbolic tree([0, L)) written down as the recursive definition
 * says it.
 */
#include "model/partition.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const choir_hparams tiny = {.n_layers = 8,
                                   .width = 256,
                                   .n_heads = 8,
                                   .n_kv_heads = 2,
                                   .head_size = 32,
                                   .ff_width = 768,
                                   .vocab_size = 1024};
static const choir_hparams smollm = {.n_layers = 30,
                                     .width = 576,
                                     .n_heads = 9,
                                     .n_kv_heads = 3,
                                     .head_size = 64,
                                     .ff_width = 1536,
                                     .vocab_size = 49152};
static const choir_hparams large = {.n_layers = 80,
                                    .width = 8192,
                                    .n_heads = 64,
                                    .n_kv_heads = 8,
                                    .head_size = 128,
                                    .ff_width = 28672,
                                    .vocab_size = 128256};
/* Odd sizes: leaves and chunks of which the last is shorter. */
static const choir_hparams odd = {.n_layers = 3,
                                  .width = 96,
                                  .n_heads = 15,
                                  .n_kv_heads = 5,
                                  .head_size = 32,
                                  .ff_width = 32 * 131,
                                  .vocab_size = 1000};

static choir_layout *make(const choir_hparams *hparams, const choir_layout_options *options)
{
    choir_layout *layout = NULL;
    const choir_status status = choir_layout_create(hparams, options, &layout);
    if (status)
        fail_msg("%s", choir_error());
    return layout;
}

static void test_units_of_known_shapes(void **state)
{
    static const struct {
        const choir_hparams *hparams;
        int64_t heads_per_leaf, n_attention_leaves, ff_leaf_blocks, n_ff_leaves, chunk, n_chunks;
    } cases[] = {
        {&tiny, 2, 4, 2, 12, 16, 64},
        {&smollm, 1, 9, 2, 24, 1024, 48},
        {&large, 1, 64, 16, 56, 2048, 63},
        {&odd, 2, 8, 4, 33, 16, 63},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        choir_layout *layout = make(cases[i].hparams, &(choir_layout_options){.n_ranks = 1});
        assert_int_equal(layout->heads_per_leaf, cases[i].heads_per_leaf);
        assert_int_equal(layout->n_attention_leaves, cases[i].n_attention_leaves);
        assert_int_equal(layout->ff_leaf_blocks, cases[i].ff_leaf_blocks);
        assert_int_equal(layout->n_ff_leaves, cases[i].n_ff_leaves);
        assert_int_equal(layout->vocab_chunk, cases[i].chunk);
        assert_int_equal(layout->n_vocab_chunks, cases[i].n_chunks);
        choir_layout_destroy(&layout);
        assert_null(layout);
        choir_layout_destroy(&layout);
    }
}

static void test_heads_per_leaf(void **state)
{
    /* heads, head size, heads per leaf: width a multiple of 32, at least 64, at most 64 leaves. */
    static const int64_t cases[][3] = {{1, 32, 1},  {4, 16, 4},  {8, 80, 2},
                                       {12, 24, 4}, {32, 96, 1}, {130, 64, 3}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        choir_hparams hparams = tiny;
        hparams.n_heads = hparams.n_kv_heads = cases[i][0];
        hparams.head_size = cases[i][1];
        choir_layout *layout = make(&hparams, &(choir_layout_options){.n_ranks = 1});
        assert_int_equal(layout->heads_per_leaf, cases[i][2]);
        choir_layout_destroy(&layout);
    }
}

/* The next range of a kind begins where the last ended; kinds of one shard follow from each other.
 */
static void follow(choir_range range, int64_t *end)
{
    assert_int_equal(range.begin, *end);
    assert_true(range.end >= range.begin);
    *end = range.end;
}

static void check_cover(const choir_hparams *hparams, const choir_layout *layout)
{
    const int64_t group = hparams->n_heads / hparams->n_kv_heads;
    int64_t layers = 0;
    for (int stage = 0; stage < layout->n_stages; stage++) {
        int64_t leaves = 0, heads = 0, ff_leaves = 0, columns = 0, chunks = 0, rows = 0;
        follow(layout->slices[stage * layout->n_shards].layers, &layers);
        for (int shard = 0; shard < layout->n_shards; shard++) {
            const int rank = stage * layout->n_shards + shard;
            const choir_slice *slice = &layout->slices[rank];
            assert_int_equal(slice->rank, rank);
            assert_int_equal(slice->stage, stage);
            assert_int_equal(slice->shard, shard);
            assert_int_equal(slice->layers.end, layers);
            assert_int_equal(slice->is_first_stage, stage == 0);
            assert_int_equal(slice->is_last_stage, stage == layout->n_stages - 1);
            follow(slice->attention_leaves, &leaves);
            follow(slice->heads, &heads);
            follow(slice->ff_leaves, &ff_leaves);
            follow(slice->ff_columns, &columns);
            if (slice->is_last_stage) {
                follow(slice->vocab_chunks, &chunks);
                follow(slice->vocab_rows, &rows);
            } else {
                assert_int_equal(slice->vocab_chunks.end, 0);
                assert_int_equal(slice->vocab_rows.end, 0);
            }
            const choir_range attention =
                choir_layout_attention_columns(layout, slice->attention_leaves);
            assert_int_equal(attention.begin, slice->heads.begin * hparams->head_size);
            assert_int_equal(attention.end, slice->heads.end * hparams->head_size);
            for (int64_t head = 0; head < hparams->n_heads; head++) {
                const int64_t kv = head / group;
                if (head >= slice->heads.begin && head < slice->heads.end)
                    assert_true(kv >= slice->kv_heads.begin && kv < slice->kv_heads.end);
            }
            const int64_t n_heads = choir_range_size(slice->heads);
            const int64_t n_kv = choir_range_size(slice->kv_heads);
            assert_true(n_heads ? n_kv >= 1 && n_kv <= (n_heads + 2 * (group - 1)) / group
                                : n_kv == 0);
        }
        assert_int_equal(leaves, layout->n_attention_leaves);
        assert_int_equal(heads, hparams->n_heads);
        assert_int_equal(ff_leaves, layout->n_ff_leaves);
        assert_int_equal(columns, hparams->ff_width);
        if (stage == layout->n_stages - 1) {
            assert_int_equal(chunks, layout->n_vocab_chunks);
            assert_int_equal(rows, hparams->vocab_size);
        }
    }
    assert_int_equal(layers, hparams->n_layers);
}

static void test_slices_cover_the_model(void **state)
{
    static const choir_hparams *const shapes[] = {&tiny, &smollm, &large, &odd};
    static const double weights[] = {5, 3, 1, 0.25, 7, 1e-9, 2, 2, 100, 1, 1, 1e9};
    (void)state;
    for (int i = 0; i < 4; i++)
        for (int shards = 1; shards <= 12; shards++)
            for (int stages = 1; stages <= 5; stages++)
                for (int uneven = 0; uneven < 2; uneven++) {
                    choir_layout_options options = {
                        .n_ranks = shards * stages, .n_shards = shards, .n_stages = stages};
                    if (uneven) {
                        options.tensor_split = options.layer_split = weights;
                        options.n_tensor_split = shards;
                        options.n_layer_split = stages;
                    }
                    choir_layout *layout = make(shapes[i], &options);
                    check_cover(shapes[i], layout);
                    choir_layout_destroy(&layout);
                }
}

static void test_known_cuts(void **state)
{
    static const double weights[] = {5, 3, 1};
    (void)state;
    choir_layout_options options = {.n_ranks = 2};
    choir_layout *layout = make(&smollm, &options);
    assert_int_equal(layout->slices[1].heads.begin, 5);
    assert_int_equal(layout->slices[0].kv_heads.end, 2);
    assert_int_equal(layout->slices[1].kv_heads.begin, 1); /* group 1 is kept by both */
    assert_int_equal(layout->slices[1].kv_heads.end, 3);
    choir_layout_destroy(&layout);

    options = (choir_layout_options){.n_ranks = 3, .tensor_split = weights, .n_tensor_split = 3};
    layout = make(&smollm, &options);
    assert_int_equal(layout->n_shards, 3);
    assert_int_equal(layout->slices[0].heads.end, 5);
    assert_int_equal(layout->slices[1].heads.end, 8);
    choir_layout_destroy(&layout);

    /* More shards than leaves: some own no head, and still take their place. */
    options = (choir_layout_options){.n_ranks = 8, .n_shards = 8};
    layout = make(&tiny, &options);
    int idle = 0;
    for (int rank = 0; rank < 8; rank++)
        idle += choir_range_size(layout->slices[rank].heads) == 0;
    assert_int_equal(idle, 4);
    choir_layout_destroy(&layout);
}

static void test_equal_powers_of_two_are_single_subtrees(void **state)
{
    (void)state;
    for (int n = 1; n <= 16; n *= 2) {
        choir_layout *layout = make(&large, &(choir_layout_options){.n_ranks = n, .n_shards = n});
        for (int rank = 0; rank < n; rank++) {
            const choir_slice *slice = &layout->slices[rank];
            choir_range subtrees[CHOIR_MAX_SUBTREES];
            assert_int_equal(
                choir_tree_subtrees(layout->n_attention_leaves, slice->attention_leaves, subtrees),
                1);
            assert_int_equal(choir_tree_subtrees(layout->n_ff_leaves, slice->ff_leaves, subtrees),
                             1);
        }
        choir_layout_destroy(&layout);
    }
}

static void test_default_shape(void **state)
{
    /* ranks, shards chosen for 4 attention leaves, for 9. */
    static const int cases[][3] = {{1, 1, 1}, {2, 2, 2}, {3, 3, 3}, {4, 4, 4},  {5, 1, 5},
                                   {6, 3, 6}, {8, 4, 8}, {9, 3, 9}, {12, 4, 6}, {10, 2, 5}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int model = 0; model < 2; model++) {
            choir_layout *layout =
                make(model ? &smollm : &tiny, &(choir_layout_options){.n_ranks = cases[i][0]});
            assert_int_equal(layout->n_shards, cases[i][1 + model]);
            assert_int_equal(layout->n_stages, cases[i][0] / cases[i][1 + model]);
            choir_layout_destroy(&layout);
        }
    choir_layout *layout = make(&tiny, &(choir_layout_options){.n_ranks = 6, .n_stages = 2});
    assert_int_equal(layout->n_shards, 3);
    choir_layout_destroy(&layout);
}

static void refuse(const choir_layout_options *options, const char *word)
{
    choir_layout *layout = NULL;
    assert_int_equal(choir_layout_create(&smollm, options, &layout), CHOIR_EUSAGE);
    assert_null(layout);
    if (!strstr(choir_error(), word))
        fail_msg("\"%s\" does not name %s", choir_error(), word);
}

static void test_wrong_wishes_are_refused(void **state)
{
    static const double zero[] = {1, 0}, negative[] = {1, -1}, infinite[] = {INFINITY, 1},
                        huge[] = {1e308, 1e308}, fine[] = {1, 1};
    const double not_a_number[] = {NAN, 1};
    const double *bad[] = {zero, negative, infinite, huge, not_a_number};
    (void)state;
    refuse(&(choir_layout_options){.n_ranks = 0}, "-n");
    refuse(&(choir_layout_options){.n_ranks = -3}, "-n");
    refuse(&(choir_layout_options){.n_ranks = CHOIR_MAX_RANKS + 1}, "-n");
    refuse(&(choir_layout_options){.n_ranks = 4, .n_shards = 3}, "-tp 3");
    refuse(&(choir_layout_options){.n_ranks = 4, .n_stages = 5}, "-pp 5");
    refuse(&(choir_layout_options){.n_ranks = 4, .n_stages = -1}, "-pp");
    refuse(&(choir_layout_options){.n_ranks = 4, .n_shards = -1}, "-tp");
    refuse(&(choir_layout_options){.n_ranks = 4, .n_shards = 2, .n_stages = 1}, "-pp 1");
    refuse(&(choir_layout_options){.n_ranks = 4, .n_shards = 65536, .n_stages = 65536}, "-tp");
    refuse(
        &(choir_layout_options){
            .n_ranks = 4, .n_shards = 4, .tensor_split = fine, .n_tensor_split = 2},
        "--tensor-split");
    refuse(
        &(choir_layout_options){
            .n_ranks = 4, .n_stages = 4, .layer_split = fine, .n_layer_split = 2},
        "--layer-split");
    for (int i = 0; i < 5; i++) {
        refuse(&(choir_layout_options){.n_ranks = 2, .tensor_split = bad[i], .n_tensor_split = 2},
               "--tensor-split");
        refuse(&(choir_layout_options){.n_ranks = 2, .layer_split = bad[i], .n_layer_split = 2},
               "--layer-split");
    }
    choir_hparams narrow = tiny;
    choir_layout *layout = NULL;
    narrow.ff_width = 100;
    assert_int_equal(choir_layout_create(&narrow, &(choir_layout_options){.n_ranks = 1}, &layout),
                     CHOIR_EUNSUPPORTED);
}

/* Whether [begin, end) is a node of tree([lower, upper)), by the definition. */
static int is_node(int64_t lower, int64_t upper, int64_t begin, int64_t end)
{
    if (lower == begin && upper == end)
        return 1;
    if (upper - lower == 1)
        return 0;
    const int64_t middle = lower + (upper - lower + 1) / 2;
    return is_node(lower, middle, begin, end) || is_node(middle, upper, begin, end);
}

/* The maximal nodes of tree([lower, upper)) inside [begin, end), by the definition. */
static int maximal(int64_t lower, int64_t upper, choir_range range, choir_range *out, int n)
{
    if (upper <= range.begin || lower >= range.end)
        return n;
    if (lower >= range.begin && upper <= range.end) {
        out[n] = (choir_range){lower, upper};
        return n + 1;
    }
    const int64_t middle = lower + (upper - lower + 1) / 2;
    return maximal(middle, upper, range, out, maximal(lower, middle, range, out, n));
}

static void test_subtrees_of_every_range(void **state)
{
    int most = 0;
    (void)state;
    for (int64_t L = 1; L <= 64; L++)
        for (int64_t begin = 0; begin <= L; begin++)
            for (int64_t end = begin; end <= L; end++) {
                choir_range expected[64], found[CHOIR_MAX_SUBTREES];
                const int n = maximal(0, L, (choir_range){begin, end}, expected, 0);
                assert_int_equal(choir_tree_subtrees(L, (choir_range){begin, end}, found), n);
                assert_memory_equal(found, expected, (size_t)n * sizeof found[0]);
                most = n > most ? n : most;
            }
    assert_true(most <= CHOIR_MAX_SUBTREES);
}

/*
 * A sum as a hash that tells apart every order and every bracket, so that two sums are equal only
 * where they are the same expression.
 */
static uint64_t plus(uint64_t a, uint64_t b)
{
    uint64_t x = a * 0x9E3779B97F4A7C15u + (b ^ (b >> 29)) * 0xBF58476D1CE4E5B9u + 1;
    x ^= x >> 31;
    return x * 0x94D049BB133111EBu;
}

static uint64_t tree(int64_t lower, int64_t upper)
{
    if (upper - lower == 1)
        return (uint64_t)lower + 1000;
    const int64_t middle = lower + (upper - lower + 1) / 2;
    return plus(tree(lower, middle), tree(middle, upper));
}

static uint64_t run_plan(const choir_range *pieces, int n, const uint8_t *merges)
{
    uint64_t stack[64];
    int height = 0;
    for (int i = 0; i < n; i++) {
        stack[height++] = tree(pieces[i].begin, pieces[i].end);
        for (int k = 0; k < merges[i]; k++) {
            assert_true(height >= 2);
            stack[height - 2] = plus(stack[height - 2], stack[height - 1]);
            height--;
        }
    }
    assert_int_equal(height, 1);
    return stack[0];
}

/* Cuts [0, L) at every set bit of `cuts`, as shards do, and sums what they send. */
static void check_cut(int64_t L, uint64_t cuts)
{
    choir_range pieces[64] = {{0, 0}};
    uint8_t merges[64];
    int n = 0;
    int64_t begin = 0;
    for (int64_t leaf = 1; leaf <= L; leaf++)
        if (leaf == L || (cuts >> leaf & 1)) {
            choir_range subtrees[CHOIR_MAX_SUBTREES];
            const int k = choir_tree_subtrees(L, (choir_range){begin, leaf}, subtrees);
            memcpy(pieces + n, subtrees, (size_t)k * sizeof pieces[0]);
            n += k;
            begin = leaf;
        }
    assert_int_equal(choir_tree_combine_plan(L, pieces, n, merges), CHOIR_OK);
    assert_true(run_plan(pieces, n, merges) == tree(0, L));
}

static void test_every_cut_sums_to_the_tree(void **state)
{
    uint64_t random = 1;
    (void)state;
    for (int64_t L = 1; L <= 64; L++) {
        if (L <= 12)
            for (uint64_t cuts = 0; cuts < (uint64_t)1 << L; cuts++)
                check_cut(L, cuts);
        check_cut(L, ~(uint64_t)0);
        for (int64_t a = 0; a < L; a++)
            for (int64_t b = a; b < L; b++)
                check_cut(L, (uint64_t)1 << a | (uint64_t)1 << b);
        for (int i = 0; i < 200; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            check_cut(L, random ^ random >> 33);
        }
    }
}

static void test_pieces_that_are_no_sum_are_refused(void **state)
{
    uint8_t merges[64];
    (void)state;
    for (int64_t L = 1; L <= 64; L++)
        for (int64_t begin = 0; begin < L; begin++)
            for (int64_t end = begin + 1; end <= L; end++) {
                /* [0, begin) and [end, L) as subtrees, [begin, end) as one piece. */
                choir_range pieces[2 * CHOIR_MAX_SUBTREES + 1];
                int n = choir_tree_subtrees(L, (choir_range){0, begin}, pieces);
                pieces[n++] = (choir_range){begin, end};
                n += choir_tree_subtrees(L, (choir_range){end, L}, pieces + n);
                assert_int_equal(choir_tree_combine_plan(L, pieces, n, merges),
                                 is_node(0, L, begin, end) ? CHOIR_OK : CHOIR_EINTERNAL);
            }
    const choir_range gap[] = {{0, 2}, {3, 4}}, twice[] = {{0, 2}, {0, 2}, {2, 4}},
                      open[] = {{0, 2}}, empty[] = {{0, 2}, {2, 2}, {2, 4}},
                      beyond[] = {{0, 2}, {2, 5}};
    assert_int_equal(choir_tree_combine_plan(4, gap, 2, merges), CHOIR_EINTERNAL);
    assert_int_equal(choir_tree_combine_plan(4, twice, 3, merges), CHOIR_EINTERNAL);
    assert_int_equal(choir_tree_combine_plan(4, open, 1, merges), CHOIR_EINTERNAL);
    assert_int_equal(choir_tree_combine_plan(4, empty, 3, merges), CHOIR_EINTERNAL);
    assert_int_equal(choir_tree_combine_plan(4, beyond, 2, merges), CHOIR_EINTERNAL);
    assert_int_equal(choir_tree_combine_plan(4, open, 0, merges), CHOIR_EINTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_units_of_known_shapes),
        cmocka_unit_test(test_heads_per_leaf),
        cmocka_unit_test(test_slices_cover_the_model),
        cmocka_unit_test(test_known_cuts),
        cmocka_unit_test(test_equal_powers_of_two_are_single_subtrees),
        cmocka_unit_test(test_default_shape),
        cmocka_unit_test(test_wrong_wishes_are_refused),
        cmocka_unit_test(test_subtrees_of_every_range),
        cmocka_unit_test(test_every_cut_sums_to_the_tree),
        cmocka_unit_test(test_pieces_that_are_no_sum_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
