/* SPDX-License-Identifier: Apache-2.0 */
/* A request's id is its index, so that an event finds its record. */
#include "cli/load_run.h"

#include "cli/interrupt.h"
#include "cli/print.h"
#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    WAIT_MS = 100, /* how soon an interrupt is seen */
    SHOW_US = 200000,
};

typedef struct run {
    const choir_load_plan *plan;
    choir_client *client;
    size_t n_sent, n_ended;
    int64_t start_us, shown_us;
} run;

choir_status choir_load_meet(const choir_contact_options *options, choir_load_prompts *prompts,
                             choir_contact **contact)
{
    choir_model_info *models = NULL;
    size_t n_models = 0;
    choir_status status = choir_contact_open(options, contact);
    if (status != CHOIR_OK)
        return status;
    choir_client *client = choir_contact_client(*contact);
    status = choir_client_list_models(client, &models, &n_models);
    if (status == CHOIR_OK)
        status = choir_load_prompts_fit(prompts, models[0].vocabulary,
                                        choir_client_max_model_len(client));
    free(models);
    return status;
}

static choir_status send_next(run *r)
{
    const size_t index = r->n_sent++;
    choir_generate_request request =
        choir_load_prompts_get(r->plan->prompts, r->plan->first + index);
    char id[CHOIR_REQUEST_ID_SIZE], used[CHOIR_REQUEST_ID_SIZE];
    (void)snprintf(id, sizeof id, "%zu", index);
    request.request_id = id;
    r->plan->records[index].sent_us = choir_clock_us() - r->start_us;
    return choir_client_generate(r->client, &request, used);
}

static choir_status take_event(run *r, const choir_event *event)
{
    const size_t index = strtoul(event->request_id, NULL, 10);
    if (index >= r->plan->n)
        return choir_fail(CHOIR_EINTERNAL, "an event of request %.64s", event->request_id);
    choir_load_record *record = &r->plan->records[index];
    const int64_t now_us = choir_clock_us() - r->start_us;
    choir_status status = CHOIR_OK;
    if (event->kind == CHOIR_EVENT_CHUNK && event->n_token_ids > 0)
        status = choir_load_record_tokens(record, (int64_t)event->n_token_ids, now_us);
    if (!choir_event_is_last(event))
        return status;
    r->n_ended++;
    if (event->kind == CHOIR_EVENT_ERROR) {
        (void)snprintf(record->error, sizeof record->error, "%s", event->message);
        return status;
    }
    record->is_done = true;
    record->n_input = (int64_t)event->usage.prompt_tokens;
    record->n_cached = (int64_t)event->usage.cached_tokens;
    return status;
}

/* Whether the next request is to be sent now; else *wait_ms until something may change. */
static bool is_due(const run *r, int *wait_ms)
{
    const choir_load_plan *plan = r->plan;
    *wait_ms = WAIT_MS;
    if (r->n_sent == plan->n)
        return false;
    if (plan->max_concurrency > 0 && (int64_t)(r->n_sent - r->n_ended) >= plan->max_concurrency)
        return false;
    if (!plan->due_us)
        return true;
    const int64_t left_us = plan->due_us[r->n_sent] - (choir_clock_us() - r->start_us);
    if (left_us < WAIT_MS * 1000)
        *wait_ms = left_us > 0 ? (int)(left_us / 1000) + 1 : 0;
    return left_us <= 0;
}

static choir_status wait_event(run *r, int wait_ms)
{
    choir_event event;
    if (r->n_sent == r->n_ended) { /* nothing is open: only time passes */
        choir_clock_sleep_us(wait_ms * INT64_C(1000));
        return CHOIR_OK;
    }
    const choir_status status = choir_client_next_event(r->client, wait_ms, &event);
    if (status == CHOIR_ETIMEOUT)
        return CHOIR_OK;
    return status == CHOIR_OK ? take_event(r, &event) : status;
}

static void show_progress(run *r)
{
    const int64_t now_us = choir_clock_us();
    if (now_us - r->shown_us <= SHOW_US)
        return;
    choir_progress("%s%zu of %zu requests sent, %zu ended", r->plan->title, r->n_sent, r->plan->n,
                   r->n_ended);
    r->shown_us = now_us;
}

choir_status choir_load_run(choir_contact *contact, const choir_load_plan *plan,
                            int64_t *duration_us)
{
    run r = {.plan = plan, .client = choir_contact_client(contact), .start_us = choir_clock_us()};
    choir_status status = CHOIR_OK;
    while (status == CHOIR_OK && r.n_ended < plan->n) {
        int wait_ms;
        while (status == CHOIR_OK && is_due(&r, &wait_ms))
            status = send_next(&r);
        if (status == CHOIR_OK)
            status = wait_event(&r, wait_ms);
        if (status == CHOIR_OK && choir_interrupt_count() > 0)
            status = choir_fail(CHOIR_ECANCELLED, "interrupted");
        show_progress(&r);
    }
    choir_progress(NULL);
    *duration_us = choir_clock_us() - r.start_us;
    return status;
}
