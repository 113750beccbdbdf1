/* SPDX-License-Identifier: Apache-2.0 */
#include "model/footprint.h"

#include "common/mem.h"

#include <assert.h>

/* Adds a matrix slice, rows x columns of a tensor; nothing where either is empty. */
static choir_status add_matrix(choir_footprint *footprint, const choir_gguf_tensor *tensor,
                               choir_range rows, choir_range columns, bool as_f32)
{
    const int64_t n_rows = choir_range_size(rows), n_columns = choir_range_size(columns);
    if (n_rows == 0 || n_columns == 0)
        return CHOIR_OK;
    const choir_type_info *info = choir_type_info_of(tensor->type);
    const choir_type type = as_f32 && info->is_quantized ? CHOIR_F32 : tensor->type;
    choir_matrix matrix;
    const choir_status status = choir_matrix_plan(&matrix, type, n_rows, n_columns, columns.begin);
    if (status)
        return status;
    footprint->weights_bytes += choir_matrix_bytes(&matrix);
    const int64_t n_blocks =
        choir_ceil_div(columns.end, info->block_elements) - columns.begin / info->block_elements;
    footprint->file_bytes += (uint64_t)(n_rows * n_blocks * info->block_bytes);
    return CHOIR_OK;
}

static choir_range times(choir_range range, int64_t factor)
{
    return (choir_range){range.begin * factor, range.end * factor};
}

static choir_status add_layer(choir_footprint *footprint, const choir_model *model,
                              const choir_slice *slice, int64_t layer, bool as_f32)
{
    const choir_hparams *hparams = choir_model_hparams(model);
    const choir_range width = {0, hparams->width};
    const choir_range heads = times(slice->heads, hparams->head_size);
    const choir_range kv_heads = times(slice->kv_heads, hparams->head_size);
    const struct {
        choir_tensor_role role;
        choir_range rows, columns;
    } parts[] = {
        {CHOIR_TENSOR_ATTN_Q, heads, width},
        {CHOIR_TENSOR_ATTN_K, kv_heads, width},
        {CHOIR_TENSOR_ATTN_V, kv_heads, width},
        {CHOIR_TENSOR_ATTN_OUTPUT, width, heads},
        {CHOIR_TENSOR_FFN_GATE, slice->ff_columns, width},
        {CHOIR_TENSOR_FFN_UP, slice->ff_columns, width},
        {CHOIR_TENSOR_FFN_DOWN, width, slice->ff_columns},
    };
    choir_status status = CHOIR_OK;
    for (size_t i = 0; !status && i < sizeof parts / sizeof parts[0]; i++)
        status = add_matrix(footprint, choir_model_tensor(model, parts[i].role, layer),
                            parts[i].rows, parts[i].columns, as_f32);
    return status;
}

/* Pieces that the other shards of the stage send in one all-reduce over a kind of leaves. */
static int64_t pieces_of_others(const choir_layout *layout, const choir_slice *slice, bool is_ff)
{
    int64_t n = 0;
    for (int shard = 0; shard < layout->n_shards; shard++) {
        const choir_slice *other = &layout->slices[slice->stage * layout->n_shards + shard];
        choir_range subtrees[CHOIR_MAX_SUBTREES];
        if (shard == slice->shard)
            continue;
        n += choir_tree_subtrees(is_ff ? layout->n_ff_leaves : layout->n_attention_leaves,
                                 is_ff ? other->ff_leaves : other->attention_leaves, subtrees);
    }
    return n;
}

static void count_messages(choir_footprint *footprint, const choir_layout *layout,
                           const choir_slice *slice, int64_t width)
{
    const uint64_t vector = (uint64_t)width * sizeof(float);
    const int64_t n_vectors =
        pieces_of_others(layout, slice, false) + pieces_of_others(layout, slice, true);
    footprint->exchange_bytes = (uint64_t)(n_vectors * choir_range_size(slice->layers)) * vector;
    footprint->handover_bytes = slice->is_first_stage ? 0 : vector;
    if (!slice->is_last_stage || slice->rank == 0)
        return;
    /* Two words, (m, l) of each chunk, and the best (id, logit) of a shard that has rows. */
    const int64_t n_chunks = choir_range_size(slice->vocab_chunks);
    footprint->result_bytes = (uint64_t)(2 + 2 * n_chunks + (n_chunks ? 2 : 0)) * sizeof(float);
}

choir_status choir_footprint_of(const choir_model *model, const choir_layout *layout, int rank,
                                const choir_footprint_options *options, choir_footprint *footprint)
{
    assert(rank >= 0 && rank < layout->n_ranks);
    const choir_hparams *hparams = choir_model_hparams(model);
    const choir_slice *slice = &layout->slices[rank];
    const int64_t n_layers = choir_range_size(slice->layers);
    choir_footprint made = {0};
    choir_status status = CHOIR_OK;
    for (int64_t layer = slice->layers.begin; !status && layer < slice->layers.end; layer++)
        status = add_layer(&made, model, slice, layer, options->as_f32);
    if (!status && slice->is_last_stage) {
        const choir_tensor_role output =
            hparams->output_is_shared ? CHOIR_TENSOR_EMBEDDING : CHOIR_TENSOR_OUTPUT;
        status = add_matrix(&made, choir_model_tensor(model, output, 0), slice->vocab_rows,
                            (choir_range){0, hparams->width}, options->as_f32);
    }
    if (status)
        return status;
    const int64_t n_norms = 2 * n_layers + slice->is_last_stage;
    made.norm_bytes = (uint64_t)(n_norms * hparams->width) * sizeof(float);
    made.file_bytes += made.norm_bytes;
    made.kv_page_bytes = (choir_kv_page_bytes(options->key_type, hparams->head_size) +
                          choir_kv_page_bytes(options->value_type, hparams->head_size)) *
                         (uint64_t)(choir_range_size(slice->kv_heads) * n_layers);
    made.kv_position_bytes = made.kv_page_bytes / CHOIR_PAGE_POSITIONS;
    count_messages(&made, layout, slice, hparams->width);
    *footprint = made;
    return CHOIR_OK;
}

uint64_t choir_footprint_kv(const choir_footprint *footprint, int64_t n_positions)
{
    return (uint64_t)choir_ceil_div(n_positions, CHOIR_PAGE_POSITIONS) * footprint->kv_page_bytes;
}

void choir_footprint_add(choir_footprint *total, const choir_footprint *part)
{
    total->weights_bytes += part->weights_bytes;
    total->norm_bytes += part->norm_bytes;
    total->file_bytes += part->file_bytes;
    total->kv_page_bytes += part->kv_page_bytes;
    total->kv_position_bytes += part->kv_position_bytes;
    total->exchange_bytes += part->exchange_bytes;
    total->handover_bytes += part->handover_bytes;
    total->result_bytes += part->result_bytes;
}
