/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the tests of the front end: a made-up engine on a thread, a front end in front of it, and the
 * model file (a header without weights) that both are about.
 *
 * The engine answers every request with the tokens of its prompt, from the beginning and over
 * again, one for each running request a step. A token's log-probability has the bits ECHO_BITS(id,
 * index). Its choice 1 begins with the second token, and so on. Log-probabilities of the prompt, if
 * wanted, come first. It is as real engines are about order: a submit, then its outputs, one
 * finish.
 */
#ifndef CHOIR_TESTS_UNIT_ECHO_ENGINE_H
#define CHOIR_TESTS_UNIT_ECHO_ENGINE_H

#include "client/client.h"
#include "common/clock.h"
#include "coordinator/frontend.h"
#include "proto/engine_link.h"
#include "tests/fixtures/model_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ECHO_MAX_LEN = 4096,
    ECHO_REQUESTS = 1024,
    ECHO_TOKENS_A_STEP = 64,
    ECHO_STEPS_AHEAD = 16, /* a flood without end would fill the link, not the client's backlog */
    PATIENCE_US = 120000000
};

#define ECHO_BITS(id, index) (0xbf000000u + (uint32_t)(id)*64u + (uint32_t)(index) % 64u)

typedef struct echo_request {
    Choir__Engine__ToEngine *submit; /* NULL: free */
    uint32_t n_done;
    bool is_aborted;
} echo_request;

typedef struct echo_engine {
    choir_engine_link *link;
    pthread_t thread;
    pthread_mutex_t lock;
    bool is_silent; /* says nothing at all: as if it hung */
    bool is_held;   /* makes no step */
    bool has_shutdown;
    bool is_many; /* ECHO_TOKENS_A_STEP tokens a step, at most ECHO_STEPS_AHEAD of the front end */
    bool is_bad;  /* fails each request, in one message with the first tokens, ... */
    bool spares_choices;  /* ... but only choice 0 of it */
    choir_status failure; /* ... with this status */
    uint32_t retry_after_ms;
    bool is_ended; /* by the test */
    size_t n_active, n_submits, n_aborts;
    choir_frontend *frontend; /* whose counters pace is_many */
    uint64_t n_sent_tokens;
    Choir__Engine__ToEngine *last; /* the submit that came last, kept in its slot or here */
    echo_request requests[ECHO_REQUESTS];
} echo_engine;

