/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sequence is ready while known tokens are left that are in no step yet: a prompt's chunks follow
 * each other without waiting for results, a decode waits for the token that it feeds in. So prefill
 * and decode are one rule, and only their turn tells them apart.
 *
 * Each user's first prompt gets an equal part of the rows for prompts, and what is left goes to all
 * in order. So a short prompt does not wait for another user's long one.
 */
#include "coordinator/scheduler_state.h"

#include "common/mem.h"

#include <assert.h>

/*
 * However slow the ranks are, a prompt gets on by so many rows a step; and beside decodes a step
 * has at most twice the rows of the largest one so far, whose cost is known, or so many.
 */
enum { LEAST_PROMPT_ROWS = 1, FIRST_ROWS = 16 };

/* What prompts may make of a step's time. */
static const double growth = 1.5;

/* The step being made. */
typedef struct draft {
    choir_scheduler *scheduler;
    choir_flight *flight;
    choir_step_builder *builder;
    int64_t n_rows; /* that are left */
    int64_t n_prompt_rows;
    int64_t max_us;       /* that prompts may fill the step up to; 0: nobody decodes, or unknown */
    int64_t n_known_rows; /* that a step may have where its time matters */
} draft;

static bool is_in(const draft *d, const choir_sequence *sequence)
{
    return sequence->step_id == d->flight->step_id;
}

static void set_wanted(const choir_sequence *sequence, choir_step_sequence *part)
{
    const int64_t first = part->first_position, n = part->n_tokens;
    if (choir_sequence_is_reading(sequence)) {
        const bool is_pooled = sequence->pooling != CHOIR_POOLING_NONE;
        const bool is_wanted = is_pooled || sequence->n_score_rows > 0;
        const int64_t from = is_wanted ? sequence->wanted_from - first : n;
        part->first_wanted = (int32_t)(from < 0 ? 0 : from < n ? from : n);
        part->flags = is_pooled ? CHOIR_SEQUENCE_STATE : CHOIR_SEQUENCE_HAS_TARGETS;
        part->n_top = is_pooled ? 0 : sequence->n_prompt_top;
        return;
    }
    part->first_wanted = (int32_t)(n - (first + n == sequence->n_tokens));
    if (choir_sequence_is_plain(sequence) && part->n_top == 0)
        part->n_top = 1; /* the argmax */
}

/* How many candidates the shards are to give for a token; -1: the whole row is needed. */
static int32_t candidates_for(const draft *d, const choir_sequence *sequence)
{
    const choir_sampling *sampling = &sequence->sampling;
    const bool has_k =
        sampling->top_k > 0 && sampling->top_k < d->scheduler->options.limits.vocab_size;
    if (sequence->needs_row || (sampling->typical_p > 0 && sampling->typical_p < 1))
        return -1;
    if (sampling->temperature == 0)
        return 1;
    if (has_k)
        return sampling->top_k <= CHOIR_STEP_MAX_CANDIDATES ? sampling->top_k : -1;
    if (sampling->top_p >= 1 && sampling->min_p <= 0)
        return 0;
    return sequence->n_candidates > 0 ? sequence->n_candidates : -1;
}

