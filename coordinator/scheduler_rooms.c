/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots and pages are given up at once, whatever is in flight: ranks take steps in order, so a step
 * that writes a page comes behind all that read it. Only a sequence that was put back waits until
 * its last step has come home before it may run again, since that step may bring a token.
 *
 * Admission asks for pages of all known tokens and a few more, so that those who decode do not have
 * to put it back at once. Two may take the place of others: who has a lower priority number, and
 * who has far fewer sequences running than another user (fair queues alone would let the first
 * comer keep every slot for as long as its answers last).
 */
#include "coordinator/scheduler_state.h"

#include "common/mem.h"

#include <assert.h>

static int64_t page_positions(const choir_scheduler *scheduler)
{
    return scheduler->options.limits.page_positions;
}

static void drop_pages(choir_scheduler *scheduler, choir_sequence *sequence)
{
    /* The end of a chain first: it is of no use without its beginning. */
    while (sequence->n_pages > 0)
        choir_page_pool_drop(scheduler->pages, sequence->pages[--sequence->n_pages],
                             scheduler->options.keeps_pages);
    sequence->n_told = sequence->n_published = 0;
}

void choir_scheduler_vacate(choir_scheduler *scheduler, choir_sequence *sequence)
{
    drop_pages(scheduler, sequence);
    scheduler->free_slots[scheduler->n_free_slots++] = sequence->slot;
    sequence->is_running = false;
    if (scheduler->starved == sequence)
        scheduler->starved = NULL;
}

static choir_sequence_list *list_of(choir_scheduler *scheduler, const choir_sequence *sequence)
{
    return choir_sequence_is_decoding(sequence) ? &scheduler->decodes : &scheduler->prefills;
}

static void put_back(choir_scheduler *scheduler, choir_sequence *sequence)
{
    choir_sequence_remove(list_of(scheduler, sequence), sequence);
    choir_scheduler_vacate(scheduler, sequence);
    sequence->n_scheduled = 0;
    choir_fair_queue_push(scheduler->queue, sequence);
    scheduler->count.n_preemptions++;
}

/* Whether `sequence` may be put back for a reason that `may` knows. */
typedef bool (*may_fn)(const choir_sequence *sequence, const choir_sequence *newcomer);

/* Of the running ones that are not in the step being made, the one to be put back first; or NULL.
 */
static choir_sequence *find_victim(const choir_scheduler *scheduler, may_fn may,
                                   const choir_sequence *newcomer)
{
    const choir_sequence_list *const lists[] = {&scheduler->prefills, &scheduler->decodes};
    choir_sequence *victim = NULL;
    for (int i = 0; i < 2; i++)
        for (choir_sequence *at = lists[i]->first; at; at = at->next)
            if (at != newcomer && at->step_id <= scheduler->count.n_steps && may(at, newcomer) &&
                (!victim || choir_sequence_yields_to(at, victim)))
                victim = at;
    return victim;
}

bool choir_scheduler_secure_pages(choir_scheduler *scheduler, choir_sequence *sequence, int64_t end)
{
    const int64_t n_needed = choir_ceil_div(end, page_positions(scheduler));
    while (n_needed - sequence->n_pages > choir_page_pool_available(scheduler->pages)) {
        choir_sequence *victim = find_victim(scheduler, choir_sequence_yields_to, sequence);
        if (!victim)
            return false;
        put_back(scheduler, victim);
    }
    while (sequence->n_pages < n_needed)
        sequence->pages[sequence->n_pages++] = choir_page_pool_take(scheduler->pages);
    return true;
}

/* Positions that may come from the cache: not those whose logits are wanted. */
static int64_t reusable_positions(const choir_sequence *sequence)
{
    const bool is_wanted =
        !sequence->is_generating || sequence->wanted_from < sequence->n_score_rows;
    return is_wanted ? sequence->wanted_from : sequence->n_refill - 1;
}

/* The page of the pool that a prefill could use next, or -1. */
static int32_t next_reusable(const choir_scheduler *scheduler, choir_sequence *sequence)
{
    const int64_t size = page_positions(scheduler), index = sequence->n_scheduled / size;
    if (!sequence->is_sharing || sequence->n_scheduled % size || sequence->n_pages != index ||
        (index + 1) * size > reusable_positions(sequence))
        return -1;
    return choir_page_pool_find(scheduler->pages, choir_sequence_page_name(sequence, index, size));
}

