/* SPDX-License-Identifier: Apache-2.0 */
#include "common/philox.h"

/*
 * Ten rounds; each multiplies two words by constants and crosses the halves of the products,
 * between rounds the key grows by the golden ratio and by sqrt(3) - 1.
 */
void choir_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t words[4])
{
    uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)x0 * 0xD2511F53u;
        const uint64_t p1 = (uint64_t)x2 * 0xCD9E8D57u;
        x0 = (uint32_t)(p1 >> 32) ^ x1 ^ k0;
        x1 = (uint32_t)p1;
        x2 = (uint32_t)(p0 >> 32) ^ x3 ^ k1;
        x3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    words[0] = x0;
    words[1] = x1;
    words[2] = x2;
    words[3] = x3;
}
