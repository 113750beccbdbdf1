/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bad word of several tokens is kept away by banning its last one where the answer ends with all
 * those before it. The prompt does not count: whoever quotes a bad word there may still get an
 * answer that begins with its end.
 */
#include "coordinator/token_rules.h"

#include "common/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct choir_token_rules {
    choir_logit_bias *bias;
    int32_t *allowed; /* ascending, each once */
    int32_t *bad_ids, *bad_lengths;
    int32_t *banned; /* [n_stop_ids + n_bad_words] */
    size_t n_bias, n_allowed, n_bad_words;
    int64_t n_stop_ids, min_tokens;
};

static bool is_token(int32_t id, int32_t vocab_size)
{
    return id >= 0 && id < vocab_size;
}

static choir_status check_bias(const choir_token_wishes *wishes, int32_t vocab_size)
{
    if (wishes->n_bias > CHOIR_MAX_LOGIT_BIAS)
        return choir_fail(CHOIR_EINVALID, "logit_bias: %zu entries; give at most %d",
                          wishes->n_bias, CHOIR_MAX_LOGIT_BIAS);
    for (size_t i = 0; i < wishes->n_bias; i++) {
        const choir_logit_bias *entry = &wishes->bias[i];
        if (!is_token(entry->token_id, vocab_size) || !(fabsf(entry->bias) <= 100))
            return choir_fail(CHOIR_EINVALID,
                              "logit_bias: %g for token %d; give -100 to 100 for tokens 0 to %d",
                              (double)entry->bias, entry->token_id, vocab_size - 1);
        for (size_t k = 0; k < i; k++)
            if (wishes->bias[k].token_id == entry->token_id)
                return choir_fail(CHOIR_EINVALID, "logit_bias: token %d stands twice",
                                  entry->token_id);
    }
    return CHOIR_OK;
}

static choir_status check_bad_words(const choir_token_wishes *wishes, int32_t vocab_size,
                                    size_t *n_ids)
{
    *n_ids = 0;
    if (wishes->n_bad_words > CHOIR_MAX_BAD_WORDS)
        return choir_fail(CHOIR_EINVALID, "bad_words: %zu of them; give at most %d",
                          wishes->n_bad_words, CHOIR_MAX_BAD_WORDS);
    for (size_t i = 0; i < wishes->n_bad_words; i++) {
        const int32_t length = wishes->bad_lengths[i];
        if (length < 1 || length > CHOIR_MAX_BAD_WORD_TOKENS - (int64_t)*n_ids)
            return choir_fail(CHOIR_EINVALID, "bad_words: empty, or of over %d tokens in all",
                              CHOIR_MAX_BAD_WORD_TOKENS);
        *n_ids += (size_t)length;
    }
    for (size_t i = 0; i < *n_ids; i++)
        if (!is_token(wishes->bad_ids[i], vocab_size))
            return choir_fail(CHOIR_EINVALID, "bad_words: token %d; they are 0 to %d",
                              wishes->bad_ids[i], vocab_size - 1);
    return CHOIR_OK;
}

static choir_status check_wishes(const choir_token_wishes *wishes, int32_t vocab_size,
                                 size_t *n_bad_ids)
{
    choir_status status = check_bias(wishes, vocab_size);
    if (!status)
        status = check_bad_words(wishes, vocab_size, n_bad_ids);
    if (!status && wishes->n_allowed > CHOIR_MAX_ALLOWED)
        status = choir_fail(CHOIR_EINVALID, "allowed_token_ids: %zu of them; give at most %d",
                            wishes->n_allowed, CHOIR_MAX_ALLOWED);
    for (size_t i = 0; !status && i < wishes->n_allowed; i++)
        if (!is_token(wishes->allowed[i], vocab_size))
            status = choir_fail(CHOIR_EINVALID, "allowed_token_ids: token %d; they are 0 to %d",
                                wishes->allowed[i], vocab_size - 1);
    if (!status && wishes->min_tokens < 0)
        status = choir_fail(CHOIR_EINVALID, "min_tokens is %lld; give 0 or more",
                            (long long)wishes->min_tokens);
    return status;
}

