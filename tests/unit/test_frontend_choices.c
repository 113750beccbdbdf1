/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests with several answers, with log-probabilities of their prompt, and with a bound on the
 * chunks that may come.
 */
#include "tests/unit/rude_client.h"

enum { N = 3 };

static choir_event next_event(choir_client *client)
{
    choir_event event;
    if (choir_client_next_event(client, 30000, &event) != CHOIR_OK)
        fail_msg("%s", choir_error());
    return event;
}

static choir_generate_request request_of(int64_t n, int64_t max_tokens)
{
    static const int32_t ids[] = {300, 301, 302, 303, 304};
    return (choir_generate_request){
        .token_ids = ids,
        .n_token_ids = 5,
        .return_token_ids = true,
        .sampling = {.has_max_tokens = true, .max_tokens = max_tokens, .n = n},
    };
}

static void start(choir_client *client, const choir_generate_request *request,
                  char id[CHOIR_REQUEST_ID_SIZE])
{
    if (choir_client_generate(client, request, id) != CHOIR_OK)
        fail_msg("%s", choir_error());
}

static void each_answer_is_its_own(void **state)
{
    choir_client *client = echo_connect(*state);
    const choir_generate_request request = request_of(N, 20);
    char id[CHOIR_REQUEST_ID_SIZE];
    int n_tokens[N] = {0}, n_finishes[N] = {0}, n_accepted = 0;
    choir_event event;
    start(client, &request, id);
    do {
        event = next_event(client);
        n_accepted += event.kind == CHOIR_EVENT_ACCEPTED;
        assert_true(event.index < N);
        assert_int_equal(n_finishes[event.index], 0);
        assert_true(event.n_token_ids == 0 ||
                    (int)event.first_token_index == n_tokens[event.index]);
        for (size_t i = 0; i < event.n_token_ids; i++)
            assert_int_equal(event.token_ids[i],
                             300 + (n_tokens[event.index]++ + (int)event.index) % 5);
        n_finishes[event.index] += event.kind == CHOIR_EVENT_FINISH;
        if (event.kind == CHOIR_EVENT_FINISH)
            assert_int_equal(event.usage.completion_tokens, 20);
    } while (!choir_event_is_last(&event));
    assert_int_equal(n_accepted, 1);
    for (int i = 0; i < N; i++) {
        assert_int_equal(n_tokens[i], 20);
        assert_int_equal(n_finishes[i], 1);
    }
    echo_wait_open(*state, 0);
    choir_client_destroy(&client);
}

static void a_cancel_ends_all_answers(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    const choir_generate_request request = request_of(N, 20);
    char id[CHOIR_REQUEST_ID_SIZE];
    echo_set(service, &service->engine.is_held, true);
    start(client, &request, id);
    assert_int_equal(next_event(client).kind, CHOIR_EVENT_ACCEPTED);
    assert_int_equal(choir_client_cancel(client, id), CHOIR_OK);
    for (int i = 0; i < N; i++) {
        const choir_event event = next_event(client);
        assert_int_equal(event.kind, CHOIR_EVENT_FINISH);
        assert_int_equal(event.reason, CHOIR_FINISH_ABORT);
        assert_int_equal(choir_event_is_last(&event), i == N - 1);
    }
    assert_int_equal(echo_get(service, &service->engine.n_aborts), N);
    echo_wait_open(service, 0);
    choir_client_destroy(&client);
}

/* One Error ends the request, and the engine is told to stop the other answers. */
static void an_error_ends_all_answers(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    const choir_generate_request request = request_of(N, 4000);
    char id[CHOIR_REQUEST_ID_SIZE];
    choir_event event;
    service->engine.failure = CHOIR_EENGINE;
    echo_set(service, &service->engine.spares_choices, true);
    echo_set(service, &service->engine.is_bad, true);
    start(client, &request, id);
    do
        event = next_event(client);
    while (!choir_event_is_last(&event));
    assert_int_equal(event.kind, CHOIR_EVENT_ERROR);
    echo_wait(service, &service->engine.n_aborts, N - 1);
    echo_wait(service, &service->engine.n_active, 0);
    echo_wait_open(service, 0);
    echo_set(service, &service->engine.is_bad, false);
    expect_service(service);
    choir_client_destroy(&client);
}

static void a_client_that_leaves_ends_all_answers(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    const choir_generate_request request = request_of(N, 20);
    char id[CHOIR_REQUEST_ID_SIZE];
    echo_set(service, &service->engine.is_held, true);
    start(client, &request, id);
    assert_int_equal(next_event(client).kind, CHOIR_EVENT_ACCEPTED);
    choir_client_destroy(&client);
    echo_wait(service, &service->engine.n_aborts, N);
    echo_wait_open(service, 0);
}

