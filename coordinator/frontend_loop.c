/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/frontend_loop.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "coordinator/frontend_clients.h"
#include "coordinator/frontend_control.h"
#include "coordinator/frontend_delivery.h"
#include "coordinator/frontend_requests.h"
#include "coordinator/frontend_submit.h"
#include "coordinator/frontend_text.h"
#include "proto/envelope.h"
#include "proto/report_wire.h"

#include <stdlib.h>
#include <string.h>

enum {
    CLIENT_MESSAGES_A_TURN = 32,
    CLIENTS_A_TURN_US = 10000, /* or less: large texts take long, and the engine's news wait */
    ENGINE_MESSAGES_A_TURN = 64,
    SLOW_CLIENT_MS = 20,    /* between attempts to send to a client whose queue is full */
    IDLE_MS = 1000,         /* between looks at the clock while there are clients */
    HEARTBEAT_US = 5000000, /* of silence, after which a client hears that we live */
};

typedef struct loop_state {
    choir_frontend_shared *shared;
    const choir_frontend_setup *setup;
    choir_engine_link *link;
    choir_clients clients;
    choir_requests requests;
    choir_error_budget budget;
    uint64_t n_bad_frames; /* not yet in the counters */
    uint64_t status_asked; /* serial of the last question to the engine */
    uint32_t max_model_len;
    int64_t looked_us; /* at the clock's duties */
    int64_t now_us;
    bool is_stopping;
} loop_state;

/* ---- the engine ---- */

static void set_state(loop_state *loop, choir_frontend_state state)
{
    loop->shared->state = state;
    pthread_cond_broadcast(&loop->shared->changed);
}

static void write_connection(const loop_state *loop, choir_frontend_state state)
{
    if (choir_frontend_write_connection(loop->shared, state) != CHOIR_OK)
        choir_log(CHOIR_LOG_WARNING, "%s", choir_error());
}

static void engine_failed(loop_state *loop, choir_status status, const char *words,
                          const char *client_words)
{
    choir_frontend_shared *shared = loop->shared;
    pthread_mutex_lock(&shared->lock);
    /* What the engine said itself is the cause; that it is gone then is its consequence. */
    if (shared->state != CHOIR_FRONTEND_FAILED) {
        shared->failed_status = status;
        choir_frontend_copy_words(shared->failed_words, sizeof shared->failed_words, words);
    }
    choir_frontend_copy_words(shared->client_words, sizeof shared->client_words, client_words);
    set_state(loop, CHOIR_FRONTEND_FAILED);
    shared->status_done = shared->status_wanted;
    pthread_mutex_unlock(&shared->lock);
    choir_requests_fail_all(&loop->requests, CHOIR_ERROR_LOST, client_words, loop->now_us);
    write_connection(loop, CHOIR_FRONTEND_FAILED);
    choir_frontend_wake(shared->wake_control);
}

static void engine_ready(loop_state *loop, const Choir__Engine__Ready *ready)
{
    choir_frontend_shared *shared = loop->shared;
    choir_engine_report report;
    if (choir_engine_report_read(ready, &report) != CHOIR_OK) {
        engine_failed(loop, CHOIR_ENOMEM, choir_error(), "");
        return;
    }
    /* A new engine knows nothing of what the one before it was given. */
    choir_requests_fail_all(&loop->requests, CHOIR_ERROR_LOST, "", loop->now_us);
    loop->max_model_len = report.max_model_len;
    write_connection(loop, CHOIR_FRONTEND_READY);
    pthread_mutex_lock(&shared->lock);
    choir_engine_report_destroy(&shared->report);
    shared->report = report;
    set_state(loop, CHOIR_FRONTEND_READY);
    pthread_mutex_unlock(&shared->lock);
}

