/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/report_wire.h"

#include "common/mem.h"
#include "common/utf8.h"

#include <stdio.h>
#include <string.h>

static void copy_text(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
    for (size_t i = 0; to[i];) {
        const size_t bytes = choir_utf8_character(to + i, strlen(to + i));
        if (bytes == 0)
            to[i] = '?';
        i += bytes ? bytes : 1;
    }
}

void choir_rank_report_read(const Choir__Engine__RankReport *message, choir_rank_report *report)
{
    *report = (choir_rank_report){
        .rank = message->rank,
        .stage = message->stage,
        .shard = message->shard,
        .threads = message->threads,
        .weights_bytes = message->weights_bytes,
        .kv_bytes = message->kv_bytes,
        .rss = message->rss,
        .huge_bytes = message->huge_bytes,
        .first_layer = message->first_layer,
        .n_layers = message->n_layers,
        .first_head = message->first_head,
        .n_heads = message->n_heads,
        .read_bandwidth = message->read_bandwidth,
        .memory_free = message->memory_free,
        .step_us_p50 = message->step_us_p50,
        .step_us_p99 = message->step_us_p99,
        .compute_share = message->compute_share,
        .wait_share = message->wait_share,
        .exchange_share = message->exchange_share,
        .bandwidth = message->bandwidth,
    };
    copy_text(report->host, sizeof report->host, message->host);
    copy_text(report->bound_cpus, sizeof report->bound_cpus, message->bound_cpus);
    copy_text(report->level, sizeof report->level, message->level);
}

static void read_identity(const ProtobufCBinaryData *bytes, uint8_t identity[CHOIR_SHA256_BYTES])
{
    if (bytes->len == CHOIR_SHA256_BYTES)
        memcpy(identity, bytes->data, CHOIR_SHA256_BYTES);
}

choir_status choir_engine_report_read(const Choir__Engine__Ready *ready,
                                      choir_engine_report *report)
{
    *report = (choir_engine_report){
        .n_stages = ready->n_stages,
        .n_shards = ready->n_shards,
        .max_model_len = ready->max_model_len,
        .max_num_seqs = ready->max_num_seqs,
        .weights_bytes = ready->weights_bytes,
        .load_us = ready->load_us,
    };
    copy_text(report->activations, sizeof report->activations, ready->activations);
    copy_text(report->cache_type_k, sizeof report->cache_type_k, ready->cache_type_k);
    copy_text(report->cache_type_v, sizeof report->cache_type_v, ready->cache_type_v);
    copy_text(report->launch, sizeof report->launch, ready->launch);
    read_identity(&ready->model_identity, report->model_identity);
    const choir_status status =
        choir_alloc(ready->n_ranks, sizeof *report->ranks, (void **)&report->ranks);
    if (status != CHOIR_OK)
        return status;
    report->n_ranks = ready->n_ranks;
    for (size_t i = 0; i < ready->n_ranks; i++)
        choir_rank_report_read(ready->ranks[i], &report->ranks[i]);
    return CHOIR_OK;
}

void choir_fingerprint_report_read(const Choir__Engine__Fingerprint *message,
                                   choir_fingerprint_report *report)
{
    *report = (choir_fingerprint_report){
        .n = message->n, .tp = message->tp, .pp = message->pp, .threads = message->threads};
    copy_text(report->sha256, sizeof report->sha256, message->sha256);
    copy_text(report->activations, sizeof report->activations, message->activations);
    copy_text(report->cache_type_k, sizeof report->cache_type_k, message->cache_type_k);
    copy_text(report->cache_type_v, sizeof report->cache_type_v, message->cache_type_v);
    copy_text(report->level, sizeof report->level, message->level);
    copy_text(report->difference, sizeof report->difference, message->difference);
}

/* protobuf-c's strings are not const, but packing only reads them. */
static char *borrow(const char *text)
{
    return (char *)text;
}

void choir_rank_report_write(const choir_rank_report *report, Choir__Client__RankStatus *message)
{
    *message = (Choir__Client__RankStatus)CHOIR__CLIENT__RANK_STATUS__INIT;
    message->rank = report->rank;
    message->host = borrow(report->host);
    message->stage = report->stage;
    message->shard = report->shard;
    message->threads = report->threads;
    message->bound_cpus = borrow(report->bound_cpus);
    message->rss = report->rss;
    message->weights_bytes = report->weights_bytes;
    message->kv_bytes = report->kv_bytes;
    message->read_bandwidth = report->read_bandwidth;
    message->first_layer = report->first_layer;
    message->n_layers = report->n_layers;
    message->first_head = report->first_head;
    message->n_heads = report->n_heads;
    message->memory_free = report->memory_free;
    message->step_us_p50 = report->step_us_p50;
    message->step_us_p99 = report->step_us_p99;
    message->compute_share = report->compute_share;
    message->wait_share = report->wait_share;
    message->exchange_share = report->exchange_share;
    message->bandwidth = report->bandwidth;
    message->level = borrow(report->level);
}

