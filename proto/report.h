/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ranks tell of themselves, as plain structs: the same for the front end, which gets them from
 * the lead (engine.proto), and for clients, who get them from the front end (client.proto).
 * Strings are cut to their arrays. Nothing here is owned but `ranks`.
 */
#ifndef CHOIR_PROTO_REPORT_H
#define CHOIR_PROTO_REPORT_H

#include "common/hash.h"
#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct choir_rank_report {
    uint32_t rank, stage, shard, threads;
    char host[64];
    char bound_cpus[64]; /* such as "0-3" */
    char level[16];      /* of the kernels: ref, avx2, avx512, neon */
    uint64_t weights_bytes, kv_bytes, rss;
    uint64_t huge_bytes; /* of weights_bytes: in huge pages; what clients get has 0 */
    uint32_t first_layer, n_layers, first_head, n_heads;
    uint64_t read_bandwidth; /* bytes per second */
    uint64_t memory_free;    /* of the node */
    /* While it runs, of the last second with steps; all 0: no step yet. */
    uint64_t step_us_p50, step_us_p99;               /* of its part of the last steps */
    float compute_share, wait_share, exchange_share; /* of its time in steps; the sum is 1 */
    uint64_t bandwidth; /* bytes/s of weights while computing decodes and other small steps */
} choir_rank_report;

/* What was counted since the start of the ranks; the last three are of this moment. */
typedef struct choir_engine_counters {
    uint64_t prompt_tokens_total, generation_tokens_total; /* computed */
    uint64_t num_preemptions_total; /* sequences that were put back and computed again */
    uint64_t prefix_cache_queries_total, prefix_cache_hits_total; /* tokens */
    uint64_t rows_gathered_total; /* whole rows of logits that the sampler needed */
    uint32_t kv_pages, kv_pages_used, kv_pages_kept;
} choir_engine_counters;

/* What the lead says when the model is loaded (engine.proto, Ready). */
typedef struct choir_engine_report {
    choir_rank_report *ranks; /* [n_ranks] */
    size_t n_ranks;
    uint32_t n_stages, n_shards, max_model_len, max_num_seqs;
    char activations[16], cache_type_k[16], cache_type_v[16];
    uint8_t model_identity[CHOIR_SHA256_BYTES];
    uint64_t weights_bytes; /* that one decode step reads, over all ranks */
    uint64_t load_us;
    char launch[256]; /* how MPI was started and bound, one line */
} choir_engine_report;

/* The answer of a worker started with --fingerprint (engine.proto, Fingerprint). */
typedef struct choir_fingerprint_report {
    char sha256[CHOIR_SHA256_HEX];
    char activations[16], cache_type_k[16], cache_type_v[16], level[16];
    uint32_t n, tp, pp, threads;
    char difference[256]; /* the first difference between passes; then sha256 is "" */
} choir_fingerprint_report;

/* A deep copy; destroy releases it. */
choir_status choir_engine_report_copy(const choir_engine_report *report,
                                      choir_engine_report *copy) CHOIR_MUST_CHECK;
/* Frees the ranks and zeroes the rest. Accepts a zeroed report. */
void choir_engine_report_destroy(choir_engine_report *report);

#endif
