/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Users stand in a ring. A turn looks from the last one served onwards for a user whose first
 * sequence is of the best priority and can be paid for; where there is none, as many rounds pass at
 * once as the cheapest of them needs, so that a turn takes two passes at most.
 *
 * A user's sequences are sorted by when they would have arrived if a priority were time: arrival
 * plus priority x CHOIR_AGEING_US. All age alike, so the order never changes while they wait.
 */
#include "coordinator/fair_queue.h"

#include "common/mem.h"

#include <assert.h>
#include <stdlib.h>

/* What a user had too much is remembered up to so many rounds, so that it does not wait for ever.
 */
enum { DEBT_ROUNDS = 16 };

struct choir_user {
    choir_user *previous, *next; /* a ring */
    uint64_t id;
    choir_sequence_list waiting;
    int64_t deficit; /* tokens that it may have now; below 0: had too many */
    uint64_t mark;
    int n_known;
};

struct choir_fair_queue {
    choir_user *turn; /* where the next look begins; NULL: no users */
    int64_t quantum;
    int n_waiting;
};

choir_status choir_fair_queue_create(int64_t quantum, choir_fair_queue **queue)
{
    assert(quantum > 0);
    const choir_status status = choir_alloc(1, sizeof **queue, (void **)queue);
    if (!status)
        (*queue)->quantum = quantum;
    return status;
}

void choir_fair_queue_destroy(choir_fair_queue **queue)
{
    if (!*queue)
        return;
    choir_user *first = (*queue)->turn;
    for (choir_user *at = first, *next; at; at = next) {
        next = at->next == first ? NULL : at->next;
        free(at);
    }
    free(*queue);
    *queue = NULL;
}

static choir_user *find_user(const choir_fair_queue *queue, uint64_t id)
{
    choir_user *at = queue->turn;
    if (!at)
        return NULL;
    do {
        if (at->id == id)
            return at;
        at = at->next;
    } while (at != queue->turn);
    return NULL;
}

/* Behind all others: the round that goes on now comes to a new user last. */
static choir_status add_user(choir_fair_queue *queue, uint64_t id, choir_user **user)
{
    const choir_status status = choir_alloc(1, sizeof **user, (void **)user);
    if (status)
        return status;
    choir_user *made = *user, *turn = queue->turn;
    made->id = id;
    made->previous = turn ? turn->previous : made;
    made->next = turn ? turn : made;
    made->previous->next = made->next->previous = made;
    if (!turn)
        queue->turn = made;
    return CHOIR_OK;
}

choir_status choir_fair_queue_enter(choir_fair_queue *queue, choir_sequence *sequence)
{
    choir_user *user = find_user(queue, sequence->user_id);
    const choir_status status = user ? CHOIR_OK : add_user(queue, sequence->user_id, &user);
    if (status)
        return status;
    user->n_known++;
    sequence->user = user;
    return CHOIR_OK;
}

void choir_fair_queue_leave(choir_fair_queue *queue, choir_sequence *sequence)
{
    choir_user *user = sequence->user;
    assert(!sequence->is_waiting);
    sequence->user = NULL;
    if (--user->n_known > 0)
        return;
    user->previous->next = user->next;
    user->next->previous = user->previous;
    if (queue->turn == user)
        queue->turn = user->next == user ? NULL : user->next;
    free(user);
}

static int64_t due_of(const choir_sequence *sequence)
{
    return sequence->arrival_us + (int64_t)sequence->priority * CHOIR_AGEING_US;
}

void choir_fair_queue_push(choir_fair_queue *queue, choir_sequence *sequence)
{
    choir_sequence_list *list = &sequence->user->waiting;
    choir_sequence *before = list->last;
    assert(!sequence->is_waiting);
    while (before && due_of(before) > due_of(sequence))
        before = before->previous;
    choir_sequence_insert(list, before, sequence);
    sequence->is_waiting = true;
    queue->n_waiting++;
}

void choir_fair_queue_remove(choir_fair_queue *queue, choir_sequence *sequence)
{
    assert(sequence->is_waiting);
    choir_sequence_remove(&sequence->user->waiting, sequence);
    sequence->is_waiting = false;
    queue->n_waiting--;
}