/* Of four open ones a request of three leaves one; the client's library waits with the next. */
static void answers_count_as_open_requests(void **state)
{
    echo_service *service = calloc(1, sizeof *service);
    generate_parts parts;
    char id[CHOIR_REQUEST_ID_SIZE];
    (void)state;
    echo_open_frontend(service, NULL, 4);
    echo_open_engine(service, ECHO_MAX_LEN);
    echo_set(service, &service->engine.is_held, true);
    rude_client rude = rude_connect(service->endpoint);
    for (int i = 0; i < 2; i++) {
        begin_generate(&parts, "a");
        parts.generate.request_id = (char *)(i ? "second" : "first");
        parts.sampling.n = N;
        rude_send_message(&rude, &parts.message);
        if (i == 0)
            expect_kind(&rude, CHOIR__CLIENT__SERVER_MESSAGE__BODY_ACCEPTED);
    }
    expect_error(&rude, 8, "", "second");
    rude_close(&rude);
    echo_set(service, &service->engine.is_held, false);
    choir_client *client = echo_connect(service);
    for (int i = 0; i < 5; i++) {
        const choir_generate_request request = request_of(N, 10);
        start(client, &request, id);
    }
    for (int n_left = 5; n_left > 0;) {
        const choir_event event = next_event(client);
        assert_int_not_equal(event.kind, CHOIR_EVENT_ERROR);
        n_left -= choir_event_is_last(&event);
    }
    choir_client_destroy(&client);
    echo_close(service);
    free(service);
}

static void log_probabilities_of_the_prompt_come_first(void **state)
{
    choir_client *client = echo_connect(*state);
    choir_generate_request request = request_of(2, 10);
    char id[CHOIR_REQUEST_ID_SIZE];
    size_t n_prompt = 0, n_tokens = 0;
    choir_event event;
    request.wants_prompt_logprobs = true;
    request.n_prompt_top = 3;
    start(client, &request, id);
    do {
        event = next_event(client);
        for (size_t i = 0; i < event.n_prompt_logprobs; i++, n_prompt++) {
            const choir_token_logprob *token = &event.prompt_logprobs[i];
            const uint32_t bits = ECHO_BITS(300 + n_prompt, n_prompt);
            assert_int_equal(event.index, 0);
            assert_int_equal(token->token_id, 300 + n_prompt);
            assert_int_equal(token->has_logprob, n_prompt > 0);
            assert_int_equal(token->n_top, n_prompt > 0 ? 3 : 0);
            if (n_prompt > 0)
                assert_memory_equal(&token->logprob, &bits, 4);
        }
        assert_int_equal(event.n_logprobs, 0);
        n_tokens += event.n_token_ids;
        assert_true(event.index > 0 || event.n_token_ids == 0 || n_prompt == 5);
    } while (!choir_event_is_last(&event));
    assert_int_equal(n_prompt, 5);
    assert_int_equal(n_tokens, 20);
    choir_client_destroy(&client);
}

/* Chunks of one request until its end, or until another one's. */
static int count_chunks(choir_client *client, const char *counted, const char *end,
                        size_t *n_tokens)
{
    int n = 0;
    choir_event event;
    do {
        event = next_event(client);
        if (strcmp(event.request_id, counted) == 0) {
            n += event.kind == CHOIR_EVENT_CHUNK;
            *n_tokens += event.n_token_ids;
        }
    } while (!choir_event_is_last(&event) || strcmp(event.request_id, end) != 0);
    return n;
}

static void no_more_chunks_than_credit(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    choir_generate_request request = request_of(1, 30);
    char bounded[CHOIR_REQUEST_ID_SIZE], other[CHOIR_REQUEST_ID_SIZE];
    size_t n_tokens = 0;
    request.has_credit = true;
    request.credit = 1;
    start(client, &request, bounded);
    request = request_of(1, 60);
    start(client, &request, other);
    assert_int_equal(count_chunks(client, bounded, other, &n_tokens), 1);
    assert_true(n_tokens < 30);
    echo_wait(service, &service->engine.n_active, 0); /* the engine did not wait */
    assert_int_equal(choir_client_credit(client, bounded, 1), CHOIR_OK);
    assert_int_equal(count_chunks(client, bounded, bounded, &n_tokens), 1);
    assert_int_equal(n_tokens, 30);
    assert_int_equal(choir_client_credit(client, bounded, 1), CHOIR_OK); /* it has ended */
    assert_int_equal(choir_client_credit(client, "nobody", 1), CHOIR_OK);
    expect_service(service);
    choir_client_destroy(&client);
}

static void wrong_credit_is_refused(void **state)
{
    echo_service *service = *state;
    rude_client rude = rude_connect(service->endpoint);
    Choir__Client__Credit credit = CHOIR__CLIENT__CREDIT__INIT;
    Choir__Client__ClientMessage message = CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    message.seq = 1;
    message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_CREDIT;
    message.credit = &credit;
    credit.request_id = (char *)"r";
    rude_send_message(&rude, &message);
    expect_error(&rude, 3, "chunks", "");
    rude_close(&rude);
}

