/* SPDX-License-Identifier: Apache-2.0 */
#include "common/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

bool choir_size_add(size_t a, size_t b, size_t *result)
{
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *result = sum;
    return true;
}

bool choir_size_mul(size_t a, size_t b, size_t *result)
{
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *result = product;
    return true;
}

bool choir_size_round_up(size_t value, size_t unit, size_t *result)
{
    const size_t rest = value % unit;
    return choir_size_add(value, rest ? unit - rest : 0, result);
}

bool choir_count_mul(int64_t a, int64_t b, int64_t *result)
{
    int64_t product;
    if (a < 0 || b < 0 || __builtin_mul_overflow(a, b, &product))
        return false;
    *result = product;
    return true;
}

bool choir_count_add(int64_t a, int64_t b, int64_t *result)
{
    int64_t sum;
    if (a < 0 || b < 0 || __builtin_add_overflow(a, b, &sum))
        return false;
    *result = sum;
    return true;
}

choir_status choir_alloc(size_t count, size_t size, void **result)
{
    *result = calloc(count ? count : 1, size ? size : 1);
    if (!*result)
        return choir_fail(CHOIR_ENOMEM, "out of memory: %zu x %zu bytes", count, size);
    return CHOIR_OK;
}

choir_status choir_alloc_aligned(size_t count, size_t size, void **result)
{
    size_t bytes;
    *result = NULL;
    if (!choir_size_mul(count, size, &bytes) || !choir_size_round_up(bytes ? bytes : 1, 64, &bytes))
        return choir_fail(CHOIR_ENOMEM, "out of memory: %zu x %zu bytes", count, size);
    *result = aligned_alloc(64, bytes);
    if (!*result)
        return choir_fail(CHOIR_ENOMEM, "out of memory: %zu bytes", bytes);
    memset(*result, 0, bytes);
    return CHOIR_OK;
}

choir_status choir_grow(void **array, size_t *capacity, size_t count, size_t size)
{
    if (count <= *capacity)
        return CHOIR_OK;
    size_t wanted = *capacity ? *capacity : 16;
    while (wanted < count)
        if (!choir_size_mul(wanted, 2, &wanted))
            return choir_fail(CHOIR_ENOMEM, "out of memory: %zu x %zu bytes", count, size);
    void *grown = reallocarray(*array, wanted, size);
    if (!grown)
        return choir_fail(CHOIR_ENOMEM, "out of memory: %zu x %zu bytes", wanted, size);
    *array = grown;
    *capacity = wanted;
    return CHOIR_OK;
}

choir_status choir_copy_string(const char *text, size_t length, char **result)
{
    size_t bytes;
    *result = NULL;
    if (!choir_size_add(length, 1, &bytes))
        return choir_fail(CHOIR_ENOMEM, "out of memory: %zu bytes", length);
    choir_status status = choir_alloc(bytes, 1, (void **)result);
    if (status == CHOIR_OK && length > 0)
        memcpy(*result, text, length);
    return status;
}

enum { HUGE_PAGE_BYTES = 2 << 20 };

static void *map(size_t bytes)
{
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                -1, 0);
}

/* Maps more than is needed and gives back what stands before and behind an aligned region. */
static void *map_huge(size_t bytes)
{
    size_t pages_bytes, all_bytes;
    if (!choir_size_round_up(bytes, (size_t)sysconf(_SC_PAGESIZE), &pages_bytes) ||
        !choir_size_add(pages_bytes, HUGE_PAGE_BYTES, &all_bytes))
        return MAP_FAILED;
    char *all = map(all_bytes);
    if (all == MAP_FAILED)
        return MAP_FAILED;
    const size_t before = (HUGE_PAGE_BYTES - (uintptr_t)all % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    if (before > 0)
        munmap(all, before);
    munmap(all + before + pages_bytes, HUGE_PAGE_BYTES - before);
    (void)madvise(all + before, pages_bytes, MADV_HUGEPAGE); /* a wish */
    return all + before;
}

choir_status choir_pages_map(size_t bytes, void **result)
{
    *result = NULL;
    void *region = bytes < HUGE_PAGE_BYTES ? map(bytes) : map_huge(bytes);
    if (region == MAP_FAILED)
        return choir_fail(CHOIR_ENOMEM, "out of memory: cannot map %zu bytes", bytes);
    *result = region;
    return CHOIR_OK;
}

void choir_pages_unmap(void **region, size_t bytes)
{
    if (*region)
        munmap(*region, bytes);
    *region = NULL;
}
