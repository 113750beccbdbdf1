/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must be the same on every rank before any of them computes: the model file and all settings
 * that shape messages or results. Threads and levels may differ.
 */
#ifndef CHOIR_WORKER_AGREEMENT_H
#define CHOIR_WORKER_AGREEMENT_H

#include "worker/worker.h"

/*
 * Collective. EFORMAT, with the hashes, where ranks have different files; EUSAGE, naming the flag,
 * where they have different settings: the same words on every rank.
 */
choir_status choir_agreement_check(const choir_comm *comm, const choir_model *model,
                                   const choir_worker_options *options) CHOIR_MUST_CHECK;

#endif