static void engine_status(loop_state *loop, const Choir__Engine__EngineStatus *status)
{
    choir_frontend_shared *shared = loop->shared;
    pthread_mutex_lock(&shared->lock);
    shared->n_running = status->n_running;
    shared->n_waiting = status->n_waiting;
    shared->token_usage = status->token_usage;
    choir_engine_counters_read(status, &shared->counts);
    shared->metrics = loop->requests.metrics; /* with the outputs that came before it */
    shared->gen_throughput = status->gen_throughput;
    shared->n_steps = status->n_steps;
    shared->step_us_p50 = status->step_us_p50;
    shared->step_us_p99 = status->step_us_p99;
    if (status->n_ranks == shared->report.n_ranks)
        for (size_t i = 0; i < status->n_ranks; i++)
            choir_rank_report_read(status->ranks[i], &shared->report.ranks[i]);
    if (status->serial <= shared->status_wanted && status->serial > shared->status_done)
        shared->status_done = status->serial;
    pthread_mutex_unlock(&shared->lock);
    choir_frontend_wake(shared->wake_control);
}

static void engine_fingerprint(loop_state *loop, const Choir__Engine__Fingerprint *fingerprint)
{
    pthread_mutex_lock(&loop->shared->lock);
    choir_fingerprint_report_read(fingerprint, &loop->shared->fingerprint);
    loop->shared->has_fingerprint = true;
    pthread_cond_broadcast(&loop->shared->changed);
    pthread_mutex_unlock(&loop->shared->lock);
}

static void engine_bench(loop_state *loop, const Choir__Engine__Bench *bench)
{
    choir_frontend_shared *shared = loop->shared;
    pthread_mutex_lock(&shared->lock);
    if (!shared->bench &&
        choir_copy_string(bench->rows, strlen(bench->rows), &shared->bench) != CHOIR_OK)
        choir_log(CHOIR_LOG_ERROR, "engine: %s", choir_error());
    pthread_cond_broadcast(&shared->changed);
    pthread_mutex_unlock(&shared->lock);
}

/* A choir_status from the wire; OK and what is none count as EENGINE. */
static choir_status failure_of(uint32_t code)
{
    return code > CHOIR_OK && code <= CHOIR_EFILECHANGED ? (choir_status)code : CHOIR_EENGINE;
}

static void take_engine_message(loop_state *loop, const Choir__Engine__FromEngine *message)
{
    switch (message->body_case) {
    case CHOIR__ENGINE__FROM_ENGINE__BODY_READY:
        engine_ready(loop, message->ready);
        break;
    case CHOIR__ENGINE__FROM_ENGINE__BODY_OUTPUTS:
        for (size_t i = 0; i < message->outputs->n_outputs; i++)
            choir_requests_take_output(&loop->requests, message->outputs->outputs[i], loop->now_us);
        break;
    case CHOIR__ENGINE__FROM_ENGINE__BODY_STATUS:
        engine_status(loop, message->status);
        break;
    case CHOIR__ENGINE__FROM_ENGINE__BODY_FAILED:
        engine_failed(loop, failure_of(message->failed->status), message->failed->error, "");
        break;
    case CHOIR__ENGINE__FROM_ENGINE__BODY_FINGERPRINT:
        engine_fingerprint(loop, message->fingerprint);
        break;
    case CHOIR__ENGINE__FROM_ENGINE__BODY_BENCH:
        engine_bench(loop, message->bench);
        break;
    default:
        break;
    }
}

static void read_engine(loop_state *loop)
{
    for (int i = 0; i < ENGINE_MESSAGES_A_TURN; i++) {
        Choir__Engine__FromEngine *message;
        if (choir_engine_link_receive_reply(loop->link, 0, &message) != CHOIR_OK) {
            choir_log(CHOIR_LOG_ERROR, "engine: %s", choir_error());
            continue;
        }
        if (!message)
            return;
        take_engine_message(loop, message);
        choir_from_engine_destroy(&message);
    }
}

/* ---- clients ---- */

static void reply(loop_state *loop, choir_peer *peer, uint64_t seq,
                  Choir__Client__ServerMessage *message)
{
    message->seq = seq;
    choir_clients_send(&loop->clients, peer, message, loop->now_us);
}