/* Lets the shards begin to choose the token behind the part, as far as they can. */
static void add_settings(draft *d, choir_sequence *sequence, choir_step_sequence *part)
{
    const choir_sampling *sampling = &sequence->sampling;
    const int32_t n_candidates = candidates_for(d, sequence);
    choir_sampling_lists lists;
    choir_token_rules_lists(sequence->rules, sequence->tokens, sequence->n_tokens,
                            sequence->n_prompt, sequence->stop_ids, &lists);
    if (!choir_sampling_needs_history(sampling))
        lists.n_history = lists.n_prompt = 0;
    const choir_step_settings settings = {
        .temperature = sampling->temperature,
        .repetition_penalty = sampling->repetition_penalty,
        .frequency_penalty = sampling->frequency_penalty,
        .presence_penalty = sampling->presence_penalty,
        .seed_low = (uint32_t)sampling->seed,
        .seed_high = (uint32_t)(sampling->seed >> 32),
        .choice = sampling->choice,
        .position = (int32_t)sequence->n_tokens,
        .n_candidates = n_candidates,
        .wants_total =
            n_candidates > 1 && sampling->top_p < 1 && sampling->min_p <= 0 && sampling->top_k <= 0,
        .n_bias = lists.n_bias,
        .n_allowed = lists.n_allowed,
        .n_banned = lists.n_banned,
        .n_history = lists.n_history,
        .n_prompt = lists.n_prompt,
    };
    part->flags = CHOIR_SEQUENCE_FULL_ROW;
    if (n_candidates >= 0 &&
        choir_step_settings_words(&settings) <= choir_step_builder_word_room(d->builder) &&
        choir_step_builder_add_settings(d->builder, &settings, &lists) == CHOIR_OK)
        part->flags = CHOIR_SEQUENCE_SAMPLED;
    d->scheduler->count.n_rows_gathered += part->flags == CHOIR_SEQUENCE_FULL_ROW;
}

/* Puts the next n ready tokens of a sequence, whose pages it holds, into the step. */
static void add_part(draft *d, choir_sequence *sequence, int64_t n)
{
    choir_scheduler *scheduler = d->scheduler;
    choir_flight *flight = d->flight;
    const int64_t first = sequence->n_scheduled;
    choir_step_sequence part = {.slot = sequence->slot,
                                .first_position = (int32_t)first,
                                .n_tokens = (int32_t)n,
                                .n_pages_before = (int32_t)sequence->n_told,
                                .n_new_pages = (int32_t)(sequence->n_pages - sequence->n_told),
                                .n_top = sequence->n_top};
    set_wanted(sequence, &part);
    if (flight->n_parts == 0)
        choir_step_builder_begin(d->builder, flight->step_id);
    const bool is_reading = choir_sequence_is_reading(sequence);
    if (!is_reading && !choir_sequence_is_plain(sequence) && part.first_wanted < n)
        add_settings(d, sequence, &part);
    const choir_status status = choir_step_builder_add(
        d->builder, &part, sequence->tokens + first, sequence->pages + sequence->n_told,
        sequence->tokens + first + part.first_wanted + 1);
    assert(!status);
    (void)status;
    if (choir_sequence_is_decoding(sequence))
        choir_fair_queue_charge(scheduler->queue, sequence, n);
    else
        scheduler->count.n_prompt_tokens += (uint64_t)n;
    sequence->n_told = sequence->n_pages;
    sequence->n_scheduled += n;
    sequence->n_in_flight++;
    sequence->step_id = flight->step_id;
    choir_scheduler_publish_pages(scheduler, sequence);
    const int32_t n_wanted = part.n_tokens - part.first_wanted;
    flight->parts[flight->n_parts++] = (choir_flight_part){sequence, n_wanted, is_reading};
    flight->n_wanted += n_wanted;
    flight->size = choir_step_size_add(flight->size, choir_step_size_of(first, n));
    d->n_rows -= n;
}

/* Pages for the next n tokens, and room in the message to tell of them. */
static bool secure(const draft *d, choir_sequence *sequence, int64_t n)
{
    choir_scheduler *scheduler = d->scheduler;
    if (!choir_scheduler_secure_pages(scheduler, sequence, sequence->n_scheduled + n)) {
        if (!scheduler->starved || choir_sequence_yields_to(scheduler->starved, sequence))
            scheduler->starved = sequence;
        return false;
    }
    const int64_t n_new = sequence->n_pages - sequence->n_told;
    return d->flight->n_parts == 0 || n_new <= choir_step_builder_page_room(d->builder);
}

/* Who found no pages since those of others were in the step already gets them now. */
static void feed_starved(choir_scheduler *scheduler)
{
    choir_sequence *starved = scheduler->starved;
    scheduler->starved = NULL;
    if (starved && choir_sequence_ready(starved) > 0 &&
        !choir_scheduler_secure_pages(scheduler, starved, starved->n_scheduled + 1))
        scheduler->starved = starved;
}

