/* SPDX-License-Identifier: Apache-2.0 */
#include "client/client.h"

#include "client/queue.h"
#include "client/session.h"
#include "common/clock.h"
#include "common/mem.h"
#include "proto/connection.h"
#include "proto/envelope.h"
#include "proto/metrics_wire.h"
#include "proto/report_wire.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { CALL_TIMEOUT_MS = 60000 };

struct choir_client {
    choir_session *session;
    choir_queue *queue;
    int call_timeout_ms;
    uint64_t id_base;
    uint32_t n_made; /* ids */
};

/* ---- connecting ---- */

choir_status choir_client_connect(const char *endpoint, const char *control_endpoint,
                                  int timeout_ms, choir_client **client)
{
    choir_status status = choir_alloc(1, sizeof **client, (void **)client);
    if (status != CHOIR_OK)
        return status;
    (*client)->call_timeout_ms = CALL_TIMEOUT_MS;
    status = choir_session_open(endpoint, control_endpoint, timeout_ms, &(*client)->session);
    if (status == CHOIR_OK)
        status = choir_queue_create((*client)->session, &(*client)->queue);
    if (status == CHOIR_OK && getrandom(&(*client)->id_base, sizeof(*client)->id_base, 0) !=
                                  (ssize_t)sizeof(*client)->id_base)
        status = choir_fail(CHOIR_EIO, "no random numbers: %s", strerror(errno));
    if (status != CHOIR_OK)
        choir_client_destroy(client);
    return status;
}

static bool is_dead(const choir_connection *connection)
{
    char host[64] = "";
    gethostname(host, sizeof host - 1);
    return strcmp(host, connection->host) == 0 && kill((pid_t)connection->pid, 0) != 0 &&
           errno == ESRCH;
}

choir_status choir_client_connect_file(const char *path, int timeout_ms, choir_client **client)
{
    char default_path[CHOIR_PATH_BYTES];
    choir_connection connection;
    choir_status status = CHOIR_OK;
    *client = NULL;
    if (!path) {
        status = choir_connection_path(default_path);
        path = default_path;
    }
    if (status == CHOIR_OK)
        status = choir_connection_read(path, &connection);
    if (status != CHOIR_OK)
        return status;
    if (is_dead(&connection))
        return choir_fail(CHOIR_EUNAVAILABLE, "%s: its service is gone; start one with choir serve",
                          path);
    if (connection.state == CHOIR_CONNECTION_LAUNCHING)
        return choir_fail(CHOIR_EUNAVAILABLE,
                          "%s: the service is still loading its model; try "
                          "again in a moment",
                          path);
    if (connection.state != CHOIR_CONNECTION_READY)
        return choir_fail(CHOIR_EUNAVAILABLE, "%s: the service is in state %s; see its own words",
                          path, choir_connection_state_name(connection.state));
    return choir_client_connect(connection.request, connection.control, timeout_ms, client);
}

void choir_client_destroy(choir_client **client)
{
    if (!*client)
        return;
    choir_queue_destroy(&(*client)->queue);
    choir_session_close(&(*client)->session);
    free(*client);
    *client = NULL;
}

void choir_client_set_call_timeout(choir_client *client, int timeout_ms)
{
    client->call_timeout_ms = timeout_ms;
}

const char *choir_client_model(const choir_client *client)
{
    return choir_session_welcome(client->session)->model;
}

uint32_t choir_client_max_model_len(const choir_client *client)
{
    return choir_session_welcome(client->session)->max_model_len;
}

/* ---- requests ---- */

/* The caller's id, or a fresh one. */
static choir_status choose_id(choir_client *client, const char *wanted,
                              char id[CHOIR_REQUEST_ID_SIZE])
{
    if (!wanted) {
        snprintf(id, CHOIR_REQUEST_ID_SIZE, "%016llx-%u", (unsigned long long)client->id_base,
                 client->n_made++);
        return CHOIR_OK;
    }
    const size_t length = strlen(wanted);
    if (length < 1 || length >= CHOIR_REQUEST_ID_SIZE)
        return choir_fail(CHOIR_EINVALID, "request_id: must have 1 to 64 bytes");
    if (choir_queue_look(client->queue, wanted) != CHOIR_QUEUE_NONE)
        return choir_fail(CHOIR_EINVALID, "request_id: a request of this id is still open");
    memcpy(id, wanted, length + 1);
    return CHOIR_OK;
}

