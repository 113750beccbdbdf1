/* SPDX-License-Identifier: Apache-2.0 */
/* What the front end does for clients that behave. */
#include "tests/unit/echo_engine.h"

/* ---- answers ---- */

static void answer_is_the_engines(void **state)
{
    choir_client *client = echo_connect(*state);
    const choir_generate_request request = echo_request_text("Plants need light.", 40);
    echo_answer *answer = echo_generate(client, &request);
    assert_false(answer->is_error);
    assert_int_equal(answer->reason, CHOIR_FINISH_LENGTH);
    assert_int_equal(answer->n_ids, 40);
    assert_int_equal(answer->usage.completion_tokens, 40);
    assert_int_equal(answer->usage.prompt_tokens, answer->prompt_tokens);
    assert_int_equal(answer->timings.ttft_us, 5);
    assert_int_equal(answer->stop_token, -1);
    assert_int_equal(strncmp(answer->text, "Plants need light.Plants need light.", 30), 0);
    assert_int_equal(answer->n_logprobs, 0);
    free(answer);
    choir_client_destroy(&client);
}

static void ask_sixteen(choir_client **clients, echo_answer **answers, const char *const *texts)
{
    for (size_t i = 0; i < 16; i++) {
        choir_generate_request request = echo_request_text(texts[i], 30 + (int64_t)i);
        request.wants_logprobs = i % 2 == 0;
        answers[i] = echo_start(clients[i], &request);
    }
    for (size_t i = 0; i < 16; i++)
        echo_finish(clients[i], &answers[i], 1, answers[i]);
}

static void sixteen_clients_at_once_get_what_each_gets_alone(void **state)
{
    static char texts[16][32];
    const char *list[16];
    choir_client *clients[16];
    echo_answer *together[16];
    for (size_t i = 0; i < 16; i++) {
        snprintf(texts[i], sizeof texts[i], "Question %zu \xc3\xa4?", i * 7919);
        list[i] = texts[i];
        clients[i] = echo_connect(*state);
    }
    ask_sixteen(clients, together, list);
    for (size_t i = 0; i < 16; i++) {
        choir_generate_request request = echo_request_text(texts[i], 30 + (int64_t)i);
        request.wants_logprobs = i % 2 == 0;
        echo_answer *alone = echo_generate(clients[i], &request);
        assert_int_equal(alone->n_ids, 30 + i);
        assert_int_equal(alone->n_ids, together[i]->n_ids);
        assert_memory_equal(alone->ids, together[i]->ids, alone->n_ids * 4);
        assert_string_equal(alone->text, together[i]->text);
        assert_int_equal(strncmp(alone->text, texts[i], strlen(texts[i])), 0);
        assert_int_equal(alone->n_logprobs, together[i]->n_logprobs);
        assert_int_equal(alone->n_logprobs, i % 2 == 0 ? 30 + i : 0);
        assert_memory_equal(alone->logprob_bits, together[i]->logprob_bits, alone->n_logprobs * 4);
        free(alone);
        free(together[i]);
        choir_client_destroy(&clients[i]);
    }
}

static void one_client_has_many_requests(void **state)
{
    enum { N = 300 }; /* more than the service takes at a time */
    choir_client *client = echo_connect(*state);
    static echo_answer *answers[N];
    for (size_t i = 0; i < N; i++) {
        const choir_generate_request request = echo_request_text("many", 1 + (int64_t)(i % 9));
        answers[i] = echo_start(client, &request);
    }
    for (size_t i = 0; i < N; i++)
        echo_finish(client, answers, N, answers[i]);
    for (size_t i = 0; i < N; i++) {
        assert_false(answers[i]->is_error);
        assert_int_equal(answers[i]->n_ids, 1 + i % 9);
        free(answers[i]);
    }
    choir_client_destroy(&client);
}

