/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening checks in three layers, each relying on the one before: the format (gguf.c), the
 * hyper-parameters (hparams.c), and here the tensors that the hyper-parameters imply, by name and
 * shape, with none left over. The pages of tensor data are not touched.
 */
#include "model/model.h"
#include "common/mem.h"
#include "model/hparams.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SAMPLES = 64, SAMPLE_BYTES = 4096 };

/* Roles before ATTN_NORM stand once, the others in each layer. */
static const int n_global_roles = CHOIR_TENSOR_ATTN_NORM;
static const int n_layer_roles = CHOIR_TENSOR_ROLES - CHOIR_TENSOR_ATTN_NORM;

struct choir_model {
    char *path;
    int file; /* -1 before it is open */
    struct stat opened;
    uint8_t *bytes; /* the mapping, of n_bytes */
    size_t n_bytes;
    choir_gguf *gguf;
    choir_hparams hparams;
    const choir_gguf_tensor *
        *tensors; /* role r of layer l at l * n_layer_roles + r; NULL where absent */
};

/* Names in the file, after "blk.N." for roles of a layer. */
static const char *const names[CHOIR_TENSOR_ROLES] = {
    [CHOIR_TENSOR_EMBEDDING] = "token_embd.weight",
    [CHOIR_TENSOR_OUTPUT_NORM] = "output_norm.weight",
    [CHOIR_TENSOR_OUTPUT] = "output.weight",
    [CHOIR_TENSOR_ROPE_FACTORS] = "rope_freqs.weight",
    [CHOIR_TENSOR_ATTN_NORM] = "attn_norm.weight",
    [CHOIR_TENSOR_ATTN_Q] = "attn_q.weight",
    [CHOIR_TENSOR_ATTN_K] = "attn_k.weight",
    [CHOIR_TENSOR_ATTN_V] = "attn_v.weight",
    [CHOIR_TENSOR_ATTN_OUTPUT] = "attn_output.weight",
    [CHOIR_TENSOR_FFN_NORM] = "ffn_norm.weight",
    [CHOIR_TENSOR_FFN_GATE] = "ffn_gate.weight",
    [CHOIR_TENSOR_FFN_UP] = "ffn_up.weight",
    [CHOIR_TENSOR_FFN_DOWN] = "ffn_down.weight",
};

static bool is_global(choir_tensor_role role)
{
    return role < CHOIR_TENSOR_ATTN_NORM;
}

static bool is_optional(choir_tensor_role role)
{
    return role == CHOIR_TENSOR_OUTPUT || role == CHOIR_TENSOR_ROPE_FACTORS;
}

static bool is_vector(choir_tensor_role role)
{
    return role == CHOIR_TENSOR_OUTPUT_NORM || role == CHOIR_TENSOR_ROPE_FACTORS ||
           role == CHOIR_TENSOR_ATTN_NORM || role == CHOIR_TENSOR_FFN_NORM;
}

/* The shape that the hyper-parameters imply; vectors have one row. */
static void imply_shape(const choir_hparams *h, choir_tensor_role role, int64_t *rows,
                        int64_t *columns)
{
    const int64_t query_width = h->n_heads * h->head_size;
    const int64_t kv_width = h->n_kv_heads * h->head_size;
    const int64_t shapes[CHOIR_TENSOR_ROLES][2] = {
        [CHOIR_TENSOR_EMBEDDING] = {h->vocab_size, h->width},
        [CHOIR_TENSOR_OUTPUT_NORM] = {1, h->width},
        [CHOIR_TENSOR_OUTPUT] = {h->vocab_size, h->width},
        [CHOIR_TENSOR_ROPE_FACTORS] = {1, h->n_rot / 2},
        [CHOIR_TENSOR_ATTN_NORM] = {1, h->width},
        [CHOIR_TENSOR_ATTN_Q] = {query_width, h->width},
        [CHOIR_TENSOR_ATTN_K] = {kv_width, h->width},
        [CHOIR_TENSOR_ATTN_V] = {kv_width, h->width},
        [CHOIR_TENSOR_ATTN_OUTPUT] = {h->width, query_width},
        [CHOIR_TENSOR_FFN_NORM] = {1, h->width},
        [CHOIR_TENSOR_FFN_GATE] = {h->ff_width, h->width},
        [CHOIR_TENSOR_FFN_UP] = {h->ff_width, h->width},
        [CHOIR_TENSOR_FFN_DOWN] = {h->width, h->ff_width},
    };
    *rows = shapes[role][0];
    *columns = shapes[role][1];
}