/* The list as it is now: putting sequences back changes it. */
static int list_turns(choir_scheduler *scheduler, const choir_sequence_list *list)
{
    int n = 0;
    for (choir_sequence *at = list->first; at; at = at->next)
        scheduler->turns[n++] = at;
    return n;
}

/*
 * One token for each decoding sequence, in turn; with a pipeline at most its share of them, so that
 * the others fill the steps between. The last `n_kept` rows are left for prompts.
 */
static void add_decodes(draft *d, int64_t n_kept)
{
    choir_sequence_list *decodes = &d->scheduler->decodes;
    int64_t n_decoding = 0;
    for (const choir_sequence *at = decodes->first; at; at = at->next)
        n_decoding += at->is_generating;
    int64_t share = choir_ceil_div(n_decoding, d->scheduler->options.n_stages);
    const int n = list_turns(d->scheduler, decodes);
    for (int i = 0; i < n && d->n_rows > n_kept && share > 0; i++) {
        choir_sequence *at = d->scheduler->turns[i];
        if (!at->is_running || !choir_sequence_ready(at) || !secure(d, at, 1))
            continue;
        add_part(d, at, 1);
        choir_sequence_remove(decodes, at);
        choir_sequence_append(decodes, at);
        share--;
    }
}

/* Whether a prefill can go on in this step, after taking what is there already. */
static bool is_free_to_go(const draft *d, choir_sequence *sequence)
{
    choir_scheduler *scheduler = d->scheduler;
    if (!sequence->is_running || is_in(d, sequence))
        return false;
    choir_scheduler_reuse_pages(scheduler, sequence);
    if (!choir_scheduler_waits_for_page(scheduler, sequence))
        return true;
    scheduler->count.n_shared_waits++;
    return false;
}

/* At most n rows of a prompt, as many as the time of the step allows. */
static void add_chunk(draft *d, choir_sequence *sequence, int64_t n)
{
    choir_scheduler *scheduler = d->scheduler;
    const int64_t n_ready = choir_sequence_ready(sequence);
    n = n < n_ready ? n : n_ready;
    n = n < d->n_rows ? n : d->n_rows;
    /* Rows that tell of the prompt's tokens and the one that chooses the next stand apart. */
    if (sequence->n_scheduled < sequence->n_score_rows &&
        n > sequence->n_score_rows - sequence->n_scheduled)
        n = sequence->n_score_rows - sequence->n_scheduled;
    if (d->max_us > 0 && n > d->n_known_rows - d->flight->size.n_rows)
        n = d->n_known_rows - d->flight->size.n_rows;
    if (d->max_us > 0 && n > 0)
        n = choir_step_cost_rows(&scheduler->cost, d->flight->size, sequence->n_scheduled,
                                 d->n_prompt_rows > 0 ? 0 : LEAST_PROMPT_ROWS, n, d->max_us);
    if (n < 1 || !secure(d, sequence, n))
        return;
    add_part(d, sequence, n);
    d->n_prompt_rows += n;
    d->flight->has_prompt = true;
    if (choir_sequence_is_decoding(sequence)) {
        choir_sequence_remove(&scheduler->prefills, sequence);
        choir_sequence_append(&scheduler->decodes, sequence);
    }
}

/* Who decodes waits for the whole step, whether it is in it or, with a pipeline, in the next. */
static int64_t time_limit(const draft *d)
{
    const choir_scheduler *scheduler = d->scheduler;
    if (scheduler->decodes.n == 0)
        return 0;
    const double max_us = scheduler->options.max_step_us > 0
                              ? (double)scheduler->options.max_step_us
                              : growth * choir_scheduler_decode_us(scheduler, d->flight->size);
    return (int64_t)(max_us / scheduler->prompt_ratio);
}

/*
 * What each user's first prompt gets in any case: rows [n] of the prompts in `turns`, zero for all
 * others. Returns how many rows that leaves for all.
 */
