/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/request_check.h"

#include "common/mem.h"
#include "coordinator/scheduler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    STOP_STRINGS_MAX = 16,
    STOP_STRING_BYTES_MAX = 256,
    STOP_TOKENS_MAX = 128,
    BAD_WORDS_MAX = CHOIR_MAX_BAD_WORDS / 2, /* each in two forms, of at most a token a byte */
    LOGPROBS_MAX = 64,
    CACHE_SALT_BYTES_MAX = 256,
};

_Static_assert(BAD_WORDS_MAX * 2 * STOP_STRING_BYTES_MAX <= CHOIR_MAX_BAD_WORD_TOKENS,
               "what is checked here is not refused by the engine");

/* Sampling parameters that a request left out. */
static const Choir__Client__SamplingParams no_params = CHOIR__CLIENT__SAMPLING_PARAMS__INIT;

static choir_error_kind refuse(choir_error_kind kind, const char *field, const char **param)
{
    *param = field;
    return kind;
}

choir_error_kind choir_request_check_model(const char *name, const choir_request_limits *limits,
                                           const char **param)
{
    if (name[0] && strcmp(name, limits->model) != 0)
        return refuse(CHOIR_ERROR_MODEL, "model", param);
    return CHOIR_ERROR_NONE;
}

choir_error_kind choir_request_check_token_ids(const int32_t *ids, size_t n_ids, int32_t n_vocab,
                                               const char **param)
{
    for (size_t i = 0; i < n_ids; i++)
        if (ids[i] < 0 || ids[i] >= n_vocab)
            return refuse(CHOIR_ERROR_TOKEN_ID, "token_ids", param);
    return CHOIR_ERROR_NONE;
}

static choir_error_kind check_id(const char *request_id, const char **param)
{
    const size_t length = strlen(request_id);
    if (length < 1 || length > CHOIR_REQUEST_ID_BYTES_MAX)
        return refuse(CHOIR_ERROR_REQUEST_ID, "request_id", param);
    return CHOIR_ERROR_NONE;
}

static choir_error_kind check_tokens(const Choir__Client__TokenIds *tokens,
                                     const choir_request_limits *limits, const char **param)
{
    if (tokens->n_ids == 0)
        return refuse(CHOIR_ERROR_INPUT_EMPTY, "token_ids", param);
    return choir_request_check_token_ids(tokens->ids, tokens->n_ids, limits->n_vocab, param);
}

static choir_error_kind check_bytes(const char *text, const char *field, const char **param)
{
    if (strlen(text) > CHOIR_INPUT_BYTES_MAX)
        return refuse(CHOIR_ERROR_INPUT_BYTES, field, param);
    return CHOIR_ERROR_NONE;
}

static choir_error_kind check_input(const Choir__Client__Generate *generate,
                                    const choir_request_limits *limits, const char **param)
{
    switch (generate->input_case) {
    case CHOIR__CLIENT__GENERATE__INPUT_TOKEN_IDS:
        return check_tokens(generate->token_ids, limits, param);
    case CHOIR__CLIENT__GENERATE__INPUT_TEXT:
        return check_bytes(generate->text, "text", param);
    case CHOIR__CLIENT__GENERATE__INPUT_CHAT:
        if (!limits->has_template)
            return refuse(CHOIR_ERROR_NO_TEMPLATE, "chat", param);
        return check_bytes(generate->chat->messages_json, "messages_json", param);
    default:
        return refuse(CHOIR_ERROR_INPUT, "input", param);
    }
}

/* NaN is in no range. */
static bool is_in(double value, double low, double high)
{
    return value >= low && value <= high;
}

