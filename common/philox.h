/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011):
 * a random number that is a function of its counter, the only source of randomness in Choir.
 */
#ifndef CHOIR_COMMON_PHILOX_H
#define CHOIR_COMMON_PHILOX_H

#include <stdint.h>

void choir_philox(const uint32_t key[2], const uint32_t counter[4], uint32_t words[4]);

#endif
