/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/flags.h"
#include "cli/print.h"
#include "cli/verbs.h"
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

typedef struct inspect_options {
    const char *model;
    bool is_json;
} inspect_options;

/* What the tensors of one type sum up to. */
typedef struct type_total {
    int64_t n_tensors;
    uint64_t bytes;
} type_total;

enum { KEY_BYTES = 256, VALUE_BYTES = 128, SHAPE_BYTES = 96 };

static type_total sum_type(const choir_gguf *gguf, choir_type type)
{
    type_total total = {0};
    for (size_t i = 0; i < choir_gguf_n_tensors(gguf); i++) {
        const choir_gguf_tensor *tensor = choir_gguf_tensor_at(gguf, i);
        if (tensor->type == type) {
            total.n_tensors++;
            total.bytes += tensor->bytes;
        }
    }
    return total;
}

static choir_json *hparams_to_json(const choir_hparams *h)
{
    choir_json *json = choir_json_make_object();
    choir_json_set_integer(json, "n_layers", h->n_layers);
    choir_json_set_integer(json, "width", h->width);
    choir_json_set_integer(json, "n_heads", h->n_heads);
    choir_json_set_integer(json, "n_kv_heads", h->n_kv_heads);
    choir_json_set_integer(json, "head_size", h->head_size);
    choir_json_set_integer(json, "ff_width", h->ff_width);
    choir_json_set_integer(json, "vocab_size", h->vocab_size);
    choir_json_set_integer(json, "context_length", h->context_length);
    choir_json_set_integer(json, "n_rot", h->n_rot);
    choir_json_set_real(json, "rms_eps", (double)h->rms_eps);
    choir_json_set_real(json, "rope_base", (double)h->rope_base);
    choir_json_set_boolean(json, "has_rope_factors", h->has_rope_factors);
    choir_json_set_boolean(json, "output_is_shared", h->output_is_shared);
    choir_json_set_integer(json, "n_parameters", h->n_parameters);
    return json;
}

/* The value itself for the usual types; else as people see it, cut. */
static choir_json *value_to_json(const choir_gguf *gguf, const char *key, size_t index)
{
    choir_gguf_string string;
    uint32_t u32;
    float f32;
    bool boolean;
    char text[VALUE_BYTES];
    if (choir_gguf_get_string(gguf, key, &string) == CHOIR_OK)
        return choir_json_make_string(string.text, string.length);
    if (choir_gguf_get_u32(gguf, key, &u32) == CHOIR_OK)
        return choir_json_make_integer(u32);
    if (choir_gguf_get_f32(gguf, key, &f32) == CHOIR_OK)
        return choir_json_make_real((double)f32);
    if (choir_gguf_get_bool(gguf, key, &boolean) == CHOIR_OK)
        return choir_json_make_boolean(boolean);
    choir_gguf_format(gguf, index, text, sizeof text);
    return choir_json_make_string(text, strlen(text));
}

static choir_json *metadata_to_json(const choir_gguf *gguf)
{
    choir_json *json = choir_json_make_object();
    for (size_t i = 0; i < choir_gguf_n_keys(gguf); i++) {
        const choir_gguf_string key = choir_gguf_key_at(gguf, i);
        char name[KEY_BYTES];
        (void)snprintf(name, sizeof name, "%.*s", (int)(key.length < KEY_BYTES ? key.length : 0),
                       key.text);
        if (*name != '\0') /* no key that anybody uses is that long */
            choir_json_set(json, name, value_to_json(gguf, name, i));
    }
    return json;
}

static choir_json *types_to_json(const choir_gguf *gguf)
{
    int n_types;
    const choir_type_info *types = choir_type_all(&n_types);
    choir_json *json = choir_json_make_array();
    for (int i = 0; i < n_types; i++) {
        const type_total total = sum_type(gguf, types[i].type);
        if (total.n_tensors == 0)
            continue;
        choir_json *entry = choir_json_make_object();
        choir_json_set_text(entry, "type", types[i].name);
        choir_json_set_integer(entry, "n_tensors", total.n_tensors);
        choir_json_set_integer(entry, "bytes", (int64_t)total.bytes);
        choir_json_append(json, entry);
    }
    return json;
}

