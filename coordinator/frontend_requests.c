/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/frontend_requests.h"

#include "common/log.h"
#include "common/mem.h"
#include "coordinator/frontend_delivery.h"
#include "coordinator/prompt.h"
#include "coordinator/request_rules.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { ABORT_CONFIRM_US = 5000000 };

choir_status choir_requests_open(choir_requests *requests)
{
    assert(requests->setup->max_requests <= CHOIR_REQUEST_SLOTS_MAX);
    return choir_alloc(requests->setup->max_requests, sizeof *requests->slots,
                       (void **)&requests->slots);
}

/* ---- the table ---- */

static void take_from_peer(choir_request *request)
{
    choir_peer *peer = request->peer;
    if (!peer)
        return;
    if (request->previous)
        request->previous->next = request->next;
    else
        peer->requests = request->next;
    if (request->next)
        request->next->previous = request->previous;
    peer->n_requests--;
    peer->n_score_entries -= request->n_score_entries;
    request->peer = NULL;
}

static void give_to_peer(choir_request *request, choir_peer *peer)
{
    request->peer = peer;
    request->next = peer->requests;
    request->previous = NULL;
    if (request->next)
        request->next->previous = request;
    peer->requests = request;
    peer->n_requests++;
    peer->n_score_entries += request->n_score_entries;
}

void choir_requests_free(choir_requests *requests, choir_request *request)
{
    take_from_peer(request);
    requests->slots[request->id % CHOIR_REQUEST_SLOTS_MAX] = NULL;
    requests->n_open--;
    requests->n_finished++;
    choir_answer_destroy(&request->answer);
    free(request);
}

void choir_requests_close(choir_requests *requests)
{
    for (size_t i = 0; requests->slots && i < requests->setup->max_requests; i++)
        if (requests->slots[i])
            choir_requests_free(requests, requests->slots[i]);
    free(requests->slots);
    requests->slots = NULL;
}

static choir_request *find_engine_id(const choir_requests *requests, uint64_t id)
{
    const size_t slot = id % CHOIR_REQUEST_SLOTS_MAX;
    choir_request *request = slot < requests->setup->max_requests ? requests->slots[slot] : NULL;
    return request && request->id == id ? request : NULL;
}

static choir_request *find_request_id(const choir_peer *peer, const char *request_id)
{
    for (choir_request *request = peer->requests; request; request = request->next)
        if (strcmp(request->request_id, request_id) == 0)
            return request;
    return NULL;
}

/* ---- the beginning ---- */

static void tell_error(choir_requests *requests, choir_peer *peer, uint64_t seq,
                       choir_error_kind kind, const char *request_id, const char *param,
                       const char *words, int64_t now_us)
{
    choir_error_text text;
    choir_error_fill(&text, kind, request_id, param, words);
    choir_clients_send_error(requests->clients, peer, seq, &text, now_us);
}

static choir_error_kind check_room(const choir_requests *requests, const choir_peer *peer,
                                   const char *request_id, const char **param)
{
    if (find_request_id(peer, request_id)) {
        *param = "request_id";
        return CHOIR_ERROR_DUPLICATE;
    }
    *param = "";
    if (peer->n_requests >= requests->setup->max_requests_per_client)
        return CHOIR_ERROR_CLIENT_BUSY;
    return requests->n_open >= requests->setup->max_requests ? CHOIR_ERROR_BUSY : CHOIR_ERROR_NONE;
}

/* A request in a free slot; there is one. NULL: no memory. */
static choir_request *add_request(choir_requests *requests, choir_peer *peer,
                                  const char *request_id, const choir_answer_options *options,
                                  size_t n_score_entries)
{
    choir_request *request;
    size_t slot = 0;
    if (choir_alloc(1, sizeof *request, (void **)&request) != CHOIR_OK)
        return NULL;
    if (choir_answer_create(options, &request->answer) != CHOIR_OK) {
        free(request);
        return NULL;
    }
    while (requests->slots[slot])
        slot++;
    request->id = ++requests->n_submitted * CHOIR_REQUEST_SLOTS_MAX + slot;
    request->is_score = !options->has_text;
    request->n_score_entries = n_score_entries;
    request->timings = (Choir__Client__Timings)CHOIR__CLIENT__TIMINGS__INIT;
    snprintf(request->request_id, sizeof request->request_id, "%s", request_id);
    requests->slots[slot] = request;
    requests->n_open++;
    give_to_peer(request, peer);
    return request;
}

