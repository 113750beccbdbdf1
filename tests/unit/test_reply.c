/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/reply.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Dumps and releases. */
static void expect_json(choir_json *json, const char *expected)
{
    char *text;
    assert_int_equal(choir_json_dump(json, &text), CHOIR_OK);
    assert_string_equal(text, expected);
    free(text);
    choir_json_destroy(&json);
}

static void add(choir_reply *reply, const choir_event *event)
{
    assert_int_equal(choir_reply_add(reply, event), CHOIR_OK);
}

static void test_a_whole_answer(void **state)
{
    (void)state;
    choir_reply reply = {0};
    const choir_top_logprob top[] = {{7, -0.5f}, {9, -1.5f}};
    const choir_token_logprob first = {
        .token_id = 7, .has_logprob = true, .logprob = -0.5f, .top = top, .n_top = 2};
    const choir_token_logprob second = {.token_id = 8, .has_logprob = true, .logprob = -0.0f};
    const int32_t ids[] = {7, 8};
    add(&reply, &(choir_event){.kind = CHOIR_EVENT_ACCEPTED, .seed = 42});
    add(&reply, &(choir_event){.kind = CHOIR_EVENT_CHUNK,
                               .text = "Grün",
                               .text_length = 5,
                               .token_ids = ids,
                               .n_token_ids = 1,
                               .logprobs = &first,
                               .n_logprobs = 1});
    assert_false(reply.is_finished);
    add(&reply, &(choir_event){.kind = CHOIR_EVENT_CHUNK,
                               .text = "\"\n",
                               .text_length = 2,
                               .token_ids = ids + 1,
                               .n_token_ids = 1,
                               .logprobs = &second,
                               .n_logprobs = 1});
    add(&reply, &(choir_event){.kind = CHOIR_EVENT_FINISH,
                               .is_last = true,
                               .reason = CHOIR_FINISH_LENGTH,
                               .usage = {5, 2, 0},
                               .timings = {1, 2, 3, 4}});
    assert_true(reply.is_finished);
    assert_int_equal(reply.seed, 42);
    assert_string_equal(reply.text, "Grün\"\n");
    assert_int_equal(choir_reply_status(&reply), CHOIR_OK);
    expect_json(choir_reply_to_json(&reply),
                "{\"token_ids\": [7, 8], \"text\": \"Grün\\\"\\n\", \"finish_reason\": \"length\", "
                "\"logprobs\": [{\"token_id\": 7, \"logprob\": -0.5, \"logprob_bits\": "
                "\"bf000000\", \"top\": [{\"token_id\": 7, \"logprob\": -0.5}, {\"token_id\": 9, "
                "\"logprob\": -1.5}]}, {\"token_id\": 8, \"logprob\": -0.0, \"logprob_bits\": "
                "\"80000000\", \"top\": []}], \"usage\": {\"prompt_tokens\": 5, "
                "\"completion_tokens\": 2, \"total_tokens\": 7, \"cached_tokens\": 0}, "
                "\"timings\": {\"queue_us\": 1, "
                "\"prefill_us\": 2, \"decode_us\": 3, \"ttft_us\": 4}}");
    choir_reply_destroy(&reply);
    choir_reply_destroy(&reply);
}

static void test_an_empty_answer(void **state)
{
    (void)state;
    choir_reply reply = {0};
    add(&reply,
        &(choir_event){.kind = CHOIR_EVENT_FINISH, .is_last = true, .reason = CHOIR_FINISH_STOP});
    expect_json(
        choir_reply_to_json(&reply),
        "{\"token_ids\": [], \"text\": \"\", \"finish_reason\": \"stop\", \"logprobs\": [], "
        "\"usage\": {\"prompt_tokens\": 0, \"completion_tokens\": 0, \"total_tokens\": 0, "
        "\"cached_tokens\": 0}, "
        "\"timings\": {\"queue_us\": 0, \"prefill_us\": 0, \"decode_us\": 0, "
        "\"ttft_us\": 0}}");
    choir_reply_destroy(&reply);
}

