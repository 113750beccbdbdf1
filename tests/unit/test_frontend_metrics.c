/* SPDX-License-Identifier: Apache-2.0 */
/* What a front end counts of requests, as their clients see it in the status. */
#include "coordinator/frontend_metrics.h"
#include "tests/unit/echo_engine.h"

static choir_request_metrics ask(choir_client *client)
{
    choir_service_status status;
    if (choir_client_status(client, &status) != CHOIR_OK)
        fail_msg("%s", choir_error());
    const choir_request_metrics metrics = status.metrics;
    choir_service_status_destroy(&status);
    return metrics;
}

static void check_ended(const choir_request_metrics *metrics, uint64_t stop, uint64_t length,
                        uint64_t abort, uint64_t error)
{
    assert_int_equal(metrics->ended[CHOIR_END_STOP], stop);
    assert_int_equal(metrics->ended[CHOIR_END_LENGTH], length);
    assert_int_equal(metrics->ended[CHOIR_END_ABORT], abort);
    assert_int_equal(metrics->ended[CHOIR_END_ERROR], error);
}

static uint64_t total(const choir_request_metrics *metrics, choir_metric metric)
{
    return choir_histogram_total(&metrics->histograms[metric]);
}

static void generate(choir_client *client, const choir_generate_request *request)
{
    free(echo_generate(client, request));
}

static bool is_sum(const choir_request_metrics *metrics, choir_metric metric, double us)
{
    return fabs(metrics->histograms[metric].sum - us * 1e-6) < 1e-12;
}

/* One request by itself, at times that the test gives. */
static void times_are_those_between_events(void **state)
{
    choir_request request = {.submitted_us = 5000000};
    choir_choice choice = {.request = &request};
    Choir__Engine__Timings timings = CHOIR__ENGINE__TIMINGS__INIT;
    choir_request_metrics metrics;
    (void)state;
    choir_request_metrics_init(&metrics);
    choir_frontend_metrics_output(&metrics, &choice, 5400000);
    assert_int_equal(total(&metrics, CHOIR_METRIC_ITL), 0);
    choir_frontend_metrics_output(&metrics, &choice, 5430000);
    choir_frontend_metrics_output(&metrics, &choice, 5510000);
    assert_int_equal(total(&metrics, CHOIR_METRIC_ITL), 2);
    assert_true(is_sum(&metrics, CHOIR_METRIC_ITL, 110000));
    timings.queue_us = 250000;
    timings.ttft_us = 390000;
    choir_frontend_metrics_timings(&metrics, &choice, &timings);
    assert_true(is_sum(&metrics, CHOIR_METRIC_QUEUE, 250000));
    assert_true(is_sum(&metrics, CHOIR_METRIC_TTFT, 390000));
    choir_frontend_metrics_end(&metrics, &choice, CHOIR_END_LENGTH, 5700000);
    choir_frontend_metrics_end(&metrics, &choice, CHOIR_END_ERROR, 9900000);
    check_ended(&metrics, 0, 1, 0, 0);
    assert_true(is_sum(&metrics, CHOIR_METRIC_E2E, 700000));
}

/* One that was aborted while it waited has no first token. */
static void no_token_has_no_latency(void **state)
{
    choir_request request = {.submitted_us = 1};
    choir_choice choice = {.request = &request};
    Choir__Engine__Timings timings = CHOIR__ENGINE__TIMINGS__INIT;
    choir_request_metrics metrics;
    (void)state;
    choir_request_metrics_init(&metrics);
    timings.queue_us = 70;
    choir_frontend_metrics_timings(&metrics, &choice, &timings);
    assert_int_equal(total(&metrics, CHOIR_METRIC_TTFT), 0);
    assert_int_equal(total(&metrics, CHOIR_METRIC_QUEUE), 1);
}

/* Nine outputs of one token each have eight times between them; the engine says 5 us to the first.
 */
static void answers_have_their_latencies(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    const choir_generate_request request = echo_request_text("abc", 9);
    choir_request_metrics metrics = ask(client);
    check_ended(&metrics, 0, 0, 0, 0);
    for (int i = 0; i < CHOIR_METRIC_COUNT; i++)
        assert_int_equal(total(&metrics, (choir_metric)i), 0);
    const int64_t start_us = choir_clock_us();
    for (int i = 0; i < 3; i++)
        generate(client, &request);
    const double passed_s = (double)(choir_clock_us() - start_us) * 1e-6;
    metrics = ask(client);
    check_ended(&metrics, 0, 3, 0, 0);
    assert_int_equal(total(&metrics, CHOIR_METRIC_TTFT), 3);
    assert_true(fabs(metrics.histograms[CHOIR_METRIC_TTFT].sum - 15e-6) < 1e-9);
    assert_int_equal(metrics.histograms[CHOIR_METRIC_TTFT].counts[0], 3);
    assert_int_equal(total(&metrics, CHOIR_METRIC_ITL), 3 * 8);
    assert_int_equal(total(&metrics, CHOIR_METRIC_E2E), 3);
    assert_int_equal(total(&metrics, CHOIR_METRIC_QUEUE), 3);
    /* One after the other: together no longer than the test, and no shorter than what is in them.
     */
    assert_true(metrics.histograms[CHOIR_METRIC_E2E].sum <= passed_s);
    assert_true(metrics.histograms[CHOIR_METRIC_E2E].sum >=
                metrics.histograms[CHOIR_METRIC_ITL].sum);
    choir_client_destroy(&client);
}