static void tell_accepted(choir_requests *requests, const choir_request *request, uint64_t seq,
                          uint64_t seed, int64_t now_us)
{
    Choir__Client__Accepted accepted = CHOIR__CLIENT__ACCEPTED__INIT;
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    accepted.request_id = (char *)request->request_id;
    accepted.queue_position = (uint32_t)(requests->n_open - 1);
    accepted.prompt_tokens = (uint32_t)request->n_prompt;
    accepted.seed = seed;
    message.seq = seq;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_ACCEPTED;
    message.accepted = &accepted;
    choir_clients_send(requests->clients, request->peer, &message, now_us);
}

/* Hands the request to the engine; frees it and tells the client if that fails. */
static void submit(choir_requests *requests, choir_request *request, uint64_t seq,
                   Choir__Engine__Submit *what, int64_t now_us)
{
    Choir__Engine__ToEngine message = CHOIR__ENGINE__TO_ENGINE__INIT;
    what->id = request->id;
    what->user_id = request->peer->number;
    message.body_case = CHOIR__ENGINE__TO_ENGINE__BODY_SUBMIT;
    message.submit = what;
    request->n_prompt = what->n_token_ids;
    if (choir_engine_link_send_request(requests->link, &message) == CHOIR_OK) {
        requests->n_prompt_tokens += request->n_prompt;
        tell_accepted(requests, request, seq, what->sampling ? what->sampling->seed : 0, now_us);
        return;
    }
    tell_error(requests, request->peer, seq, CHOIR_ERROR_LOST, request->request_id, "", "", now_us);
    choir_requests_free(requests, request);
}

static void start_generate(choir_requests *requests, choir_peer *peer, uint64_t seq,
                           const Choir__Client__Generate *generate, int32_t *ids, size_t n_ids,
                           uint32_t max_model_len, int64_t now_us)
{
    const Choir__Client__SamplingParams *params = generate->sampling;
    const Choir__Client__OutputOptions *output = generate->output;
    const choir_answer_options options = {
        .tokenizer = requests->setup->tokenizer,
        .has_text = true,
        .keeps_control =
            output && output->skip_special_tokens_presence_case && !output->skip_special_tokens,
        .has_token_ids = output && output->return_token_ids,
        .has_logprobs = output && output->logprobs_presence_case,
        .stop = params ? (const char *const *)params->stop : NULL,
        .n_stop = params ? params->n_stop : 0,
        .has_stop_string = params && params->include_stop_str_in_output,
    };
    choir_request_rules rules = {0};
    Choir__Engine__Sampling sampling;
    Choir__Engine__Submit what = CHOIR__ENGINE__SUBMIT__INIT;
    uint64_t seed;
    choir_request *request = NULL;
    if (getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed &&
        choir_request_rules_fill(&rules, params, requests->setup->tokenizer, &what) == CHOIR_OK)
        request = add_request(requests, peer, generate->request_id, &options, 0);
    if (request) {
        /* 53 bits: a seed that is told can be given back through any JSON and `--seed`. */
        choir_request_sampling(params, seed >> 11, &sampling);
        what.token_ids = ids;
        what.n_token_ids = n_ids;
        what.sampling = &sampling;
        what.max_tokens = choir_request_max_tokens(params, max_model_len - (uint32_t)n_ids);
        what.wants_logprobs = options.has_logprobs;
        what.n_top = options.has_logprobs ? (uint32_t)output->logprobs : 0;
        what.priority = generate->priority;
        what.timeout_us = generate->timeout_ms * 1000;
        what.cache_salt.data = (uint8_t *)generate->cache_salt;
        what.cache_salt.len = strlen(generate->cache_salt);
        submit(requests, request, seq, &what, now_us);
    } else {
        tell_error(requests, peer, seq, CHOIR_ERROR_MEMORY, generate->request_id, "", "", now_us);
    }
    choir_request_rules_release(&rules);
}

/* A text that cannot fit is refused before its tokens are made, unless most of them may be cut. */
static size_t max_text_bytes(const choir_requests *requests,
                             const Choir__Client__Generate *generate, uint32_t max_model_len)
{
    if (generate->sampling && generate->sampling->truncate_prompt_tokens_presence_case)
        return CHOIR_INPUT_BYTES_MAX;
    return choir_request_max_bytes(&requests->setup->limits, max_model_len);
}

