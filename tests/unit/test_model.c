/* SPDX-License-Identifier: Apache-2.0 */
/* What makes a file a model: T09 to T11 of the fault list, and the default model. */
#include "common/mem.h"
#include "model/model.h"
#include "tests/fixtures/hostile.h"
#include "tests/fixtures/model_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void refuse_u32(const char *key, uint32_t value, choir_status status, const char *culprit)
{
    choir_gguf_writer w;
    choir_hostile_start(&w);
    choir_gguf_writer_set_u32(&w, key, value);
    choir_expect_writer_refused(&w, status, culprit);
}

static void refuse_f32(const char *key, float value, choir_status status, const char *culprit)
{
    choir_gguf_writer w;
    choir_hostile_start(&w);
    choir_gguf_writer_set_f32(&w, key, value);
    choir_expect_writer_refused(&w, status, culprit);
}

static void t09_counts_out_of_range(void **state)
{
    (void)state;
    static const char *const counts[] = {
        "llama.block_count",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.head_count_kv",
        "llama.attention.key_length",
        "llama.context_length",
        "llama.vocab_size",
        "llama.rope.dimension_count",
    };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        refuse_u32(counts[i], 0, CHOIR_EFORMAT, counts[i]);
        refuse_u32(counts[i], UINT32_MAX, CHOIR_EFORMAT, counts[i]);
        refuse_f32(counts[i], 64, CHOIR_EFORMAT, "has type f32, not u32");
    }
    refuse_u32("llama.block_count", 1000000, CHOIR_EFORMAT, "llama.block_count is 1000000");
}

static void t09_counts_that_contradict_each_other(void **state)
{
    (void)state;
    refuse_u32("llama.attention.head_count_kv", 4, CHOIR_EFORMAT, "4 KV heads");
    refuse_u32("llama.block_count", 1, CHOIR_EUNSUPPORTED, "tensor blk.1.");
    refuse_u32("llama.block_count", 3, CHOIR_EFORMAT, "llama.block_count is 3");
    refuse_u32("llama.embedding_length", 96, CHOIR_EFORMAT, "tensor token_embd.weight");
    refuse_u32("llama.feed_forward_length", 64, CHOIR_EFORMAT, "tensor blk.0.ffn_gate.weight");
    refuse_u32("llama.attention.key_length", 64, CHOIR_EUNSUPPORTED, "keys of 64 and values of 32");
    refuse_u32("llama.rope.dimension_count", 34, CHOIR_EFORMAT, "llama.rope.dimension_count is 34");
    refuse_u32("llama.vocab_size", 265, CHOIR_EFORMAT, "the tokenizer has 264 pieces");
    choir_gguf_writer w;
    choir_hostile_start(&w);
    choir_gguf_writer_set_u32(&w, "llama.attention.head_count", 6);
    choir_gguf_writer_set_u32(&w, "llama.attention.head_count_kv", 4);
    choir_expect_writer_refused(&w, CHOIR_EFORMAT, "4 KV heads cannot be shared by 6 query heads");
    choir_hostile_start(&w);
    choir_gguf_writer_remove(&w, "llama.attention.key_length");
    choir_gguf_writer_set_u32(&w, "llama.attention.head_count", 3);
    choir_expect_writer_refused(&w, CHOIR_EFORMAT, "the width 64 is no multiple of 3 heads");
    choir_hostile_start(&w);
    choir_gguf_writer_set_u32(&w, "llama.attention.head_count", 1 << 15);
    choir_gguf_writer_set_u32(&w, "llama.attention.key_length", 1 << 15);
    choir_gguf_writer_set_u32(&w, "llama.attention.value_length", 1 << 15);
    choir_expect_writer_refused(&w, CHOIR_EFORMAT, "32768 heads of 32768 elements");
}

