/* SPDX-License-Identifier: Apache-2.0 */
#include "client/queue.h"

#include "common/mem.h"
#include "proto/envelope.h"
#include "proto/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A request from its start to its last event. */
typedef struct open_request {
    struct open_request *next;
    char id[CHOIR_REQUEST_ID_SIZE];
    Choir__Client__ClientMessage *waiting; /* NULL: sent */
    uint64_t seq;
    size_t n_answers, n_left; /* of the latter the end has not come */
    bool is_accepted;
    bool is_cancelled; /* before it was sent */
} open_request;

typedef struct inbox_item {
    struct inbox_item *next;
    Choir__Client__ServerMessage *message;
} inbox_item;

struct choir_queue {
    choir_session *session; /* borrowed */
    open_request *requests; /* oldest first */
    size_t n_sent;          /* answers that the service is to give */
    inbox_item *first, *last;
    choir_event_reader *reader;
};

choir_status choir_queue_create(choir_session *session, choir_queue **queue)
{
    choir_status status = choir_alloc(1, sizeof **queue, (void **)queue);
    if (status != CHOIR_OK)
        return status;
    (*queue)->session = session;
    status = choir_event_reader_create(&(*queue)->reader);
    if (status != CHOIR_OK)
        choir_queue_destroy(queue);
    return status;
}

static void free_request(open_request *request)
{
    choir_client_message_destroy(&request->waiting);
    free(request);
}

void choir_queue_forget(choir_queue *queue)
{
    while (queue->requests) {
        open_request *next = queue->requests->next;
        free_request(queue->requests);
        queue->requests = next;
    }
    queue->n_sent = 0;
}

static Choir__Client__ServerMessage *pop_inbox(choir_queue *queue)
{
    inbox_item *item = queue->first;
    if (!item)
        return NULL;
    Choir__Client__ServerMessage *message = item->message;
    queue->first = item->next;
    if (!queue->first)
        queue->last = NULL;
    free(item);
    return message;
}

void choir_queue_destroy(choir_queue **queue)
{
    if (!*queue)
        return;
    choir_queue_forget(*queue);
    for (Choir__Client__ServerMessage *message; (message = pop_inbox(*queue));)
        choir_server_message_destroy(&message);
    choir_event_reader_destroy(&(*queue)->reader);
    free(*queue);
    *queue = NULL;
}

static open_request *find_request(const choir_queue *queue, const char *id)
{
    for (open_request *request = queue->requests; request; request = request->next)
        if (strcmp(request->id, id) == 0)
            return request;
    return NULL;
}

static void remove_request(choir_queue *queue, open_request *request)
{
    open_request **link = &queue->requests;
    while (*link != request)
        link = &(*link)->next;
    *link = request->next;
    if (!request->waiting)
        queue->n_sent -= request->n_left;
    free_request(request);
}

static choir_status send_request(choir_queue *queue, open_request *request)
{
    const choir_status status =
        choir_session_send(queue->session, CHOIR_SESSION_REQUEST, request->waiting, &request->seq);
    if (status == CHOIR_OK) {
        choir_client_message_destroy(&request->waiting);
        queue->n_sent += request->n_left;
    }
    return status;
}

/* Sends what waits, oldest first, as far as the service has room. */
choir_status choir_queue_send(choir_queue *queue)
{
    choir_status status = CHOIR_OK;
    const uint32_t max_sent = choir_session_welcome(queue->session)->max_requests;
    for (open_request *request = queue->requests;
         request && status == CHOIR_OK && queue->n_sent < max_sent; request = request->next) {
        if (!request->waiting || request->is_cancelled)
            continue;
        if (queue->n_sent > 0 && request->n_left > max_sent - queue->n_sent)
            break; /* in their order; alone it is sent, and may be refused */
        status = send_request(queue, request);
    }
    return status;
}

/* A copy that owns all it points to. */
static choir_status copy_message(const Choir__Client__ClientMessage *message,
                                 Choir__Client__ClientMessage **copy)
{
    uint8_t *bytes = NULL;
    size_t length;
    choir_status status = choir_wire_pack(&message->base, 0, &bytes, &length);
    if (status == CHOIR_OK && length > CHOIR_CLIENT_MESSAGE_MAX)
        status = choir_fail(CHOIR_EINVALID, "the request is too large");
    if (status == CHOIR_OK)
        status = choir_wire_unpack(&choir__client__client_message__descriptor, bytes, length,
                                   CHOIR_SERVER_UNPACKED_MAX, (ProtobufCMessage **)copy);
    free(bytes);
    return status;
}

static size_t count_answers(const Choir__Client__ClientMessage *message)
{
    const bool is_generate = message->body_case == CHOIR__CLIENT__CLIENT_MESSAGE__BODY_GENERATE;
    const Choir__Client__SamplingParams *params = is_generate ? message->generate->sampling : NULL;
    return params && params->n > 1 ? (size_t)params->n : 1;
}