static void log_probabilities_keep_their_bits(void **state)
{
    choir_client *client = echo_connect(*state);
    choir_generate_request request = echo_request_text("bits", 70);
    choir_event event;
    size_t n = 0;
    request.wants_logprobs = true;
    request.n_top = 3;
    char id[CHOIR_REQUEST_ID_SIZE];
    assert_int_equal(choir_client_generate(client, &request, id), CHOIR_OK);
    do {
        assert_int_equal(choir_client_next_event(client, 30000, &event), CHOIR_OK);
        for (size_t i = 0; i < event.n_logprobs; i++, n++) {
            const choir_token_logprob *token = &event.logprobs[i];
            const uint32_t bits = ECHO_BITS(token->token_id, n), top_bits = ECHO_BITS(2, 1);
            assert_memory_equal(&token->logprob, &bits, 4);
            assert_int_equal(token->token_id, event.token_ids[i]);
            assert_int_equal(token->n_top, 3);
            assert_int_equal(token->top[2].token_id, 2);
            assert_memory_equal(&token->top[2].logprob, &top_bits, 4);
            assert_true(token->n_bytes > 0);
        }
    } while (!choir_event_is_last(&event));
    assert_int_equal(n, 70);
    choir_client_destroy(&client);
}

static void scores_come_in_one_piece(void **state)
{
    choir_client *client = echo_connect(*state);
    static const int32_t ids[] = {300, 5, 301, 5};
    const choir_score_request request = {.token_ids = ids, .n_token_ids = 4, .n_top = 2};
    char id[CHOIR_REQUEST_ID_SIZE];
    choir_event event;
    assert_int_equal(choir_client_score(client, &request, id), CHOIR_OK);
    do
        assert_int_equal(choir_client_next_event(client, 30000, &event), CHOIR_OK);
    while (!choir_event_is_last(&event));
    assert_int_equal(event.kind, CHOIR_EVENT_SCORES);
    assert_string_equal(event.request_id, id);
    assert_int_equal(event.n_logprobs, 4);
    assert_int_equal(event.usage.prompt_tokens, 4);
    for (size_t i = 0; i < 4; i++) {
        const uint32_t bits = ECHO_BITS(ids[i], i);
        assert_int_equal(event.logprobs[i].token_id, ids[i]);
        assert_int_equal(event.logprobs[i].has_logprob, i > 0);
        assert_int_equal(event.logprobs[i].n_top, i > 0 ? 2 : 0);
        if (i > 0)
            assert_memory_equal(&event.logprobs[i].logprob, &bits, 4);
    }
    choir_client_destroy(&client);
}

/* ---- the end of an answer ---- */

static void stop_string_ends_the_answer_and_is_not_in_it(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    static const char *const stops[] = {"never", "light"};
    choir_generate_request request = echo_request_text("Plants need light and li.", 0);
    request.sampling.stop = stops;
    request.sampling.n_stop = 2;
    echo_answer *answer = echo_generate(client, &request);
    assert_int_equal(answer->reason, CHOIR_FINISH_STOP);
    assert_string_equal(answer->text, "Plants need ");
    assert_string_equal(answer->stop, "light");
    assert_int_equal(answer->stop_token, -1);
    assert_int_equal(answer->usage.completion_tokens, answer->n_ids);
    assert_int_equal(answer->timings.ttft_us, 5); /* the engine's, which was told to end */
    echo_wait(service, &service->engine.n_active, 0);
    free(answer);
    choir_client_destroy(&client);
}

static void held_back_text_comes_with_the_end(void **state)
{
    choir_client *client = echo_connect(*state);
    static const char *const stops[] = {"light!"};
    choir_generate_request request = echo_request_text("x light", 0);
    int32_t *ids;
    size_t n_ids;
    assert_int_equal(choir_client_tokenize(client, "x light", 7, false, &ids, &n_ids), CHOIR_OK);
    free(ids);
    request.sampling.has_max_tokens = true;
    request.sampling.max_tokens = (int64_t)n_ids;
    request.sampling.stop = stops;
    request.sampling.n_stop = 1;
    echo_answer *answer = echo_generate(client, &request);
    assert_int_equal(answer->reason, CHOIR_FINISH_LENGTH);
    assert_string_equal(answer->text, "x light");
    free(answer);
    choir_client_destroy(&client);
}

