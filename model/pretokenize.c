/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One regular expression per rule, matched by PCRE2 at the end of the match before. Each expression
 * matches at least one character wherever it starts.
 *
 * Why it is linear: every loop over characters stands last in its alternative or is possessive
 * (`++`), so that nothing is tried twice, with two exceptions. `\s+(?!\S)` gives back one character
 * at most.
 * `\s*[\r\n]++` walks back over a run of white space that has no line end, and the match that
 * follows then takes all of that run but one character. The match limit stands guard.
 *
 * White space is written out as Unicode defines it: PCRE2's own \s also has U+180E, which the
 * tokenizers that these rules come from count as something else.
 */
#include "model/pretokenize.h"

#include "common/mem.h"
#include "common/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define SPACES                                                                                     \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"
#define SPACE "[" SPACES "]"
#define MARKS "[^" SPACES "\\p{L}\\p{N}]"

typedef struct rule {
    const char *name;
    const char *pattern;
    bool takes_whole;
    bool adds_bos;
} rule;

static const rule rules[] = {
    {"gpt-2",
     "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}++| ?\\p{N}++| ?" MARKS "++|" SPACE "+(?![^" SPACES
     "])|" SPACE "++",
     false, false},
    /*
     * gpt-2 after every \p{N} was cut out. In one expression: a number is one character, and what
     * stands in front of one ends as a text ends, so white space there stays together.
     */
    {"smollm",
     "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}++|\\p{N}| ?" MARKS "++|" SPACE "+(?![^" SPACES
     "\\p{N}])|" SPACE "++",
     false, false},
    {"llama-bpe",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}++|\\p{N}{1,3}+| ?" MARKS
     "++[\\r\\n]*+|" SPACE "*[\\r\\n]++|" SPACE "+(?![^" SPACES "])|" SPACE "++",
     true, true},
};

struct choir_pretokenizer {
    const rule *rule;
    pcre2_code *code;
};

static const rule *find_rule(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        if (strlen(rules[i].name) == length && memcmp(rules[i].name, name, length) == 0)
            return &rules[i];
    return NULL;
}

choir_status choir_pretokenizer_create(const char *name, size_t length, choir_pretokenizer **result)
{
    *result = NULL;
    const rule *found = find_rule(name, length);
    if (!found)
        return choir_fail(CHOIR_EUNSUPPORTED,
                          "tokenizer.ggml.pre is \"%.*s\"; this version knows smollm, gpt-2 and "
                          "llama-bpe",
                          (int)(length < 64 ? length : 64), name);
    choir_pretokenizer *made = NULL;
    choir_status status = choir_alloc(1, sizeof *made, (void **)&made);
    if (status != CHOIR_OK)
        return status;
    int error;
    PCRE2_SIZE offset;
    made->rule = found;
    made->code = pcre2_compile((PCRE2_SPTR)found->pattern, PCRE2_ZERO_TERMINATED,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &offset, NULL);
    if (!made->code) {
        choir_pretokenizer_destroy(&made);
        return choir_fail(CHOIR_EINTERNAL, "pre-tokenizer %s: PCRE2 error %d at %zu", found->name,
                          error, (size_t)offset);
    }
    /* Faster where the system lets programs make code; the same matches where it does not. */
    pcre2_jit_compile(made->code, PCRE2_JIT_COMPLETE);
    *result = made;
    return CHOIR_OK;
}

void choir_pretokenizer_destroy(choir_pretokenizer **pretokenizer)
{
    if (*pretokenizer)
        pcre2_code_free((*pretokenizer)->code);
    free(*pretokenizer);
    *pretokenizer = NULL;
}

bool choir_pretokenizer_takes_whole(const choir_pretokenizer *pretokenizer)
{
    return pretokenizer->rule->takes_whole;
}

bool choir_pretokenizer_adds_bos(const choir_pretokenizer *pretokenizer)
{
    return pretokenizer->rule->adds_bos;
}

/* Bytes of text[0..length) up to the first that is not UTF-8 (`valid`) or that is. */
static size_t run_length(const char *text, size_t length, bool valid)
{
    size_t n = 0;
    while (n < length) {
        const size_t bytes = choir_utf8_character(text + n, length - n);
        if ((bytes > 0) != valid)
            break;
        n += bytes > 0 ? bytes : 1;
    }
    return n;
}

static choir_status cut_valid(const choir_pretokenizer *pretokenizer, pcre2_match_data *match,
                              pcre2_match_context *limits, const char *text, size_t length,
                              choir_piece_fn take, void *context)
{
    for (size_t at = 0; at < length;) {
        const int groups = pcre2_match(pretokenizer->code, (PCRE2_SPTR)text, length, at,
                                       PCRE2_NO_UTF_CHECK, match, limits);
        const size_t end = groups > 0 ? pcre2_get_ovector_pointer(match)[1] : 0;
        if (end <= at)
            return choir_fail(groups == PCRE2_ERROR_NOMEMORY ? CHOIR_ENOMEM : CHOIR_EINTERNAL,
                              "pre-tokenizer %s: PCRE2 error %d at byte %zu of %zu",
                              pretokenizer->rule->name, groups, at, length);
        choir_status status = take(context, text + at, end - at);
        if (status != CHOIR_OK)
            return status;
        at = end;
    }
    return CHOIR_OK;
}

choir_status choir_pretokenize(const choir_pretokenizer *pretokenizer, const char *text,
                               size_t length, choir_piece_fn take, void *context)
{
    choir_status status = CHOIR_OK;
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    if (!match || !limits) {
        status = choir_fail(CHOIR_ENOMEM, "out of memory for the pre-tokenizer");
        goto cleanup;
    }
    /* One step a character given back, and a few for the alternatives. */
    pcre2_set_match_limit(limits,
                          length < UINT32_MAX / 4 ? (uint32_t)length * 2 + 1000 : UINT32_MAX);
    for (size_t at = 0; at < length && status == CHOIR_OK;) {
        const size_t valid = run_length(text + at, length - at, true);
        status = cut_valid(pretokenizer, match, limits, text + at, valid, take, context);
        at += valid;
        const size_t broken = run_length(text + at, length - at, false);
        if (status == CHOIR_OK && broken > 0)
            status = take(context, text + at, broken);
        at += broken;
    }
cleanup:
    pcre2_match_data_free(match);
    pcre2_match_context_free(limits);
    return status;
}
