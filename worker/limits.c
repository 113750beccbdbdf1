/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/limits.h"

#include "common/mem.h"
#include "kernels/activations.h"
#include "worker/probe.h"

choir_kv_shape choir_limits_kv_shape(const choir_limits_parts *parts,
                                     const choir_step_limits *limits)
{
    const choir_hparams *h = parts->hparams;
    return (choir_kv_shape){
        .n_layers = choir_range_size(parts->slice->layers),
        .n_kv_heads = choir_range_size(parts->slice->kv_heads),
        .head_size = h->head_size,
        .n_pages = limits->n_pages,
        .n_slots = limits->max_num_seqs,
        .pages_per_slot = choir_ceil_div(limits->max_model_len, CHOIR_PAGE_POSITIONS),
        .key_type = parts->options->key_type,
        .value_type = parts->options->value_type,
    };
}

/*
 * About what this rank's buffers take for each row of a step: of choir_forward, of the exchanges
 * (at least one piece, its parts from all shards, their sum) and the activations handed over.
 */
static int64_t row_bytes(const choir_limits_parts *parts)
{
    const choir_hparams *h = parts->hparams;
    const int64_t n_pieces = parts->layout->n_shards > 1 ? 3 : 1;
    const int64_t heads = choir_range_size(parts->slice->heads) * h->head_size;
    const int64_t kv_heads = choir_range_size(parts->slice->kv_heads) * h->head_size;
    const int64_t ff_columns = choir_range_size(parts->slice->ff_columns);
    const int64_t n_floats = h->width * (CHOIR_ACTIVATION_BUFFERS + 1 + 2 * n_pieces) +
                             2 * (heads + kv_heads + ff_columns);
    const int64_t n_blocks = (h->width + heads + ff_columns) / CHOIR_BLOCK_COLUMNS;
    const bool is_q15 = choir_activations_is_q15(parts->options->activations, true);
    return n_floats * 4 + n_blocks * (int64_t)choir_activations_block_bytes(is_q15);
}

/*
 * Collective. How many KV pages the node with least room has, after the weights are loaded and with
 * room for the buffers of a step.
 */
static int64_t pages_that_fit(const choir_limits_parts *parts)
{
    const choir_step_limits none = {0};
    const choir_kv_shape shape = choir_limits_kv_shape(parts, &none);
    const int64_t page_bytes = (int64_t)choir_kv_page_set_bytes(&shape);
    choir_comm *node;
    int64_t n_neighbours = choir_comm_size(parts->comm);
    if (choir_comm_split_node(parts->comm, &node) == CHOIR_OK) {
        n_neighbours = choir_comm_size(node);
        choir_comm_destroy(&node);
    }
    /* A fifth is left to the page cache, to buffers and to others. */
    int64_t room = choir_probe_memory_available() / 5 * 4 / n_neighbours -
                   parts->options->max_num_batched_tokens * row_bytes(parts);
    if (parts->options->kv_cache_memory_bytes > 0 && parts->options->kv_cache_memory_bytes < room)
        room = parts->options->kv_cache_memory_bytes;
    const int64_t fit = page_bytes > 0 ? room / page_bytes : INT32_MAX;
    return choir_comm_min(parts->comm, room > 0 ? fit : 0);
}

choir_status choir_limits_set(const choir_limits_parts *parts, choir_step_limits *limits)
{
    const choir_hparams *h = parts->hparams;
    const choir_worker_options *o = parts->options;
    int64_t length = o->max_model_len > 0 ? o->max_model_len : h->context_length;
    if (length > INT32_MAX / 2)
        length = INT32_MAX / 2;
    *limits = (choir_step_limits){.max_num_seqs = (int32_t)o->max_num_seqs,
                                  .max_num_batched_tokens = (int32_t)o->max_num_batched_tokens,
                                  .page_positions = CHOIR_PAGE_POSITIONS,
                                  .vocab_size = (int32_t)h->vocab_size};
    /* A message counts its bytes in an int, and holds the activations of a whole step. */
    const int64_t most_rows = INT32_MAX / (h->width * (int64_t)sizeof(float));
    if (o->max_num_batched_tokens > most_rows)
        return choir_fail(CHOIR_EUSAGE,
                          "--max-num-batched-tokens %lld: a step of this model has at most %lld",
                          (long long)o->max_num_batched_tokens, (long long)most_rows);
    const int64_t fit = pages_that_fit(parts);
    const int64_t fit_positions = fit * CHOIR_PAGE_POSITIONS;
    if (length > fit_positions && o->max_model_len > 0)
        return choir_fail(CHOIR_ENOMEM,
                          "--max-model-len %lld: memory is left for keys and values of %lld "
                          "positions only; use more ranks, a shorter length or a lower "
                          "--max-num-batched-tokens",
                          (long long)length, (long long)fit_positions);
    if (length > fit_positions)
        length = fit_positions;
    if (length < 1)
        return choir_fail(CHOIR_ENOMEM,
                          "no memory is left for keys and values: use more ranks or a lower "
                          "--max-num-batched-tokens (now %lld)",
                          (long long)o->max_num_batched_tokens);
    const int64_t wanted = choir_ceil_div(length, CHOIR_PAGE_POSITIONS) * o->max_num_seqs;
    limits->max_model_len = (int32_t)length;
    limits->n_pages = (int32_t)(wanted < fit ? wanted : fit);
    return choir_step_limits_check(limits);
}
