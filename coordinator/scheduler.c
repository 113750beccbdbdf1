/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sequence is ready while known tokens are left that are in no step yet: a prompt's chunks follow
 * each other without waiting for results, a decode waits for the token that it feeds in. So prefill
 * and decode are one rule, and nothing else tells them apart but their turn.
 *
 * An ended sequence tells its end at once, but keeps slot and pages until no step in flight uses
 * them; steps complete in order, so whoever gets the pages next comes later on every rank.
 */
#include "coordinator/scheduler.h"

#include "common/mem.h"
#include "coordinator/sequence.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* One sequence's part of a step in flight. */
typedef struct flight_part {
    choir_sequence *sequence;
    int32_t n_wanted;
} flight_part;

typedef struct step_flight {
    uint64_t step_id;
    flight_part *parts; /* [max_num_seqs] */
    int n_parts;
    int64_t n_wanted;
} step_flight;

struct choir_scheduler {
    choir_scheduler_options options;
    choir_sampler *sampler;
    choir_sequence_list waiting, running; /* running: in the order of their next turn */
    int32_t *free_pages;                  /* [n_pages], n_free_pages of them: a stack */
    int32_t *free_slots;                  /* [max_num_seqs], n_free_slots of them: a stack */
    int64_t n_free_pages, n_reserved;
    int n_free_slots;
    step_flight *flights; /* [n_stages], a ring */
    int first_flight, n_flights;
    choir_output_token *out_tokens; /* [max_num_batched_tokens + 1] */
    choir_top_token *out_top;       /* [max_num_batched_tokens + 1][CHOIR_STEP_MAX_TOP] */
    uint64_t n_steps, n_prompt_tokens, n_generated_tokens;
};

choir_status choir_scheduler_create(const choir_scheduler_options *options,
                                    choir_scheduler **scheduler)
{
    const choir_step_limits *limits = &options->limits;
    choir_scheduler *made = NULL;
    *scheduler = NULL;
    assert(options->n_stages >= 1 && options->max_waiting >= 0 && options->take);
    choir_status status = choir_step_limits_check(limits);
    if (!status)
        status = choir_alloc(1, sizeof *made, (void **)&made);
    if (status)
        return status;
    const size_t n_slots = (size_t)limits->max_num_seqs, n_pages = (size_t)limits->n_pages;
    const size_t n_rows = (size_t)limits->max_num_batched_tokens;
    made->options = *options;
    if (!options->max_waiting)
        made->options.max_waiting = CHOIR_DEFAULT_WAITING;
    status = choir_sampler_create(limits->vocab_size, options->kernels, &made->sampler);
    if (!status)
        status = choir_alloc(n_pages, sizeof(int32_t), (void **)&made->free_pages);
    if (!status)
        status = choir_alloc(n_slots, sizeof(int32_t), (void **)&made->free_slots);
    if (!status)
        status =
            choir_alloc((size_t)options->n_stages, sizeof(step_flight), (void **)&made->flights);
    for (int i = 0; !status && i < options->n_stages; i++)
        status = choir_alloc(n_slots, sizeof(flight_part), (void **)&made->flights[i].parts);
    if (!status)
        status = choir_alloc(n_rows + 1, sizeof *made->out_tokens, (void **)&made->out_tokens);
    if (!status)
        status = choir_alloc(n_rows + 1, CHOIR_STEP_MAX_TOP * sizeof *made->out_top,
                             (void **)&made->out_top);
    if (status) {
        choir_scheduler_destroy(&made);
        return status;
    }
    /* Stacks with the lowest number on top. */
    for (int32_t i = limits->n_pages - 1; i >= 0; i--)
        made->free_pages[made->n_free_pages++] = i;
    for (int32_t i = limits->max_num_seqs - 1; i >= 0; i--)
        made->free_slots[made->n_free_slots++] = i;
    *scheduler = made;
    return CHOIR_OK;
}

static void destroy_all(choir_sequence_list *list)
{
    while (list->first) {
        choir_sequence *first = list->first;
        choir_sequence_remove(list, first);
        choir_sequence_destroy(&first);
    }
}

void choir_scheduler_destroy(choir_scheduler **scheduler)
{
    choir_scheduler *old = *scheduler;
    if (!old)
        return;
    destroy_all(&old->waiting);
    destroy_all(&old->running);
    for (int i = 0; old->flights && i < old->options.n_stages; i++)
        free(old->flights[i].parts);
    choir_sampler_destroy(&old->sampler);
    free(old->free_pages);
    free(old->free_slots);
    free(old->flights);
    free(old->out_tokens);
    free(old->out_top);
    free(old);
    *scheduler = NULL;
}

