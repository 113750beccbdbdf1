/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/frontend_control.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "coordinator/frontend_clients.h"
#include "proto/envelope.h"
#include "proto/metrics_wire.h"
#include "proto/report_wire.h"

#include <stdlib.h>
#include <string.h>

enum { STATUS_WAIT_US = 1000000, PENDING_MAX = 64, MESSAGES_A_TURN = 32 };

/* A Status request that waits for the engine's answer to `serial`. */
typedef struct pending_status {
    uint8_t peer[CHOIR_PEER_ID_BYTES];
    size_t peer_length;
    uint64_t seq, serial;
    int64_t deadline_us;
} pending_status;

typedef struct control_state {
    choir_frontend_shared *shared;
    choir_socket *socket;
    choir_error_budget budget;
    pending_status pending[PENDING_MAX];
    size_t n_pending;
} control_state;

bool choir_error_budget_take(choir_error_budget *budget, int64_t now_us)
{
    const double most = 100, per_second = 20;
    if (budget->since_us == 0)
        budget->n_left = most;
    else
        budget->n_left += (double)(now_us - budget->since_us) * 1e-6 * per_second;
    if (budget->n_left > most)
        budget->n_left = most;
    budget->since_us = now_us;
    if (budget->n_left < 1)
        return false;
    budget->n_left -= 1;
    return true;
}

void choir_frontend_model(choir_frontend_shared *shared, Choir__Client__Model *model)
{
    *model = (Choir__Client__Model)CHOIR__CLIENT__MODEL__INIT;
    model->name = shared->setup.model;
    model->architecture = shared->setup.architecture;
    model->vocabulary = (uint32_t)shared->setup.limits.n_vocab;
    model->has_chat_template = shared->setup.limits.has_template;
    pthread_mutex_lock(&shared->lock);
    model->max_model_len = shared->report.max_model_len;
    pthread_mutex_unlock(&shared->lock);
}

/* A client that does not take its answer goes without. */
static void reply(control_state *control, choir_part peer, Choir__Client__ServerMessage *message)
{
    if (choir_envelope_send(control->socket, &peer, &message->base) != CHOIR_DELIVERED)
        choir_log(CHOIR_LOG_DEBUG, "an answer on the control socket found no client");
}

static void reply_error(control_state *control, choir_part peer, uint64_t seq,
                        choir_error_kind kind, const char *param)
{
    choir_error_text text;
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    choir_error_fill(&text, kind, "", param, "");
    message.seq = seq;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_ERROR;
    message.error = &text.error;
    reply(control, peer, &message);
}

/* ---- status ---- */

/* The struct of a status and what it points to; the report's copy belongs to it. */
typedef struct status_parts {
    Choir__Client__ClusterStatus status;
    Choir__Client__Load load;
    choir_engine_report report;
    Choir__Client__RankStatus *ranks, **list;
    Choir__Client__Counters counters;
    choir_request_metrics metrics;
    choir_metrics_message metrics_message;
} status_parts;

/* Under the lock: figures and a copy of the report. */
static choir_status copy_figures(choir_frontend_shared *shared, status_parts *parts)
{
    Choir__Client__ClusterStatus *status = &parts->status;
    parts->load = (Choir__Client__Load)CHOIR__CLIENT__LOAD__INIT;
    *status = (Choir__Client__ClusterStatus)CHOIR__CLIENT__CLUSTER_STATUS__INIT;
    parts->load.num_running_reqs = shared->n_running;
    parts->load.num_waiting_reqs = shared->n_waiting;
    parts->load.token_usage = shared->token_usage;
    parts->load.gen_throughput = shared->gen_throughput;
    if (shared->counts.prefix_cache_queries_total > 0)
        parts->load.cache_hit_rate = (float)shared->counts.prefix_cache_hits_total /
                                     (float)shared->counts.prefix_cache_queries_total;
    choir_engine_counters_write(&shared->counts, &parts->counters);
    status->counters = &parts->counters;
    status->load = &parts->load;
    status->state = choir_frontend_state_code(shared->state);
    status->n_clients = shared->counters.n_clients;
    status->n_bad_frames = shared->counters.n_bad_frames;
    parts->metrics = shared->metrics;
    status->n_steps = shared->n_steps;
    status->step_us_p50 = shared->step_us_p50;
    status->step_us_p99 = shared->step_us_p99;
    return choir_engine_report_copy(&shared->report, &parts->report);
}

