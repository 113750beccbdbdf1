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
    {"--seed", "N", "the same seed gives the same answer (default: a random one)",
     CHOIR_FLAG_INTEGER, AT(seed), 0, 9.2e18, NULL},
    {"--stop", "TEXT", "ends the answer before this text; may be repeated", CHOIR_FLAG_STRINGS,
     AT(stop), 0, 0, NULL},
    {"--stop-token-ids", "A,B,…", "ends the answer at one of these tokens", CHOIR_FLAG_STRING,
     AT(stop_token_ids), 0, 0, NULL},
    {"--ignore-eos", NULL, "goes on after the model's own end", CHOIR_FLAG_BOOL, AT(ignore_eos), 0,
     0, NULL},
    {"--logprobs", "[K]", "log-probabilities of the tokens, and K alternatives (0 to 64) for each",
     CHOIR_FLAG_OPTIONAL, AT(logprobs), 0, 64, NULL},
    {"--keep-special-tokens", NULL, "control words appear in the text", CHOIR_FLAG_BOOL,
     AT(keep_special_tokens), 0, 0, NULL},
};

choir_sampling_options choir_sampling_options_default(void)
{
    return (choir_sampling_options){.temperature = NAN,
                                    .top_p = NAN,
                                    .min_p = NAN,
                                    .top_k = -1,
                                    .max_tokens = -1,
                                    .seed = -1,
                                    .logprobs = -1};
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
        .return_token_ids = true,
        .keep_special_tokens = options->keep_special_tokens,
    };
    if (options->stop_token_ids == NULL)
        return CHOIR_OK;
    const choir_status status = choir_ids_parse(&request->stop_ids, options->stop_token_ids);
    request->generate.sampling.stop_token_ids = request->stop_ids.ids;
    request->generate.sampling.n_stop_token_ids = request->stop_ids.n_ids;
    return status;
}

static choir_status fail_type(const char *field, const char *wanted)
{
    return choir_fail(CHOIR_EINVALID, "%s: not %s", field, wanted);
}

static choir_status read_real(const choir_json *value, const char *field, bool *has, float *number)
{
    const double real = choir_json_real(value, NAN);
    if (isnan(real))
        return fail_type(field, "a number");
    *has = true;
    *number = (float)real;
    return CHOIR_OK;
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

/* A string or an array of strings. */
static choir_status read_stop(const choir_json *value, choir_inquiry *request)
{
    const bool is_one = choir_json_kind(value) == CHOIR_JSON_STRING;
    const size_t n = is_one ? 1 : choir_json_size(value);
    if (!is_one && choir_json_kind(value) != CHOIR_JSON_ARRAY)
        return fail_type("stop", "a string or an array of strings");
    const choir_status status = choir_alloc(n, sizeof *request->stop, (void **)&request->stop);
    if (status != CHOIR_OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        request->stop[i] = choir_json_string(is_one ? value : choir_json_at(value, i), NULL);
        if (request->stop[i] == NULL)
            return fail_type("stop", "a string or an array of strings");
    }
    request->generate.sampling.stop = request->stop;
    request->generate.sampling.n_stop = n;
    return CHOIR_OK;
}

static choir_status read_stop_ids(const choir_json *value, choir_inquiry *request)
{
    choir_sampling_params *sampling = &request->generate.sampling;
    request->stop_ids.n_ids = 0;
    const choir_status status = choir_ids_from_json(&request->stop_ids, value, "stop_token_ids");
    sampling->stop_token_ids = request->stop_ids.ids;
    sampling->n_stop_token_ids = request->stop_ids.n_ids;
    return status;
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

static choir_status read_field(const char *field, const choir_json *value, choir_inquiry *request)
{
    choir_generate_request *generate = &request->generate;
    choir_sampling_params *sampling = &generate->sampling;
    if (strcmp(field, "prompt") == 0 || strcmp(field, "messages") == 0 ||
        strcmp(field, "token_ids") == 0)
        return read_input(value, field, request);
    if (strcmp(field, "temperature") == 0)
        return read_real(value, field, &sampling->has_temperature, &sampling->temperature);
    if (strcmp(field, "top_p") == 0)
        return read_real(value, field, &sampling->has_top_p, &sampling->top_p);
    if (strcmp(field, "min_p") == 0)
        return read_real(value, field, &sampling->has_min_p, &sampling->min_p);
    if (strcmp(field, "top_k") == 0)
        return read_integer(value, field, &sampling->has_top_k, &sampling->top_k);
    if (strcmp(field, "max_tokens") == 0)
        return read_integer(value, field, &sampling->has_max_tokens, &sampling->max_tokens);
    if (strcmp(field, "seed") == 0)
        return read_seed(value, sampling);
    if (strcmp(field, "stop") == 0)
        return read_stop(value, request);
    if (strcmp(field, "stop_token_ids") == 0)
        return read_stop_ids(value, request);
    if (strcmp(field, "ignore_eos") == 0)
        return read_boolean(value, field, &sampling->ignore_eos);
    if (strcmp(field, "logprobs") == 0)
        return read_logprobs(value, generate);
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
    free(request->ids.ids);
    free(request->stop_ids.ids);
    *request = (choir_inquiry){0};
}