/* Until the request has ended with all of its answers. */
static void generate_all(choir_client *client, const choir_generate_request *request)
{
    char id[CHOIR_REQUEST_ID_SIZE];
    choir_event event;
    assert_int_equal(choir_client_generate(client, request, id), CHOIR_OK);
    do
        assert_int_equal(choir_client_next_event(client, 30000, &event), CHOIR_OK);
    while (!choir_event_is_last(&event));
}

/* Each has its own times between tokens; an error ends all of them. */
static void answers_of_one_request_count_each(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    choir_generate_request request = echo_request_text("abc", 5);
    request.sampling.n = 3;
    generate_all(client, &request);
    choir_request_metrics metrics = ask(client);
    check_ended(&metrics, 0, 3, 0, 0);
    assert_int_equal(total(&metrics, CHOIR_METRIC_ITL), 3 * 4);
    assert_int_equal(total(&metrics, CHOIR_METRIC_E2E), 3);
    echo_set(service, &service->engine.is_bad, true);
    generate_all(client, &request);
    echo_wait(service, &service->engine.n_active, 0);
    metrics = ask(client);
    check_ended(&metrics, 0, 3, 0, 3);
    choir_client_destroy(&client);
}

/* A stop string is the front end's and the engine knows of an abort only: it counts as a stop. */
static void ends_count_by_reason(void **state)
{
    static const char *const stop[] = {"c"};
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    choir_generate_request request = echo_request_text("abcd", 0);
    request.sampling.stop = stop;
    request.sampling.n_stop = 1;
    generate(client, &request);
    choir_request_metrics metrics = ask(client);
    check_ended(&metrics, 1, 0, 0, 0);
    request.sampling.n_stop = 0;
    echo_set(service, &service->engine.is_held, true); /* so that it cannot end by itself */
    echo_answer *answer = echo_start(client, &request);
    choir_event event;
    assert_int_equal(choir_client_next_event(client, 30000, &event), CHOIR_OK);
    assert_int_equal(event.kind, CHOIR_EVENT_ACCEPTED);
    assert_int_equal(choir_client_cancel(client, answer->id), CHOIR_OK);
    echo_finish(client, &answer, 1, answer);
    free(answer);
    metrics = ask(client);
    check_ended(&metrics, 1, 0, 1, 0);
    assert_int_equal(total(&metrics, CHOIR_METRIC_E2E), 2);
    choir_client_destroy(&client);
}

/* An error ends without latencies; what was never accepted counts nowhere. */
static void errors_count_and_refusals_do_not(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    choir_generate_request request = echo_request_text("ab", 4);
    echo_set(service, &service->engine.is_bad, true);
    generate(client, &request);
    request.sampling.max_tokens = -1;
    generate(client, &request);
    const choir_request_metrics metrics = ask(client);
    check_ended(&metrics, 0, 0, 0, 1);
    assert_int_equal(total(&metrics, CHOIR_METRIC_TTFT), 0);
    assert_int_equal(total(&metrics, CHOIR_METRIC_E2E), 0);
    choir_client_destroy(&client);
}

/* A Score ends like an answer, but its times are no user's wait for a token. */
static void scores_have_no_latencies(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    const choir_score_request request = {.text = "abc", .text_length = 3};
    char id[CHOIR_REQUEST_ID_SIZE];
    choir_event event;
    assert_int_equal(choir_client_score(client, &request, id), CHOIR_OK);
    do
        assert_int_equal(choir_client_next_event(client, 30000, &event), CHOIR_OK);
    while (!choir_event_is_last(&event));
    assert_int_equal(event.kind, CHOIR_EVENT_SCORES);
    const choir_request_metrics metrics = ask(client);
    check_ended(&metrics, 1, 0, 0, 0);
    for (int i = 0; i < CHOIR_METRIC_COUNT; i++)
        assert_int_equal(total(&metrics, (choir_metric)i), 0);
    choir_client_destroy(&client);
}

/* Requests of a client that is gone, and of an engine that is lost, end once each. */
static void gone_clients_and_engines_count_once(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service), *other = echo_connect(service);
    const choir_generate_request request = echo_request_text("abc", 0);
    echo_set(service, &service->engine.is_held, true);
    echo_answer *answer = echo_start(client, &request);
    free(answer);
    echo_wait(service, &service->engine.n_active, 1);
    choir_client_destroy(&client);
    echo_wait(service, &service->engine.n_active, 0);
    choir_request_metrics metrics = ask(other);
    check_ended(&metrics, 0, 0, 1, 0);
    answer = echo_start(other, &request);
    echo_wait(service, &service->engine.n_active, 1);
    choir_frontend_engine_lost(service->frontend, "gone");
    echo_finish(other, &answer, 1, answer);
    assert_true(answer->is_error);
    free(answer);
    metrics = ask(other);
    check_ended(&metrics, 0, 0, 1, 1);
    choir_client_destroy(&other);
}

int main(void)
{
#define SERVICE_TEST(f) cmocka_unit_test_setup_teardown(f, echo_setup, echo_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_those_between_events),
        cmocka_unit_test(no_token_has_no_latency),
        SERVICE_TEST(answers_have_their_latencies),
        SERVICE_TEST(answers_of_one_request_count_each),
        SERVICE_TEST(ends_count_by_reason),
        SERVICE_TEST(errors_count_and_refusals_do_not),
        SERVICE_TEST(scores_have_no_latencies),
        SERVICE_TEST(gone_clients_and_engines_count_once),
    };
    return cmocka_run_group_tests_name("frontend_metrics", tests, NULL, NULL);
}
