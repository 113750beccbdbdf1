/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The llama architecture: RMS norm, rotary embedding, grouped-query attention, SwiGLU, no biases.
 * Its keys in GGUF begin with "llama.".
 *
 * Another architecture is another table of keys and another set of checks beside these.
 */
#include "model/hparams.h"
#include "common/utf8.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* No dimension of a model comes near; products of three stay within 2^60. */
enum { MAX_DIMENSION = 1 << 20 };

static const char prefix[] = "llama.";

typedef struct reader {
    const choir_gguf *gguf;
    const char *label;
    char key[64]; /* of the value read last, for messages */
} reader;

static const char *key_of(reader *r, const char *name)
{
    snprintf(r->key, sizeof r->key, "%s%s", prefix, name);
    return r->key;
}

static bool has(reader *r, const char *name)
{
    return choir_gguf_has(r->gguf, key_of(r, name));
}

/* Keys that are read below, and keys that only tell where a model comes from. */
static const char *const known_keys[] = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scale_linear",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "tensor_data_layout",
};

/* Keys that may stand there only with the value that changes nothing. */
static const struct {
    const char *name;
    choir_gguf_type type;
    double neutral;
    const char *feature;
} neutral_keys[] = {
    {"expert_count", CHOIR_GGUF_U32, 0, "a mixture of experts"},
    {"expert_used_count", CHOIR_GGUF_U32, 0, "a mixture of experts"},
    {"attention.sliding_window", CHOIR_GGUF_U32, 0, "a sliding attention window"},
    {"attention.causal", CHOIR_GGUF_BOOL, 1, "attention that looks ahead"},
    {"rope.scaling.attn_factor", CHOIR_GGUF_F32, 1, "scaled attention"},
    {"use_parallel_residual", CHOIR_GGUF_BOOL, 0, "a parallel residual"},
};

static bool is_known(choir_gguf_string name)
{
    for (size_t i = 0; i < sizeof known_keys / sizeof known_keys[0]; i++)
        if (strlen(known_keys[i]) == name.length &&
            memcmp(known_keys[i], name.text, name.length) == 0)
            return true;
    for (size_t i = 0; i < sizeof neutral_keys / sizeof neutral_keys[0]; i++)
        if (strlen(neutral_keys[i].name) == name.length &&
            memcmp(neutral_keys[i].name, name.text, name.length) == 0)
            return true;
    return false;
}

static choir_status check_known(const reader *r)
{
    const size_t skip = sizeof prefix - 1;
    for (size_t i = 0; i < choir_gguf_n_keys(r->gguf); i++) {
        const choir_gguf_string key = choir_gguf_key_at(r->gguf, i);
        if (key.length < skip || memcmp(key.text, prefix, skip) != 0)
            continue;
        if (!is_known((choir_gguf_string){key.text + skip, key.length - skip}))
            return choir_fail(CHOIR_EUNSUPPORTED,
                              "%s: key %.*s is not known to this version; it may change what the "
                              "model computes",
                              r->label, (int)(key.length < 100 ? key.length : 100), key.text);
    }
    return CHOIR_OK;
}

static choir_status read_as_double(reader *r, choir_gguf_type type, double *value)
{
    uint32_t u32;
    float f32;
    bool is_true;
    choir_status status;
    switch (type) {
    case CHOIR_GGUF_U32:
        status = choir_gguf_get_u32(r->gguf, r->key, &u32);
        *value = status == CHOIR_OK ? u32 : 0;
        return status;
    case CHOIR_GGUF_F32:
        status = choir_gguf_get_f32(r->gguf, r->key, &f32);
        *value = status == CHOIR_OK ? (double)f32 : 0;
        return status;
    default:
        assert(type == CHOIR_GGUF_BOOL);
        status = choir_gguf_get_bool(r->gguf, r->key, &is_true);
        *value = status == CHOIR_OK && is_true;
        return status;
    }
}

static choir_status check_neutral(reader *r)
{
    for (size_t i = 0; i < sizeof neutral_keys / sizeof neutral_keys[0]; i++) {
        if (!has(r, neutral_keys[i].name))
            continue;
        double value;
        choir_status status = read_as_double(r, neutral_keys[i].type, &value);
        if (status != CHOIR_OK)
            return status;
        if (value != neutral_keys[i].neutral)
            return choir_fail(CHOIR_EUNSUPPORTED, "%s: %s is %g: %s is not served", r->label,
                              r->key, value, neutral_keys[i].feature);
    }
    return CHOIR_OK;
}

static choir_status read_count(reader *r, const char *name, int64_t max, int64_t *count)
{
    uint32_t value;
    choir_status status = choir_gguf_get_u32(r->gguf, key_of(r, name), &value);
    if (status != CHOIR_OK)
        return status;
    if (value < 1 || value > max)
        return choir_fail(CHOIR_EFORMAT, "%s: %s is %" PRIu32 ", not 1 to %" PRId64, r->label,
                          r->key, value, max);
    *count = value;
    return CHOIR_OK;
}

