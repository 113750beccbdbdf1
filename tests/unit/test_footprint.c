/* SPDX-License-Identifier: Apache-2.0 */
/* Footprints of the tiny shape, against sums over the file's tensors and numbers worked out by
 * hand. */
#include "model/footprint.h"

#include "tests/fixtures/hostile.h"
#include "tests/fixtures/model_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { D = 256, LAYERS = 8 };

typedef struct fixture {
    choir_memory_file file;
    choir_model *model;
} fixture;

static fixture make(const char *shape, choir_type type, bool has_output)
{
    fixture made;
    choir_recipe recipe = {.shape = *choir_shape_find(shape), .type = type};
    recipe.shape.has_output |= has_output;
    choir_memory_file_create(&made.file, "", 0);
    assert_int_equal(choir_recipe_write(&recipe, made.file.path, true), CHOIR_OK);
    assert_int_equal(choir_model_open_header(made.file.path, &made.model), CHOIR_OK);
    return made;
}

static void drop(fixture *made)
{
    choir_model_destroy(&made->model);
    choir_memory_file_close(&made->file);
}

/* The footprint of one rank of a layout, or of all of them together (rank -1). */
static choir_footprint measure(const fixture *made, int n_shards, int n_stages, int rank,
                               const choir_footprint_options *options)
{
    const choir_layout_options wishes = {
        .n_ranks = n_shards * n_stages, .n_shards = n_shards, .n_stages = n_stages};
    choir_layout *layout = NULL;
    choir_footprint total = {0};
    assert_int_equal(choir_layout_create(choir_model_hparams(made->model), &wishes, &layout),
                     CHOIR_OK);
    for (int i = 0; i < layout->n_ranks; i++) {
        choir_footprint part;
        if (rank >= 0 && i != rank)
            continue;
        assert_int_equal(choir_footprint_of(made->model, layout, i, options, &part), CHOIR_OK);
        choir_footprint_add(&total, &part);
    }
    choir_layout_destroy(&layout);
    return total;
}

static const choir_footprint_options plain = {.key_type = CHOIR_CACHE_F16,
                                              .value_type = CHOIR_CACHE_F16};

/* Bytes of all tensors, without an embedding that is only looked up in. */
static uint64_t tensor_bytes(const choir_model *model)
{
    const choir_gguf *gguf = choir_model_gguf(model);
    uint64_t bytes = 0;
    for (size_t i = 0; i < choir_gguf_n_tensors(gguf); i++)
        bytes += choir_gguf_tensor_at(gguf, i)->bytes;
    if (!choir_model_hparams(model)->output_is_shared)
        bytes -= choir_model_tensor(model, CHOIR_TENSOR_EMBEDDING, 0)->bytes;
    return bytes;
}

static void test_one_rank_reads_every_tensor_once(void **state)
{
    int n_types;
    const choir_type_info *types = choir_type_all(&n_types);
    (void)state;
    for (int i = 0; i < n_types; i++)
        for (int has_output = 0; has_output < 2; has_output++) {
            fixture made = make("tiny", types[i].type, has_output);
            const choir_footprint f = measure(&made, 1, 1, 0, &plain);
            assert_int_equal(f.file_bytes, tensor_bytes(made.model));
            assert_int_equal(f.norm_bytes, (2 * LAYERS + 1) * D * 4);
            /* Stages hold the same, each its layers. */
            const choir_footprint staged = measure(&made, 1, 3, -1, &plain);
            assert_int_equal(staged.file_bytes, f.file_bytes);
            assert_int_equal(staged.weights_bytes, f.weights_bytes);
            assert_int_equal(staged.kv_page_bytes, f.kv_page_bytes);
            drop(&made);
        }
}

static void test_packed_bytes(void **state)
{
    (void)state;
    fixture made = make("tiny", CHOIR_Q4_0, false);
    const choir_footprint f = measure(&made, 1, 1, 0, &plain);
    /* 16 rows of a block take what they take in the file: 16 halves and 256 bytes of nibbles. */
    assert_int_equal(f.weights_bytes, f.file_bytes - f.norm_bytes);
    choir_footprint_options as_f32 = plain;
    as_f32.as_f32 = true;
    assert_int_equal(measure(&made, 1, 1, 0, &as_f32).weights_bytes, f.weights_bytes / 18 * 128);
    assert_int_equal(measure(&made, 1, 1, 0, &as_f32).file_bytes, f.file_bytes);
    drop(&made);
}

