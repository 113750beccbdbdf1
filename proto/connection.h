/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection file, `choir.json`: all that a client must know of a service. One JSON object,
 * mode 0600, always whole (written under another name, then renamed), removed when the service
 * ends.
 */
#ifndef CHOIR_PROTO_CONNECTION_H
#define CHOIR_PROTO_CONNECTION_H

#include "common/status.h"
#include "proto/endpoint.h"

typedef enum choir_connection_state {
    CHOIR_CONNECTION_LAUNCHING,
    CHOIR_CONNECTION_READY,
    CHOIR_CONNECTION_FAILED,
    CHOIR_CONNECTION_SHUTDOWN,
} choir_connection_state;

typedef struct choir_connection {
    choir_connection_state state;
    char request[CHOIR_ENDPOINT_BYTES];
    char control[CHOIR_ENDPOINT_BYTES];
    char model[128];
    char version[32];
    char host[64]; /* where the service's process runs, */
    long pid;      /* and its id there */
} choir_connection;

/* "LAUNCHING" and so on. */
const char *choir_connection_state_name(choir_connection_state state);

/* EIO. host, pid and version are this process's. */
choir_status choir_connection_write(const char *path,
                                    const choir_connection *connection) CHOIR_MUST_CHECK;
/* EUNAVAILABLE if there is no such file; EFORMAT if it is damaged, larger than 64 KiB, or writable
 * by others. */
choir_status choir_connection_read(const char *path, choir_connection *connection) CHOIR_MUST_CHECK;
/*
 * EUNAVAILABLE if a service that lives stands in the file: its process, on this host, exists; or it
 * is on another host, where nothing can be seen.
 */
choir_status choir_connection_check_free(const char *path) CHOIR_MUST_CHECK;
/* Removes the file if it is this process's; a failure is silent, since nobody can help it. */
void choir_connection_remove(const char *path);

#endif