/* The same with the value it has where the key is absent. */
static choir_status read_count_or(reader *r, const char *name, int64_t max, int64_t otherwise,
                                  int64_t *count)
{
    *count = otherwise;
    return has(r, name) ? read_count(r, name, max, count) : CHOIR_OK;
}

static choir_status check_multiple(const reader *r, const char *what, int64_t value, int64_t unit)
{
    if (value % unit == 0)
        return CHOIR_OK;
    return choir_fail(CHOIR_EUNSUPPORTED,
                      "%s: %s is %" PRId64 "; only multiples of %" PRId64 " are served", r->label,
                      what, value, unit);
}

static choir_status read_sizes(reader *r, choir_hparams *h)
{
    choir_status status = read_count(r, "embedding_length", MAX_DIMENSION, &h->width);
    if (status == CHOIR_OK)
        status = read_count(r, "feed_forward_length", MAX_DIMENSION, &h->ff_width);
    if (status == CHOIR_OK)
        status = read_count(r, "context_length", INT32_MAX, &h->context_length);
    /* Each layer has nine tensors: a bound that costs nothing and comes before any memory. */
    const int64_t max_layers = (int64_t)choir_gguf_n_tensors(r->gguf) / 9;
    if (status == CHOIR_OK)
        status = read_count(r, "block_count", INT32_MAX, &h->n_layers);
    if (status == CHOIR_OK && h->n_layers > max_layers)
        status = choir_fail(
            CHOIR_EFORMAT, "%s: %s is %" PRId64 ", but %zu tensors make %" PRId64 " layers at most",
            r->label, r->key, h->n_layers, choir_gguf_n_tensors(r->gguf), max_layers);
    if (status == CHOIR_OK)
        status = check_multiple(r, "the model width (embedding_length)", h->width, 32);
    if (status == CHOIR_OK)
        status = check_multiple(r, "the feed-forward width", h->ff_width, 32);
    return status;
}

static choir_status read_heads(reader *r, choir_hparams *h)
{
    choir_status status = read_count(r, "attention.head_count", MAX_DIMENSION, &h->n_heads);
    if (status == CHOIR_OK)
        status =
            read_count_or(r, "attention.head_count_kv", MAX_DIMENSION, h->n_heads, &h->n_kv_heads);
    if (status != CHOIR_OK)
        return status;
    if (h->n_kv_heads > h->n_heads || h->n_heads % h->n_kv_heads != 0)
        return choir_fail(CHOIR_EFORMAT,
                          "%s: %" PRId64 " KV heads cannot be shared by %" PRId64 " query heads",
                          r->label, h->n_kv_heads, h->n_heads);
    const bool is_given = has(r, "attention.key_length");
    if (!is_given && h->width % h->n_heads != 0)
        return choir_fail(CHOIR_EFORMAT,
                          "%s: the width %" PRId64 " is no multiple of %" PRId64 " heads", r->label,
                          h->width, h->n_heads);
    int64_t value_size = 0;
    status = read_count_or(r, "attention.key_length", MAX_DIMENSION, h->width / h->n_heads,
                           &h->head_size);
    if (status == CHOIR_OK)
        status =
            read_count_or(r, "attention.value_length", MAX_DIMENSION, h->head_size, &value_size);
    if (status == CHOIR_OK && value_size != h->head_size)
        status =
            choir_fail(CHOIR_EUNSUPPORTED,
                       "%s: keys of %" PRId64 " and values of %" PRId64 " elements are not served",
                       r->label, h->head_size, value_size);
    if (status == CHOIR_OK && h->n_heads * h->head_size > MAX_DIMENSION)
        status =
            choir_fail(CHOIR_EFORMAT, "%s: %" PRId64 " heads of %" PRId64 " elements are too many",
                       r->label, h->n_heads, h->head_size);
    if (status == CHOIR_OK)
        status = check_multiple(r, "the head size", h->head_size, 2);
    if (status == CHOIR_OK)
        status = check_multiple(r, "heads x head size", h->n_heads * h->head_size, 32);
    return status;
}

/* Scaled positions are another operation; a factor of 1 (or 0, which means unset) is none. */
static choir_status check_rope_scaling(reader *r)
{
    static const char none[] = "none", linear[] = "linear";
    choir_gguf_string type = {linear, strlen(linear)}; /* what GGUF means where the key is absent */
    choir_status status = CHOIR_OK;
    if (has(r, "rope.scaling.type"))
        status = choir_gguf_get_string(r->gguf, r->key, &type);
    if (status != CHOIR_OK)
        return status;
    if (type.length == strlen(none) && memcmp(type.text, none, type.length) == 0)
        return CHOIR_OK;
    if (type.length != strlen(linear) || memcmp(type.text, linear, type.length) != 0)
        return choir_fail(CHOIR_EUNSUPPORTED, "%s: rope scaling of type %.*s is not served",
                          r->label, (int)(type.length < 40 ? type.length : 40), type.text);
    static const char *const factors[] = {"rope.scaling.factor", "rope.scale_linear"};
    for (int i = 0; i < 2; i++) {
        float factor = 1;
        if (has(r, factors[i]))
            status = choir_gguf_get_f32(r->gguf, r->key, &factor);
        if (status != CHOIR_OK)
            return status;
        if (factor != 1 && factor != 0)
            return choir_fail(CHOIR_EUNSUPPORTED, "%s: %s is %g: scaled positions are not served",
                              r->label, r->key, (double)factor);
    }
    return CHOIR_OK;
}

