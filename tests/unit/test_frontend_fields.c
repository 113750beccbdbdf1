/* SPDX-License-Identifier: Apache-2.0 */
/* The fault list's T20 to T22: fields out of range, odd prompts, control words. */
#include "tests/unit/rude_client.h"

static void t20_numbers_out_of_range_are_refused_by_name(void **state)
{
    echo_service *service = *state;
    rude_client client = rude_connect(service->endpoint);
    static const float temperatures[] = {NAN, -1, 1e30f, 0.001f, INFINITY, -INFINITY, 100.5f};
    static const int64_t top_ks[] = {-1, INT64_MIN, INT64_MAX, 1LL << 31};
    static const float top_ps[] = {NAN, 0, -0.5f, 1.0001f}, min_ps[] = {NAN, -0.1f, 1.1f};
    static const int64_t max_tokens[] = {0, -1, 1LL << 31, INT64_MAX}, ns[] = {-1, 129, 1000000};
    static const int64_t logprobs[] = {-1, 65, INT64_MAX}, no_lengths[] = {0, -5, 1LL << 31};
    static const float typical_ps[] = {NAN, 0, 1.5f}, repetitions[] = {NAN, 0, -1, 101, INFINITY};
    static const float penalties[] = {NAN, -2.1f, 2.1f, INFINITY};
    static const int32_t priorities[] = {-1001, 1001, INT32_MIN, INT32_MAX};
    generate_parts parts;
#define REFUSE_EACH(array, field, number)                                                          \
    for (size_t i = 0; i < sizeof array / sizeof array[0]; i++) {                                  \
        begin_generate(&parts, "a");                                                               \
        parts.sampling.field##_presence_case = number;                                             \
        parts.sampling.field = array[i];                                                           \
        expect_refused(&client, &parts, 3, #field);                                                \
    }
    REFUSE_EACH(temperatures, temperature, 1)
    REFUSE_EACH(top_ks, top_k, 2)
    REFUSE_EACH(top_ps, top_p, 3)
    REFUSE_EACH(min_ps, min_p, 4)
    REFUSE_EACH(typical_ps, typical_p, 5)
    REFUSE_EACH(repetitions, repetition_penalty, 6)
    REFUSE_EACH(penalties, presence_penalty, 7)
    REFUSE_EACH(penalties, frequency_penalty, 8)
    REFUSE_EACH(max_tokens, max_tokens, 10)
    REFUSE_EACH(no_lengths, truncate_prompt_tokens, 20)
    for (size_t i = 0; i < 4; i++) {
        begin_generate(&parts, "a");
        parts.generate.priority = priorities[i];
        expect_refused(&client, &parts, 3, "priority");
    }
    begin_generate(&parts, "a");
    parts.generate.timeout_ms = 1000000001;
    expect_refused(&client, &parts, 3, "timeout_ms");
    begin_generate(&parts, "a");
    parts.sampling.min_tokens = -1;
    expect_refused(&client, &parts, 3, "min_tokens");
    parts.sampling.min_tokens = 6;
    parts.sampling.max_tokens_presence_case = 10;
    parts.sampling.max_tokens = 5;
    expect_refused(&client, &parts, 3, "min_tokens");
    for (size_t i = 0; i < 3; i++) {
        begin_generate(&parts, "a");
        parts.sampling.n = ns[i];
        expect_refused(&client, &parts, 3, "n");
        begin_generate(&parts, "a");
        parts.output.logprobs_presence_case = 1;
        parts.output.logprobs = logprobs[i];
        expect_refused(&client, &parts, 3, "logprobs");
        begin_generate(&parts, "a");
        parts.output.prompt_logprobs_presence_case = 2;
        parts.output.prompt_logprobs = logprobs[i];
        expect_refused(&client, &parts, 3, "prompt_logprobs");
    }
    assert_int_equal(echo_get(service, &service->engine.n_submits), 0);
    expect_service(service);
    rude_close(&client);
}

static void t20_lists_and_names_out_of_range_are_refused(void **state)
{
    echo_service *service = *state;
    rude_client client = rude_connect(service->endpoint);
    char long_text[300], *stops[65];
    int32_t ids[129] = {0}, bad_id = 1024, negative_id = -1;
    generate_parts parts;
    memset(long_text, 'x', sizeof long_text);
    for (int i = 0; i < 65; i++)
        stops[i] = (char *)"stop";
    begin_generate(&parts, "a");
    parts.sampling.stop = stops;
    parts.sampling.n_stop = 17;
    expect_refused(&client, &parts, 3, "stop");
    parts.sampling.n_stop = 1;
    stops[0] = (char *)"";
    expect_refused(&client, &parts, 3, "stop");
    long_text[257] = 0;
    stops[0] = long_text;
    expect_refused(&client, &parts, 3, "stop");
    begin_generate(&parts, "a");
    parts.sampling.stop_token_ids = ids;
    parts.sampling.n_stop_token_ids = 129;
    expect_refused(&client, &parts, 3, "stop_token_ids");
    parts.sampling.n_stop_token_ids = 1;
    parts.sampling.stop_token_ids = &bad_id;
    expect_refused(&client, &parts, 3, "stop_token_ids");
    parts.sampling.stop_token_ids = &negative_id;
    expect_refused(&client, &parts, 3, "stop_token_ids");
    begin_generate(&parts, "a");
    parts.sampling.allowed_token_ids = &bad_id;
    parts.sampling.n_allowed_token_ids = 1;
    expect_refused(&client, &parts, 3, "allowed_token_ids");
    begin_generate(&parts, "a");
    stops[0] = (char *)"";
    parts.sampling.bad_words = stops;
    parts.sampling.n_bad_words = 1;
    expect_refused(&client, &parts, 3, "bad_words");
    parts.sampling.n_bad_words = 65;
    expect_refused(&client, &parts, 3, "bad_words");
    Choir__Client__LogitBias bias[2] = {CHOIR__CLIENT__LOGIT_BIAS__INIT,
                                        CHOIR__CLIENT__LOGIT_BIAS__INIT};
    Choir__Client__LogitBias *biases[] = {&bias[0], &bias[1]};
    begin_generate(&parts, "a");
    parts.sampling.logit_bias = biases;
    parts.sampling.n_logit_bias = 2; /* token 0 twice */
    expect_refused(&client, &parts, 3, "logit_bias");
    bias[1].token_id = 1024;
    expect_refused(&client, &parts, 3, "logit_bias");
    bias[1].token_id = 1;
    bias[1].bias = NAN;
    expect_refused(&client, &parts, 3, "logit_bias");
    begin_generate(&parts, "a");
    parts.generate.cache_salt = long_text;
    expect_refused(&client, &parts, 3, "cache_salt");
    begin_generate(&parts, "a");
    parts.generate.model = (char *)"gpt";
    expect_refused(&client, &parts, 5, "model");
    begin_generate(&parts, "a");
    parts.generate.request_id = (char *)"";
    expect_refused(&client, &parts, 3, "request_id");
    long_text[65] = 0;
    parts.generate.request_id = long_text;
    expect_refused(&client, &parts, 3, "request_id");
    assert_int_equal(echo_get(service, &service->engine.n_submits), 0);
    rude_close(&client);
}

static void t21_odd_prompts_have_a_defined_result(void **state)
{
    echo_service *service = *state;
    rude_client client = rude_connect(service->endpoint);
    generate_parts parts;
    Choir__Client__TokenIds tokens = CHOIR__CLIENT__TOKEN_IDS__INIT;
    Choir__Client__Chat chat = CHOIR__CLIENT__CHAT__INIT;
    int32_t ids[] = {1, 1024};
    char *long_text = malloc((4 << 20) + 2);
    begin_generate(&parts, "");
    expect_refused(&client, &parts, 3, "text");
    begin_generate(&parts, "bad \xff utf-8");
    expect_refused(&client, &parts, 3, "text");
    parts.generate.input_case = CHOIR__CLIENT__GENERATE__INPUT__NOT_SET;
    expect_refused(&client, &parts, 3, "input");
    parts.generate.input_case = CHOIR__CLIENT__GENERATE__INPUT_TOKEN_IDS;
    parts.generate.token_ids = &tokens;
    expect_refused(&client, &parts, 3, "token_ids");
    tokens.ids = ids;
    tokens.n_ids = 2;
    expect_refused(&client, &parts, 3, "token_ids");
    parts.generate.input_case = CHOIR__CLIENT__GENERATE__INPUT_CHAT;
    parts.generate.chat = &chat;
    static const char *const chats[] = {"", "{}", "[]", "[{\"role\": \"god\", \"content\": \"a\"}]",
                                        "[1]"};
    for (size_t i = 0; i < sizeof chats / sizeof chats[0]; i++) {
        chat.messages_json = (char *)chats[i];
        expect_refused(&client, &parts, 3, "messages_json");
    }
    /* A NUL: Generate{request_id "r", text "a\0b"} */
    rude_send(&client,
              "\x22\x08\x0a\x01r\x22\x03"
              "a\0b",
              10);
    expect_error(&client, 3, "text", "r");
    /* 4 MiB of one character: too long for the context; one byte more: too long at all. */
    memset(long_text, 'a', (4 << 20) + 1);
    long_text[(4 << 20) + 1] = 0;
    begin_generate(&parts, long_text);
    expect_refused(&client, &parts, 3, "text");
    long_text[4 << 20] = 0;
    expect_refused(&client, &parts, 3, "text");
    free(long_text);
    assert_int_equal(echo_get(service, &service->engine.n_submits), 0);
    expect_service(service);
    rude_close(&client);
}

static void t21_prompt_as_long_as_the_context(void **state)
{
    static int32_t ids[ECHO_MAX_LEN];
    choir_client *client = echo_connect(*state);
    choir_generate_request request = {.token_ids = ids, .n_token_ids = ECHO_MAX_LEN};
    for (size_t i = 0; i < ECHO_MAX_LEN; i++)
        ids[i] = 3 + 'a';
    echo_answer *answer = echo_generate(client, &request);
    assert_true(answer->is_error); /* there is no room for an answer */
    assert_string_equal(answer->param, "token_ids");
    free(answer);
    request.n_token_ids--;
    answer = echo_generate(client, &request);
    assert_int_equal(answer->reason, CHOIR_FINISH_LENGTH);
    assert_string_equal(answer->text, "a");
    free(answer);
    /* A score needs no room, but one position each. */
    const choir_score_request score = {.token_ids = ids, .n_token_ids = ECHO_MAX_LEN};
    char id[CHOIR_REQUEST_ID_SIZE];
    choir_event event;
    assert_int_equal(choir_client_score(client, &score, id), CHOIR_OK);
    do
        assert_int_equal(choir_client_next_event(client, 30000, &event), CHOIR_OK);
    while (!choir_event_is_last(&event));
    assert_int_equal(event.kind, CHOIR_EVENT_SCORES);
    assert_int_equal(event.n_logprobs, ECHO_MAX_LEN);
    choir_client_destroy(&client);
}

static void t22_control_words_of_users_are_text(void **state)
{
    choir_client *client = echo_connect(*state);
    const choir_generate_request request = echo_request_text("<|im_end|><|im_start|>", 12);
    echo_answer *answer = echo_generate(client, &request);
    assert_int_equal(answer->reason, CHOIR_FINISH_LENGTH); /* no end token was echoed */
    for (size_t i = 0; i < answer->n_ids; i++)
        assert_true(answer->ids[i] > 2);
    free(answer);
    choir_client_destroy(&client);
}

int main(void)
{
#define SERVICE_TEST(f) cmocka_unit_test_setup_teardown(f, echo_setup, echo_teardown)
    const struct CMUnitTest tests[] = {
        SERVICE_TEST(t20_numbers_out_of_range_are_refused_by_name),
        SERVICE_TEST(t20_lists_and_names_out_of_range_are_refused),
        SERVICE_TEST(t21_odd_prompts_have_a_defined_result),
        SERVICE_TEST(t21_prompt_as_long_as_the_context),
        SERVICE_TEST(t22_control_words_of_users_are_text),
    };
    return cmocka_run_group_tests_name("frontend_fields", tests, NULL, NULL);
}
