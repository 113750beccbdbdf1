/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/frontend_submit.h"

#include "coordinator/prompt.h"
#include "coordinator/request_rules.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static choir_error_kind check_room(const choir_requests *requests, const choir_peer *peer,
                                   const char *request_id, size_t n_choices, const char **param)
{
    if (choir_requests_find(peer, request_id)) {
        *param = "request_id";
        return CHOIR_ERROR_DUPLICATE;
    }
    *param = "";
    if (peer->n_choices + n_choices > requests->setup->max_requests_per_client)
        return CHOIR_ERROR_CLIENT_BUSY;
    return requests->n_open + n_choices > requests->setup->max_requests ? CHOIR_ERROR_BUSY
                                                                        : CHOIR_ERROR_NONE;
}

static void tell_accepted(choir_requests *requests, const choir_request *request, uint64_t seq,
                          uint64_t seed, int64_t now_us)
{
    Choir__Client__Accepted accepted = CHOIR__CLIENT__ACCEPTED__INIT;
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    accepted.request_id = (char *)request->request_id;
    accepted.queue_position = (uint32_t)(requests->n_open - request->n_choices);
    accepted.prompt_tokens = (uint32_t)request->n_prompt;
    accepted.seed = seed;
    message.seq = seq;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_ACCEPTED;
    message.accepted = &accepted;
    choir_clients_send(requests->clients, request->peer, &message, now_us);
}

/* Hands a choice to the engine. */
static choir_status submit_choice(choir_requests *requests, const choir_choice *choice,
                                  Choir__Engine__Submit *what)
{
    Choir__Engine__ToEngine message = CHOIR__ENGINE__TO_ENGINE__INIT;
    what->id = choice->id;
    what->wants_prompt_logprobs = choice->prompt != NULL;
    if (what->sampling)
        what->sampling->choice = choice->index;
    message.body_case = CHOIR__ENGINE__TO_ENGINE__BODY_SUBMIT;
    message.submit = what;
    return choir_engine_link_send_request(requests->link, &message);
}

/* Hands the request to the engine; frees it and tells the client if that fails. */
static void submit(choir_requests *requests, choir_request *request, uint64_t seq,
                   Choir__Engine__Submit *what, int64_t now_us)
{
    choir_status status = CHOIR_OK;
    what->user_id = request->peer->number;
    what->group_id = request->n_choices > 1 ? request->choices[0].id : 0;
    request->n_prompt = what->n_token_ids;
    request->submitted_us = now_us;
    for (size_t i = 0; i < request->n_choices && status == CHOIR_OK; i++)
        status = submit_choice(requests, &request->choices[i], what);
    if (status == CHOIR_OK) {
        requests->n_prompt_tokens += request->n_prompt;
        tell_accepted(requests, request, seq, what->sampling ? what->sampling->seed : 0, now_us);
        return;
    }
    for (size_t i = 0; i < request->n_choices; i++)
        choir_requests_send_abort(requests, &request->choices[i]);
    choir_clients_refuse(requests->clients, request->peer, seq, CHOIR_ERROR_LOST,
                         request->request_id, "", "", now_us);
    choir_requests_free_all(requests, request);
}

/* When it comes, and with whom it shares pages; the salt is borrowed. */
static void set_turn(Choir__Engine__Submit *what, int32_t priority, uint64_t timeout_ms,
                     char *cache_salt)
{
    what->priority = priority;
    what->timeout_us = timeout_ms * 1000;
    what->cache_salt.data = (uint8_t *)cache_salt;
    what->cache_salt.len = strlen(cache_salt);
}

static choir_request_plan plan_generate(const choir_requests *requests,
                                        const Choir__Client__Generate *generate,
                                        size_t n_kept_entries)
{
    const Choir__Client__SamplingParams *params = generate->sampling;
    const Choir__Client__OutputOptions *output = generate->output;
    return (choir_request_plan){
        .request_id = generate->request_id,
        .answer =
            {
                .tokenizer = requests->setup->tokenizer,
                .has_text = true,
                .keeps_control = output && output->skip_special_tokens_presence_case &&
                                 !output->skip_special_tokens,
                .has_token_ids = output && output->return_token_ids,
                .has_logprobs = output && output->logprobs_presence_case,
                .stop = params ? (const char *const *)params->stop : NULL,
                .n_stop = params ? params->n_stop : 0,
                .has_stop_string = params && params->include_stop_str_in_output,
            },
        .n_choices = choir_request_n_choices(generate),
        .n_score_entries = n_kept_entries,
        .wants_prompt = output && output->prompt_logprobs_presence_case,
    };
}