static void t09_vocabulary_of_another_size(void **state)
{
    (void)state;
    choir_gguf_writer w;
    choir_hostile_start(&w);
    choir_gguf_writer_remove(&w, "llama.vocab_size");
    choir_expect_writer_opens(&w);
    choir_hostile_start(&w);
    choir_gguf_writer_remove(&w, "llama.vocab_size");
    choir_gguf_writer_tensor(&w, "token_embd.weight")->dims[1]--;
    choir_expect_writer_refused(&w, CHOIR_EFORMAT, "tensor token_embd.weight");
    choir_hostile_start(&w);
    choir_gguf_writer_remove(&w, "tokenizer.ggml.tokens");
    choir_expect_writer_refused(&w, CHOIR_EFORMAT, "key tokenizer.ggml.tokens is missing");
    choir_hostile_start(&w);
    choir_gguf_writer_set_string(&w, "tokenizer.ggml.tokens", "a b c");
    choir_expect_writer_refused(&w, CHOIR_EFORMAT, "key tokenizer.ggml.tokens has type string");
    choir_bytes none = {0};
    choir_hostile_start(&w);
    choir_gguf_writer_remove(&w, "llama.vocab_size");
    choir_bytes_begin_array(&w, &none, CHOIR_GGUF_STRING, 0);
    choir_gguf_writer_set(&w, "tokenizer.ggml.tokens", CHOIR_GGUF_ARRAY, none.data, none.length);
    choir_bytes_clear(&none);
    choir_expect_writer_refused(&w, CHOIR_EFORMAT, "a vocabulary of 0 pieces");
}

static void t09_numbers_out_of_range(void **state)
{
    (void)state;
    static const char epsilon[] = "llama.attention.layer_norm_rms_epsilon";
    const float bad[] = {0, -1, NAN, INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        refuse_f32(epsilon, bad[i], CHOIR_EFORMAT, epsilon);
        refuse_f32("llama.rope.freq_base", bad[i], CHOIR_EFORMAT, "llama.rope.freq_base");
    }
}

static void keys_that_are_needed(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "general.architecture",       "llama.block_count",
        "llama.embedding_length",     "llama.feed_forward_length",
        "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon",
        "llama.context_length",
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        choir_gguf_writer w;
        choir_hostile_start(&w);
        choir_gguf_writer_remove(&w, keys[i]);
        char words[100];
        snprintf(words, sizeof words, "key %s is missing", keys[i]);
        choir_expect_writer_refused(&w, CHOIR_EFORMAT, words);
    }
}

static void models_of_another_kind(void **state)
{
    (void)state;
    choir_gguf_writer w;
    choir_hostile_start(&w);
    choir_gguf_writer_set_string(&w, "general.architecture", "mamba");
    choir_expect_writer_refused(&w, CHOIR_EUNSUPPORTED, "architecture mamba is not served");
    refuse_u32("llama.expert_count", 8, CHOIR_EUNSUPPORTED, "llama.expert_count is 8");
    refuse_u32("llama.attention.sliding_window", 4096, CHOIR_EUNSUPPORTED,
               "sliding attention window");
    refuse_u32("llama.something_new", 1, CHOIR_EUNSUPPORTED,
               "key llama.something_new is not known");
    refuse_f32("llama.rope.scaling.attn_factor", 0.5F, CHOIR_EUNSUPPORTED, "scaled attention");
    refuse_f32("llama.rope.scale_linear", 4, CHOIR_EUNSUPPORTED, "llama.rope.scale_linear is 4");
    refuse_f32("llama.rope.scaling.factor", 8, CHOIR_EUNSUPPORTED, "scaled positions");
    choir_hostile_start(&w);
    choir_gguf_writer_set_string(&w, "llama.rope.scaling.type", "yarn");
    choir_expect_writer_refused(&w, CHOIR_EUNSUPPORTED, "rope scaling of type yarn");
    choir_hostile_start(&w);
    choir_writer_tensor *norm = choir_gguf_writer_tensor(&w, "blk.1.ffn_norm.weight");
    norm->type = CHOIR_F16;
    choir_expect_writer_refused(&w, CHOIR_EUNSUPPORTED,
                                "tensor blk.1.ffn_norm.weight has type F16");
    /* Widths that are not cut into blocks of 32. */
    refuse_u32("llama.embedding_length", 80, CHOIR_EUNSUPPORTED, "multiples of 32");
    refuse_u32("llama.feed_forward_length", 100, CHOIR_EUNSUPPORTED, "multiples of 32");
    refuse_u32("llama.rope.dimension_count", 31, CHOIR_EUNSUPPORTED, "multiples of 2");
}