static echo_answer *generate_ids(choir_client *client, const int32_t *ids, size_t n_ids,
                                 const choir_sampling_params *sampling)
{
    const choir_generate_request request = {
        .token_ids = ids, .n_token_ids = n_ids, .return_token_ids = true, .sampling = *sampling};
    return echo_generate(client, &request);
}

/* Id 2 is the model's end token; 3 + b is the byte b. */
static void end_token_and_stop_token_end_the_answer(void **state)
{
    choir_client *client = echo_connect(*state);
    static const int32_t ids[] = {3 + 'a', 3 + 'b', 2, 3 + 'c'}, stop_ids[] = {3 + 'b'};
    choir_sampling_params sampling = {.has_max_tokens = true, .max_tokens = 8};
    echo_answer *answer = generate_ids(client, ids, 4, &sampling);
    assert_int_equal(answer->reason, CHOIR_FINISH_STOP);
    assert_int_equal(answer->stop_token, 2);
    assert_string_equal(answer->text, "ab");
    assert_int_equal(answer->n_ids, 3);
    free(answer);
    sampling.ignore_eos = true;
    answer = generate_ids(client, ids, 4, &sampling);
    assert_int_equal(answer->reason, CHOIR_FINISH_LENGTH);
    assert_string_equal(answer->text, "abcabc"); /* control words give no text */
    free(answer);
    sampling.stop_token_ids = stop_ids;
    sampling.n_stop_token_ids = 1;
    answer = generate_ids(client, ids, 4, &sampling);
    assert_int_equal(answer->stop_token, 3 + 'b');
    assert_string_equal(answer->text, "a");
    free(answer);
    choir_client_destroy(&client);
}

/* A character in three tokens comes whole; a broken one at the end as U+FFFD. */
static void text_ends_at_characters(void **state)
{
    choir_client *client = echo_connect(*state);
    static const int32_t ids[] = {3 + 0xe2, 3 + 0x82, 3 + 0xac};
    const choir_sampling_params sampling = {.has_max_tokens = true, .max_tokens = 5};
    echo_answer *answer = generate_ids(client, ids, 3, &sampling);
    assert_string_equal(answer->text, "\xe2\x82\xac\xef\xbf\xbd");
    free(answer);
    choir_client_destroy(&client);
}

static void cancel_ends_a_running_request(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    const choir_generate_request request = echo_request_text("on and on ", 0);
    echo_answer *answer = echo_start(client, &request);
    choir_event event;
    do { /* until it runs, so that control is used */
        assert_int_equal(choir_client_next_event(client, 30000, &event), CHOIR_OK);
        echo_collect(answer, &event);
    } while (event.kind != CHOIR_EVENT_CHUNK);
    assert_int_equal(choir_client_cancel(client, answer->id), CHOIR_OK);
    echo_finish(client, &answer, 1, answer);
    assert_int_equal(answer->reason, CHOIR_FINISH_ABORT);
    assert_true(answer->n_ids < ECHO_MAX_LEN - 100);
    assert_int_equal(answer->usage.completion_tokens, answer->n_ids);
    echo_wait(service, &service->engine.n_active, 0);
    free(answer);
    /* At once, before the service has it; and one that ended. */
    answer = echo_start(client, &request);
    assert_int_equal(choir_client_cancel(client, answer->id), CHOIR_OK);
    echo_finish(client, &answer, 1, answer);
    assert_int_equal(answer->reason, CHOIR_FINISH_ABORT);
    assert_int_equal(choir_client_cancel(client, answer->id), CHOIR_OK);
    free(answer);
    choir_client_destroy(&client);
}

/* ---- what reaches the engine ---- */

/* The last submit, waiting in a held engine; borrowed until the engine goes on. */
static const Choir__Engine__Submit *submitted(echo_service *service)
{
    echo_wait(service, &service->engine.n_active, 1);
    for (size_t i = 0; i < ECHO_REQUESTS; i++)
        if (service->engine.requests[i].submit)
            return service->engine.requests[i].submit->submit;
    return NULL;
}

