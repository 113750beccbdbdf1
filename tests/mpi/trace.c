/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at one pass from inside: SHA-256 of x after the embedding and after each layer, of all
 * logits, for the token ids on the command line.
 *
 *     mpi_trace MODEL q8|mixed|q15|f32 LEVEL ID…
 *
 * Output: `embedding HASH`, `layer_0 HASH`, …, `logits HASH`.
 */
#include "common/log.h"
#include "worker/comm.h"
#include "worker/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_IDS = 64 };

static void print_hash(const char *name, const float *values, int64_t n)
{
    choir_sha256 state;
    uint8_t digest[CHOIR_SHA256_BYTES];
    char hash[CHOIR_SHA256_HEX];
    choir_sha256_init(&state);
    choir_sha256_update(&state, values, (size_t)n * sizeof *values);
    choir_sha256_final(&state, digest);
    choir_sha256_hex(digest, hash);
    printf("%s %s\n", name, hash);
}

static void print_layer(void *context, int64_t layer, const float *x, int64_t n)
{
    char name[32] = "embedding";
    (void)context;
    if (layer >= 0)
        snprintf(name, sizeof name, "layer_%lld", (long long)layer);
    print_hash(name, x, n);
}

static choir_status run_pass(choir_worker *worker, const int32_t *ids, int n)
{
    const int32_t page = 0;
    const choir_step_sequence sequence = {
        .n_tokens = n, .n_new_pages = 1, .flags = CHOIR_SEQUENCE_FULL_ROW};
    const int64_t V = choir_worker_limits(worker)->vocab_size;
    choir_step_builder *builder;
    const void *message;
    size_t bytes;
    uint64_t step_id;
    const choir_row_result *rows;
    int64_t n_rows;
    choir_status status = choir_step_builder_create(choir_worker_limits(worker), &builder);
    if (status != CHOIR_OK)
        return status;
    choir_step_builder_begin(builder, 1);
    status = choir_step_builder_add(builder, &sequence, ids, &page, NULL);
    choir_step_builder_finish(builder, 0, &message, &bytes);
    if (status == CHOIR_OK)
        status = choir_worker_step(worker, message, bytes);
    if (status == CHOIR_OK)
        status = choir_worker_collect(worker, &step_id, &rows, &n_rows);
    if (status == CHOIR_OK) /* full rows stand one after the other */
        print_hash("logits", rows[0].logits, n_rows * V);
    choir_step_builder_destroy(&builder);
    return status;
}

int main(int argc, char **argv)
{
    choir_comm *world;
    choir_worker *worker = NULL;
    int32_t ids[MAX_IDS];
    int n = 0;
    if (argc < 5 || argc - 4 > MAX_IDS)
        return CHOIR_EUSAGE;
    for (int i = 4; i < argc; i++)
        ids[n++] = atoi(argv[i]);
    choir_worker_options options = {
        .model_path = argv[1],
        .n_threads = 1,
        .max_model_len = MAX_IDS,
        .max_num_seqs = 1,
        .max_num_batched_tokens = MAX_IDS,
    };
    choir_status status = choir_comm_start(&world);
    if (status == CHOIR_OK)
        status = choir_activations_parse(argv[2], &options.activations);
    if (status == CHOIR_OK)
        status = choir_level_parse(argv[3], &options.level);
    if (status == CHOIR_OK)
        status = choir_worker_create(world, &options, &worker);
    if (status == CHOIR_OK) {
        choir_worker_set_trace(worker, print_layer, NULL);
        status = run_pass(worker, ids, n);
    }
    if (status != CHOIR_OK)
        choir_log(CHOIR_LOG_ERROR, "%s", choir_error());
    choir_worker_destroy(&worker);
    choir_comm_destroy(&world);
    choir_comm_finish();
    return (int)status;
}