/* The shape is written with the rows first, as the documents write matrices. */
static choir_json *tensor_to_json(const choir_gguf_tensor *tensor)
{
    choir_json *json = choir_json_make_object(), *shape = choir_json_make_array();
    for (int d = tensor->n_dims - 1; d >= 0; d--)
        choir_json_append(shape, choir_json_make_integer(tensor->dims[d]));
    choir_json_set_text(json, "name", tensor->name);
    choir_json_set_text(json, "type", choir_type_info_of(tensor->type)->name);
    choir_json_set(json, "shape", shape);
    choir_json_set_integer(json, "bytes", (int64_t)tensor->bytes);
    choir_json_set_integer(json, "offset", (int64_t)tensor->offset);
    return json;
}

static choir_status print_as_json(const choir_model *model)
{
    const choir_gguf *gguf = choir_model_gguf(model);
    const choir_hparams *hparams = choir_model_hparams(model);
    char identity[CHOIR_SHA256_HEX];
    uint8_t digest[CHOIR_SHA256_BYTES];
    choir_json *json = choir_json_make_object(), *tensors = choir_json_make_array();
    choir_model_identity(model, digest);
    choir_sha256_hex(digest, identity);
    for (size_t i = 0; i < choir_gguf_n_tensors(gguf); i++)
        choir_json_append(tensors, tensor_to_json(choir_gguf_tensor_at(gguf, i)));
    choir_json_set_text(json, "path", choir_model_path(model));
    choir_json_set_integer(json, "file_bytes", (int64_t)choir_model_file_bytes(model));
    choir_json_set_text(json, "identity", identity);
    choir_json_set_integer(json, "gguf_version", choir_gguf_version(gguf));
    choir_json_set_text(json, "architecture", hparams->architecture);
    choir_json_set_text(json, "name", hparams->name);
    choir_json_set(json, "hyperparameters", hparams_to_json(hparams));
    choir_json_set(json, "types", types_to_json(gguf));
    choir_json_set(json, "metadata", metadata_to_json(gguf));
    choir_json_set(json, "tensors", tensors);
    return choir_print_json(json);
}

static choir_status print_hparams(const choir_model *model)
{
    const choir_hparams *h = choir_model_hparams(model);
    char parameters[CHOIR_NUMBER_BYTES], bytes[CHOIR_NUMBER_BYTES];
    return choir_print(
        "%s\n"
        "  name           %s\n"
        "  architecture   %s\n"
        "  parameters     %s, %s\n"
        "  layers         %lld\n"
        "  width          %lld\n"
        "  heads          %lld query, %lld key/value, %lld elements each\n"
        "  feed-forward   %lld\n"
        "  vocabulary     %lld, %s\n"
        "  context        %lld positions\n"
        "  rotation       base %g over %lld elements%s\n"
        "  norm           RMS, eps %g\n",
        choir_model_path(model), h->name, h->architecture,
        choir_number_count((uint64_t)h->n_parameters, parameters),
        choir_number_bytes(choir_model_file_bytes(model), bytes), (long long)h->n_layers,
        (long long)h->width, (long long)h->n_heads, (long long)h->n_kv_heads,
        (long long)h->head_size, (long long)h->ff_width, (long long)h->vocab_size,
        h->output_is_shared ? "embedding shared with the output" : "output of its own",
        (long long)h->context_length, (double)h->rope_base, (long long)h->n_rot,
        h->has_rope_factors ? ", with factors" : "", (double)h->rms_eps);
}

