/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/reply.h"

#include "cli/print.h"
#include "common/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

choir_json *choir_logprob_to_json(const choir_token_logprob *token)
{
    choir_json *json = choir_json_make_object(), *top = choir_json_make_array();
    choir_json *logprob = choir_json_make_null(), *bits = choir_json_make_null();
    if (token->has_logprob) {
        char hex[9];
        uint32_t word;
        memcpy(&word, &token->logprob, sizeof word);
        (void)snprintf(hex, sizeof hex, "%08" PRIx32, word);
        choir_json_destroy(&logprob);
        choir_json_destroy(&bits);
        logprob = choir_json_make_real((double)token->logprob);
        bits = choir_json_make_string(hex, 8);
    }
    for (size_t i = 0; i < token->n_top; i++) {
        choir_json *entry = choir_json_make_object();
        choir_json_set_integer(entry, "token_id", token->top[i].token_id);
        choir_json_set_real(entry, "logprob", (double)token->top[i].logprob);
        choir_json_append(top, entry);
    }
    choir_json_set_integer(json, "token_id", token->token_id);
    choir_json_set(json, "logprob", logprob);
    choir_json_set(json, "logprob_bits", bits);
    choir_json_set(json, "top", top);
    return json;
}

static choir_status add_text(choir_reply *answer, const char *text, size_t length)
{
    const choir_status status = choir_grow((void **)&answer->text, &answer->text_capacity,
                                           answer->text_length + length + 1, 1);
    if (status != CHOIR_OK)
        return status;
    if (length > 0)
        memcpy(answer->text + answer->text_length, text, length);
    answer->text_length += length;
    answer->text[answer->text_length] = '\0';
    return CHOIR_OK;
}

static void add_tokens(choir_reply *answer, const choir_event *event)
{
    if (answer->token_ids == NULL)
        answer->token_ids = choir_json_make_array();
    if (answer->logprobs == NULL)
        answer->logprobs = choir_json_make_array();
    if (answer->prompt_logprobs == NULL && event->n_prompt_logprobs > 0)
        answer->prompt_logprobs = choir_json_make_array();
    for (size_t i = 0; i < event->n_prompt_logprobs; i++)
        choir_json_append(answer->prompt_logprobs,
                          choir_logprob_to_json(&event->prompt_logprobs[i]));
    for (size_t i = 0; i < event->n_token_ids; i++)
        choir_json_append(answer->token_ids, choir_json_make_integer(event->token_ids[i]));
    for (size_t i = 0; i < event->n_logprobs; i++)
        choir_json_append(answer->logprobs, choir_logprob_to_json(&event->logprobs[i]));
}

static choir_status add_event(choir_reply *answer, const choir_event *event)
{
    if (event->kind == CHOIR_EVENT_ACCEPTED)
        answer->seed = event->seed;
    if (event->kind == CHOIR_EVENT_FINISH || event->kind == CHOIR_EVENT_SCORES ||
        event->kind == CHOIR_EVENT_EMBEDDING) {
        answer->reason = event->reason;
        answer->usage = event->usage;
        answer->timings = event->timings;
    }
    if (event->kind == CHOIR_EVENT_EMBEDDING) {
        answer->embedding = choir_json_make_array();
        for (size_t i = 0; i < event->n_embedding; i++)
            choir_json_append(answer->embedding, choir_json_make_real((double)event->embedding[i]));
    }
    if (event->kind == CHOIR_EVENT_ERROR) {
        answer->status = event->status == CHOIR_OK ? CHOIR_EINTERNAL : event->status;
        (void)snprintf(answer->param, sizeof answer->param, "%s", event->param);
        (void)snprintf(answer->message, sizeof answer->message, "%s", event->message);
    }
    add_tokens(answer, event);
    return add_text(answer, event->text, event->text_length);
}

/* The answer of that index, with all before it. */
static choir_status find_answer(choir_reply *reply, uint32_t index, choir_reply **answer)
{
    const size_t n_before = reply->n_others;
    *answer = reply;
    if (index == 0)
        return CHOIR_OK;
    if (index > n_before) {
        const choir_status status = choir_grow((void **)&reply->others, &reply->others_capacity,
                                               index, sizeof *reply->others);
        if (status != CHOIR_OK)
            return status;
        memset(reply->others + n_before, 0, (index - n_before) * sizeof *reply->others);
        reply->n_others = index;
    }
    *answer = &reply->others[index - 1];
    return CHOIR_OK;
}

choir_status choir_reply_add(choir_reply *reply, const choir_event *event)
{
    choir_reply *answer;
    const choir_status status = find_answer(reply, event->index, &answer);
    reply->is_finished = choir_event_is_last(event);
    return status == CHOIR_OK ? add_event(answer, event) : status;
}

void choir_reply_destroy(choir_reply *answer)
{
    for (size_t i = 0; i < answer->n_others; i++)
        choir_reply_destroy(&answer->others[i]);
    free(answer->others);
    choir_json_destroy(&answer->prompt_logprobs);
    choir_json_destroy(&answer->embedding);
    free(answer->text);
    choir_json_destroy(&answer->token_ids);
    choir_json_destroy(&answer->logprobs);
    *answer = (choir_reply){0};
}

choir_status choir_reply_status(const choir_reply *answer)
{
    if (answer->status == CHOIR_OK)
        return CHOIR_OK;
    if (answer->param[0] != '\0' && strstr(answer->message, answer->param) == NULL)
        return choir_fail(answer->status, "%s: %s", answer->param, answer->message);
    return choir_fail(answer->status, "%s", answer->message);
}

static choir_json *take(choir_json **array)
{
    choir_json *taken = *array == NULL ? choir_json_make_array() : *array;
    *array = NULL;
    return taken;
}

