/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel checks share: seeded data, guarded buffers, the walk over the levels. */
#ifndef CHOIR_TESTS_KERNELS_CHECK_H
#define CHOIR_TESTS_KERNELS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

/* splitmix64. */
static inline uint64_t check_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* In [-1, 1). */
static inline float check_random_float(uint64_t *state)
{
    return (float)(int32_t)(check_random(state) >> 32) * 0x1p-31f;
}

static inline void check_random_floats(float *x, int64_t n, float scale, uint64_t *state)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = check_random_float(state) * scale;
}

/* Values that break things: zeros, subnormals, the largest, infinities, NaN. */
static inline float check_odd_float(uint64_t *state)
{
    static const float odd[] = {0.0f,      -0.0f,    1.0f,   0x1p-149f,       -0x1p-126f,
                                0x1p-100f, 0x1p127f, -1e38f, 0x1.fffffep127f, INFINITY,
                                -INFINITY, NAN};
    return odd[check_random(state) % (sizeof odd / sizeof *odd)];
}

/* A float buffer with 64 guard floats behind it, at an address that is 4 mod 64. */
typedef struct check_buffer {
    void *memory;
    float *data;
    int64_t n;
} check_buffer;

static inline check_buffer check_buffer_make(int64_t n)
{
    check_buffer b = {.n = n};
    b.memory = aligned_alloc(64, (size_t)((n + 65) * 4 + 63) / 64 * 64);
    assert_non_null(b.memory);
    b.data = (float *)b.memory + 1;
    memset(b.memory, 0xa5, (size_t)(n + 65) * 4);
    return b;
}

/* Fails if a guard byte changed; then frees. */
static inline void check_buffer_free(check_buffer *b)
{
    const uint8_t *end = (const uint8_t *)(b->data + b->n);
    for (int i = 0; i < 64 * 4; i++)
        assert_int_equal(end[i], 0xa5);
    for (int i = 0; i < 4; i++)
        assert_int_equal(((const uint8_t *)b->memory)[i], 0xa5);
    free(b->memory);
}

/* Bit for bit; any NaN equals any other, since only that it is one is promised. */
static inline void check_same_bits(const float *got, const float *want, int64_t n, const char *what)
{
    for (int64_t i = 0; i < n; i++) {
        bool both_nan = got[i] != got[i] && want[i] != want[i];
        if (!both_nan && memcmp(&got[i], &want[i], sizeof *got) != 0)
            fail_msg("%s: element %lld is %a, not %a", what, (long long)i, (double)got[i],
                     (double)want[i]);
    }
}

/*
 * The group's set-up: says which level is the highest, and fails unless it is the one that
 * $CHOIR_CHECK_LEVEL asks for, where it asks.
 */
static inline int check_reached(void **state)
{
    (void)state;
    const char *wanted = getenv("CHOIR_CHECK_LEVEL");
    const char *best = choir_level_name(choir_level_best());
    printf("highest level: %s\n", best);
    if (wanted == NULL || strcmp(wanted, best) == 0)
        return 0;
    printf("level %s was asked for and not reached\n", wanted);
    return -1;
}

static inline const choir_kernels *check_ref(void)
{
    const choir_kernels *ref;
    assert_int_equal(choir_kernels_get(CHOIR_LEVEL_REF, &ref), CHOIR_OK);
    return ref;
}

/* The table of a level; NULL where the CPU lacks it. */
static inline const choir_kernels *check_find(int level)
{
    const choir_kernels *kernels;
    if (choir_kernels_get((choir_level)level, &kernels) != CHOIR_OK)
        return NULL;
    assert_int_equal(kernels->level, level);
    return kernels;
}

/* The same, with a line that says which it was. */
static inline const choir_kernels *check_level(int level)
{
    const choir_kernels *kernels = check_find(level);
    printf("level %s%s\n", choir_level_name((choir_level)level),
           kernels == NULL ? ": not checked, this CPU lacks it" : "");
    return kernels;
}

#endif