static choir_status print_types(const choir_gguf *gguf)
{
    int n_types;
    const choir_type_info *types = choir_type_all(&n_types);
    choir_status status = choir_print("\nTypes:\n");
    for (int i = 0; i < n_types && status == CHOIR_OK; i++) {
        char bytes[CHOIR_NUMBER_BYTES];
        const type_total total = sum_type(gguf, types[i].type);
        if (total.n_tensors > 0)
            status =
                choir_print("  %-6s %6lld tensors %12s\n", types[i].name,
                            (long long)total.n_tensors, choir_number_bytes(total.bytes, bytes));
    }
    return status;
}

static choir_status print_metadata(const choir_gguf *gguf)
{
    choir_status status = choir_print("\nMetadata (%zu keys):\n", choir_gguf_n_keys(gguf));
    for (size_t i = 0; i < choir_gguf_n_keys(gguf) && status == CHOIR_OK; i++) {
        const choir_gguf_string key = choir_gguf_key_at(gguf, i);
        char value[VALUE_BYTES];
        choir_gguf_format(gguf, i, value, sizeof value);
        status = choir_print("  %-42.*s %s\n", (int)(key.length < 255 ? key.length : 255), key.text,
                             value);
    }
    return status;
}

static choir_status print_tensors(const choir_gguf *gguf)
{
    choir_status status = choir_print("\nTensors (%zu):\n", choir_gguf_n_tensors(gguf));
    for (size_t i = 0; i < choir_gguf_n_tensors(gguf) && status == CHOIR_OK; i++) {
        const choir_gguf_tensor *tensor = choir_gguf_tensor_at(gguf, i);
        char shape[SHAPE_BYTES] = "", bytes[CHOIR_NUMBER_BYTES];
        size_t used = 0;
        for (int d = tensor->n_dims - 1; d >= 0; d--)
            used += (size_t)snprintf(shape + used, sizeof shape - used, "[%lld]",
                                     (long long)tensor->dims[d]);
        status = choir_print("  %-32s %-5s %-18s %10s\n", tensor->name,
                             choir_type_info_of(tensor->type)->name, shape,
                             choir_number_bytes(tensor->bytes, bytes));
    }
    return status;
}

static choir_status print_for_people(const choir_model *model)
{
    const choir_gguf *gguf = choir_model_gguf(model);
    choir_status status = print_hparams(model);
    if (status == CHOIR_OK)
        status = print_types(gguf);
    if (status == CHOIR_OK)
        status = print_metadata(gguf);
    return status == CHOIR_OK ? print_tensors(gguf) : status;
}

choir_status choir_verb_inspect(int argc, char **argv)
{
    static const choir_flag flags[] = {
        {"--model -m", "FILE", "the same as the argument", CHOIR_FLAG_STRING,
         offsetof(inspect_options, model), 0, 0, NULL},
        {"--json", NULL, "one JSON object", CHOIR_FLAG_BOOL, offsetof(inspect_options, is_json), 0,
         0, NULL},
    };
    inspect_options options = {0};
    const choir_flag_group group = {"Options", flags, sizeof flags / sizeof flags[0], &options};
    const choir_command command = {
        "choir inspect",
        "[FLAGS] FILE",
        "Shows a model file: its hyper-parameters, its metadata, and its tensors with their types, "
        "shapes (rows first) and bytes. Checks the file's header whole, as loading it does.",
        "choir inspect model.gguf\nchoir inspect model.gguf --json | jq .hyperparameters",
        &group,
        1,
    };
    choir_model *model = NULL;
    int n_rest;
    bool is_help_shown;
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (n_rest + (options.model != NULL) != 1)
        return choir_fail(CHOIR_EUSAGE, "one model file is wanted: `choir inspect FILE`");
    status = choir_model_open(n_rest > 0 ? argv[0] : options.model, &model);
    if (status == CHOIR_OK)
        status = options.is_json ? print_as_json(model) : print_for_people(model);
    choir_model_destroy(&model);
    return status;
}