static void fill_sampling(const choir_sampling_params *from, Choir__Client__SamplingParams *to)
{
    *to = (Choir__Client__SamplingParams)CHOIR__CLIENT__SAMPLING_PARAMS__INIT;
    /* A presence case is the number of the field, or 0. */
    to->temperature_presence_case = from->has_temperature ? 1 : 0;
    to->temperature = from->temperature;
    to->top_k_presence_case = from->has_top_k ? 2 : 0;
    to->top_k = from->top_k;
    to->top_p_presence_case = from->has_top_p ? 3 : 0;
    to->top_p = from->top_p;
    to->min_p_presence_case = from->has_min_p ? 4 : 0;
    to->min_p = from->min_p;
    to->typical_p_presence_case = from->has_typical_p ? 5 : 0;
    to->typical_p = from->typical_p;
    to->repetition_penalty_presence_case = from->has_repetition_penalty ? 6 : 0;
    to->repetition_penalty = from->repetition_penalty;
    to->presence_penalty_presence_case = from->presence_penalty != 0 ? 7 : 0;
    to->presence_penalty = from->presence_penalty;
    to->frequency_penalty_presence_case = from->frequency_penalty != 0 ? 8 : 0;
    to->frequency_penalty = from->frequency_penalty;
    to->seed_presence_case = from->has_seed ? 9 : 0;
    to->seed = from->seed;
    to->max_tokens_presence_case = from->has_max_tokens ? 10 : 0;
    to->max_tokens = from->max_tokens;
    to->stop = (char **)from->stop; /* packing only reads these */
    to->n_stop = from->n_stop;
    to->stop_token_ids = (int32_t *)from->stop_token_ids;
    to->n_stop_token_ids = from->n_stop_token_ids;
    to->min_tokens = from->min_tokens;
    to->n = from->n;
    to->bad_words = (char **)from->bad_words;
    to->n_bad_words = from->n_bad_words;
    to->allowed_token_ids = (int32_t *)from->allowed_token_ids;
    to->n_allowed_token_ids = from->n_allowed_token_ids;
    to->truncate_prompt_tokens_presence_case = from->has_truncate_prompt_tokens ? 20 : 0;
    to->truncate_prompt_tokens = from->truncate_prompt_tokens;
    to->ignore_eos = from->ignore_eos;
    to->include_stop_str_in_output = from->include_stop_str_in_output;
}

/* The entries and the list of them, in one block for free(). */
static choir_status fill_bias(const choir_sampling_params *from, Choir__Client__SamplingParams *to)
{
    const size_t n = from->n_logit_bias;
    Choir__Client__LogitBias **list = NULL, *entries;
    if (n == 0)
        return CHOIR_OK;
    const choir_status status = choir_alloc(n, sizeof *list + sizeof *entries, (void **)&list);
    if (status != CHOIR_OK)
        return status;
    entries = (Choir__Client__LogitBias *)(list + n);
    for (size_t i = 0; i < n; i++) {
        choir__client__logit_bias__init(&entries[i]);
        entries[i].token_id = from->logit_bias[i].token_id;
        entries[i].bias = from->logit_bias[i].bias;
        list[i] = &entries[i];
    }
    to->logit_bias = list;
    to->n_logit_bias = n;
    return CHOIR_OK;
}

/* A NUL-terminated copy of a text for a message. */
static choir_status copy_text(const char *text, size_t length, char **copy)
{
    if (length > 0 && memchr(text, 0, length))
        return choir_fail(CHOIR_EINVALID, "text: holds a NUL character");
    return choir_copy_string(text, length, copy);
}

static void fill_output(const choir_generate_request *request, Choir__Client__OutputOptions *output)
{
    if (request->wants_logprobs) {
        output->logprobs_presence_case = CHOIR__CLIENT__OUTPUT_OPTIONS__LOGPROBS_PRESENCE_LOGPROBS;
        output->logprobs = request->n_top;
    }
    if (request->wants_prompt_logprobs) {
        output->prompt_logprobs_presence_case =
            CHOIR__CLIENT__OUTPUT_OPTIONS__PROMPT_LOGPROBS_PRESENCE_PROMPT_LOGPROBS;
        output->prompt_logprobs = request->n_prompt_top;
    }
    output->return_token_ids = request->return_token_ids;
    if (request->keep_special_tokens) /* present and false */
        output->skip_special_tokens_presence_case =
            CHOIR__CLIENT__OUTPUT_OPTIONS__SKIP_SPECIAL_TOKENS_PRESENCE_SKIP_SPECIAL_TOKENS;
}

