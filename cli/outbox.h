/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collects what the scheduler says of one step and sends it to the front end as one Outputs message
 * (proto/engine.proto). Its memory is kept from step to step.
 */
#ifndef CHOIR_CLI_OUTBOX_H
#define CHOIR_CLI_OUTBOX_H

#include "common/status.h"
#include "coordinator/scheduler.h"
#include "proto/engine_link.h"

typedef struct choir_outbox choir_outbox;

choir_status choir_outbox_create(choir_outbox **outbox) CHOIR_MUST_CHECK;
void choir_outbox_destroy(choir_outbox **outbox);

/*
 * A choir_output_fn whose context is the outbox: copies the output. If memory runs out, the next
 * choir_outbox_send() fails.
 */
void choir_outbox_take(void *outbox, const choir_output *output);

/* Sends what was taken since the last call; nothing where there is nothing. ENOMEM, EUNAVAILABLE.
 */
choir_status choir_outbox_send(choir_outbox *outbox, choir_engine_link *link) CHOIR_MUST_CHECK;

#endif