static void let_go(echo_service *service, choir_client *client, echo_answer *answer)
{
    assert_int_equal(choir_client_cancel(client, answer->id), CHOIR_OK);
    echo_finish(client, &answer, 1, answer);
    echo_wait(service, &service->engine.n_active, 0);
    free(answer);
}

static void defaults_are_neutral_and_the_seed_is_told(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    choir_generate_request request = echo_request_text("hello", 0);
    uint64_t seeds[2];
    echo_set(service, &service->engine.is_held, true);
    for (int i = 0; i < 2; i++) {
        choir_event event;
        echo_answer *answer = echo_start(client, &request);
        const Choir__Engine__Submit *submit = submitted(service);
        assert_true(submit->sampling->temperature == 1 && submit->sampling->top_p == 1);
        assert_true(submit->sampling->top_k == 0 && submit->sampling->min_p == 0);
        assert_int_equal(submit->max_tokens, ECHO_MAX_LEN - submit->n_token_ids);
        assert_int_equal(submit->n_stop_token_ids, 2);
        assert_int_equal(submit->stop_token_ids[0], 0);
        assert_int_equal(submit->stop_token_ids[1], 2);
        assert_false(submit->wants_logprobs);
        assert_int_equal(choir_client_next_event(client, 30000, &event), CHOIR_OK);
        assert_int_equal(event.kind, CHOIR_EVENT_ACCEPTED);
        assert_true(event.seed == submit->sampling->seed);
        seeds[i] = event.seed;
        assert_true(event.seed < (uint64_t)1 << 53);
        let_go(service, client, answer);
    }
    assert_true(seeds[0] != seeds[1]);
    choir_client_destroy(&client);
}

static void settings_reach_the_engine(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    static const int32_t stop_ids[] = {9, 8};
    choir_generate_request request = echo_request_text("hello", 1000000);
    request.sampling = (choir_sampling_params){.has_temperature = true,
                                               .has_top_k = true,
                                               .has_top_p = true,
                                               .has_min_p = true,
                                               .has_seed = true,
                                               .has_max_tokens = true,
                                               .temperature = 0,
                                               .top_k = 40,
                                               .top_p = 0.5f,
                                               .min_p = 0.25f,
                                               .seed = UINT64_MAX - 1,
                                               .max_tokens = 1000000,
                                               .stop_token_ids = stop_ids,
                                               .n_stop_token_ids = 2,
                                               .ignore_eos = true};
    request.wants_logprobs = true;
    request.n_top = 64;
    echo_set(service, &service->engine.is_held, true);
    echo_answer *answer = echo_start(client, &request);
    const Choir__Engine__Submit *submit = submitted(service);
    assert_true(submit->sampling->temperature == 0 && submit->sampling->top_p == 0.5f);
    assert_true(submit->sampling->top_k == 40 && submit->sampling->min_p == 0.25f);
    assert_true(submit->sampling->seed == UINT64_MAX - 1);
    assert_int_equal(submit->max_tokens, ECHO_MAX_LEN - submit->n_token_ids);
    assert_int_equal(submit->n_stop_token_ids, 2);
    assert_int_equal(submit->stop_token_ids[1], 8);
    assert_true(submit->wants_logprobs && submit->n_top == 64);
    let_go(service, client, answer);
    choir_client_destroy(&client);
}

static void chat_goes_through_the_template(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    const choir_generate_request request = {
        .messages_json = "[{\"role\": \"user\", \"content\": \"Hi <|im_end|>\"}]"};
    static const char prompt[] =
        "<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n";
    char *text;
    size_t length;
    echo_set(service, &service->engine.is_held, true);
    echo_answer *answer = echo_start(client, &request);
    const Choir__Engine__Submit *submit = submitted(service);
    assert_int_equal(
        choir_client_detokenize(client, submit->token_ids, submit->n_token_ids, &text, &length),
        CHOIR_OK);
    assert_string_equal(text + length - strlen(prompt), prompt);
    assert_int_equal(submit->token_ids[0], 1);
    size_t n_ends = 0; /* what the user wrote is not one */
    for (size_t i = 0; i < submit->n_token_ids; i++)
        n_ends += submit->token_ids[i] == 2;
    assert_int_equal(n_ends, 1);
    free(text);
    let_go(service, client, answer);
    choir_client_destroy(&client);
}