static choir_error_kind check_numbers(const Choir__Client__SamplingParams *params,
                                      const char **param)
{
    if (params->temperature_presence_case && params->temperature != 0 &&
        !is_in(params->temperature, 0.01F, 100))
        return refuse(CHOIR_ERROR_TEMPERATURE, "temperature", param);
    if (params->top_k_presence_case && (params->top_k < 0 || params->top_k > INT32_MAX))
        return refuse(CHOIR_ERROR_TOP_K, "top_k", param);
    if (params->top_p_presence_case && !(params->top_p > 0 && params->top_p <= 1))
        return refuse(CHOIR_ERROR_TOP_P, "top_p", param);
    if (params->min_p_presence_case && !is_in(params->min_p, 0, 1))
        return refuse(CHOIR_ERROR_MIN_P, "min_p", param);
    if (params->typical_p_presence_case && !(params->typical_p > 0 && params->typical_p <= 1))
        return refuse(CHOIR_ERROR_TYPICAL_P, "typical_p", param);
    if (params->repetition_penalty_presence_case &&
        !(params->repetition_penalty > 0 && params->repetition_penalty <= 100))
        return refuse(CHOIR_ERROR_REPETITION_PENALTY, "repetition_penalty", param);
    if (params->presence_penalty_presence_case && !is_in(params->presence_penalty, -2, 2))
        return refuse(CHOIR_ERROR_PENALTY, "presence_penalty", param);
    if (params->frequency_penalty_presence_case && !is_in(params->frequency_penalty, -2, 2))
        return refuse(CHOIR_ERROR_PENALTY, "frequency_penalty", param);
    if (params->max_tokens_presence_case &&
        (params->max_tokens < 1 || params->max_tokens > INT32_MAX))
        return refuse(CHOIR_ERROR_MAX_TOKENS, "max_tokens", param);
    if (params->min_tokens < 0 ||
        params->min_tokens > (params->max_tokens_presence_case ? params->max_tokens : INT32_MAX))
        return refuse(CHOIR_ERROR_MIN_TOKENS, "min_tokens", param);
    if (params->truncate_prompt_tokens_presence_case &&
        (params->truncate_prompt_tokens < 1 || params->truncate_prompt_tokens > INT32_MAX))
        return refuse(CHOIR_ERROR_TRUNCATE, "truncate_prompt_tokens", param);
    if (params->n < 0 || params->n > CHOIR_CHOICES_MAX)
        return refuse(CHOIR_ERROR_N, "n", param);
    return CHOIR_ERROR_NONE;
}

static choir_error_kind check_stops(const Choir__Client__SamplingParams *params, int32_t n_vocab,
                                    const char **param)
{
    if (params->n_stop > STOP_STRINGS_MAX)
        return refuse(CHOIR_ERROR_STOP, "stop", param);
    for (size_t i = 0; i < params->n_stop; i++)
        if (!params->stop[i][0] || strlen(params->stop[i]) > STOP_STRING_BYTES_MAX)
            return refuse(CHOIR_ERROR_STOP, "stop", param);
    if (params->n_stop_token_ids > STOP_TOKENS_MAX)
        return refuse(CHOIR_ERROR_STOP_TOKEN_IDS, "stop_token_ids", param);
    for (size_t i = 0; i < params->n_stop_token_ids; i++)
        if (params->stop_token_ids[i] < 0 || params->stop_token_ids[i] >= n_vocab)
            return refuse(CHOIR_ERROR_STOP_TOKEN_IDS, "stop_token_ids", param);
    return CHOIR_ERROR_NONE;
}

static int by_token(const void *a, const void *b)
{
    const Choir__Client__LogitBias *const *x = a, *const *y = b;
    return ((*x)->token_id > (*y)->token_id) - ((*x)->token_id < (*y)->token_id);
}

/* Sorts them, so that each token's stands beside its like. */
static bool is_logit_bias(const Choir__Client__SamplingParams *params, int32_t n_vocab)
{
    const size_t n = params->n_logit_bias;
    if (n > CHOIR_MAX_LOGIT_BIAS)
        return false;
    if (n > 0)
        qsort(params->logit_bias, n, sizeof(void *), by_token);
    for (size_t i = 0; i < n; i++) {
        const Choir__Client__LogitBias *entry = params->logit_bias[i];
        if (entry->token_id < 0 || entry->token_id >= n_vocab || !is_in(entry->bias, -100, 100) ||
            (i > 0 && params->logit_bias[i - 1]->token_id == entry->token_id))
            return false;
    }
    return true;
}

static choir_error_kind check_rules(const Choir__Client__SamplingParams *params, int32_t n_vocab,
                                    const char **param)
{
    if (params->n_bad_words > BAD_WORDS_MAX)
        return refuse(CHOIR_ERROR_BAD_WORDS, "bad_words", param);
    for (size_t i = 0; i < params->n_bad_words; i++)
        if (!params->bad_words[i][0] || strlen(params->bad_words[i]) > STOP_STRING_BYTES_MAX)
            return refuse(CHOIR_ERROR_BAD_WORDS, "bad_words", param);
    if (params->n_allowed_token_ids > CHOIR_MAX_ALLOWED)
        return refuse(CHOIR_ERROR_ALLOWED_TOKEN_IDS, "allowed_token_ids", param);
    for (size_t i = 0; i < params->n_allowed_token_ids; i++)
        if (params->allowed_token_ids[i] < 0 || params->allowed_token_ids[i] >= n_vocab)
            return refuse(CHOIR_ERROR_ALLOWED_TOKEN_IDS, "allowed_token_ids", param);
    if (!is_logit_bias(params, n_vocab))
        return refuse(CHOIR_ERROR_LOGIT_BIAS, "logit_bias", param);
    return CHOIR_ERROR_NONE;
}

