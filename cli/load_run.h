/* SPDX-License-Identifier: Apache-2.0 */
/* Sends the requests of a load test to a service and takes down when what came. */
#ifndef CHOIR_CLI_LOAD_RUN_H
#define CHOIR_CLI_LOAD_RUN_H

#include "cli/contact.h"
#include "cli/load_prompts.h"
#include "cli/load_record.h"
#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

/* Opens a contact and fits the prompts to the model behind it. Close *contact in any case. */
choir_status choir_load_meet(const choir_contact_options *options, choir_load_prompts *prompts,
                             choir_contact **contact) CHOIR_MUST_CHECK;

typedef struct choir_load_plan {
    choir_load_prompts *prompts;
    size_t first, n;            /* its requests first .. first + n - 1 */
    choir_load_record *records; /* [n], zeroed; itls_us is for free() */
    const int64_t *due_us;      /* [n] when each is sent, since the start; NULL: all at once */
    int64_t max_concurrency;    /* at most so many are open at a time; 0: no limit */
    const char *title;          /* before the progress on a terminal: "iteration 3 of 10: ", "" */
} choir_load_plan;

/*
 * Returns when all requests have ended; those that failed say so in their records, whose times
 * count from the start of the call. ECANCELLED on an interrupt.
 */
choir_status choir_load_run(choir_contact *contact, const choir_load_plan *plan,
                            int64_t *duration_us) CHOIR_MUST_CHECK;

#endif
