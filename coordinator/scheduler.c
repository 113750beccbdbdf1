/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests in, results out. An ended sequence tells its end and gives up what it holds at once; its
 * struct stays until no step in flight knows it.
 */
#include "coordinator/scheduler_state.h"

#include "common/mem.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

enum { RETRY_LEAST_US = 100000, RETRY_MOST_US = 60000000 };

static choir_status allocate(choir_scheduler *made)
{
    const choir_step_limits *limits = &made->options.limits;
    const size_t n_slots = (size_t)limits->max_num_seqs;
    const size_t n_rows = (size_t)limits->max_num_batched_tokens;
    const size_t n_stages = (size_t)made->options.n_stages;
    choir_status status =
        choir_sampler_create(limits->vocab_size, made->options.kernels, &made->sampler);
    if (!status)
        status = choir_fair_queue_create(limits->max_num_batched_tokens, &made->queue);
    if (!status)
        status = choir_page_pool_create(limits->n_pages, &made->pages);
    if (!status)
        status = choir_alloc(n_slots, sizeof(int32_t), (void **)&made->free_slots);
    if (!status)
        status = choir_alloc(n_slots, sizeof *made->turns, (void **)&made->turns);
    if (!status)
        status = choir_alloc(n_slots, sizeof *made->turn_rows, (void **)&made->turn_rows);
    if (!status)
        status = choir_alloc(n_stages, sizeof *made->flights, (void **)&made->flights);
    for (size_t i = 0; !status && i < n_stages; i++)
        status = choir_alloc(n_slots, sizeof(choir_flight_part), (void **)&made->flights[i].parts);
    if (!status)
        status = choir_alloc(n_rows + 1, sizeof *made->out_tokens, (void **)&made->out_tokens);
    if (!status)
        status = choir_alloc(n_rows + 1, CHOIR_STEP_MAX_TOP * sizeof *made->out_top,
                             (void **)&made->out_top);
    return status;
}

