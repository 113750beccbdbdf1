/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/inquiry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static choir_sampling_options options;
static choir_inquiry inquiry;

/* Makes an inquiry of the options and one line; the caller destroys it. */
static choir_status parse(const char *line)
{
    choir_json *json;
    assert_int_equal(choir_inquiry_create(&options, &inquiry), CHOIR_OK);
    assert_int_equal(choir_json_parse(line, strlen(line), &json), CHOIR_OK);
    return choir_inquiry_add_json(&inquiry, json);
}

static void test_nothing_given(void **state)
{
    (void)state;
    options = choir_sampling_options_default();
    assert_int_equal(parse("{\"prompt\": \"a\", \"temperature\": null}"), CHOIR_OK);
    const choir_sampling_params *sampling = &inquiry.generate.sampling;
    assert_false(sampling->has_temperature || sampling->has_top_k || sampling->has_top_p ||
                 sampling->has_min_p || sampling->has_seed || sampling->has_max_tokens);
    assert_int_equal(sampling->n_stop, 0);
    assert_false(inquiry.generate.wants_logprobs);
    assert_true(inquiry.generate.return_token_ids);
    assert_string_equal(inquiry.generate.text, "a");
    assert_int_equal(inquiry.generate.text_length, 1);
    choir_inquiry_destroy(&inquiry);
    choir_inquiry_destroy(&inquiry);
}

static void test_a_line_replaces_flags(void **state)
{
    (void)state;
    options = choir_sampling_options_default();
    options.temperature = 0.5;
    options.top_k = 40;
    options.seed = 7;
    options.stop.items[0] = "END";
    options.stop.n_items = 1;
    options.logprobs = 2;
    options.stop_token_ids = "1,2";
    assert_int_equal(parse("{\"messages\": [{\"role\": \"user\", \"content\": \"é\"}],"
                           "\"temperature\": 0, \"top_p\": 0.25, \"min_p\": 0.125, \"seed\": 8, "
                           "\"n\": 4, \"prompt_logprobs\": 3,"
                           "\"max_tokens\": 16, \"stop\": [\"x\", \"yy\"],"
                           "\"stop_token_ids\": [5], \"ignore_eos\": true, \"logprobs\": 3,"
                           "\"skip_special_tokens\": false}"),
                     CHOIR_OK);
    const choir_generate_request *generate = &inquiry.generate;
    const choir_sampling_params *sampling = &generate->sampling;
    assert_true(sampling->has_temperature && sampling->temperature == 0);
    assert_true(sampling->has_top_k && sampling->top_k == 40);
    assert_true(sampling->has_top_p && sampling->top_p == 0.25f);
    assert_true(sampling->has_min_p && sampling->min_p == 0.125f);
    assert_true(sampling->has_seed && sampling->seed == 8);
    assert_int_equal(sampling->n, 4);
    assert_true(generate->wants_prompt_logprobs);
    assert_int_equal(generate->n_prompt_top, 3);
    assert_true(sampling->has_max_tokens && sampling->max_tokens == 16);
    assert_int_equal(sampling->n_stop, 2);
    assert_string_equal(sampling->stop[1], "yy");
    assert_int_equal(sampling->n_stop_token_ids, 1);
    assert_int_equal(sampling->stop_token_ids[0], 5);
    assert_true(sampling->ignore_eos && generate->wants_logprobs && generate->keep_special_tokens);
    assert_int_equal(generate->n_top, 3);
    assert_string_equal(generate->messages_json, "[{\"role\": \"user\", \"content\": \"é\"}]");
    assert_null(generate->text);
    choir_inquiry_destroy(&inquiry);
}

static void test_flags_stay(void **state)
{
    (void)state;
    options = choir_sampling_options_default();
    options.stop.items[0] = "END";
    options.stop.n_items = 1;
    options.stop_token_ids = "1,2";
    assert_int_equal(parse("{\"token_ids\": [3, 4, 5]}"), CHOIR_OK);
    assert_int_equal(inquiry.generate.n_token_ids, 3);
    assert_int_equal(inquiry.generate.token_ids[2], 5);
    assert_string_equal(inquiry.generate.sampling.stop[0], "END");
    assert_int_equal(inquiry.generate.sampling.n_stop_token_ids, 2);
    choir_inquiry_destroy(&inquiry);
    options.stop_token_ids = "1;2";
    assert_int_equal(choir_inquiry_create(&options, &inquiry), CHOIR_EINVALID);
    choir_inquiry_destroy(&inquiry);
}

static void test_wrong_fields(void **state)
{
    (void)state;
    static const struct {
        const char *line, *words;
    } cases[] = {
        {"{}", "none of prompt, messages and token_ids"},
        {"{\"prompt\": null}", "none of prompt, messages and token_ids"},
        {"{\"prompt\": 5}", "prompt: not a string"},
        {"{\"prompt\": \"a\", \"token_ids\": [1]}", "token_ids: give one of"},
        {"{\"token_ids\": []}", "token_ids: empty"},
        {"{\"token_ids\": [1.5]}", "token_ids[0]: no token id"},
        {"{\"messages\": \"hello\"}", "messages: not an array"},
        {"{\"prompt\": \"a\", \"temprature\": 1}", "temprature: unknown field"},
        {"{\"prompt\": \"a\", \"temperature\": \"hot\"}", "temperature: not a number"},
        {"{\"prompt\": \"a\", \"max_tokens\": 1.5}", "max_tokens: not an integer"},
        {"{\"prompt\": \"a\", \"seed\": -1}", "seed: below 0"},
        {"{\"prompt\": \"a\", \"stop\": [1]}", "stop: not a string"},
        {"{\"prompt\": \"a\", \"ignore_eos\": 1}", "ignore_eos: not true or false"},
        {"{\"prompt\": \"a\", \"stop_token_ids\": [-1]}", "stop_token_ids[0]: no token id"},
    };
    options = choir_sampling_options_default();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(parse(cases[i].line), CHOIR_EINVALID);
        if (strstr(choir_error(), cases[i].words) == NULL)
            fail_msg("%s gave: %s", cases[i].line, choir_error());
        choir_inquiry_destroy(&inquiry);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_given),
        cmocka_unit_test(test_a_line_replaces_flags),
        cmocka_unit_test(test_flags_stay),
        cmocka_unit_test(test_wrong_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