static choir_status fill_status(choir_frontend_shared *shared, status_parts *parts)
{
    static char version[] = CHOIR_VERSION;
    Choir__Client__ClusterStatus *status = &parts->status;
    choir_engine_report *report = &parts->report;
    *parts = (status_parts){0};
    pthread_mutex_lock(&shared->lock);
    choir_status done = copy_figures(shared, parts);
    pthread_mutex_unlock(&shared->lock);
    if (done == CHOIR_OK)
        done = choir_alloc(report->n_ranks, sizeof *parts->ranks, (void **)&parts->ranks);
    if (done == CHOIR_OK)
        done = choir_alloc(report->n_ranks, sizeof *parts->list, (void **)&parts->list);
    if (done != CHOIR_OK)
        return done;
    for (size_t i = 0; i < report->n_ranks; i++) {
        choir_rank_report_write(&report->ranks[i], &parts->ranks[i]);
        parts->list[i] = &parts->ranks[i];
    }
    choir_metrics_write(&parts->metrics, &parts->metrics_message, status);
    status->ranks = parts->list;
    status->n_ranks = report->n_ranks;
    status->model = shared->setup.model;
    status->version = version;
    status->uptime_us = (uint64_t)(choir_clock_us() - shared->setup.started_us);
    status->n_stages = report->n_stages;
    status->n_shards = report->n_shards;
    status->max_model_len = report->max_model_len;
    status->max_num_seqs = report->max_num_seqs;
    status->activations = report->activations;
    status->cache_type_k = report->cache_type_k;
    status->cache_type_v = report->cache_type_v;
    status->model_identity =
        (ProtobufCBinaryData){sizeof report->model_identity, report->model_identity};
    status->weights_bytes = report->weights_bytes;
    status->load_us = report->load_us;
    status->launch = report->launch;
    return CHOIR_OK;
}

static void reply_status(control_state *control, const pending_status *pending)
{
    const choir_part peer = {pending->peer, pending->peer_length};
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    status_parts parts;
    if (fill_status(control->shared, &parts) == CHOIR_OK) {
        message.seq = pending->seq;
        message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_CLUSTER_STATUS;
        message.cluster_status = &parts.status;
        reply(control, peer, &message);
    } else {
        reply_error(control, peer, pending->seq, CHOIR_ERROR_MEMORY, "");
    }
    choir_engine_report_destroy(&parts.report);
    free(parts.ranks);
    free(parts.list);
}

/* Asks the request thread for fresh figures; the answer goes out by reply_due(). Where too many
 * wait, whoever asks gets the last ones at once: a flood of one client is not refused to others. */
static void ask_status(control_state *control, choir_part peer, uint64_t seq)
{
    choir_frontend_shared *shared = control->shared;
    pending_status asked = {
        .peer_length = peer.length, .seq = seq, .deadline_us = choir_clock_us() + STATUS_WAIT_US};
    if (peer.length > sizeof asked.peer) { /* no ZeroMQ has such an id, but a hostile peer may */
        reply_error(control, peer, seq, CHOIR_ERROR_BUSY, "");
        return;
    }
    memcpy(asked.peer, peer.bytes, peer.length);
    if (control->n_pending == PENDING_MAX) {
        reply_status(control, &asked);
        return;
    }
    pending_status *pending = &control->pending[control->n_pending++];
    *pending = asked;
    pthread_mutex_lock(&shared->lock);
    pending->serial = ++shared->status_wanted;
    pthread_mutex_unlock(&shared->lock);
    choir_frontend_wake(shared->wake_requests);
}

/* Answers what has its figures or has waited long enough; milliseconds to the next deadline, or -1.
 */
static int reply_due(control_state *control)
{
    const int64_t now_us = choir_clock_us();
    int64_t next_us = INT64_MAX;
    size_t n_left = 0;
    pthread_mutex_lock(&control->shared->lock);
    const uint64_t done = control->shared->status_done;
    pthread_mutex_unlock(&control->shared->lock);
    for (size_t i = 0; i < control->n_pending; i++) {
        const pending_status *pending = &control->pending[i];
        if (pending->serial <= done || pending->deadline_us <= now_us) {
            reply_status(control, pending);
            continue;
        }
        if (pending->deadline_us < next_us)
            next_us = pending->deadline_us;
        control->pending[n_left++] = *pending;
    }
    control->n_pending = n_left;
    return n_left > 0 ? (int)((next_us - now_us) / 1000 + 1) : -1;
}

/* ---- messages ---- */

