/* SPDX-License-Identifier: Apache-2.0 */
/* The pages of keys and values: kernels.h has the layout. Storing is the same on every level. */
#include "kernels/half.h"
#include "kernels/kernels.h"

#include <assert.h>
#include <strings.h>

static const char *const names[] = {
    [CHOIR_CACHE_F16] = "f16", [CHOIR_CACHE_F32] = "f32", [CHOIR_CACHE_Q8_0] = "q8_0"};

const char *choir_cache_type_name(choir_cache_type type)
{
    return names[type];
}

choir_status choir_cache_type_parse(const char *name, choir_cache_type *type)
{
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
        if (strcasecmp(name, names[i]) == 0) {
            *type = (choir_cache_type)i;
            return CHOIR_OK;
        }
    return choir_fail(CHOIR_EUSAGE, "unknown cache type \"%.32s\": f16, f32 or q8_0", name);
}

size_t choir_kv_page_bytes(choir_cache_type type, int64_t S)
{
    size_t elements = (size_t)S * CHOIR_PAGE_POSITIONS;
    if (type == CHOIR_CACHE_F32)
        return elements * sizeof(float);
    if (type == CHOIR_CACHE_F16)
        return elements * sizeof(uint16_t);
    return elements + elements / 32 * sizeof(uint16_t);
}

/*
 * Stores a row of S elements: element c at c * stride + at, and for q8_0 the half d of block b
 * behind all quants at b * block_stride + block_at.
 */
static void store(void *page, choir_cache_type type, int64_t S, const float *row, int64_t stride,
                  int64_t at, int64_t block_stride, int64_t block_at)
{
    if (type == CHOIR_CACHE_F32) {
        for (int64_t c = 0; c < S; c++)
            ((float *)page)[c * stride + at] = row[c];
    } else if (type == CHOIR_CACHE_F16) {
        for (int64_t c = 0; c < S; c++)
            ((uint16_t *)page)[c * stride + at] = choir_half_narrow(row[c]);
    } else {
        assert(S % 32 == 0);
        const choir_kernels *ref;
        choir_status status = choir_kernels_get(CHOIR_LEVEL_REF, &ref);
        assert(status == CHOIR_OK);
        (void)status;
        int8_t *quants = page;
        uint16_t *scales = (uint16_t *)(quants + S * CHOIR_PAGE_POSITIONS);
        for (int64_t b = 0; b < S / 32; b++) {
            choir_q8 block;
            ref->quantize(&block, 1, row + 32 * b, 32);
            for (int64_t i = 0; i < 32; i++)
                quants[(32 * b + i) * stride + at] = block.q[i];
            scales[b * block_stride + block_at] = choir_half_narrow(block.d);
        }
    }
}

void choir_kv_store_key(void *page, choir_cache_type type, int64_t S, int position_in_page,
                        const float *key)
{
    assert(position_in_page >= 0 && position_in_page < CHOIR_PAGE_POSITIONS);
    store(page, type, S, key, CHOIR_PAGE_POSITIONS, position_in_page, CHOIR_PAGE_POSITIONS,
          position_in_page);
}

void choir_kv_store_value(void *page, choir_cache_type type, int64_t S, int position_in_page,
                          const float *value)
{
    assert(position_in_page >= 0 && position_in_page < CHOIR_PAGE_POSITIONS);
    store(page, type, S, value, 1, position_in_page * S, 1, position_in_page * (S / 32));
}
