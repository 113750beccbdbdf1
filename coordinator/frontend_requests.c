/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/frontend_requests.h"

#include "common/log.h"
#include "common/mem.h"
#include "coordinator/frontend_delivery.h"
#include "coordinator/frontend_metrics.h"

#include <string.h>

enum { ABORT_CONFIRM_US = 5000000 };

void choir_requests_send_abort(choir_requests *requests, const choir_choice *choice)
{
    Choir__Engine__Abort what = CHOIR__ENGINE__ABORT__INIT;
    Choir__Engine__ToEngine message = CHOIR__ENGINE__TO_ENGINE__INIT;
    what.id = choice->id;
    message.body_case = CHOIR__ENGINE__TO_ENGINE__BODY_ABORT;
    message.abort = &what;
    if (choir_engine_link_send_request(requests->link, &message) != CHOIR_OK)
        choir_log(CHOIR_LOG_WARNING, "an abort did not reach the engine: %s", choir_error());
}

/* Has the engine stop it; the rest follows when the engine confirms. */
static void abort_choice(choir_requests *requests, choir_choice *choice, int64_t now_us)
{
    if (!choice->answer || choice->phase != CHOIR_REQUEST_RUNNING)
        return;
    choice->phase = CHOIR_REQUEST_ENDING;
    choice->ending_us = now_us;
    choir_requests_send_abort(requests, choice);
}

static void set_reason(choir_choice *choice, Choir__Engine__FinishReason finish_reason)
{
    if (choir_answer_matched(choice->answer)) {
        choice->reason = CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_STOP;
        choice->has_stop_token = false;
        return;
    }
    if (choice->reason != CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_UNSPECIFIED)
        return;
    switch (finish_reason) {
    case CHOIR__ENGINE__FINISH_REASON__FINISH_STOP:
        choice->reason = CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_STOP;
        break;
    case CHOIR__ENGINE__FINISH_REASON__FINISH_LENGTH:
        choice->reason = CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_LENGTH;
        break;
    case CHOIR__ENGINE__FINISH_REASON__FINISH_ABORT:
    case CHOIR__ENGINE__FINISH_REASON__FINISH_ERROR:
        choice->reason = CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_ABORT;
        break;
    default:
        break;
    }
}

static void finish(choir_requests *requests, choir_choice *choice, int64_t now_us)
{
    const choir_request *request = choice->request;
    choir_frontend_metrics_end(&requests->metrics, choice,
                               choir_frontend_end_reason(choice->reason), now_us);
    if (!request->peer) {
        choir_requests_free(requests, choice);
        return;
    }
    if (request->kind == CHOIR_REQUEST_SCORE &&
        choice->reason == CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_ABORT)
        choir_answer_clear_chunk(choice->answer);
    choice->phase = CHOIR_REQUEST_DONE;
    choice->ending_us = now_us;
    request->peer->has_news = true;
}

/*
 * The peer hears of the request's end no more, and the engine is to stop what it still runs of it.
 * What is done is freed.
 */
static void detach(choir_requests *requests, choir_request *request, int64_t now_us)
{
    choir_requests_take_from_peer(request);
    for (size_t i = 0; i < request->n_choices; i++) {
        choir_choice *choice = &request->choices[i];
        abort_choice(requests, choice, now_us);
        if (!choice->answer)
            continue;
        if (choice->phase == CHOIR_REQUEST_DONE) {
            choir_requests_drop_choice(requests, choice);
            continue;
        }
        choir_answer_clear_chunk(choice->answer);
        choir_answer_destroy(&choice->prompt);
    }
    choir_requests_free_if_empty(requests, request);
}

/* Its request ends with an error: tells the client, after what there was of it before. */
static void tell_failure(choir_requests *requests, choir_request *request, choir_error_kind kind,
                         const char *words, uint32_t retry_after_ms, int64_t now_us)
{
    choir_error_text text;
    choir_frontend_metrics_fail(&requests->metrics, request, now_us);
    if (!request->peer)
        return;
    choir_frontend_deliver(requests, request->peer, now_us);
    choir_error_fill(&text, kind, request->request_id, "", words);
    if (retry_after_ms)
        text.error.retry_after_ms = retry_after_ms;
    choir_clients_send_error(requests->clients, request->peer, 0, &text, now_us);
}

/* The engine gave up a choice, and with it the request ends. */
static void fail(choir_requests *requests, choir_choice *choice, choir_error_kind kind,
                 const char *words, uint32_t retry_after_ms, int64_t now_us)
{
    tell_failure(requests, choice->request, kind, words, retry_after_ms, now_us);
    choice->phase = CHOIR_REQUEST_DONE;
    detach(requests, choice->request, now_us);
}

