/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two passes over one list of parts: the first plans every matrix and adds up the bytes, then one
 * region is mapped, the second packs. The list is short (7 matrices a layer), so that planning is
 * written once, as the loop that visits all parts.
 */
#include "worker/weights.h"

#include "common/mem.h"
#include "worker/probe.h"
#include "worker/shares.h"

#include <stdio.h>
#include <stdlib.h>

/* A matrix with where it comes from: rows and columns of a tensor. */
typedef struct matrix_part {
    choir_matrix *matrix;
    const choir_gguf_tensor *tensor;
    choir_range rows, columns;
} matrix_part;

enum {
    LAYER_PARTS = 7,
    READ_BYTES = 256 << 10, /* at once, by one thread */
};

/* Reads rows of the file for one thread. */
typedef struct reader {
    const choir_model *model;
    uint8_t *buffer; /* of at least a group of the longest rows */
    size_t bytes;
} reader;

static choir_range times(choir_range range, int64_t factor)
{
    return (choir_range){range.begin * factor, range.end * factor};
}

static void list_layer(matrix_part parts[LAYER_PARTS], choir_layer_weights *layer,
                       const choir_model *model, const choir_slice *slice, int64_t index)
{
    const choir_hparams *h = choir_model_hparams(model);
    const choir_range width = {0, h->width};
    const choir_range heads = times(slice->heads, h->head_size);
    const choir_range kv_heads = times(slice->kv_heads, h->head_size);
    const choir_range ff = slice->ff_columns;
    const struct {
        choir_matrix *matrix;
        choir_tensor_role role;
        choir_range rows, columns;
    } table[LAYER_PARTS] = {
        {&layer->q, CHOIR_TENSOR_ATTN_Q, heads, width},
        {&layer->k, CHOIR_TENSOR_ATTN_K, kv_heads, width},
        {&layer->v, CHOIR_TENSOR_ATTN_V, kv_heads, width},
        {&layer->attn_output, CHOIR_TENSOR_ATTN_OUTPUT, width, heads},
        {&layer->gate, CHOIR_TENSOR_FFN_GATE, ff, width},
        {&layer->up, CHOIR_TENSOR_FFN_UP, ff, width},
        {&layer->down, CHOIR_TENSOR_FFN_DOWN, width, ff},
    };
    for (int i = 0; i < LAYER_PARTS; i++)
        parts[i] = (matrix_part){table[i].matrix, choir_model_tensor(model, table[i].role, index),
                                 table[i].rows, table[i].columns};
}

/* Fills the matrix and adds its bytes to *total; an empty part stays all zero. */
static choir_status plan_part(const matrix_part *part, bool as_f32, size_t *total)
{
    const int64_t rows = part->rows.end - part->rows.begin;
    const int64_t cols = part->columns.end - part->columns.begin;
    if (rows == 0 || cols == 0)
        return CHOIR_OK;
    const bool is_quantized = choir_type_info_of(part->tensor->type)->is_quantized;
    const choir_type type = as_f32 && is_quantized ? CHOIR_F32 : part->tensor->type;
    choir_status status = choir_matrix_plan(part->matrix, type, rows, cols, part->columns.begin);
    if (status == CHOIR_OK && !choir_size_add(*total, choir_matrix_bytes(part->matrix), total))
        status = choir_fail(CHOIR_ENOMEM, "the weights of this rank do not fit its address space");
    return status;
}

/*
 * Reads n rows of the tensor from `row` on, of each the blocks that hold the part's columns, to
 * where they stand in a whole row.
 */
static choir_status read_rows(const reader *r, const matrix_part *part, int64_t row, int64_t n)
{
    const choir_gguf_tensor *tensor = part->tensor;
    const choir_type_info *info = choir_type_info_of(tensor->type);
    const size_t row_bytes = tensor->row_bytes;
    const size_t begin = (size_t)(part->columns.begin / info->block_elements * info->block_bytes);
    const size_t end =
        (size_t)(choir_ceil_div(part->columns.end, info->block_elements) * info->block_bytes);
    if (end - begin == row_bytes)
        return choir_model_read(r->model, tensor, (size_t)row * row_bytes, (size_t)n * row_bytes,
                                r->buffer);
    choir_status status = CHOIR_OK;
    for (int64_t i = 0; status == CHOIR_OK && i < n; i++)
        status = choir_model_read(r->model, tensor, (size_t)(row + i) * row_bytes + begin,
                                  end - begin, r->buffer + (size_t)i * row_bytes + begin);
    return status;
}