void choir_scheduler_reuse_pages(choir_scheduler *scheduler, choir_sequence *sequence)
{
    const int64_t size = page_positions(scheduler);
    for (;;) {
        const int32_t page = next_reusable(scheduler, sequence);
        if (page < 0)
            return;
        choir_page_pool_use(scheduler->pages, page);
        sequence->pages[sequence->n_pages++] = page;
        sequence->n_published = sequence->n_pages;
        sequence->n_scheduled += size;
        scheduler->count.n_cache_hits += (uint64_t)size;
        if (sequence->n_tokens == sequence->n_prompt)
            sequence->n_cached += size;
    }
}

bool choir_scheduler_waits_for_page(const choir_scheduler *scheduler, choir_sequence *sequence)
{
    const int64_t size = page_positions(scheduler), index = sequence->n_scheduled / size;
    if (!sequence->is_sharing || sequence->n_scheduled % size ||
        (index + 1) * size > reusable_positions(sequence))
        return false;
    for (choir_sequence *at = sequence->previous; at; at = at->previous)
        if (at->is_sharing && at->n_scheduled / size == index &&
            (index + 1) * size <= at->n_refill &&
            choir_page_name_equal(choir_sequence_page_name(at, index, size),
                                  choir_sequence_page_name(sequence, index, size)))
            return true;
    return false;
}

void choir_scheduler_publish_pages(choir_scheduler *scheduler, choir_sequence *sequence)
{
    const int64_t size = page_positions(scheduler);
    if (!sequence->is_sharing)
        return;
    for (; (sequence->n_published + 1) * size <= sequence->n_scheduled; sequence->n_published++)
        choir_page_pool_name(scheduler->pages, sequence->pages[sequence->n_published],
                             choir_sequence_page_name(sequence, sequence->n_published, size));
}

/* Pages that admission takes from those that are available: the known tokens' without those that
 * others use already. */
static int64_t pages_wanted(const choir_scheduler *scheduler, choir_sequence *sequence)
{
    const int64_t size = page_positions(scheduler);
    const int64_t n_known = choir_sequence_ready(sequence);
    int64_t n = choir_ceil_div(n_known, size);
    const int64_t limit = sequence->is_sharing ? reusable_positions(sequence) : 0;
    for (int64_t k = 0; (k + 1) * size <= limit; k++) {
        const int32_t page =
            choir_page_pool_find(scheduler->pages, choir_sequence_page_name(sequence, k, size));
        if (page < 0)
            break;
        n -= choir_page_pool_is_used(scheduler->pages, page);
    }
    return n;
}

/* Pages that those who were admitted need for what they know and have not taken yet. */
static int64_t pages_promised(const choir_scheduler *scheduler)
{
    int64_t n = 0;
    for (const choir_sequence *at = scheduler->prefills.first; at; at = at->next) {
        const int64_t n_needed = choir_ceil_div(at->n_refill, page_positions(scheduler));
        n += n_needed > at->n_pages ? n_needed - at->n_pages : 0;
    }
    return n;
}

/* A page for each that decodes, as far as these are few: soon they need it. */
static bool has_room(const choir_scheduler *scheduler, choir_sequence *sequence)
{
    const int64_t n_pages = scheduler->options.limits.n_pages;
    int64_t n_spare = choir_scheduler_n_running(scheduler);
    if (n_spare > n_pages / 16)
        n_spare = n_pages / 16;
    return scheduler->n_free_slots > 0 &&
           pages_wanted(scheduler, sequence) + pages_promised(scheduler) + n_spare <=
               choir_page_pool_available(scheduler->pages);
}

static bool is_less_urgent(const choir_sequence *sequence, const choir_sequence *newcomer)
{
    return sequence->priority > newcomer->priority;
}

/*
 * Its user has more than twice as many running as the newcomer's, so that the two would not change
 * places for ever as requests end and come.
 */
static bool has_more_than_its_share(const choir_sequence *sequence, const choir_sequence *newcomer)
{
    return sequence->priority >= newcomer->priority && sequence->user != newcomer->user &&
           choir_fair_queue_n_running(sequence) > 2 * choir_fair_queue_n_running(newcomer) + 1;
}

/* Puts back who has to go for the newcomer; false where nobody has. */
static bool make_room(choir_scheduler *scheduler, const choir_sequence *newcomer)
{
    choir_sequence *victim = find_victim(scheduler, is_less_urgent, newcomer);
    if (!victim)
        victim = find_victim(scheduler, has_more_than_its_share, newcomer);
    if (victim)
        put_back(scheduler, victim);
    return victim != NULL;
}

