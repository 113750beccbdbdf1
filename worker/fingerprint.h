/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fingerprint of an engine (docs/numerics.md, "How it is proved"): one hash over the logits of
 * fixed token sequences, and the proof that every way of running them gives the same bits.
 */
#ifndef CHOIR_WORKER_FINGERPRINT_H
#define CHOIR_WORKER_FINGERPRINT_H

#include "common/hash.h"
#include "common/status.h"
#include "worker/worker.h"

/* What the worker must have been created with, at least. */
typedef struct choir_fingerprint_needs {
    int64_t max_model_len, max_num_seqs, max_num_batched_tokens;
} choir_fingerprint_needs;
choir_fingerprint_needs choir_fingerprint_needs_of(bool is_long);

enum { CHOIR_FINGERPRINT_SEQUENCES = 6 };

typedef struct choir_fingerprint {
    uint8_t sha256[CHOIR_SHA256_BYTES];
    /* Of each sequence alone, in the order 1, 63, 64, 65, 200 (, 1100). */
    int n_sequences;
    int64_t lengths[CHOIR_FINGERPRINT_SEQUENCES];
    uint8_t sequence_sha256[CHOIR_FINGERPRINT_SEQUENCES][CHOIR_SHA256_BYTES];
    char difference[256]; /* the first difference between two passes, or "" */
} choir_fingerprint;

/*
 * Lead only; the other ranks follow. Runs every pass. `passes_all` false: only the first pass,
 * which gives the hash (for tests that compare many layouts). EUNSUPPORTED where the worker's
 * limits or the model's context are too small.
 */
choir_status choir_fingerprint_run(choir_worker *worker, bool is_long, bool passes_all,
                                   choir_fingerprint *result) CHOIR_MUST_CHECK;

#endif
