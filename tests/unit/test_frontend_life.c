/* SPDX-License-Identifier: Apache-2.0 */
/* From the launch of a front end to its end, and what becomes of clients when the engine ends. */
#include "proto/connection.h"
#include "tests/unit/echo_engine.h"

#include <sys/stat.h>

static void connection_file_says_where(void **state)
{
    echo_service *service = *state;
    choir_connection connection;
    choir_client *client;
    struct stat info;
    assert_int_equal(stat(service->connection_file, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(choir_connection_read(service->connection_file, &connection), CHOIR_OK);
    assert_int_equal(connection.state, CHOIR_CONNECTION_READY);
    assert_string_equal(connection.request, service->endpoint);
    assert_string_equal(connection.model, "tiny");
    assert_int_equal(choir_client_connect_file(service->connection_file, 30000, &client), CHOIR_OK);
    choir_client_destroy(&client);
    choir_frontend_stop(service->frontend);
    assert_int_equal(choir_client_connect_file(service->connection_file, 30000, &client),
                     CHOIR_EUNAVAILABLE);
    assert_non_null(strstr(choir_error(), "choir serve"));
}

static void start_is_waited_for_and_failure_told(void **state)
{
    echo_service *service = calloc(1, sizeof *service);
    choir_engine_report report;
    choir_fingerprint_report fingerprint;
    Choir__Engine__Failed failed = CHOIR__ENGINE__FAILED__INIT;
    Choir__Engine__FromEngine message = CHOIR__ENGINE__FROM_ENGINE__INIT;
    choir_client *client;
    (void)state;
    echo_open_frontend(service, NULL, 0);
    assert_int_equal(choir_frontend_wait_ready(service->frontend, 0, &report), CHOIR_ETIMEOUT);
    assert_int_equal(choir_client_connect_file(service->connection_file, 30000, &client),
                     CHOIR_EUNAVAILABLE);
    client = echo_connect(service);
    const choir_generate_request request = echo_request_text("too early", 5);
    echo_answer *answer = echo_generate(client, &request);
    assert_true(answer->is_error);
    assert_int_equal(answer->code, 14);
    assert_non_null(strstr(answer->message, "starting"));
    free(answer);
    failed.status = CHOIR_EFORMAT;
    failed.error = (char *)"rank 1: bad file";
    message.body_case = CHOIR__ENGINE__FROM_ENGINE__BODY_FAILED;
    message.failed = &failed;
    assert_int_equal(choir_engine_link_connect(service->engine_endpoint, &service->engine.link),
                     CHOIR_OK);
    assert_int_equal(choir_engine_link_send(service->engine.link, &message), CHOIR_OK);
    assert_int_equal(choir_frontend_wait_ready(service->frontend, -1, &report), CHOIR_EFORMAT);
    assert_string_equal(choir_error(), "rank 1: bad file");
    assert_int_equal(choir_frontend_wait_fingerprint(service->frontend, -1, &fingerprint),
                     CHOIR_EFORMAT);
    /* Its end is the consequence: the cause stays. */
    choir_frontend_engine_lost(service->frontend, "the ranks ended");
    assert_int_equal(choir_frontend_wait_ready(service->frontend, 0, &report), CHOIR_EFORMAT);
    assert_string_equal(choir_error(), "rank 1: bad file");
    choir_client_destroy(&client);
    choir_engine_link_destroy(&service->engine.link);
    echo_close(service);
    free(service);
}

static void tokens_before_an_error_come_before_it(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    const choir_generate_request request = echo_request_text("ab", 0);
    echo_set(service, &service->engine.is_bad, true);
    echo_answer *answer = echo_generate(client, &request);
    assert_true(answer->is_error);
    assert_int_equal(answer->status, CHOIR_EENGINE);
    assert_non_null(strstr(answer->message, "not finite"));
    assert_int_equal(answer->n_ids, 1);
    free(answer);
    choir_client_destroy(&client);
}

/* The engine's status decides what a client is told, and when it may try again. */
static void failures_of_the_engine_are_told_by_kind(void **state)
{
    static const struct {
        choir_status failure;
        uint32_t retry_after_ms, code, told_retry_ms;
        bool has_words;
    } cases[] = {
        {CHOIR_EENGINE, 0, 13, 0, true},
        {CHOIR_EINVALID, 0, 3, 0, true},
        {CHOIR_ETIMEOUT, 0, 4, 0, false},
        {CHOIR_ENOMEM, 0, 8, 1000, false},
        {CHOIR_EUNAVAILABLE, 7300, 8, 7300, false},
    };
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    const choir_generate_request request = echo_request_text("ab", 0);
    echo_set(service, &service->engine.is_bad, true);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        service->engine.failure = cases[i].failure; /* nothing is under way */
        service->engine.retry_after_ms = cases[i].retry_after_ms;
        echo_answer *answer = echo_generate(client, &request);
        assert_true(answer->is_error);
        assert_int_equal(answer->code, cases[i].code);
        assert_int_equal(answer->told_retry_ms, cases[i].told_retry_ms);
        assert_int_equal(strstr(answer->message, "not finite") != NULL, cases[i].has_words);
        free(answer);
    }
    choir_client_destroy(&client);
}

static void lost_engine_ends_its_requests(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    const choir_generate_request request = echo_request_text("on and on ", 0);
    choir_engine_report report;
    echo_answer *answer = echo_start(client, &request);
    echo_wait(service, &service->engine.n_active, 1);
    echo_set(service, &service->engine.is_silent, true);
    choir_frontend_engine_lost(service->frontend, "rank 3 died");
    assert_int_equal(choir_frontend_wait_ready(service->frontend, 0, &report), CHOIR_EENGINE);
    assert_string_equal(choir_error(), "rank 3 died");
    echo_finish(client, &answer, 1, answer);
    assert_int_equal(answer->status, CHOIR_EUNAVAILABLE);
    assert_non_null(strstr(answer->message, "rank 3 died"));
    free(answer);
    answer = echo_generate(client, &request);
    assert_int_equal(answer->status, CHOIR_EUNAVAILABLE);
    free(answer);
    choir_client_destroy(&client);
}

static void clients_hear_of_no_path(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    const choir_generate_request request = echo_request_text("on and on ", 0);
    choir_engine_report report;
    echo_answer *answer = echo_start(client, &request);
    echo_wait(service, &service->engine.n_active, 1);
    echo_set(service, &service->engine.is_silent, true);
    choir_frontend_engine_lost(service->frontend, "rank 1: /models/a.gguf was written to");
    assert_int_equal(choir_frontend_wait_ready(service->frontend, 0, &report), CHOIR_EENGINE);
    assert_non_null(strstr(choir_error(), "/models/a.gguf"));
    for (int i = 0; i < 2; i++) { /* the running one, and one that comes later */
        if (i == 0)
            echo_finish(client, &answer, 1, answer);
        else
            answer = echo_generate(client, &request);
        assert_int_equal(answer->status, CHOIR_EUNAVAILABLE);
        assert_non_null(strstr(answer->message, "the engine has stopped"));
        assert_null(strchr(answer->message, '/'));
        free(answer);
    }
    choir_client_destroy(&client);
}

/* Words of any length and bytes come as whole characters, or the client could not read them. */
static void long_words_are_cut_at_a_character(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    const choir_generate_request request = echo_request_text("a", 5);
    choir_engine_report report;
    char words[2001];
    for (size_t i = 0; i + 1 < sizeof words; i++)
        words[i] = i % 2 ? '\xa4' : '\xc3';
    words[sizeof words - 1] = 0;
    choir_frontend_engine_lost(service->frontend, words);
    assert_int_equal(choir_frontend_wait_ready(service->frontend, -1, &report), CHOIR_EENGINE);
    echo_answer *answer = echo_generate(client, &request);
    assert_int_equal(answer->status, CHOIR_EUNAVAILABLE);
    assert_int_equal(strlen(answer->message), 510); /* of 511, the last would be half */
    free(answer);
    choir_client_destroy(&client);
}

static void stop_tells_clients_and_engine(void **state)
{
    echo_service *service = *state;
    choir_client *client = echo_connect(service);
    const choir_generate_request request = echo_request_text("on and on ", 0);
    choir_event event;
    choir_status status;
    echo_answer *answer = echo_start(client, &request);
    echo_wait(service, &service->engine.n_active, 1);
    choir_frontend_stop(service->frontend);
    do
        status = choir_client_next_event(client, 30000, &event);
    while (status == CHOIR_OK);
    assert_int_equal(status, CHOIR_EUNAVAILABLE);
    assert_non_null(strstr(choir_error(), "shutting down"));
    pthread_join(service->engine.thread, NULL); /* it ends by itself */
    assert_true(service->engine.has_shutdown);
    assert_int_equal(pthread_create(&service->engine.thread, NULL, echo_run, &service->engine), 0);
    free(answer);
    choir_client_destroy(&client);
}

static void fingerprint_needs_no_clients(void **state)
{
    static char hash[] = "00ff", q8[] = "q8";
    const choir_frontend_options options = {.engine_endpoint = "inproc://fingerprint"};
    Choir__Engine__Fingerprint fingerprint = CHOIR__ENGINE__FINGERPRINT__INIT;
    Choir__Engine__FromEngine message = CHOIR__ENGINE__FROM_ENGINE__INIT;
    choir_fingerprint_report report;
    choir_engine_link *link;
    choir_frontend *frontend;
    (void)state;
    assert_int_equal(choir_frontend_create(&options, &frontend), CHOIR_OK);
    assert_int_equal(choir_engine_link_connect(options.engine_endpoint, &link), CHOIR_OK);
    fingerprint.sha256 = hash;
    fingerprint.activations = q8;
    fingerprint.tp = 2;
    message.body_case = CHOIR__ENGINE__FROM_ENGINE__BODY_FINGERPRINT;
    message.fingerprint = &fingerprint;
    assert_int_equal(choir_engine_link_send(link, &message), CHOIR_OK);
    assert_int_equal(choir_frontend_wait_fingerprint(frontend, 30000, &report), CHOIR_OK);
    assert_string_equal(report.sha256, "00ff");
    assert_string_equal(report.activations, "q8");
    assert_int_equal(report.tp, 2);
    choir_engine_link_destroy(&link);
    choir_frontend_destroy(&frontend);
    choir_frontend_destroy(&frontend);
}

static void bench_needs_no_clients(void **state)
{
    static char text[] = "[{\"test\":\"pp512\"}]";
    const choir_frontend_options options = {.engine_endpoint = "inproc://bench"};
    Choir__Engine__Bench bench = CHOIR__ENGINE__BENCH__INIT;
    Choir__Engine__FromEngine message = CHOIR__ENGINE__FROM_ENGINE__INIT;
    choir_engine_link *link;
    choir_frontend *frontend;
    char *rows = NULL;
    (void)state;
    assert_int_equal(choir_frontend_create(&options, &frontend), CHOIR_OK);
    assert_int_equal(choir_engine_link_connect(options.engine_endpoint, &link), CHOIR_OK);
    assert_int_equal(choir_frontend_wait_bench(frontend, 0, &rows), CHOIR_ETIMEOUT);
    assert_null(rows);
    bench.rows = text;
    message.body_case = CHOIR__ENGINE__FROM_ENGINE__BODY_BENCH;
    message.bench = &bench;
    assert_int_equal(choir_engine_link_send(link, &message), CHOIR_OK);
    assert_int_equal(choir_frontend_wait_bench(frontend, 30000, &rows), CHOIR_OK);
    assert_string_equal(rows, text);
    free(rows);
    choir_engine_link_destroy(&link);
    choir_frontend_destroy(&frontend);
}

static void two_services_do_not_share_endpoint_or_file(void **state)
{
    echo_service *service = *state;
    choir_frontend_options options = {.engine_endpoint = "inproc://second",
                                      .listen = service->endpoint,
                                      .model_path = service->model};
    choir_frontend *second;
    assert_int_equal(choir_frontend_create(&options, &second), CHOIR_EUNAVAILABLE);
    assert_null(second);
    options.listen = "tcp://0.0.0.0:5555";
    assert_int_equal(choir_frontend_create(&options, &second), CHOIR_EUNSUPPORTED);
    options.listen = "inproc://clients";
    options.model_path = service->connection_file;
    assert_int_equal(choir_frontend_create(&options, &second), CHOIR_EFORMAT);
    /* The first one does not notice. */
    choir_client *client = echo_connect(service);
    choir_client_destroy(&client);
}

int main(void)
{
#define SERVICE_TEST(f) cmocka_unit_test_setup_teardown(f, echo_setup, echo_teardown)
    const struct CMUnitTest tests[] = {
        SERVICE_TEST(connection_file_says_where),
        cmocka_unit_test(start_is_waited_for_and_failure_told),
        SERVICE_TEST(tokens_before_an_error_come_before_it),
        SERVICE_TEST(failures_of_the_engine_are_told_by_kind),
        SERVICE_TEST(lost_engine_ends_its_requests),
        SERVICE_TEST(clients_hear_of_no_path),
        SERVICE_TEST(long_words_are_cut_at_a_character),
        SERVICE_TEST(stop_tells_clients_and_engine),
        cmocka_unit_test(fingerprint_needs_no_clients),
        cmocka_unit_test(bench_needs_no_clients),
        SERVICE_TEST(two_services_do_not_share_endpoint_or_file),
    };
    return cmocka_run_group_tests_name("frontend_life", tests, NULL, NULL);
}
