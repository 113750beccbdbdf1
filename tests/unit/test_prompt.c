/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs of requests as token ids: what is too long for the context is refused by its bytes. */
#include "coordinator/prompt.h"
#include "tests/unit/tokenizers.h"

static choir_tokenizer *tokenizer;

static int set_up(void **state)
{
    (void)state;
    open_cached_tokenizer(DEFAULT_MODEL, &tokenizer);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    choir_tokenizer_destroy(&tokenizer);
    return 0;
}

static void expect(const Choir__Client__Generate *generate, size_t max_bytes, choir_error_kind kind,
                   const char *field)
{
    const char *param = "";
    int32_t *ids;
    size_t n_ids;
    assert_int_equal(choir_prompt_of_generate(generate, tokenizer, CHOIR_CHAT_CHATML, max_bytes,
                                              &ids, &n_ids, &param),
                     kind);
    assert_string_equal(param, field);
    assert_int_equal(ids != NULL, kind == CHOIR_ERROR_NONE);
    assert_int_equal(n_ids > 0, kind == CHOIR_ERROR_NONE);
    free(ids);
}

static void text_over_the_limit_is_refused(void **state)
{
    static char text[] = "What do plants need?", field[] = "text";
    Choir__Client__Generate generate = CHOIR__CLIENT__GENERATE__INIT;
    const char *param = "";
    int32_t *ids;
    size_t n_ids;
    (void)state;
    generate.input_case = CHOIR__CLIENT__GENERATE__INPUT_TEXT;
    generate.text = text;
    expect(&generate, strlen(text), CHOIR_ERROR_NONE, field);
    expect(&generate, strlen(text) - 1, CHOIR_ERROR_INPUT_TOKENS, field);
    assert_int_equal(
        choir_prompt_of_plain(text, NULL, tokenizer, strlen(text) - 1, &ids, &n_ids, &param),
        CHOIR_ERROR_INPUT_TOKENS);
    assert_string_equal(param, field);
    assert_null(ids);
}

/* What counts are the contents, not the JSON around them. */
static void chat_over_the_limit_is_refused(void **state)
{
    static char json[] = "[{\"role\": \"system\", \"content\": \"\\u0061bc\"},"
                         " {\"role\": \"user\", \"content\": \"defg\"}]";
    Choir__Client__Chat chat = CHOIR__CLIENT__CHAT__INIT;
    Choir__Client__Generate generate = CHOIR__CLIENT__GENERATE__INIT;
    (void)state;
    chat.messages_json = json;
    generate.input_case = CHOIR__CLIENT__GENERATE__INPUT_CHAT;
    generate.chat = &chat;
    expect(&generate, 7, CHOIR_ERROR_NONE, "messages_json");
    expect(&generate, 6, CHOIR_ERROR_INPUT_TOKENS, "messages_json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_over_the_limit_is_refused),
        cmocka_unit_test(chat_over_the_limit_is_refused),
    };
    return cmocka_run_group_tests_name("prompt", tests, set_up, tear_down);
}
