/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checked sizes and memory.
 *
 * Every number from a file, a frame or a peer goes through these helpers before it sizes anything
 * (robustness rule 1). The choir_size_* functions return false where the result does not fit and
 * leave *result alone, so a wrapped value is never seen.
 */
#ifndef CHOIR_COMMON_MEM_H
#define CHOIR_COMMON_MEM_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool choir_size_add(size_t a, size_t b, size_t *result) CHOIR_MUST_CHECK;
bool choir_size_mul(size_t a, size_t b, size_t *result) CHOIR_MUST_CHECK;
/* `value` rounded up to a multiple of `unit`, unit > 0. */
bool choir_size_round_up(size_t value, size_t unit, size_t *result) CHOIR_MUST_CHECK;
/* The same on signed element counts; all of them refuse negative arguments and results. */
bool choir_count_mul(int64_t a, int64_t b, int64_t *result) CHOIR_MUST_CHECK;
bool choir_count_add(int64_t a, int64_t b, int64_t *result) CHOIR_MUST_CHECK;

/* ceil(a / b) for a >= 0, b > 0: cannot wrap. For our own numbers. */
static inline int64_t choir_ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

/*
 * Zeroed memory for `count` things of `size` bytes; free() releases it. ENOMEM also where the
 * product wraps. A count of 0 gives a valid pointer. *result is NULL on failure.
 */
choir_status choir_alloc(size_t count, size_t size, void **result) CHOIR_MUST_CHECK;
/* The same, aligned to 64 bytes (cache line, AVX-512 vector); free() releases it. */
choir_status choir_alloc_aligned(size_t count, size_t size, void **result) CHOIR_MUST_CHECK;
/* Grows (or makes) an array of `size`-byte things so that it holds `count`; doubles, never shrinks.
 */
choir_status choir_grow(void **array, size_t *capacity, size_t count, size_t size) CHOIR_MUST_CHECK;
/* A copy of `length` bytes with a NUL behind them; free() releases it. */
choir_status choir_copy_string(const char *text, size_t length, char **result) CHOIR_MUST_CHECK;

/*
 * A bytes region of zeroed pages, reserved now and given memory by the system as they are touched:
 * for weights and KV pages, which the thread that uses them touches first. bytes > 0. From 2 MiB on
 * the region begins at a multiple of that and the system is asked for huge pages, since a pass over
 * weights looks up each page once: with small ones it walks the page table 512 times as often.
 */
choir_status choir_pages_map(size_t bytes, void **result) CHOIR_MUST_CHECK;
void choir_pages_unmap(void **region, size_t bytes);

#endif