/* The last tokens of a prompt are kept where the request says how many. */
static size_t truncate(const Choir__Client__SamplingParams *params, int32_t *ids, size_t n_ids)
{
    const bool is_cut = params && params->truncate_prompt_tokens_presence_case &&
                        (uint64_t)params->truncate_prompt_tokens < n_ids;
    const size_t n_kept = is_cut ? (size_t)params->truncate_prompt_tokens : n_ids;
    if (is_cut)
        memmove(ids, ids + n_ids - n_kept, n_kept * sizeof *ids);
    return n_kept;
}

void choir_requests_generate(choir_requests *requests, choir_peer *peer, uint64_t seq,
                             const Choir__Client__Generate *generate, uint32_t max_model_len,
                             int64_t now_us)
{
    const choir_frontend_setup *setup = requests->setup;
    const char *param = "";
    int32_t *ids = NULL;
    size_t n_ids = 0;
    choir_error_kind kind = choir_request_check_generate(generate, &setup->limits, &param);
    if (kind == CHOIR_ERROR_NONE)
        kind = check_room(requests, peer, generate->request_id, &param);
    if (kind == CHOIR_ERROR_NONE)
        kind = choir_prompt_of_generate(generate, setup->tokenizer, setup->chat_template,
                                        max_text_bytes(requests, generate, max_model_len), &ids,
                                        &n_ids, &param);
    if (kind == CHOIR_ERROR_NONE)
        n_ids = truncate(generate->sampling, ids, n_ids);
    if (kind == CHOIR_ERROR_NONE)
        kind = choir_request_check_length(n_ids, 1, max_model_len);
    if (kind == CHOIR_ERROR_NONE)
        start_generate(requests, peer, seq, generate, ids, n_ids, max_model_len, now_us);
    else
        tell_error(requests, peer, seq, kind, generate->request_id, param, "", now_us);
    free(ids);
}

static void start_score(choir_requests *requests, choir_peer *peer, uint64_t seq,
                        const Choir__Client__Score *score, int32_t *ids, size_t n_ids,
                        int64_t now_us)
{
    const choir_answer_options options = {.tokenizer = requests->setup->tokenizer,
                                          .has_logprobs = true};
    Choir__Engine__Submit what = CHOIR__ENGINE__SUBMIT__INIT;
    choir_request *request =
        add_request(requests, peer, score->request_id, &options, n_ids * (1 + (size_t)score->top));
    if (!request) {
        tell_error(requests, peer, seq, CHOIR_ERROR_MEMORY, score->request_id, "", "", now_us);
        return;
    }
    what.token_ids = ids;
    what.n_token_ids = n_ids;
    what.wants_logprobs = true;
    what.n_top = (uint32_t)score->top;
    what.is_score = true;
    submit(requests, request, seq, &what, now_us);
}

/* All Scores of one client that are open may have four times as many entries as one. */
static choir_error_kind check_score_size(const choir_peer *peer, size_t n_ids, int64_t top,
                                         const char **param)
{
    const size_t n_entries = n_ids * (1 + (size_t)top);
    *param = n_entries > CHOIR_SCORE_ENTRIES_MAX ? "top" : "";
    if (n_entries > CHOIR_SCORE_ENTRIES_MAX)
        return CHOIR_ERROR_SCORE_SIZE;
    return peer->n_score_entries + n_entries > 4 * (size_t)CHOIR_SCORE_ENTRIES_MAX
               ? CHOIR_ERROR_CLIENT_BUSY
               : CHOIR_ERROR_NONE;
}

void choir_requests_score(choir_requests *requests, choir_peer *peer, uint64_t seq,
                          const Choir__Client__Score *score, uint32_t max_model_len, int64_t now_us)
{
    const choir_frontend_setup *setup = requests->setup;
    const char *param = "";
    int32_t *ids = NULL;
    size_t n_ids = 0;
    choir_error_kind kind = choir_request_check_score(score, &setup->limits, &param);
    if (kind == CHOIR_ERROR_NONE)
        kind = check_room(requests, peer, score->request_id, &param);
    if (kind == CHOIR_ERROR_NONE)
        kind = choir_prompt_of_score(score, setup->tokenizer,
                                     choir_request_max_bytes(&setup->limits, max_model_len), &ids,
                                     &n_ids, &param);
    if (kind == CHOIR_ERROR_NONE)
        kind = choir_request_check_length(n_ids, 0, max_model_len);
    if (kind == CHOIR_ERROR_NONE)
        kind = check_score_size(peer, n_ids, score->top, &param);
    if (kind == CHOIR_ERROR_NONE)
        start_score(requests, peer, seq, score, ids, n_ids, now_us);
    else
        tell_error(requests, peer, seq, kind, score->request_id, param, "", now_us);
    free(ids);
}