static int64_t deal_rows(const draft *d, int n, int32_t *rows)
{
    choir_sequence *const *turns = d->scheduler->turns;
    int64_t n_users = 0, n_left = d->n_rows;
    for (int i = 0; i < n; i++) {
        rows[i] = choir_fair_queue_mark(turns[i], d->flight->step_id);
        n_users += rows[i];
    }
    const int64_t part = n_users > 0 ? d->n_rows / n_users : 0;
    for (int i = 0; i < n; i++) {
        const int64_t n_ready = choir_sequence_ready(turns[i]);
        rows[i] = (int32_t)(rows[i] ? part < n_ready ? part : n_ready : 0);
        n_left -= rows[i];
    }
    return n_left;
}

static void add_prompts(draft *d)
{
    choir_scheduler *scheduler = d->scheduler;
    d->max_us = time_limit(d);
    d->n_known_rows =
        scheduler->cost.most_rows > FIRST_ROWS / 2 ? 2 * scheduler->cost.most_rows : FIRST_ROWS;
    if (d->n_known_rows < d->flight->size.n_rows + LEAST_PROMPT_ROWS)
        d->n_known_rows = d->flight->size.n_rows + LEAST_PROMPT_ROWS;
    const int n = list_turns(scheduler, &scheduler->prefills);
    int64_t n_left = deal_rows(d, n, scheduler->turn_rows);
    for (int i = 0; i < n; i++) {
        const int64_t n_before = d->n_rows;
        n_left += scheduler->turn_rows[i];
        if (n_left > 0 && is_free_to_go(d, scheduler->turns[i]))
            add_chunk(d, scheduler->turns[i], n_left);
        n_left -= n_before - d->n_rows;
    }
}

static void end_if_late(void *context, choir_sequence *sequence)
{
    choir_scheduler *scheduler = context;
    const int64_t now_us = scheduler->now_us;
    if (sequence->is_ended)
        return;
    if (sequence->deadline_us > now_us) {
        if (sequence->deadline_us < scheduler->next_deadline_us)
            scheduler->next_deadline_us = sequence->deadline_us;
        return;
    }
    choir_scheduler_end(scheduler, sequence, 0, CHOIR_FINISH_ERROR, CHOIR_ETIMEOUT, now_us);
}

static void end_late_ones(choir_scheduler *scheduler, int64_t now_us)
{
    const choir_sequence_list *const lists[] = {&scheduler->prefills, &scheduler->decodes};
    if (now_us < scheduler->next_deadline_us)
        return;
    scheduler->now_us = now_us;
    scheduler->next_deadline_us = INT64_MAX;
    choir_fair_queue_each(scheduler->queue, end_if_late, scheduler);
    for (int k = 0; k < 2; k++) {
        const int n = list_turns(scheduler, lists[k]);
        for (int i = 0; i < n; i++)
            end_if_late(scheduler, scheduler->turns[i]);
    }
}

bool choir_scheduler_next_step(choir_scheduler *scheduler, int64_t now_us,
                               choir_step_builder *builder)
{
    const int n_stages = scheduler->options.n_stages;
    end_late_ones(scheduler, now_us);
    if (scheduler->n_flights == n_stages)
        return false;
    feed_starved(scheduler);
    choir_scheduler_admit(scheduler, now_us);
    choir_flight *flight =
        &scheduler->flights[(scheduler->first_flight + scheduler->n_flights) % n_stages];
    const int64_t n_rows = scheduler->options.limits.max_num_batched_tokens;
    draft d = {scheduler, flight, builder, .n_rows = n_rows};
    *flight = (choir_flight){
        .step_id = scheduler->count.n_steps + 1, .parts = flight->parts, .begun_us = now_us};
    /* However many decode, the oldest prompt gets on. */
    add_decodes(&d, scheduler->prefills.n > 0 && n_rows > 1);
    add_prompts(&d);
    if (flight->n_parts == 0)
        return false;
    scheduler->count.n_steps++;
    scheduler->n_flights++;
    return true;
}
