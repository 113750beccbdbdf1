/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is measured: one operation on one kind of data, for any level, number of rows and threads.
 *
 * Weights and keys and values cycle over a pool of `pool_bytes`, more than the caches hold, since a
 * step of the engine walks over all weights before it comes back to the first. Activations are few
 * and stay in the cache, as in the engine.
 */
#ifndef CHOIR_TESTS_BENCH_SUBJECT_H
#define CHOIR_TESTS_BENCH_SUBJECT_H

#include "kernels/kernels.h"
#include "tests/bench/peak.h"
#include "tests/bench/timing.h"
#include "tests/fixtures/model_maker.h"

typedef struct choir_subject choir_subject;

/* One subject with all that is chosen when it runs. */
typedef struct choir_subject_run {
    const choir_subject *subject;
    const choir_kernels *kernels;
    int T;
} choir_subject_run;

struct choir_subject {
    const char *op;
    const char *type;        /* of weights or cache; "" where there is none */
    const char *activations; /* q8, q15, f32 */
    char shape[48];
    choir_peak_kind peak;
    double n_products;   /* of the peak's multiply-adds for one of the operation's: 2 for q15 */
    double macs_per_row; /* 0 where the operation only moves data */
    double bytes, bytes_per_row; /* read or written: bytes + T * bytes_per_row */
    bool (*has)(const choir_subject *, const choir_kernels *); /* NULL: every level does */
    void (*prepare)(const choir_subject *, int T); /* before runs with T rows, or NULL */
    choir_bench_body run;                          /* its context is a choir_subject_run */
    void (*clear)(choir_subject *);
    void *data;
};

typedef struct choir_subject_options {
    const choir_shape *model;
    size_t pool_bytes;
    int max_rows;  /* T */
    int n_threads; /* that touch the pool first */
} choir_subject_options;

/*
 * The linear layers of a model by `role`: q, kv, attn_output, gate, down or output; the two whose
 * input is split between shards have the leaves of numerics.md. EUSAGE for another role or where
 * the type does not fit the shape.
 */
choir_status choir_subject_linear(const choir_subject_options *options, const char *role,
                                  choir_type type, bool is_q15,
                                  choir_subject *subject) CHOIR_MUST_CHECK;
/* One span of `n_positions` <= 1024 for all heads of a layer. */
choir_status choir_subject_attention(const choir_subject_options *options, choir_cache_type type,
                                     int64_t n_positions, choir_subject *subject) CHOIR_MUST_CHECK;
/*
 * An operation on single rows: quantize, quantize_q15, rms_norm, swiglu, add, rotary, lse. EUSAGE
 * for another name.
 */
choir_status choir_subject_rows(const choir_subject_options *options, const char *op,
                                choir_subject *subject) CHOIR_MUST_CHECK;
/* The look-up of embeddings. */
choir_status choir_subject_embedding(const choir_subject_options *options, choir_type type,
                                     choir_subject *subject) CHOIR_MUST_CHECK;
/* May be called after a failure and twice. */
void choir_subject_clear(choir_subject *subject);

/* Helpers of the files above. */

/* Random rows of a matrix as a file has them; free() releases them. */
choir_status choir_subject_file_rows(choir_type type, int64_t rows, int64_t cols,
                                     uint8_t **result) CHOIR_MUST_CHECK;
/* n floats in [-1, 1), always the same; 64-byte aligned, free() releases them. */
choir_status choir_subject_floats(int64_t n, float **result) CHOIR_MUST_CHECK;
/* How often `bytes` make a pool, at least twice. */
int64_t choir_subject_copies(const choir_subject_options *options, size_t bytes);

#endif
