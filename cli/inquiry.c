/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/inquiry.h"

#include "common/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(choir_sampling_options, member)

static const choir_flag flags[] = {
    {"--max-tokens", "N", "ends the answer after N tokens (default: when the context is full)",
     CHOIR_FLAG_INTEGER, AT(max_tokens), 1, INT32_MAX, NULL},
    {"--temperature", "T", "0 takes the likeliest token; above, 0.01 to 100 (default 1)",
     CHOIR_FLAG_REAL, AT(temperature), 0, 100, NULL},
    {"--top-k", "K", "samples from the K likeliest tokens; 0: off (default 0)", CHOIR_FLAG_INTEGER,
     AT(top_k), 0, INT32_MAX, NULL},
    {"--top-p", "P", "samples from the likeliest tokens that make up P; 1: off (default 1)",
     CHOIR_FLAG_REAL, AT(top_p), 0, 1, NULL},
    {"--min-p", "P", "leaves out tokens less likely than P times the likeliest; 0: off (default 0)",
     CHOIR_FLAG_REAL, AT(min_p), 0, 1, NULL},
    {"--typical-p", "P", "samples from the most typical tokens that make up P; 1: off (default 1)",
     CHOIR_FLAG_REAL, AT(typical_p), 0, 1, NULL},
    {"--repetition-penalty", "R",
     "above 1: tokens of prompt and answer are less likely to come again (default 1, off)",
     CHOIR_FLAG_REAL, AT(repetition_penalty), 0, 100, NULL},
    {"--presence-penalty", "P", "taken from the logits of the answer's tokens, -2 to 2 (default 0)",
     CHOIR_FLAG_REAL, AT(presence_penalty), -2, 2, NULL},
    {"--frequency-penalty", "P", "the same, times how often they came (default 0)", CHOIR_FLAG_REAL,
     AT(frequency_penalty), -2, 2, NULL},
    {"--seed", "N", "the same seed gives the same answer (default: a random one)",
     CHOIR_FLAG_INTEGER, AT(seed), 0, 9.2e18, NULL},
    {"--stop", "TEXT", "ends the answer before this text; may be repeated", CHOIR_FLAG_STRINGS,
     AT(stop), 0, 0, NULL},
    {"--stop-token-ids", "A,B,…", "ends the answer at one of these tokens", CHOIR_FLAG_STRING,
     AT(stop_token_ids), 0, 0, NULL},
    {"--include-stop-str-in-output", NULL, "the text ends with the --stop that ended it",
     CHOIR_FLAG_BOOL, AT(include_stop_str_in_output), 0, 0, NULL},
    {"--min-tokens", "N", "no end and no stop token before so many", CHOIR_FLAG_INTEGER,
     AT(min_tokens), 0, INT32_MAX, NULL},
    {"--bad-words", "WORD", "never in the answer; may be repeated", CHOIR_FLAG_STRINGS,
     AT(bad_words), 0, 0, NULL},
    {"--allowed-token-ids", "A,B,…", "the answer has no other tokens", CHOIR_FLAG_STRING,
     AT(allowed_token_ids), 0, 0, NULL},
    {"--truncate-prompt-tokens", "N", "leaves only the last N tokens of the prompt",
     CHOIR_FLAG_INTEGER, AT(truncate_prompt_tokens), 1, INT32_MAX, NULL},
    {"--ignore-eos", NULL, "goes on after the model's own end", CHOIR_FLAG_BOOL, AT(ignore_eos), 0,
     0, NULL},
    {"--priority", "N", "requests of lower numbers go first, -1000 to 1000 (default 0)",
     CHOIR_FLAG_INTEGER, AT(priority), -1000, 1000, NULL},
    {"--timeout-ms", "N", "gives up when it has not ended after so long (default: never)",
     CHOIR_FLAG_INTEGER, AT(timeout_ms), 1, 1000000000, NULL},
    {"--cache-salt", "TEXT",
     "shares kept beginnings of prompts with all clients that give the same text (default: none)",
     CHOIR_FLAG_STRING, AT(cache_salt), 0, 0, NULL},
    {"--logprobs", "[K]", "log-probabilities of the tokens, and K alternatives (0 to 64) for each",
     CHOIR_FLAG_OPTIONAL, AT(logprobs), 0, 64, NULL},
    {"--prompt-logprobs", "[K]", "the same for the tokens of the prompt", CHOIR_FLAG_OPTIONAL,
     AT(prompt_logprobs), 0, 64, NULL},
    {"--keep-special-tokens", NULL, "control words appear in the text", CHOIR_FLAG_BOOL,
     AT(keep_special_tokens), 0, 0, NULL},
};

