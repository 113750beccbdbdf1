/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/answer.h"

#include "tests/fixtures/gguf_writer.h"
#include "tests/fixtures/vocabulary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

static choir_tokenizer *tokenizer; /* ids 0 to 2 are control words, 3 + b the byte b */

static void add(choir_answer *answer, int32_t id, bool is_end)
{
    Choir__Engine__TopToken top = CHOIR__ENGINE__TOP_TOKEN__INIT, *tops[] = {&top};
    Choir__Engine__Token token = CHOIR__ENGINE__TOKEN__INIT;
    token.token_id = id;
    token.logprob = -(float)id;
    top.token_id = id;
    top.logprob = -1;
    token.top = tops;
    token.n_top = (size_t)(id % 2);
    assert_int_equal(choir_answer_add(answer, &token, is_end), CHOIR_OK);
}

static void add_text(choir_answer *answer, const char *text)
{
    for (; *text; text++)
        add(answer, 3 + (unsigned char)*text, false);
}

static void expect_text(choir_answer *answer, const char *text, uint32_t first, size_t n_ids)
{
    choir_answer_view view;
    assert_int_equal(choir_answer_view_chunk(answer, &view), CHOIR_OK);
    assert_string_equal(view.text, text);
    assert_int_equal(view.first_token_index, first);
    assert_int_equal(view.n_token_ids, n_ids);
}

static choir_answer *create(const choir_answer_options *options)
{
    choir_answer *answer;
    choir_answer_options with_tokenizer = *options;
    with_tokenizer.tokenizer = tokenizer;
    assert_int_equal(choir_answer_create(&with_tokenizer, &answer), CHOIR_OK);
    return answer;
}

static void chunk_grows_until_it_is_cleared(void **state)
{
    choir_answer *answer = create(&(choir_answer_options){.has_text = true, .has_token_ids = true});
    (void)state;
    assert_false(choir_answer_has_chunk(answer));
    expect_text(answer, "", 0, 0);
    add_text(answer, "one");
    expect_text(answer, "one", 0, 3);
    add_text(answer, " two");
    expect_text(answer, "one two", 0, 7);
    assert_int_equal(choir_answer_bytes(answer), 7 + 7 * sizeof(int32_t));
    choir_answer_clear_chunk(answer);
    assert_false(choir_answer_has_chunk(answer));
    assert_int_equal(choir_answer_bytes(answer), 0);
    add_text(answer, "!");
    expect_text(answer, "!", 7, 1);
    assert_int_equal(choir_answer_n_tokens(answer), 8);
    choir_answer_destroy(&answer);
    choir_answer_destroy(&answer);
}

static void ids_go_at_once_and_text_waits(void **state)
{
    static const char *const stops[] = {"stop"};
    choir_answer *answer = create(&(choir_answer_options){
        .has_text = true, .has_token_ids = true, .stop = stops, .n_stop = 1});
    (void)state;
    add_text(answer, "a sto");
    expect_text(answer, "a ", 0, 5);
    choir_answer_clear_chunk(answer);
    add_text(answer, "p");
    expect_text(answer, "", 5, 1);
    assert_string_equal(choir_answer_matched(answer), "stop");
    assert_int_equal(choir_answer_end(answer), CHOIR_OK);
    expect_text(answer, "", 5, 1);
    choir_answer_destroy(&answer);
}

static void a_stop_string_appears_if_it_was_asked_for(void **state)
{
    static const char *const stops[] = {"stop"};
    choir_answer *answer = create(&(choir_answer_options){
        .has_text = true, .has_stop_string = true, .stop = stops, .n_stop = 1});
    (void)state;
    add_text(answer, "a stop");
    assert_string_equal(choir_answer_matched(answer), "stop");
    assert_int_equal(choir_answer_end(answer), CHOIR_OK);
    expect_text(answer, "a stop", 0, 0);
    choir_answer_destroy(&answer);
}

static void end_brings_what_was_held_back(void **state)
{
    static const char *const stops[] = {"stop"};
    choir_answer *answer =
        create(&(choir_answer_options){.has_text = true, .stop = stops, .n_stop = 1});
    (void)state;
    add_text(answer, "a sto\xc3");
    expect_text(answer, "a ", 0, 0); /* half a character says nothing yet */
    add(answer, 3 + 'x', true);      /* the end token gives no text */
    assert_int_equal(choir_answer_end(answer), CHOIR_OK);
    expect_text(answer, "a sto\xef\xbf\xbd", 0, 0);
    assert_null(choir_answer_matched(answer));
    choir_answer_destroy(&answer);
}

