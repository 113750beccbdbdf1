/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/sequence.h"

#include "common/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* As many candidates as top_p and min_p seldom need more of. */
enum { FIRST_CANDIDATES = 64 };

void choir_sequence_insert(choir_sequence_list *list, choir_sequence *before,
                           choir_sequence *sequence)
{
    sequence->previous = before;
    sequence->next = before ? before->next : list->first;
    *(sequence->next ? &sequence->next->previous : &list->last) = sequence;
    *(before ? &before->next : &list->first) = sequence;
    list->n++;
}

void choir_sequence_append(choir_sequence_list *list, choir_sequence *sequence)
{
    choir_sequence_insert(list, list->last, sequence);
}

void choir_sequence_remove(choir_sequence_list *list, choir_sequence *sequence)
{
    *(sequence->previous ? &sequence->previous->next : &list->first) = sequence->next;
    *(sequence->next ? &sequence->next->previous : &list->last) = sequence->previous;
    list->n--;
}

static choir_status check_ids(const char *field, const int32_t *ids, int64_t n, int32_t vocab_size)
{
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab_size)
            return choir_fail(CHOIR_EINVALID, "%s: id %d at index %lld; ids are 0 to %d", field,
                              ids[i], (long long)i, vocab_size - 1);
    return CHOIR_OK;
}

/* Whether an answer is wanted, not only something about the prompt. */
static bool is_generating(const choir_request *request)
{
    return !request->is_score && request->pooling == CHOIR_POOLING_NONE;
}

static choir_status check_request(const choir_step_limits *limits, const choir_request *request)
{
    const int64_t room = (int64_t)limits->max_model_len - (is_generating(request) ? 1 : 0);
    if (request->n_token_ids < 1)
        return choir_fail(CHOIR_EINVALID, "token_ids: the prompt is empty");
    if (request->n_token_ids > room)
        return choir_fail(CHOIR_EINVALID,
                          "token_ids: a prompt of %lld tokens; the context has room for %lld",
                          (long long)request->n_token_ids, (long long)room);
    const int n_top = request->n_top < 0 || request->n_top > CHOIR_STEP_MAX_TOP
                          ? request->n_top
                          : request->n_prompt_top;
    if (n_top < 0 || n_top > CHOIR_STEP_MAX_TOP)
        return choir_fail(CHOIR_EINVALID, "n_top is %d; give 0 to %d", n_top, CHOIR_STEP_MAX_TOP);
    if (request->priority < -CHOIR_PRIORITY_MAX || request->priority > CHOIR_PRIORITY_MAX)
        return choir_fail(CHOIR_EINVALID, "priority is %d; give %d to %d", request->priority,
                          -CHOIR_PRIORITY_MAX, CHOIR_PRIORITY_MAX);
    if (request->timeout_us < 0 || request->timeout_us > CHOIR_TIMEOUT_MAX_US)
        return choir_fail(CHOIR_EINVALID, "timeout_ms is %lld; give 0 (none) to %lld",
                          (long long)(request->timeout_us / 1000),
                          (long long)(CHOIR_TIMEOUT_MAX_US / 1000));
    if (request->n_stop_token_ids < 0 || request->n_stop_token_ids > CHOIR_MAX_STOP_IDS)
        return choir_fail(CHOIR_EINVALID, "stop_token_ids: %d of them; give at most %d",
                          request->n_stop_token_ids, CHOIR_MAX_STOP_IDS);
    if (is_generating(request) && request->max_tokens < 1)
        return choir_fail(CHOIR_EINVALID, "max_tokens is %lld; give 1 or more",
                          (long long)request->max_tokens);
    choir_status status = CHOIR_OK;
    if (is_generating(request))
        status = choir_sampling_check(&request->sampling);
    if (!status)
        status =
            check_ids("token_ids", request->token_ids, request->n_token_ids, limits->vocab_size);
    if (!status)
        status = check_ids("stop_token_ids", request->stop_token_ids, request->n_stop_token_ids,
                           limits->vocab_size);
    return status;
}

