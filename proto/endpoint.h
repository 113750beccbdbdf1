/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of sockets and the folder where a user's own live: `$XDG_RUNTIME_DIR/choir`, or
 * `/tmp/choir-UID` where that leads nowhere. The folder is made with mode 0700 and refused
 * (EUSAGE) if it is not ours, not a folder, or open to others.
 */
#ifndef CHOIR_PROTO_ENDPOINT_H
#define CHOIR_PROTO_ENDPOINT_H

#include "common/status.h"

enum {
    CHOIR_PATH_BYTES = 256,     /* of a runtime folder and what lies in it, NUL included */
    CHOIR_ENDPOINT_BYTES = 320, /* of an endpoint, NUL included */
};

/* The runtime folder, made if it does not exist. */
choir_status choir_runtime_folder(char folder[CHOIR_PATH_BYTES]) CHOIR_MUST_CHECK;
/* Where the connection file lies if nobody says otherwise: "choir.json" in the runtime folder. */
choir_status choir_connection_path(char path[CHOIR_PATH_BYTES]) CHOIR_MUST_CHECK;
/*
 * A fresh endpoint of this process in the runtime folder, "ipc://FOLDER/STEM-PID-N": for the
 * default `listen`, for the engine link, and for private services. EUSAGE if it would be over 107
 * bytes.
 */
choir_status choir_endpoint_make(const char *stem,
                                 char endpoint[CHOIR_ENDPOINT_BYTES]) CHOIR_MUST_CHECK;
/*
 * Whether clients may be served at `endpoint`: ipc:// with a path of at most 107 bytes, inproc://,
 * and tcp://HOST:PORT with a loopback address as host (127.x.x.x, localhost or [::1]) and a port or
 * `*`. EUSAGE says what to write instead. Other TCP: EUNSUPPORTED, until there is encryption.
 */
choir_status choir_endpoint_check(const char *endpoint) CHOIR_MUST_CHECK;
/*
 * The control endpoint that belongs to a request endpoint: ".control" appended (ipc, inproc), or
 * the next port (tcp; `*` stays `*`).
 */
choir_status choir_endpoint_control(const char *endpoint,
                                    char control[CHOIR_ENDPOINT_BYTES]) CHOIR_MUST_CHECK;

#endif