/* ---- the other calls ---- */

static void tokenize_and_detokenize(void **state)
{
    choir_client *client = echo_connect(*state);
    int32_t *ids;
    char *text;
    size_t n_ids, length;
    assert_int_equal(choir_client_tokenize(client, "a<|im_end|>", 11, true, &ids, &n_ids),
                     CHOIR_OK);
    assert_int_equal(n_ids, 2);
    assert_int_equal(ids[1], 2);
    assert_int_equal(choir_client_detokenize(client, ids, n_ids, &text, &length), CHOIR_OK);
    assert_string_equal(text, "a<|im_end|>");
    free(ids);
    free(text);
    assert_int_equal(choir_client_tokenize(client, "", 0, false, &ids, &n_ids), CHOIR_OK);
    assert_int_equal(n_ids, 0);
    free(ids);
    static const int32_t bad[] = {1, 1024};
    assert_int_equal(choir_client_detokenize(client, bad, 2, &text, &length), CHOIR_EINVALID);
    assert_non_null(strstr(choir_error(), "token_ids"));
    choir_client_destroy(&client);
}

static void models_and_status(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    choir_model_info *models;
    choir_service_status status;
    size_t n_models;
    assert_int_equal(choir_client_list_models(client, &models, &n_models), CHOIR_OK);
    assert_int_equal(n_models, 1);
    assert_string_equal(models[0].name, "tiny");
    assert_string_equal(models[0].name, choir_client_model(client));
    assert_string_equal(models[0].architecture, "llama");
    assert_int_equal(models[0].vocabulary, 1024);
    assert_int_equal(models[0].max_model_len, ECHO_MAX_LEN);
    assert_true(models[0].has_chat_template);
    free(models);
    assert_int_equal(choir_client_status(client, &status), CHOIR_OK);
    assert_string_equal(status.state, "READY");
    assert_int_equal(status.n_steps, 77);
    assert_true(status.token_usage == 0.25f);
    assert_int_equal(status.n_clients, 1);
    assert_int_equal(status.engine.n_ranks, 1);
    assert_string_equal(status.engine.ranks[0].host, "here");
    assert_int_equal(status.engine.ranks[0].n_layers, 8);
    choir_service_status_destroy(&status);
    /* An engine that hangs does not hold the answer up for ever. */
    echo_set(service, &service->engine.is_silent, true);
    assert_int_equal(choir_client_status(client, &status), CHOIR_OK);
    assert_int_equal(status.n_steps, 77);
    choir_service_status_destroy(&status);
    choir_client_destroy(&client);
}

int main(void)
{
#define SERVICE_TEST(f) cmocka_unit_test_setup_teardown(f, echo_setup, echo_teardown)
    const struct CMUnitTest tests[] = {
        SERVICE_TEST(answer_is_the_engines),
        SERVICE_TEST(sixteen_clients_at_once_get_what_each_gets_alone),
        SERVICE_TEST(one_client_has_many_requests),
        SERVICE_TEST(log_probabilities_keep_their_bits),
        SERVICE_TEST(scores_come_in_one_piece),
        SERVICE_TEST(stop_string_ends_the_answer_and_is_not_in_it),
        SERVICE_TEST(held_back_text_comes_with_the_end),
        SERVICE_TEST(end_token_and_stop_token_end_the_answer),
        SERVICE_TEST(text_ends_at_characters),
        SERVICE_TEST(cancel_ends_a_running_request),
        SERVICE_TEST(defaults_are_neutral_and_the_seed_is_told),
        SERVICE_TEST(settings_reach_the_engine),
        SERVICE_TEST(chat_goes_through_the_template),
        SERVICE_TEST(tokenize_and_detokenize),
        SERVICE_TEST(models_and_status),
    };
    return cmocka_run_group_tests_name("frontend", tests, NULL, NULL);
}
