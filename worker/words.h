/* SPDX-License-Identifier: Apache-2.0 */
/* Floats among the words of 4 bytes that records are made of. */
#ifndef CHOIR_WORKER_WORDS_H
#define CHOIR_WORKER_WORDS_H

#include <stdint.h>
#include <string.h>

static inline void choir_word_put_float(uint32_t *word, float value)
{
    memcpy(word, &value, sizeof value);
}

static inline float choir_word_get_float(uint32_t word)
{
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

#endif