static void control_words_appear_only_if_asked_for(void **state)
{
    (void)state;
    for (int keeps = 0; keeps < 2; keeps++) {
        choir_answer *answer =
            create(&(choir_answer_options){.has_text = true, .keeps_control = keeps});
        add(answer, 2, false);
        add_text(answer, "a");
        expect_text(answer, keeps ? "<|im_end|>a" : "a", 0, 0);
        choir_answer_destroy(&answer);
    }
}

static void log_probabilities_have_bytes_and_alternatives(void **state)
{
    choir_answer *answer = create(&(choir_answer_options){.has_text = true, .has_logprobs = true});
    Choir__Engine__Token first = CHOIR__ENGINE__TOKEN__INIT;
    choir_answer_view view;
    (void)state;
    first.token_id = 3 + 0xc3;
    first.logprob = NAN;
    assert_int_equal(choir_answer_add(answer, &first, false), CHOIR_OK);
    for (int32_t id = 300; id < 340; id++)
        add(answer, id, false);
    assert_int_equal(choir_answer_view_chunk(answer, &view), CHOIR_OK);
    assert_int_equal(view.n_logprobs, 41);
    assert_int_equal(view.n_token_ids, 0);
    assert_int_equal(view.logprobs[0]->logprob_presence_case, 0);
    assert_int_equal(view.logprobs[0]->bytes.len, 1);
    assert_int_equal(view.logprobs[0]->bytes.data[0], 0xc3);
    for (size_t i = 1; i < 41; i++) {
        const Choir__Client__TokenLogprob *token = view.logprobs[i];
        const int32_t id = 299 + (int32_t)i;
        assert_int_equal(token->token_id, id);
        assert_true(token->logprob_presence_case != 0 && token->logprob == -(float)id);
        assert_int_equal(token->n_top, id % 2);
        if (id % 2)
            assert_int_equal(token->top[0]->token_id, id);
    }
    choir_answer_destroy(&answer);
}

static void id_outside_of_the_vocabulary_is_refused(void **state)
{
    choir_answer *answer = create(&(choir_answer_options){.has_text = true, .has_token_ids = true});
    Choir__Engine__TopToken top = CHOIR__ENGINE__TOP_TOKEN__INIT, *tops[] = {&top};
    Choir__Engine__Token token = CHOIR__ENGINE__TOKEN__INIT;
    (void)state;
    token.token_id = choir_tokenizer_size(tokenizer);
    assert_int_equal(choir_answer_add(answer, &token, false), CHOIR_EINVALID);
    token.token_id = 5;
    top.token_id = -1;
    token.top = tops;
    token.n_top = 1;
    assert_int_equal(choir_answer_add(answer, &token, true), CHOIR_EINVALID);
    assert_int_equal(choir_answer_n_tokens(answer), 0);
    assert_false(choir_answer_has_chunk(answer));
    choir_answer_destroy(&answer);
}

static int open_tokenizer(void **state)
{
    choir_gguf_writer writer;
    choir_gguf *gguf = NULL;
    uint8_t *header = NULL;
    size_t length;
    (void)state;
    choir_gguf_writer_init(&writer);
    choir_vocabulary_set(&writer, 512);
    assert_int_equal(choir_gguf_writer_finish(&writer, &header, &length), CHOIR_OK);
    choir_gguf_writer_clear(&writer);
    assert_int_equal(choir_gguf_parse(header, length, "test", CHOIR_GGUF_WHOLE, &gguf), CHOIR_OK);
    assert_int_equal(choir_tokenizer_create(gguf, &tokenizer), CHOIR_OK);
    choir_gguf_destroy(&gguf);
    free(header);
    return 0;
}

static int close_tokenizer(void **state)
{
    (void)state;
    choir_tokenizer_destroy(&tokenizer);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunk_grows_until_it_is_cleared),
        cmocka_unit_test(ids_go_at_once_and_text_waits),
        cmocka_unit_test(a_stop_string_appears_if_it_was_asked_for),
        cmocka_unit_test(end_brings_what_was_held_back),
        cmocka_unit_test(control_words_appear_only_if_asked_for),
        cmocka_unit_test(log_probabilities_have_bytes_and_alternatives),
        cmocka_unit_test(id_outside_of_the_vocabulary_is_refused),
    };
    return cmocka_run_group_tests_name("answer", tests, open_tokenizer, close_tokenizer);
}
