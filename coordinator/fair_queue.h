/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sequences that wait, and whose turn it is. Among users it is fair by deficit round robin
 * (Shreedhar and Varghese, 1995) over the tokens that are computed for them: each round a user may
 * have a quantum more, a sequence is admitted when its user can pay for its known tokens, and what
 * is generated later is charged too. So a user with thousands of requests gets no more of the ranks
 * than one with a few, while both have some waiting.
 *
 * Priorities come first: lower numbers before higher ones. A sequence that waits counts as one
 * number lower for each CHOIR_AGEING_US, down to the lowest that any waiting one was given: then it
 * takes its turns among those, so nobody starves (the scheduler gives the last slot to a user with
 * fewer running, but only before one that has waited for less than that). Of one user's sequences
 * of one priority the one that arrived first goes first.
 *
 * The queue links sequences and does not own them. Pure; one thread.
 */
#ifndef CHOIR_COORDINATOR_FAIR_QUEUE_H
#define CHOIR_COORDINATOR_FAIR_QUEUE_H

#include "common/status.h"
#include "coordinator/sequence.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    CHOIR_AGEING_US = 2000000, /* waited for so long: as if its priority were one lower */
};

typedef struct choir_fair_queue choir_fair_queue;

/* quantum: tokens, > 0. */
choir_status choir_fair_queue_create(int64_t quantum, choir_fair_queue **queue) CHOIR_MUST_CHECK;
void choir_fair_queue_destroy(choir_fair_queue **queue);

/*
 * A sequence is known to the queue from enter() to leave(), whether it waits or not: that is how
 * long its user is remembered. enter() fails with ENOMEM only; then it is not known.
 */
choir_status choir_fair_queue_enter(choir_fair_queue *queue,
                                    choir_sequence *sequence) CHOIR_MUST_CHECK;
void choir_fair_queue_leave(choir_fair_queue *queue, choir_sequence *sequence);

/* From now on it waits. */
void choir_fair_queue_push(choir_fair_queue *queue, choir_sequence *sequence);
/* It no longer waits, without having had its turn. */
void choir_fair_queue_remove(choir_fair_queue *queue, choir_sequence *sequence);
/*
 * Whose turn it is, or NULL where nobody waits; the same until something changes. It still waits:
 * take() it, or wait with all others until there is room for it.
 */
choir_sequence *choir_fair_queue_first(choir_fair_queue *queue, int64_t now_us);
/* Of those whose priority has a turn now, the first one of the user with the fewest running. */
choir_sequence *choir_fair_queue_poorest(const choir_fair_queue *queue, int64_t now_us);
/* It is admitted: its user pays for its known tokens. */
void choir_fair_queue_take(choir_fair_queue *queue, choir_sequence *sequence);
/* Its user pays for n more tokens. */
void choir_fair_queue_charge(choir_fair_queue *queue, const choir_sequence *sequence, int64_t n);

/* Whether its user was marked otherwise; then it is marked so. */
bool choir_fair_queue_mark(const choir_sequence *sequence, uint64_t mark);

int choir_fair_queue_n_waiting(const choir_fair_queue *queue);
/* Sequences of its user that are known and do not wait. */
int choir_fair_queue_n_running(const choir_sequence *sequence);
/* Calls `visit` with each that waits; it may remove that one, and no other. */
void choir_fair_queue_each(choir_fair_queue *queue,
                           void (*visit)(void *context, choir_sequence *sequence), void *context);

#endif
