/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Communicators: the only file that knows MPI. One thread of a process calls these functions
 * (MPI_THREAD_FUNNELED). A failing MPI call ends the whole job (MPI_ERRORS_ARE_FATAL), so most
 * functions cannot fail. `Collective` means that all ranks of the communicator must call it.
 *
 * Counts are elements; floats travel as their bytes, so that no bit changes.
 */
#ifndef CHOIR_WORKER_COMM_H
#define CHOIR_WORKER_COMM_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct choir_comm choir_comm;

/* A send under way; all zero when there is none. */
typedef struct choir_comm_request {
    uint64_t opaque;
    bool is_active;
} choir_comm_request;

/* What a point-to-point message is, so that messages of one kind never meet another's receive. */
typedef enum choir_comm_tag {
    CHOIR_COMM_STEP = 1,
    CHOIR_COMM_ACTIVATIONS,
    CHOIR_COMM_RESULTS,
    CHOIR_COMM_TELEMETRY,
} choir_comm_tag;

/* Collective over the job. Starts MPI and gives the communicator of all ranks. */
choir_status choir_comm_start(choir_comm **world) CHOIR_MUST_CHECK;
/* Collective. Ends MPI; all communicators must have been destroyed. */
void choir_comm_finish(void);
/* Collective for communicators made by a split. Accepts NULL, nulls the pointer. */
void choir_comm_destroy(choir_comm **comm);

int choir_comm_rank(const choir_comm *comm);
int choir_comm_size(const choir_comm *comm);
/* The MPI library's own words, such as "Open MPI v4.1.4"; static. */
const char *choir_comm_library(void);

/* Collective. Ranks of one colour come together, ordered by key; colour < 0: *result is NULL. */
choir_status choir_comm_split(const choir_comm *comm, int colour, int key,
                              choir_comm **result) CHOIR_MUST_CHECK;
/* Collective. The ranks that share this one's memory. */
choir_status choir_comm_split_node(const choir_comm *comm, choir_comm **result) CHOIR_MUST_CHECK;

/* Local. Ends the whole job at once with an exit code. */
_Noreturn void choir_comm_abort(int exit_code);

/* Collective. */
void choir_comm_barrier(const choir_comm *comm);
void choir_comm_broadcast(const choir_comm *comm, void *bytes, size_t n, int root);
int64_t choir_comm_min(const choir_comm *comm, int64_t value);
/* Every rank learns every rank's n bytes: all [size][n], in rank order. */
void choir_comm_allgather(const choir_comm *comm, const void *mine, size_t n, void *all);

/*
 * Collective. Whether all ranks succeeded: OK, or on every rank the status and words of the lowest
 * rank that failed, so that no rank goes on into a collective alone. `status` is this rank's, its
 * words are choir_error()'s.
 */
choir_status choir_comm_agree(const choir_comm *comm, choir_status status) CHOIR_MUST_CHECK;

/* Collective. all receives counts[r] floats of rank r at offsets[r]; `mine` holds this rank's. */
void choir_comm_allgatherv(const choir_comm *comm, const float *mine, float *all, const int *counts,
                           const int *offsets);
/* Collective. send_counts[r] floats at mine + send_offsets[r] go to rank r, and so back. */
void choir_comm_alltoallv(const choir_comm *comm, const float *mine, const int *send_counts,
                          const int *send_offsets, float *all, const int *receive_counts,
                          const int *receive_offsets);

/* Local. The buffer belongs to the send until choir_comm_wait(). *request must be inactive. */
void choir_comm_send_begin(const choir_comm *comm, const void *bytes, size_t n, int to,
                           choir_comm_tag tag, choir_comm_request *request);
/* Local. Returns when the buffer may be used again; at once where the request is inactive. */
void choir_comm_wait(choir_comm_request *request);
/* Local. Whether the buffer may be used again, without waiting for it. */
bool choir_comm_is_sent(choir_comm_request *request);
/* Local. */
void choir_comm_send(const choir_comm *comm, const void *bytes, size_t n, int to,
                     choir_comm_tag tag);
/* Local. Receives exactly n bytes; another size ends the job. */
void choir_comm_receive(const choir_comm *comm, void *bytes, size_t n, int from,
                        choir_comm_tag tag);
/* Local. Returns once a message is there to be received; takes nothing. */
void choir_comm_await(const choir_comm *comm, int from, choir_comm_tag tag);
/*
 * Local. Receives exactly n bytes from whoever has sent some, and returns who it was; -1 where
 * nothing is there and is_waiting is false. Another size ends the job.
 */
int choir_comm_receive_any(const choir_comm *comm, void *bytes, size_t n, choir_comm_tag tag,
                           bool is_waiting);
/*
 * Local. Receives one message of at most `limit` bytes and returns how long it was. Waits without
 * burning the core: polls for 2 ms, then sleeps longer and longer, up to 1 ms at a time.
 */
size_t choir_comm_receive_parked(const choir_comm *comm, void *bytes, size_t limit, int from,
                                 choir_comm_tag tag);

#endif