static void reply_error(loop_state *loop, choir_peer *peer, uint64_t seq, choir_error_kind kind,
                        const char *request_id, const char *param, const char *words)
{
    choir_clients_refuse(&loop->clients, peer, seq, kind, request_id, param, words, loop->now_us);
}

static void say_hello(loop_state *loop, choir_peer *peer, uint64_t seq,
                      const Choir__Client__Hello *hello)
{
    Choir__Client__Welcome welcome;
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    if (hello->protocol != CHOIR_PROTOCOL) {
        reply_error(loop, peer, seq, CHOIR_ERROR_PROTOCOL_VERSION, "", "protocol", "");
        return;
    }
    choir_frontend_welcome(loop->shared, &welcome);
    welcome.session = (ProtobufCBinaryData){sizeof peer->session, peer->session};
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_WELCOME;
    message.welcome = &welcome;
    reply(loop, peer, seq, &message);
}

static void say_pong(loop_state *loop, choir_peer *peer, uint64_t seq)
{
    Choir__Client__Pong pong = CHOIR__CLIENT__PONG__INIT;
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_PONG;
    message.pong = &pong;
    reply(loop, peer, seq, &message);
}

static void list_models(loop_state *loop, choir_peer *peer, uint64_t seq)
{
    Choir__Client__Model model, *list[] = {&model};
    Choir__Client__Models models = CHOIR__CLIENT__MODELS__INIT;
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    choir_frontend_model(loop->shared, &model);
    models.models = list;
    models.n_models = 1;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_MODELS;
    message.models = &models;
    reply(loop, peer, seq, &message);
}

/* The same answer whatever the ids are: nobody learns of other clients' requests. */
static void cancel(loop_state *loop, choir_peer *peer, uint64_t seq,
                   const Choir__Client__Cancel *what)
{
    if (what->n_request_ids > CHOIR_CANCEL_IDS_MAX) {
        reply_error(loop, peer, seq, CHOIR_ERROR_REQUEST_IDS, "", "request_ids", "");
        return;
    }
    for (size_t i = 0; i < what->n_request_ids; i++)
        choir_requests_cancel(&loop->requests, peer, what->request_ids[i], loop->now_us);
    say_pong(loop, peer, seq);
}

/* Silent for a request that is not there: nobody learns of other clients' requests. */
static void take_credit(loop_state *loop, choir_peer *peer, uint64_t seq,
                        const Choir__Client__Credit *credit)
{
    if (credit->chunks == 0)
        reply_error(loop, peer, seq, CHOIR_ERROR_CREDIT, "", "chunks", ""); /* it goes on */
    else
        choir_requests_add_credit(peer, credit->request_id, credit->chunks);
}

/* Whether the engine takes requests; else the client hears why not. */
static bool is_open(loop_state *loop, choir_peer *peer, uint64_t seq, const char *request_id)
{
    char words[CHOIR_FRONTEND_WORDS];
    const choir_error_kind kind = choir_frontend_refusal(loop->shared, words);
    if (kind != CHOIR_ERROR_NONE)
        reply_error(loop, peer, seq, kind, request_id, "", words);
    return kind == CHOIR_ERROR_NONE;
}

static void take_client_message(loop_state *loop, choir_peer *peer,
                                const Choir__Client__ClientMessage *message)
{
    const uint64_t seq = message->seq;
    switch (message->body_case) {
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_HELLO:
        say_hello(loop, peer, seq, message->hello);
        break;
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_PING:
        say_pong(loop, peer, seq);
        break;
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_GENERATE:
        if (is_open(loop, peer, seq, message->generate->request_id))
            choir_requests_generate(&loop->requests, peer, seq, message->generate,
                                    loop->max_model_len, loop->now_us);
        break;
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_SCORE:
        if (is_open(loop, peer, seq, message->score->request_id))
            choir_requests_score(&loop->requests, peer, seq, message->score, loop->max_model_len,
                                 loop->now_us);
        break;
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_EMBED:
        if (is_open(loop, peer, seq, message->embed->request_id))
            choir_requests_embed(&loop->requests, peer, seq, message->embed, loop->max_model_len,
                                 loop->now_us);
        break;
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_CANCEL:
        cancel(loop, peer, seq, message->cancel);
        break;
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_CREDIT:
        take_credit(loop, peer, seq, message->credit);
        break;
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_TOKENIZE:
        choir_frontend_tokenize(&loop->clients, loop->setup, peer, seq, message->tokenize,
                                loop->now_us);
        break;
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_DETOKENIZE:
        choir_frontend_detokenize(&loop->clients, loop->setup, peer, seq, message->detokenize,
                                  loop->now_us);
        break;
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_LIST_MODELS:
        list_models(loop, peer, seq);
        break;
    default:
        reply_error(loop, peer, seq, CHOIR_ERROR_WRONG_SOCKET, "", "", "");
    }
}

