/* SPDX-License-Identifier: Apache-2.0 */
/* Where things stand in a packed group (the picture is in pack.h). Private to kernels/. */
#ifndef CHOIR_KERNELS_LAYOUT_H
#define CHOIR_KERNELS_LAYOUT_H

#include "kernels/pack.h"

#include <assert.h>

/* Bytes of the scales that a packed block begins with; its quants stand behind them. */
static inline int64_t choir_packed_scales_bytes(choir_type type)
{
    switch (type) {
    case CHOIR_F32:
    case CHOIR_F16:
    case CHOIR_BF16:
        return 0;
    case CHOIR_IQ4_XS:
    case CHOIR_MXFP4:
        return 16;
    case CHOIR_Q3_K:
        return 16 * 2 * 6 / 8;
    case CHOIR_Q4_1:
    case CHOIR_Q5_1:
        return 16 * 4;
    default:
        return 16 * 2;
    }
}

/* Bits of one quant or element. */
static inline int choir_packed_bits(choir_type type)
{
    switch (type) {
    case CHOIR_F32:
        return 32;
    case CHOIR_F16:
    case CHOIR_BF16:
        return 16;
    case CHOIR_Q8_0:
        return 8;
    case CHOIR_Q6_K:
        return 6;
    case CHOIR_Q5_0:
    case CHOIR_Q5_1:
    case CHOIR_Q5_K:
        return 5;
    case CHOIR_Q4_0:
    case CHOIR_Q4_1:
    case CHOIR_Q4_K:
    case CHOIR_IQ4_NL:
    case CHOIR_IQ4_XS:
    case CHOIR_MXFP4:
        return 4;
    case CHOIR_Q3_K:
        return 3;
    case CHOIR_Q2_K:
        return 2;
    }
    assert(!"a type of choir_type");
    return 0;
}

/* Bytes of one packed block of 16 rows x 32 columns, without what stands once per super-block. */
static inline int64_t choir_packed_block_bytes(choir_type type)
{
    return choir_packed_scales_bytes(type) + 16 * 32 / 8 * choir_packed_bits(type);
}

/* Bytes of the header that stands before the first block of each super-block of a slice. */
static inline int64_t choir_packed_header_bytes(choir_type type)
{
    switch (type) {
    case CHOIR_Q2_K:
    case CHOIR_Q4_K:
    case CHOIR_Q5_K:
        return 16 * 4;
    case CHOIR_Q3_K:
    case CHOIR_Q6_K:
    case CHOIR_IQ4_XS:
        return 16 * 2;
    default:
        return 0;
    }
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