static choir_error_kind check_turn(int32_t priority, uint64_t timeout_ms, const char *cache_salt,
                                   const char **param)
{
    if (priority < -CHOIR_PRIORITY_MAX || priority > CHOIR_PRIORITY_MAX)
        return refuse(CHOIR_ERROR_PRIORITY, "priority", param);
    if (timeout_ms > CHOIR_TIMEOUT_MAX_US / 1000)
        return refuse(CHOIR_ERROR_TIMEOUT_MS, "timeout_ms", param);
    if (strlen(cache_salt) > CACHE_SALT_BYTES_MAX)
        return refuse(CHOIR_ERROR_CACHE_SALT, "cache_salt", param);
    return CHOIR_ERROR_NONE;
}

static choir_error_kind check_output(const Choir__Client__OutputOptions *output, const char **param)
{
    if (output->logprobs_presence_case && (output->logprobs < 0 || output->logprobs > LOGPROBS_MAX))
        return refuse(CHOIR_ERROR_LOGPROBS, "logprobs", param);
    if (output->prompt_logprobs_presence_case &&
        (output->prompt_logprobs < 0 || output->prompt_logprobs > LOGPROBS_MAX))
        return refuse(CHOIR_ERROR_LOGPROBS, "prompt_logprobs", param);
    return CHOIR_ERROR_NONE;
}

choir_error_kind choir_request_check_generate(const Choir__Client__Generate *generate,
                                              const choir_request_limits *limits,
                                              const char **param)
{
    const Choir__Client__SamplingParams *params =
        generate->sampling ? generate->sampling : &no_params;
    choir_error_kind kind = check_id(generate->request_id, param);
    if (kind == CHOIR_ERROR_NONE)
        kind = choir_request_check_model(generate->model, limits, param);
    if (kind == CHOIR_ERROR_NONE)
        kind = check_numbers(params, param);
    if (kind == CHOIR_ERROR_NONE)
        kind = check_stops(params, limits->n_vocab, param);
    if (kind == CHOIR_ERROR_NONE)
        kind = check_rules(params, limits->n_vocab, param);
    if (kind == CHOIR_ERROR_NONE)
        kind = check_turn(generate->priority, generate->timeout_ms, generate->cache_salt, param);
    if (kind == CHOIR_ERROR_NONE && generate->output)
        kind = check_output(generate->output, param);
    return kind == CHOIR_ERROR_NONE ? check_input(generate, limits, param) : kind;
}

/* Of a Score or Embed; both NULL: nothing was given. */
static choir_error_kind check_plain(const char *text, const Choir__Client__TokenIds *tokens,
                                    const choir_request_limits *limits, const char **param)
{
    if (text)
        return check_bytes(text, "text", param);
    return tokens ? check_tokens(tokens, limits, param) : refuse(CHOIR_ERROR_INPUT, "input", param);
}

choir_error_kind choir_request_check_score(const Choir__Client__Score *score,
                                           const choir_request_limits *limits, const char **param)
{
    choir_error_kind kind = check_id(score->request_id, param);
    if (kind == CHOIR_ERROR_NONE)
        kind = choir_request_check_model(score->model, limits, param);
    if (kind == CHOIR_ERROR_NONE && (score->top < 0 || score->top > LOGPROBS_MAX))
        return refuse(CHOIR_ERROR_LOGPROBS, "top", param);
    if (kind != CHOIR_ERROR_NONE)
        return kind;
    return check_plain(score->input_case == CHOIR__CLIENT__SCORE__INPUT_TEXT ? score->text : NULL,
                       score->input_case == CHOIR__CLIENT__SCORE__INPUT_TOKEN_IDS ? score->token_ids
                                                                                  : NULL,
                       limits, param);
}