static void keys_that_change_nothing_are_accepted(void **state)
{
    (void)state;
    choir_gguf_writer w;
    choir_hostile_start(&w);
    choir_gguf_writer_set_u32(&w, "llama.expert_count", 0);
    choir_gguf_writer_set_u32(&w, "llama.attention.sliding_window", 0);
    choir_gguf_writer_set_bool(&w, "llama.attention.causal", true);
    choir_gguf_writer_set_string(&w, "llama.rope.scaling.type", "none");
    choir_gguf_writer_set_f32(&w, "llama.rope.scaling.factor", 8); /* of no scaling */
    choir_gguf_writer_set_u32(&w, "mamba.something_new", 1);
    choir_expect_writer_opens(&w);
    choir_hostile_start(&w);
    choir_gguf_writer_set_string(&w, "llama.rope.scaling.type", "linear");
    choir_gguf_writer_set_f32(&w, "llama.rope.scaling.factor", 1);
    choir_expect_writer_opens(&w);
}

/* A file with weights, in memory. */
typedef struct fixture {
    choir_memory_file file;
    choir_model *model;
} fixture;

static fixture open_mini(choir_type type, bool has_output, bool has_rope_factors)
{
    const choir_recipe recipe = {.shape = {.name = "mini",
                                           .n_layers = 2,
                                           .width = 256,
                                           .n_heads = 4,
                                           .n_kv_heads = 2,
                                           .head_size = 64,
                                           .ff_width = 256,
                                           .vocab_size = 264,
                                           .context_length = 512,
                                           .rope_base = 10000,
                                           .has_output = has_output},
                                 .type = type,
                                 .seed = 1,
                                 .has_rope_factors = has_rope_factors};
    fixture f;
    choir_memory_file_create(&f.file, "", 0);
    assert_int_equal(choir_recipe_write(&recipe, f.file.path, false), CHOIR_OK);
    if (choir_model_open(f.file.path, &f.model) != CHOIR_OK)
        fail_msg("%s", choir_error());
    return f;
}

static void close_mini(fixture *f)
{
    choir_model_destroy(&f->model);
    choir_model_destroy(&f->model);
    choir_memory_file_close(&f->file);
}

static void write_at(const fixture *f, uint64_t at, const void *bytes, size_t length)
{
    assert_int_equal(pwrite(f->file.file, bytes, length, (off_t)at), length);
}

static void roles_lead_to_tensors(void **state)
{
    (void)state;
    fixture f = open_mini(CHOIR_Q4_0, true, true);
    const choir_hparams *h = choir_model_hparams(f.model);
    assert_false(h->output_is_shared);
    assert_true(h->has_rope_factors);
    const choir_gguf_tensor *t = choir_model_tensor(f.model, CHOIR_TENSOR_FFN_DOWN, 1);
    assert_string_equal(t->name, "blk.1.ffn_down.weight");
    assert_string_equal(choir_model_tensor(f.model, CHOIR_TENSOR_ATTN_NORM, 0)->name,
                        "blk.0.attn_norm.weight");
    assert_string_equal(choir_model_tensor(f.model, CHOIR_TENSOR_OUTPUT, 0)->name, "output.weight");
    const uint8_t *norm =
        choir_model_data(f.model, choir_model_tensor(f.model, CHOIR_TENSOR_OUTPUT_NORM, 0));
    float first;
    memcpy(&first, norm, sizeof first);
    assert_true(first >= 0.875F && first < 1.125F);
    close_mini(&f);
    f = open_mini(CHOIR_Q4_0, false, false);
    assert_true(choir_model_hparams(f.model)->output_is_shared);
    assert_null(choir_model_tensor(f.model, CHOIR_TENSOR_OUTPUT, 0));
    assert_null(choir_model_tensor(f.model, CHOIR_TENSOR_ROPE_FACTORS, 0));
    close_mini(&f);
}

