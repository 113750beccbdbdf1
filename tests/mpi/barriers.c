/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the barriers of a step: for each number of rows it runs one step that wants no logits and
 * prints how many barriers the threads of rank 0 have passed in it, and the layers of the model.
 *
 *     mpirun -np N mpi_barriers MODEL THREADS ROWS...      all ranks are shards of one stage
 */
#include "common/log.h"
#include "kernels/kernels.h"
#include "worker/comm.h"
#include "worker/worker.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_ROWS = 256 };

/* One step of `n` positions of a sequence of its own. */
static choir_status run_step(choir_worker *worker, choir_step_builder *builder, int n)
{
    static const int32_t ids[MAX_ROWS];
    int32_t pages[MAX_ROWS / CHOIR_PAGE_POSITIONS];
    const int n_pages = (n + CHOIR_PAGE_POSITIONS - 1) / CHOIR_PAGE_POSITIONS;
    const choir_step_sequence sequence = {.n_tokens = n, .n_new_pages = n_pages, .first_wanted = n};
    const choir_row_result *rows;
    const void *message;
    size_t bytes;
    uint64_t id;
    int64_t n_rows;
    for (int i = 0; i < n_pages; i++)
        pages[i] = i;
    choir_step_builder_begin(builder, 1);
    choir_status status = choir_step_builder_add(builder, &sequence, ids, pages, NULL);
    choir_step_builder_finish(builder, 0, &message, &bytes);
    if (status == CHOIR_OK)
        status = choir_worker_step(worker, message, bytes);
    return status == CHOIR_OK ? choir_worker_collect(worker, &id, &rows, &n_rows) : status;
}

static choir_status lead(choir_worker *worker, char **counts)
{
    const long long n_layers = (long long)choir_model_hparams(choir_worker_model(worker))->n_layers;
    choir_step_builder *builder;
    choir_status status = choir_step_builder_create(choir_worker_limits(worker), &builder);
    for (; status == CHOIR_OK && *counts; counts++) {
        const uint32_t before = choir_worker_barriers(worker);
        status = run_step(worker, builder, atoi(*counts));
        printf("%s rows: %u barriers in %lld layers\n", *counts,
               (unsigned)(choir_worker_barriers(worker) - before), n_layers);
    }
    choir_step_builder_destroy(&builder);
    const choir_status stopped = choir_worker_stop(worker);
    return status == CHOIR_OK ? stopped : status;
}

int main(int argc, char **argv)
{
    choir_comm *world;
    choir_worker *worker = NULL;
    choir_status status = choir_comm_start(&world);
    if (argc < 4 || status != CHOIR_OK)
        return CHOIR_EUSAGE;
    const choir_worker_options options = {
        .model_path = argv[1],
        .layout = {.n_shards = choir_comm_size(world), .n_stages = 1},
        .n_threads = atoi(argv[2]),
        .level = choir_level_best(),
        .max_model_len = MAX_ROWS,
        .max_num_seqs = 1,
        .max_num_batched_tokens = MAX_ROWS,
    };
    status = choir_worker_create(world, &options, &worker);
    if (status == CHOIR_OK)
        status = choir_comm_rank(world) == 0 ? lead(worker, argv + 3) : choir_worker_follow(worker);
    if (status != CHOIR_OK)
        choir_log(CHOIR_LOG_ERROR, "%s", choir_error());
    choir_worker_destroy(&worker);
    choir_comm_destroy(&world);
    choir_comm_finish();
    return (int)status;
}
