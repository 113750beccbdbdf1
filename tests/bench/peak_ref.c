/* SPDX-License-Identifier: Apache-2.0 */
/* `ref` is written to be read, so that it has no peak; its loads serve machines without a level. */
#include "tests/bench/peak.h"

#include <string.h>

static void read_bytes(const uint8_t *region, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        for (size_t k = 0; k < 64; k += 8) {
            uint64_t word;
            memcpy(&word, region + i + k, sizeof word);
            __asm__ volatile("" : : "r"(word));
        }
}

const choir_peak_loops choir_peak_ref = {.read = read_bytes};
