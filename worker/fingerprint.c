/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first pass prefills each sequence whole and alone; its rows make the hash, and the SHA-256 of
 * each row is kept. Every later pass cuts the same sequences in another way and compares the hash
 * of each row with the first pass's, so that a difference is found where it begins:
 *
 *     chunks of 1 (decode), 7 and 64, each sequence alone; all sequences whole in one step; all
 *     sequences decoded together, one position of each a step
 */
#include "worker/fingerprint.h"

#include "common/mem.h"
#include "common/philox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t all_lengths[CHOIR_FINGERPRINT_SEQUENCES] = {1, 63, 64, 65, 200, 1100};

typedef struct row_hash {
    uint8_t digest[CHOIR_SHA256_BYTES];
} row_hash;

typedef struct run {
    choir_worker *worker;
    choir_step_builder *builder;
    choir_fingerprint *result;
    int64_t vocab_size;
    int32_t *ids[CHOIR_FINGERPRINT_SEQUENCES];
    row_hash *rows[CHOIR_FINGERPRINT_SEQUENCES]; /* of the first pass */
    uint64_t n_steps;
    const char *pass; /* NULL in the first one */
    choir_sha256 whole, sequence;
} run;

/* A run of positions of one sequence within a step. */
typedef struct piece {
    int sequence;
    int64_t begin, end;
} piece;

choir_fingerprint_needs choir_fingerprint_needs_of(bool is_long)
{
    const int n = is_long ? CHOIR_FINGERPRINT_SEQUENCES : CHOIR_FINGERPRINT_SEQUENCES - 1;
    choir_fingerprint_needs needs = {.max_num_seqs = n};
    for (int i = 0; i < n; i++) {
        needs.max_model_len = all_lengths[i];
        needs.max_num_batched_tokens += all_lengths[i];
    }
    return needs;
}

static int64_t pages_of(int64_t positions)
{
    return choir_ceil_div(positions, CHOIR_PAGE_POSITIONS);
}

/* Each sequence has its own run of pages in the pool, in its own slot. */
static choir_status add_piece(run *r, const piece *p)
{
    int32_t pages[64];
    int64_t first_page = 0;
    for (int s = 0; s < p->sequence; s++)
        first_page += pages_of(r->result->lengths[s]);
    const int64_t before = pages_of(p->begin), after = pages_of(p->end);
    for (int64_t i = before; i < after; i++)
        pages[i - before] = (int32_t)(first_page + i);
    const choir_step_sequence sequence = {
        .slot = p->sequence,
        .first_position = (int32_t)p->begin,
        .n_tokens = (int32_t)(p->end - p->begin),
        .n_pages_before = (int32_t)before,
        .n_new_pages = (int32_t)(after - before),
        .first_wanted = 0,
        .flags = CHOIR_SEQUENCE_FULL_ROW,
    };
    return choir_step_builder_add(r->builder, &sequence, r->ids[p->sequence] + p->begin, pages,
                                  NULL);
}

static void take_row(run *r, int sequence, int64_t position, const choir_row_result *row)
{
    const size_t bytes = (size_t)r->vocab_size * sizeof(float);
    row_hash hash;
    choir_sha256 state;
    choir_sha256_init(&state);
    choir_sha256_update(&state, row->logits, bytes);
    choir_sha256_final(&state, hash.digest);
    if (!r->pass) {
        r->rows[sequence][position] = hash;
        choir_sha256_update(&r->whole, row->logits, bytes);
        choir_sha256_update(&r->sequence, row->logits, bytes);
        return;
    }
    char *difference = r->result->difference;
    if (difference[0] == '\0' && memcmp(&hash, &r->rows[sequence][position], sizeof hash) != 0)
        snprintf(difference, sizeof r->result->difference,
                 "%s: the logits at position %lld of the sequence of length %lld are not those of "
                 "the first pass",
                 r->pass, (long long)position, (long long)r->result->lengths[sequence]);
}

/* One step of some pieces, handed in, collected and compared. */
static choir_status run_step(run *r, const piece *pieces, int n)
{
    const void *message;
    size_t bytes;
    const choir_row_result *rows;
    int64_t n_rows;
    uint64_t step_id;
    choir_status status = CHOIR_OK;
    choir_step_builder_begin(r->builder, ++r->n_steps);
    for (int i = 0; status == CHOIR_OK && i < n; i++)
        status = add_piece(r, &pieces[i]);
    if (status != CHOIR_OK)
        return status;
    choir_step_builder_finish(r->builder, 0, &message, &bytes);
    status = choir_worker_step(r->worker, message, bytes);
    if (status == CHOIR_OK)
        status = choir_worker_collect(r->worker, &step_id, &rows, &n_rows);
    if (status != CHOIR_OK)
        return status;
    for (int i = 0; i < n; i++)
        for (int64_t position = pieces[i].begin; position < pieces[i].end; position++)
            take_row(r, pieces[i].sequence, position, rows++);
    return CHOIR_OK;
}