choir_status choir_client_generate(choir_client *client, const choir_generate_request *request,
                                   char request_id[CHOIR_REQUEST_ID_SIZE])
{
    Choir__Client__TokenIds tokens = CHOIR__CLIENT__TOKEN_IDS__INIT;
    Choir__Client__Chat chat = CHOIR__CLIENT__CHAT__INIT;
    Choir__Client__SamplingParams sampling;
    Choir__Client__OutputOptions output = CHOIR__CLIENT__OUTPUT_OPTIONS__INIT;
    Choir__Client__Generate generate = CHOIR__CLIENT__GENERATE__INIT;
    Choir__Client__ClientMessage message = CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    char *text = NULL;
    choir_status status = choose_id(client, request->request_id, request_id);
    if (status != CHOIR_OK)
        return status;
    if (!!request->text + !!request->messages_json + !!request->token_ids != 1)
        return choir_fail(CHOIR_EINVALID, "set one of text, messages and token ids");
    if (request->text) {
        status = copy_text(request->text, request->text_length, &text);
        generate.input_case = CHOIR__CLIENT__GENERATE__INPUT_TEXT;
        generate.text = text;
    } else if (request->messages_json) {
        generate.input_case = CHOIR__CLIENT__GENERATE__INPUT_CHAT;
        generate.chat = &chat;
        chat.messages_json = (char *)request->messages_json;
    } else {
        generate.input_case = CHOIR__CLIENT__GENERATE__INPUT_TOKEN_IDS;
        generate.token_ids = &tokens;
        tokens.ids = (int32_t *)request->token_ids;
        tokens.n_ids = request->n_token_ids;
    }
    fill_sampling(&request->sampling, &sampling);
    if (status == CHOIR_OK)
        status = fill_bias(&request->sampling, &sampling);
    fill_output(request, &output);
    if (request->is_unstreamed) /* present and false */
        generate.stream_presence_case = CHOIR__CLIENT__GENERATE__STREAM_PRESENCE_STREAM;
    if (request->has_credit)
        generate.credit_presence_case = CHOIR__CLIENT__GENERATE__CREDIT_PRESENCE_CREDIT;
    generate.credit = request->credit;
    generate.priority = request->priority;
    generate.timeout_ms = request->timeout_ms;
    if (request->cache_salt)
        generate.cache_salt = (char *)request->cache_salt;
    generate.request_id = request_id;
    generate.sampling = &sampling;
    generate.output = &output;
    message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_GENERATE;
    message.generate = &generate;
    if (status == CHOIR_OK)
        status = choir_queue_start(client->queue, &message, request_id);
    free(text);
    free(sampling.logit_bias);
    return status;
}

/* The input of a Score or Embed: a text, copied to *copy, or ids, which `tokens` borrows. */
static choir_status read_plain(const char *text, size_t text_length, const int32_t *token_ids,
                               size_t n_token_ids, char **copy, Choir__Client__TokenIds *tokens)
{
    if (!!text + !!token_ids != 1)
        return choir_fail(CHOIR_EINVALID, "set one of text and token ids");
    tokens->ids = (int32_t *)token_ids;
    tokens->n_ids = n_token_ids;
    return text ? copy_text(text, text_length, copy) : CHOIR_OK;
}

choir_status choir_client_score(choir_client *client, const choir_score_request *request,
                                char request_id[CHOIR_REQUEST_ID_SIZE])
{
    Choir__Client__TokenIds tokens = CHOIR__CLIENT__TOKEN_IDS__INIT;
    Choir__Client__Score score = CHOIR__CLIENT__SCORE__INIT;
    Choir__Client__ClientMessage message = CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    char *text = NULL;
    choir_status status = choose_id(client, request->request_id, request_id);
    if (status == CHOIR_OK)
        status = read_plain(request->text, request->text_length, request->token_ids,
                            request->n_token_ids, &text, &tokens);
    score.input_case =
        text ? CHOIR__CLIENT__SCORE__INPUT_TEXT : CHOIR__CLIENT__SCORE__INPUT_TOKEN_IDS;
    if (text)
        score.text = text;
    else
        score.token_ids = &tokens;
    score.request_id = request_id;
    score.top = request->n_top;
    message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_SCORE;
    message.score = &score;
    if (status == CHOIR_OK)
        status = choir_queue_start(client->queue, &message, request_id);
    free(text);
    return status;
}

