/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash index from byte strings to numbers, for names and pieces that come from files.
 *
 * The hash is SipHash under a random key of each index, so that no file can be made to collide.
 * Entries are never removed. Look-ups from any number of threads; inserting from one.
 */
#ifndef CHOIR_COMMON_INDEX_H
#define CHOIR_COMMON_INDEX_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct choir_index choir_index;

/* An index for at most `capacity` strings; takes 48 to 96 bytes for each at once. */
choir_status choir_index_create(size_t capacity, choir_index **result) CHOIR_MUST_CHECK;
void choir_index_destroy(choir_index **index);

/*
 * Adds text[0..length) with value >= 0, borrowing the bytes as long as the index lives. Gives -1,
 * or the value it already has: then nothing is changed. Adding more than `capacity` is a bug
 * (asserted).
 */
int32_t choir_index_insert(choir_index *index, const char *text, size_t length, int32_t value);
/* The value of text[0..length), -1 if it was not inserted. */
int32_t choir_index_find(const choir_index *index, const char *text, size_t length);

#endif