choir_status choir_scheduler_create(const choir_scheduler_options *options,
                                    choir_scheduler **scheduler)
{
    choir_scheduler *made = NULL;
    *scheduler = NULL;
    assert(options->n_stages >= 1 && options->width > 0 && options->max_waiting >= 0 &&
           options->max_step_us >= 0 && options->take);
    choir_status status = choir_step_limits_check(&options->limits);
    if (!status)
        status = choir_alloc(1, sizeof *made, (void **)&made);
    if (status)
        return status;
    made->options = *options;
    if (!options->max_waiting)
        made->options.max_waiting = CHOIR_DEFAULT_WAITING;
    made->next_deadline_us = INT64_MAX;
    choir_step_cost_init(&made->cost);
    made->prompt_ratio = 1;
    status = allocate(made);
    if (status) {
        choir_scheduler_destroy(&made);
        return status;
    }
    for (int32_t i = options->limits.max_num_seqs - 1; i >= 0; i--) /* the lowest number on top */
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

static void destroy_waiting(void *context, choir_sequence *sequence)
{
    choir_fair_queue_remove(context, sequence);
    choir_sequence_destroy(&sequence);
}

void choir_scheduler_destroy(choir_scheduler **scheduler)
{
    choir_scheduler *old = *scheduler;
    if (!old)
        return;
    destroy_all(&old->prefills);
    destroy_all(&old->decodes);
    destroy_all(&old->ended);
    if (old->queue)
        choir_fair_queue_each(old->queue, destroy_waiting, old->queue);
    for (int i = 0; old->flights && i < old->options.n_stages; i++)
        free(old->flights[i].parts);
    choir_fair_queue_destroy(&old->queue);
    choir_page_pool_destroy(&old->pages);
    choir_sampler_destroy(&old->sampler);
    free(old->free_slots);
    free(old->turns);
    free(old->turn_rows);
    free(old->flights);
    free(old->out_tokens);
    free(old->out_top);
    free(old);
    *scheduler = NULL;
}

/* A search for the live sequence of an id. */
typedef struct search {
    uint64_t id;
    choir_sequence *found;
} search;

static void look_at(void *context, choir_sequence *sequence)
{
    search *wanted = context;
    if (sequence->id == wanted->id)
        wanted->found = sequence;
}

/* The live sequence of that id, or NULL. Linear: the queue is capped. */
static choir_sequence *find(const choir_scheduler *scheduler, uint64_t id)
{
    const choir_sequence_list *const lists[] = {&scheduler->prefills, &scheduler->decodes};
    search wanted = {.id = id};
    for (int i = 0; i < 2; i++)
        for (choir_sequence *at = lists[i]->first; at; at = at->next)
            look_at(&wanted, at);
    if (!wanted.found)
        choir_fair_queue_each(scheduler->queue, look_at, &wanted);
    return wanted.found;
}

choir_status choir_scheduler_submit(choir_scheduler *scheduler, const choir_request *request,
                                    int64_t now_us)
{
    const int n_waiting = choir_fair_queue_n_waiting(scheduler->queue);
    choir_sequence *made = NULL;
    if (n_waiting >= scheduler->options.max_waiting)
        return choir_fail(CHOIR_EUNAVAILABLE, "%d requests are waiting: try again later",
                          n_waiting);
    if (find(scheduler, request->id))
        return choir_fail(CHOIR_EINVALID, "id: %llu is in use", (unsigned long long)request->id);
    choir_status status = choir_sequence_create(&scheduler->options, request, now_us, &made);
    if (!status)
        status = choir_fair_queue_enter(scheduler->queue, made);
    if (status) {
        choir_sequence_destroy(&made);
        return status;
    }
    choir_fair_queue_push(scheduler->queue, made);
    if (made->deadline_us < scheduler->next_deadline_us)
        scheduler->next_deadline_us = made->deadline_us;
    return CHOIR_OK;
}

int64_t choir_scheduler_retry_after_us(const choir_scheduler *scheduler, int64_t now_us)
{
    /* A place in the queue is free when the next one is admitted, as far as one can tell. */
    int64_t us = scheduler->admission_us;
    if (scheduler->last_admission_us && now_us - scheduler->last_admission_us > us)
        us = now_us - scheduler->last_admission_us;
    return us < RETRY_LEAST_US ? RETRY_LEAST_US : us > RETRY_MOST_US ? RETRY_MOST_US : us;
}

static const char *words_of(choir_status status)
{
    switch (status) {
    case CHOIR_ETIMEOUT:
        return "its time ran out";
    case CHOIR_ENOMEM:
        return "out of memory";
    case CHOIR_EINVALID:
        return "allowed_token_ids, bad_words and min_tokens leave no token that may come";
    default:
        return "the model gave a value that is not finite";
    }
}

static void tell(choir_scheduler *scheduler, choir_sequence *sequence, int n_tokens, bool is_prompt,
                 choir_finish finish, choir_status status, int64_t now_us)
{
    choir_output output = {.id = sequence->id,
                           .tokens = scheduler->out_tokens,
                           .n_tokens = n_tokens,
                           .is_prompt = is_prompt,
                           .finish = finish,
                           .status = status,
                           .error = ""};
    if (status)
        output.error = words_of(status);
    if (finish == CHOIR_FINISH_EMBEDDED) {
        output.embedding = sequence->embedding;
        output.n_embedding = sequence->width;
    }
    if (finish) {
        output.timings = choir_sequence_timings(sequence, now_us);
        output.n_cached = sequence->n_cached;
    }
    scheduler->options.take(scheduler->options.context, &output);
}

static void forget(choir_scheduler *scheduler, choir_sequence *sequence)
{
    choir_fair_queue_leave(scheduler->queue, sequence);
    choir_sequence_destroy(&sequence);
}

void choir_scheduler_end(choir_scheduler *scheduler, choir_sequence *sequence, int n_tokens,
                         choir_finish finish, choir_status status, int64_t now_us)
{
    tell(scheduler, sequence, n_tokens, false, finish, status, now_us);
    sequence->is_ended = true;
    if (sequence->is_waiting)
        choir_fair_queue_remove(scheduler->queue, sequence);
    if (sequence->is_running) {
        const bool is_decode = choir_sequence_is_decoding(sequence);
        choir_sequence_remove(is_decode ? &scheduler->decodes : &scheduler->prefills, sequence);
        choir_scheduler_vacate(scheduler, sequence);
    }
    if (sequence->n_in_flight > 0)
        choir_sequence_append(&scheduler->ended, sequence);
    else
        forget(scheduler, sequence);
}

void choir_scheduler_abort(choir_scheduler *scheduler, uint64_t id, int64_t now_us)
{
    choir_sequence *found = find(scheduler, id);
    if (found)
        choir_scheduler_end(scheduler, found, 0, CHOIR_FINISH_ABORT, CHOIR_OK, now_us);
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

/* The token that its settings choose, and its logit; see choir_sampler_pick_from(). */
static int32_t pick(choir_scheduler *scheduler, choir_sequence *sequence,
                    const choir_row_result *row, float *logit)
{
    choir_sampling_lists lists;
    if (choir_sequence_is_plain(sequence)) {
        assert(row->n_top >= 1);
        *logit = row->top_logits[0];
        return row->top_ids[0];
    }
    if (!row->logits)
        return choir_sampler_pick_from(scheduler->sampler, &sequence->sampling, row,
                                       sequence->n_tokens, logit);
    choir_token_rules_lists(sequence->rules, sequence->tokens, sequence->n_tokens,
                            sequence->n_prompt, sequence->stop_ids, &lists);
    const int32_t id = choir_sampler_pick(scheduler->sampler, &sequence->sampling, &lists,
                                          row->logits, sequence->n_tokens);
    *logit = id >= 0 ? row->logits[id] : 0;
    return id;
}

/*
 * The candidates did not show what the filters keep: the last position is computed once more, for
 * its whole row. The next tokens get more candidates, or, where they had as many as there can be,
 * the row at once.
 */
static void look_again(choir_sequence *sequence)
{
    sequence->needs_row = true;
    sequence->n_candidates =
        sequence->n_candidates < CHOIR_STEP_MAX_CANDIDATES ? CHOIR_STEP_MAX_CANDIDATES : 0;
    if (!sequence->is_running)
        return; /* put back: all of it comes again */
    sequence->n_scheduled = sequence->n_tokens - 1;
    sequence->n_refill = sequence->n_scheduled;
}

/* The next token of a sequence, from the row of its last one. */
static void take_token(choir_scheduler *scheduler, choir_sequence *sequence,
                       const choir_row_result *row, int64_t now_us)
{
    if (!row->is_finite) {
        choir_scheduler_end(scheduler, sequence, 0, CHOIR_FINISH_ERROR, CHOIR_EENGINE, now_us);
        return;
    }
    float logit;
    const int32_t id = pick(scheduler, sequence, row, &logit);
    if (id == CHOIR_PICK_UNPROVED) {
        look_again(sequence);
        return;
    }
    sequence->needs_row = false;
    if (id < 0) {
        choir_scheduler_end(scheduler, sequence, 0, CHOIR_FINISH_ERROR, CHOIR_EINVALID, now_us);
        return;
    }
    if (sequence->n_tokens == sequence->n_prompt)
        sequence->first_token_us = now_us;
    sequence->tokens[sequence->n_tokens++] = id;
    scheduler->count.n_generated_tokens++;
    set_out(scheduler, 0, id, sequence->wants_logprobs ? logit - row->lse : NAN, row,
            sequence->n_top);
    choir_finish finish = CHOIR_FINISH_NONE;
    if (choir_sequence_stops_at(sequence, id))
        finish = CHOIR_FINISH_STOP;
    else if (sequence->n_tokens == sequence->n_prompt + sequence->n_new_max)
        finish = CHOIR_FINISH_LENGTH;
    if (finish)
        choir_scheduler_end(scheduler, sequence, 1, finish, CHOIR_OK, now_us);
    else
        tell(scheduler, sequence, 1, false, finish, CHOIR_OK, now_us);
}

/* The next n_rows tokens of the prompt, and in front of the first of them the prompt's first. */
static void take_scores(choir_scheduler *scheduler, choir_sequence *sequence,
                        const choir_row_result *rows, int n_rows, int64_t now_us)
{
    int n = 0;
    if (sequence->n_scored == 0)
        set_out(scheduler, n++, sequence->tokens[0], NAN, NULL, 0);
    for (int i = 0; i < n_rows; i++) {
        if (!rows[i].is_finite) {
            choir_scheduler_end(scheduler, sequence, 0, CHOIR_FINISH_ERROR, CHOIR_EENGINE, now_us);
            return;
        }
        set_out(scheduler, n, sequence->tokens[sequence->n_scored + n],
                rows[i].target_logit - rows[i].lse, &rows[i], sequence->n_prompt_top);
        n++;
    }
    sequence->n_scored += n;
    if (sequence->is_score && sequence->n_scored == sequence->n_prompt)
        choir_scheduler_end(scheduler, sequence, n, CHOIR_FINISH_SCORED, CHOIR_OK, now_us);
    else if (n > 0)
        tell(scheduler, sequence, n, !sequence->is_score, CHOIR_FINISH_NONE, CHOIR_OK, now_us);
}

/* The states of the next n_rows positions that are wanted for an embedding; the last ends it. */
static void take_states(choir_scheduler *scheduler, choir_sequence *sequence,
                        const choir_row_result *rows, int n_rows, int64_t now_us)
{
    const bool is_mean = sequence->pooling == CHOIR_POOLING_MEAN;
    for (int i = 0; i < n_rows; i++) {
        if (!rows[i].is_finite) {
            choir_scheduler_end(scheduler, sequence, 0, CHOIR_FINISH_ERROR, CHOIR_EENGINE, now_us);
            return;
        }
        choir_pooling_add(sequence->embedding, rows[i].state, sequence->width,
                          sequence->n_pooled++ == 0);
    }
    if (sequence->n_pooled < (is_mean ? sequence->n_prompt : 1))
        return;
    if (is_mean)
        choir_pooling_divide(sequence->embedding, sequence->width, sequence->n_prompt);
    if (sequence->is_normalized)
        choir_pooling_normalize(sequence->embedding, sequence->width);
    choir_scheduler_end(scheduler, sequence, 0, CHOIR_FINISH_EMBEDDED, CHOIR_OK, now_us);
}

/*
 * What decodes cost alone is kept apart: while prompts are in every step, a model of all steps
 * would forget it. Moved by steps of 2 % it becomes their median.
 */
static void learn_decode_cost(choir_scheduler *scheduler, choir_step_size size, int64_t us)
{
    double known_us = choir_scheduler_decode_us(scheduler, size);
    if (scheduler->decode_us > 0 && known_us > 0)
        known_us *= (double)us > 1.02 * known_us ? 1.02 : (double)us < 0.98 * known_us ? 0.98 : 1;
    else
        known_us = (double)us;
    scheduler->decode_us = known_us;
    scheduler->decode_size = size;
}

double choir_scheduler_decode_us(const choir_scheduler *scheduler, choir_step_size size)
{
    const double now = (double)choir_step_cost_predict(&scheduler->cost, size);
    const double then = (double)choir_step_cost_predict(&scheduler->cost, scheduler->decode_size);
    return scheduler->decode_us > 0 && then > 0 ? scheduler->decode_us * now / then : now;
}

/* How long the step took the ranks: since it began, or since the one before it was done. */
static void learn_cost(choir_scheduler *scheduler, const choir_flight *flight, int64_t now_us)
{
    const bool was_waiting = scheduler->completed_us > flight->begun_us;
    const int64_t us = now_us - (was_waiting ? scheduler->completed_us : flight->begun_us);
    const int64_t expected_us = choir_step_cost_predict(&scheduler->cost, flight->size);
    if (flight->has_prompt && expected_us > 0)
        scheduler->prompt_ratio +=
            (fmin(fmax((double)us / (double)expected_us, 0.5), 2) - scheduler->prompt_ratio) / 16;
    if (!flight->has_prompt)
        learn_decode_cost(scheduler, flight->size, us);
    choir_step_cost_learn(&scheduler->cost, flight->size, us);
    scheduler->completed_us = now_us;
}

static void take_part(choir_scheduler *scheduler, const choir_flight_part *part,
                      const choir_row_result *rows, int64_t now_us)
{
    choir_sequence *sequence = part->sequence;
    sequence->n_in_flight--;
    if (sequence->is_ended) {
        if (sequence->n_in_flight > 0)
            return;
        choir_sequence_remove(&scheduler->ended, sequence);
        forget(scheduler, sequence);
    } else if (sequence->pooling != CHOIR_POOLING_NONE) {
        take_states(scheduler, sequence, rows, part->n_wanted, now_us);
    } else if (part->is_reading) {
        take_scores(scheduler, sequence, rows, part->n_wanted, now_us);
    } else if (part->n_wanted) {
        if (sequence->wants_prompt_logprobs && sequence->n_scored == 0)
            take_scores(scheduler, sequence, NULL, 0, now_us); /* of a prompt of one token */
        take_token(scheduler, sequence, rows, now_us);
    }
}

choir_status choir_scheduler_complete(choir_scheduler *scheduler, uint64_t step_id,
                                      const choir_row_result *rows, int64_t n_rows, int64_t now_us)
{
    const choir_flight *flight = &scheduler->flights[scheduler->first_flight];
    if (!scheduler->n_flights || flight->step_id != step_id || flight->n_wanted != n_rows)
        return choir_fail(CHOIR_EINTERNAL,
                          "step %llu came back with %lld rows; %d steps are in flight, the oldest "
                          "is %llu with %lld",
                          (unsigned long long)step_id, (long long)n_rows, scheduler->n_flights,
                          (unsigned long long)flight->step_id, (long long)flight->n_wanted);
    scheduler->first_flight = (scheduler->first_flight + 1) % scheduler->options.n_stages;
    scheduler->n_flights--;
    learn_cost(scheduler, flight, now_us);
    for (int i = 0; i < flight->n_parts; i++) {
        const int32_t n_wanted = flight->parts[i].n_wanted;
        take_part(scheduler, &flight->parts[i], rows, now_us);
        if (n_wanted)
            rows += n_wanted;
    }
    return CHOIR_OK;
}

void choir_scheduler_get_load(const choir_scheduler *scheduler, choir_scheduler_load *load)
{
    *load = scheduler->count;
    load->n_running = (int)choir_scheduler_n_running(scheduler);
    load->n_waiting = choir_fair_queue_n_waiting(scheduler->queue);
    load->n_steps_in_flight = scheduler->n_flights;
    load->n_pages = scheduler->options.limits.n_pages;
    load->n_pages_used = choir_page_pool_used(scheduler->pages);
    load->n_pages_kept = choir_page_pool_kept(scheduler->pages);
}