/* Where the last scale of a block stands, by docs/formats.md. */
static size_t last_scale(choir_type type)
{
    switch (type) {
    case CHOIR_Q4_1:
    case CHOIR_Q5_1:
    case CHOIR_Q4_K:
    case CHOIR_Q5_K:
    case CHOIR_F32:
        return 2; /* the upper half of an F32 has its exponent */
    case CHOIR_Q2_K:
        return 82;
    case CHOIR_Q3_K:
        return 108;
    case CHOIR_Q6_K:
        return 208;
    default:
        return 0;
    }
}

static void t10_verify_finds_a_scale_that_is_no_number(void **state)
{
    (void)state;
    int n_types;
    const choir_type_info *types = choir_type_all(&n_types);
    for (int i = 0; i < n_types; i++) {
        fixture f = open_mini(types[i].type, false, false);
        assert_int_equal(choir_model_verify(f.model), CHOIR_OK);
        const choir_gguf_tensor *t = choir_model_tensor(f.model, CHOIR_TENSOR_ATTN_V, 1);
        /* The last block, of a column that the words must name. */
        const uint64_t at = t->offset + t->bytes - (size_t)types[i].block_bytes;
        const bool is_bfloat = types[i].type == CHOIR_F32 || types[i].type == CHOIR_BF16;
        const bool is_e8m0 = types[i].type == CHOIR_MXFP4;
        const uint16_t nan = is_e8m0 ? 0xff : is_bfloat ? 0xff81 : 0xfc01;
        write_at(&f, at + last_scale(types[i].type), &nan, is_e8m0 ? 1 : sizeof nan);
        assert_int_equal(choir_model_verify_tensor(f.model, t), CHOIR_EFORMAT);
        char words[80];
        snprintf(words, sizeof words,
                 "tensor blk.1.attn_v.weight, row 127, column %d:", 256 - types[i].block_elements);
        assert_non_null(strstr(choir_error(), words));
        assert_int_equal(
            choir_model_verify_tensor(f.model, choir_model_tensor(f.model, CHOIR_TENSOR_ATTN_K, 1)),
            CHOIR_OK);
        close_mini(&f);
    }
}

static void t11_truncated_before_load(void **state)
{
    (void)state;
    fixture f = open_mini(CHOIR_Q8_0, false, false);
    const uint64_t bytes = choir_model_file_bytes(f.model);
    choir_model_destroy(&f.model);
    assert_int_equal(ftruncate(f.file.file, (off_t)bytes - 1024), 0);
    assert_int_equal(choir_model_open(f.file.path, &f.model), CHOIR_EFORMAT);
    assert_non_null(strstr(choir_error(), "is it complete?"));
    assert_int_equal(choir_model_open_header(f.file.path, &f.model), CHOIR_OK);
    const choir_gguf_tensor *last = choir_model_tensor(f.model, CHOIR_TENSOR_OUTPUT_NORM, 0);
    assert_null(choir_model_data(f.model, last));
    assert_non_null(
        choir_model_data(f.model, choir_model_tensor(f.model, CHOIR_TENSOR_EMBEDDING, 0)));
    assert_int_equal(choir_model_verify(f.model), CHOIR_EUNSUPPORTED);
    close_mini(&f);
}

static void t11_shorter_while_read(void **state)
{
    (void)state;
    fixture f = open_mini(CHOIR_Q8_0, false, false);
    const choir_gguf_tensor *last = choir_model_tensor(f.model, CHOIR_TENSOR_OUTPUT_NORM, 0);
    const size_t n = (size_t)last->bytes;
    uint8_t *bytes = malloc(n);
    assert_non_null(bytes);
    assert_int_equal(choir_model_read(f.model, last, 4, n - 4, bytes), CHOIR_OK);
    assert_memory_equal(bytes, choir_model_data(f.model, last) + 4, n - 4);
    choir_model_release(f.model); /* and mapped again when looked at */
    assert_memory_equal(bytes, choir_model_data(f.model, last) + 4, n - 4);
    assert_int_equal(ftruncate(f.file.file, (off_t)(last->offset + 8)), 0);
    assert_int_equal(choir_model_read(f.model, last, 0, 8, bytes), CHOIR_OK);
    assert_int_equal(choir_model_read(f.model, last, 4, n - 4, bytes), CHOIR_EFILECHANGED);
    assert_non_null(strstr(choir_error(), "shorter"));
    free(bytes);
    close_mini(&f);
}

