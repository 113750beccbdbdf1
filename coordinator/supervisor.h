/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches over one MPI job: starts mpirun in a session of its own (a Ctrl-C at the terminal does
 * not reach it), reads all that it prints, notices its end at once, and leaves no process behind.
 * If this process is killed the job ends too. A clean end is not asked for here: the front end
 * sends Shutdown and the ranks end; mpirun itself is only ever killed.
 */
#ifndef CHOIR_COORDINATOR_SUPERVISOR_H
#define CHOIR_COORDINATOR_SUPERVISOR_H

#include "common/status.h"
#include "coordinator/launch.h"

#include <stdint.h>

typedef struct choir_supervisor choir_supervisor;

/* How a job ended. A status of OK says only that mpirun's exit code was 0, which it is after some
 * crashes too: whether the end was wanted, the caller knows. */
typedef struct choir_job_end {
    choir_status status; /* the ranks' own code if they told a failure, else EENGINE */
    char words[512];
} choir_job_end;

typedef struct choir_supervisor_options {
    const choir_launch *launch; /* borrowed for the time of choir_supervisor_start() */
    const char *log_file;       /* what the job prints is added to it; NULL: none */
    /* Called once, when no process of the job is left, on the supervisor's thread. NULL: none. */
    void (*on_end)(void *context, const choir_job_end *end);
    void *context;
} choir_supervisor_options;

/* EUNAVAILABLE: the launcher cannot be run; EIO: the log file; ENOMEM. */
choir_status choir_supervisor_start(const choir_supervisor_options *options,
                                    choir_supervisor **supervisor) CHOIR_MUST_CHECK;

/*
 * Waits until no process of the job is left; ETIMEOUT after timeout_ms (negative: never). May be
 * called again after the end. *end may be NULL.
 */
choir_status choir_supervisor_wait(choir_supervisor *supervisor, int64_t timeout_ms,
                                   choir_job_end *end) CHOIR_MUST_CHECK;

/* Kills every process of the job. Does not wait. Async-signal-safe, any thread. */
void choir_supervisor_kill(const choir_supervisor *supervisor);

/* Kills the job if it still runs. Accepts NULL, nulls the pointer. Not from on_end. */
void choir_supervisor_destroy(choir_supervisor **supervisor);

#endif
