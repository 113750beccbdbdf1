/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/engine_flags.h"

#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

enum { N_RANKS_MAX = 1024, TEXT_MAX = 32 * CHOIR_FLAG_LIST_MAX };

#define AT(member) offsetof(choir_engine_options, member)

static const choir_flag rank_flags[] = {
    {"-n --n-ranks", "N", "ranks, each with its slice of the model (default 1)", CHOIR_FLAG_INTEGER,
     AT(n_ranks), 1, N_RANKS_MAX, NULL},
};

static const choir_flag engine_flags[] = {
    {"--model -m", "FILE", "the model, a GGUF file", CHOIR_FLAG_STRING, AT(model), 0, 0, NULL},
    {"-tp --tensor-parallel-size", "S",
     "shards of a stage, which split every layer (default: chosen; `choir plan` shows it)",
     CHOIR_FLAG_INTEGER, AT(tp), 1, N_RANKS_MAX, NULL},
    {"-pp --pipeline-parallel-size", "P",
     "stages, which split the layers into runs (default: chosen)", CHOIR_FLAG_INTEGER, AT(pp), 1,
     N_RANKS_MAX, NULL},
    {"--tensor-split", "A,B,…", "share of each shard, such as 5,3,1 (default: equal)",
     CHOIR_FLAG_REALS, AT(tensor_split), 0, 1e9, NULL},
    {"--layer-split", "A,B,…", "share of each stage, such as 2,1 (default: equal)",
     CHOIR_FLAG_REALS, AT(layer_split), 0, 1e9, NULL},
    {"--threads -t", "T", "threads of a rank (default: the machine's cores / its ranks)",
     CHOIR_FLAG_INTEGER, AT(threads), 1, 1024, NULL},
    {"--level", "L", "kernels: ref, avx2, avx512 or neon (default: the best that the CPU has)",
     CHOIR_FLAG_STRING, AT(level), 0, 0, "ref avx2 avx512 neon"},
    {"--activations", "A",
     "between layers: q8, fastest; mixed, closer to exact; q15, as good as exact; or f32, slow, "
     "for comparisons (default q8)",
     CHOIR_FLAG_STRING, AT(activations), 0, 0, "q8 mixed q15 f32"},
    {"--cache-type-k", "TYPE", "of stored keys: f16, f32 or q8_0 (default f16)", CHOIR_FLAG_STRING,
     AT(cache_type_k), 0, 0, "f16 f32 q8_0"},
    {"--cache-type-v", "TYPE", "of stored values: f16, f32 or q8_0 (default f16)",
     CHOIR_FLAG_STRING, AT(cache_type_v), 0, 0, "f16 f32 q8_0"},
    {"--max-model-len", "N",
     "positions that a sequence may have (default: what the model was made for)",
     CHOIR_FLAG_INTEGER, AT(max_model_len), 1, 1 << 24, NULL},
    {"--max-num-seqs", "N", "sequences that run at the same time (default 32)", CHOIR_FLAG_INTEGER,
     AT(max_num_seqs), 1, 4096, NULL},
    {"--max-num-batched-tokens", "N", "tokens of one step (default 512)", CHOIR_FLAG_INTEGER,
     AT(max_num_batched_tokens), 1, 1 << 20, NULL},
    {"--max-step-ms", "N",
     "while others decode, prompts get no more of a step than fits into so many milliseconds "
     "(default: 1.5 times what the decodes take alone)",
     CHOIR_FLAG_INTEGER, AT(max_step_ms), 1, 1000000, NULL},
    {"--enable-prefix-caching", NULL,
     "keep keys and values for later prompts of the same client that begin alike (default)",
     CHOIR_FLAG_BOOL, AT(is_prefix_caching_on), 0, 0, NULL},
    {"--no-enable-prefix-caching", NULL, "keep none", CHOIR_FLAG_BOOL, AT(is_prefix_caching_off), 0,
     0, NULL},
    {"--kv-cache-memory --kv-cache-memory-bytes", "N",
     "at most so much memory of a rank for keys and values; requests wait for room (default: "
     "enough for --max-num-seqs whole sequences, or what is free)",
     CHOIR_FLAG_INTEGER, AT(kv_cache_memory_bytes), 1, 1LL << 50, NULL},
    {"--verify", NULL, "check the whole model file at load, not samples of it", CHOIR_FLAG_BOOL,
     AT(is_verified), 0, 0, NULL},
};

enum { N_ENGINE_FLAGS = sizeof engine_flags / sizeof engine_flags[0] };

choir_engine_options choir_engine_options_default(void)
{
    return (choir_engine_options){
        .n_ranks = 1,
        .activations = "q8",
        .cache_type_k = "f16",
        .cache_type_v = "f16",
        .max_num_seqs = 32,
        .max_num_batched_tokens = 512,
    };
}

