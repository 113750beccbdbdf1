/* SPDX-License-Identifier: Apache-2.0 */
#include "client/event.h"

#include "common/mem.h"
#include "proto/envelope.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct choir_event_reader {
    Choir__Client__ServerMessage *message; /* NULL: all read */
    size_t next_chunk;
    bool has_given_chunk; /* of next_chunk, whose finish is still to come */
    choir_token_logprob *logprobs;
    size_t logprobs_capacity;
    choir_top_logprob *tops;
    size_t tops_capacity;
};

choir_status choir_event_reader_create(choir_event_reader **reader)
{
    return choir_alloc(1, sizeof **reader, (void **)reader);
}

void choir_event_reader_destroy(choir_event_reader **reader)
{
    if (!*reader)
        return;
    choir_server_message_destroy(&(*reader)->message);
    free((*reader)->logprobs);
    free((*reader)->tops);
    free(*reader);
    *reader = NULL;
}

void choir_event_reader_give(choir_event_reader *reader, Choir__Client__ServerMessage **message)
{
    choir_server_message_destroy(&reader->message);
    reader->message = *message;
    reader->next_chunk = 0;
    reader->has_given_chunk = false;
    *message = NULL;
}

static void begin_event(choir_event *event, choir_event_kind kind, const char *request_id)
{
    *event = (choir_event){.kind = kind};
    snprintf(event->request_id, sizeof event->request_id, "%s", request_id);
}

/* Room for the log-probabilities of one event. */
static choir_status reserve_logprobs(choir_event_reader *reader,
                                     Choir__Client__TokenLogprob **tokens, size_t n_tokens,
                                     Choir__Client__TokenLogprob **more, size_t n_more)
{
    size_t n_tops = 0;
    for (size_t i = 0; i < n_tokens; i++)
        n_tops += tokens[i]->n_top;
    for (size_t i = 0; i < n_more; i++)
        n_tops += more[i]->n_top;
    const choir_status status = choir_grow((void **)&reader->logprobs, &reader->logprobs_capacity,
                                           n_tokens + n_more, sizeof *reader->logprobs);
    return status == CHOIR_OK ? choir_grow((void **)&reader->tops, &reader->tops_capacity, n_tops,
                                           sizeof *reader->tops)
                              : status;
}

/* Alternatives go to `top`; returns what is behind them. */
static choir_top_logprob *read_logprobs(Choir__Client__TokenLogprob **tokens, size_t n_tokens,
                                        choir_token_logprob *logprobs, choir_top_logprob *top)
{
    for (size_t i = 0; i < n_tokens; i++) {
        const Choir__Client__TokenLogprob *from = tokens[i];
        logprobs[i] = (choir_token_logprob){
            .token_id = from->token_id,
            .has_logprob = from->logprob_presence_case != 0,
            .logprob = from->logprob_presence_case ? from->logprob : NAN,
            .bytes = (const char *)from->bytes.data,
            .n_bytes = from->bytes.len,
            .top = top,
            .n_top = from->n_top,
        };
        for (size_t j = 0; j < from->n_top; j++)
            *top++ = (choir_top_logprob){from->top[j]->token_id, from->top[j]->logprob};
    }
    return top;
}

static void read_usage(const Choir__Client__Usage *usage, const Choir__Client__Timings *timings,
                       choir_event *event)
{
    if (usage)
        event->usage = (choir_usage){usage->prompt, usage->completion, usage->cached};
    if (timings)
        event->timings = (choir_timings){timings->queue_us, timings->prefill_us, timings->decode_us,
                                         timings->ttft_us};
}

static void read_finish(const Choir__Client__Finish *finish, choir_event *event)
{
    switch (finish->reason) {
    case CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_STOP:
        event->reason = CHOIR_FINISH_STOP;
        break;
    case CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_LENGTH:
        event->reason = CHOIR_FINISH_LENGTH;
        break;
    case CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_ABORT:
        event->reason = CHOIR_FINISH_ABORT;
        break;
    default:
        break;
    }
    event->has_stop_token =
        finish->matched_stop_case == CHOIR__CLIENT__FINISH__MATCHED_STOP_TOKEN_ID;
    if (event->has_stop_token)
        event->stop_token_id = finish->token_id;
    if (finish->matched_stop_case == CHOIR__CLIENT__FINISH__MATCHED_STOP_STR)
        event->stop_string = finish->str;
    read_usage(finish->usage, finish->timings, event);
}

static bool has_content(const Choir__Client__Chunk *chunk)
{
    return chunk->text[0] || chunk->n_token_ids > 0 || chunk->n_logprobs > 0 ||
           chunk->n_prompt_logprobs > 0;
}

