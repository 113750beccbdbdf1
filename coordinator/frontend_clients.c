/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/frontend_clients.h"

#include "common/mem.h"
#include "common/utf8.h"
#include "proto/envelope.h"
#include "proto/wire.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { RETRY_FIRST_US = 20000, RETRY_LAST_US = 1000000 };

struct choir_backlog {
    choir_backlog *next;
    uint8_t *bytes; /* a packed ServerMessage */
    size_t length;
};

choir_peer *choir_clients_find(const choir_clients *clients, choir_part id)
{
    for (choir_peer *peer = clients->peers; peer; peer = peer->next)
        if (peer->id_length == id.length && memcmp(peer->id, id.bytes, id.length) == 0)
            return peer;
    return NULL;
}

choir_peer *choir_clients_find_session(const choir_clients *clients,
                                       const uint8_t session[CHOIR_SESSION_BYTES])
{
    for (choir_peer *peer = clients->peers; peer; peer = peer->next)
        if (memcmp(peer->session, session, CHOIR_SESSION_BYTES) == 0)
            return peer;
    return NULL;
}

static choir_peer *longest_idle(const choir_clients *clients)
{
    choir_peer *idle = NULL;
    for (choir_peer *peer = clients->peers; peer; peer = peer->next)
        if (peer->n_choices == 0 && !peer->first && (!idle || peer->heard_us < idle->heard_us))
            idle = peer;
    return idle;
}

choir_peer *choir_clients_add(choir_clients *clients, choir_part id, int64_t now_us)
{
    choir_peer *peer;
    if (id.length > CHOIR_PEER_ID_BYTES)
        return NULL;
    if (clients->n_peers >= clients->max_peers) {
        choir_peer *idle = longest_idle(clients);
        if (!idle)
            return NULL;
        choir_clients_remove(clients, idle);
    }
    if (choir_alloc(1, sizeof *peer, (void **)&peer) != CHOIR_OK)
        return NULL;
    if (getrandom(peer->session, sizeof peer->session, 0) != (ssize_t)sizeof peer->session) {
        free(peer);
        return NULL;
    }
    peer->number = ++clients->n_ever;
    memcpy(peer->id, id.bytes, id.length);
    peer->id_length = id.length;
    peer->heard_us = peer->sent_us = now_us;
    peer->next = clients->peers;
    clients->peers = peer;
    clients->n_peers++;
    return peer;
}

static void drop_first(choir_peer *peer)
{
    choir_backlog *first = peer->first;
    peer->first = first->next;
    if (!peer->first)
        peer->last = NULL;
    peer->backlog_bytes -= first->length;
    free(first->bytes);
    free(first);
}

void choir_clients_remove(choir_clients *clients, choir_peer *peer)
{
    assert(peer->n_choices == 0);
    choir_peer **link = &clients->peers;
    while (*link != peer)
        link = &(*link)->next;
    *link = peer->next;
    clients->n_peers--;
    while (peer->first)
        drop_first(peer);
    free(peer);
}

void choir_clients_remove_all(choir_clients *clients)
{
    while (clients->peers)
        choir_clients_remove(clients, clients->peers);
}

static bool deliver(choir_clients *clients, choir_peer *peer, choir_part envelope, int64_t now_us)
{
    const choir_part id = {peer->id, peer->id_length};
    const choir_delivery delivery = choir_envelope_send_packed(clients->socket, &id, envelope);
    if (delivery == CHOIR_DELIVERED) {
        peer->sent_us = now_us;
        peer->retry_gap_us = 0;
    }
    if (delivery == CHOIR_FULL) {
        peer->retry_gap_us = peer->retry_gap_us == 0                  ? RETRY_FIRST_US
                             : peer->retry_gap_us < RETRY_LAST_US / 2 ? 2 * peer->retry_gap_us
                                                                      : RETRY_LAST_US;
        peer->retry_us = now_us + peer->retry_gap_us;
    }
    if (delivery == CHOIR_GONE)
        peer->is_gone = true;
    return delivery == CHOIR_DELIVERED;
}

bool choir_clients_may_try(const choir_peer *peer, int64_t now_us)
{
    return peer->retry_gap_us == 0 || now_us >= peer->retry_us;
}

