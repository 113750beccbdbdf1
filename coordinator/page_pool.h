/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages of keys and values as the lead counts them. All ranks number them alike, so one pool
 * stands for theirs. A page is free, in use by some sequences, or kept for later:
 *
 *     free ──take──▶ in use ──last user drops it──▶ kept (has a name) ──find, use──▶ in use
 *      ▲                │                             │
 *      └───no name──────┘◀─── taken, the one that was dropped longest ago first ───┘
 *
 * A name is a SHA-256 over all that a full page's content depends on: the model, who may see it,
 * and the chain of tokens up to its end (docs/design: content-addressed pages). Whoever needs a
 * page of that name uses it instead of computing it again.
 *
 * Ranks take steps in order, so a page may be given away while a step in flight still reads it: the
 * step that writes it comes later on every rank. Pure; one thread.
 */
#ifndef CHOIR_COORDINATOR_PAGE_POOL_H
#define CHOIR_COORDINATOR_PAGE_POOL_H

#include "common/hash.h"
#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct choir_page_name {
    uint8_t bytes[CHOIR_SHA256_BYTES];
} choir_page_name;

/*
 * What chains begin with: `salt` says who may share (equal salts share, others never do), and
 * `secret` [n_secret] may narrow it further.
 */
choir_page_name choir_page_name_root(uint64_t salt, const void *secret, size_t n_secret);
/* The name of the page that holds ids [n] behind the page (or root) `before`. */
choir_page_name choir_page_name_next(const choir_page_name *before, const int32_t *ids, int64_t n);
bool choir_page_name_equal(const choir_page_name *a, const choir_page_name *b);

typedef struct choir_page_pool choir_page_pool;

/* n_pages > 0. */
choir_status choir_page_pool_create(int32_t n_pages, choir_page_pool **pool) CHOIR_MUST_CHECK;
void choir_page_pool_destroy(choir_page_pool **pool);

/* Pages that take() can give: free and kept ones. */
int32_t choir_page_pool_available(const choir_page_pool *pool);
/* Pages in use, and kept ones. */
int32_t choir_page_pool_used(const choir_page_pool *pool);
int32_t choir_page_pool_kept(const choir_page_pool *pool);

/* A page without a name, with one user; -1 where all are in use. */
int32_t choir_page_pool_take(choir_page_pool *pool);
/* The page of that name, or -1. It has no further user yet. */
int32_t choir_page_pool_find(const choir_page_pool *pool, const choir_page_name *name);
bool choir_page_pool_is_used(const choir_page_pool *pool, int32_t page);
/* One more user of a page that was just found, or is in use. */
void choir_page_pool_use(choir_page_pool *pool, int32_t page);
/* One user less; is_kept: the last user leaves the page to whoever needs its name. */
void choir_page_pool_drop(choir_page_pool *pool, int32_t page, bool is_kept);
/* Names a page in use that has none. Where another page has that name already, nothing happens. */
void choir_page_pool_name(choir_page_pool *pool, int32_t page, const choir_page_name *name);

#endif