static choir_status check_tensor(const choir_model *model, choir_tensor_role role,
                                 const choir_gguf_tensor *tensor)
{
    const int64_t *dims = tensor->dims;
    int64_t rows, columns;
    imply_shape(&model->hparams, role, &rows, &columns);
    if (dims[0] != columns || dims[1] != rows || dims[2] != 1 || dims[3] != 1)
        return choir_fail(CHOIR_EFORMAT,
                          "%s: tensor %s has dimensions %" PRId64 " x %" PRId64 " x %" PRId64
                          " x %" PRId64 ", but the hyper-parameters imply %" PRId64 " x %" PRId64,
                          model->path, tensor->name, dims[0], dims[1], dims[2], dims[3], columns,
                          rows);
    if (is_vector(role) && tensor->type != CHOIR_F32)
        return choir_fail(CHOIR_EUNSUPPORTED, "%s: tensor %s has type %s; only F32 is served here",
                          model->path, tensor->name, choir_type_info_of(tensor->type)->name);
    return CHOIR_OK;
}

static const choir_gguf_tensor **slot_of(const choir_model *model, choir_tensor_role role,
                                         int64_t layer)
{
    assert(role < CHOIR_TENSOR_ROLES);
    if (is_global(role))
        return &model->tensors[role];
    assert(layer >= 0 && layer < model->hparams.n_layers);
    return &model->tensors[layer * n_layer_roles + (int)role];
}

static choir_status bind_tensor(choir_model *model, choir_tensor_role role, int64_t layer)
{
    char name[CHOIR_GGUF_NAME_BYTES];
    if (is_global(role))
        snprintf(name, sizeof name, "%s", names[role]);
    else
        snprintf(name, sizeof name, "blk.%" PRId64 ".%s", layer, names[role]);
    const choir_gguf_tensor *tensor = choir_gguf_find_tensor(model->gguf, name);
    if (!tensor && is_optional(role))
        return CHOIR_OK;
    if (!tensor)
        return choir_fail(CHOIR_EFORMAT, "%s: tensor %s is missing", model->path, name);
    *slot_of(model, role, layer) = tensor;
    model->hparams.n_parameters +=
        tensor->dims[0] * tensor->dims[1] * tensor->dims[2] * tensor->dims[3];
    return check_tensor(model, role, tensor);
}

/* Names the first tensor of the file that has no role. */
static choir_status refuse_extra(const choir_model *model)
{
    bool *has_role;
    const size_t n = choir_gguf_n_tensors(model->gguf);
    choir_status status = choir_alloc(n, sizeof *has_role, (void **)&has_role);
    if (status != CHOIR_OK)
        return status;
    const choir_gguf_tensor *first = choir_gguf_tensor_at(model->gguf, 0);
    const int64_t slots = n_global_roles + model->hparams.n_layers * n_layer_roles;
    for (int64_t i = 0; i < slots; i++)
        if (model->tensors[i])
            has_role[model->tensors[i] - first] = true;
    for (size_t i = 0; status == CHOIR_OK && i < n; i++)
        if (!has_role[i])
            status = choir_fail(CHOIR_EUNSUPPORTED,
                                "%s: tensor %s has no place in a llama model of %" PRId64 " layers",
                                model->path, first[i].name, model->hparams.n_layers);
    free(has_role);
    return status;
}

