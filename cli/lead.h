/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lead's loop: takes requests from the front end over the engine link, lets the scheduler make
 * steps, lets the ranks compute them, and sends the tokens back.
 */
#ifndef CHOIR_CLI_LEAD_H
#define CHOIR_CLI_LEAD_H

#include "common/status.h"
#include "proto/engine_link.h"
#include "proto/report.h"
#include "worker/worker.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct choir_lead_options {
    bool keeps_pages; /* for later prompts with the same beginning */
    int64_t
        max_step_us; /* of a step with prompts beside decodes; 0: 1.5 times what these cost alone */
} choir_lead_options;

/*
 * Serves until the front end says Shutdown, is gone, or *stop becomes nonzero (looked at five times
 * a second while idle); then the followers are told to stop. `report` is what Ready said; its
 * ranks' figures are brought up to date for each status. On a failure of the engine itself the
 * followers are not told: the caller ends the job.
 */
choir_status choir_lead_serve(choir_worker *worker, choir_engine_link *link,
                              choir_engine_report *report, const choir_lead_options *options,
                              const volatile sig_atomic_t *stop) CHOIR_MUST_CHECK;

/* What the lead says once: that it is ready, that it failed, and what a fingerprint was. */
choir_status choir_lead_send_ready(choir_engine_link *link,
                                   const choir_engine_report *report) CHOIR_MUST_CHECK;
choir_status choir_lead_send_failed(choir_engine_link *link, choir_status failure,
                                    const char *words) CHOIR_MUST_CHECK;
choir_status choir_lead_send_fingerprint(choir_engine_link *link,
                                         const choir_fingerprint_report *report) CHOIR_MUST_CHECK;

#endif