choir_flag_group choir_engine_flags(choir_engine_options *options)
{
    return (choir_flag_group){"Engine", engine_flags, N_ENGINE_FLAGS, options};
}

choir_flag_group choir_rank_flags(choir_engine_options *options)
{
    return (choir_flag_group){"Ranks", rank_flags, 1, options};
}

choir_status choir_engine_options_check(const choir_engine_options *options)
{
    if (options->model == NULL || *options->model == '\0')
        return choir_fail(CHOIR_EUSAGE, "no model: name a GGUF file with --model FILE");
    if (options->is_prefix_caching_on && options->is_prefix_caching_off)
        return choir_fail(CHOIR_EUSAGE, "--enable-prefix-caching and --no-enable-prefix-caching: "
                                        "give one of them");
    return CHOIR_OK;
}

choir_layout_options choir_engine_options_layout(const choir_engine_options *options)
{
    const choir_flag_reals *shards = &options->tensor_split, *stages = &options->layer_split;
    return (choir_layout_options){
        .n_ranks = (int)options->n_ranks,
        .n_shards = (int)options->tp,
        .n_stages = (int)options->pp,
        .tensor_split = shards->n_items > 0 ? shards->items : NULL,
        .n_tensor_split = (int)shards->n_items,
        .layer_split = stages->n_items > 0 ? stages->items : NULL,
        .n_layer_split = (int)stages->n_items,
    };
}

static bool is_equal_string(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Writes an option's value as a flag takes it; false where it is the default's. */
static bool write_value(const choir_flag *flag, const choir_engine_options *options,
                        const choir_engine_options *defaults, char text[TEXT_MAX])
{
    const void *place = (const char *)options + flag->offset;
    const void *usual = (const char *)defaults + flag->offset;
    const choir_flag_reals *reals = place;
    size_t used = 0;
    switch (flag->kind) {
    case CHOIR_FLAG_BOOL:
        return *(const bool *)place != *(const bool *)usual;
    case CHOIR_FLAG_INTEGER:
        (void)snprintf(text, TEXT_MAX, "%lld", (long long)*(const int64_t *)place);
        return *(const int64_t *)place != *(const int64_t *)usual;
    case CHOIR_FLAG_REALS:
        for (size_t i = 0; i < reals->n_items; i++)
            used += (size_t)snprintf(text + used, TEXT_MAX - used, "%s%.17g", i > 0 ? "," : "",
                                     reals->items[i]);
        return reals->n_items > 0;
    default:
        return false;
    }
}

static choir_status append(char **argv, size_t *n, const char *text)
{
    const choir_status status = choir_copy_string(text, strlen(text), &argv[*n]);
    if (status == CHOIR_OK)
        ++*n;
    return status;
}

static choir_status append_flag(char **argv, size_t *n, const choir_flag *flag,
                                const choir_engine_options *options,
                                const choir_engine_options *defaults, char text[TEXT_MAX])
{
    char name[64];
    const char *value = text;
    if (flag->kind == CHOIR_FLAG_STRING) {
        const char *usual = *(const char *const *)((const char *)defaults + flag->offset);
        value = *(const char *const *)((const char *)options + flag->offset);
        if (value == NULL || is_equal_string(value, usual))
            return CHOIR_OK;
    } else if (!write_value(flag, options, defaults, text)) {
        return CHOIR_OK;
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(flag->spellings, " "), flag->spellings);
    const choir_status status = append(argv, n, name);
    return status == CHOIR_OK && flag->kind != CHOIR_FLAG_BOOL ? append(argv, n, value) : status;
}

choir_status choir_engine_options_to_argv(const choir_engine_options *options, char ***argv)
{
    const choir_engine_options defaults = choir_engine_options_default();
    void *list = NULL, *text = NULL;
    size_t n = 0;
    *argv = NULL;
    choir_status status = choir_alloc(2 * N_ENGINE_FLAGS + 1, sizeof(char *), &list);
    if (status == CHOIR_OK)
        status = choir_alloc(TEXT_MAX, 1, &text);
    for (size_t i = 0; status == CHOIR_OK && i < N_ENGINE_FLAGS; i++)
        status = append_flag(list, &n, &engine_flags[i], options, &defaults, text);
    free(text);
    *argv = list;
    if (status != CHOIR_OK)
        choir_engine_argv_destroy(argv);
    return status;
}

void choir_engine_argv_destroy(char ***argv)
{
    if (argv == NULL || *argv == NULL)
        return;
    for (size_t i = 0; (*argv)[i] != NULL; i++)
        free((*argv)[i]);
    free(*argv);
    *argv = NULL;
}