static void start_generate(choir_requests *requests, choir_peer *peer, uint64_t seq,
                           const Choir__Client__Generate *generate, int32_t *ids, size_t n_ids,
                           uint32_t max_model_len, int64_t now_us)
{
    const Choir__Client__SamplingParams *params = generate->sampling;
    const uint32_t max_tokens = choir_request_max_tokens(params, max_model_len - (uint32_t)n_ids);
    const char *param;
    const choir_request_plan plan = plan_generate(
        requests, generate, choir_request_kept_entries(generate, n_ids, max_tokens, &param));
    choir_request_rules rules = {0};
    Choir__Engine__Sampling sampling;
    Choir__Engine__Submit what = CHOIR__ENGINE__SUBMIT__INIT;
    uint64_t seed;
    choir_request *request = NULL;
    if (getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed &&
        choir_request_rules_fill(&rules, params, requests->setup->tokenizer, &what) == CHOIR_OK)
        request = choir_requests_add(requests, peer, &plan);
    if (request) {
        request->is_streamed = !generate->stream_presence_case || generate->stream;
        request->has_credit = generate->credit_presence_case;
        request->credit = generate->credit;
        /* 53 bits: a seed that is told can be given back through any JSON and `--seed`. */
        choir_request_sampling(params, seed >> 11, &sampling);
        what.token_ids = ids;
        what.n_token_ids = n_ids;
        what.sampling = &sampling;
        what.max_tokens = max_tokens;
        what.wants_logprobs = plan.answer.has_logprobs;
        what.n_top = plan.answer.has_logprobs ? (uint32_t)generate->output->logprobs : 0;
        what.n_prompt_top = plan.wants_prompt ? (uint32_t)generate->output->prompt_logprobs : 0;
        set_turn(&what, generate->priority, generate->timeout_ms, generate->cache_salt);
        submit(requests, request, seq, &what, now_us);
    } else {
        choir_clients_refuse(requests->clients, peer, seq, CHOIR_ERROR_MEMORY, generate->request_id,
                             "", "", now_us);
    }
    choir_request_rules_release(&rules);
}

/* Of one request, and four times as many of all that a client has open. */
static choir_error_kind check_score_size(const choir_peer *peer, size_t n_entries,
                                         const char *field, const char **param)
{
    *param = n_entries > CHOIR_SCORE_ENTRIES_MAX ? field : "";
    if (n_entries > CHOIR_SCORE_ENTRIES_MAX)
        return CHOIR_ERROR_SCORE_SIZE;
    return peer->n_score_entries + n_entries > 4 * (size_t)CHOIR_SCORE_ENTRIES_MAX
               ? CHOIR_ERROR_CLIENT_ENTRIES
               : CHOIR_ERROR_NONE;
}

static choir_error_kind check_kept(const choir_peer *peer, const Choir__Client__Generate *generate,
                                   size_t n_ids, uint32_t max_model_len, const char **param)
{
    const uint32_t max_tokens =
        choir_request_max_tokens(generate->sampling, max_model_len - (uint32_t)n_ids);
    const char *field;
    const size_t n_entries = choir_request_kept_entries(generate, n_ids, max_tokens, &field);
    return check_score_size(peer, n_entries, field, param);
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
        kind = check_room(requests, peer, generate->request_id, choir_request_n_choices(generate),
                          &param);
    if (kind == CHOIR_ERROR_NONE)
        kind = choir_prompt_of_generate(generate, setup->tokenizer, setup->chat_template,
                                        max_text_bytes(requests, generate, max_model_len), &ids,
                                        &n_ids, &param);
    if (kind == CHOIR_ERROR_NONE)
        n_ids = truncate(generate->sampling, ids, n_ids);
    if (kind == CHOIR_ERROR_NONE)
        kind = choir_request_check_length(n_ids, 1, max_model_len);
    if (kind == CHOIR_ERROR_NONE)
        kind = check_kept(peer, generate, n_ids, max_model_len, &param);
    if (kind == CHOIR_ERROR_NONE)
        start_generate(requests, peer, seq, generate, ids, n_ids, max_model_len, now_us);
    else
        choir_clients_refuse(requests->clients, peer, seq, kind, generate->request_id, param, "",
                             now_us);
    free(ids);
}

/* ---- score and embed ---- */

/* What both are about; text NULL: token_ids. */
typedef struct plain_input {
    const char *request_id, *text;
    const Choir__Client__TokenIds *token_ids;
} plain_input;

