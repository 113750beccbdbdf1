/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names are found through a table with open addressing: names are hashes, so their first bytes
 * spread evenly and nobody can choose them. It has at least two places for each page, and an entry
 * that goes pulls later ones of its run forward, so that runs stay short without tombstones.
 */
#include "coordinator/page_pool.h"

#include "common/mem.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef struct page {
    choir_page_name name;
    int32_t n_users;
    int32_t previous, next; /* among the kept, -1: none */
    bool has_name;
} page;

struct choir_page_pool {
    page *pages;     /* [n_pages] */
    int32_t *free;   /* [n_pages], n_free of them: a stack */
    int32_t *places; /* [n_places], pages by name, -1: empty */
    uint32_t n_places;
    int32_t n_pages, n_free, n_kept;
    int32_t first_kept, last_kept; /* dropped longest ago; last */
};

/* Fields of a name are tagged and have fixed sizes or a length, so that no two inputs look alike.
 */
choir_page_name choir_page_name_root(uint64_t salt, const void *secret, size_t n_secret)
{
    static const char tag[8] = "choir/kv";
    const uint64_t length = n_secret;
    choir_page_name name;
    choir_sha256 hash;
    choir_sha256_init(&hash);
    choir_sha256_update(&hash, tag, sizeof tag);
    choir_sha256_update(&hash, &salt, sizeof salt);
    choir_sha256_update(&hash, &length, sizeof length);
    if (n_secret)
        choir_sha256_update(&hash, secret, n_secret);
    choir_sha256_final(&hash, name.bytes);
    return name;
}

choir_page_name choir_page_name_next(const choir_page_name *before, const int32_t *ids, int64_t n)
{
    choir_page_name name;
    choir_sha256 hash;
    choir_sha256_init(&hash);
    choir_sha256_update(&hash, before->bytes, sizeof before->bytes);
    choir_sha256_update(&hash, &n, sizeof n);
    choir_sha256_update(&hash, ids, (size_t)n * sizeof *ids);
    choir_sha256_final(&hash, name.bytes);
    return name;
}

bool choir_page_name_equal(const choir_page_name *a, const choir_page_name *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

choir_status choir_page_pool_create(int32_t n_pages, choir_page_pool **pool)
{
    choir_page_pool *made = NULL;
    uint32_t n_places = 2;
    *pool = NULL;
    assert(n_pages > 0);
    while (n_places < 2 * (uint32_t)n_pages)
        n_places *= 2;
    choir_status status = choir_alloc(1, sizeof *made, (void **)&made);
    if (status)
        return status;
    status = choir_alloc((size_t)n_pages, sizeof *made->pages, (void **)&made->pages);
    if (!status)
        status = choir_alloc((size_t)n_pages, sizeof *made->free, (void **)&made->free);
    if (!status)
        status = choir_alloc(n_places, sizeof *made->places, (void **)&made->places);
    if (status) {
        choir_page_pool_destroy(&made);
        return status;
    }
    made->n_pages = n_pages;
    made->n_places = n_places;
    made->first_kept = made->last_kept = -1;
    memset(made->places, -1, n_places * sizeof *made->places);
    for (int32_t i = n_pages - 1; i >= 0; i--) /* the lowest number on top */
        made->free[made->n_free++] = i;
    *pool = made;
    return CHOIR_OK;
}

void choir_page_pool_destroy(choir_page_pool **pool)
{
    if (!*pool)
        return;
    free((*pool)->pages);
    free((*pool)->free);
    free((*pool)->places);
    free(*pool);
    *pool = NULL;
}

int32_t choir_page_pool_available(const choir_page_pool *pool)
{
    return pool->n_free + pool->n_kept;
}

int32_t choir_page_pool_used(const choir_page_pool *pool)
{
    return pool->n_pages - choir_page_pool_available(pool);
}

int32_t choir_page_pool_kept(const choir_page_pool *pool)
{
    return pool->n_kept;
}

static uint32_t home_of(const choir_page_pool *pool, const choir_page_name *name)
{
    uint32_t bits;
    memcpy(&bits, name->bytes, sizeof bits);
    return bits & (pool->n_places - 1);
}

/* Where the page of that name stands, or the empty place where it would. */
static uint32_t place_of(const choir_page_pool *pool, const choir_page_name *name)
{
    uint32_t at = home_of(pool, name);
    while (pool->places[at] >= 0 &&
           !choir_page_name_equal(&pool->pages[pool->places[at]].name, name))
        at = (at + 1) & (pool->n_places - 1);
    return at;
}

static void remove_name(choir_page_pool *pool, int32_t number)
{
    const uint32_t mask = pool->n_places - 1;
    uint32_t gap = place_of(pool, &pool->pages[number].name);
    assert(pool->places[gap] == number);
    pool->pages[number].has_name = false;
    for (uint32_t at = (gap + 1) & mask; pool->places[at] >= 0; at = (at + 1) & mask) {
        const uint32_t home = home_of(pool, &pool->pages[pool->places[at]].name);
        if (((at - home) & mask) < ((at - gap) & mask))
            continue; /* it begins behind the gap */
        pool->places[gap] = pool->places[at];
        gap = at;
    }
    pool->places[gap] = -1;
}

static void keep(choir_page_pool *pool, int32_t number)
{
    page *kept = &pool->pages[number];
    kept->previous = pool->last_kept;
    kept->next = -1;
    *(kept->previous >= 0 ? &pool->pages[kept->previous].next : &pool->first_kept) = number;
    pool->last_kept = number;
    pool->n_kept++;
}

static void unkeep(choir_page_pool *pool, int32_t number)
{
    const page *kept = &pool->pages[number];
    *(kept->previous >= 0 ? &pool->pages[kept->previous].next : &pool->first_kept) = kept->next;
    *(kept->next >= 0 ? &pool->pages[kept->next].previous : &pool->last_kept) = kept->previous;
    pool->n_kept--;
}

int32_t choir_page_pool_take(choir_page_pool *pool)
{
    int32_t number = pool->first_kept;
    if (pool->n_free > 0) {
        number = pool->free[--pool->n_free];
    } else if (number >= 0) {
        unkeep(pool, number);
        remove_name(pool, number);
    }
    if (number >= 0)
        pool->pages[number].n_users = 1;
    return number;
}

int32_t choir_page_pool_find(const choir_page_pool *pool, const choir_page_name *name)
{
    return pool->places[place_of(pool, name)];
}

bool choir_page_pool_is_used(const choir_page_pool *pool, int32_t number)
{
    return pool->pages[number].n_users > 0;
}

void choir_page_pool_use(choir_page_pool *pool, int32_t number)
{
    page *used = &pool->pages[number];
    assert(used->n_users > 0 || used->has_name);
    if (used->n_users++ == 0)
        unkeep(pool, number);
}

void choir_page_pool_drop(choir_page_pool *pool, int32_t number, bool is_kept)
{
    page *dropped = &pool->pages[number];
    assert(dropped->n_users > 0);
    if (--dropped->n_users > 0)
        return;
    if (dropped->has_name && is_kept) {
        keep(pool, number);
        return;
    }
    if (dropped->has_name)
        remove_name(pool, number);
    pool->free[pool->n_free++] = number;
}

void choir_page_pool_name(choir_page_pool *pool, int32_t number, const choir_page_name *name)
{
    page *named = &pool->pages[number];
    const uint32_t at = place_of(pool, name);
    assert(named->n_users > 0 && !named->has_name);
    if (pool->places[at] >= 0)
        return;
    named->name = *name;
    named->has_name = true;
    pool->places[at] = number;
}
