/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front end: everything between the clients (proto/client.proto) and the engine
 * (proto/engine.proto). It checks requests, turns text into tokens and back, and finds stop
 * strings; the engine knows token ids only. It runs on threads of its own inside `choir serve`,
 * inside a verb with a private service, or inside rank 0, and never prints.
 *
 * The engine connects to engine_endpoint and says Ready or Failed; until then clients are told that
 * the service is launching. After choir_frontend_engine_lost() a new engine may connect.
 */
#ifndef CHOIR_COORDINATOR_FRONTEND_H
#define CHOIR_COORDINATOR_FRONTEND_H

#include "common/status.h"
#include "proto/report.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct choir_frontend choir_frontend;

/* Zero it; 0 and NULL stand for the default. Strings are copied. */
typedef struct choir_frontend_options {
    const char *engine_endpoint; /* inproc:// or ipc://; required */
    /*
     * Where clients connect: ipc://, inproc:// or tcp:// on loopback (see choir_endpoint_check).
     * The control endpoint follows from it: ".control" appended, or the next TCP port.
     * NULL: no clients are served (a --fingerprint or --bench worker).
     */
    const char *listen;
    const char *connection_file; /* written here; NULL: none */
    const char *model_path; /* the GGUF file; only its metadata is read. Needed with `listen` */
    const char *served_model_name;    /* NULL: the file's name without folder and ".gguf" */
    uint32_t max_requests;            /* running and waiting, of all clients; 1,024 */
    uint32_t max_requests_per_client; /* 256 */
    uint32_t max_clients;             /* 4,096 */
    uint32_t credit_wait_ms;          /* of an answer that has ended, for credit; 60,000 */
} choir_frontend_options;

/*
 * Opens the model's tokenizer, binds the sockets and starts the threads. EUSAGE: endpoint not
 * usable; EUNAVAILABLE: another service runs on it or on the connection file; EIO; EFORMAT,
 * EUNSUPPORTED: the model file.
 */
choir_status choir_frontend_create(const choir_frontend_options *options,
                                   choir_frontend **frontend) CHOIR_MUST_CHECK;
/* Stops first if it still runs. */
void choir_frontend_destroy(choir_frontend **frontend);

/*
 * Waits up to timeout_ms (-1: for ever) until the engine said Ready (its report, copied: the caller
 * destroys it), or Failed (the engine's status and words). ETIMEOUT; EENGINE after engine_lost.
 */
choir_status choir_frontend_wait_ready(choir_frontend *frontend, int timeout_ms,
                                       choir_engine_report *report) CHOIR_MUST_CHECK;
/* The same for a worker started with --fingerprint. */
choir_status choir_frontend_wait_fingerprint(choir_frontend *frontend, int timeout_ms,
                                             choir_fingerprint_report *report) CHOIR_MUST_CHECK;
/* The same for a worker started with --bench: a JSON array, which the caller frees. */
choir_status choir_frontend_wait_bench(choir_frontend *frontend, int timeout_ms,
                                       char **rows) CHOIR_MUST_CHECK;

/*
 * The supervisor saw the engine end: running requests end with an UNAVAILABLE error that carries
 * these words unless a path is among them, and so do new ones until an engine says Ready. If the
 * engine said Failed before, that stays what choir_frontend_wait_ready() tells. Returns when this
 * is done. From any thread.
 */
void choir_frontend_engine_lost(choir_frontend *frontend, const char *words);

/*
 * Tells clients goodbye and the engine to shut down, ends the threads, removes the connection file.
 * May be called twice.
 */
void choir_frontend_stop(choir_frontend *frontend);

/* The endpoints as bound (a port instead of `*`); borrowed, as long as the front end lives. */
const char *choir_frontend_endpoint(const choir_frontend *frontend);
const char *choir_frontend_control_endpoint(const choir_frontend *frontend);

typedef enum choir_frontend_state {
    CHOIR_FRONTEND_LAUNCHING,
    CHOIR_FRONTEND_READY,
    CHOIR_FRONTEND_FAILED,
    CHOIR_FRONTEND_SHUTDOWN,
} choir_frontend_state;

typedef struct choir_frontend_counters {
    choir_frontend_state state;
    uint32_t n_requests; /* running and waiting */
    uint32_t n_clients;
    uint64_t n_finished;   /* requests that ended, errors included */
    uint64_t n_bad_frames; /* dropped */
    uint64_t n_prompt_tokens, n_generated_tokens;
} choir_frontend_counters;

/* A snapshot. From any thread. */
void choir_frontend_count(choir_frontend *frontend, choir_frontend_counters *counters);

#endif
