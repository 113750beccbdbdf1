/* SPDX-License-Identifier: Apache-2.0 */
/* The made models: that their bytes never change, and that each is a whole model. */
#include "common/hash.h"
#include "model/chat.h"
#include "model/tokenizer.h"
#include "tests/fixtures/hostile.h"
#include "tests/fixtures/model_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const choir_shape mini = {.name = "mini",
                                 .n_layers = 2,
                                 .width = 256,
                                 .n_heads = 4,
                                 .n_kv_heads = 2,
                                 .head_size = 64,
                                 .ff_width = 256,
                                 .vocab_size = 264,
                                 .context_length = 512,
                                 .rope_base = 10000,
                                 .has_output = true};

static void add_file(choir_sha256 *hash, const choir_recipe *recipe)
{
    choir_memory_file file;
    choir_memory_file_create(&file, "", 0);
    assert_int_equal(choir_recipe_write(recipe, file.path, false), CHOIR_OK);
    const off_t size = lseek(file.file, 0, SEEK_END);
    uint8_t *bytes = malloc((size_t)size);
    assert_non_null(bytes);
    assert_int_equal(pread(file.file, bytes, (size_t)size, 0), size);
    choir_sha256_update(hash, bytes, (size_t)size);
    free(bytes);
    choir_memory_file_close(&file);
}

/* They are part of benchmarks and golden results: who changes them changes the hash knowingly. */
static void the_bytes_are_the_same_everywhere(void **state)
{
    (void)state;
    static const char expected[] =
        "238ba22b9895687707cf06d4064bded1bb8541c15ef0250a651e4797ecfa4332";
    int n_types;
    const choir_type_info *types = choir_type_all(&n_types);
    choir_sha256 hash;
    choir_sha256_init(&hash);
    for (int i = 0; i < n_types; i++)
        add_file(&hash,
                 &(choir_recipe){
                     .shape = mini, .type = types[i].type, .seed = 1, .has_rope_factors = true});
    uint8_t digest[CHOIR_SHA256_BYTES];
    char text[CHOIR_SHA256_HEX];
    choir_sha256_final(&hash, digest);
    choir_sha256_hex(digest, text);
    assert_string_equal(text, expected);
}

/* Pieces are parts of the text, so they give it back; and merges make fewer of them than bytes. */
static void check_tokenizer(const choir_gguf *gguf)
{
    static const char text[] = "What do plants need to grow? L\303\266we, \344\270\200!";
    choir_tokenizer *tokenizer;
    int32_t *ids;
    size_t n_ids, at = 0;
    if (choir_tokenizer_create(gguf, &tokenizer) != CHOIR_OK)
        fail_msg("%s", choir_error());
    assert_int_equal(choir_tokenizer_encode(tokenizer, text, strlen(text), false, &ids, &n_ids),
                     CHOIR_OK);
    assert_in_range(n_ids, 2, strlen(text) - 10);
    for (size_t i = 0; i < n_ids; i++) {
        const char *bytes;
        size_t length;
        choir_tokenizer_piece(tokenizer, ids[i], &bytes, &length);
        assert_true(at + length <= strlen(text));
        assert_memory_equal(text + at, bytes, length);
        at += length;
    }
    assert_int_equal(at, strlen(text));
    free(ids);
    assert_true(choir_tokenizer_is_end(tokenizer, 2));
    assert_true(choir_tokenizer_is_control(tokenizer, 1));
    assert_false(choir_tokenizer_adds_bos(tokenizer));
    choir_tokenizer_destroy(&tokenizer);
    choir_chat_template template;
    assert_int_equal(choir_chat_recognise(gguf, &template), CHOIR_OK);
    assert_int_equal(template, CHOIR_CHAT_CHATML);
}

