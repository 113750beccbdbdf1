/* SPDX-License-Identifier: Apache-2.0 */
/* The element types of GGUF tensors and the sizes of their blocks (docs/formats.md). */
#ifndef CHOIR_KERNELS_TYPES_H
#define CHOIR_KERNELS_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values are GGUF's ids. Ids that are not listed are refused by choir_type_find(). */
typedef enum choir_type {
    CHOIR_F32 = 0,
    CHOIR_F16 = 1,
    CHOIR_Q4_0 = 2,
    CHOIR_Q4_1 = 3,
    CHOIR_Q5_0 = 6,
    CHOIR_Q5_1 = 7,
    CHOIR_Q8_0 = 8,
    CHOIR_Q2_K = 10,
    CHOIR_Q3_K = 11,
    CHOIR_Q4_K = 12,
    CHOIR_Q5_K = 13,
    CHOIR_Q6_K = 14,
    CHOIR_IQ4_NL = 20,
    CHOIR_IQ4_XS = 23,
    CHOIR_BF16 = 30,
    CHOIR_MXFP4 = 39,
} choir_type;

/* Tables by choir_type have this many places. */
enum { CHOIR_TYPE_LIMIT = CHOIR_MXFP4 + 1 };

typedef struct choir_type_info {
    choir_type type;
    const char *name;   /* as users write it: "Q4_0" */
    int block_elements; /* 1, 32 or 256 */
    int block_bytes;
    bool is_quantized; /* takes quantized activations */
} choir_type_info;

/* Minima of 32 columns of a row, which are added to its values: 0, 1, or 2, one for each half. */
static inline int choir_type_minima(choir_type type)
{
    switch (type) {
    case CHOIR_Q4_1:
    case CHOIR_Q5_1:
    case CHOIR_Q4_K:
    case CHOIR_Q5_K:
        return 1;
    case CHOIR_Q2_K:
        return 2;
    default:
        return 0;
    }
}

/* NULL for an id that this build does not serve. */
const choir_type_info *choir_type_find(uint32_t id);
/* The info of a type that was found before; never NULL. */
const choir_type_info *choir_type_info_of(choir_type type);
/* Upper or lower case; NULL for an unknown name. */
const choir_type_info *choir_type_find_name(const char *name);
/* All types, `*count` of them, in ascending id. */
const choir_type_info *choir_type_all(int *count);

#endif
