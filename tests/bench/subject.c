/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/subject.h"

#include "common/mem.h"
#include "common/philox.h"

#include <stdlib.h>
#include <string.h>

void choir_subject_clear(choir_subject *subject)
{
    if (subject->data)
        subject->clear(subject);
    subject->data = NULL;
}

choir_status choir_subject_file_rows(choir_type type, int64_t rows, int64_t cols, uint8_t **result)
{
    const choir_type_info *info = choir_type_info_of(type);
    *result = NULL;
    if (cols % info->block_elements != 0)
        return choir_fail(CHOIR_EUSAGE, "%lld columns are no multiple of %s's blocks of %d",
                          (long long)cols, info->name, info->block_elements);
    const choir_recipe recipe = {.type = type};
    const choir_writer_tensor tensor = {
        .n_dims = 2, .dims = {(uint64_t)cols, (uint64_t)rows}, .type = (uint32_t)type};
    const size_t bytes = (size_t)(rows * (cols / info->block_elements)) * (size_t)info->block_bytes;
    choir_status status = choir_alloc(bytes, 1, (void **)result);
    if (status == CHOIR_OK)
        choir_recipe_fill(&recipe, &tensor, 0, 0, *result, bytes);
    return status;
}

choir_status choir_subject_floats(int64_t n, float **result)
{
    choir_status status = choir_alloc_aligned((size_t)n, sizeof **result, (void **)result);
    for (int64_t i = 0; status == CHOIR_OK && i < n; i++) {
        uint32_t words[4];
        choir_philox((uint32_t[2]){0, 0}, (uint32_t[4]){(uint32_t)i, 0, 0, 0}, words);
        (*result)[i] = (float)(int32_t)words[0] * 0x1p-31f;
    }
    return status;
}

int64_t choir_subject_copies(const choir_subject_options *options, size_t bytes)
{
    const int64_t copies = choir_ceil_div((int64_t)options->pool_bytes, (int64_t)bytes);
    return copies < 2 ? 2 : copies;
}