static choir_status bind_tensors(choir_model *model)
{
    /* n_layers is at most a ninth of the file's tensors. */
    const int64_t n_layers = model->hparams.n_layers;
    choir_status status = choir_alloc((size_t)(n_global_roles + n_layers * n_layer_roles),
                                      sizeof *model->tensors, (void **)&model->tensors);
    for (int role = 0; status == CHOIR_OK && role < n_global_roles; role++)
        status = bind_tensor(model, (choir_tensor_role)role, 0);
    for (int64_t layer = 0; status == CHOIR_OK && layer < n_layers; layer++)
        for (int role = n_global_roles; status == CHOIR_OK && role < CHOIR_TENSOR_ROLES; role++)
            status = bind_tensor(model, (choir_tensor_role)role, layer);
    if (status == CHOIR_OK)
        status = refuse_extra(model);
    if (status != CHOIR_OK)
        return status;
    model->hparams.output_is_shared = !model->tensors[CHOIR_TENSOR_OUTPUT];
    model->hparams.has_rope_factors = model->tensors[CHOIR_TENSOR_ROPE_FACTORS] != NULL;
    return CHOIR_OK;
}

static choir_status map_file(choir_model *model)
{
    /* Not blocking: the path may be a pipe that nobody writes to. */
    model->file = open(model->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (model->file < 0 || fstat(model->file, &model->opened) != 0)
        return choir_fail(CHOIR_EIO, "cannot open %s: %s", model->path, strerror(errno));
    if (!S_ISREG(model->opened.st_mode))
        return choir_fail(CHOIR_EIO, "%s is not a regular file", model->path);
    if (model->opened.st_size == 0)
        return choir_fail(CHOIR_EFORMAT, "%s: the file is empty", model->path);
    model->n_bytes = (size_t)model->opened.st_size;
    void *bytes = mmap(NULL, model->n_bytes, PROT_READ, MAP_PRIVATE, model->file, 0);
    if (bytes == MAP_FAILED)
        return choir_fail(CHOIR_EIO, "cannot map %s: %s", model->path, strerror(errno));
    model->bytes = bytes;
    return CHOIR_OK;
}

static choir_status open_model(const char *path, choir_gguf_extent extent, choir_model **result)
{
    *result = NULL;
    choir_model *model;
    choir_status status = choir_alloc(1, sizeof *model, (void **)&model);
    if (status != CHOIR_OK)
        return status;
    model->file = -1;
    status = choir_copy_string(path, strlen(path), &model->path);
    if (status == CHOIR_OK)
        status = map_file(model);
    if (status == CHOIR_OK)
        status = choir_gguf_parse(model->bytes, model->n_bytes, path, extent, &model->gguf);
    if (status == CHOIR_OK)
        status = choir_hparams_read(model->gguf, path, &model->hparams);
    if (status == CHOIR_OK)
        status = bind_tensors(model);
    if (status != CHOIR_OK)
        choir_model_destroy(&model);
    *result = model;
    return status;
}

choir_status choir_model_open(const char *path, choir_model **result)
{
    return open_model(path, CHOIR_GGUF_WHOLE, result);
}

choir_status choir_model_open_header(const char *path, choir_model **result)
{
    return open_model(path, CHOIR_GGUF_HEADER_ONLY, result);
}

void choir_model_destroy(choir_model **model)
{
    choir_model *m = *model;
    if (!m)
        return;
    free(m->tensors);
    choir_gguf_destroy(&m->gguf);
    if (m->bytes)
        munmap(m->bytes, m->n_bytes);
    if (m->file >= 0)
        close(m->file);
    free(m->path);
    free(m);
    *model = NULL;
}

void choir_model_release(const choir_model *model)
{
    /* A hint: where the system does not take it, the pages stay. */
    (void)madvise(model->bytes, model->n_bytes, MADV_DONTNEED);
}

const choir_hparams *choir_model_hparams(const choir_model *model)
{
    return &model->hparams;
}

const choir_gguf *choir_model_gguf(const choir_model *model)
{
    return model->gguf;
}

const char *choir_model_path(const choir_model *model)
{
    return model->path;
}

uint64_t choir_model_file_bytes(const choir_model *model)
{
    return model->n_bytes;
}

const choir_gguf_tensor *choir_model_tensor(const choir_model *model, choir_tensor_role role,
                                            int64_t layer)
{
    return *slot_of(model, role, layer);
}

const uint8_t *choir_model_data(const choir_model *model, const choir_gguf_tensor *tensor)
{
    /* place_tensors() has checked that the sum fits. */
    return tensor->offset + tensor->bytes <= model->n_bytes ? model->bytes + tensor->offset : NULL;
}

void choir_model_identity(const choir_model *model, uint8_t digest[CHOIR_SHA256_BYTES])
{
    const size_t header = choir_gguf_data_offset(model->gguf), n = model->n_bytes;
    uint8_t size[8];
    for (int i = 0; i < 8; i++)
        size[i] = (uint8_t)((uint64_t)n >> (8 * i));
    choir_sha256 hash;
    choir_sha256_init(&hash);
    choir_sha256_update(&hash, model->bytes, header < n ? header : n);
    choir_sha256_update(&hash, size, sizeof size);
    if (n < SAMPLE_BYTES) {
        choir_sha256_update(&hash, model->bytes, n);
    } else {
        /* Quotient and remainder apart, so that no product can wrap. */
        const size_t span = n - SAMPLE_BYTES, gaps = SAMPLES - 1;
        for (size_t i = 0; i < SAMPLES; i++)
            choir_sha256_update(&hash, model->bytes + i * (span / gaps) + i * (span % gaps) / gaps,
                                SAMPLE_BYTES);
    }
    choir_sha256_final(&hash, digest);
}

void choir_model_hash(const choir_model *model, uint8_t digest[CHOIR_SHA256_BYTES])
{
    choir_sha256 hash;
    choir_sha256_init(&hash);
    choir_sha256_update(&hash, model->bytes, model->n_bytes);
    choir_sha256_final(&hash, digest);
}

choir_status choir_model_check_unchanged(const choir_model *model)
{
    const struct stat *then = &model->opened;
    struct stat now, there;
    if (fstat(model->file, &now) != 0)
        return choir_fail(CHOIR_EIO, "cannot examine %s: %s", model->path, strerror(errno));
    if (now.st_size != then->st_size)
        return choir_fail(CHOIR_EFILECHANGED, "%s changed while in use: %jd bytes, %jd before",
                          model->path, (intmax_t)now.st_size, (intmax_t)then->st_size);
    if (now.st_mtim.tv_sec != then->st_mtim.tv_sec || now.st_mtim.tv_nsec != then->st_mtim.tv_nsec)
        return choir_fail(CHOIR_EFILECHANGED, "%s was written to while in use", model->path);
    if (stat(model->path, &there) == 0 &&
        (there.st_dev != then->st_dev || there.st_ino != then->st_ino))
        return choir_fail(CHOIR_EFILECHANGED, "%s was replaced by another file while in use",
                          model->path);
    return CHOIR_OK;
}

choir_status choir_model_read(const choir_model *model, const choir_gguf_tensor *tensor,
                              size_t offset, size_t n, void *bytes)
{
    assert(offset <= tensor->bytes && n <= tensor->bytes - offset);
    for (size_t done = 0; done < n;) {
        const ssize_t got = pread(model->file, (char *)bytes + done, n - done,
                                  (off_t)(tensor->offset + offset + done));
        if (got < 0 && errno != EINTR)
            return choir_fail(CHOIR_EIO, "cannot read %s: %s", model->path, strerror(errno));
        if (got == 0)
            return choir_fail(CHOIR_EFILECHANGED, "%s: the file has become shorter", model->path);
        done += got > 0 ? (size_t)got : 0;
    }
    return CHOIR_OK;
}
