/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model file: mapped read-only, checked whole, its hyper-parameters and its tensors by their
 * role.
 *
 * A choir_model that exists is consistent: every tensor that the hyper-parameters imply is there
 * with exactly the shape that they imply, and none besides. Glossary of shapes: L layers, D width,
 * H query heads, K KV heads, S head size, F feed-forward width, V vocabulary. A matrix
 * [rows][columns] stands in GGUF as dims {columns, rows}.
 *
 *   role          shape        type
 *   EMBEDDING     [V][D]       any
 *   OUTPUT_NORM   [D]          F32
 *   OUTPUT        [V][D]       any; absent when output_is_shared: then the embedding serves
 *   ROPE_FACTORS  [n_rot / 2]  F32; may be absent
 *   ATTN_NORM     [D]          F32
 *   ATTN_Q        [H * S][D]   any
 *   ATTN_K, _V    [K * S][D]   any
 *   ATTN_OUTPUT   [D][H * S]   any
 *   FFN_NORM      [D]          F32
 *   FFN_GATE, _UP [F][D]       any
 *   FFN_DOWN      [D][F]       any
 *
 * Everything handed out is borrowed and lives as long as the choir_model. All functions but open,
 * open_header and destroy may be called from any number of threads.
 *
 * If the file shrinks while it is mapped, touching what is gone raises SIGBUS: a program that reads
 * tensor data handles it (robustness rule 13) or calls choir_model_check_unchanged() first.
 */
#ifndef CHOIR_MODEL_MODEL_H
#define CHOIR_MODEL_MODEL_H

#include "common/hash.h"
#include "common/status.h"
#include "model/gguf.h"

#include <stdbool.h>
#include <stdint.h>

/* The roles of one layer begin at ATTN_NORM. */
typedef enum choir_tensor_role {
    CHOIR_TENSOR_EMBEDDING,
    CHOIR_TENSOR_OUTPUT_NORM,
    CHOIR_TENSOR_OUTPUT,
    CHOIR_TENSOR_ROPE_FACTORS,
    CHOIR_TENSOR_ATTN_NORM,
    CHOIR_TENSOR_ATTN_Q,
    CHOIR_TENSOR_ATTN_K,
    CHOIR_TENSOR_ATTN_V,
    CHOIR_TENSOR_ATTN_OUTPUT,
    CHOIR_TENSOR_FFN_NORM,
    CHOIR_TENSOR_FFN_GATE,
    CHOIR_TENSOR_FFN_UP,
    CHOIR_TENSOR_FFN_DOWN,
    CHOIR_TENSOR_ROLES,
} choir_tensor_role;

/* All counts are positive and small enough that products of any three of them fit int64_t. */
typedef struct choir_hparams {
    char architecture[64]; /* general.architecture: "llama" */
    char name[128];        /* general.name, cut to fit at a character; "" if the file has none */
    int64_t n_layers;
    int64_t width;          /* D, a multiple of 32 */
    int64_t n_heads;        /* H */
    int64_t n_kv_heads;     /* K, divides H */
    int64_t head_size;      /* S, even; H * S is a multiple of 32 */
    int64_t ff_width;       /* F, a multiple of 32 */
    int64_t vocab_size;     /* V, the number of the tokenizer's pieces */
    int64_t context_length; /* positions the model was trained for */
    int64_t n_rot;          /* rotated elements of a head, even, <= S */
    float rms_eps;
    float rope_base;
    bool rope_is_adjacent; /* rotation pairs (2i, 2i+1); else (i, i + n_rot/2) */
    bool output_is_shared; /* the embedding is the output matrix too */
    bool has_rope_factors;
    int64_t n_parameters; /* elements of all tensors */
} choir_hparams;

typedef struct choir_model choir_model;

/*
 * Opens, maps and checks a model file; reads the header only. EIO where the file cannot be opened
 * or is no regular file, EFORMAT where it is damaged or contradicts itself, EUNSUPPORTED where it
 * is a model that cannot be served; the words name the file and the culprit. *result is NULL on
 * failure.
 */
choir_status choir_model_open(const char *path, choir_model **result) CHOIR_MUST_CHECK;
/* The same for a file that may end before its weights: choir_model_data() may then give NULL. */
choir_status choir_model_open_header(const char *path, choir_model **result) CHOIR_MUST_CHECK;
/* Unmaps and closes. Accepts NULL, nulls the pointer. */
void choir_model_destroy(choir_model **model);

const choir_hparams *choir_model_hparams(const choir_model *model);
/* The metadata, for the tokenizer and `choir inspect`. */
const choir_gguf *choir_model_gguf(const choir_model *model);
const char *choir_model_path(const choir_model *model);
uint64_t choir_model_file_bytes(const choir_model *model);

/* NULL where the role is absent. `layer` in [0, L) for roles of a layer; ignored for the others. */
const choir_gguf_tensor *choir_model_tensor(const choir_model *model, choir_tensor_role role,
                                            int64_t layer);
/* The tensor's bytes in the mapping; NULL only where the file ends before the tensor does. */
const uint8_t *choir_model_data(const choir_model *model, const choir_gguf_tensor *tensor);

/*
 * Copies bytes [offset, offset + n) of a tensor. By reading: pages of the mapping count as the
 * process's memory, and Linux (since 6.18) maps up to 2 MiB around each that is looked at. EIO;
 * EFILECHANGED where the file has become too short. Threads may read at once.
 */
choir_status choir_model_read(const choir_model *model, const choir_gguf_tensor *tensor,
                              size_t offset, size_t n, void *bytes) CHOIR_MUST_CHECK;
/*
 * Gives the memory of the mapping back to the system; looking at it again reads it again. Other
 * threads may look at it meanwhile.
 */
void choir_model_release(const choir_model *model);

/*
 * What tells two model files apart without reading them whole: SHA-256 over the header (all bytes
 * before the tensor data), the file's size as 8 bytes little-endian, and 64 samples of 4 KiB,
 * sample i at floor(i * (size - 4096) / 63); of a file under 4 KiB, the whole file instead. The
 * same on every node that sees the same file.
 */
void choir_model_identity(const choir_model *model, uint8_t digest[CHOIR_SHA256_BYTES]);
/* SHA-256 of the whole file: reads all of it, for `--verify`. */
void choir_model_hash(const choir_model *model, uint8_t digest[CHOIR_SHA256_BYTES]);

/*
 * EFILECHANGED where the open file has another size or modification time than when it was opened,
 * or where its path leads to another file now. A path that leads nowhere is no change.
 */
choir_status choir_model_check_unchanged(const choir_model *model) CHOIR_MUST_CHECK;

/*
 * EFORMAT where a block of the tensor has a scale or minimum that is NaN or infinite, or an element
 * of a float type is; the words name tensor, row and column. Reads all of its bytes. EUNSUPPORTED
 * where the file ends before the tensor does.
 */
choir_status choir_model_verify_tensor(const choir_model *model,
                                       const choir_gguf_tensor *tensor) CHOIR_MUST_CHECK;
/* All tensors: `--verify` reads the whole file. */
choir_status choir_model_verify(const choir_model *model) CHOIR_MUST_CHECK;

#endif