/* The live sequence of that id, or NULL. Linear: the queue is capped. */
static choir_sequence *find(const choir_scheduler *scheduler, uint64_t id)
{
    const choir_sequence_list *const lists[] = {&scheduler->running, &scheduler->waiting};
    for (int i = 0; i < 2; i++)
        for (choir_sequence *at = lists[i]->first; at; at = at->next)
            if (at->id == id && !at->is_ended)
                return at;
    return NULL;
}

choir_status choir_scheduler_submit(choir_scheduler *scheduler, const choir_request *request,
                                    int64_t now_us)
{
    choir_sequence *made = NULL;
    if (scheduler->waiting.n >= scheduler->options.max_waiting)
        return choir_fail(CHOIR_EUNAVAILABLE, "%d requests are waiting: try again later",
                          scheduler->waiting.n);
    if (find(scheduler, request->id))
        return choir_fail(CHOIR_EINVALID, "id: %llu is in use", (unsigned long long)request->id);
    const choir_status status =
        choir_sequence_create(&scheduler->options.limits, request, now_us, &made);
    if (!status)
        choir_sequence_append(&scheduler->waiting, made);
    return status;
}

/* Frees an ended sequence that no step in flight uses, and all that it holds. */
static void release(choir_scheduler *scheduler, choir_sequence *sequence)
{
    if (!sequence->is_ended || sequence->n_in_flight)
        return;
    if (sequence->is_admitted) {
        for (int64_t i = 0; i < sequence->n_pages; i++)
            scheduler->free_pages[scheduler->n_free_pages++] = sequence->pages[i];
        scheduler->n_reserved -= sequence->n_reserved;
        scheduler->free_slots[scheduler->n_free_slots++] = sequence->slot;
    }
    choir_sequence_remove(sequence->is_admitted ? &scheduler->running : &scheduler->waiting,
                          sequence);
    choir_sequence_destroy(&sequence);
}

/* Tells n_tokens of out_tokens; with a finish the sequence ends and may be gone on return. */
static void tell(choir_scheduler *scheduler, choir_sequence *sequence, int n_tokens,
                 choir_finish finish, int64_t now_us)
{
    choir_output output = {.id = sequence->id,
                           .tokens = scheduler->out_tokens,
                           .n_tokens = n_tokens,
                           .finish = finish,
                           .error = ""};
    if (finish == CHOIR_FINISH_ERROR) {
        output.status = CHOIR_EENGINE;
        output.error = "the model gave a value that is not finite";
    }
    if (finish)
        output.timings = choir_sequence_timings(sequence, now_us);
    scheduler->options.take(scheduler->options.context, &output);
    if (finish) {
        sequence->is_ended = true;
        release(scheduler, sequence);
    }
}

void choir_scheduler_abort(choir_scheduler *scheduler, uint64_t id, int64_t now_us)
{
    choir_sequence *found = find(scheduler, id);
    if (found)
        tell(scheduler, found, 0, CHOIR_FINISH_ABORT, now_us);
}

/* In order of arrival, while there is a slot and enough pages for the whole of the next one. */
static void admit(choir_scheduler *scheduler, int64_t now_us)
{
    choir_sequence_list *waiting = &scheduler->waiting;
    while (waiting->first && scheduler->n_free_slots > 0) {
        choir_sequence *next = waiting->first;
        if (next->n_reserved > scheduler->options.limits.n_pages - scheduler->n_reserved)
            break;
        choir_sequence_remove(waiting, next);
        choir_sequence_append(&scheduler->running, next);
        next->slot = scheduler->free_slots[--scheduler->n_free_slots];
        next->is_admitted = true;
        next->admitted_us = now_us;
        scheduler->n_reserved += next->n_reserved;
    }
}

/* Pages for all positions below `end`: reserved, so the stack has them. Returns how many. */
static int32_t hand_out_pages(choir_scheduler *scheduler, choir_sequence *sequence, int64_t end)
{
    const int64_t before = sequence->n_pages;
    const int64_t needed = choir_ceil_div(end, scheduler->options.limits.page_positions);
    while (sequence->n_pages < needed)
        sequence->pages[sequence->n_pages++] = scheduler->free_pages[--scheduler->n_free_pages];
    return (int32_t)(sequence->n_pages - before);
}

