/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_tests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sizes of a test: far above what a benchmark asks for, far below what could overflow. */
enum { TOKENS_MAX = 1 << 24, BATCH_MAX = 4096 };

void choir_bench_word_write(const choir_bench_word *word, char text[CHOIR_BENCH_WORD_BYTES])
{
    size_t used = (size_t)snprintf(text, CHOIR_BENCH_WORD_BYTES, "%s%lld",
                                   word->is_prefill ? "pp" : "tg", (long long)word->n_tokens);
    if (word->batch != 1)
        used += (size_t)snprintf(text + used, CHOIR_BENCH_WORD_BYTES - used, "x%lld",
                                 (long long)word->batch);
    if (word->depth != 0)
        snprintf(text + used, CHOIR_BENCH_WORD_BYTES - used, "@%lld", (long long)word->depth);
}

static bool read_count(const char **text, int64_t min, int64_t max, int64_t *value)
{
    char *end;
    if (**text < '0' || **text > '9')
        return false;
    errno = 0;
    *value = strtoll(*text, &end, 10);
    *text = end;
    return errno == 0 && *value >= min && *value <= max;
}

static bool read_word(const char *text, choir_bench_word *word)
{
    word->is_prefill = strncmp(text, "pp", 2) == 0;
    word->batch = 1;
    word->depth = 0;
    if (!word->is_prefill && strncmp(text, "tg", 2) != 0)
        return false;
    text += 2;
    if (!read_count(&text, 1, TOKENS_MAX, &word->n_tokens))
        return false;
    if (*text == 'x' && (text++, !read_count(&text, 1, BATCH_MAX, &word->batch)))
        return false;
    if (*text == '@' && (text++, !read_count(&text, 0, TOKENS_MAX, &word->depth)))
        return false;
    return *text == '\0' && !(word->is_prefill && word->batch > 1);
}

choir_status choir_bench_words_parse(const char *text, choir_bench_word *words, int *n_words)
{
    *n_words = 0;
    for (;;) {
        char word[CHOIR_BENCH_WORD_BYTES];
        const size_t length = strcspn(text, ",");
        if (*n_words == CHOIR_BENCH_TESTS_MAX)
            return choir_fail(CHOIR_EUSAGE, "more than %d tests", CHOIR_BENCH_TESTS_MAX);
        snprintf(word, sizeof word, "%.*s", (int)(length < sizeof word ? length : sizeof word),
                 text);
        if (length >= sizeof word || !read_word(word, &words[*n_words]))
            return choir_fail(CHOIR_EUSAGE,
                              "%.40s is no test of a benchmark; pp512, tg128, tg128x8@1024 are",
                              word);
        ++*n_words;
        if (text[length] == '\0')
            return CHOIR_OK;
        text += length + 1;
    }
}