/* The engine's own failures are told in its words, the others are known here. */
static void fail_by_engine(choir_requests *requests, choir_choice *choice,
                           const Choir__Engine__Output *output, int64_t now_us)
{
    switch (output->error_status) {
    case CHOIR_ETIMEOUT:
        fail(requests, choice, CHOIR_ERROR_TIMEOUT, "", 0, now_us);
        break;
    case CHOIR_EUNAVAILABLE:
        fail(requests, choice, CHOIR_ERROR_BUSY, "", output->retry_after_ms, now_us);
        break;
    case CHOIR_EINVALID:
        fail(requests, choice, CHOIR_ERROR_REFUSED, output->error, 0, now_us);
        break;
    case CHOIR_ENOMEM:
        fail(requests, choice, CHOIR_ERROR_MEMORY, "", 0, now_us);
        break;
    default:
        fail(requests, choice, CHOIR_ERROR_ENGINE_REQUEST, output->error, 0, now_us);
    }
}

/* Its client hears of its end at once, its slots stay until the engine confirms. */
static void fail_early(choir_requests *requests, choir_request *request, choir_error_kind kind,
                       int64_t now_us)
{
    choir_frontend_metrics_fail(&requests->metrics, request, now_us);
    if (request->peer)
        choir_clients_refuse(requests->clients, request->peer, 0, kind, request->request_id, "", "",
                             now_us);
    detach(requests, request, now_us);
}

void choir_requests_cancel(choir_requests *requests, choir_peer *peer, const char *request_id,
                           int64_t now_us)
{
    choir_request *request = choir_requests_find(peer, request_id);
    if (request) {
        request->has_credit = false; /* its end waits for nothing */
        peer->has_news = true;
    }
    for (size_t i = 0; request && i < request->n_choices; i++) {
        choir_choice *choice = &request->choices[i];
        if (!choice->answer || choice->phase != CHOIR_REQUEST_RUNNING)
            continue;
        choice->reason = CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_ABORT;
        if (choir_answer_end(choice->answer) != CHOIR_OK) {
            fail_early(requests, request, CHOIR_ERROR_MEMORY, now_us);
            return;
        }
        abort_choice(requests, choice, now_us);
    }
}

void choir_requests_add_credit(choir_peer *peer, const char *request_id, uint32_t n_chunks)
{
    choir_request *request = choir_requests_find(peer, request_id);
    if (!request || !request->has_credit)
        return;
    request->credit =
        request->credit < UINT64_MAX - n_chunks ? request->credit + n_chunks : UINT64_MAX;
    peer->has_news = true;
}

void choir_requests_abandon(choir_requests *requests, choir_peer *peer, int64_t now_us)
{
    while (peer->requests)
        detach(requests, peer->requests, now_us);
}

void choir_requests_fail_all(choir_requests *requests, choir_error_kind kind, const char *words,
                             int64_t now_us)
{
    for (size_t i = 0; i < requests->setup->max_requests; i++) {
        choir_choice *choice = requests->slots[i];
        if (!choice || choice->phase == CHOIR_REQUEST_DONE)
            continue;
        tell_failure(requests, choice->request, kind, words, 0, now_us);
        choir_requests_free_all(requests, choice->request);
    }
}

void choir_requests_check_ending(choir_requests *requests, int64_t now_us)
{
    for (size_t i = 0; i < requests->setup->max_requests; i++) {
        choir_choice *choice = requests->slots[i];
        const int64_t waited_us = choice ? now_us - choice->ending_us : 0;
        if (choice && choice->phase == CHOIR_REQUEST_ENDING && waited_us > ABORT_CONFIRM_US) {
            set_reason(choice, CHOIR__ENGINE__FINISH_REASON__FINISH_ABORT);
            finish(requests, choice, now_us);
        } else if (choice && choice->phase == CHOIR_REQUEST_DONE &&
                   waited_us > requests->setup->credit_wait_us && choice->request->has_credit &&
                   choice->request->credit == 0) {
            fail_early(requests, choice->request, CHOIR_ERROR_SLOW_CLIENT, now_us);
        }
    }
}

/* ---- the middle ---- */

static choir_status take_prompt(choir_choice *choice, const Choir__Engine__Output *output)
{
    choir_status status = CHOIR_OK;
    for (size_t i = 0; choice->prompt && i < output->n_tokens && status == CHOIR_OK; i++)
        status = choir_answer_add(choice->prompt, output->tokens[i], false);
    return status;
}

static choir_status take_embedding(choir_choice *choice, const Choir__Engine__Output *output)
{
    const choir_status status =
        choir_alloc(output->n_embedding, sizeof *choice->embedding, (void **)&choice->embedding);
    if (status != CHOIR_OK)
        return status;
    memcpy(choice->embedding, output->embedding, output->n_embedding * sizeof *output->embedding);
    choice->n_embedding = output->n_embedding;
    return CHOIR_OK;
}