/* Puts the next n ready tokens of a sequence into the step. */
static void add_part(choir_scheduler *scheduler, step_flight *flight, choir_sequence *sequence,
                     int64_t n, choir_step_builder *builder)
{
    const int64_t first = sequence->n_scheduled;
    choir_step_sequence out = {.slot = sequence->slot,
                               .first_position = (int32_t)first,
                               .n_tokens = (int32_t)n,
                               .n_pages_before = (int32_t)sequence->n_pages,
                               .n_top = sequence->n_top};
    out.n_new_pages = hand_out_pages(scheduler, sequence, first + n);
    if (sequence->is_score) {
        out.first_wanted = sequence->n_prompt > 1 ? 0 : out.n_tokens;
        out.flags = CHOIR_SEQUENCE_HAS_TARGETS;
    } else {
        out.first_wanted = out.n_tokens - (first + n == sequence->n_tokens);
        if (sequence->sampling.temperature != 0)
            out.flags = CHOIR_SEQUENCE_FULL_ROW;
        else if (out.n_top == 0)
            out.n_top = 1; /* the argmax */
    }
    const choir_status status =
        choir_step_builder_add(builder, &out, sequence->tokens + first,
                               sequence->pages + out.n_pages_before, sequence->tokens + first + 1);
    assert(!status);
    (void)status;
    if (!choir_sequence_is_decoding(sequence))
        scheduler->n_prompt_tokens += (uint64_t)n;
    sequence->n_scheduled += n;
    sequence->n_in_flight++;
    const int32_t n_wanted = out.n_tokens - out.first_wanted;
    flight->parts[flight->n_parts++] = (flight_part){sequence, n_wanted};
    flight->n_wanted += n_wanted;
}

/*
 * One token for each decoding sequence, in turn; with a pipeline at most its share of them, so that
 * the others fill the steps between. Returns how many rows are left.
 */
static int64_t add_decodes(choir_scheduler *scheduler, step_flight *flight, int64_t room,
                           choir_step_builder *builder)
{
    choir_sequence_list *running = &scheduler->running;
    int64_t n_decoding = 0;
    for (choir_sequence *at = running->first; at; at = at->next)
        n_decoding += !at->is_ended && !at->is_score && choir_sequence_is_decoding(at);
    int64_t share = choir_ceil_div(n_decoding, scheduler->options.n_stages);
    for (choir_sequence *at = running->first, *next; at && room > 0 && share > 0; at = next) {
        next = at->next;
        if (!choir_sequence_is_decoding(at) || !choir_sequence_ready(at))
            continue;
        add_part(scheduler, flight, at, 1, builder);
        choir_sequence_remove(running, at);
        choir_sequence_append(running, at);
        room--;
        share--;
    }
    return room;
}

/* Chunks of prompts, first come first served, in the rows that are left. */
static void add_prompts(choir_scheduler *scheduler, step_flight *flight, int64_t room,
                        choir_step_builder *builder)
{
    for (choir_sequence *at = scheduler->running.first; at && room > 0; at = at->next) {
        if (choir_sequence_is_decoding(at) || !choir_sequence_ready(at))
            continue;
        const int64_t n = choir_sequence_ready(at) < room ? choir_sequence_ready(at) : room;
        add_part(scheduler, flight, at, n, builder);
        room -= n;
    }
}

bool choir_scheduler_next_step(choir_scheduler *scheduler, int64_t now_us,
                               choir_step_builder *builder)
{
    const int n_stages = scheduler->options.n_stages;
    if (scheduler->n_flights == n_stages)
        return false;
    admit(scheduler, now_us);
    bool has_decode = false, has_prompt = false;
    for (const choir_sequence *at = scheduler->running.first; at; at = at->next)
        if (choir_sequence_ready(at))
            *(choir_sequence_is_decoding(at) ? &has_decode : &has_prompt) = true;
    if (!has_decode && !has_prompt)
        return false;

    step_flight *flight =
        &scheduler->flights[(scheduler->first_flight + scheduler->n_flights) % n_stages];
    flight->step_id = ++scheduler->n_steps;
    flight->n_parts = 0;
    flight->n_wanted = 0;
    scheduler->n_flights++;
    choir_step_builder_begin(builder, flight->step_id);
    /* However many decode, the oldest prompt gets on. */
    const int64_t n_rows = scheduler->options.limits.max_num_batched_tokens;
    const int64_t n_kept = has_prompt && n_rows > 1;
    const int64_t n_left = add_decodes(scheduler, flight, n_rows - n_kept, builder);
    add_prompts(scheduler, flight, n_left + n_kept, builder);
    assert(flight->n_parts > 0);
    return true;
}

/* Sets out_tokens[index], with the n_top best alternatives of its row (row NULL: none). */
static void set_out(choir_scheduler *scheduler, int index, int32_t id, float logprob,
                    const choir_row_result *row, int n_top)
{
    choir_top_token *top = scheduler->out_top + (size_t)index * CHOIR_STEP_MAX_TOP;
    int n = 0;
    for (; row && n < n_top && n < row->n_top; n++)
        top[n] = (choir_top_token){row->top_ids[n], row->top_logits[n] - row->lse};
    scheduler->out_tokens[index] = (choir_output_token){id, logprob, n, top};
}

