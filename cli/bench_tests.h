/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tests of `choir bench` as words: "pp512" is the prefill of 512 tokens, "tg128" the decoding
 * of 128; "tg128x8@1024" decodes 8 sequences together after 1,024 positions each. `choir bench`
 * hands them to its ranks so.
 */
#ifndef CHOIR_CLI_BENCH_TESTS_H
#define CHOIR_CLI_BENCH_TESTS_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHOIR_BENCH_TESTS_MAX = 64,
    CHOIR_BENCH_WORD_BYTES = 64,
    CHOIR_BENCH_SAMPLES = 5, /* of a test, if not said otherwise */
    CHOIR_BENCH_SAMPLES_MAX = 1000,
};

typedef struct choir_bench_word {
    bool is_prefill;
    int64_t n_tokens, batch; /* >= 1 */
    int64_t depth;           /* >= 0 */
} choir_bench_word;

/* "pp512", "tg128x8@1024"; a batch of 1 and a depth of 0 are left out. */
void choir_bench_word_write(const choir_bench_word *word, char text[CHOIR_BENCH_WORD_BYTES]);
/* Words joined by commas; at most CHOIR_BENCH_TESTS_MAX. EUSAGE names the first bad one. */
choir_status choir_bench_words_parse(const char *text, choir_bench_word *words,
                                     int *n_words) CHOIR_MUST_CHECK;

#endif