static choir_status pack_groups(const reader *r, const matrix_part *part, choir_range groups)
{
    if (!part->matrix->data)
        return CHOIR_OK;
    const size_t row_bytes = part->tensor->row_bytes;
    const int64_t chunk = (int64_t)(r->bytes / (row_bytes * CHOIR_GROUP_ROWS));
    choir_status status = CHOIR_OK;
    for (int64_t at = groups.begin, end; status == CHOIR_OK && at < groups.end; at = end) {
        end = groups.end - at < chunk ? groups.end : at + chunk;
        const int64_t row = part->rows.begin + at * CHOIR_GROUP_ROWS;
        const int64_t n = (end - at) * CHOIR_GROUP_ROWS, left = part->rows.end - row;
        status = read_rows(r, part, row, n < left ? n : left);
        if (status == CHOIR_OK)
            choir_matrix_pack(part->matrix, at, end, part->tensor->type, r->buffer, row_bytes);
    }
    return status;
}

/* This thread's shares of a layer, those that it will multiply. */
static choir_status pack_layer(const reader *r, const matrix_part parts[LAYER_PARTS],
                               const choir_layer_weights *layer, const choir_team *team)
{
    const int64_t S = choir_model_hparams(r->model)->head_size;
    const choir_share_qkv qkv = choir_share_qkv_of(team, &layer->q, &layer->k, &layer->v, S);
    const choir_range ff = choir_share_ff_of(team, &layer->gate).groups;
    const choir_range shares[LAYER_PARTS] = {qkv.q,
                                             qkv.k,
                                             qkv.v,
                                             choir_share_groups(team, &layer->attn_output),
                                             ff,
                                             ff,
                                             choir_share_groups(team, &layer->down)};
    choir_status status = CHOIR_OK;
    for (int i = 0; status == CHOIR_OK && i < LAYER_PARTS; i++)
        status = pack_groups(r, &parts[i], shares[i]);
    return status;
}

/* This thread's shares of all parts: those of the layers, then the output's. */
static choir_status pack_shares(const reader *r, const matrix_part *parts,
                                const choir_weights *weights, const choir_team *team)
{
    choir_status status = CHOIR_OK;
    for (int64_t i = 0; status == CHOIR_OK && i < weights->n_layers; i++)
        status = pack_layer(r, parts + i * LAYER_PARTS, &weights->layers[i], team);
    if (status == CHOIR_OK)
        status = pack_groups(r, parts + weights->n_layers * LAYER_PARTS,
                             choir_share_groups(team, &weights->output));
    return status;
}

/* Packs all parts, each thread through a buffer of its own. */
static choir_status pack(const choir_model *model, const matrix_part *parts, size_t n_parts,
                         const choir_weights *weights, int n_threads)
{
    uint8_t *buffers;
    size_t bytes = READ_BYTES;
    for (size_t i = 0; i < n_parts; i++) {
        const size_t group_bytes = CHOIR_GROUP_ROWS * parts[i].tensor->row_bytes;
        bytes = bytes > group_bytes ? bytes : group_bytes;
    }
    choir_status status = choir_alloc_aligned((size_t)n_threads, bytes, (void **)&buffers);
    if (status != CHOIR_OK)
        return status;
    char words[1024] = "";
#pragma omp parallel num_threads(n_threads)
    {
        const choir_team team = choir_team_here(NULL);
        const reader r = {model, buffers + (size_t)team.thread * bytes, bytes};
        const choir_status mine = pack_shares(&r, parts, weights, &team);
        if (mine != CHOIR_OK) {
            /* Words live in the thread that failed. */
#pragma omp critical
            {
                status = mine;
                snprintf(words, sizeof words, "%s", choir_error());
            }
        }
    }
    free(buffers);
    return status == CHOIR_OK ? CHOIR_OK : choir_fail(status, "%s", words);
}