choir_status choir_client_embed(choir_client *client, const choir_embed_request *request,
                                char request_id[CHOIR_REQUEST_ID_SIZE])
{
    Choir__Client__TokenIds tokens = CHOIR__CLIENT__TOKEN_IDS__INIT;
    Choir__Client__Embed embed = CHOIR__CLIENT__EMBED__INIT;
    Choir__Client__ClientMessage message = CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    char *text = NULL;
    choir_status status = choose_id(client, request->request_id, request_id);
    if (status == CHOIR_OK)
        status = read_plain(request->text, request->text_length, request->token_ids,
                            request->n_token_ids, &text, &tokens);
    embed.input_case =
        text ? CHOIR__CLIENT__EMBED__INPUT_TEXT : CHOIR__CLIENT__EMBED__INPUT_TOKEN_IDS;
    if (text)
        embed.text = text;
    else
        embed.token_ids = &tokens;
    embed.request_id = request_id;
    embed.pooling = request->is_mean ? CHOIR__CLIENT__POOLING__POOLING_MEAN
                                     : CHOIR__CLIENT__POOLING__POOLING_LAST;
    if (request->is_unnormalized) /* present and false */
        embed.normalize_presence_case = CHOIR__CLIENT__EMBED__NORMALIZE_PRESENCE_NORMALIZE;
    message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_EMBED;
    message.embed = &embed;
    if (status == CHOIR_OK)
        status = choir_queue_start(client->queue, &message, request_id);
    free(text);
    return status;
}

/* ---- their end and their events ---- */

choir_status choir_client_cancel(choir_client *client, const char *request_id)
{
    Choir__Client__Cancel cancel = CHOIR__CLIENT__CANCEL__INIT;
    Choir__Client__ClientMessage message = CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    char *ids[] = {(char *)request_id};
    const choir_queue_state state = choir_queue_look(client->queue, request_id);
    uint64_t seq;
    if (state == CHOIR_QUEUE_NONE)
        return CHOIR_OK; /* it has ended */
    if (state == CHOIR_QUEUE_WAITING)
        return choir_queue_drop(client->queue, request_id);
    cancel.request_ids = ids;
    cancel.n_request_ids = 1;
    cancel.session = choir_session_welcome(client->session)->session;
    message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_CANCEL;
    message.cancel = &cancel;
    /* On control it would overtake a request that the service has not read yet. */
    return choir_session_send(client->session,
                              state == CHOIR_QUEUE_ACCEPTED ? CHOIR_SESSION_CONTROL
                                                            : CHOIR_SESSION_REQUEST,
                              &message, &seq);
}

choir_status choir_client_credit(choir_client *client, const char *request_id, uint32_t n_chunks)
{
    Choir__Client__Credit credit = CHOIR__CLIENT__CREDIT__INIT;
    Choir__Client__ClientMessage message = CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    const choir_queue_state state = choir_queue_look(client->queue, request_id);
    uint64_t seq;
    if (n_chunks == 0)
        return choir_fail(CHOIR_EINVALID, "chunks: must be 1 or more");
    if (state == CHOIR_QUEUE_WAITING)
        return choir_fail(CHOIR_EINVALID, "request_id: its request was not sent yet");
    if (state == CHOIR_QUEUE_NONE)
        return CHOIR_OK; /* it has ended */
    credit.request_id = (char *)request_id;
    credit.chunks = n_chunks;
    message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_CREDIT;
    message.credit = &credit;
    return choir_session_send(client->session, CHOIR_SESSION_REQUEST, &message, &seq);
}