static choir_status read_chunk(choir_event_reader *reader, const Choir__Client__Chunk *chunk,
                               choir_event *event)
{
    begin_event(event, CHOIR_EVENT_CHUNK, chunk->request_id);
    event->text = chunk->text;
    event->text_length = strlen(chunk->text);
    event->token_ids = chunk->token_ids;
    event->n_token_ids = chunk->n_token_ids;
    event->first_token_index = chunk->first_token_index;
    event->index = chunk->index;
    const choir_status status = reserve_logprobs(reader, chunk->logprobs, chunk->n_logprobs,
                                                 chunk->prompt_logprobs, chunk->n_prompt_logprobs);
    if (status != CHOIR_OK)
        return status;
    event->logprobs = reader->logprobs;
    event->n_logprobs = chunk->n_logprobs;
    event->prompt_logprobs = reader->logprobs + chunk->n_logprobs;
    event->n_prompt_logprobs = chunk->n_prompt_logprobs;
    choir_top_logprob *top =
        read_logprobs(chunk->logprobs, chunk->n_logprobs, reader->logprobs, reader->tops);
    read_logprobs(chunk->prompt_logprobs, chunk->n_prompt_logprobs,
                  reader->logprobs + chunk->n_logprobs, top);
    return CHOIR_OK;
}

/* The next event of a batch; chunks without content and finish give none. */
static choir_status read_batch(choir_event_reader *reader, const Choir__Client__Batch *batch,
                               choir_event *event, bool *has_event)
{
    while (reader->next_chunk < batch->n_chunks) {
        const Choir__Client__Chunk *chunk = batch->chunks[reader->next_chunk];
        *has_event = true;
        if (!reader->has_given_chunk && has_content(chunk)) {
            reader->has_given_chunk = true;
            return read_chunk(reader, chunk, event);
        }
        reader->next_chunk++;
        reader->has_given_chunk = false;
        if (chunk->finish) {
            begin_event(event, CHOIR_EVENT_FINISH, chunk->request_id);
            read_finish(chunk->finish, event);
            event->index = chunk->index;
            return CHOIR_OK;
        }
    }
    *has_event = false;
    return CHOIR_OK;
}

static void read_accepted(const Choir__Client__Accepted *accepted, choir_event *event)
{
    begin_event(event, CHOIR_EVENT_ACCEPTED, accepted->request_id);
    event->prompt_tokens = accepted->prompt_tokens;
    event->seed = accepted->seed;
}

static choir_status read_scores(choir_event_reader *reader, const Choir__Client__Scores *scores,
                                choir_event *event)
{
    begin_event(event, CHOIR_EVENT_SCORES, scores->request_id);
    read_usage(scores->usage, scores->timings, event);
    const choir_status status = reserve_logprobs(reader, scores->tokens, scores->n_tokens, NULL, 0);
    if (status != CHOIR_OK)
        return status;
    event->logprobs = reader->logprobs;
    event->n_logprobs = scores->n_tokens;
    read_logprobs(scores->tokens, scores->n_tokens, reader->logprobs, reader->tops);
    return CHOIR_OK;
}

static void read_embedding(const Choir__Client__Embeddings *embeddings, choir_event *event)
{
    begin_event(event, CHOIR_EVENT_EMBEDDING, embeddings->request_id);
    read_usage(embeddings->usage, embeddings->timings, event);
    event->embedding = embeddings->values;
    event->n_embedding = embeddings->n_values;
}

static void read_error(const Choir__Client__Error *error, choir_event *event)
{
    begin_event(event, CHOIR_EVENT_ERROR, error->request_id);
    event->status = choir_status_of_code(error->code);
    event->code = error->code;
    event->message = error->message;
    event->param = error->param;
    event->is_retryable = error->retryable;
    event->retry_after_ms = error->retry_after_ms;
}

choir_status choir_event_read(choir_event_reader *reader, choir_event *event, uint64_t *seq,
                              bool *has_event)
{
    const Choir__Client__ServerMessage *message = reader->message;
    choir_status status = CHOIR_OK;
    const bool is_first = reader->next_chunk == 0 && !reader->has_given_chunk;
    *has_event = false;
    if (!message)
        return CHOIR_OK;
    *seq = message->seq;
    if (message->body_case == CHOIR__CLIENT__SERVER_MESSAGE__BODY_BATCH) {
        status = read_batch(reader, message->batch, event, has_event);
    } else if (is_first) { /* messages with one event */
        reader->next_chunk = 1;
        *has_event = true;
        if (message->body_case == CHOIR__CLIENT__SERVER_MESSAGE__BODY_ACCEPTED) {
            read_accepted(message->accepted, event);
        } else if (message->body_case == CHOIR__CLIENT__SERVER_MESSAGE__BODY_ERROR) {
            read_error(message->error, event);
        } else if (message->body_case == CHOIR__CLIENT__SERVER_MESSAGE__BODY_SCORES) {
            status = read_scores(reader, message->scores, event);
        } else if (message->body_case == CHOIR__CLIENT__SERVER_MESSAGE__BODY_EMBEDDINGS) {
            read_embedding(message->embeddings, event);
        } else {
            *has_event = false; /* the answer to a Cancel, or to a call that timed out */
        }
    }
    if (!*has_event)
        choir_server_message_destroy(&reader->message);
    return status;
}

const char *choir_finish_reason_name(choir_finish_reason reason)
{
    static const char *const names[] = {"unspecified", "stop", "length", "abort"};
    return names[reason];
}