static void test_scores(void **state)
{
    (void)state;
    choir_reply reply = {0};
    const choir_token_logprob tokens[] = {
        {.token_id = 1, .logprob = NAN},
        {.token_id = 2, .has_logprob = true, .logprob = -2.25f},
    };
    add(&reply,
        &(choir_event){
            .kind = CHOIR_EVENT_SCORES, .is_last = true, .logprobs = tokens, .n_logprobs = 2});
    assert_true(reply.is_finished);
    expect_json(choir_reply_to_score_json(&reply),
                "{\"tokens\": [{\"token_id\": 1, \"logprob\": null, \"logprob_bits\": null, "
                "\"top\": []}, {\"token_id\": 2, \"logprob\": -2.25, \"logprob_bits\": "
                "\"c0100000\", \"top\": []}]}");
    choir_reply_destroy(&reply);
}

static void test_errors(void **state)
{
    (void)state;
    choir_reply reply = {0};
    add(&reply, &(choir_event){.kind = CHOIR_EVENT_ERROR,
                               .is_last = true,
                               .status = CHOIR_EINVALID,
                               .param = "temperature",
                               .message = "not in 0.01 to 100"});
    assert_true(reply.is_finished);
    assert_int_equal(choir_reply_status(&reply), CHOIR_EINVALID);
    assert_string_equal(choir_error(), "temperature: not in 0.01 to 100");
    const char expected[] = "{\"error\": {\"status\": \"EINVALID\", \"param\": \"temperature\", "
                            "\"message\": \"not in 0.01 to 100\"}}";
    expect_json(choir_reply_to_json(&reply), expected);
    expect_json(choir_reply_to_score_json(&reply), expected);
    choir_reply_destroy(&reply);
    /* The field stands once. */
    add(&reply, &(choir_event){.kind = CHOIR_EVENT_ERROR,
                               .is_last = true,
                               .status = CHOIR_EINVALID,
                               .param = "seed",
                               .message = "seed: below 0"});
    assert_int_equal(choir_reply_status(&reply), CHOIR_EINVALID);
    assert_string_equal(choir_error(), "seed: below 0");
    choir_reply_destroy(&reply);
}

static void test_several_answers(void **state)
{
    (void)state;
    choir_reply reply = {0};
    const choir_token_logprob prompt = {.token_id = 1, .has_logprob = true, .logprob = -0.5f};
    add(&reply,
        &(choir_event){.kind = CHOIR_EVENT_CHUNK, .index = 2, .text = "two", .text_length = 3});
    add(&reply, &(choir_event){.kind = CHOIR_EVENT_FINISH, .index = 2});
    add(&reply, &(choir_event){.kind = CHOIR_EVENT_FINISH, .index = 1});
    add(&reply, &(choir_event){.kind = CHOIR_EVENT_CHUNK,
                               .text = "zero",
                               .text_length = 4,
                               .prompt_logprobs = &prompt,
                               .n_prompt_logprobs = 1});
    assert_false(reply.is_finished);
    add(&reply, &(choir_event){.kind = CHOIR_EVENT_FINISH, .is_last = true});
    assert_true(reply.is_finished);
    choir_json *json = choir_reply_to_json(&reply);
    const choir_json *choices = choir_json_get(json, "choices");
    static const char *const texts[] = {"zero", "", "two"};
    assert_int_equal(choir_json_size(choices), 3);
    for (size_t i = 0; i < 3; i++) {
        const choir_json *choice = choir_json_at(choices, i);
        assert_string_equal(choir_json_string(choir_json_get(choice, "text"), "-"), texts[i]);
        assert_int_equal(choir_json_size(choir_json_get(choice, "prompt_logprobs")), i == 0);
    }
    choir_json_destroy(&json);
    choir_reply_destroy(&reply);
}

static void test_words_for_people(void **state)
{
    (void)state;
    char text[128];
    choir_reply reply = {
        .seed = 3, .usage = {30, 11, 0}, .timings = {.decode_us = 500000, .ttft_us = 12400}};
    choir_reply_describe(&reply, text, sizeof text);
    assert_string_equal(text, "11 tokens, 20.0 tokens/s; prompt of 30 tokens, first answer after "
                              "12.4 ms; seed 3");
    reply.usage.completion_tokens = 1;
    choir_reply_describe(&reply, text, sizeof text);
    assert_string_equal(text, "1 tokens; prompt of 30 tokens, first answer after 12.4 ms; seed 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_answer),  cmocka_unit_test(test_an_empty_answer),
        cmocka_unit_test(test_scores),          cmocka_unit_test(test_errors),
        cmocka_unit_test(test_several_answers), cmocka_unit_test(test_words_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