/* ---- the end ---- */

/* Has the engine stop it; the rest follows when the engine confirms. */
static void abort_request(choir_requests *requests, choir_request *request, int64_t now_us)
{
    Choir__Engine__Abort what = CHOIR__ENGINE__ABORT__INIT;
    Choir__Engine__ToEngine message = CHOIR__ENGINE__TO_ENGINE__INIT;
    if (request->phase != CHOIR_REQUEST_RUNNING)
        return;
    request->phase = CHOIR_REQUEST_ENDING;
    request->ending_us = now_us;
    what.id = request->id;
    message.body_case = CHOIR__ENGINE__TO_ENGINE__BODY_ABORT;
    message.abort = &what;
    if (choir_engine_link_send_request(requests->link, &message) != CHOIR_OK)
        choir_log(CHOIR_LOG_WARNING, "an abort did not reach the engine: %s", choir_error());
}

static void set_reason(choir_request *request, Choir__Engine__FinishReason finish_reason)
{
    if (choir_answer_matched(request->answer)) {
        request->reason = CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_STOP;
        request->has_stop_token = false;
        return;
    }
    if (request->reason != CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_UNSPECIFIED)
        return;
    switch (finish_reason) {
    case CHOIR__ENGINE__FINISH_REASON__FINISH_STOP:
        request->reason = CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_STOP;
        break;
    case CHOIR__ENGINE__FINISH_REASON__FINISH_LENGTH:
        request->reason = CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_LENGTH;
        break;
    case CHOIR__ENGINE__FINISH_REASON__FINISH_ABORT:
        request->reason = CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_ABORT;
        break;
    default:
        break;
    }
}

static void finish(choir_requests *requests, choir_request *request)
{
    if (!request->peer) {
        choir_requests_free(requests, request);
        return;
    }
    if (request->is_score && request->reason == CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_ABORT)
        choir_answer_clear_chunk(request->answer);
    request->phase = CHOIR_REQUEST_DONE;
    request->peer->has_news = true;
}

/* Ends a request with an error instead of a finish, after the tokens that came before it. */
static void fail(choir_requests *requests, choir_request *request, choir_error_kind kind,
                 const char *words, uint32_t retry_after_ms, int64_t now_us)
{
    choir_error_text text;
    if (request->peer)
        choir_frontend_deliver(requests, request->peer, now_us);
    choir_error_fill(&text, kind, request->request_id, "", words);
    if (retry_after_ms)
        text.error.retry_after_ms = retry_after_ms;
    if (request->peer)
        choir_clients_send_error(requests->clients, request->peer, 0, &text, now_us);
    choir_requests_free(requests, request);
}

/* The engine's own failures are told in its words, the others are known here. */
static void fail_by_engine(choir_requests *requests, choir_request *request,
                           const Choir__Engine__Output *output, int64_t now_us)
{
    switch (output->error_status) {
    case CHOIR_ETIMEOUT:
        fail(requests, request, CHOIR_ERROR_TIMEOUT, "", 0, now_us);
        break;
    case CHOIR_EUNAVAILABLE:
        fail(requests, request, CHOIR_ERROR_BUSY, "", output->retry_after_ms, now_us);
        break;
    case CHOIR_EINVALID:
        fail(requests, request, CHOIR_ERROR_REFUSED, output->error, 0, now_us);
        break;
    case CHOIR_ENOMEM:
        fail(requests, request, CHOIR_ERROR_MEMORY, "", 0, now_us);
        break;
    default:
        fail(requests, request, CHOIR_ERROR_ENGINE_REQUEST, output->error, 0, now_us);
    }
}

/* Its client hears of its end at once, its slot stays until the engine confirms. */
static void fail_early(choir_requests *requests, choir_request *request, choir_error_kind kind,
                       int64_t now_us)
{
    abort_request(requests, request, now_us);
    if (request->peer)
        tell_error(requests, request->peer, 0, kind, request->request_id, "", "", now_us);
    take_from_peer(request);
    choir_answer_clear_chunk(request->answer);
}

void choir_requests_cancel(choir_requests *requests, choir_peer *peer, const char *request_id,
                           int64_t now_us)
{
    choir_request *request = find_request_id(peer, request_id);
    if (!request || request->phase != CHOIR_REQUEST_RUNNING)
        return;
    request->reason = CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_ABORT;
    if (choir_answer_end(request->answer) == CHOIR_OK)
        abort_request(requests, request, now_us);
    else
        fail_early(requests, request, CHOIR_ERROR_MEMORY, now_us);
}