static void say_hello(control_state *control, choir_part peer, uint64_t seq,
                      const Choir__Client__Hello *hello)
{
    Choir__Client__Welcome welcome;
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    if (hello->protocol != CHOIR_PROTOCOL) {
        reply_error(control, peer, seq, CHOIR_ERROR_PROTOCOL_VERSION, "protocol");
        return;
    }
    choir_frontend_welcome(control->shared, &welcome);
    message.seq = seq;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_WELCOME;
    message.welcome = &welcome;
    reply(control, peer, &message);
}

static void say_pong(control_state *control, choir_part peer, uint64_t seq)
{
    Choir__Client__Pong pong = CHOIR__CLIENT__PONG__INIT;
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    message.seq = seq;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_PONG;
    message.pong = &pong;
    reply(control, peer, &message);
}

static void list_models(control_state *control, choir_part peer, uint64_t seq)
{
    Choir__Client__Model model, *list[] = {&model};
    Choir__Client__Models models = CHOIR__CLIENT__MODELS__INIT;
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    choir_frontend_model(control->shared, &model);
    models.models = list;
    models.n_models = 1;
    message.seq = seq;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_MODELS;
    message.models = &models;
    reply(control, peer, &message);
}

static void take_message(control_state *control, choir_part peer,
                         const Choir__Client__ClientMessage *message)
{
    switch (message->body_case) {
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_HELLO:
        say_hello(control, peer, message->seq, message->hello);
        break;
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_PING:
        say_pong(control, peer, message->seq);
        break;
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_CANCEL:
        if (message->cancel->n_request_ids > CHOIR_CANCEL_IDS_MAX) {
            reply_error(control, peer, message->seq, CHOIR_ERROR_REQUEST_IDS, "request_ids");
            break;
        }
        choir_frontend_put_cancel(control->shared, message->cancel);
        say_pong(control, peer, message->seq);
        break;
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_LIST_MODELS:
        list_models(control, peer, message->seq);
        break;
    case CHOIR__CLIENT__CLIENT_MESSAGE__BODY_STATUS:
        ask_status(control, peer, message->seq);
        break;
    default:
        reply_error(control, peer, message->seq, CHOIR_ERROR_WRONG_SOCKET, "");
    }
}

static void count_bad_frame(choir_frontend_shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    shared->counters.n_bad_frames++;
    pthread_mutex_unlock(&shared->lock);
}

static void read_message(control_state *control, const choir_message *received)
{
    choir_part frames[CHOIR_MESSAGE_PARTS];
    const size_t n_parts = choir_message_n_parts(received);
    Choir__Client__ClientMessage *message;
    choir_error_kind kind;
    const char *field;
    for (size_t i = 0; i < n_parts && i < CHOIR_MESSAGE_PARTS; i++)
        frames[i] = choir_message_part(received, i);
    choir_envelope_read_client(frames + 1, n_parts - 1, &message, &kind, &field);
    if (kind == CHOIR_ERROR_NONE) {
        take_message(control, frames[0], message);
    } else {
        count_bad_frame(control->shared);
        if (choir_error_budget_take(&control->budget, choir_clock_us()))
            reply_error(control, frames[0], message ? message->seq : 0, kind, field);
    }
    choir_client_message_destroy(&message);
}

static bool is_asked_to_stop(choir_frontend_shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    const bool is_asked = shared->asked_stop;
    pthread_mutex_unlock(&shared->lock);
    return is_asked;
}

static void serve(control_state *control)
{
    choir_message *received = NULL;
    choir_status status = choir_message_create(&received);
    int timeout_ms = -1;
    while (status == CHOIR_OK && !is_asked_to_stop(control->shared)) {
        choir_poll_item items[] = {{.socket = control->socket},
                                   {.fd = control->shared->wake_control}};
        status = choir_socket_poll(items, 2, timeout_ms);
        if (status == CHOIR_OK && items[1].is_readable)
            choir_frontend_drain(control->shared->wake_control);
        for (int i = 0; i < MESSAGES_A_TURN && choir_socket_receive(control->socket, received); i++)
            read_message(control, received);
        timeout_ms = reply_due(control);
    }
    if (status != CHOIR_OK)
        choir_log(CHOIR_LOG_ERROR, "control socket: %s", choir_error());
    choir_message_destroy(&received);
}

void *choir_frontend_control_run(void *argument)
{
    const choir_frontend_control *control = argument;
    control_state *state = NULL;
    if (choir_alloc(1, sizeof *state, (void **)&state) != CHOIR_OK) {
        choir_log(CHOIR_LOG_ERROR, "control socket: %s", choir_error());
        return NULL;
    }
    state->shared = control->shared;
    state->socket = control->socket;
    serve(state);
    free(state);
    return NULL;
}
