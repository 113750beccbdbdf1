/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/frontend_table.h"

#include "common/mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

choir_status choir_requests_open(choir_requests *requests)
{
    assert(requests->setup->max_requests <= CHOIR_REQUEST_SLOTS_MAX);
    choir_request_metrics_init(&requests->metrics);
    return choir_alloc(requests->setup->max_requests, sizeof *requests->slots,
                       (void **)&requests->slots);
}

void choir_requests_take_from_peer(choir_request *request)
{
    choir_peer *peer = request->peer;
    if (!peer)
        return;
    if (request->previous)
        request->previous->next = request->next;
    else
        peer->requests = request->next;
    if (request->next)
        request->next->previous = request->previous;
    peer->n_choices -= request->n_left;
    peer->n_score_entries -= request->n_score_entries;
    request->peer = NULL;
}

static void give_to_peer(choir_request *request, choir_peer *peer)
{
    request->peer = peer;
    request->next = peer->requests;
    request->previous = NULL;
    if (request->next)
        request->next->previous = request;
    peer->requests = request;
    peer->n_choices += request->n_left;
    peer->n_score_entries += request->n_score_entries;
}

/* Frees a choice; its request stays, even without any. */
void choir_requests_drop_choice(choir_requests *requests, choir_choice *choice)
{
    requests->slots[choice->id % CHOIR_REQUEST_SLOTS_MAX] = NULL;
    requests->n_open--;
    choir_answer_destroy(&choice->answer);
    choir_answer_destroy(&choice->prompt);
    free(choice->embedding);
    choice->embedding = NULL;
    choice->request->n_left--;
    if (choice->request->peer)
        choice->request->peer->n_choices--;
}

void choir_requests_free_if_empty(choir_requests *requests, choir_request *request)
{
    if (request->n_left > 0)
        return;
    choir_requests_take_from_peer(request);
    requests->n_finished++;
    free(request);
}

void choir_requests_free(choir_requests *requests, choir_choice *choice)
{
    choir_request *request = choice->request;
    choir_requests_drop_choice(requests, choice);
    choir_requests_free_if_empty(requests, request);
}

/* Frees a request whatever state its choices have. */
void choir_requests_free_all(choir_requests *requests, choir_request *request)
{
    for (size_t i = 0; i < request->n_choices; i++)
        if (request->choices[i].answer)
            choir_requests_drop_choice(requests, &request->choices[i]);
    choir_requests_free_if_empty(requests, request);
}

void choir_requests_close(choir_requests *requests)
{
    for (size_t i = 0; requests->slots && i < requests->setup->max_requests; i++)
        if (requests->slots[i])
            choir_requests_free(requests, requests->slots[i]);
    free(requests->slots);
    requests->slots = NULL;
}

choir_choice *choir_requests_find_engine_id(const choir_requests *requests, uint64_t id)
{
    const size_t slot = id % CHOIR_REQUEST_SLOTS_MAX;
    choir_choice *choice = slot < requests->setup->max_requests ? requests->slots[slot] : NULL;
    return choice && choice->id == id ? choice : NULL;
}

choir_request *choir_requests_find(const choir_peer *peer, const char *request_id)
{
    for (choir_request *request = peer->requests; request; request = request->next)
        if (strcmp(request->request_id, request_id) == 0)
            return request;
    return NULL;
}

/* A choice in a free slot, of which there is one at or behind `slot`. */
static choir_status add_choice(choir_requests *requests, choir_request *request,
                               const choir_request_plan *plan, size_t *slot)
{
    const choir_answer_options of_prompt = {.tokenizer = plan->answer.tokenizer,
                                            .has_logprobs = true};
    choir_choice *choice = &request->choices[request->n_left];
    choir_status status = choir_answer_create(&plan->answer, &choice->answer);
    if (status == CHOIR_OK && plan->wants_prompt && request->n_left == 0)
        status = choir_answer_create(&of_prompt, &choice->prompt);
    if (status != CHOIR_OK) {
        choir_answer_destroy(&choice->answer);
        return status;
    }
    while (requests->slots[*slot])
        ++*slot;
    choice->request = request;
    choice->id = ++requests->n_submitted * CHOIR_REQUEST_SLOTS_MAX + *slot;
    choice->index = (uint32_t)request->n_left++;
    choice->timings = (Choir__Client__Timings)CHOIR__CLIENT__TIMINGS__INIT;
    requests->slots[*slot] = choice;
    requests->n_open++;
    return CHOIR_OK;
}

/* A request with all of its choices, for which there is room. NULL: no memory. */
choir_request *choir_requests_add(choir_requests *requests, choir_peer *peer,
                                  const choir_request_plan *plan)
{
    choir_request *request;
    size_t slot = 0;
    choir_status status = choir_alloc(
        1, sizeof *request + plan->n_choices * sizeof request->choices[0], (void **)&request);
    if (status != CHOIR_OK)
        return NULL;
    request->kind = plan->kind;
    request->is_streamed = true;
    request->n_choices = plan->n_choices;
    request->n_score_entries = plan->n_score_entries;
    snprintf(request->request_id, sizeof request->request_id, "%s", plan->request_id);
    while (status == CHOIR_OK && request->n_left < plan->n_choices)
        status = add_choice(requests, request, plan, &slot);
    if (status != CHOIR_OK) {
        choir_requests_free_all(requests, request);
        return NULL;
    }
    give_to_peer(request, peer);
    return request;
}
