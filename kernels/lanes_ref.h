/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sixteen lanes in plain C: the vocabulary in which rows.inc and attention.inc are written.
 *
 * lanes_ref.h, lanes_avx2.h and lanes_avx512.h define the same functions; a level's .c includes one
 * of them and then the .inc, so every level runs the same operations in the same order, and only
 * the width of the instructions differs. Each function rounds as one operation of IEEE-754 does.
 * Pointers may be unaligned. This one has the comments.
 */
#ifndef CHOIR_KERNELS_LANES_REF_H
#define CHOIR_KERNELS_LANES_REF_H

#include "kernels/exp.h"

#include <math.h>

/* Vectors of lanes that a tile keeps as accumulators; the register file sets it. */
enum { LANES_TILE = 4 };

typedef struct lanes {
    float v[16];
} lanes;

static inline lanes lanes_set(float value)
{
    lanes r;
    for (int i = 0; i < 16; i++)
        r.v[i] = value;
    return r;
}

static inline lanes lanes_load(const float *from)
{
    lanes r;
    memcpy(r.v, from, sizeof r.v);
    return r;
}

static inline void lanes_store(float *to, lanes a)
{
    memcpy(to, a.v, sizeof a.v);
}

/* The first n of 16 elements, n in 1..16; the other lanes are `rest`. */
static inline lanes lanes_load_part(const float *from, int64_t n, float rest)
{
    lanes r = lanes_set(rest);
    memcpy(r.v, from, (size_t)n * sizeof *from);
    return r;
}

static inline void lanes_store_part(float *to, lanes a, int64_t n)
{
    memcpy(to, a.v, (size_t)n * sizeof *to);
}

/* 16 halves, exact. */
static inline lanes lanes_load_half(const void *from)
{
    lanes r;
    for (int i = 0; i < 16; i++)
        r.v[i] = choir_half_widen(choir_half_load((const uint8_t *)from + 2 * i));
    return r;
}

/* 16 int8, exact. */
static inline lanes lanes_load_int8(const int8_t *from)
{
    lanes r;
    for (int i = 0; i < 16; i++)
        r.v[i] = from[i];
    return r;
}

static inline lanes lanes_add(lanes a, lanes b)
{
    for (int i = 0; i < 16; i++)
        a.v[i] += b.v[i];
    return a;
}

static inline lanes lanes_sub(lanes a, lanes b)
{
    for (int i = 0; i < 16; i++)
        a.v[i] -= b.v[i];
    return a;
}

static inline lanes lanes_mul(lanes a, lanes b)
{
    for (int i = 0; i < 16; i++)
        a.v[i] *= b.v[i];
    return a;
}

static inline lanes lanes_div(lanes a, lanes b)
{
    for (int i = 0; i < 16; i++)
        a.v[i] /= b.v[i];
    return a;
}

/* a * b + c, rounded once. */
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    for (int i = 0; i < 16; i++)
        c.v[i] = fmaf(a.v[i], b.v[i], c.v[i]);
    return c;
}

/* a > b ? a : b, so b where one is NaN or both are zero. */
static inline lanes lanes_max(lanes a, lanes b)
{
    for (int i = 0; i < 16; i++)
        b.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
    return b;
}

/* a < b ? a : b. */
static inline lanes lanes_min(lanes a, lanes b)
{
    for (int i = 0; i < 16; i++)
        b.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
    return b;
}

/* a > b ? yes : no. */
static inline lanes lanes_select(lanes a, lanes b, lanes yes, lanes no)
{
    for (int i = 0; i < 16; i++)
        no.v[i] = a.v[i] > b.v[i] ? yes.v[i] : no.v[i];
    return no;
}

/* The first n lanes of a, `rest` in the others; any n. */
static inline lanes lanes_keep(lanes a, int64_t n, float rest)
{
    for (int i = 0; i < 16; i++)
        a.v[i] = i < n ? a.v[i] : rest;
    return a;
}

/* To the nearest integer, ties to even. */
static inline lanes lanes_rint(lanes a)
{
    for (int i = 0; i < 16; i++)
        a.v[i] = rintf(a.v[i]);
    return a;
}

/* (p * 2^a) * 2^(n - a), a = n >> 1, for integers n in -252..254. */
static inline lanes lanes_scale(lanes p, lanes n)
{
    for (int i = 0; i < 16; i++) {
        int32_t whole = (int32_t)n.v[i];
        int32_t a = whole >> 1;
        p.v[i] = p.v[i] * choir_exp_power(a) * choir_exp_power(whole - a);
    }
    return p;
}

/* Sum in the order of docs/numerics.md: 8+8, 4+4, 2+2, 1+1. */
static inline float lanes_sum(lanes a)
{
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            a.v[i] += a.v[i + half];
    return a.v[0];
}

/* The largest lane. */
static inline float lanes_largest(lanes a)
{
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            a.v[i] = a.v[i] > a.v[i + half] ? a.v[i] : a.v[i + half];
    return a.v[0];
}

#endif