choir_error_kind choir_request_check_embed(const Choir__Client__Embed *embed,
                                           const choir_request_limits *limits, const char **param)
{
    choir_error_kind kind = check_id(embed->request_id, param);
    if (kind == CHOIR_ERROR_NONE)
        kind = choir_request_check_model(embed->model, limits, param);
    if (kind == CHOIR_ERROR_NONE && (unsigned)embed->pooling > CHOIR__CLIENT__POOLING__POOLING_MEAN)
        return refuse(CHOIR_ERROR_POOLING, "pooling", param);
    if (kind == CHOIR_ERROR_NONE)
        kind = check_turn(embed->priority, embed->timeout_ms, embed->cache_salt, param);
    if (kind != CHOIR_ERROR_NONE)
        return kind;
    return check_plain(embed->input_case == CHOIR__CLIENT__EMBED__INPUT_TEXT ? embed->text : NULL,
                       embed->input_case == CHOIR__CLIENT__EMBED__INPUT_TOKEN_IDS ? embed->token_ids
                                                                                  : NULL,
                       limits, param);
}

choir_error_kind choir_request_check_detokenize(const Choir__Client__Detokenize *what,
                                                const choir_tokenizer *tokenizer, int32_t n_vocab,
                                                const char **param)
{
    size_t total = 0;
    const choir_error_kind kind =
        choir_request_check_token_ids(what->token_ids, what->n_token_ids, n_vocab, param);
    for (size_t i = 0; kind == CHOIR_ERROR_NONE && i < what->n_token_ids; i++) {
        const char *bytes;
        size_t length;
        choir_tokenizer_piece(tokenizer, what->token_ids[i], &bytes, &length);
        total += length;
        if (total > CHOIR_INPUT_BYTES_MAX)
            return refuse(CHOIR_ERROR_INPUT_BYTES, "token_ids", param);
    }
    return kind;
}

choir_error_kind choir_request_check_length(size_t n_prompt, size_t n_new, uint32_t max_model_len)
{
    if (n_prompt == 0)
        return CHOIR_ERROR_INPUT_EMPTY;
    if (n_prompt > max_model_len || n_new > max_model_len - n_prompt)
        return CHOIR_ERROR_INPUT_TOKENS;
    return CHOIR_ERROR_NONE;
}

size_t choir_request_max_bytes(const choir_request_limits *limits, uint32_t max_model_len)
{
    size_t bytes;
    return choir_size_mul(limits->longest_piece, max_model_len, &bytes) ? bytes : SIZE_MAX;
}

void choir_request_sampling(const Choir__Client__SamplingParams *params, uint64_t seed,
                            Choir__Engine__Sampling *sampling)
{
    params = params ? params : &no_params;
    *sampling = (Choir__Engine__Sampling)CHOIR__ENGINE__SAMPLING__INIT;
    sampling->temperature = params->temperature_presence_case ? params->temperature : 1;
    sampling->top_k = params->top_k_presence_case ? (uint32_t)params->top_k : 0;
    sampling->top_p = params->top_p_presence_case ? params->top_p : 1;
    sampling->min_p = params->min_p_presence_case ? params->min_p : 0;
    sampling->typical_p = params->typical_p_presence_case ? params->typical_p : 1;
    sampling->repetition_penalty =
        params->repetition_penalty_presence_case ? params->repetition_penalty : 1;
    sampling->frequency_penalty =
        params->frequency_penalty_presence_case ? params->frequency_penalty : 0;
    sampling->presence_penalty =
        params->presence_penalty_presence_case ? params->presence_penalty : 0;
    sampling->seed = params->seed_presence_case ? params->seed : seed;
}

size_t choir_request_n_choices(const Choir__Client__Generate *generate)
{
    return generate->sampling && generate->sampling->n > 1 ? (size_t)generate->sampling->n : 1;
}

size_t choir_request_kept_entries(const Choir__Client__Generate *generate, size_t n_prompt,
                                  size_t max_tokens, const char **param)
{
    const Choir__Client__OutputOptions *output = generate->output;
    const bool is_whole = generate->stream_presence_case && !generate->stream;
    size_t n_of_prompt = 0, n_of_answers = 0;
    if (output && output->prompt_logprobs_presence_case)
        n_of_prompt = n_prompt * (1 + (size_t)output->prompt_logprobs);
    if (output && output->logprobs_presence_case && is_whole)
        n_of_answers =
            choir_request_n_choices(generate) * max_tokens * (1 + (size_t)output->logprobs);
    *param = n_of_prompt > n_of_answers ? "prompt_logprobs" : "logprobs";
    return n_of_prompt + n_of_answers;
}

uint32_t choir_request_max_tokens(const Choir__Client__SamplingParams *params, uint32_t room)
{
    if (!params || !params->max_tokens_presence_case || params->max_tokens > room)
        return room;
    return (uint32_t)params->max_tokens;
}
