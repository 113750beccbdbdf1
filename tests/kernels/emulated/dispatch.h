/* SPDX-License-Identifier: Apache-2.0 */
/* In front of kernels.c: its question for AVX-512 is answered with yes, for simde_avx512.h. */
#ifndef CHOIR_TESTS_KERNELS_EMULATED_DISPATCH_H
#define CHOIR_TESTS_KERNELS_EMULATED_DISPATCH_H

#include <string.h>

#define __builtin_cpu_supports(feature)                                                            \
    (strncmp(feature, "avx512", 6) == 0 || __builtin_cpu_supports(feature))

#endif
