/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the time of a step goes, for `choir bench --breakdown`: each thread has a clock that is
 * stopped at the end of every operation and of every wait, so that the parts add up to the whole.
 */
#ifndef CHOIR_WORKER_PHASES_H
#define CHOIR_WORKER_PHASES_H

#include <stdint.h>

typedef enum choir_phase {
    CHOIR_PHASE_OUTSIDE, /* between steps, and in serial code of a step */
    CHOIR_PHASE_NORM,    /* and the quantizing behind it */
    CHOIR_PHASE_QKV,
    CHOIR_PHASE_STORE,     /* rotates keys, stores keys and values */
    CHOIR_PHASE_ATTENTION, /* rotates queries; quantizes what comes out */
    CHOIR_PHASE_ATTN_OUTPUT,
    CHOIR_PHASE_GATE_UP,
    CHOIR_PHASE_SWIGLU, /* and the quantizing behind it */
    CHOIR_PHASE_DOWN,
    CHOIR_PHASE_EXCHANGE, /* between shards, and its sums; thread 0 alone, the others wait */
    CHOIR_PHASE_LOGITS,
    CHOIR_PHASE_RECORD, /* log-sum-exp and best entries of the logits */
    CHOIR_PHASE_COUNT,
} choir_phase;

/* "qkv" and so on; static. */
const char *choir_phase_name(choir_phase phase);

/* Of one thread; all zero: not started. On a cache line of its own. */
typedef struct choir_phase_clock {
    _Alignas(64) int64_t last_ns;
    int64_t work_ns[CHOIR_PHASE_COUNT];
    int64_t wait_ns[CHOIR_PHASE_COUNT]; /* behind the operation */
    choir_phase last_phase;
} choir_phase_clock;

/* Forgets everything; what follows counts from now. */
void choir_phase_restart(choir_phase_clock *clock);
/* The time since the last call was this operation, or the wait behind the last one. NULL: nothing.
 */
void choir_phase_end(choir_phase_clock *clock, choir_phase phase);
void choir_phase_end_wait(choir_phase_clock *clock);

#endif
