/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/request_rules.h"

#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

/* End tokens of the model and stop tokens of the request. */
static choir_status fill_stop_tokens(choir_request_rules *rules,
                                     const Choir__Client__SamplingParams *params,
                                     const choir_tokenizer *tokenizer,
                                     Choir__Engine__Submit *submit)
{
    size_t n_ends;
    const int32_t *ends = choir_tokenizer_end_ids(tokenizer, &n_ends);
    const size_t n_own = params ? params->n_stop_token_ids : 0;
    if (params && params->ignore_eos)
        n_ends = 0;
    const choir_status status =
        choir_alloc(n_ends + n_own, sizeof *rules->stop_ids, (void **)&rules->stop_ids);
    if (status != CHOIR_OK)
        return status;
    if (n_ends > 0)
        memcpy(rules->stop_ids, ends, n_ends * sizeof *ends);
    if (n_own > 0)
        memcpy(rules->stop_ids + n_ends, params->stop_token_ids, n_own * sizeof *ends);
    submit->stop_token_ids = rules->stop_ids;
    submit->n_stop_token_ids = n_ends + n_own;
    return CHOIR_OK;
}

static choir_status fill_bias(choir_request_rules *rules,
                              const Choir__Client__SamplingParams *params,
                              Choir__Engine__Submit *submit)
{
    const size_t n = params->n_logit_bias;
    choir_status status = choir_alloc(n, sizeof *rules->bias, (void **)&rules->bias);
    if (status == CHOIR_OK)
        status = choir_alloc(n, sizeof *rules->bias_list, (void **)&rules->bias_list);
    for (size_t i = 0; status == CHOIR_OK && i < n; i++) {
        choir__engine__logit_bias__init(&rules->bias[i]);
        rules->bias[i].token_id = params->logit_bias[i]->token_id;
        rules->bias[i].bias = params->logit_bias[i]->bias;
        rules->bias_list[i] = &rules->bias[i];
    }
    submit->logit_bias = rules->bias_list;
    submit->n_logit_bias = n;
    return status;
}

static choir_status append_word(choir_request_rules *rules, const int32_t *ids, size_t n)
{
    const size_t wanted = rules->n_bad_ids + n;
    choir_status status = choir_grow((void **)&rules->bad_ids, &rules->bad_ids_capacity, wanted,
                                     sizeof *rules->bad_ids);
    if (status == CHOIR_OK)
        status = choir_grow((void **)&rules->bad_lengths, &rules->bad_lengths_capacity,
                            rules->n_bad_words + 1, sizeof *rules->bad_lengths);
    if (status != CHOIR_OK)
        return status;
    memcpy(rules->bad_ids + rules->n_bad_ids, ids, n * sizeof *ids);
    rules->n_bad_ids = wanted;
    rules->bad_lengths[rules->n_bad_words++] = (int32_t)n;
    return CHOIR_OK;
}

/* The word as it begins a text, or with a space in front of it. */
static choir_status add_bad_word(choir_request_rules *rules, const char *word, bool has_space,
                                 const choir_tokenizer *tokenizer)
{
    const char *const bare = word + strspn(word, " ");
    const size_t length = strlen(bare) + has_space;
    char *text = NULL;
    int32_t *ids = NULL;
    size_t n;
    if (!*bare && !has_space)
        return CHOIR_OK; /* spaces alone: the other form stands for them */
    choir_status status = choir_alloc(length + 1, 1, (void **)&text);
    if (status == CHOIR_OK) {
        text[0] = ' ';
        memcpy(text + has_space, bare, strlen(bare));
        status = choir_tokenizer_encode(tokenizer, text, length, false, &ids, &n);
    }
    if (status == CHOIR_OK && n > 0)
        status = append_word(rules, ids, n);
    free(text);
    free(ids);
    return status;
}

choir_status choir_request_rules_fill(choir_request_rules *rules,
                                      const Choir__Client__SamplingParams *params,
                                      const choir_tokenizer *tokenizer,
                                      Choir__Engine__Submit *submit)
{
    choir_status status = fill_stop_tokens(rules, params, tokenizer, submit);
    if (status != CHOIR_OK || !params)
        return status;
    status = fill_bias(rules, params, submit);
    for (size_t i = 0; status == CHOIR_OK && i < 2 * params->n_bad_words; i++)
        status = add_bad_word(rules, params->bad_words[i / 2], i % 2, tokenizer);
    submit->allowed_token_ids = params->allowed_token_ids;
    submit->n_allowed_token_ids = params->n_allowed_token_ids;
    submit->bad_word_ids = rules->bad_ids;
    submit->n_bad_word_ids = rules->n_bad_ids;
    submit->bad_word_lengths = rules->bad_lengths;
    submit->n_bad_word_lengths = rules->n_bad_words;
    submit->min_tokens = (uint32_t)params->min_tokens;
    return status;
}

void choir_request_rules_release(choir_request_rules *rules)
{
    free(rules->stop_ids);
    free(rules->bias);
    free(rules->bias_list);
    free(rules->bad_ids);
    free(rules->bad_lengths);
    *rules = (choir_request_rules){0};
}