static inline float echo_logprob(int32_t id, uint32_t index)
{
    const uint32_t bits = ECHO_BITS(id, index);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline bool echo_is_stop(const Choir__Engine__Submit *submit, int32_t id)
{
    for (size_t i = 0; i < submit->n_stop_token_ids; i++)
        if (submit->stop_token_ids[i] == id)
            return true;
    return false;
}

static inline void echo_send(echo_engine *engine, Choir__Engine__Output *output, bool is_bad)
{
    static char words[] = "not finite";
    Choir__Engine__Output failure = CHOIR__ENGINE__OUTPUT__INIT, *list[] = {output, &failure};
    Choir__Engine__Outputs outputs = CHOIR__ENGINE__OUTPUTS__INIT;
    Choir__Engine__FromEngine message = CHOIR__ENGINE__FROM_ENGINE__INIT;
    outputs.outputs = list;
    outputs.n_outputs = is_bad ? 2 : 1;
    failure.id = output->id;
    failure.finish = CHOIR__ENGINE__FINISH_REASON__FINISH_ERROR;
    failure.error = words;
    failure.error_status = engine->failure;
    failure.retry_after_ms = engine->retry_after_ms;
    message.body_case = CHOIR__ENGINE__FROM_ENGINE__BODY_OUTPUTS;
    message.outputs = &outputs;
    /* The front end may have stopped; then nobody is there to tell. */
    if (choir_engine_link_send(engine->link, &message) != CHOIR_OK)
        engine->is_ended = true;
}

static inline void echo_end(echo_engine *engine, echo_request *request)
{
    choir_to_engine_destroy(&request->submit);
    engine->n_active--;
}

static inline Choir__Engine__Token *echo_token(Choir__Engine__Token *token, int32_t id,
                                               float logprob, size_t n_top)
{
    static Choir__Engine__TopToken tops[64];
    static Choir__Engine__TopToken *top_list[64];
    for (uint32_t j = 0; j < 64; j++) {
        tops[j] = (Choir__Engine__TopToken)CHOIR__ENGINE__TOP_TOKEN__INIT;
        tops[j].token_id = (int32_t)j;
        tops[j].logprob = echo_logprob((int32_t)j, 1);
        top_list[j] = &tops[j];
    }
    *token = (Choir__Engine__Token)CHOIR__ENGINE__TOKEN__INIT;
    token->token_id = id;
    token->logprob = logprob;
    token->top = top_list;
    token->n_top = n_top;
    return token;
}

static inline void echo_send_prompt(echo_engine *engine, const Choir__Engine__Submit *submit)
{
    static Choir__Engine__Token tokens[ECHO_MAX_LEN];
    static Choir__Engine__Token *token_list[ECHO_MAX_LEN];
    Choir__Engine__Output output = CHOIR__ENGINE__OUTPUT__INIT;
    output.id = submit->id;
    output.is_prompt = true;
    output.tokens = token_list;
    for (uint32_t i = 0; i < submit->n_token_ids; i++) {
        const int32_t id = submit->token_ids[i];
        token_list[output.n_tokens++] =
            echo_token(&tokens[i], id, i ? echo_logprob(id, i) : NAN, i ? submit->n_prompt_top : 0);
    }
    echo_send(engine, &output, false);
}

/* Sends the next tokens of a request, or its scores; ends it where it ends. */
static inline void echo_step(echo_engine *engine, echo_request *request)
{
    static Choir__Engine__Token tokens[ECHO_MAX_LEN];
    static Choir__Engine__Token *token_list[ECHO_MAX_LEN];
    const Choir__Engine__Submit *submit = request->submit->submit;
    Choir__Engine__Timings timings = CHOIR__ENGINE__TIMINGS__INIT;
    Choir__Engine__Output output = CHOIR__ENGINE__OUTPUT__INIT;
    const uint32_t wanted = submit->is_score  ? (uint32_t)submit->n_token_ids
                            : engine->is_many ? ECHO_TOKENS_A_STEP
                                              : 1;
    timings.ttft_us = 5;
    timings.decode_us = 7;
    output.id = submit->id;
    output.tokens = token_list;
    if (submit->wants_prompt_logprobs && request->n_done == 0)
        echo_send_prompt(engine, submit);
    for (uint32_t i = 0; i < wanted && !output.finish && !request->is_aborted; i++) {
        const uint32_t index = request->n_done++;
        const uint32_t place = index + (submit->sampling ? submit->sampling->choice : 0);
        const int32_t id = submit->token_ids[place % submit->n_token_ids];
        const bool is_first_score = submit->is_score && index == 0;
        const float logprob =
            submit->wants_logprobs && !is_first_score ? echo_logprob(id, index) : NAN;
        token_list[output.n_tokens] =
            echo_token(&tokens[output.n_tokens], id, logprob, is_first_score ? 0 : submit->n_top);
        output.n_tokens++;
        if (submit->is_score)
            output.finish = request->n_done == submit->n_token_ids
                                ? CHOIR__ENGINE__FINISH_REASON__FINISH_SCORED
                                : 0;
        else if (echo_is_stop(submit, id))
            output.finish = CHOIR__ENGINE__FINISH_REASON__FINISH_STOP;
        else if (request->n_done == submit->max_tokens)
            output.finish = CHOIR__ENGINE__FINISH_REASON__FINISH_LENGTH;
    }
    if (request->is_aborted)
        output.finish = CHOIR__ENGINE__FINISH_REASON__FINISH_ABORT;
    if (output.finish)
        output.timings = &timings;
    engine->n_sent_tokens += submit->is_score ? 0 : output.n_tokens;
    const bool is_bad = engine->is_bad && !(engine->spares_choices && submit->sampling->choice > 0);
    echo_send(engine, &output, is_bad);
    if (output.finish || is_bad)
        echo_end(engine, request);
}

static inline void echo_tell_status(echo_engine *engine, uint64_t serial)
{
    Choir__Engine__EngineStatus status = CHOIR__ENGINE__ENGINE_STATUS__INIT;
    Choir__Engine__FromEngine message = CHOIR__ENGINE__FROM_ENGINE__INIT;
    status.serial = serial;
    status.n_running = (uint32_t)engine->n_active;
    status.token_usage = 0.25f;
    status.n_steps = 77;
    message.body_case = CHOIR__ENGINE__FROM_ENGINE__BODY_STATUS;
    message.status = &status;
    if (choir_engine_link_send(engine->link, &message) != CHOIR_OK)
        engine->is_ended = true;
}

static inline void echo_take(echo_engine *engine, Choir__Engine__ToEngine *message)
{
    if (message->body_case == CHOIR__ENGINE__TO_ENGINE__BODY_SUBMIT) {
        size_t slot = 0;
        while (engine->requests[slot].submit)
            slot++;
        engine->requests[slot] = (echo_request){.submit = message};
        engine->n_active++;
        engine->n_submits++;
        return;
    }
    if (message->body_case == CHOIR__ENGINE__TO_ENGINE__BODY_ABORT) {
        engine->n_aborts++;
        for (size_t i = 0; i < ECHO_REQUESTS; i++)
            if (engine->requests[i].submit &&
                engine->requests[i].submit->submit->id == message->abort->id)
                engine->requests[i].is_aborted = true;
    }
    if (message->body_case == CHOIR__ENGINE__TO_ENGINE__BODY_STATUS_QUERY && !engine->is_silent)
        echo_tell_status(engine, message->status_query->serial);
    engine->has_shutdown |= message->body_case == CHOIR__ENGINE__TO_ENGINE__BODY_SHUTDOWN;
    choir_to_engine_destroy(&message);
}

/* Whether the front end has yet to take what was sent; an Abort is answered all the same. */
static inline bool echo_is_ahead(const echo_engine *engine, const echo_request *request)
{
    choir_frontend_counters counters;
    if (!engine->is_many || request->is_aborted)
        return false;
    choir_frontend_count(engine->frontend, &counters);
    return engine->n_sent_tokens >
           counters.n_generated_tokens + ECHO_STEPS_AHEAD * ECHO_TOKENS_A_STEP;
}

static inline void *echo_run(void *argument)
{
    echo_engine *engine = argument;
    bool is_ended = false;
    while (!is_ended) {
        Choir__Engine__ToEngine *message;
        pthread_mutex_lock(&engine->lock);
        for (size_t i = 0; i < ECHO_REQUESTS && !engine->is_silent; i++)
            if (engine->requests[i].submit &&
                (!engine->is_held || engine->requests[i].is_aborted) &&
                !echo_is_ahead(engine, &engine->requests[i]))
                echo_step(engine, &engine->requests[i]);
        pthread_mutex_unlock(&engine->lock);
        if (choir_engine_link_receive(engine->link, 1, &message) != CHOIR_OK)
            break;
        pthread_mutex_lock(&engine->lock);
        if (message)
            echo_take(engine, message);
        is_ended = engine->is_ended || engine->has_shutdown;
        pthread_mutex_unlock(&engine->lock);
    }
    return NULL;
}

static inline void echo_send_ready(echo_engine *engine, uint32_t max_model_len)
{
    static char host[] = "here";
    Choir__Engine__RankReport rank = CHOIR__ENGINE__RANK_REPORT__INIT, *ranks[] = {&rank};
    Choir__Engine__Ready ready = CHOIR__ENGINE__READY__INIT;
    Choir__Engine__FromEngine message = CHOIR__ENGINE__FROM_ENGINE__INIT;
    rank.host = host;
    rank.n_layers = 8;
    ready.ranks = ranks;
    ready.n_ranks = 1;
    ready.n_stages = ready.n_shards = 1;
    ready.max_model_len = max_model_len;
    message.body_case = CHOIR__ENGINE__FROM_ENGINE__BODY_READY;
    message.ready = &ready;
    assert_int_equal(choir_engine_link_send(engine->link, &message), CHOIR_OK);
}

/* ---- front end and engine together ---- */

typedef struct echo_service {
    char folder[64], model[128], endpoint[128], engine_endpoint[128], connection_file[128];
    choir_frontend *frontend;
    echo_engine engine;
    bool has_engine;
} echo_service;

/* Limits of 0 are the defaults. */
static inline void echo_open_frontend_with(echo_service *service, const char *listen,
                                           uint32_t max_requests_per_client,
                                           uint32_t credit_wait_ms)
{
    const choir_recipe recipe = {.shape = *choir_shape_find("tiny"), .type = CHOIR_Q4_0, .seed = 1};
    snprintf(service->folder, sizeof service->folder, "/tmp/choir-test-XXXXXX");
    assert_non_null(mkdtemp(service->folder));
    snprintf(service->model, sizeof service->model, "%s/tiny.gguf", service->folder);
    snprintf(service->endpoint, sizeof service->endpoint, "ipc://%s/s", service->folder);
    snprintf(service->engine_endpoint, sizeof service->engine_endpoint, "inproc://%s",
             service->folder);
    snprintf(service->connection_file, sizeof service->connection_file, "%s/choir.json",
             service->folder);
    if (choir_recipe_write(&recipe, service->model, true) != CHOIR_OK)
        fail_msg("%s", choir_error());
    const choir_frontend_options options = {
        .engine_endpoint = service->engine_endpoint,
        .listen = listen ? listen : service->endpoint,
        .connection_file = service->connection_file,
        .model_path = service->model,
        .max_requests_per_client = max_requests_per_client,
        .credit_wait_ms = credit_wait_ms,
    };
    if (choir_frontend_create(&options, &service->frontend) != CHOIR_OK)
        fail_msg("%s", choir_error());
}

static inline void echo_open_frontend(echo_service *service, const char *listen,
                                      uint32_t max_requests_per_client)
{
    echo_open_frontend_with(service, listen, max_requests_per_client, 0);
}

static inline void echo_open_engine(echo_service *service, uint32_t max_model_len)
{
    echo_engine *engine = &service->engine;
    choir_engine_report report;
    assert_int_equal(pthread_mutex_init(&engine->lock, NULL), 0);
    assert_int_equal(choir_engine_link_connect(service->engine_endpoint, &engine->link), CHOIR_OK);
    engine->frontend = service->frontend;
    echo_send_ready(engine, max_model_len);
    assert_int_equal(pthread_create(&engine->thread, NULL, echo_run, engine), 0);
    service->has_engine = true;
    if (choir_frontend_wait_ready(service->frontend, 30000, &report) != CHOIR_OK)
        fail_msg("%s", choir_error());
    assert_int_equal(report.n_ranks, 1);
    assert_string_equal(report.ranks[0].host, "here");
    choir_engine_report_destroy(&report);
}

static inline void echo_close(echo_service *service)
{
    echo_engine *engine = &service->engine;
    choir_frontend_destroy(&service->frontend);
    if (service->has_engine) {
        pthread_mutex_lock(&engine->lock);
        engine->is_ended = true;
        pthread_mutex_unlock(&engine->lock);
        pthread_join(engine->thread, NULL);
        for (size_t i = 0; i < ECHO_REQUESTS; i++)
            choir_to_engine_destroy(&engine->requests[i].submit);
        choir_engine_link_destroy(&engine->link);
        pthread_mutex_destroy(&engine->lock);
    }
    unlink(service->model);
    assert_int_equal(rmdir(service->folder), 0); /* nothing is left lying there */
}

/* cmocka set-up and tear-down of a whole service with room for everything. */
static inline int echo_setup(void **state)
{
    echo_service *service = calloc(1, sizeof *service);
    assert_non_null(service);
    echo_open_frontend(service, NULL, 0);
    echo_open_engine(service, ECHO_MAX_LEN);
    *state = service;
    return 0;
}

static inline int echo_teardown(void **state)
{
    echo_close(*state);
    free(*state);
    return 0;
}

/* Sets a switch of the engine. */
static inline void echo_set(echo_service *service, bool *what, bool value)
{
    pthread_mutex_lock(&service->engine.lock);
    *what = value;
    pthread_mutex_unlock(&service->engine.lock);
}

static inline size_t echo_get(echo_service *service, const size_t *what)
{
    pthread_mutex_lock(&service->engine.lock);
    const size_t value = *what;
    pthread_mutex_unlock(&service->engine.lock);
    return value;
}

/* Waits, within reason, until a count of the engine is this. */
static inline void echo_wait(echo_service *service, const size_t *what, size_t value)
{
    const int64_t deadline = choir_clock_us() + PATIENCE_US;
    while (echo_get(service, what) != value) {
        if (choir_clock_us() > deadline)
            fail_msg("a count of the engine is %zu, not %zu", echo_get(service, what), value);
        usleep(1000);
    }
}

/* Waits until the front end has this many open requests. */
static inline void echo_wait_open(echo_service *service, uint32_t n)
{
    choir_frontend_counters counters;
    const int64_t deadline = choir_clock_us() + PATIENCE_US;
    do {
        choir_frontend_count(service->frontend, &counters);
        if (choir_clock_us() > deadline)
            fail_msg("%u requests are open, not %u", counters.n_requests, n);
        usleep(1000);
    } while (counters.n_requests != n);
}

static inline choir_client *echo_connect(echo_service *service)
{
    choir_client *client;
    if (choir_client_connect(choir_frontend_endpoint(service->frontend),
                             choir_frontend_control_endpoint(service->frontend), 30000,
                             &client) != CHOIR_OK)
        fail_msg("%s", choir_error());
    return client;
}

/* ---- an answer put together from events ---- */

typedef struct echo_answer {
    char id[CHOIR_REQUEST_ID_SIZE];
    bool is_ended, is_error;
    char text[65536];
    size_t n_text, n_ids, n_logprobs;
    int32_t ids[ECHO_MAX_LEN];
    uint32_t logprob_bits[ECHO_MAX_LEN];
    uint64_t prompt_tokens, seed;
    choir_finish_reason reason;
    char stop[300];
    int32_t stop_token; /* -1: none */
    choir_usage usage;
    choir_timings timings;
    choir_status status;
    uint32_t code, told_retry_ms;
    char param[64], message[512];
} echo_answer;

static inline void echo_collect_chunk(echo_answer *answer, const choir_event *event)
{
    assert_true(event->n_token_ids == 0 || event->first_token_index == answer->n_ids);
    assert_true(answer->n_text + event->text_length < sizeof answer->text);
    memcpy(answer->text + answer->n_text, event->text, event->text_length);
    answer->n_text += event->text_length;
    for (size_t i = 0; i < event->n_token_ids; i++)
        answer->ids[answer->n_ids++] = event->token_ids[i];
}

static inline void echo_collect(echo_answer *answer, const choir_event *event)
{
    assert_false(answer->is_ended); /* nothing comes after the end */
    answer->is_ended = choir_event_is_last(event);
    for (size_t i = 0; i < event->n_logprobs; i++) {
        assert_int_equal(event->logprobs[i].has_logprob, !isnan(event->logprobs[i].logprob));
        memcpy(&answer->logprob_bits[answer->n_logprobs++], &event->logprobs[i].logprob, 4);
    }
    switch (event->kind) {
    case CHOIR_EVENT_ACCEPTED:
        answer->prompt_tokens = event->prompt_tokens;
        answer->seed = event->seed;
        break;
    case CHOIR_EVENT_CHUNK:
        echo_collect_chunk(answer, event);
        break;
    case CHOIR_EVENT_FINISH:
        answer->reason = event->reason;
        answer->stop_token = event->has_stop_token ? event->stop_token_id : -1;
        snprintf(answer->stop, sizeof answer->stop, "%s",
                 event->stop_string ? event->stop_string : "");
        answer->usage = event->usage;
        answer->timings = event->timings;
        break;
    case CHOIR_EVENT_SCORES:
    case CHOIR_EVENT_EMBEDDING:
        answer->usage = event->usage;
        break;
    case CHOIR_EVENT_ERROR:
        answer->is_error = true;
        answer->status = event->status;
        answer->code = event->code;
        answer->told_retry_ms = event->retry_after_ms;
        snprintf(answer->param, sizeof answer->param, "%s", event->param);
        snprintf(answer->message, sizeof answer->message, "%s", event->message);
        break;
    }
}

static inline echo_answer *echo_start(choir_client *client, const choir_generate_request *request)
{
    echo_answer *answer = calloc(1, sizeof *answer);
    assert_non_null(answer);
    if (choir_client_generate(client, request, answer->id) != CHOIR_OK)
        fail_msg("%s", choir_error());
    return answer;
}

/* Collects events for one of several answers until it has ended. */
static inline void echo_finish(choir_client *client, echo_answer *const *answers, size_t n,
                               const echo_answer *which)
{
    while (!which->is_ended) {
        choir_event event;
        size_t i = 0;
        if (choir_client_next_event(client, 30000, &event) != CHOIR_OK)
            fail_msg("%s", choir_error());
        while (i < n && strcmp(answers[i]->id, event.request_id) != 0)
            i++;
        assert_true(i < n);
        echo_collect(answers[i], &event);
    }
}

static inline echo_answer *echo_generate(choir_client *client,
                                         const choir_generate_request *request)
{
    echo_answer *answer = echo_start(client, request);
    echo_finish(client, &answer, 1, answer);
    return answer;
}

/* The answer to a text of so many tokens, its text and ids. */
static inline choir_generate_request echo_request_text(const char *text, int64_t max_tokens)
{
    return (choir_generate_request){
        .text = text,
        .text_length = strlen(text),
        .return_token_ids = true,
        .sampling = {.has_max_tokens = max_tokens > 0, .max_tokens = max_tokens},
    };
}

#endif
