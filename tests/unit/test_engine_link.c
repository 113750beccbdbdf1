/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/engine_link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

typedef struct link_pair {
    choir_engine_link *frontend, *lead;
} link_pair;

static int open_links(void **state)
{
    static link_pair pair;
    assert_int_equal(choir_engine_link_connect("inproc://engine", &pair.lead), CHOIR_OK);
    assert_int_equal(choir_engine_link_bind("inproc://engine", &pair.frontend), CHOIR_OK);
    *state = &pair;
    return 0;
}

static int close_links(void **state)
{
    link_pair *pair = *state;
    choir_engine_link_destroy(&pair->lead);
    choir_engine_link_destroy(&pair->frontend);
    choir_engine_link_destroy(&pair->frontend);
    return 0;
}

static void submit_arrives_whole(void **state)
{
    const link_pair *pair = *state;
    int32_t ids[] = {1, 49151, 0, 7};
    Choir__Engine__Sampling sampling = CHOIR__ENGINE__SAMPLING__INIT;
    Choir__Engine__Submit submit = CHOIR__ENGINE__SUBMIT__INIT;
    Choir__Engine__ToEngine sent = CHOIR__ENGINE__TO_ENGINE__INIT, *got;
    sampling.seed = UINT64_MAX;
    submit.id = 5;
    submit.token_ids = ids;
    submit.n_token_ids = 4;
    submit.sampling = &sampling;
    sent.body_case = CHOIR__ENGINE__TO_ENGINE__BODY_SUBMIT;
    sent.submit = &submit;
    assert_int_equal(choir_engine_link_send_request(pair->frontend, &sent), CHOIR_OK);
    assert_int_equal(choir_engine_link_receive(pair->lead, -1, &got), CHOIR_OK);
    assert_non_null(got);
    assert_int_equal(got->body_case, CHOIR__ENGINE__TO_ENGINE__BODY_SUBMIT);
    assert_int_equal(got->submit->id, 5);
    assert_int_equal(got->submit->n_token_ids, 4);
    assert_memory_equal(got->submit->token_ids, ids, sizeof ids);
    assert_true(got->submit->sampling->seed == UINT64_MAX);
    choir_to_engine_destroy(&got);
    assert_null(got);
}

/* The bits of a log-probability are the engine's, NaN payload included. */
static void outputs_keep_float_bits(void **state)
{
    const link_pair *pair = *state;
    static const uint32_t bits[] = {0xbf000001u, 0x80000001u, 0x7fc12345u, 0xff800000u, 1u};
    Choir__Engine__Token tokens[5], *listed[5];
    Choir__Engine__Output output = CHOIR__ENGINE__OUTPUT__INIT, *outputs[] = {&output};
    Choir__Engine__Outputs all = CHOIR__ENGINE__OUTPUTS__INIT;
    Choir__Engine__FromEngine sent = CHOIR__ENGINE__FROM_ENGINE__INIT, *got;
    for (size_t i = 0; i < 5; i++) {
        tokens[i] = (Choir__Engine__Token)CHOIR__ENGINE__TOKEN__INIT;
        memcpy(&tokens[i].logprob, &bits[i], sizeof bits[i]);
        listed[i] = &tokens[i];
    }
    output.tokens = listed;
    output.n_tokens = 5;
    all.outputs = outputs;
    all.n_outputs = 1;
    sent.body_case = CHOIR__ENGINE__FROM_ENGINE__BODY_OUTPUTS;
    sent.outputs = &all;
    assert_int_equal(choir_engine_link_send(pair->lead, &sent), CHOIR_OK);
    assert_int_equal(choir_engine_link_receive_reply(pair->frontend, -1, &got), CHOIR_OK);
    assert_int_equal(got->outputs->outputs[0]->n_tokens, 5);
    for (size_t i = 0; i < 5; i++)
        assert_memory_equal(&got->outputs->outputs[0]->tokens[i]->logprob, &bits[i], 4);
    choir_from_engine_destroy(&got);
}

static void nothing_there_is_no_error(void **state)
{
    const link_pair *pair = *state;
    Choir__Engine__ToEngine *got;
    assert_int_equal(choir_engine_link_receive(pair->lead, 0, &got), CHOIR_OK);
    assert_null(got);
    assert_int_equal(choir_engine_link_receive(pair->lead, 1, &got), CHOIR_OK);
    assert_null(got);
}

static void message_without_body_is_refused(void **state)
{
    const link_pair *pair = *state;
    const Choir__Engine__ToEngine empty = CHOIR__ENGINE__TO_ENGINE__INIT;
    Choir__Engine__ToEngine *got;
    assert_int_equal(choir_engine_link_send_request(pair->frontend, &empty), CHOIR_OK);
    assert_int_equal(choir_engine_link_receive(pair->lead, -1, &got), CHOIR_EFORMAT);
    assert_null(got);
}

static void lead_sees_that_its_front_end_is_gone(void **state)
{
    link_pair *pair = *state;
    Choir__Engine__ToEngine *got;
    assert_false(choir_engine_link_is_lost(pair->lead));
    choir_engine_link_destroy(&pair->frontend);
    for (int i = 0; i < 10000 && !choir_engine_link_is_lost(pair->lead); i++)
        assert_int_equal(choir_engine_link_receive(pair->lead, 1, &got), CHOIR_OK);
    assert_true(choir_engine_link_is_lost(pair->lead));
}

static void front_end_does_not_wait_for_a_missing_engine(void **state)
{
    const Choir__Engine__ToEngine sent = CHOIR__ENGINE__TO_ENGINE__INIT;
    choir_engine_link *alone;
    (void)state;
    assert_int_equal(choir_engine_link_bind("inproc://alone", &alone), CHOIR_OK);
    assert_int_equal(choir_engine_link_send_request(alone, &sent), CHOIR_EUNAVAILABLE);
    choir_engine_link_destroy(&alone);
}

int main(void)
{
#define LINK_TEST(f) cmocka_unit_test_setup_teardown(f, open_links, close_links)
    const struct CMUnitTest tests[] = {
        LINK_TEST(submit_arrives_whole),
        LINK_TEST(outputs_keep_float_bits),
        LINK_TEST(nothing_there_is_no_error),
        LINK_TEST(message_without_body_is_refused),
        LINK_TEST(lead_sees_that_its_front_end_is_gone),
        LINK_TEST(front_end_does_not_wait_for_a_missing_engine),
    };
    return cmocka_run_group_tests_name("engine_link", tests, NULL, NULL);
}