static void read_rank_status(const Choir__Client__RankStatus *message, choir_rank_report *report)
{
    *report = (choir_rank_report){
        .rank = message->rank,
        .stage = message->stage,
        .shard = message->shard,
        .threads = message->threads,
        .weights_bytes = message->weights_bytes,
        .kv_bytes = message->kv_bytes,
        .rss = message->rss,
        .first_layer = message->first_layer,
        .n_layers = message->n_layers,
        .first_head = message->first_head,
        .n_heads = message->n_heads,
        .read_bandwidth = message->read_bandwidth,
        .memory_free = message->memory_free,
        .step_us_p50 = message->step_us_p50,
        .step_us_p99 = message->step_us_p99,
        .compute_share = message->compute_share,
        .wait_share = message->wait_share,
        .exchange_share = message->exchange_share,
        .bandwidth = message->bandwidth,
    };
    copy_text(report->host, sizeof report->host, message->host);
    copy_text(report->bound_cpus, sizeof report->bound_cpus, message->bound_cpus);
    copy_text(report->level, sizeof report->level, message->level);
}

choir_status choir_engine_report_read_status(const Choir__Client__ClusterStatus *status,
                                             choir_engine_report *report)
{
    *report = (choir_engine_report){
        .n_stages = status->n_stages,
        .n_shards = status->n_shards,
        .max_model_len = status->max_model_len,
        .max_num_seqs = status->max_num_seqs,
        .weights_bytes = status->weights_bytes,
        .load_us = status->load_us,
    };
    copy_text(report->activations, sizeof report->activations, status->activations);
    copy_text(report->cache_type_k, sizeof report->cache_type_k, status->cache_type_k);
    copy_text(report->cache_type_v, sizeof report->cache_type_v, status->cache_type_v);
    copy_text(report->launch, sizeof report->launch, status->launch);
    read_identity(&status->model_identity, report->model_identity);
    const choir_status done =
        choir_alloc(status->n_ranks, sizeof *report->ranks, (void **)&report->ranks);
    if (done != CHOIR_OK)
        return done;
    report->n_ranks = status->n_ranks;
    for (size_t i = 0; i < status->n_ranks; i++)
        read_rank_status(status->ranks[i], &report->ranks[i]);
    return CHOIR_OK;
}

void choir_engine_counters_read(const Choir__Engine__EngineStatus *message,
                                choir_engine_counters *counters)
{
    *counters = (choir_engine_counters){
        .prompt_tokens_total = message->n_prompt_tokens,
        .generation_tokens_total = message->n_generated_tokens,
        .num_preemptions_total = message->n_preemptions,
        .prefix_cache_queries_total = message->n_cache_queries,
        .prefix_cache_hits_total = message->n_cache_hits,
        .kv_pages = message->n_pages,
        .kv_pages_used = message->n_pages_used,
        .kv_pages_kept = message->n_pages_kept,
        .rows_gathered_total = message->n_rows_gathered,
    };
}

void choir_engine_counters_write(const choir_engine_counters *counters,
                                 Choir__Client__Counters *message)
{
    *message = (Choir__Client__Counters)CHOIR__CLIENT__COUNTERS__INIT;
    message->prompt_tokens_total = counters->prompt_tokens_total;
    message->generation_tokens_total = counters->generation_tokens_total;
    message->num_preemptions_total = counters->num_preemptions_total;
    message->prefix_cache_queries_total = counters->prefix_cache_queries_total;
    message->prefix_cache_hits_total = counters->prefix_cache_hits_total;
    message->kv_pages = counters->kv_pages;
    message->kv_pages_used = counters->kv_pages_used;
    message->kv_pages_kept = counters->kv_pages_kept;
    message->rows_gathered_total = counters->rows_gathered_total;
}

void choir_engine_counters_read_status(const Choir__Client__Counters *message,
                                       choir_engine_counters *counters)
{
    *counters = (choir_engine_counters){
        .prompt_tokens_total = message->prompt_tokens_total,
        .generation_tokens_total = message->generation_tokens_total,
        .num_preemptions_total = message->num_preemptions_total,
        .prefix_cache_queries_total = message->prefix_cache_queries_total,
        .prefix_cache_hits_total = message->prefix_cache_hits_total,
        .kv_pages = message->kv_pages,
        .kv_pages_used = message->kv_pages_used,
        .kv_pages_kept = message->kv_pages_kept,
        .rows_gathered_total = message->rows_gathered_total,
    };
}