choir_status choir_client_next_event(choir_client *client, int timeout_ms, choir_event *event)
{
    const int64_t start_us = choir_clock_us();
    for (;;) {
        bool has_event;
        Choir__Client__ServerMessage *message;
        choir_status status = choir_queue_take(client->queue, event, &has_event);
        if (status != CHOIR_OK || has_event)
            return status;
        if (choir_queue_is_empty(client->queue))
            return choir_fail(CHOIR_EINTERNAL, "waiting for an event without an open request");
        const int64_t passed_ms = (choir_clock_us() - start_us) / 1000;
        const int left_ms = timeout_ms < 0            ? -1
                            : passed_ms >= timeout_ms ? 0
                                                      : timeout_ms - (int)passed_ms;
        status = choir_queue_send(client->queue);
        if (status == CHOIR_OK)
            status =
                choir_session_receive(client->session, CHOIR_SESSION_REQUEST, left_ms, &message);
        if (status == CHOIR_OK && !message)
            return choir_fail(CHOIR_ETIMEOUT, "no event came in time");
        if (status == CHOIR_OK)
            status = choir_queue_keep(client->queue, &message);
        if (status == CHOIR_EUNAVAILABLE)
            choir_queue_forget(client->queue);
        if (status != CHOIR_OK)
            return status;
    }
}

/* ---- calls that wait for their answer ---- */

/* Sends and waits for the answer of this kind; other messages are kept for next_event. */
static choir_status call(choir_client *client, choir_session_socket where,
                         Choir__Client__ClientMessage *message,
                         Choir__Client__ServerMessage__BodyCase wanted,
                         Choir__Client__ServerMessage **answer)
{
    uint64_t seq;
    const int64_t deadline_us = choir_clock_us() + client->call_timeout_ms * INT64_C(1000);
    choir_status status = choir_session_send(client->session, where, message, &seq);
    *answer = NULL;
    while (status == CHOIR_OK) {
        const int64_t left_us = deadline_us - choir_clock_us();
        if (left_us <= 0)
            return choir_fail(CHOIR_ETIMEOUT, "the service gave no answer in time");
        status = choir_session_receive(client->session, where, (int)(left_us / 1000) + 1, answer);
        if (status != CHOIR_OK || !*answer)
            continue;
        if ((*answer)->seq != seq) {
            status = choir_queue_keep(client->queue, answer);
            continue;
        }
        if ((*answer)->body_case == wanted)
            return CHOIR_OK;
        status = (*answer)->body_case == CHOIR__CLIENT__SERVER_MESSAGE__BODY_ERROR
                     ? choir_session_fail((*answer)->error)
                     : choir_fail(CHOIR_EFORMAT, "the service gave an answer of another kind");
        choir_server_message_destroy(answer);
    }
    if (status == CHOIR_EUNAVAILABLE)
        choir_queue_forget(client->queue);
    return status;
}

choir_status choir_client_tokenize(choir_client *client, const char *text, size_t length,
                                   bool special, int32_t **token_ids, size_t *n_token_ids)
{
    Choir__Client__Tokenize tokenize = CHOIR__CLIENT__TOKENIZE__INIT;
    Choir__Client__ClientMessage message = CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    Choir__Client__ServerMessage *answer = NULL;
    *token_ids = NULL;
    choir_status status = copy_text(text, length, &tokenize.text);
    if (status != CHOIR_OK)
        return status;
    tokenize.special = special;
    message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_TOKENIZE;
    message.tokenize = &tokenize;
    status = call(client, CHOIR_SESSION_REQUEST, &message,
                  CHOIR__CLIENT__SERVER_MESSAGE__BODY_TOKENS, &answer);
    free(tokenize.text);
    if (status != CHOIR_OK)
        return status;
    *n_token_ids = answer->tokens->n_token_ids;
    status = choir_alloc(*n_token_ids, sizeof **token_ids, (void **)token_ids);
    if (status == CHOIR_OK && *n_token_ids > 0)
        memcpy(*token_ids, answer->tokens->token_ids, *n_token_ids * sizeof **token_ids);
    choir_server_message_destroy(&answer);
    return status;
}

choir_status choir_client_detokenize(choir_client *client, const int32_t *token_ids,
                                     size_t n_token_ids, char **text, size_t *length)
{
    Choir__Client__Detokenize detokenize = CHOIR__CLIENT__DETOKENIZE__INIT;
    Choir__Client__ClientMessage message = CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    Choir__Client__ServerMessage *answer = NULL;
    *text = NULL;
    detokenize.token_ids = (int32_t *)token_ids;
    detokenize.n_token_ids = n_token_ids;
    message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_DETOKENIZE;
    message.detokenize = &detokenize;
    choir_status status = call(client, CHOIR_SESSION_REQUEST, &message,
                               CHOIR__CLIENT__SERVER_MESSAGE__BODY_TEXT, &answer);
    if (status != CHOIR_OK)
        return status;
    *length = strlen(answer->text->text);
    status = choir_copy_string(answer->text->text, *length, text);
    choir_server_message_destroy(&answer);
    return status;
}