static const char *request_id_of(const Choir__Client__ClientMessage *message)
{
    if (message->body_case == CHOIR__CLIENT__CLIENT_MESSAGE__BODY_GENERATE)
        return message->generate->request_id;
    if (message->body_case == CHOIR__CLIENT__CLIENT_MESSAGE__BODY_SCORE)
        return message->score->request_id;
    if (message->body_case == CHOIR__CLIENT__CLIENT_MESSAGE__BODY_EMBED)
        return message->embed->request_id;
    return "";
}

/* An error to somebody who is no client (yet); at most so many. */
static void reply_to_stranger(loop_state *loop, choir_part id, uint64_t seq, choir_error_kind kind,
                              const char *field)
{
    choir_error_text text;
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    if (!choir_error_budget_take(&loop->budget, loop->now_us))
        return;
    choir_error_fill(&text, kind, "", field, "");
    message.seq = seq;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_ERROR;
    message.error = &text.error;
    if (choir_envelope_send(loop->clients.socket, &id, &message.base) != CHOIR_DELIVERED)
        choir_log(CHOIR_LOG_DEBUG, "an error found no client");
}

static void read_message(loop_state *loop, const choir_message *received)
{
    choir_part frames[CHOIR_MESSAGE_PARTS];
    const size_t n_parts = choir_message_n_parts(received);
    Choir__Client__ClientMessage *message;
    choir_error_kind kind;
    const char *field;
    for (size_t i = 0; i < n_parts && i < CHOIR_MESSAGE_PARTS; i++)
        frames[i] = choir_message_part(received, i);
    choir_envelope_read_client(frames + 1, n_parts - 1, &message, &kind, &field);
    loop->n_bad_frames += kind != CHOIR_ERROR_NONE;
    if (!message) {
        reply_to_stranger(loop, frames[0], 0, kind, field);
        return;
    }
    choir_peer *peer = choir_clients_find(&loop->clients, frames[0]);
    if (!peer)
        peer = choir_clients_add(&loop->clients, frames[0], loop->now_us);
    if (!peer) {
        reply_to_stranger(loop, frames[0], message->seq, CHOIR_ERROR_TOO_MANY_CLIENTS, "");
    } else {
        peer->heard_us = loop->now_us;
        if (kind == CHOIR_ERROR_NONE)
            take_client_message(loop, peer, message);
        else
            reply_error(loop, peer, message->seq, kind, request_id_of(message), field, "");
    }
    choir_client_message_destroy(&message);
}

static void read_clients(loop_state *loop, choir_message *received)
{
    for (int i = 0; i < CLIENT_MESSAGES_A_TURN; i++) {
        if (choir_clock_us() - loop->now_us > CLIENTS_A_TURN_US && i > 0)
            return;
        if (!choir_socket_receive(loop->clients.socket, received))
            return;
        read_message(loop, received);
    }
}

/* Sends what there is to send and takes leave of clients that are gone; whether something waits. */
static bool serve_peers(loop_state *loop)
{
    bool has_waiting = false;
    for (choir_peer *peer = loop->clients.peers, *next; peer; peer = next) {
        next = peer->next;
        if (peer->first)
            choir_clients_flush(&loop->clients, peer, loop->now_us);
        if (peer->has_news && !peer->is_gone && choir_clients_may_try(peer, loop->now_us))
            choir_frontend_deliver(&loop->requests, peer, loop->now_us);
        if (peer->is_gone) {
            choir_requests_abandon(&loop->requests, peer, loop->now_us);
            choir_clients_remove(&loop->clients, peer);
            continue;
        }
        has_waiting = has_waiting || peer->first || peer->has_news;
    }
    return has_waiting;
}

