/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds stop strings in a text that comes in pieces, and holds back what may turn out to begin one,
 * so that nothing of a stop string is ever shown. What is found does not depend on how the text is
 * cut into pieces: the stop string that is complete first, and of several complete at the same byte
 * the one that began first.
 */
#ifndef CHOIR_COORDINATOR_STOP_STRINGS_H
#define CHOIR_COORDINATOR_STOP_STRINGS_H

#include "common/status.h"

#include <stddef.h>

typedef struct choir_stop_strings choir_stop_strings;

/* strings[n]: NUL-terminated, not empty, copied. n may be 0. */
choir_status choir_stop_strings_create(const char *const *strings, size_t n,
                                       choir_stop_strings **result) CHOIR_MUST_CHECK;
void choir_stop_strings_destroy(choir_stop_strings **stops);

/*
 * Takes a piece of text. (*shown)[0..*n_shown) is what may be shown now, valid until the next call.
 * *matched is the stop string that was found, else NULL; after one was found nothing more may be
 * added.
 */
choir_status choir_stop_strings_add(choir_stop_strings *stops, const char *text, size_t length,
                                    const char **shown, size_t *n_shown,
                                    const char **matched) CHOIR_MUST_CHECK;
/* The text ends: gives what was held back. */
void choir_stop_strings_flush(choir_stop_strings *stops, const char **shown, size_t *n_shown);

#endif
