/* SPDX-License-Identifier: Apache-2.0 */
/* Where things stand in a packed group (the picture is in pack.h). Private to kernels/. */
#ifndef CHOIR_KERNELS_LAYOUT_H
#define CHOIR_KERNELS_LAYOUT_H

#include "kernels/pack.h"

#include <assert.h>

/* Bytes of one packed block of 16 rows x 32 columns, without what stands once per super-block. */
static inline int64_t choir_packed_block_bytes(choir_type type)
{
    switch (type) {
    case CHOIR_F32:
        return 16 * 32 * 4;
    case CHOIR_F16:
    case CHOIR_BF16:
        return 16 * 32 * 2;
    case CHOIR_Q4_0:
        return 16 * 2 + 16 * 32 / 2;
    case CHOIR_Q4_1:
        return 16 * 4 + 16 * 32 / 2;
    case CHOIR_Q8_0:
        return 16 * 2 + 16 * 32;
    case CHOIR_Q4_K:
        return 16 * 2 + 16 * 32 / 2;
    case CHOIR_Q6_K:
        return 16 * 2 + 16 * 32 / 2 + 16 * 32 / 4;
    }
    assert(!"a type of choir_type");
    return 0;
}

/* Bytes of the header that stands before the first block of each super-block of a slice. */
static inline int64_t choir_packed_header_bytes(choir_type type)
{
    return type == CHOIR_Q4_K ? 16 * 4 : type == CHOIR_Q6_K ? 16 * 2 : 0;
}

/* Where block `block` of the slice begins in its group. */
static inline int64_t choir_packed_block_offset(const choir_matrix *matrix, choir_type type,
                                                int64_t block)
{
    int64_t header_bytes = choir_packed_header_bytes(type);
    int64_t offset = block * choir_packed_block_bytes(type);
    if (header_bytes > 0) {
        int64_t first = matrix->first_col / 32 % 8;
        offset += ((first + block) / 8 + 1) * header_bytes;
    }
    return offset;
}

/* Where the header of block `block`'s super-block begins in its group. */
static inline int64_t choir_packed_header_offset(const choir_matrix *matrix, choir_type type,
                                                 int64_t block)
{
    int64_t first = matrix->first_col / 32 % 8;
    int64_t super = (first + block) / 8;
    int64_t first_block = super == 0 ? 0 : super * 8 - first;
    return super * choir_packed_header_bytes(type) + first_block * choir_packed_block_bytes(type);
}

#endif