/* Takes the tokens of an output, up to a stop string. */
static choir_status take_tokens(choir_requests *requests, choir_choice *choice,
                                const Choir__Engine__Output *output)
{
    choir_status status = CHOIR_OK;
    const bool ends_with_stop = output->finish == CHOIR__ENGINE__FINISH_REASON__FINISH_STOP;
    for (size_t i = 0; i < output->n_tokens && status == CHOIR_OK; i++) {
        const bool is_end = ends_with_stop && i + 1 == output->n_tokens;
        if (choir_answer_matched(choice->answer))
            break;
        status = choir_answer_add(choice->answer, output->tokens[i], is_end);
        requests->n_generated_tokens +=
            status == CHOIR_OK && choice->request->kind == CHOIR_REQUEST_GENERATE;
        if (is_end) {
            choice->has_stop_token = true;
            choice->stop_token = output->tokens[i]->token_id;
        }
    }
    if (status == CHOIR_OK && output->finish != CHOIR__ENGINE__FINISH_REASON__FINISH_UNSPECIFIED)
        status = choir_answer_end(choice->answer);
    return status;
}

static void take_finish(choir_requests *requests, choir_choice *choice,
                        const Choir__Engine__Output *output, int64_t now_us)
{
    set_reason(choice, output->finish);
    choice->n_cached = output->n_cached;
    if (output->timings) {
        choir_frontend_metrics_timings(&requests->metrics, choice, output->timings);
        choice->timings.queue_us = output->timings->queue_us;
        choice->timings.prefill_us = output->timings->prefill_us;
        choice->timings.decode_us = output->timings->decode_us;
        choice->timings.ttft_us = output->timings->ttft_us;
    }
    finish(requests, choice, now_us);
}

/* Of streamed answers; what has to be whole before it is sent was counted when it was asked for. */
static size_t waiting_bytes(const choir_request *request)
{
    size_t bytes = 0;
    if (request->kind != CHOIR_REQUEST_GENERATE || !request->is_streamed)
        return 0;
    for (size_t i = 0; i < request->n_choices; i++)
        if (request->choices[i].answer)
            bytes += choir_answer_bytes(request->choices[i].answer);
    return bytes;
}

/* Ends requests of a client that does not take what waits, those with the most first. */
static void bound_waiting(choir_requests *requests, choir_peer *peer, int64_t now_us)
{
    for (bool has_tried = false;;) {
        choir_request *largest = NULL;
        size_t bytes = 0;
        for (choir_request *request = peer->requests; request; request = request->next) {
            bytes += waiting_bytes(request);
            if (!largest || waiting_bytes(request) > waiting_bytes(largest))
                largest = request;
        }
        if (bytes <= CHOIR_PEER_WAITING_MAX)
            return;
        if (has_tried)
            fail_early(requests, largest, CHOIR_ERROR_SLOW_CLIENT, now_us);
        else
            choir_frontend_deliver(requests, peer, now_us);
        has_tried = true;
    }
}

void choir_requests_take_output(choir_requests *requests, const Choir__Engine__Output *output,
                                int64_t now_us)
{
    choir_choice *choice = choir_requests_find_engine_id(requests, output->id);
    if (!choice || choice->phase == CHOIR_REQUEST_DONE)
        return;
    choir_request *request = choice->request;
    /* Of an answer that is complete already the engine's failure is only the end that is awaited.
     */
    if (output->finish == CHOIR__ENGINE__FINISH_REASON__FINISH_ERROR &&
        (choice->phase == CHOIR_REQUEST_RUNNING || !request->peer)) {
        fail_by_engine(requests, choice, output, now_us);
        return;
    }
    choir_status status = CHOIR_OK;
    if (output->n_tokens > 0 && !output->is_prompt)
        choir_frontend_metrics_output(&requests->metrics, choice, now_us);
    if (request->peer && choice->phase == CHOIR_REQUEST_RUNNING)
        status = output->n_embedding > 0 ? take_embedding(choice, output)
                 : output->is_prompt     ? take_prompt(choice, output)
                                         : take_tokens(requests, choice, output);
    if (status != CHOIR_OK) {
        if (output->finish != CHOIR__ENGINE__FINISH_REASON__FINISH_UNSPECIFIED)
            choice->phase = CHOIR_REQUEST_DONE; /* the engine will not confirm its end */
        fail_early(requests, request,
                   status == CHOIR_ENOMEM ? CHOIR_ERROR_MEMORY : CHOIR_ERROR_INTERNAL, now_us);
        return;
    }
    if (request->peer)
        request->peer->has_news = true;
    if (output->finish != CHOIR__ENGINE__FINISH_REASON__FINISH_UNSPECIFIED) {
        take_finish(requests, choice, output, now_us);
        return;
    }
    if (choir_answer_matched(choice->answer))
        abort_choice(requests, choice, now_us);
    if (request->peer)
        bound_waiting(requests, request->peer, now_us);
}
