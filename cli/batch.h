/* SPDX-License-Identifier: Apache-2.0 */
/* Many requests at once, their answers taken in the order of the requests. */
#ifndef CHOIR_CLI_BATCH_H
#define CHOIR_CLI_BATCH_H

#include "cli/contact.h"
#include "cli/reply.h"

#include <stddef.h>

typedef struct choir_batch {
    size_t n_requests;
    /* Starts request `index` under this id. */
    choir_status (*start)(void *context, choir_client *client, size_t index, const char *id);
    /* Takes answer `index`; the answers before it have been taken. */
    choir_status (*take)(void *context, size_t index, choir_reply *answer);
    void *context;
    const char *noun; /* "answers", of the progress on a terminal */
} choir_batch;

/*
 * Starts all, waits for all. The first failure of a request, of `start` or of `take` becomes the
 * result; after one of `take`'s the rest is not waited for. ECANCELLED on an interrupt.
 */
choir_status choir_batch_run(choir_contact *contact, const choir_batch *batch) CHOIR_MUST_CHECK;
/* The same with a contact of its own. */
choir_status choir_batch_meet_and_run(const choir_contact_options *options,
                                      const choir_batch *batch) CHOIR_MUST_CHECK;

#endif