/* What was cancelled ends at once, whatever it had to wait for. */
static void a_cancel_needs_no_credit(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    choir_generate_request request = request_of(2, 20);
    char id[CHOIR_REQUEST_ID_SIZE];
    int n_finishes = 0;
    choir_event event;
    request.has_credit = true;
    start(client, &request, id);
    assert_int_equal(next_event(client).kind, CHOIR_EVENT_ACCEPTED);
    echo_wait(service, &service->engine.n_active, 0); /* both have ended, and wait for credit */
    assert_int_equal(choir_client_credit(client, id, 0), CHOIR_EINVALID);
    assert_int_equal(choir_client_cancel(client, id), CHOIR_OK);
    do {
        event = next_event(client);
        n_finishes += event.kind == CHOIR_EVENT_FINISH;
    } while (!choir_event_is_last(&event));
    assert_int_equal(n_finishes, 2);
    echo_wait_open(service, 0);
    choir_client_destroy(&client);
}

/* Nobody keeps a slot of the service by never asking for what is finished. */
static void an_ended_answer_does_not_wait_for_ever(void **state)
{
    echo_service *service = calloc(1, sizeof *service);
    choir_generate_request request = request_of(2, 20);
    char id[CHOIR_REQUEST_ID_SIZE];
    choir_event event;
    (void)state;
    echo_open_frontend_with(service, NULL, 0, 1);
    echo_open_engine(service, ECHO_MAX_LEN);
    choir_client *client = echo_connect(service);
    request.has_credit = true;
    start(client, &request, id);
    do
        event = next_event(client);
    while (!choir_event_is_last(&event));
    assert_int_equal(event.kind, CHOIR_EVENT_ERROR);
    assert_int_equal(event.code, 8);
    echo_wait_open(service, 0);
    choir_client_destroy(&client);
    echo_close(service);
    free(service);
}

/* Of two the one with more waiting goes, not the one that speaks. */
static void the_largest_is_ended(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    choir_generate_request request = request_of(1, 3000);
    char blocked[CHOIR_REQUEST_ID_SIZE], streamed[CHOIR_REQUEST_ID_SIZE];
    int n_left = 2;
    request.wants_logprobs = true;
    request.n_top = 64;
    start(client, &request, streamed);
    request.has_credit = true;
    start(client, &request, blocked);
    while (n_left > 0) {
        const choir_event event = next_event(client);
        if (!choir_event_is_last(&event))
            continue;
        const bool is_blocked = strcmp(event.request_id, blocked) == 0;
        assert_int_equal(event.kind, is_blocked ? CHOIR_EVENT_ERROR : CHOIR_EVENT_FINISH);
        n_left--;
    }
    choir_client_destroy(&client);
}

/* What waits for credit is bounded like all that waits. */
static void what_waits_for_credit_is_bounded(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    char id[CHOIR_REQUEST_ID_SIZE];
    choir_event event;
    for (int i = 0; i < 5; i++) {
        choir_generate_request request = request_of(1, 4000);
        request.wants_logprobs = true;
        request.n_top = 64;
        request.has_credit = true;
        start(client, &request, id);
    }
    do
        event = next_event(client);
    while (!choir_event_is_last(&event));
    assert_int_equal(event.kind, CHOIR_EVENT_ERROR);
    assert_int_equal(event.code, 8);
    choir_client_destroy(&client);
    echo_wait_open(service, 0);
    expect_service(service);
}

static void an_answer_that_is_not_streamed_comes_whole(void **state)
{
    choir_client *client = echo_connect(*state);
    choir_generate_request request = request_of(1, 30);
    char id[CHOIR_REQUEST_ID_SIZE];
    size_t n_tokens = 0;
    request.is_unstreamed = true;
    start(client, &request, id);
    assert_int_equal(count_chunks(client, id, id, &n_tokens), 1);
    assert_int_equal(n_tokens, 30);
    choir_client_destroy(&client);
}

int main(void)
{
#define SERVICE_TEST(f) cmocka_unit_test_setup_teardown(f, echo_setup, echo_teardown)
    const struct CMUnitTest tests[] = {
        SERVICE_TEST(each_answer_is_its_own),
        SERVICE_TEST(a_cancel_ends_all_answers),
        SERVICE_TEST(an_error_ends_all_answers),
        SERVICE_TEST(a_client_that_leaves_ends_all_answers),
        cmocka_unit_test(answers_count_as_open_requests),
        SERVICE_TEST(log_probabilities_of_the_prompt_come_first),
        SERVICE_TEST(no_more_chunks_than_credit),
        SERVICE_TEST(wrong_credit_is_refused),
        SERVICE_TEST(a_cancel_needs_no_credit),
        cmocka_unit_test(an_ended_answer_does_not_wait_for_ever),
        SERVICE_TEST(the_largest_is_ended),
        SERVICE_TEST(what_waits_for_credit_is_bounded),
        SERVICE_TEST(an_answer_that_is_not_streamed_comes_whole),
    };
    return cmocka_run_group_tests_name("frontend_choices", tests, NULL, NULL);
}