static void t11_changed_while_loaded(void **state)
{
    (void)state;
    fixture f = open_mini(CHOIR_Q8_0, false, false);
    assert_int_equal(choir_model_check_unchanged(f.model), CHOIR_OK);
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000}};
    assert_int_equal(futimens(f.file.file, times), 0);
    assert_int_equal(choir_model_check_unchanged(f.model), CHOIR_EFILECHANGED);
    assert_non_null(strstr(choir_error(), "was written to"));
    assert_int_equal(ftruncate(f.file.file, 4096), 0);
    assert_int_equal(choir_model_check_unchanged(f.model), CHOIR_EFILECHANGED);
    assert_non_null(strstr(choir_error(), "4096 bytes"));
    close_mini(&f);
}

static void t11_replaced_while_loaded(void **state)
{
    (void)state;
    char folder[] = "/tmp/choir-test-XXXXXX", path[64], other[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/model", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    const choir_recipe recipe = {.shape = *choir_shape_find("tiny"), .type = CHOIR_Q4_0};
    assert_int_equal(choir_recipe_write(&recipe, path, false), CHOIR_OK);
    assert_int_equal(choir_recipe_write(&recipe, other, false), CHOIR_OK);
    choir_model *model;
    assert_int_equal(choir_model_open(path, &model), CHOIR_OK);
    assert_int_equal(choir_model_check_unchanged(model), CHOIR_OK);
    assert_int_equal(rename(other, path), 0);
    assert_int_equal(choir_model_check_unchanged(model), CHOIR_EFILECHANGED);
    assert_non_null(strstr(choir_error(), "replaced"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(choir_model_check_unchanged(model), CHOIR_OK); /* what is mapped stays */
    choir_model_destroy(&model);
    rmdir(folder);
}

static void the_identity_tells_files_apart(void **state)
{
    (void)state;
    uint8_t first[CHOIR_SHA256_BYTES], second[CHOIR_SHA256_BYTES];
    fixture f = open_mini(CHOIR_Q8_0, false, false);
    const uint64_t bytes = choir_model_file_bytes(f.model);
    choir_model_identity(f.model, first);
    choir_model_identity(f.model, second);
    assert_memory_equal(first, second, sizeof first);
    write_at(&f, bytes - 1, "\x55", 1); /* in the last sample */
    choir_model_identity(f.model, second);
    assert_memory_not_equal(first, second, sizeof first);
    write_at(&f, 24 + 8, "G", 1); /* in the header: "general.…" */
    choir_model_identity(f.model, first);
    assert_memory_not_equal(first, second, sizeof first);
    close_mini(&f);
}

/* By hand from the definition in model.h. */
static void the_identity_is_what_the_header_says(void **state)
{
    (void)state;
    fixture f = open_mini(CHOIR_Q4_1, false, false);
    const uint64_t size = choir_model_file_bytes(f.model);
    uint8_t *bytes = malloc(size), digest[CHOIR_SHA256_BYTES], expected[CHOIR_SHA256_BYTES];
    assert_non_null(bytes);
    assert_int_equal(pread(f.file.file, bytes, size, 0), size);
    choir_sha256 hash;
    choir_sha256_init(&hash);
    choir_sha256_update(&hash, bytes, choir_gguf_data_offset(choir_model_gguf(f.model)));
    choir_sha256_update(&hash, &size, sizeof size);
    for (uint64_t i = 0; i < 64; i++)
        choir_sha256_update(&hash, bytes + i * (size - 4096) / 63, 4096);
    choir_sha256_final(&hash, expected);
    choir_model_identity(f.model, digest);
    assert_memory_equal(digest, expected, sizeof digest);
    free(bytes);
    close_mini(&f);
}

static void the_default_model(void **state)
{
    (void)state;
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char path[4096];
    if (cache && *cache)
        snprintf(path, sizeof path, "%s/choir/SmolLM2-135M-Instruct.Q4_1.gguf", cache);
    else
        snprintf(path, sizeof path, "%s/.cache/choir/SmolLM2-135M-Instruct.Q4_1.gguf", home);
    choir_model *model;
    if (choir_model_open(path, &model) != CHOIR_OK)
        fail_msg("%s (cluster/setup fetches it)", choir_error());
    const choir_hparams *h = choir_model_hparams(model);
    assert_string_equal(h->architecture, "llama");
    assert_string_equal(h->name, "Smollm2 135M 8k Lc100K Mix1 Ep2");
    assert_int_equal(h->n_layers, 30);
    assert_int_equal(h->width, 576);
    assert_int_equal(h->n_heads, 9);
    assert_int_equal(h->n_kv_heads, 3);
    assert_int_equal(h->head_size, 64);
    assert_int_equal(h->ff_width, 1536);
    assert_int_equal(h->vocab_size, 49152);
    assert_int_equal(h->context_length, 8192);
    assert_int_equal(h->n_rot, 64);
    assert_true(h->rms_eps == 1e-5F);
    assert_true(h->rope_base == 100000);
    assert_true(h->rope_is_adjacent && h->output_is_shared && !h->has_rope_factors);
    assert_int_equal(h->n_parameters, 134515008);
    assert_int_equal(choir_model_tensor(model, CHOIR_TENSOR_EMBEDDING, 0)->type, CHOIR_Q8_0);
    assert_int_equal(choir_model_tensor(model, CHOIR_TENSOR_FFN_DOWN, 29)->type, CHOIR_Q4_1);
    assert_int_equal(choir_model_verify(model), CHOIR_OK);
    choir_model_destroy(&model);
}

static void a_header_of_70_billion_parameters(void **state)
{
    (void)state;
    const choir_recipe recipe = {.shape = *choir_shape_find("70b"), .type = CHOIR_Q4_K};
    choir_memory_file file;
    choir_memory_file_create(&file, "", 0);
    assert_int_equal(choir_recipe_write(&recipe, file.path, true), CHOIR_OK);
    choir_model *model;
    assert_int_equal(choir_model_open(file.path, &model), CHOIR_EFORMAT);
    assert_int_equal(choir_model_open_header(file.path, &model), CHOIR_OK);
    const choir_hparams *h = choir_model_hparams(model);
    assert_int_equal(h->n_layers, 80);
    assert_true(h->n_parameters > 70000000000 && h->n_parameters < 71000000000);
    const choir_gguf_tensor *last = choir_model_tensor(model, CHOIR_TENSOR_OUTPUT, 0);
    assert_true(last->offset > 40000000000);
    assert_null(choir_model_data(model, last));
    choir_model_destroy(&model);
    choir_memory_file_close(&file);
}

static void paths_that_are_no_files(void **state)
{
    (void)state;
    choir_model *model;
    assert_int_equal(choir_model_open("/nonexistent/model.gguf", &model), CHOIR_EIO);
    assert_non_null(strstr(choir_error(), "No such file"));
    assert_int_equal(choir_model_open("/tmp", &model), CHOIR_EIO);
    assert_non_null(strstr(choir_error(), "not a regular file"));
    assert_int_equal(choir_model_open("/dev/zero", &model), CHOIR_EIO);
    assert_null(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(t09_counts_out_of_range),
        cmocka_unit_test(t09_counts_that_contradict_each_other),
        cmocka_unit_test(t09_vocabulary_of_another_size),
        cmocka_unit_test(t09_numbers_out_of_range),
        cmocka_unit_test(keys_that_are_needed),
        cmocka_unit_test(models_of_another_kind),
        cmocka_unit_test(keys_that_change_nothing_are_accepted),
        cmocka_unit_test(roles_lead_to_tensors),
        cmocka_unit_test(t10_verify_finds_a_scale_that_is_no_number),
        cmocka_unit_test(t11_truncated_before_load),
        cmocka_unit_test(t11_shorter_while_read),
        cmocka_unit_test(t11_changed_while_loaded),
        cmocka_unit_test(t11_replaced_while_loaded),
        cmocka_unit_test(the_identity_tells_files_apart),
        cmocka_unit_test(the_identity_is_what_the_header_says),
        cmocka_unit_test(the_default_model),
        cmocka_unit_test(a_header_of_70_billion_parameters),
        cmocka_unit_test(paths_that_are_no_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