/* Sizes of a checked request; EINVALID where it can never fit the pool. */
static choir_status plan_sequence(const choir_step_limits *limits, const choir_request *request,
                                  choir_sequence *sequence)
{
    const int64_t n = request->n_token_ids;
    int64_t n_positions = 0;
    sequence->n_prompt = sequence->n_tokens = n;
    if (request->is_score) {
        /* Row i tells of token i + 1: the last needs no row, but one row at least is run. */
        sequence->n_rows = n_positions = n > 1 ? n - 1 : 1;
    } else if (request->pooling != CHOIR_POOLING_NONE) {
        sequence->n_rows = n_positions = n;
    } else {
        const int64_t room = limits->max_model_len - n;
        sequence->n_rows = n;
        sequence->n_new_max = request->max_tokens < room ? request->max_tokens : room;
        n_positions = n + sequence->n_new_max - 1; /* the last token is not fed back */
    }
    sequence->n_score_rows = request->is_score || request->wants_prompt_logprobs ? n - 1 : 0;
    sequence->n_pages_most = choir_ceil_div(n_positions, limits->page_positions);
    sequence->n_refill = sequence->n_rows;
    if (sequence->n_pages_most > limits->n_pages)
        return choir_fail(
            CHOIR_EINVALID,
            "%s: prompt and answer need %lld pages of keys and values, the engine has "
            "%d: ask for less",
            is_generating(request) ? "max_tokens" : "token_ids", (long long)sequence->n_pages_most,
            limits->n_pages);
    return CHOIR_OK;
}

choir_status choir_sequence_create(const choir_scheduler_options *options,
                                   const choir_request *request, int64_t now_us,
                                   choir_sequence **sequence)
{
    const choir_step_limits *limits = &options->limits;
    const size_t n_stop_ids = (size_t)request->n_stop_token_ids;
    choir_sequence *made = NULL;
    *sequence = NULL;
    choir_status status = check_request(limits, request);
    if (!status)
        status = choir_alloc(1, sizeof *made, (void **)&made);
    if (!status)
        status = plan_sequence(limits, request, made);
    if (!status)
        status = choir_alloc((size_t)made->n_prompt, sizeof(int32_t), (void **)&made->tokens);
    if (!status)
        status = choir_alloc(n_stop_ids, sizeof(int32_t), (void **)&made->stop_ids);
    if (!status && is_generating(request))
        status = choir_token_rules_create(&request->wishes, limits->vocab_size,
                                          request->n_stop_token_ids, &made->rules);
    if (status) {
        choir_sequence_destroy(&made);
        return status;
    }
    memcpy(made->tokens, request->token_ids, (size_t)made->n_prompt * sizeof(int32_t));
    if (n_stop_ids)
        memcpy(made->stop_ids, request->stop_token_ids, n_stop_ids * sizeof(int32_t));
    made->id = request->id;
    made->user_id = request->user_id;
    made->priority = request->priority;
    made->is_sharing = options->keeps_pages || request->group_id;
    if (!options->keeps_pages)
        made->root = choir_page_name_root(request->group_id, NULL, 0);
    else if (request->n_cache_salt)
        made->root = choir_page_name_root(0, request->cache_salt, request->n_cache_salt);
    else
        made->root = choir_page_name_root(request->user_id, NULL, 0);
    made->sampling = request->sampling;
    made->n_stop_ids = request->n_stop_token_ids;
    made->n_top = request->n_top;
    made->n_prompt_top = request->is_score ? request->n_top : request->n_prompt_top;
    made->wants_logprobs = request->wants_logprobs;
    made->wants_prompt_logprobs = request->wants_prompt_logprobs;
    made->is_score = request->is_score;
    made->is_generating = is_generating(request);
    made->pooling = request->pooling;
    made->is_normalized = request->is_normalized;
    made->width = options->width;
    made->n_candidates = FIRST_CANDIDATES;
    made->arrival_us = now_us;
    made->deadline_us = request->timeout_us ? now_us + request->timeout_us : INT64_MAX;
    *sequence = made;
    return CHOIR_OK;
}