choir_status choir_queue_start(choir_queue *queue, const Choir__Client__ClientMessage *message,
                               const char *id)
{
    open_request *request, **link = &queue->requests;
    choir_status status = choir_alloc(1, sizeof *request, (void **)&request);
    if (status != CHOIR_OK)
        return status;
    snprintf(request->id, sizeof request->id, "%s", id);
    request->n_answers = request->n_left = count_answers(message);
    status = copy_message(message, &request->waiting);
    if (status != CHOIR_OK) {
        free(request);
        return status;
    }
    while (*link)
        link = &(*link)->next;
    *link = request;
    return choir_queue_send(queue);
}

choir_status choir_queue_keep(choir_queue *queue, Choir__Client__ServerMessage **message)
{
    inbox_item *item;
    const choir_status status = choir_alloc(1, sizeof *item, (void **)&item);
    if (status != CHOIR_OK) {
        choir_server_message_destroy(message);
        return status;
    }
    item->message = *message;
    if (queue->last)
        queue->last->next = item;
    else
        queue->first = item;
    queue->last = item;
    *message = NULL;
    return CHOIR_OK;
}

/* A finish that the service does not know of, for a request that it never got. */
static choir_status push_abort(choir_queue *queue, const char *id)
{
    Choir__Client__Finish finish = CHOIR__CLIENT__FINISH__INIT;
    Choir__Client__Chunk chunk = CHOIR__CLIENT__CHUNK__INIT, *chunks[] = {&chunk};
    Choir__Client__Batch batch = CHOIR__CLIENT__BATCH__INIT;
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT, *copy;
    uint8_t *bytes = NULL;
    size_t length;
    finish.reason = CHOIR__CLIENT__FINISH_REASON__FINISH_REASON_ABORT;
    chunk.request_id = (char *)id;
    chunk.finish = &finish;
    batch.chunks = chunks;
    batch.n_chunks = 1;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_BATCH;
    message.batch = &batch;
    choir_status status = choir_wire_pack(&message.base, 0, &bytes, &length);
    if (status == CHOIR_OK)
        status = choir_wire_unpack(&choir__client__server_message__descriptor, bytes, length,
                                   CHOIR_SERVER_UNPACKED_MAX, (ProtobufCMessage **)&copy);
    free(bytes);
    return status == CHOIR_OK ? choir_queue_keep(queue, &copy) : status;
}

/*
 * The request that an event is about: by its id, or, where the service could not read the id, by
 * the sequence number of the message that it answers.
 */
static open_request *request_of(const choir_queue *queue, choir_event *event, uint64_t seq)
{
    if (event->request_id[0]) {
        open_request *request = find_request(queue, event->request_id);
        /* An Error that answers another message about it does not end it. */
        const bool is_other =
            request && event->kind == CHOIR_EVENT_ERROR && seq > 0 && seq != request->seq;
        return request && event->index < request->n_answers && !is_other ? request : NULL;
    }
    for (open_request *request = queue->requests; request && seq > 0; request = request->next)
        if (!request->waiting && request->seq == seq) {
            memcpy(event->request_id, request->id, sizeof event->request_id);
            return request;
        }
    return NULL;
}

/* One answer fewer, or none is left. */
static void count_end(choir_queue *queue, open_request *request, choir_event *event)
{
    if (event->kind == CHOIR_EVENT_FINISH && request->n_left > 1 && !request->is_cancelled) {
        request->n_left--;
        queue->n_sent--;
    } else if (event->kind >= CHOIR_EVENT_FINISH) {
        event->is_last = true;
        remove_request(queue, request);
    }
}

/* The next event of what has come, for a request that is open; false if there is none. */
choir_status choir_queue_take(choir_queue *queue, choir_event *event, bool *has_event)
{
    for (;;) {
        uint64_t seq;
        choir_status status = choir_event_read(queue->reader, event, &seq, has_event);
        if (status != CHOIR_OK)
            return status;
        if (!*has_event) {
            Choir__Client__ServerMessage *message = pop_inbox(queue);
            if (!message)
                return CHOIR_OK;
            choir_event_reader_give(queue->reader, &message);
            continue;
        }
        open_request *request = request_of(queue, event, seq);
        if (!request)
            continue;
        request->is_accepted = true;
        count_end(queue, request, event);
        return CHOIR_OK;
    }
}

choir_queue_state choir_queue_look(const choir_queue *queue, const char *id)
{
    const open_request *request = find_request(queue, id);
    if (!request)
        return CHOIR_QUEUE_NONE;
    if (request->waiting)
        return CHOIR_QUEUE_WAITING;
    return request->is_accepted ? CHOIR_QUEUE_ACCEPTED : CHOIR_QUEUE_SENT;
}

bool choir_queue_is_empty(const choir_queue *queue)
{
    return !queue->requests;
}

choir_status choir_queue_drop(choir_queue *queue, const char *id)
{
    open_request *request = find_request(queue, id);
    if (request->is_cancelled)
        return CHOIR_OK;
    request->is_cancelled = true;
    return push_abort(queue, id);
}
