/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker tells of itself: at its start, while it runs, and to those who measure. */
#include "common/mem.h"
#include "worker/probe.h"
#include "worker/worker_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void choir_worker_describe(choir_worker *worker, choir_rank_report *reports)
{
    const choir_slice *slice = worker->slice;
    choir_rank_report mine;
    memset(&mine, 0, sizeof mine);
    mine.rank = (uint32_t)slice->rank;
    mine.stage = (uint32_t)slice->stage;
    mine.shard = (uint32_t)slice->shard;
    mine.threads = (uint32_t)worker->options.n_threads;
    gethostname(mine.host, sizeof mine.host - 1);
    choir_probe_cpus(mine.bound_cpus, sizeof mine.bound_cpus);
    snprintf(mine.level, sizeof mine.level, "%s", choir_level_name(worker->options.level));
    mine.first_layer = (uint32_t)slice->layers.begin;
    mine.n_layers = (uint32_t)choir_range_size(slice->layers);
    mine.first_head = (uint32_t)slice->heads.begin;
    mine.n_heads = (uint32_t)choir_range_size(slice->heads);
    mine.weights_bytes = worker->weights->bytes;
    mine.kv_bytes = choir_kv_bytes(worker->kv);
    mine.huge_bytes = choir_weights_huge_bytes(worker->weights);
    choir_comm_barrier(worker->comm);
    mine.read_bandwidth = (uint64_t)choir_probe_read_bandwidth(worker->options.n_threads);
    mine.rss = (uint64_t)choir_probe_memory_resident();
    mine.memory_free = (uint64_t)choir_probe_memory_available();
    choir_comm_allgather(worker->comm, &mine, sizeof mine, reports);
}

void choir_worker_refresh(choir_worker *worker, choir_rank_report *reports)
{
    const choir_layout *layout = worker->layout;
    choir_telemetry_report(choir_telemetry_post_latest(worker->post), layout->n_ranks,
                           layout->n_shards, reports);
}

uint32_t choir_worker_barriers(const choir_worker *worker)
{
    return choir_barrier_passes(&worker->threads->barrier);
}

choir_status choir_worker_start_clocks(choir_worker *worker)
{
    return choir_threads_start_clocks(worker->threads);
}

choir_status choir_worker_gather_clocks(const choir_worker *worker, int *n_threads,
                                        choir_phase_clock **clocks)
{
    const int n_mine = worker->options.n_threads;
    choir_phase_clock *mine = NULL;
    *n_threads = (int)-choir_comm_min(worker->comm, -n_mine);
    const size_t n = (size_t)*n_threads;
    choir_status status = choir_alloc_aligned(n, sizeof *mine, (void **)&mine);
    if (status == CHOIR_OK)
        status = choir_alloc_aligned(n * (size_t)worker->layout->n_ranks, sizeof **clocks,
                                     (void **)clocks);
    status = choir_comm_agree(worker->comm, status);
    if (status == CHOIR_OK) {
        memcpy(mine, worker->threads->clocks, (size_t)n_mine * sizeof *mine);
        choir_comm_allgather(worker->comm, mine, n * sizeof *mine, *clocks);
    }
    free(mine);
    return status;
}

void choir_worker_set_trace(choir_worker *worker, choir_forward_trace trace, void *context)
{
    choir_forward_set_trace(worker->forward, trace, context);
}
