/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/types.h"

#include <assert.h>
#include <strings.h>

/* Ascending id. Block sizes as in docs/formats.md. */
static const choir_type_info types[] = {
    {CHOIR_F32, "F32", 1, 4, false},        {CHOIR_F16, "F16", 1, 2, false},
    {CHOIR_Q4_0, "Q4_0", 32, 18, true},     {CHOIR_Q4_1, "Q4_1", 32, 20, true},
    {CHOIR_Q5_0, "Q5_0", 32, 22, true},     {CHOIR_Q5_1, "Q5_1", 32, 24, true},
    {CHOIR_Q8_0, "Q8_0", 32, 34, true},     {CHOIR_Q2_K, "Q2_K", 256, 84, true},
    {CHOIR_Q3_K, "Q3_K", 256, 110, true},   {CHOIR_Q4_K, "Q4_K", 256, 144, true},
    {CHOIR_Q5_K, "Q5_K", 256, 176, true},   {CHOIR_Q6_K, "Q6_K", 256, 210, true},
    {CHOIR_IQ4_NL, "IQ4_NL", 32, 18, true}, {CHOIR_IQ4_XS, "IQ4_XS", 256, 136, true},
    {CHOIR_BF16, "BF16", 1, 2, false},      {CHOIR_MXFP4, "MXFP4", 32, 17, true},
};
static const int n_types = sizeof types / sizeof types[0];

const choir_type_info *choir_type_find(uint32_t id)
{
    for (int i = 0; i < n_types; i++)
        if ((uint32_t)types[i].type == id)
            return &types[i];
    return NULL;
}

const choir_type_info *choir_type_info_of(choir_type type)
{
    const choir_type_info *info = choir_type_find((uint32_t)type);
    assert(info);
    return info;
}

const choir_type_info *choir_type_find_name(const char *name)
{
    for (int i = 0; i < n_types; i++)
        if (strcasecmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

const choir_type_info *choir_type_all(int *count)
{
    *count = n_types;
    return types;
}