choir_sampling_options choir_sampling_options_default(void)
{
    return (choir_sampling_options){.temperature = NAN,
                                    .top_p = NAN,
                                    .min_p = NAN,
                                    .typical_p = NAN,
                                    .repetition_penalty = NAN,
                                    .top_k = -1,
                                    .max_tokens = -1,
                                    .seed = -1,
                                    .logprobs = -1,
                                    .prompt_logprobs = -1};
}

choir_flag_group choir_sampling_flags(choir_sampling_options *options)
{
    return (choir_flag_group){"Sampling", flags, sizeof flags / sizeof flags[0], options};
}

choir_status choir_inquiry_create(const choir_sampling_options *options, choir_inquiry *request)
{
    *request = (choir_inquiry){0};
    request->generate = (choir_generate_request){
        .sampling = {.has_temperature = !isnan(options->temperature),
                     .temperature = (float)options->temperature,
                     .has_top_p = !isnan(options->top_p),
                     .top_p = (float)options->top_p,
                     .has_min_p = !isnan(options->min_p),
                     .min_p = (float)options->min_p,
                     .has_typical_p = !isnan(options->typical_p),
                     .typical_p = (float)options->typical_p,
                     .has_repetition_penalty = !isnan(options->repetition_penalty),
                     .repetition_penalty = (float)options->repetition_penalty,
                     .presence_penalty = (float)options->presence_penalty,
                     .frequency_penalty = (float)options->frequency_penalty,
                     .min_tokens = options->min_tokens,
                     .has_truncate_prompt_tokens = options->truncate_prompt_tokens > 0,
                     .truncate_prompt_tokens = options->truncate_prompt_tokens,
                     .bad_words = options->bad_words.items,
                     .n_bad_words = options->bad_words.n_items,
                     .include_stop_str_in_output = options->include_stop_str_in_output,
                     .has_top_k = options->top_k >= 0,
                     .top_k = options->top_k,
                     .has_max_tokens = options->max_tokens >= 0,
                     .max_tokens = options->max_tokens,
                     .has_seed = options->seed >= 0,
                     .seed = (uint64_t)options->seed,
                     .stop = options->stop.items,
                     .n_stop = options->stop.n_items,
                     .ignore_eos = options->ignore_eos},
        .wants_logprobs = options->logprobs >= 0,
        .n_top = options->logprobs > 0 ? options->logprobs : 0,
        .wants_prompt_logprobs = options->prompt_logprobs >= 0,
        .n_prompt_top = options->prompt_logprobs > 0 ? options->prompt_logprobs : 0,
        .return_token_ids = true,
        .keep_special_tokens = options->keep_special_tokens,
        .priority = (int32_t)options->priority,
        .timeout_ms = (uint64_t)options->timeout_ms,
        .cache_salt = options->cache_salt,
    };
    choir_sampling_params *sampling = &request->generate.sampling;
    choir_status status = CHOIR_OK;
    if (options->stop_token_ids)
        status = choir_ids_parse(&request->stop_ids, options->stop_token_ids);
    if (status == CHOIR_OK && options->allowed_token_ids)
        status = choir_ids_parse(&request->allowed_ids, options->allowed_token_ids);
    sampling->stop_token_ids = request->stop_ids.ids;
    sampling->n_stop_token_ids = request->stop_ids.n_ids;
    sampling->allowed_token_ids = request->allowed_ids.ids;
    sampling->n_allowed_token_ids = request->allowed_ids.n_ids;
    return status;
}

