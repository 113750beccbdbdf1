/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an operation's rows are dealt to threads: each works through its own share in chunks, from
 * front to back, and then helps others with theirs, since on a shared or uneven machine a thread
 * may be held up for longer than an operation takes. A share's chunks are the same whoever takes
 * them, and results of rows do not depend on each other, so nothing but the time changes.
 *
 *   for (choir_team owner = choir_deal_begin(team); choir_deal_next(team, &owner);) {
 *       const choir_range share = choir_team_share(&owner, n);
 *       for (choir_range taken; choir_deal_take(&owner, share, chunk, &taken);)
 *           work(taken);
 *   }
 *
 * Behind each such loop all threads pass their barrier before the next.
 */
#ifndef CHOIR_WORKER_DEAL_H
#define CHOIR_WORKER_DEAL_H

#include "worker/team.h"

#include <stdatomic.h>

/*
 * One thread's next chunk. Which loop it belongs to is told by the barrier passes before it, so
 * that nobody has to set it back; another loop's counts as nothing taken.
 */
typedef struct choir_deal {
    _Alignas(64) _Atomic uint64_t next; /* passes << 32 | chunk */
} choir_deal;

/* The calling thread's way through the shares: next says whether there is another, whose owner. */
choir_team choir_deal_begin(const choir_team *team);
bool choir_deal_next(const choir_team *team, choir_team *owner);

/* The number of the owner's next chunk, which the caller then has alone. Any number of times. */
int64_t choir_deal_take_number(const choir_team *owner);
/* The same as a range of up to `chunk` things of the owner's share; false when none is left. */
bool choir_deal_take(const choir_team *owner, choir_range share, int64_t chunk, choir_range *taken);

#endif
