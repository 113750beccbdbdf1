/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the figures of worker/telemetry.h come to the lead: each rank sends its own, of fixed size,
 * without waiting for anybody, and none while the one before is still on its way. The lead takes
 * what has come whenever it likes. At the end every rank sends one more and the lead waits for
 * them, so that no message is under way when MPI ends.
 */
#ifndef CHOIR_WORKER_TELEMETRY_POST_H
#define CHOIR_WORKER_TELEMETRY_POST_H

#include "worker/comm.h"
#include "worker/telemetry.h"

typedef struct choir_telemetry_post choir_telemetry_post;

/* Local. `comm` is borrowed; its rank 0 is the lead. */
choir_status choir_telemetry_post_create(const choir_comm *comm,
                                         choir_telemetry_post **result) CHOIR_MUST_CHECK;
/* Local; nothing may be under way. Accepts NULL, nulls the pointer. */
void choir_telemetry_post_destroy(choir_telemetry_post **post);

/* Local, after a step: where it is time, takes the figures with the memory of now, and sends them;
 * the lead keeps its own, and takes what has come. */
void choir_telemetry_post_step(choir_telemetry_post *post, choir_telemetry *telemetry);
/* Local, on the lead: the latest figures of every rank, [size], borrowed until the next call. */
const choir_rank_figures *choir_telemetry_post_latest(choir_telemetry_post *post);
/*
 * Local, but all ranks must call it: when the loop of steps ends, which may begin again. The lead
 * returns when all others have called it.
 */
void choir_telemetry_post_end(choir_telemetry_post *post);

#endif