static choir_status fail_type(const char *field, const char *wanted)
{
    return choir_fail(CHOIR_EINVALID, "%s: not %s", field, wanted);
}

static choir_status read_integer(const choir_json *value, const char *field, bool *has,
                                 int64_t *number)
{
    if (choir_json_kind(value) != CHOIR_JSON_INTEGER)
        return fail_type(field, "an integer");
    *has = true;
    *number = choir_json_integer(value, 0);
    return CHOIR_OK;
}

static choir_status read_seed(const choir_json *value, choir_sampling_params *sampling)
{
    int64_t seed = 0;
    const choir_status status = read_integer(value, "seed", &sampling->has_seed, &seed);
    if (status == CHOIR_OK && seed < 0)
        return choir_fail(CHOIR_EINVALID, "seed: below 0");
    sampling->seed = (uint64_t)seed;
    return status;
}

static choir_status read_boolean(const choir_json *value, const char *field, bool *boolean)
{
    if (choir_json_kind(value) != CHOIR_JSON_BOOLEAN)
        return fail_type(field, "true or false");
    *boolean = choir_json_boolean(value, false);
    return CHOIR_OK;
}

/* A string or an array of strings; *list is for free(). */
static choir_status read_strings(const choir_json *value, const char *field, const char ***list,
                                 size_t *n)
{
    const bool is_one = choir_json_kind(value) == CHOIR_JSON_STRING;
    *n = is_one ? 1 : choir_json_size(value);
    free((void *)*list);
    *list = NULL;
    if (!is_one && choir_json_kind(value) != CHOIR_JSON_ARRAY)
        return fail_type(field, "a string or an array of strings");
    const choir_status status = choir_alloc(*n, sizeof **list, (void **)list);
    if (status != CHOIR_OK)
        return status;
    for (size_t i = 0; i < *n; i++) {
        (*list)[i] = choir_json_string(is_one ? value : choir_json_at(value, i), NULL);
        if ((*list)[i] == NULL)
            return fail_type(field, "a string or an array of strings");
    }
    return CHOIR_OK;
}

static choir_status read_ids(const choir_json *value, const char *field, choir_ids *ids,
                             const int32_t **list, size_t *n)
{
    ids->n_ids = 0;
    const choir_status status = choir_ids_from_json(ids, value, field);
    *list = ids->ids;
    *n = ids->n_ids;
    return status;
}

/* {"50256": -100, …}, as OpenAI has it. */
static choir_status read_bias(const choir_json *value, choir_inquiry *request)
{
    choir_sampling_params *sampling = &request->generate.sampling;
    const size_t n = choir_json_size(value);
    size_t position = 0, i = 0;
    const char *key;
    const choir_json *entry;
    if (choir_json_kind(value) != CHOIR_JSON_OBJECT)
        return fail_type("logit_bias", "an object of token ids and numbers");
    free(request->bias);
    request->bias = NULL;
    const choir_status status = choir_alloc(n, sizeof *request->bias, (void **)&request->bias);
    if (status != CHOIR_OK)
        return status;
    while (choir_json_next(value, &position, &key, &entry)) {
        char *end;
        const long id = strtol(key, &end, 10);
        const double bias = choir_json_real(entry, NAN);
        if (!*key || *end || id < 0 || id > INT32_MAX || isnan(bias))
            return fail_type("logit_bias", "an object of token ids and numbers");
        request->bias[i++] = (choir_token_bias){(int32_t)id, (float)bias};
    }
    sampling->logit_bias = request->bias;
    sampling->n_logit_bias = i;
    return CHOIR_OK;
}