static choir_status copy(const void *from, size_t n, size_t size, void **to)
{
    const choir_status status = choir_alloc(n, size, to);
    if (!status && n)
        memcpy(*to, from, n * size);
    return status;
}

static int by_id(const void *a, const void *b)
{
    const int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    return (i > j) - (i < j);
}

static size_t sort_ids(int32_t *ids, size_t n)
{
    size_t n_kept = 0;
    if (n)
        qsort(ids, n, sizeof *ids, by_id);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || ids[i] != ids[n_kept - 1])
            ids[n_kept++] = ids[i];
    return n_kept;
}

choir_status choir_token_rules_create(const choir_token_wishes *wishes, int32_t vocab_size,
                                      int64_t n_stop_ids, choir_token_rules **rules)
{
    choir_token_rules *made = NULL;
    size_t n_bad_ids;
    *rules = NULL;
    choir_status status = check_wishes(wishes, vocab_size, &n_bad_ids);
    if (status ||
        (!wishes->n_bias && !wishes->n_allowed && !wishes->n_bad_words && !wishes->min_tokens))
        return status;
    status = choir_alloc(1, sizeof *made, (void **)&made);
    if (status)
        return status;
    status = copy(wishes->bias, wishes->n_bias, sizeof *made->bias, (void **)&made->bias);
    if (!status)
        status = copy(wishes->allowed, wishes->n_allowed, sizeof *made->allowed,
                      (void **)&made->allowed);
    if (!status)
        status = copy(wishes->bad_ids, n_bad_ids, sizeof *made->bad_ids, (void **)&made->bad_ids);
    if (!status)
        status = copy(wishes->bad_lengths, wishes->n_bad_words, sizeof *made->bad_lengths,
                      (void **)&made->bad_lengths);
    if (!status)
        status = choir_alloc((size_t)n_stop_ids + wishes->n_bad_words, sizeof *made->banned,
                             (void **)&made->banned);
    if (status) {
        choir_token_rules_destroy(&made);
        return status;
    }
    made->n_bias = wishes->n_bias;
    made->n_allowed = sort_ids(made->allowed, wishes->n_allowed);
    made->n_bad_words = wishes->n_bad_words;
    made->n_stop_ids = n_stop_ids;
    made->min_tokens = wishes->min_tokens;
    *rules = made;
    return CHOIR_OK;
}

void choir_token_rules_destroy(choir_token_rules **rules)
{
    choir_token_rules *old = *rules;
    if (!old)
        return;
    free(old->bias);
    free(old->allowed);
    free(old->bad_ids);
    free(old->bad_lengths);
    free(old->banned);
    free(old);
    *rules = NULL;
}

/* The tokens that may not come now; returns how many. */
static int32_t ban(choir_token_rules *rules, const int32_t *answer, int64_t n_answer,
                   const int32_t *stop_ids)
{
    int32_t n = 0;
    for (int64_t i = 0; n_answer < rules->min_tokens && i < rules->n_stop_ids; i++)
        rules->banned[n++] = stop_ids[i];
    const int32_t *word = rules->bad_ids;
    for (size_t i = 0; i < rules->n_bad_words; word += rules->bad_lengths[i++]) {
        const int32_t n_before = rules->bad_lengths[i] - 1;
        if (n_before <= n_answer && (n_before == 0 || memcmp(answer + n_answer - n_before, word,
                                                             (size_t)n_before * sizeof *word) == 0))
            rules->banned[n++] = word[n_before];
    }
    return n;
}

void choir_token_rules_lists(choir_token_rules *rules, const int32_t *tokens, int64_t n_tokens,
                             int64_t n_prompt, const int32_t *stop_ids, choir_sampling_lists *lists)
{
    *lists = (choir_sampling_lists){
        .history = tokens, .n_history = (int32_t)n_tokens, .n_prompt = (int32_t)n_prompt};
    if (!rules)
        return;
    lists->bias = rules->bias;
    lists->n_bias = (int32_t)rules->n_bias;
    lists->allowed = rules->allowed;
    lists->n_allowed = (int32_t)rules->n_allowed;
    lists->banned = rules->banned;
    lists->n_banned = ban(rules, tokens + n_prompt, n_tokens - n_prompt, stop_ids);
}