/* ---- callers, the clock ---- */

static void cancel_by_session(loop_state *loop)
{
    choir_cancel *list = choir_frontend_take_cancels(loop->shared);
    for (const choir_cancel *item = list; item; item = item->next) {
        choir_peer *peer = choir_clients_find_session(&loop->clients, item->session);
        for (size_t i = 0; peer && i < item->n_ids; i++)
            choir_requests_cancel(&loop->requests, peer, item->ids[i], loop->now_us);
    }
    choir_cancel_destroy(&list);
}

/* Passes the control thread's question on; without an engine there are no fresher figures. */
static void ask_engine_status(loop_state *loop, uint64_t serial, bool is_ready)
{
    Choir__Engine__StatusQuery query = CHOIR__ENGINE__STATUS_QUERY__INIT;
    Choir__Engine__ToEngine message = CHOIR__ENGINE__TO_ENGINE__INIT;
    query.serial = loop->status_asked = serial;
    message.body_case = CHOIR__ENGINE__TO_ENGINE__BODY_STATUS_QUERY;
    message.status_query = &query;
    if (is_ready && choir_engine_link_send_request(loop->link, &message) == CHOIR_OK)
        return;
    pthread_mutex_lock(&loop->shared->lock);
    loop->shared->status_done = serial;
    pthread_mutex_unlock(&loop->shared->lock);
    choir_frontend_wake(loop->shared->wake_control);
}

static void lose_engine(loop_state *loop, const char *words)
{
    read_engine(loop); /* its last words, if there are any */
    engine_failed(loop, CHOIR_EENGINE, words, strchr(words, '/') ? "" : words); /* no paths */
    pthread_mutex_lock(&loop->shared->lock);
    loop->shared->asked_lost = false;
    pthread_cond_broadcast(&loop->shared->changed);
    pthread_mutex_unlock(&loop->shared->lock);
}

static void take_wishes(loop_state *loop)
{
    choir_frontend_shared *shared = loop->shared;
    char words[CHOIR_FRONTEND_WORDS];
    choir_frontend_drain(shared->wake_requests);
    pthread_mutex_lock(&shared->lock);
    const bool is_lost = shared->asked_lost;
    const bool is_ready = shared->state == CHOIR_FRONTEND_READY;
    const uint64_t serial = shared->status_wanted;
    memcpy(words, shared->lost_words, sizeof words);
    loop->is_stopping = shared->asked_stop;
    pthread_mutex_unlock(&shared->lock);
    if (is_lost)
        lose_engine(loop, words);
    if (serial > loop->status_asked)
        ask_engine_status(loop, serial, is_ready && !is_lost);
    cancel_by_session(loop);
}

/* Once a second: requests whose end nobody confirmed, clients that should hear from us. */
static void look_at_clock(loop_state *loop)
{
    if (loop->now_us - loop->looked_us < IDLE_MS * 1000)
        return;
    loop->looked_us = loop->now_us;
    choir_requests_check_ending(&loop->requests, loop->now_us);
    for (choir_peer *peer = loop->clients.peers; peer; peer = peer->next) {
        Choir__Client__Pong pong = CHOIR__CLIENT__PONG__INIT;
        Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
        message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_PONG;
        message.pong = &pong;
        /* Also finds out who is gone. A full queue says nothing either way. */
        if (loop->now_us - peer->sent_us >= HEARTBEAT_US &&
            !choir_clients_try(&loop->clients, peer, &message, loop->now_us))
            peer->sent_us = loop->now_us;
    }
}

