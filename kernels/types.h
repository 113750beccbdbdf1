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
    CHOIR_Q8_0 = 8,
    CHOIR_Q4_K = 12,
    CHOIR_Q6_K = 14,
    CHOIR_BF16 = 30,
} choir_type;

typedef struct choir_type_info {
    choir_type type;
    const char *name;   /* as users write it: "Q4_0" */
    int block_elements; /* 1, 32 or 256 */
    int block_bytes;
    bool is_quantized; /* takes quantized activations */
} choir_type_info;

/* NULL for an id that this build does not serve. */
const choir_type_info *choir_type_find(uint32_t id);
/* The info of a type that was found before; never NULL. */
const choir_type_info *choir_type_info_of(choir_type type);
/* Upper or lower case; NULL for an unknown name. */
const choir_type_info *choir_type_find_name(const char *name);
/* All types, `*count` of them, in ascending id. */
const choir_type_info *choir_type_all(int *count);

#endif
