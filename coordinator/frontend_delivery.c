/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/frontend_delivery.h"

#include "common/mem.h"

#include <stdlib.h>

/* A chunk and what it points to. */
typedef struct chunk_parts {
    Choir__Client__Chunk chunk;
    Choir__Client__Finish finish;
    Choir__Client__Usage usage;
    Choir__Client__Timings timings;
} chunk_parts;

static void fill_finish(const choir_request *request, chunk_parts *parts)
{
    const char *matched = choir_answer_matched(request->answer);
    parts->usage = (Choir__Client__Usage)CHOIR__CLIENT__USAGE__INIT;
    parts->usage.prompt = (uint32_t)request->n_prompt;
    parts->usage.completion = (uint32_t)choir_answer_n_tokens(request->answer);
    parts->usage.cached = (uint32_t)request->n_cached;
    parts->timings = request->timings;
    parts->finish = (Choir__Client__Finish)CHOIR__CLIENT__FINISH__INIT;
    parts->finish.reason = request->reason;
    parts->finish.usage = &parts->usage;
    parts->finish.timings = &parts->timings;
    if (matched) {
        parts->finish.matched_stop_case = CHOIR__CLIENT__FINISH__MATCHED_STOP_STR;
        parts->finish.str = (char *)matched;
    } else if (request->has_stop_token) {
        parts->finish.matched_stop_case = CHOIR__CLIENT__FINISH__MATCHED_STOP_TOKEN_ID;
        parts->finish.token_id = request->stop_token;
    }
}

static choir_status fill_chunk(const choir_request *request, chunk_parts *parts)
{
    choir_answer_view view;
    const choir_status status = choir_answer_view_chunk(request->answer, &view);
    if (status != CHOIR_OK)
        return status;
    parts->chunk = (Choir__Client__Chunk)CHOIR__CLIENT__CHUNK__INIT;
    parts->chunk.request_id = (char *)request->request_id;
    parts->chunk.first_token_index = view.first_token_index;
    parts->chunk.token_ids = (int32_t *)view.token_ids;
    parts->chunk.n_token_ids = view.n_token_ids;
    parts->chunk.text = (char *)view.text;
    parts->chunk.logprobs = view.logprobs;
    parts->chunk.n_logprobs = view.n_logprobs;
    if (request->phase == CHOIR_REQUEST_DONE) {
        fill_finish(request, parts);
        parts->chunk.finish = &parts->finish;
    }
    return CHOIR_OK;
}

/* A cancelled Score has no scores to give: it ends like an answer, with a Finish. */
static bool is_complete_score(const choir_request *request)
{
    return request->is_score && request->phase == CHOIR_REQUEST_DONE &&
           request->reason != CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_ABORT;
}

static bool has_chunk(const choir_request *request)
{
    if (request->phase == CHOIR_REQUEST_DONE)
        return !is_complete_score(request);
    return !request->is_score && choir_answer_has_chunk(request->answer);
}

/* The chunks were delivered: forgets them, and the requests that ended with them. */
static void chunks_delivered(choir_requests *requests, choir_peer *peer)
{
    for (choir_request *request = peer->requests, *next; request; request = next) {
        next = request->next;
        if (!has_chunk(request))
            continue;
        if (request->phase == CHOIR_REQUEST_DONE)
            choir_requests_free(requests, request);
        else
            choir_answer_clear_chunk(request->answer);
    }
}

static bool deliver_batch(choir_requests *requests, choir_peer *peer, int64_t now_us)
{
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    Choir__Client__Batch batch = CHOIR__CLIENT__BATCH__INIT;
    chunk_parts *parts = NULL;
    bool is_sent = false;
    choir_status status = choir_alloc(peer->n_requests, sizeof *parts, (void **)&parts);
    if (status == CHOIR_OK)
        status = choir_alloc(peer->n_requests, sizeof *batch.chunks, (void **)&batch.chunks);
    for (choir_request *request = peer->requests; request && status == CHOIR_OK;
         request = request->next) {
        if (!has_chunk(request))
            continue;
        status = fill_chunk(request, &parts[batch.n_chunks]);
        batch.chunks[batch.n_chunks] = &parts[batch.n_chunks].chunk;
        batch.n_chunks++;
    }
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_BATCH;
    message.batch = &batch;
    if (status == CHOIR_OK)
        is_sent =
            batch.n_chunks == 0 || choir_clients_try(requests->clients, peer, &message, now_us);
    free(parts);
    free(batch.chunks);
    if (is_sent)
        chunks_delivered(requests, peer);
    return is_sent;
}

static bool deliver_scores(choir_requests *requests, choir_request *request, int64_t now_us)
{
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    Choir__Client__Scores scores = CHOIR__CLIENT__SCORES__INIT;
    choir_answer_view view;
    chunk_parts parts;
    if (choir_answer_view_chunk(request->answer, &view) != CHOIR_OK)
        return false;
    fill_finish(request, &parts);
    parts.usage.completion = 0;
    scores.request_id = request->request_id;
    scores.tokens = view.logprobs;
    scores.n_tokens = view.n_logprobs;
    scores.usage = &parts.usage;
    scores.timings = &parts.timings;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_SCORES;
    message.scores = &scores;
    if (!choir_clients_try(requests->clients, request->peer, &message, now_us))
        return false;
    choir_requests_free(requests, request);
    return true;
}

bool choir_frontend_deliver(choir_requests *requests, choir_peer *peer, int64_t now_us)
{
    bool is_all_sent = deliver_batch(requests, peer, now_us);
    for (choir_request *request = peer->requests, *next; request && is_all_sent; request = next) {
        next = request->next;
        if (is_complete_score(request))
            is_all_sent = deliver_scores(requests, request, now_us);
    }
    peer->has_news = !is_all_sent;
    return is_all_sent;
}