/* The next token of a sequence, from the row of its last one. */
static void take_token(choir_scheduler *scheduler, choir_sequence *sequence,
                       const choir_row_result *row, int64_t now_us)
{
    if (!row->is_finite) {
        tell(scheduler, sequence, 0, CHOIR_FINISH_ERROR, now_us);
        return;
    }
    int32_t id = 0;
    float logit = 0;
    if (sequence->sampling.temperature == 0) {
        assert(row->n_top >= 1);
        id = row->top_ids[0];
        logit = row->top_logits[0];
    } else {
        assert(row->logits);
        id = choir_sampler_pick(scheduler->sampler, &sequence->sampling, row->logits,
                                sequence->n_tokens, 0);
        logit = row->logits[id];
    }
    if (sequence->n_tokens == sequence->n_prompt)
        sequence->first_token_us = now_us;
    sequence->tokens[sequence->n_tokens++] = id;
    scheduler->n_generated_tokens++;
    set_out(scheduler, 0, id, sequence->wants_logprobs ? logit - row->lse : NAN, row,
            sequence->n_top);
    choir_finish finish = CHOIR_FINISH_NONE;
    if (choir_sequence_stops_at(sequence, id))
        finish = CHOIR_FINISH_STOP;
    else if (sequence->n_tokens == sequence->n_prompt + sequence->n_new_max)
        finish = CHOIR_FINISH_LENGTH;
    tell(scheduler, sequence, 1, finish, now_us);
}

/* The next n_rows scored tokens, and in front of the first of them the prompt's first. */
static void take_scores(choir_scheduler *scheduler, choir_sequence *sequence,
                        const choir_row_result *rows, int n_rows, int64_t now_us)
{
    int n = 0;
    if (sequence->n_scored == 0)
        set_out(scheduler, n++, sequence->tokens[0], NAN, NULL, 0);
    for (int i = 0; i < n_rows; i++) {
        if (!rows[i].is_finite) {
            tell(scheduler, sequence, 0, CHOIR_FINISH_ERROR, now_us);
            return;
        }
        set_out(scheduler, n, sequence->tokens[sequence->n_scored + n],
                rows[i].target_logit - rows[i].lse, &rows[i], sequence->n_top);
        n++;
    }
    sequence->n_scored += n;
    tell(scheduler, sequence, n,
         sequence->n_scored == sequence->n_prompt ? CHOIR_FINISH_SCORED : CHOIR_FINISH_NONE,
         now_us);
}

choir_status choir_scheduler_complete(choir_scheduler *scheduler, uint64_t step_id,
                                      const choir_row_result *rows, int64_t n_rows, int64_t now_us)
{
    const step_flight *flight = &scheduler->flights[scheduler->first_flight];
    if (!scheduler->n_flights || flight->step_id != step_id || flight->n_wanted != n_rows)
        return choir_fail(CHOIR_EINTERNAL,
                          "step %llu came back with %lld rows; %d steps are in flight, the oldest "
                          "is %llu with %lld",
                          (unsigned long long)step_id, (long long)n_rows, scheduler->n_flights,
                          (unsigned long long)flight->step_id, (long long)flight->n_wanted);
    scheduler->first_flight = (scheduler->first_flight + 1) % scheduler->options.n_stages;
    scheduler->n_flights--;
    for (int i = 0; i < flight->n_parts; i++) {
        choir_sequence *at = flight->parts[i].sequence;
        const int32_t n_wanted = flight->parts[i].n_wanted;
        at->n_in_flight--;
        if (at->is_ended)
            release(scheduler, at);
        else if (at->is_score)
            take_scores(scheduler, at, rows, n_wanted, now_us);
        else if (n_wanted)
            take_token(scheduler, at, rows, now_us);
        if (n_wanted)
            rows += n_wanted;
    }
    return CHOIR_OK;
}

void choir_scheduler_get_load(const choir_scheduler *scheduler, choir_scheduler_load *load)
{
    const int64_t n_pages = scheduler->options.limits.n_pages;
    *load = (choir_scheduler_load){
        .n_running = scheduler->running.n,
        .n_waiting = scheduler->waiting.n,
        .n_steps_in_flight = scheduler->n_flights,
        .n_pages = n_pages,
        .n_pages_reserved = scheduler->n_reserved,
        .n_pages_used = n_pages - scheduler->n_free_pages,
        .n_steps = scheduler->n_steps,
        .n_prompt_tokens = scheduler->n_prompt_tokens,
        .n_generated_tokens = scheduler->n_generated_tokens,
    };
}
