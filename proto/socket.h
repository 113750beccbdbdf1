/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ZeroMQ sockets with this project's settings: everything is finite, nothing blocks but poll.
 * All sockets of a process share one context, which lives while one of them does.
 *
 * One thread uses a socket at a time. Sockets never send or receive after a fork.
 */
#ifndef CHOIR_PROTO_SOCKET_H
#define CHOIR_PROTO_SOCKET_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct choir_socket choir_socket;

typedef enum choir_socket_kind {
    CHOIR_SOCKET_ROUTER, /* serves clients; part 0 is the peer's routing id */
    CHOIR_SOCKET_DEALER, /* a client */
    CHOIR_SOCKET_PAIR,   /* the engine link */
} choir_socket_kind;

/* max_part_bytes: a peer that sends a longer part is disconnected. */
choir_status choir_socket_create(choir_socket_kind kind, size_t max_part_bytes,
                                 choir_socket **socket) CHOIR_MUST_CHECK;
/* What was sent leaves within a second or is dropped. Accepts NULL, nulls the pointer. */
void choir_socket_destroy(choir_socket **socket);

/*
 * EUNAVAILABLE: another process listens there. EIO otherwise. A stale ipc socket is replaced, any
 * other file is not.
 */
choir_status choir_socket_bind(choir_socket *socket, const char *endpoint) CHOIR_MUST_CHECK;
/* The endpoint as bound, with the port that stands for `*`. */
choir_status choir_socket_bound(const choir_socket *socket, char *endpoint,
                                size_t size) CHOIR_MUST_CHECK;
/* Returns at once; the connection is made and remade in the background. */
choir_status choir_socket_connect(choir_socket *socket, const char *endpoint) CHOIR_MUST_CHECK;
/* PAIR and DEALER: whether a peer is connected at this moment (PAIR: and can be sent to). */
bool choir_socket_is_up(choir_socket *socket);
/*
 * DEALER: how many connections were lost so far. For a ROUTER a connection made again is another
 * peer, so is_up() alone does not tell that what was asked for still comes.
 */
size_t choir_socket_n_lost(choir_socket *socket);

/* Bytes that somebody else owns. */
typedef struct choir_part {
    const void *bytes;
    size_t length;
} choir_part;

enum { CHOIR_MESSAGE_PARTS = 4 }; /* of a received message, those behind are counted and dropped */

typedef enum choir_delivery {
    CHOIR_DELIVERED, /* queued for the peer */
    CHOIR_FULL,      /* the peer reads too slowly, or is not connected (PAIR): try again later */
    CHOIR_GONE,      /* ROUTER: there is no such peer (any more) */
} choir_delivery;

/* Sends one message of 1 to CHOIR_MESSAGE_PARTS parts, copied. Never blocks; all of it or nothing
 * is sent. */
choir_delivery choir_socket_send(choir_socket *socket, const choir_part *parts,
                                 size_t n_parts) CHOIR_MUST_CHECK;

/* A received message. The parts live until the next receive into it. */
typedef struct choir_message choir_message;

choir_status choir_message_create(choir_message **message) CHOIR_MUST_CHECK;
void choir_message_destroy(choir_message **message);
size_t choir_message_n_parts(const choir_message *message);
choir_part choir_message_part(const choir_message *message, size_t index);

/* Whether a message was there; never blocks. */
bool choir_socket_receive(choir_socket *socket, choir_message *message) CHOIR_MUST_CHECK;

typedef struct choir_poll_item {
    choir_socket *socket; /* or NULL and fd */
    int fd;
    bool is_readable; /* set by choir_socket_poll */
} choir_poll_item;

enum { CHOIR_POLL_ITEMS = 4 };

/*
 * Waits until an item can be read from, at most timeout_ms (-1: for ever). Returns early, with none
 * readable, when a signal came.
 */
choir_status choir_socket_poll(choir_poll_item *items, size_t n_items,
                               int timeout_ms) CHOIR_MUST_CHECK;

#endif
