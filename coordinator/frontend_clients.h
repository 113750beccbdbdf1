/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clients of the request socket, and sending to them. A message for a client that reads slowly
 * waits in its backlog, in order; over its limit, or when the client is gone, the client is only
 * marked (is_gone): the request thread ends its requests and removes it when nobody holds a pointer
 * to it.
 *
 * Used by the request thread alone.
 */
#ifndef CHOIR_COORDINATOR_FRONTEND_CLIENTS_H
#define CHOIR_COORDINATOR_FRONTEND_CLIENTS_H

#include "coordinator/frontend_shared.h"
#include "proto/client.pb-c.h"
#include "proto/errors.h"
#include "proto/socket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHOIR_PEER_WAITING_MAX = 8 << 20, /* bytes for one client, of chunks and of backlog each */
    CHOIR_PEER_ID_BYTES = 255,
};

typedef struct choir_request choir_request; /* coordinator/frontend_table.h */
typedef struct choir_backlog choir_backlog;

typedef struct choir_peer {
    struct choir_peer *next;
    uint64_t number;                 /* of all clients there ever were, from 1 */
    uint8_t id[CHOIR_PEER_ID_BYTES]; /* ZeroMQ's routing id */
    size_t id_length;
    uint8_t session[CHOIR_SESSION_BYTES];
    int64_t heard_us, sent_us;
    int64_t retry_us;        /* when its queue was full: not to be tried again before, */
    int64_t retry_gap_us;    /* and how long the next pause will be */
    choir_request *requests; /* its open ones */
    size_t n_choices;        /* of these: answers that they will have */
    size_t n_score_entries;  /* log-probabilities that its open requests may have kept */
    bool has_news;           /* a chunk may be there to send */
    bool is_gone;
    choir_backlog *first, *last;
    size_t backlog_bytes;
} choir_peer;

typedef struct choir_clients {
    choir_socket *socket; /* borrowed */
    choir_peer *peers;
    size_t n_peers, max_peers;
    uint64_t n_ever;
} choir_clients;

/* The peer of a routing id; NULL if it is not known. */
choir_peer *choir_clients_find(const choir_clients *clients, choir_part id);
choir_peer *choir_clients_find_session(const choir_clients *clients,
                                       const uint8_t session[CHOIR_SESSION_BYTES]);
/*
 * A new peer with a random session; where there is no room, in place of the one without requests
 * that was silent for longest. NULL if there is none, or memory is out.
 */
choir_peer *choir_clients_add(choir_clients *clients, choir_part id, int64_t now_us);
/* The peer must have no requests. */
void choir_clients_remove(choir_clients *clients, choir_peer *peer);
void choir_clients_remove_all(choir_clients *clients);

/* Sends, or puts it into the backlog. */
void choir_clients_send(choir_clients *clients, choir_peer *peer,
                        const Choir__Client__ServerMessage *message, int64_t now_us);
/*
 * Whether it makes sense to send now: a client whose queue was full is tried after pauses from 20
 * ms, doubling up to 1 s, since each attempt costs packing what waits.
 */
bool choir_clients_may_try(const choir_peer *peer, int64_t now_us);
/* Sends only if nothing has to wait; whether it was sent. */
bool choir_clients_try(choir_clients *clients, choir_peer *peer,
                       const Choir__Client__ServerMessage *message,
                       int64_t now_us) CHOIR_MUST_CHECK;
/* Sends what waits in the backlog; whether it is empty now. */
bool choir_clients_flush(choir_clients *clients, choir_peer *peer, int64_t now_us);

/*
 * Fills an Error; param, words and request_id are borrowed, words (may be "") follow the fixed
 * text. What is not UTF-8 is left out.
 */
typedef struct choir_error_text {
    Choir__Client__Error error;
    char message[512];
} choir_error_text;
void choir_error_fill(choir_error_text *text, choir_error_kind kind, const char *request_id,
                      const char *param, const char *words);
void choir_clients_send_error(choir_clients *clients, choir_peer *peer, uint64_t seq,
                              const choir_error_text *text, int64_t now_us);
/* Both in one. */
void choir_clients_refuse(choir_clients *clients, choir_peer *peer, uint64_t seq,
                          choir_error_kind kind, const char *request_id, const char *param,
                          const char *words, int64_t now_us);

#endif
