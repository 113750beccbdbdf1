/* SPDX-License-Identifier: Apache-2.0 */
/* A request's id is its index, so that an event finds its answer. */
#include "cli/batch.h"

#include "cli/print.h"
#include "common/mem.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct run {
    const choir_batch *batch;
    choir_reply *answers; /* [n_requests] */
    size_t n_taken;
    choir_status first_failure; /* of a request */
    size_t failed_index;
} run;

static choir_status start_all(choir_contact *contact, const choir_batch *batch)
{
    choir_status status = CHOIR_OK;
    for (size_t i = 0; i < batch->n_requests && status == CHOIR_OK; i++) {
        char id[CHOIR_REQUEST_ID_SIZE];
        (void)snprintf(id, sizeof id, "%zu", i);
        status = batch->start(batch->context, choir_contact_client(contact), i, id);
    }
    return status;
}

/* Hands on the answers that are complete and whose turn it is. */
static choir_status take_finished(run *all)
{
    choir_status status = CHOIR_OK;
    while (status == CHOIR_OK && all->n_taken < all->batch->n_requests &&
           all->answers[all->n_taken].is_finished) {
        choir_reply *answer = &all->answers[all->n_taken];
        if (all->first_failure == CHOIR_OK) {
            all->first_failure = answer->status;
            all->failed_index = all->n_taken;
        }
        status = all->batch->take(all->batch->context, all->n_taken, answer);
        if (answer->status == CHOIR_OK)
            choir_reply_destroy(answer);
        all->n_taken++;
    }
    return status;
}

static choir_status wait_for_all(choir_contact *contact, run *all)
{
    choir_status status = CHOIR_OK;
    while (status == CHOIR_OK && all->n_taken < all->batch->n_requests) {
        choir_event event;
        status = choir_contact_next_event(contact, 0, &event);
        if (status != CHOIR_OK)
            break;
        const unsigned long long index = strtoull(event.request_id, NULL, 10);
        if (index >= all->batch->n_requests)
            continue;
        status = choir_reply_add(&all->answers[index], &event);
        if (status == CHOIR_OK)
            status = take_finished(all);
        if (all->batch->n_requests > 1)
            choir_progress("%zu of %zu %s", all->n_taken, all->batch->n_requests, all->batch->noun);
    }
    choir_progress(NULL);
    return status;
}

choir_status choir_batch_run(choir_contact *contact, const choir_batch *batch)
{
    run all = {.batch = batch};
    choir_status status =
        choir_alloc(batch->n_requests, sizeof *all.answers, (void **)&all.answers);
    if (status != CHOIR_OK)
        return status;
    status = start_all(contact, batch);
    if (status == CHOIR_OK)
        status = wait_for_all(contact, &all);
    if (status == CHOIR_OK && all.first_failure != CHOIR_OK)
        status = choir_reply_status(&all.answers[all.failed_index]);
    for (size_t i = 0; i < batch->n_requests; i++)
        choir_reply_destroy(&all.answers[i]);
    free(all.answers);
    return status;
}

choir_status choir_batch_meet_and_run(const choir_contact_options *options,
                                      const choir_batch *batch)
{
    choir_contact *contact = NULL;
    choir_status status = choir_contact_open(options, &contact);
    if (status == CHOIR_OK)
        status = choir_batch_run(contact, batch);
    return choir_contact_close(&contact, status);
}
