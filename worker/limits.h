/* SPDX-License-Identifier: Apache-2.0 */
/* What steps may ask of an engine: from the options, the model and the memory that is left. */
#ifndef CHOIR_WORKER_LIMITS_H
#define CHOIR_WORKER_LIMITS_H

#include "common/status.h"
#include "model/model.h"
#include "model/partition.h"
#include "proto/step.h"
#include "worker/comm.h"
#include "worker/kv.h"
#include "worker/worker.h"

/* Rows of activations that a rank keeps: of a step at work and of one on its way to the next stage.
 */
enum { CHOIR_ACTIVATION_BUFFERS = 2 };

/* What the limits follow from; borrowed. */
typedef struct choir_limits_parts {
    const choir_comm *comm;
    const choir_worker_options *options;
    const choir_hparams *hparams;
    const choir_layout *layout;
    const choir_slice *slice;
} choir_limits_parts;

/*
 * Collective, after the weights are loaded: limits that are the same everywhere. EUSAGE, ENOMEM:
 * options that cannot be met, on every rank.
 */
choir_status choir_limits_set(const choir_limits_parts *parts,
                              choir_step_limits *limits) CHOIR_MUST_CHECK;
/* Local. The KV pages of this rank within the limits. */
choir_kv_shape choir_limits_kv_shape(const choir_limits_parts *parts,
                                     const choir_step_limits *limits);

#endif