static choir_status read_rope(reader *r, choir_hparams *h)
{
    choir_status status = check_rope_scaling(r);
    if (status == CHOIR_OK)
        status = read_count_or(r, "rope.dimension_count", h->head_size, h->head_size, &h->n_rot);
    if (status == CHOIR_OK)
        status = check_multiple(r, "rope.dimension_count", h->n_rot, 2);
    h->rope_base = 10000;
    if (status == CHOIR_OK && has(r, "rope.freq_base"))
        status = choir_gguf_get_f32(r->gguf, r->key, &h->rope_base);
    if (status == CHOIR_OK && !(h->rope_base > 0 && isfinite(h->rope_base)))
        status = choir_fail(CHOIR_EFORMAT, "%s: %s is %g", r->label, r->key, (double)h->rope_base);
    h->rope_is_adjacent = true;
    return status;
}

static choir_status read_epsilon(reader *r, choir_hparams *h)
{
    choir_status status =
        choir_gguf_get_f32(r->gguf, key_of(r, "attention.layer_norm_rms_epsilon"), &h->rms_eps);
    if (status == CHOIR_OK && !(h->rms_eps > 0 && h->rms_eps < 1))
        status = choir_fail(CHOIR_EFORMAT, "%s: %s is %g, not between 0 and 1", r->label, r->key,
                            (double)h->rms_eps);
    return status;
}

static choir_status read_vocabulary(reader *r, choir_hparams *h)
{
    choir_gguf_array tokens;
    choir_status status =
        choir_gguf_get_array(r->gguf, "tokenizer.ggml.tokens", CHOIR_GGUF_STRING, &tokens);
    if (status != CHOIR_OK)
        return status;
    if (tokens.count < 1 || tokens.count > MAX_DIMENSION)
        return choir_fail(CHOIR_EFORMAT, "%s: a vocabulary of %zu pieces, not 1 to %d", r->label,
                          tokens.count, MAX_DIMENSION);
    h->vocab_size = (int64_t)tokens.count;
    int64_t told = 0;
    status = read_count_or(r, "vocab_size", MAX_DIMENSION, h->vocab_size, &told);
    if (status == CHOIR_OK && told != h->vocab_size)
        status = choir_fail(CHOIR_EFORMAT,
                            "%s: %s is %" PRId64 ", but the tokenizer has %" PRId64 " pieces",
                            r->label, r->key, told, h->vocab_size);
    return status;
}

/* The longest prefix of whole characters that fits; control characters become '?'. */
static void copy_name(char *out, size_t size, choir_gguf_string text)
{
    size_t length = 0;
    while (length < text.length) {
        const size_t n = choir_utf8_character(text.text + length, text.length - length);
        if (n == 0 || length + n >= size)
            break;
        memcpy(out + length, text.text + length, n);
        if (n == 1 && ((uint8_t)out[length] < 0x20 || out[length] == 0x7f))
            out[length] = '?';
        length += n;
    }
    out[length] = '\0';
}

static choir_status read_names(const reader *r, choir_hparams *h)
{
    choir_gguf_string text;
    choir_status status = choir_gguf_get_string(r->gguf, "general.architecture", &text);
    if (status != CHOIR_OK)
        return status;
    copy_name(h->architecture, sizeof h->architecture, text);
    if (strcmp(h->architecture, "llama") != 0)
        return choir_fail(CHOIR_EUNSUPPORTED, "%s: architecture %s is not served; llama is",
                          r->label, h->architecture);
    if (!choir_gguf_has(r->gguf, "general.name"))
        return CHOIR_OK;
    status = choir_gguf_get_string(r->gguf, "general.name", &text);
    if (status == CHOIR_OK)
        copy_name(h->name, sizeof h->name, text);
    return status;
}

choir_status choir_hparams_read(const choir_gguf *gguf, const char *label, choir_hparams *hparams)
{
    *hparams = (choir_hparams){0};
    reader r = {.gguf = gguf, .label = label};
    choir_status status = read_names(&r, hparams);
    if (status == CHOIR_OK)
        status = check_known(&r);
    if (status == CHOIR_OK)
        status = check_neutral(&r);
    if (status == CHOIR_OK)
        status = read_sizes(&r, hparams);
    if (status == CHOIR_OK)
        status = read_heads(&r, hparams);
    if (status == CHOIR_OK)
        status = read_rope(&r, hparams);
    if (status == CHOIR_OK)
        status = read_epsilon(&r, hparams);
    if (status == CHOIR_OK)
        status = read_vocabulary(&r, hparams);
    return status;
}