/* The tokens of an input for which there is room. */
static choir_error_kind read_plain(const choir_requests *requests, const choir_peer *peer,
                                   const plain_input *input, uint32_t max_model_len, int32_t **ids,
                                   size_t *n_ids, const char **param)
{
    const choir_frontend_setup *setup = requests->setup;
    choir_error_kind kind = check_room(requests, peer, input->request_id, 1, param);
    if (kind == CHOIR_ERROR_NONE)
        kind = choir_prompt_of_plain(input->text, input->token_ids, setup->tokenizer,
                                     choir_request_max_bytes(&setup->limits, max_model_len), ids,
                                     n_ids, param);
    return kind == CHOIR_ERROR_NONE ? choir_request_check_length(*n_ids, 0, max_model_len) : kind;
}

static void start_plain(choir_requests *requests, choir_peer *peer, uint64_t seq,
                        const choir_request_plan *plan, Choir__Engine__Submit *what, int64_t now_us)
{
    choir_request *request = choir_requests_add(requests, peer, plan);
    if (request)
        submit(requests, request, seq, what, now_us);
    else
        choir_clients_refuse(requests->clients, peer, seq, CHOIR_ERROR_MEMORY, plan->request_id, "",
                             "", now_us);
}

void choir_requests_score(choir_requests *requests, choir_peer *peer, uint64_t seq,
                          const Choir__Client__Score *score, uint32_t max_model_len, int64_t now_us)
{
    const bool has_text = score->input_case == CHOIR__CLIENT__SCORE__INPUT_TEXT;
    const plain_input input = {score->request_id, has_text ? score->text : NULL, score->token_ids};
    choir_request_plan plan = {
        .request_id = score->request_id,
        .kind = CHOIR_REQUEST_SCORE,
        .answer = {.tokenizer = requests->setup->tokenizer, .has_logprobs = true},
        .n_choices = 1,
    };
    Choir__Engine__Submit what = CHOIR__ENGINE__SUBMIT__INIT;
    const char *param = "";
    choir_error_kind kind = choir_request_check_score(score, &requests->setup->limits, &param);
    if (kind == CHOIR_ERROR_NONE)
        kind = read_plain(requests, peer, &input, max_model_len, &what.token_ids, &what.n_token_ids,
                          &param);
    if (kind == CHOIR_ERROR_NONE) {
        plan.n_score_entries = what.n_token_ids * (1 + (size_t)score->top);
        kind = check_score_size(peer, plan.n_score_entries, "top", &param);
    }
    what.wants_logprobs = true;
    what.n_top = (uint32_t)score->top;
    what.is_score = true;
    if (kind == CHOIR_ERROR_NONE)
        start_plain(requests, peer, seq, &plan, &what, now_us);
    else
        choir_clients_refuse(requests->clients, peer, seq, kind, score->request_id, param, "",
                             now_us);
    free(what.token_ids);
}

void choir_requests_embed(choir_requests *requests, choir_peer *peer, uint64_t seq,
                          const Choir__Client__Embed *embed, uint32_t max_model_len, int64_t now_us)
{
    const bool has_text = embed->input_case == CHOIR__CLIENT__EMBED__INPUT_TEXT;
    const bool is_mean = embed->pooling == CHOIR__CLIENT__POOLING__POOLING_MEAN;
    const plain_input input = {embed->request_id, has_text ? embed->text : NULL, embed->token_ids};
    const choir_request_plan plan = {
        .request_id = embed->request_id,
        .kind = CHOIR_REQUEST_EMBED,
        .answer = {.tokenizer = requests->setup->tokenizer},
        .n_choices = 1,
    };
    Choir__Engine__Submit what = CHOIR__ENGINE__SUBMIT__INIT;
    const char *param = "";
    choir_error_kind kind = choir_request_check_embed(embed, &requests->setup->limits, &param);
    if (kind == CHOIR_ERROR_NONE)
        kind = read_plain(requests, peer, &input, max_model_len, &what.token_ids, &what.n_token_ids,
                          &param);
    what.pooling =
        is_mean ? CHOIR__ENGINE__POOLING__POOLING_MEAN : CHOIR__ENGINE__POOLING__POOLING_LAST;
    what.is_normalized = !embed->normalize_presence_case || embed->normalize;
    set_turn(&what, embed->priority, embed->timeout_ms, embed->cache_salt);
    if (kind == CHOIR_ERROR_NONE)
        start_plain(requests, peer, seq, &plan, &what, now_us);
    else
        choir_clients_refuse(requests->clients, peer, seq, kind, embed->request_id, param, "",
                             now_us);
    free(what.token_ids);
}