/* An integer, or true for log-probabilities without alternatives. */
static choir_status read_logprobs(const choir_json *value, choir_generate_request *generate)
{
    if (choir_json_kind(value) == CHOIR_JSON_BOOLEAN)
        return read_boolean(value, "logprobs", &generate->wants_logprobs);
    return read_integer(value, "logprobs", &generate->wants_logprobs, &generate->n_top);
}

static choir_status read_input(const choir_json *value, const char *field, choir_inquiry *request)
{
    choir_generate_request *generate = &request->generate;
    if (generate->text != NULL || generate->messages_json != NULL || request->ids.ids != NULL)
        return choir_fail(CHOIR_EINVALID, "%s: give one of prompt, messages and token_ids", field);
    if (strcmp(field, "prompt") == 0) {
        generate->text = choir_json_string(value, NULL);
        if (generate->text == NULL)
            return fail_type(field, "a string");
        generate->text_length = strlen(generate->text);
        return CHOIR_OK;
    }
    if (strcmp(field, "token_ids") == 0) {
        const choir_status status = choir_ids_from_json(&request->ids, value, field);
        generate->token_ids = request->ids.ids;
        generate->n_token_ids = request->ids.n_ids;
        if (status == CHOIR_OK && request->ids.n_ids == 0)
            return choir_fail(CHOIR_EINVALID, "token_ids: empty");
        return status;
    }
    if (choir_json_kind(value) != CHOIR_JSON_ARRAY)
        return fail_type(field, "an array of messages");
    const choir_status status = choir_json_dump(value, &request->messages);
    generate->messages_json = request->messages;
    return status;
}

/* The fields that are one number or one boolean. */
typedef struct simple_field {
    const char *name;
    enum { FLOAT, INT64, INT32, BOOLEAN } kind;
    size_t place, presence; /* in the choir_generate_request; presence 0: it has none */
} simple_field;

#define OF(member) offsetof(choir_generate_request, sampling.member)
#define GENERATE(member) offsetof(choir_generate_request, member)

static const simple_field simple_fields[] = {
    {"temperature", FLOAT, OF(temperature), OF(has_temperature)},
    {"top_p", FLOAT, OF(top_p), OF(has_top_p)},
    {"min_p", FLOAT, OF(min_p), OF(has_min_p)},
    {"typical_p", FLOAT, OF(typical_p), OF(has_typical_p)},
    {"repetition_penalty", FLOAT, OF(repetition_penalty), OF(has_repetition_penalty)},
    {"presence_penalty", FLOAT, OF(presence_penalty), 0},
    {"frequency_penalty", FLOAT, OF(frequency_penalty), 0},
    {"top_k", INT64, OF(top_k), OF(has_top_k)},
    {"max_tokens", INT64, OF(max_tokens), OF(has_max_tokens)},
    {"min_tokens", INT64, OF(min_tokens), 0},
    {"truncate_prompt_tokens", INT64, OF(truncate_prompt_tokens), OF(has_truncate_prompt_tokens)},
    {"n", INT64, OF(n), 0},
    {"prompt_logprobs", INT64, GENERATE(n_prompt_top), GENERATE(wants_prompt_logprobs)},
    {"ignore_eos", BOOLEAN, OF(ignore_eos), 0},
    {"include_stop_str_in_output", BOOLEAN, OF(include_stop_str_in_output), 0},
    {"priority", INT32, GENERATE(priority), 0},
    {"timeout_ms", INT64, GENERATE(timeout_ms), 0},
};