choir_status choir_sequence_prepare(choir_sequence *sequence)
{
    const size_t n_pages = (size_t)sequence->n_pages_most;
    int32_t *tokens = NULL;
    if (sequence->pages)
        return CHOIR_OK;
    choir_status status = choir_alloc((size_t)(sequence->n_prompt + sequence->n_new_max),
                                      sizeof *tokens, (void **)&tokens);
    if (!status)
        status = choir_alloc(n_pages, sizeof *sequence->names, (void **)&sequence->names);
    if (!status && sequence->pooling != CHOIR_POOLING_NONE)
        status = choir_alloc((size_t)sequence->width, sizeof *sequence->embedding,
                             (void **)&sequence->embedding);
    if (!status)
        status = choir_alloc(n_pages, sizeof *sequence->pages, (void **)&sequence->pages);
    if (status) {
        free(tokens);
        free(sequence->names);
        free(sequence->embedding);
        sequence->names = NULL;
        sequence->embedding = NULL;
        return status;
    }
    memcpy(tokens, sequence->tokens, (size_t)sequence->n_tokens * sizeof *tokens);
    free(sequence->tokens);
    sequence->tokens = tokens;
    return CHOIR_OK;
}

void choir_sequence_destroy(choir_sequence **sequence)
{
    if (!*sequence)
        return;
    free((*sequence)->tokens);
    free((*sequence)->stop_ids);
    choir_token_rules_destroy(&(*sequence)->rules);
    free((*sequence)->pages);
    free((*sequence)->names);
    free((*sequence)->embedding);
    free(*sequence);
    *sequence = NULL;
}

choir_timings choir_sequence_timings(const choir_sequence *sequence, int64_t now_us)
{
    const bool has_token = sequence->n_tokens > sequence->n_prompt;
    const int64_t admitted = sequence->was_admitted ? sequence->admitted_us : now_us;
    const int64_t first_token = has_token ? sequence->first_token_us : now_us;
    return (choir_timings){
        .queue_us = admitted - sequence->arrival_us,
        .prefill_us = first_token - admitted,
        .decode_us = now_us - first_token,
        .ttft_us = has_token ? first_token - sequence->arrival_us : 0,
    };
}

int64_t choir_sequence_ready(const choir_sequence *sequence)
{
    const int64_t n_known = sequence->is_generating ? sequence->n_tokens : sequence->n_rows;
    return sequence->is_ended ? 0 : n_known - sequence->n_scheduled;
}

bool choir_sequence_is_decoding(const choir_sequence *sequence)
{
    return sequence->n_scheduled >= sequence->n_refill;
}

bool choir_sequence_is_reading(const choir_sequence *sequence)
{
    return !sequence->is_generating || sequence->n_scheduled < sequence->n_score_rows;
}

bool choir_sequence_yields_to(const choir_sequence *sequence, const choir_sequence *other)
{
    if (sequence->priority != other->priority)
        return sequence->priority > other->priority;
    if (sequence->arrival_us != other->arrival_us)
        return sequence->arrival_us > other->arrival_us;
    return sequence->id > other->id;
}

bool choir_sequence_is_plain(const choir_sequence *sequence)
{
    return sequence->sampling.temperature == 0 && !sequence->rules &&
           !choir_sampling_needs_history(&sequence->sampling);
}

bool choir_sequence_stops_at(const choir_sequence *sequence, int32_t id)
{
    for (int i = 0; i < sequence->n_stop_ids; i++)
        if (sequence->stop_ids[i] == id)
            return true;
    return false;
}

const choir_page_name *choir_sequence_page_name(choir_sequence *sequence, int64_t index,
                                                int64_t page_positions)
{
    assert((index + 1) * page_positions <= sequence->n_tokens);
    for (; sequence->n_names <= index; sequence->n_names++) {
        const int64_t k = sequence->n_names;
        const choir_page_name *before = k ? &sequence->names[k - 1] : &sequence->root;
        sequence->names[k] =
            choir_page_name_next(before, sequence->tokens + k * page_positions, page_positions);
    }
    return &sequence->names[index];
}
