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

static void fill_finish(const choir_choice *choice, chunk_parts *parts)
{
    const char *matched = choir_answer_matched(choice->answer);
    parts->usage = (Choir__Client__Usage)CHOIR__CLIENT__USAGE__INIT;
    parts->usage.prompt = (uint32_t)choice->request->n_prompt;
    parts->usage.completion = (uint32_t)choir_answer_n_tokens(choice->answer);
    parts->usage.cached = (uint32_t)choice->n_cached;
    parts->timings = choice->timings;
    parts->finish = (Choir__Client__Finish)CHOIR__CLIENT__FINISH__INIT;
    parts->finish.reason = choice->reason;
    parts->finish.usage = &parts->usage;
    parts->finish.timings = &parts->timings;
    if (matched) {
        parts->finish.matched_stop_case = CHOIR__CLIENT__FINISH__MATCHED_STOP_STR;
        parts->finish.str = (char *)matched;
    } else if (choice->has_stop_token) {
        parts->finish.matched_stop_case = CHOIR__CLIENT__FINISH__MATCHED_STOP_TOKEN_ID;
        parts->finish.token_id = choice->stop_token;
    }
}

static choir_status fill_chunk(const choir_choice *choice, chunk_parts *parts)
{
    choir_answer_view view, prompt = {0};
    choir_status status = choir_answer_view_chunk(choice->answer, &view);
    if (status == CHOIR_OK && choice->prompt)
        status = choir_answer_view_chunk(choice->prompt, &prompt);
    if (status != CHOIR_OK)
        return status;
    parts->chunk = (Choir__Client__Chunk)CHOIR__CLIENT__CHUNK__INIT;
    parts->chunk.request_id = choice->request->request_id;
    parts->chunk.index = choice->index;
    parts->chunk.first_token_index = view.first_token_index;
    parts->chunk.token_ids = (int32_t *)view.token_ids;
    parts->chunk.n_token_ids = view.n_token_ids;
    parts->chunk.text = (char *)view.text;
    parts->chunk.logprobs = view.logprobs;
    parts->chunk.n_logprobs = view.n_logprobs;
    parts->chunk.prompt_logprobs = prompt.logprobs;
    parts->chunk.n_prompt_logprobs = prompt.n_logprobs;
    if (choice->phase == CHOIR_REQUEST_DONE) {
        fill_finish(choice, parts);
        parts->chunk.finish = &parts->finish;
    }
    return CHOIR_OK;
}

/* Scores and embeddings that were cancelled have nothing to give: they end with a Finish. */
static bool is_complete(const choir_choice *choice)
{
    return choice->request->kind != CHOIR_REQUEST_GENERATE && choice->phase == CHOIR_REQUEST_DONE &&
           choice->reason != CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_ABORT;
}

static bool has_chunk(const choir_choice *choice)
{
    const choir_request *request = choice->request;
    if (!choice->answer || (request->has_credit && request->credit == 0))
        return false;
    if (choice->phase == CHOIR_REQUEST_DONE)
        return !is_complete(choice);
    return request->kind == CHOIR_REQUEST_GENERATE && request->is_streamed &&
           (choir_answer_has_chunk(choice->answer) ||
            (choice->prompt && choir_answer_has_chunk(choice->prompt)));
}

/* The chunks of one message, and whose they are. */
typedef struct chunk_list {
    chunk_parts *parts;
    Choir__Client__Chunk **chunks;
    choir_choice **choices;
    size_t n;
} chunk_list;

static choir_status make_list(size_t n, chunk_list *list)
{
    choir_status status = choir_alloc(n, sizeof *list->parts, (void **)&list->parts);
    if (status == CHOIR_OK)
        status = choir_alloc(n, sizeof *list->chunks, (void **)&list->chunks);
    if (status == CHOIR_OK)
        status = choir_alloc(n, sizeof *list->choices, (void **)&list->choices);
    return status;
}

/* Takes the chunks that a request may send now. */
static choir_status add_chunks(choir_request *request, chunk_list *list)
{
    choir_status status = CHOIR_OK;
    for (size_t i = 0; i < request->n_choices && status == CHOIR_OK; i++) {
        choir_choice *choice = &request->choices[i];
        if (!has_chunk(choice))
            continue;
        status = fill_chunk(choice, &list->parts[list->n]);
        if (status != CHOIR_OK)
            continue;
        request->credit -= request->has_credit;
        list->chunks[list->n] = &list->parts[list->n].chunk;
        list->choices[list->n++] = choice;
    }
    return status;
}