static choir_json *error_to_json(const choir_reply *answer)
{
    choir_json *json = choir_json_make_object(), *error = choir_json_make_object();
    choir_json_set_text(error, "status", choir_status_name(answer->status));
    choir_json_set_text(error, "param", answer->param);
    choir_json_set_text(error, "message", answer->message);
    choir_json_set(json, "error", error);
    return json;
}

static choir_json *usage_to_json(const choir_usage *usage)
{
    choir_json *json = choir_json_make_object();
    choir_json_set_integer(json, "prompt_tokens", (int64_t)usage->prompt_tokens);
    choir_json_set_integer(json, "completion_tokens", (int64_t)usage->completion_tokens);
    choir_json_set_integer(json, "total_tokens",
                           (int64_t)(usage->prompt_tokens + usage->completion_tokens));
    choir_json_set_integer(json, "cached_tokens", (int64_t)usage->cached_tokens);
    return json;
}

static choir_json *timings_to_json(const choir_timings *timings)
{
    choir_json *json = choir_json_make_object();
    choir_json_set_integer(json, "queue_us", (int64_t)timings->queue_us);
    choir_json_set_integer(json, "prefill_us", (int64_t)timings->prefill_us);
    choir_json_set_integer(json, "decode_us", (int64_t)timings->decode_us);
    choir_json_set_integer(json, "ttft_us", (int64_t)timings->ttft_us);
    return json;
}

static choir_json *answer_to_json(choir_reply *answer)
{
    choir_json *json = choir_json_make_object();
    choir_json_set(json, "token_ids", take(&answer->token_ids));
    choir_json_set(json, "text", choir_json_make_string(answer->text, answer->text_length));
    choir_json_set_text(json, "finish_reason", choir_finish_reason_name(answer->reason));
    choir_json_set(json, "logprobs", take(&answer->logprobs));
    choir_json_set(json, "usage", usage_to_json(&answer->usage));
    choir_json_set(json, "timings", timings_to_json(&answer->timings));
    if (answer->prompt_logprobs != NULL)
        choir_json_set(json, "prompt_logprobs", take(&answer->prompt_logprobs));
    return json;
}

choir_json *choir_reply_to_json(choir_reply *answer)
{
    if (answer->status != CHOIR_OK)
        return error_to_json(answer);
    if (answer->n_others == 0)
        return answer_to_json(answer);
    choir_json *json = choir_json_make_object(), *choices = choir_json_make_array();
    choir_json_append(choices, answer_to_json(answer));
    for (size_t i = 0; i < answer->n_others; i++)
        choir_json_append(choices, answer_to_json(&answer->others[i]));
    choir_json_set(json, "choices", choices);
    return json;
}

choir_json *choir_reply_to_score_json(choir_reply *answer)
{
    if (answer->status != CHOIR_OK)
        return error_to_json(answer);
    choir_json *json = choir_json_make_object();
    choir_json_set(json, "tokens", take(&answer->logprobs));
    return json;
}

choir_json *choir_reply_to_embedding_json(choir_reply *answer)
{
    if (answer->status != CHOIR_OK)
        return error_to_json(answer);
    choir_json *json = choir_json_make_object();
    choir_json_set(json, "embedding", take(&answer->embedding));
    choir_json_set(json, "usage", usage_to_json(&answer->usage));
    return json;
}

static choir_status print_top(const choir_json *top)
{
    choir_status status = CHOIR_OK;
    for (size_t k = 0; k < choir_json_size(top) && status == CHOIR_OK; k++) {
        const choir_json *other = choir_json_at(top, k);
        status = choir_print("  %" PRId64 ":%.4f",
                             choir_json_integer(choir_json_get(other, "token_id"), -1),
                             choir_json_real(choir_json_get(other, "logprob"), 0));
    }
    return status == CHOIR_OK ? choir_print("\n") : status;
}

choir_status choir_reply_print_logprobs(const choir_json *logprobs)
{
    choir_status status = choir_print("   token  log-probability  bits      alternatives\n");
    for (size_t i = 0; i < choir_json_size(logprobs) && status == CHOIR_OK; i++) {
        const choir_json *token = choir_json_at(logprobs, i);
        char logprob[CHOIR_NUMBER_BYTES] = "-";
        if (choir_json_kind(choir_json_get(token, "logprob")) == CHOIR_JSON_REAL)
            (void)snprintf(logprob, sizeof logprob, "%.6f",
                           choir_json_real(choir_json_get(token, "logprob"), 0));
        status = choir_print("%8" PRId64 "  %15s  %-8s",
                             choir_json_integer(choir_json_get(token, "token_id"), -1), logprob,
                             choir_json_string(choir_json_get(token, "logprob_bits"), "-"));
        if (status == CHOIR_OK)
            status = print_top(choir_json_get(token, "top"));
    }
    return status;
}

void choir_reply_describe(const choir_reply *answer, char *text, size_t size)
{
    const choir_usage *usage = &answer->usage;
    const choir_timings *timings = &answer->timings;
    char first[CHOIR_NUMBER_BYTES];
    size_t used = (size_t)snprintf(text, size, "%" PRIu64 " tokens", usage->completion_tokens);
    if (usage->completion_tokens > 1 && timings->decode_us > 0 && used < size)
        used += (size_t)snprintf(text + used, size - used, ", %.1f tokens/s",
                                 (double)(usage->completion_tokens - 1) * 1e6 /
                                     (double)timings->decode_us);
    if (used < size)
        (void)snprintf(text + used, size - used,
                       "; prompt of %" PRIu64 " tokens, first answer after %s; seed %" PRIu64,
                       usage->prompt_tokens, choir_number_time(timings->ttft_us, first),
                       answer->seed);
}