bool choir_clients_flush(choir_clients *clients, choir_peer *peer, int64_t now_us)
{
    while (peer->first && !peer->is_gone && choir_clients_may_try(peer, now_us) &&
           deliver(clients, peer, (choir_part){peer->first->bytes, peer->first->length}, now_us))
        drop_first(peer);
    return !peer->first && !peer->is_gone;
}

/* Takes the bytes over. */
static bool keep(choir_peer *peer, uint8_t *bytes, size_t length)
{
    choir_backlog *item;
    if (length > CHOIR_PEER_WAITING_MAX - peer->backlog_bytes ||
        choir_alloc(1, sizeof *item, (void **)&item) != CHOIR_OK) {
        free(bytes);
        return false;
    }
    *item = (choir_backlog){.bytes = bytes, .length = length};
    if (peer->last)
        peer->last->next = item;
    else
        peer->first = item;
    peer->last = item;
    peer->backlog_bytes += length;
    return true;
}

void choir_clients_send(choir_clients *clients, choir_peer *peer,
                        const Choir__Client__ServerMessage *message, int64_t now_us)
{
    uint8_t *bytes;
    size_t length;
    if (peer->is_gone)
        return;
    if (choir_wire_pack(&message->base, 0, &bytes, &length) != CHOIR_OK) {
        peer->is_gone = true; /* an answer is lost: better no stream than one with a hole */
        return;
    }
    if (choir_clients_flush(clients, peer, now_us) && choir_clients_may_try(peer, now_us) &&
        deliver(clients, peer, (choir_part){bytes, length}, now_us))
        free(bytes);
    else if (!keep(peer, bytes, length))
        peer->is_gone = true;
}

bool choir_clients_try(choir_clients *clients, choir_peer *peer,
                       const Choir__Client__ServerMessage *message, int64_t now_us)
{
    uint8_t *bytes;
    size_t length;
    if (!choir_clients_may_try(peer, now_us) || !choir_clients_flush(clients, peer, now_us) ||
        choir_wire_pack(&message->base, 0, &bytes, &length) != CHOIR_OK)
        return false;
    const bool is_sent = deliver(clients, peer, (choir_part){bytes, length}, now_us);
    free(bytes);
    return is_sent;
}

void choir_error_fill(choir_error_text *text, choir_error_kind kind, const char *request_id,
                      const char *param, const char *words)
{
    const choir_error_entry *entry = choir_error_entry_of(kind);
    const bool has_words = words[0] && choir_utf8_is_valid(words, strlen(words));
    char message[sizeof text->message + CHOIR_FRONTEND_WORDS];
    snprintf(message, sizeof message, "%s%s%s", entry->message, has_words ? ": " : "",
             has_words ? words : "");
    choir_frontend_copy_words(text->message, sizeof text->message, message);
    text->error = (Choir__Client__Error)CHOIR__CLIENT__ERROR__INIT;
    text->error.request_id =
        (char *)(choir_utf8_is_valid(request_id, strlen(request_id)) ? request_id : "");
    text->error.code = entry->code;
    text->error.http_status = entry->http_status;
    text->error.message = text->message;
    text->error.retryable = entry->is_retryable;
    text->error.retry_after_ms = entry->retry_after_ms;
    text->error.param = (char *)param; /* packing only reads it */
}

void choir_clients_send_error(choir_clients *clients, choir_peer *peer, uint64_t seq,
                              const choir_error_text *text, int64_t now_us)
{
    Choir__Client__ServerMessage message = CHOIR__CLIENT__SERVER_MESSAGE__INIT;
    message.seq = seq;
    message.body_case = CHOIR__CLIENT__SERVER_MESSAGE__BODY_ERROR;
    message.error = (Choir__Client__Error *)&text->error;
    choir_clients_send(clients, peer, &message, now_us);
}

void choir_clients_refuse(choir_clients *clients, choir_peer *peer, uint64_t seq,
                          choir_error_kind kind, const char *request_id, const char *param,
                          const char *words, int64_t now_us)
{
    choir_error_text text;
    choir_error_fill(&text, kind, request_id, param, words);
    choir_clients_send_error(clients, peer, seq, &text, now_us);
}