/* Forgets what was delivered, and the choices that ended with it; or nothing was, and it waits. */
static void settle(choir_requests *requests, const chunk_list *list, bool is_sent)
{
    for (size_t i = 0; i < list->n; i++) {
        choir_choice *choice = list->choices[i];
        if (!is_sent) {
            choice->request->credit += choice->request->has_credit;
            choir_answer_drop_view(choice->answer);
            if (choice->prompt)
                choir_answer_drop_view(choice->prompt);
        } else if (choice->phase == CHOIR_REQUEST_DONE) {
            choir_requests_free(requests, choice);
        } else {
            choir_answer_clear_chunk(choice->answer);
            if (choice->prompt)
                choir_answer_clear_chunk(choice->prompt);
        }
    }
}

static bool deliver_batch(choir_requests *requests, choir_peer *peer, int64_t now_us)
{
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    Choir__Client__Batch batch = CHOIR__CLIENT__BATCH__INIT;
    chunk_list list = {0};
    bool is_sent = false;
    choir_status status = make_list(peer->n_choices, &list);
    for (choir_request *request = peer->requests; request && status == CHOIR_OK;
         request = request->next)
        status = add_chunks(request, &list);
    batch.chunks = list.chunks;
    batch.n_chunks = list.n;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_BATCH;
    message.batch = &batch;
    if (status == CHOIR_OK)
        is_sent = list.n == 0 || choir_clients_try(requests->clients, peer, &message, now_us);
    settle(requests, &list, is_sent);
    free(list.parts);
    free(list.chunks);
    free(list.choices);
    return is_sent;
}

static bool deliver_scores(choir_requests *requests, choir_choice *choice, chunk_parts *parts,
                           int64_t now_us)
{
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    Choir__Client__Scores scores = CHOIR__CLIENT__SCORES__INIT;
    choir_answer_view view;
    if (choir_answer_view_chunk(choice->answer, &view) != CHOIR_OK)
        return false;
    scores.request_id = choice->request->request_id;
    scores.tokens = view.logprobs;
    scores.n_tokens = view.n_logprobs;
    scores.usage = &parts->usage;
    scores.timings = &parts->timings;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_SCORES;
    message.scores = &scores;
    return choir_clients_try(requests->clients, choice->request->peer, &message, now_us);
}

static bool deliver_embedding(choir_requests *requests, const choir_choice *choice,
                              chunk_parts *parts, int64_t now_us)
{
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    Choir__Client__Embeddings embeddings = CHOIR__CLIENT__EMBEDDINGS__INIT;
    embeddings.request_id = choice->request->request_id;
    embeddings.values = choice->embedding;
    embeddings.n_values = choice->n_embedding;
    embeddings.usage = &parts->usage;
    embeddings.timings = &parts->timings;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_EMBEDDINGS;
    message.embeddings = &embeddings;
    return choir_clients_try(requests->clients, choice->request->peer, &message, now_us);
}

static bool deliver_whole(choir_requests *requests, choir_choice *choice, int64_t now_us)
{
    chunk_parts parts;
    fill_finish(choice, &parts);
    parts.usage.completion = 0;
    const bool is_sent = choice->request->kind == CHOIR_REQUEST_SCORE
                             ? deliver_scores(requests, choice, &parts, now_us)
                             : deliver_embedding(requests, choice, &parts, now_us);
    if (is_sent)
        choir_requests_free(requests, choice);
    else
        choir_answer_drop_view(choice->answer);
    return is_sent;
}

bool choir_frontend_deliver(choir_requests *requests, choir_peer *peer, int64_t now_us)
{
    if (!choir_clients_may_try(peer, now_us))
        return false;
    bool is_all_sent = deliver_batch(requests, peer, now_us);
    for (choir_request *request = peer->requests, *next; request && is_all_sent; request = next) {
        next = request->next;
        if (request->choices[0].answer && is_complete(&request->choices[0]))
            is_all_sent = deliver_whole(requests, &request->choices[0], now_us);
    }
    peer->has_news = !is_all_sent;
    return is_all_sent;
}