choir_status choir_client_list_models(choir_client *client, choir_model_info **models,
                                      size_t *n_models)
{
    Choir__Client__ListModels list = CHOIR__CLIENT__LIST_MODELS__INIT;
    Choir__Client__ClientMessage message = CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    Choir__Client__ServerMessage *answer = NULL;
    *models = NULL;
    message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_LIST_MODELS;
    message.list_models = &list;
    choir_status status = call(client, CHOIR_SESSION_CONTROL, &message,
                               CHOIR__CLIENT__SERVER_MESSAGE__BODY_MODELS, &answer);
    if (status != CHOIR_OK)
        return status;
    *n_models = answer->models->n_models;
    status = choir_alloc(*n_models, sizeof **models, (void **)models);
    for (size_t i = 0; status == CHOIR_OK && i < *n_models; i++) {
        const Choir__Client__Model *from = answer->models->models[i];
        choir_model_info *to = &(*models)[i];
        snprintf(to->name, sizeof to->name, "%s", from->name);
        snprintf(to->architecture, sizeof to->architecture, "%s", from->architecture);
        to->max_model_len = from->max_model_len;
        to->vocabulary = from->vocabulary;
        to->has_chat_template = from->has_chat_template;
    }
    choir_server_message_destroy(&answer);
    return status;
}

static const char *state_name(Choir__Client__State state)
{
    switch (state) {
    case CHOIR__CLIENT__STATE__STATE_LAUNCHING:
        return "LAUNCHING";
    case CHOIR__CLIENT__STATE__STATE_READY:
        return "READY";
    case CHOIR__CLIENT__STATE__STATE_DRAINING:
        return "DRAINING";
    case CHOIR__CLIENT__STATE__STATE_FAILED:
        return "FAILED";
    case CHOIR__CLIENT__STATE__STATE_SHUTDOWN:
        return "SHUTDOWN";
    default:
        return "UNKNOWN";
    }
}

static choir_status read_status(const Choir__Client__ClusterStatus *from, choir_service_status *to)
{
    *to = (choir_service_status){
        .uptime_us = from->uptime_us,
        .n_clients = from->n_clients,
        .n_bad_frames = from->n_bad_frames,
        .n_steps = from->n_steps,
        .step_us_p50 = from->step_us_p50,
        .step_us_p99 = from->step_us_p99,
    };
    if (from->load) {
        to->num_running_reqs = from->load->num_running_reqs;
        to->num_waiting_reqs = from->load->num_waiting_reqs;
        to->token_usage = from->load->token_usage;
        to->gen_throughput = from->load->gen_throughput;
        to->cache_hit_rate = from->load->cache_hit_rate;
    }
    if (from->counters)
        choir_engine_counters_read_status(from->counters, &to->counters);
    choir_metrics_read(from, &to->metrics);
    snprintf(to->state, sizeof to->state, "%s", state_name(from->state));
    snprintf(to->model, sizeof to->model, "%s", from->model);
    snprintf(to->version, sizeof to->version, "%s", from->version);
    return choir_engine_report_read_status(from, &to->engine);
}

choir_status choir_client_status(choir_client *client, choir_service_status *status)
{
    Choir__Client__Status question = CHOIR__CLIENT__STATUS__INIT;
    Choir__Client__ClientMessage message = CHOIR__CLIENT__CLIENT_MESSAGE__INIT;
    Choir__Client__ServerMessage *answer = NULL;
    *status = (choir_service_status){0};
    message.body_case = CHOIR__CLIENT__CLIENT_MESSAGE__BODY_STATUS;
    message.status = &question;
    choir_status done = call(client, CHOIR_SESSION_CONTROL, &message,
                             CHOIR__CLIENT__SERVER_MESSAGE__BODY_CLUSTER_STATUS, &answer);
    if (done == CHOIR_OK)
        done = read_status(answer->cluster_status, status);
    choir_server_message_destroy(&answer);
    return done;
}

void choir_service_status_destroy(choir_service_status *status)
{
    choir_engine_report_destroy(&status->engine);
}
