/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the front end's threads share. The request thread owns the request socket, the engine link
 * and all requests; the control thread owns the control socket; everybody else only looks, asks and
 * waits. Everything they tell each other goes through this one locked struct:
 *
 *     callers ──stop, lost──▶ ┌────────┐ ──wake──▶ request thread ◀──▶ clients, engine
 *     callers ◀──state──────  │ shared │
 *     control ──cancels, ───▶ └────────┘ ──wake──▶ control thread ◀──▶ clients
 *               status wanted              (status there, stop)
 */
#ifndef CHOIR_COORDINATOR_FRONTEND_SHARED_H
#define CHOIR_COORDINATOR_FRONTEND_SHARED_H

#include "common/status.h"
#include "coordinator/frontend.h"
#include "coordinator/request_check.h"
#include "model/chat.h"
#include "model/tokenizer.h"
#include "proto/client.pb-c.h"
#include "proto/endpoint.h"
#include "proto/engine.pb-c.h"
#include "proto/metrics.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHOIR_SESSION_BYTES = 16, CHOIR_FRONTEND_WORDS = 1024, CHOIR_CANCEL_IDS_MAX = 1024 };

/* Constant while the threads run. */
typedef struct choir_frontend_setup {
    choir_tokenizer *tokenizer; /* NULL without clients */
    choir_chat_template chat_template;
    choir_request_limits limits;
    char model[128];
    char architecture[64];
    char endpoint[CHOIR_ENDPOINT_BYTES], control[CHOIR_ENDPOINT_BYTES]; /* as bound */
    char *connection_file;                                              /* NULL: none */
    uint32_t max_requests, max_requests_per_client, max_clients;
    int64_t credit_wait_us;
    int64_t started_us;
} choir_frontend_setup;

/* A Cancel that came on the control socket; owned by the list. */
typedef struct choir_cancel {
    struct choir_cancel *next;
    uint8_t session[CHOIR_SESSION_BYTES];
    size_t n_ids;
    char **ids;
} choir_cancel;

typedef struct choir_frontend_shared {
    choir_frontend_setup setup;
    pthread_mutex_t lock;
    pthread_cond_t changed;          /* state, has_fingerprint, bench */
    int wake_requests, wake_control; /* eventfd */
    bool asked_stop;
    /* from the engine */
    choir_frontend_state state;
    choir_status failed_status; /* for callers, when FAILED */
    char failed_words[CHOIR_FRONTEND_WORDS];
    char client_words[CHOIR_FRONTEND_WORDS]; /* what clients are told of it, "" for nothing more */
    choir_engine_report report;              /* when READY */
    bool has_fingerprint;
    choir_fingerprint_report fingerprint;
    char *bench; /* NULL: not yet */
    choir_frontend_counters counters;
    /* to the request thread */
    bool asked_lost;
    char lost_words[CHOIR_FRONTEND_WORDS];
    choir_cancel *cancels;  /* newest first */
    size_t n_cancels;       /* and their ids */
    uint64_t status_wanted; /* serial */
    /* to the control thread */
    uint64_t status_done; /* serial, <= status_wanted */
    uint32_t n_running, n_waiting;
    float token_usage, gen_throughput;
    choir_engine_counters counts;
    choir_request_metrics metrics; /* of all requests since the start */
    uint64_t n_steps, step_us_p50, step_us_p99;
} choir_frontend_shared;

/* Makes lock, condition and descriptors in a zeroed struct. */
choir_status choir_frontend_shared_open(choir_frontend_shared *shared) CHOIR_MUST_CHECK;
/* Releases these and what setup and lists own; accepts a struct that was never opened. */
void choir_frontend_shared_close(choir_frontend_shared *shared);

/* Wakes the thread that polls this eventfd; drain takes the wake-up away. */
void choir_frontend_wake(int descriptor);
void choir_frontend_drain(int descriptor);

/*
 * Keeps a Cancel for the request thread, without ids that no request can have; dropped silently if
 * memory is out or too many wait.
 * Take gives the whole list away, to be freed with choir_cancel_destroy().
 */
void choir_frontend_put_cancel(choir_frontend_shared *shared, const Choir__Client__Cancel *cancel);
choir_cancel *choir_frontend_take_cancels(choir_frontend_shared *shared);
void choir_cancel_destroy(choir_cancel **list);

/* Writes the connection file in this state, if there is one. */
choir_status choir_frontend_write_connection(const choir_frontend_shared *shared,
                                             choir_frontend_state state) CHOIR_MUST_CHECK;

/* Fills a Welcome; the strings are the setup's. The lock must not be held. */
void choir_frontend_welcome(choir_frontend_shared *shared, Choir__Client__Welcome *welcome);
/* A copy that is cut, where it must be, at the end of a character. */
void choir_frontend_copy_words(char *to, size_t size, const char *from);
/* The protocol's name of a state. */
Choir__Client__State choir_frontend_state_code(choir_frontend_state state);
/* What a new request is told in this state, and more words on it; NONE when READY. */
choir_error_kind choir_frontend_refusal(choir_frontend_shared *shared,
                                        char words[CHOIR_FRONTEND_WORDS]);

#endif