static void publish(loop_state *loop)
{
    choir_frontend_counters *counters = &loop->shared->counters;
    pthread_mutex_lock(&loop->shared->lock);
    counters->n_requests = (uint32_t)loop->requests.n_open;
    counters->n_clients = (uint32_t)loop->clients.n_peers;
    counters->n_finished = loop->requests.n_finished;
    counters->n_prompt_tokens = loop->requests.n_prompt_tokens;
    counters->n_generated_tokens = loop->requests.n_generated_tokens;
    counters->n_bad_frames += loop->n_bad_frames;
    loop->shared->metrics = loop->requests.metrics;
    pthread_mutex_unlock(&loop->shared->lock);
    loop->n_bad_frames = 0;
}

static choir_status turn(loop_state *loop, choir_message *received, int timeout_ms)
{
    choir_poll_item items[] = {{.fd = loop->shared->wake_requests},
                               {.socket = choir_engine_link_socket(loop->link)},
                               {.socket = loop->clients.socket}};
    const choir_status status = choir_socket_poll(items, loop->clients.socket ? 3 : 2, timeout_ms);
    if (status != CHOIR_OK)
        return status;
    loop->now_us = choir_clock_us();
    if (items[0].is_readable)
        take_wishes(loop);
    read_engine(loop);
    if (loop->clients.socket)
        read_clients(loop, received);
    look_at_clock(loop);
    return CHOIR_OK;
}

static void say_goodbye(loop_state *loop)
{
    static char reason[] = "the service is shutting down";
    Choir__Client__Goodbye goodbye = CHOIR__CLIENT__GOODBYE__INIT;
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    Choir__Engine__Shutdown shutdown = CHOIR__ENGINE__SHUTDOWN__INIT;
    Choir__Engine__ToEngine to_engine = CHOIR__ENGINE__TO_ENGINE__INIT;
    to_engine.body_case = CHOIR__ENGINE__TO_ENGINE__BODY_SHUTDOWN;
    to_engine.shutdown = &shutdown;
    if (choir_engine_link_send_request(loop->link, &to_engine) != CHOIR_OK)
        choir_log(CHOIR_LOG_DEBUG, "no engine to shut down");
    goodbye.reason = reason;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_GOODBYE;
    message.goodbye = &goodbye;
    for (choir_peer *peer = loop->clients.peers; peer; peer = peer->next)
        choir_clients_send(&loop->clients, peer, &message, loop->now_us);
}

static void serve(loop_state *loop)
{
    choir_message *received = NULL;
    choir_status status = choir_message_create(&received);
    if (status == CHOIR_OK)
        status = choir_requests_open(&loop->requests);
    for (int timeout_ms = 0; status == CHOIR_OK && !loop->is_stopping;) {
        status = turn(loop, received, timeout_ms);
        const bool has_waiting = serve_peers(loop);
        const bool is_occupied = loop->clients.n_peers > 0 || loop->requests.n_open > 0;
        publish(loop);
        timeout_ms = has_waiting ? SLOW_CLIENT_MS : is_occupied ? IDLE_MS : -1;
    }
    if (status != CHOIR_OK) {
        choir_log(CHOIR_LOG_ERROR, "front end: %s", choir_error());
        if (loop->requests.slots)
            engine_failed(loop, status, choir_error(), "");
    }
    say_goodbye(loop);
    choir_message_destroy(&received);
}

void *choir_frontend_loop_run(void *argument)
{
    const choir_frontend_loop *given = argument;
    const choir_frontend_setup *setup = &given->shared->setup;
    loop_state loop = {.shared = given->shared, .setup = setup, .link = given->link};
    loop.clients.socket = given->socket;
    loop.clients.max_peers = setup->max_clients;
    loop.requests.setup = setup;
    loop.requests.clients = &loop.clients;
    loop.requests.link = given->link;
    loop.now_us = choir_clock_us();
    serve(&loop);
    pthread_mutex_lock(&loop.shared->lock);
    set_state(&loop, CHOIR_FRONTEND_SHUTDOWN);
    pthread_mutex_unlock(&loop.shared->lock);
    choir_requests_close(&loop.requests);
    choir_clients_remove_all(&loop.clients);
    return NULL;
}