static void count_admission(choir_scheduler *scheduler, choir_sequence *sequence, int64_t now_us)
{
    const int64_t interval = now_us - scheduler->last_admission_us;
    if (scheduler->last_admission_us)
        scheduler->admission_us += (interval - scheduler->admission_us) / 8;
    scheduler->last_admission_us = now_us;
    if (sequence->is_sharing)
        scheduler->count.n_cache_queries += (uint64_t)sequence->n_refill;
    if (!sequence->was_admitted)
        sequence->admitted_us = now_us;
    sequence->was_admitted = true;
}

/* All that is known is computed again where it was put back. */
static void start(choir_scheduler *scheduler, choir_sequence *sequence)
{
    choir_fair_queue_take(scheduler->queue, sequence);
    sequence->is_running = true;
    sequence->slot = scheduler->free_slots[--scheduler->n_free_slots];
    if (sequence->n_tokens == sequence->n_prompt)
        sequence->n_cached = 0;
    choir_sequence *before = scheduler->prefills.last;
    while (before && before->priority > sequence->priority)
        before = before->previous;
    choir_sequence_insert(&scheduler->prefills, before, sequence);
    choir_scheduler_reuse_pages(scheduler, sequence);
}

/* Where whose turn it is finds no room and nobody to put back, a user with fewer running may. */
static choir_sequence *find_poorest(choir_scheduler *scheduler, const choir_sequence *first,
                                    int64_t now_us)
{
    choir_sequence *poorest = choir_fair_queue_poorest(scheduler->queue, now_us);
    return poorest->user != first->user && poorest->n_in_flight == 0 ? poorest : NULL;
}

/*
 * Who may have the last slot before the one whose turn it is: a user with fewer running, who would
 * have to put one back else. Not for ever: who has waited for long has its turn. NULL: nobody.
 */
static choir_sequence *find_poorer(choir_scheduler *scheduler, const choir_sequence *first,
                                   int64_t now_us)
{
    if (scheduler->n_free_slots != 1 || now_us - first->arrival_us > CHOIR_AGEING_US)
        return NULL;
    choir_sequence *poorest = find_poorest(scheduler, first, now_us);
    const bool is_poorer =
        poorest && choir_fair_queue_n_running(poorest) < choir_fair_queue_n_running(first);
    return is_poorer ? poorest : NULL;
}

static void set_refill(choir_sequence *sequence)
{
    if (sequence->pooling == CHOIR_POOLING_LAST)
        sequence->wanted_from = sequence->n_prompt - 1;
    else if (sequence->pooling == CHOIR_POOLING_MEAN)
        sequence->wanted_from = sequence->n_pooled;
    else
        sequence->wanted_from = sequence->n_scored > 0 ? sequence->n_scored - 1 : 0;
    if (sequence->is_generating)
        sequence->n_refill = sequence->n_tokens;
}

/* Admits a sequence that waits, if there is room or room can be made; else false. */
static bool try_one(choir_scheduler *scheduler, choir_sequence *sequence, bool *has_exchanged,
                    int64_t now_us)
{
    if (choir_sequence_prepare(sequence) != CHOIR_OK) {
        choir_scheduler_end(scheduler, sequence, 0, CHOIR_FINISH_ERROR, CHOIR_ENOMEM, now_us);
        return true;
    }
    set_refill(sequence);
    if (!has_room(scheduler, sequence)) {
        if (*has_exchanged || !make_room(scheduler, sequence))
            return false;
        *has_exchanged = true;
        if (!has_room(scheduler, sequence))
            return false; /* more of them have to go, in the next steps */
    }
    start(scheduler, sequence);
    count_admission(scheduler, sequence, now_us);
    return true;
}

void choir_scheduler_admit(choir_scheduler *scheduler, int64_t now_us)
{
    bool has_exchanged = false; /* one in a step is enough: computing again costs */
    for (;;) {
        choir_sequence *first = choir_fair_queue_first(scheduler->queue, now_us);
        if (!first || first->n_in_flight > 0)
            return;
        choir_sequence *poorer = find_poorer(scheduler, first, now_us);
        if (poorer && try_one(scheduler, poorer, &has_exchanged, now_us))
            continue;
        if (try_one(scheduler, first, &has_exchanged, now_us))
            continue;
        first = find_poorest(scheduler, first, now_us);
        if (!first || !try_one(scheduler, first, &has_exchanged, now_us))
            return;
    }
}