/* norms: per layer attn_norm and ffn_norm, then output_norm; [2 * n_layers + 1][D]. */
static choir_status copy_norms(choir_weights *weights, const choir_model *model,
                               const choir_slice *slice)
{
    const size_t width = (size_t)choir_model_hparams(model)->width;
    choir_status status = choir_alloc_aligned((2 * (size_t)weights->n_layers + 1) * width,
                                              sizeof(float), (void **)&weights->norms);
    if (status != CHOIR_OK)
        return status;
    float *next = weights->norms;
    for (int64_t i = 0; status == CHOIR_OK && i < weights->n_layers; i++) {
        const int64_t layer = slice->layers.begin + i;
        float **const norms[] = {&weights->layers[i].attn_norm, &weights->layers[i].ffn_norm};
        const choir_tensor_role roles[] = {CHOIR_TENSOR_ATTN_NORM, CHOIR_TENSOR_FFN_NORM};
        for (int n = 0; status == CHOIR_OK && n < 2; n++, next += width) {
            status = choir_model_read(model, choir_model_tensor(model, roles[n], layer), 0,
                                      width * sizeof(float), next);
            *norms[n] = next;
        }
    }
    if (status == CHOIR_OK && slice->is_last_stage) {
        status = choir_model_read(model, choir_model_tensor(model, CHOIR_TENSOR_OUTPUT_NORM, 0), 0,
                                  width * sizeof(float), next);
        weights->output_norm = next;
    }
    return status;
}

/* Gives every planned matrix its place in one region. */
static choir_status place(choir_weights *weights, const matrix_part *parts, size_t n_parts)
{
    if (weights->bytes == 0)
        return CHOIR_OK;
    choir_status status = choir_pages_map(weights->bytes, &weights->region);
    size_t at = 0;
    for (size_t i = 0; status == CHOIR_OK && i < n_parts; i++) {
        if (parts[i].matrix->rows == 0)
            continue;
        parts[i].matrix->data = (char *)weights->region + at;
        at += choir_matrix_bytes(parts[i].matrix);
    }
    return status;
}

choir_status choir_weights_load(const choir_model *model, const choir_slice *slice,
                                choir_activations activations, int n_threads,
                                choir_weights **result)
{
    const choir_hparams *h = choir_model_hparams(model);
    const size_t n_layers = (size_t)(slice->layers.end - slice->layers.begin);
    const size_t n_parts = n_layers * LAYER_PARTS + 1;
    matrix_part *parts = NULL;
    choir_weights *weights = NULL;
    choir_status status = choir_alloc(1, sizeof *weights, (void **)&weights);
    if (status == CHOIR_OK)
        status = choir_alloc(n_layers, sizeof *weights->layers, (void **)&weights->layers);
    if (status == CHOIR_OK)
        status = choir_alloc(n_parts, sizeof *parts, (void **)&parts);
    if (status != CHOIR_OK)
        goto done;
    weights->n_layers = (int64_t)n_layers;
    for (size_t i = 0; i < n_layers; i++)
        list_layer(parts + i * LAYER_PARTS, &weights->layers[i], model, slice,
                   slice->layers.begin + (int64_t)i);
    parts[n_parts - 1] = (matrix_part){
        &weights->output,
        choir_model_tensor(model,
                           h->output_is_shared ? CHOIR_TENSOR_EMBEDDING : CHOIR_TENSOR_OUTPUT, 0),
        slice->vocab_rows,
        {0, h->width}};
    for (size_t i = 0; status == CHOIR_OK && i < n_parts; i++)
        status = plan_part(&parts[i], activations == CHOIR_ACTIVATIONS_F32, &weights->bytes);
    if (status == CHOIR_OK)
        status = place(weights, parts, n_parts);
    if (status == CHOIR_OK)
        status = copy_norms(weights, model, slice);
    if (status == CHOIR_OK)
        status = pack(model, parts, n_parts, weights, n_threads);
    choir_model_release(model); /* what checks have looked at */
done:
    free(parts);
    if (status != CHOIR_OK)
        choir_weights_destroy(&weights);
    *result = weights;
    return status;
}

uint64_t choir_weights_huge_bytes(const choir_weights *weights)
{
    const uint64_t huge = (uint64_t)choir_probe_huge_bytes(weights->region, weights->bytes);
    return huge < weights->bytes ? huge : weights->bytes;
}

void choir_weights_destroy(choir_weights **weights)
{
    choir_weights *w = *weights;
    if (!w)
        return;
    choir_pages_unmap(&w->region, w->bytes);
    free(w->norms);
    free(w->layers);
    free(w);
    *weights = NULL;
}