static choir_status read_simple(const simple_field *field, const choir_json *value,
                                choir_generate_request *generate)
{
    void *place = (char *)generate + field->place;
    int64_t integer = 0;
    bool has = true;
    choir_status status = CHOIR_OK;
    if (field->kind == BOOLEAN) {
        status = read_boolean(value, field->name, place);
    } else if (field->kind == FLOAT) {
        const double real = choir_json_real(value, NAN);
        *(float *)place = (float)real;
        if (isnan(real))
            status = fail_type(field->name, "a number");
    } else {
        status = read_integer(value, field->name, &has, &integer);
        if (status == CHOIR_OK && field->kind == INT32 && integer != (int32_t)integer)
            status = choir_fail(CHOIR_EINVALID, "%s: out of range", field->name);
        if (status == CHOIR_OK && field->kind == INT32)
            *(int32_t *)place = (int32_t)integer;
        else if (status == CHOIR_OK)
            *(int64_t *)place = integer;
    }
    if (status == CHOIR_OK && field->presence)
        *((bool *)generate + field->presence) = true;
    return status;
}

static choir_status read_field(const char *field, const choir_json *value, choir_inquiry *request)
{
    choir_generate_request *generate = &request->generate;
    choir_sampling_params *sampling = &generate->sampling;
    for (size_t i = 0; i < sizeof simple_fields / sizeof simple_fields[0]; i++)
        if (strcmp(field, simple_fields[i].name) == 0)
            return read_simple(&simple_fields[i], value, generate);
    if (strcmp(field, "prompt") == 0 || strcmp(field, "messages") == 0 ||
        strcmp(field, "token_ids") == 0)
        return read_input(value, field, request);
    if (strcmp(field, "seed") == 0)
        return read_seed(value, sampling);
    if (strcmp(field, "stop") == 0) {
        const choir_status status = read_strings(value, field, &request->stop, &sampling->n_stop);
        sampling->stop = request->stop;
        return status;
    }
    if (strcmp(field, "bad_words") == 0) {
        const choir_status status =
            read_strings(value, field, &request->bad_words, &sampling->n_bad_words);
        sampling->bad_words = request->bad_words;
        return status;
    }
    if (strcmp(field, "stop_token_ids") == 0)
        return read_ids(value, field, &request->stop_ids, &sampling->stop_token_ids,
                        &sampling->n_stop_token_ids);
    if (strcmp(field, "allowed_token_ids") == 0)
        return read_ids(value, field, &request->allowed_ids, &sampling->allowed_token_ids,
                        &sampling->n_allowed_token_ids);
    if (strcmp(field, "logit_bias") == 0)
        return read_bias(value, request);
    if (strcmp(field, "logprobs") == 0)
        return read_logprobs(value, generate);
    if (strcmp(field, "cache_salt") == 0) {
        generate->cache_salt = choir_json_string(value, NULL);
        return generate->cache_salt ? CHOIR_OK : fail_type(field, "a string");
    }
    if (strcmp(field, "skip_special_tokens") == 0) {
        bool is_skipped = true;
        const choir_status status = read_boolean(value, field, &is_skipped);
        generate->keep_special_tokens = !is_skipped;
        return status;
    }
    return choir_fail(CHOIR_EINVALID, "%.40s: unknown field", field);
}

choir_status choir_inquiry_add_json(choir_inquiry *request, choir_json *json)
{
    size_t position = 0;
    const char *field;
    const choir_json *value;
    request->json = json;
    while (choir_json_next(json, &position, &field, &value)) {
        if (choir_json_kind(value) == CHOIR_JSON_NULL)
            continue;
        const choir_status status = read_field(field, value, request);
        if (status != CHOIR_OK)
            return status;
    }
    const choir_generate_request *generate = &request->generate;
    if (generate->text == NULL && generate->messages_json == NULL && generate->token_ids == NULL)
        return choir_fail(CHOIR_EINVALID, "none of prompt, messages and token_ids is given");
    return CHOIR_OK;
}

void choir_inquiry_destroy(choir_inquiry *request)
{
    choir_json_destroy(&request->json);
    free(request->messages);
    free((void *)request->stop);
    free((void *)request->bad_words);
    free(request->bias);
    free(request->ids.ids);
    free(request->stop_ids.ids);
    free(request->allowed_ids.ids);
    *request = (choir_inquiry){0};
}