static int64_t cost_of(const choir_sequence *sequence)
{
    return choir_sequence_ready(sequence);
}

/* The lowest number that a user's first sequence was given. */
static int64_t best_priority(const choir_fair_queue *queue)
{
    int64_t best = CHOIR_PRIORITY_MAX;
    const choir_user *at = queue->turn;
    do {
        const choir_sequence *first = at->waiting.first;
        if (first && first->priority < best)
            best = first->priority;
        at = at->next;
    } while (at != queue->turn);
    return best;
}

static bool has_turn(const choir_user *user, int64_t best, int64_t now_us)
{
    const choir_sequence *first = user->waiting.first;
    if (first && now_us < first->arrival_us)
        now_us = first->arrival_us;
    return first && first->priority - (now_us - first->arrival_us) / CHOIR_AGEING_US <= best;
}

/* How many rounds must pass until a user can pay for its first sequence. */
static int64_t rounds_until(const choir_fair_queue *queue, const choir_user *user)
{
    const int64_t missing = cost_of(user->waiting.first) - user->deficit;
    return missing > 0 ? choir_ceil_div(missing, queue->quantum) : 0;
}

choir_sequence *choir_fair_queue_first(choir_fair_queue *queue, int64_t now_us)
{
    if (queue->n_waiting == 0)
        return NULL;
    const int64_t best = best_priority(queue);
    choir_user *const start = queue->turn, *chosen = NULL, *at = start;
    int64_t n_rounds = 0;
    do {
        if (has_turn(at, best, now_us) && (!chosen || rounds_until(queue, at) < n_rounds)) {
            chosen = at;
            n_rounds = rounds_until(queue, at);
        }
        at = at->next;
    } while (at != start);
    do {
        if (n_rounds > 0 && has_turn(at, best, now_us))
            at->deficit += n_rounds * queue->quantum;
        at = at->next;
    } while (at != start);
    queue->turn = chosen;
    return chosen->waiting.first;
}

choir_sequence *choir_fair_queue_poorest(const choir_fair_queue *queue, int64_t now_us)
{
    const int64_t best = best_priority(queue);
    const choir_user *poorest = NULL, *at = queue->turn;
    do {
        if (has_turn(at, best, now_us) &&
            (!poorest || at->n_known - at->waiting.n < poorest->n_known - poorest->waiting.n))
            poorest = at;
        at = at->next;
    } while (at != queue->turn);
    return poorest->waiting.first;
}

static void pay(choir_fair_queue *queue, choir_user *user, int64_t n)
{
    const int64_t least = -DEBT_ROUNDS * queue->quantum;
    user->deficit = user->deficit - n > least ? user->deficit - n : least;
    if (!user->waiting.first && user->deficit > 0)
        user->deficit = 0; /* what nobody waits for is not saved */
}

void choir_fair_queue_take(choir_fair_queue *queue, choir_sequence *sequence)
{
    const int64_t n = cost_of(sequence);
    choir_fair_queue_remove(queue, sequence);
    pay(queue, sequence->user, n);
}

void choir_fair_queue_charge(choir_fair_queue *queue, const choir_sequence *sequence, int64_t n)
{
    pay(queue, sequence->user, n);
}

bool choir_fair_queue_mark(const choir_sequence *sequence, uint64_t mark)
{
    const bool is_new = sequence->user->mark != mark;
    sequence->user->mark = mark;
    return is_new;
}

int choir_fair_queue_n_waiting(const choir_fair_queue *queue)
{
    return queue->n_waiting;
}

int choir_fair_queue_n_running(const choir_sequence *sequence)
{
    return sequence->user->n_known - sequence->user->waiting.n;
}

void choir_fair_queue_each(choir_fair_queue *queue,
                           void (*visit)(void *context, choir_sequence *sequence), void *context)
{
    choir_user *at = queue->turn, *next_user;
    for (int64_t n = queue->n_waiting; n > 0; at = next_user) {
        next_user = at->next; /* a user goes with its last sequence */
        for (choir_sequence *sequence = at->waiting.first, *next; sequence; sequence = next, n--) {
            next = sequence->next;
            visit(context, sequence);
        }
    }
}
