/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A service inside this process: front end, supervisor and the MPI job it launches. `choir serve`
 * runs one until a signal; `choir generate --model` and its like run a private one as long as the
 * command. Nothing of it is left running or lying in the file system after choir_service_stop(),
 * and if this process is killed the job ends with it.
 */
#ifndef CHOIR_CLI_SERVICE_H
#define CHOIR_CLI_SERVICE_H

#include "common/status.h"
#include "proto/report.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct choir_engine_options choir_engine_options; /* cli/engine_flags.h */
typedef struct choir_service choir_service;

/*
 * Called on the thread of choir_service_start() ten times a second and when `what` changes; `what`
 * is a phrase such as "loading the model on 2 ranks", seconds counts from the start of the call.
 * Returning false gives the start up (CHOIR_ECANCELLED).
 */
typedef bool (*choir_service_progress)(void *context, const char *what, double seconds);

typedef struct choir_service_options {
    const choir_engine_options *engine; /* borrowed for the time of the call, like all of this */
    const char *listen;                 /* NULL: a private ipc:// endpoint */
    const char *connection_file;        /* NULL: a private one, removed at the end */
    const char *log_file; /* NULL: none; else every line of mpirun and ranks is added to it */
    int64_t shutdown_timeout_ms;     /* for a clean end of the ranks; 0: 10 s */
    choir_service_progress progress; /* NULL: none */
    void *progress_context;
} choir_service_options;

/*
 * Checks model and layout in this process (one clean line before any mpirun), starts everything and
 * waits until the ranks are ready. On failure nothing is left, and choir_error() has the first
 * cause: the ranks' own words where it was theirs. EUSAGE also for an endpoint that is not allowed,
 * EUNAVAILABLE for a connection file whose service is alive.
 */
choir_status choir_service_start(const choir_service_options *options,
                                 choir_service **service) CHOIR_MUST_CHECK;

/*
 * Runs the ranks once for their fingerprint, without any client; listen and connection_file do not
 * count. A report with a `difference` is a success of this call.
 */
choir_status choir_service_fingerprint(const choir_service_options *options, bool is_long,
                                       choir_fingerprint_report *report) CHOIR_MUST_CHECK;
/*
 * The same for a benchmark: `tests` are words of cli/bench_tests.h. *rows is a JSON array, which
 * the caller frees.
 */
choir_status choir_service_bench(const choir_service_options *options, const char *tests,
                                 int n_samples, bool has_breakdown, char **rows) CHOIR_MUST_CHECK;

/* What the ranks reported when they were ready. This and the strings live as long as the service.
 */
const choir_engine_report *choir_service_report(const choir_service *service);
const char *choir_service_endpoint(const choir_service *service);
const char *choir_service_connection_file(const choir_service *service);

/*
 * OK when a stop was asked for; ETIMEOUT after timeout_ms, negative: never; else the ranks have
 * ended, with the status and words of the one that failed, or EENGINE.
 */
choir_status choir_service_wait(choir_service *service, int64_t timeout_ms) CHOIR_MUST_CHECK;

/*
 * Ends choir_service_wait(). A second call, also during choir_service_stop(), kills the ranks at
 * once. Async-signal-safe: the threads of the service block all signals, so a handler runs on the
 * caller's thread, where choir_service_stop() nulls the pointer before the service is gone.
 */
void choir_service_ask_stop(choir_service *service);

/*
 * Shuts the ranks down, by force after the time-out, and removes all files. EENGINE when they had
 * to be killed or had died. Accepts NULL, nulls the pointer.
 */
choir_status choir_service_stop(choir_service **service);

#endif
