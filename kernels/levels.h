/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of one operation and level offer the dispatch in kernels.c. Private to kernels/.
 */
#ifndef CHOIR_KERNELS_LEVELS_H
#define CHOIR_KERNELS_LEVELS_H

#include "kernels/kernels.h"

/* Each writes its operations into the table, over those of the level below. */
void choir_rows_fill_ref(choir_kernels *kernels);
void choir_rows_fill_avx2(choir_kernels *kernels);
void choir_rows_fill_avx512(choir_kernels *kernels);
void choir_rows_fill_neon(choir_kernels *kernels);
void choir_attention_fill_ref(choir_kernels *kernels);
void choir_attention_fill_avx2(choir_kernels *kernels);
void choir_attention_fill_avx512(choir_kernels *kernels);
void choir_attention_fill_neon(choir_kernels *kernels);
void choir_linear_fill_ref(choir_kernels *kernels);
void choir_linear_fill_avx2(choir_kernels *kernels);
void choir_linear_q15_fill_avx2(choir_kernels *kernels);
void choir_linear_fill_avx512(choir_kernels *kernels);
void choir_linear_q15_fill_avx512(choir_kernels *kernels);
void choir_linear_fill_neon(choir_kernels *kernels);
void choir_linear_q15_fill_neon(choir_kernels *kernels);

/* Partial sums that wait at once in the tree of CHOIR_MAX_LEAVES leaves, at most: 1 + log2(64). */
enum { CHOIR_TREE_DEPTH = 7 };

/* For functions that take the type or tile size as a constant and exist to be specialised by it. */
#define CHOIR_INLINE static inline __attribute__((always_inline))
/*
 * Unrolls a loop whose trip count is a constant of at most 16. clang unrolls none that has fewer
 * trips than it is asked for.
 */
#ifdef __clang__
#define CHOIR_UNROLL _Pragma("clang loop unroll(full)")
#else
#define CHOIR_UNROLL _Pragma("GCC unroll 16")
#endif
/* For what is called from many such functions and large. */
#define CHOIR_NOINLINE __attribute__((noinline))

#endif
