/* SPDX-License-Identifier: Apache-2.0 */
/* Time that only goes forward: nothing in Choir depends on the wall clock. */
#ifndef CHOIR_COMMON_CLOCK_H
#define CHOIR_COMMON_CLOCK_H

#include <stdint.h>

/* Microseconds since an arbitrary start (CLOCK_MONOTONIC). */
int64_t choir_clock_us(void);
/* The same in nanoseconds, from the same start. */
int64_t choir_clock_ns(void);
void choir_clock_sleep_us(int64_t us);

#endif