/* By models.md: L D H K S F V, and what the parameters should sum up to. */
static void shapes_are_whole_models(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t shape[7], n_parameters;
    } known[] = {
        {"tiny", {8, 256, 8, 2, 32, 768, 1024}, 6295808},
        {"135m", {30, 576, 9, 3, 64, 1536, 49152}, 134515008},
        {"1b", {16, 2048, 32, 8, 64, 8192, 128256}, 1235814400},
        {"8b", {32, 4096, 32, 8, 128, 14336, 128256}, 8030261248},
        {"70b", {80, 8192, 64, 8, 128, 28672, 128256}, 70553706496},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const choir_recipe recipe = {.shape = *choir_shape_find(known[i].name), .type = CHOIR_Q4_0};
        choir_memory_file file;
        choir_memory_file_create(&file, "", 0);
        assert_int_equal(choir_recipe_write(&recipe, file.path, true), CHOIR_OK);
        choir_model *model;
        if (choir_model_open_header(file.path, &model) != CHOIR_OK)
            fail_msg("%s", choir_error());
        const choir_hparams *h = choir_model_hparams(model);
        const int64_t shape[7] = {h->n_layers,  h->width,    h->n_heads,   h->n_kv_heads,
                                  h->head_size, h->ff_width, h->vocab_size};
        assert_memory_equal(shape, known[i].shape, sizeof shape);
        assert_int_equal(h->n_parameters, known[i].n_parameters);
        check_tokenizer(choir_model_gguf(model));
        choir_model_destroy(&model);
        choir_memory_file_close(&file);
    }
    assert_null(choir_shape_find("2b"));
}

static choir_type type_of(choir_gguf_writer *writer, const char *name)
{
    const choir_writer_tensor *tensor = choir_gguf_writer_tensor(writer, name);
    assert_non_null(tensor);
    return (choir_type)tensor->type;
}

static void types_are_mixed_as_the_peers_do(void **state)
{
    (void)state;
    choir_recipe recipe = {.shape = *choir_shape_find("1b"), .type = CHOIR_Q4_0};
    choir_gguf_writer w;
    choir_gguf_writer_init(&w);
    assert_int_equal(choir_recipe_describe(&recipe, &w), CHOIR_OK);
    assert_int_equal(type_of(&w, "token_embd.weight"), CHOIR_Q6_K);
    assert_int_equal(type_of(&w, "blk.0.ffn_down.weight"), CHOIR_Q4_0);
    choir_gguf_writer_clear(&w);
    choir_gguf_writer_init(&w);
    recipe.type = CHOIR_Q4_K;
    assert_int_equal(choir_recipe_describe(&recipe, &w), CHOIR_OK);
    int n_careful = 0;
    for (size_t i = 0; i < w.n_tensors; i++)
        n_careful += strstr(w.tensors[i].name, "ffn_down") && w.tensors[i].type == CHOIR_Q6_K;
    assert_int_equal(n_careful, 8); /* layers 0, 1, 4, 7, 10, 13, 14, 15 */
    assert_int_equal(type_of(&w, "blk.4.attn_v.weight"), CHOIR_Q6_K);
    assert_int_equal(type_of(&w, "blk.5.attn_v.weight"), CHOIR_Q4_K);
    assert_int_equal(type_of(&w, "blk.4.attn_q.weight"), CHOIR_Q4_K);
    choir_gguf_writer_clear(&w);
    choir_gguf_writer_init(&w);
    recipe.type = CHOIR_Q8_0;
    assert_int_equal(choir_recipe_describe(&recipe, &w), CHOIR_OK);
    assert_int_equal(type_of(&w, "token_embd.weight"), CHOIR_Q8_0);
    choir_gguf_writer_clear(&w);
}

static void a_type_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    const choir_recipe recipe = {.shape = *choir_shape_find("135m"), .type = CHOIR_Q4_K};
    assert_int_equal(choir_recipe_write(&recipe, "/nonexistent/file", false), CHOIR_EUSAGE);
    assert_non_null(strstr(choir_error(), "a row of 576"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_are_the_same_everywhere),
        cmocka_unit_test(shapes_are_whole_models),
        cmocka_unit_test(types_are_mixed_as_the_peers_do),
        cmocka_unit_test(a_type_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