static void test_shards_share_the_weights(void **state)
{
    (void)state;
    fixture made = make("tiny", CHOIR_Q4_0, false);
    const choir_footprint one = measure(&made, 1, 1, 0, &plain);
    const choir_footprint two = measure(&made, 2, 1, -1, &plain);
    assert_int_equal(two.weights_bytes, one.weights_bytes);
    assert_int_equal(two.norm_bytes, 2 * one.norm_bytes);
    assert_int_equal(two.kv_page_bytes, one.kv_page_bytes);
    /* Four shards cut both groups of heads: every KV head is kept twice. */
    const choir_footprint four = measure(&made, 4, 1, -1, &plain);
    const uint64_t kv_matrices = (uint64_t)LAYERS * 2 * 64 * D / 32 * 18;
    assert_int_equal(four.weights_bytes, one.weights_bytes + kv_matrices);
    assert_int_equal(four.kv_page_bytes, 2 * one.kv_page_bytes);
    drop(&made);

    /* Cuts at columns 128 of 256 and 384 of 768 go through a super-block, which both sides read. */
    made = make("tiny", CHOIR_Q4_K, false);
    const choir_footprint whole = measure(&made, 1, 1, 0, &plain);
    const choir_footprint halves = measure(&made, 2, 1, -1, &plain);
    assert_int_equal(halves.file_bytes - halves.norm_bytes,
                     whole.file_bytes - whole.norm_bytes + (uint64_t)LAYERS * 2 * D * 144);
    drop(&made);
}

static void test_keys_and_values(void **state)
{
    static const struct {
        choir_cache_type key_type, value_type;
        uint64_t position_bytes; /* 8 layers x 2 KV heads x (key + value of 32 elements) */
    } cases[] = {
        {CHOIR_CACHE_F16, CHOIR_CACHE_F16, 16 * (64 + 64)},
        {CHOIR_CACHE_F32, CHOIR_CACHE_F16, 16 * (128 + 64)},
        {CHOIR_CACHE_Q8_0, CHOIR_CACHE_Q8_0, 16 * (34 + 34)},
    };
    (void)state;
    fixture made = make("tiny", CHOIR_Q4_0, false);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const choir_footprint_options options = {.key_type = cases[i].key_type,
                                                 .value_type = cases[i].value_type};
        const choir_footprint f = measure(&made, 1, 1, 0, &options);
        assert_int_equal(f.kv_position_bytes, cases[i].position_bytes);
        assert_int_equal(choir_footprint_kv(&f, 0), 0);
        assert_int_equal(choir_footprint_kv(&f, 1), 64 * cases[i].position_bytes);
        assert_int_equal(choir_footprint_kv(&f, 64), 64 * cases[i].position_bytes);
        assert_int_equal(choir_footprint_kv(&f, 65), 128 * cases[i].position_bytes);
    }
    drop(&made);
}

static void test_messages(void **state)
{
    /* Vectors of 1 KiB. Attention has 4 leaves, the feed-forward 12, the vocabulary 64 chunks. */
    static const struct {
        int n_shards, n_stages, rank;
        uint64_t exchange, handover, result;
    } cases[] = {
        {1, 1, 0, 0, 0, 0},
        {2, 1, 0, (uint64_t)LAYERS * 2 * 1024, 0, 0},
        {2, 1, 1, (uint64_t)LAYERS * 2 * 1024, 0, (2 + 2 * 32 + 2) * 4},
        {4, 1, 3, (uint64_t)LAYERS * 6 * 1024, 0, (2 + 2 * 16 + 2) * 4},
        /* 2 + 1 + 1 and 4 + 4 + 4 leaves: one piece each, and 2, 3, 2; 22 + 21 + 21 chunks. */
        {3, 1, 1, (uint64_t)LAYERS * (2 + 4) * 1024, 0, (2 + 2 * 21 + 2) * 4},
        {1, 2, 0, 0, 0, 0},
        {1, 2, 1, 0, 1024, (2 + 2 * 64 + 2) * 4},
        {2, 2, 2, (uint64_t)LAYERS / 2 * 2 * 1024, 1024, (2 + 2 * 32 + 2) * 4},
    };
    (void)state;
    fixture made = make("tiny", CHOIR_Q4_0, false);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const choir_footprint f =
            measure(&made, cases[i].n_shards, cases[i].n_stages, cases[i].rank, &plain);
        assert_int_equal(f.exchange_bytes, cases[i].exchange);
        assert_int_equal(f.handover_bytes, cases[i].handover);
        assert_int_equal(f.result_bytes, cases[i].result);
    }
    drop(&made);
}

static void test_a_model_that_is_only_planned(void **state)
{
    (void)state;
    fixture made = make("70b", CHOIR_Q4_K, true);
    const choir_footprint one = measure(&made, 1, 1, 0, &plain);
    assert_int_equal(one.file_bytes, tensor_bytes(made.model));
    assert_int_equal(one.kv_position_bytes, 80 * 8 * 128 * 2 * 2);
    const choir_footprint f = measure(&made, 8, 2, -1, &plain);
    assert_int_equal(f.kv_position_bytes, one.kv_position_bytes);
    assert_true(f.weights_bytes >= one.weights_bytes);
    assert_true(f.weights_bytes < one.weights_bytes + one.weights_bytes / 50);
    drop(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_rank_reads_every_tensor_once),
        cmocka_unit_test(test_packed_bytes),
        cmocka_unit_test(test_shards_share_the_weights),
        cmocka_unit_test(test_keys_and_values),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_a_model_that_is_only_planned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