void choir_requests_abandon(choir_requests *requests, choir_peer *peer, int64_t now_us)
{
    while (peer->requests) {
        choir_request *request = peer->requests;
        abort_request(requests, request, now_us);
        take_from_peer(request);
        if (request->phase == CHOIR_REQUEST_DONE)
            choir_requests_free(requests, request);
    }
}

void choir_requests_fail_all(choir_requests *requests, choir_error_kind kind, const char *words,
                             int64_t now_us)
{
    for (size_t i = 0; i < requests->setup->max_requests; i++) {
        choir_request *request = requests->slots[i];
        if (request && request->phase != CHOIR_REQUEST_DONE)
            fail(requests, request, kind, words, 0, now_us);
    }
}

void choir_requests_check_ending(choir_requests *requests, int64_t now_us)
{
    for (size_t i = 0; i < requests->setup->max_requests; i++) {
        choir_request *request = requests->slots[i];
        if (request && request->phase == CHOIR_REQUEST_ENDING &&
            now_us - request->ending_us > ABORT_CONFIRM_US) {
            set_reason(request, CHOIR__ENGINE__FINISH_REASON__FINISH_ABORT);
            finish(requests, request);
        }
    }
}

/* ---- the middle ---- */

/* Takes the tokens of an output, up to a stop string. */
static choir_status take_tokens(choir_requests *requests, choir_request *request,
                                const Choir__Engine__Output *output)
{
    choir_status status = CHOIR_OK;
    const bool ends_with_stop = output->finish == CHOIR__ENGINE__FINISH_REASON__FINISH_STOP;
    for (size_t i = 0; i < output->n_tokens && status == CHOIR_OK; i++) {
        const bool is_end = ends_with_stop && i + 1 == output->n_tokens;
        if (choir_answer_matched(request->answer))
            break;
        status = choir_answer_add(request->answer, output->tokens[i], is_end);
        requests->n_generated_tokens += status == CHOIR_OK && !request->is_score;
        if (is_end) {
            request->has_stop_token = true;
            request->stop_token = output->tokens[i]->token_id;
        }
    }
    if (status == CHOIR_OK && output->finish != CHOIR__ENGINE__FINISH_REASON__FINISH_UNSPECIFIED)
        status = choir_answer_end(request->answer);
    return status;
}

static void take_finish(choir_requests *requests, choir_request *request,
                        const Choir__Engine__Output *output)
{
    set_reason(request, output->finish);
    request->n_cached = output->n_cached;
    if (output->timings) {
        request->timings.queue_us = output->timings->queue_us;
        request->timings.prefill_us = output->timings->prefill_us;
        request->timings.decode_us = output->timings->decode_us;
        request->timings.ttft_us = output->timings->ttft_us;
    }
    finish(requests, request);
}

static size_t waiting_bytes(const choir_peer *peer)
{
    size_t bytes = 0;
    for (const choir_request *request = peer->requests; request; request = request->next)
        if (!request->is_score)
            bytes += choir_answer_bytes(request->answer);
    return bytes;
}

void choir_requests_take_output(choir_requests *requests, const Choir__Engine__Output *output,
                                int64_t now_us)
{
    choir_request *request = find_engine_id(requests, output->id);
    if (!request || request->phase == CHOIR_REQUEST_DONE)
        return;
    if (output->finish == CHOIR__ENGINE__FINISH_REASON__FINISH_ERROR) {
        fail_by_engine(requests, request, output, now_us);
        return;
    }
    if (request->peer && request->phase == CHOIR_REQUEST_RUNNING &&
        take_tokens(requests, request, output) != CHOIR_OK) {
        fail_early(requests, request, CHOIR_ERROR_INTERNAL, now_us);
        return;
    }
    if (request->peer)
        request->peer->has_news = true;
    if (output->finish != CHOIR__ENGINE__FINISH_REASON__FINISH_UNSPECIFIED) {
        take_finish(requests, request, output);
        return;
    }
    if (choir_answer_matched(request->answer))
        abort_request(requests, request, now_us);
    if (request->peer && waiting_bytes(request->peer) > CHOIR_PEER_WAITING_MAX)
        fail_early(requests, request, CHOIR_ERROR_SLOW_CLIENT, now_us);
}
