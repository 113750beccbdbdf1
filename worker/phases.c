/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/phases.h"

#include "common/clock.h"

#include <string.h>

static const char *const names[] = {
    [CHOIR_PHASE_OUTSIDE] = "outside",
    [CHOIR_PHASE_NORM] = "norm",
    [CHOIR_PHASE_QKV] = "qkv",
    [CHOIR_PHASE_STORE] = "store",
    [CHOIR_PHASE_ATTENTION] = "attention",
    [CHOIR_PHASE_ATTN_OUTPUT] = "attn_output",
    [CHOIR_PHASE_GATE_UP] = "gate_up",
    [CHOIR_PHASE_SWIGLU] = "swiglu",
    [CHOIR_PHASE_DOWN] = "down",
    [CHOIR_PHASE_EXCHANGE] = "exchange",
    [CHOIR_PHASE_LOGITS] = "logits",
    [CHOIR_PHASE_RECORD] = "record",
};

const char *choir_phase_name(choir_phase phase)
{
    return names[phase];
}

void choir_phase_restart(choir_phase_clock *clock)
{
    memset(clock, 0, sizeof *clock);
    clock->last_ns = choir_clock_ns();
}

void choir_phase_end(choir_phase_clock *clock, choir_phase phase)
{
    if (!clock)
        return;
    const int64_t now = choir_clock_ns();
    clock->work_ns[phase] += now - clock->last_ns;
    clock->last_ns = now;
    clock->last_phase = phase;
}

void choir_phase_end_wait(choir_phase_clock *clock)
{
    if (!clock)
        return;
    const int64_t now = choir_clock_ns();
    clock->wait_ns[clock->last_phase] += now - clock->last_ns;
    clock->last_ns = now;
}
