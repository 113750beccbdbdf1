/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/deal.h"

enum {
    HELPED = 7, /* so many threads behind this one: with many, looking at all would take too long */
};

choir_team choir_deal_begin(const choir_team *team)
{
    choir_team owner = *team;
    owner.thread = -1;
    return owner;
}

bool choir_deal_next(const choir_team *team, choir_team *owner)
{
    const int n = team->n_threads;
    const int before = (owner->thread - team->thread + n) % n;
    if (owner->thread < 0) {
        owner->thread = team->thread;
        return true;
    }
    owner->thread = (owner->thread + 1) % n;
    return before < HELPED && owner->thread != team->thread;
}

int64_t choir_deal_take_number(const choir_team *owner)
{
    _Atomic uint64_t *next = &owner->deals[owner->thread].next;
    const uint64_t first = (uint64_t)choir_barrier_passes(owner->barrier) << 32;
    uint64_t seen = atomic_load_explicit(next, memory_order_relaxed), mine;
    do
        mine = seen >> 32 == first >> 32 ? seen : first;
    while (!atomic_compare_exchange_weak_explicit(next, &seen, mine + 1, memory_order_relaxed,
                                                  memory_order_relaxed));
    return (int64_t)(mine - first);
}

bool choir_deal_take(const choir_team *owner, choir_range share, int64_t chunk, choir_range *taken)
{
    *taken = choir_range_part(share, choir_deal_take_number(owner), chunk);
    return choir_range_size(*taken) > 0;
}