/* Each sequence alone, in chunks of `chunk` positions. */
static choir_status run_alone(run *r, int64_t chunk)
{
    choir_status status = CHOIR_OK;
    for (int s = 0; s < r->result->n_sequences; s++) {
        const int64_t length = r->result->lengths[s];
        choir_sha256_init(&r->sequence);
        for (int64_t at = 0; status == CHOIR_OK && at < length; at += chunk) {
            const piece p = {s, at, length - at < chunk ? length : at + chunk};
            status = run_step(r, &p, 1);
        }
        if (!r->pass)
            choir_sha256_final(&r->sequence, r->result->sequence_sha256[s]);
    }
    return status;
}

/* All sequences in each step, `chunk` positions of each. */
static choir_status run_together(run *r, int64_t chunk)
{
    choir_status status = CHOIR_OK;
    const int n = r->result->n_sequences;
    for (int64_t at = 0; status == CHOIR_OK && at < r->result->lengths[n - 1]; at += chunk) {
        piece pieces[CHOIR_FINGERPRINT_SEQUENCES];
        int n_pieces = 0;
        for (int s = 0; s < n; s++) {
            const int64_t length = r->result->lengths[s];
            if (at < length)
                pieces[n_pieces++] = (piece){s, at, length - at < chunk ? length : at + chunk};
        }
        status = run_step(r, pieces, n_pieces);
    }
    return status;
}

static choir_status run_passes(run *r, bool passes_all)
{
    const struct {
        const char *name;
        choir_status (*run)(run *, int64_t);
        int64_t chunk;
    } passes[] = {
        {NULL, run_alone, INT32_MAX},
        {"decoded alone", run_alone, 1},
        {"alone, in chunks of 7", run_alone, 7},
        {"alone, in chunks of 64", run_alone, 64},
        {"all together", run_together, INT32_MAX},
        {"decoded together", run_together, 1},
    };
    const size_t n = passes_all ? sizeof passes / sizeof passes[0] : 1;
    choir_status status = CHOIR_OK;
    choir_sha256_init(&r->whole);
    for (size_t i = 0; status == CHOIR_OK && i < n; i++) {
        r->pass = passes[i].name;
        status = passes[i].run(r, passes[i].chunk);
        if (i == 0)
            choir_sha256_final(&r->whole, r->result->sha256);
    }
    return status;
}

static choir_status check_needs(const choir_worker *worker, bool is_long)
{
    const choir_fingerprint_needs needs = choir_fingerprint_needs_of(is_long);
    const choir_step_limits *limits = choir_worker_limits(worker);
    int64_t pages = 0;
    for (int64_t i = 0; i < needs.max_num_seqs; i++)
        pages += pages_of(all_lengths[i]);
    if (limits->max_model_len < needs.max_model_len || limits->max_num_seqs < needs.max_num_seqs ||
        limits->max_num_batched_tokens < needs.max_num_batched_tokens || limits->n_pages < pages)
        return choir_fail(CHOIR_EUNSUPPORTED,
                          "a fingerprint needs %lld positions in a sequence and memory for %lld "
                          "pages of keys and values; there are %d and %d",
                          (long long)needs.max_model_len, (long long)pages, limits->max_model_len,
                          limits->n_pages);
    return CHOIR_OK;
}

/* Token i of the sequence of length n is floor(w * V / 2^32), w of Philox with key (0, 0). */
static choir_status make_sequences(run *r)
{
    const choir_fingerprint *result = r->result;
    choir_status status = CHOIR_OK;
    for (int s = 0; status == CHOIR_OK && s < result->n_sequences; s++) {
        const int64_t n = result->lengths[s];
        status = choir_alloc((size_t)n, sizeof *r->rows[s], (void **)&r->rows[s]);
        if (status == CHOIR_OK)
            status = choir_alloc((size_t)n, sizeof *r->ids[s], (void **)&r->ids[s]);
        for (int64_t i = 0; status == CHOIR_OK && i < n; i++) {
            const uint32_t key[2] = {0, 0};
            const uint32_t counter[4] = {(uint32_t)(i / 4), (uint32_t)n, 0, 0};
            uint32_t words[4];
            choir_philox(key, counter, words);
            r->ids[s][i] = (int32_t)((uint64_t)words[i % 4] * (uint64_t)r->vocab_size >> 32);
        }
    }
    return status;
}

choir_status choir_fingerprint_run(choir_worker *worker, bool is_long, bool passes_all,
                                   choir_fingerprint *result)
{
    run r = {
        .worker = worker, .result = result, .vocab_size = choir_worker_limits(worker)->vocab_size};
    memset(result, 0, sizeof *result);
    result->n_sequences = CHOIR_FINGERPRINT_SEQUENCES - !is_long;
    memcpy(result->lengths, all_lengths, (size_t)result->n_sequences * sizeof all_lengths[0]);
    choir_status status = check_needs(worker, is_long);
    if (status == CHOIR_OK)
        status = choir_step_builder_create(choir_worker_limits(worker), &r.builder);
    if (status == CHOIR_OK)
        status = make_sequences(&r);
    if (status == CHOIR_OK)
        status = run_passes(&r, passes_all);
    for (int s = 0; s < result->n_sequences; s++) {
        free(r.ids[s]);
        free(r.rows[s]);
    }
    choir_step_builder_destroy(&r.builder);
    return status;
}
