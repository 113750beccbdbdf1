/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What verbs write: results to standard output, remarks and progress to standard error. The print
 * functions are EIO where standard output is gone; after one failure nothing more is written.
 */
#ifndef CHOIR_CLI_PRINT_H
#define CHOIR_CLI_PRINT_H

#include "common/json.h"
#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes and flushes. */
choir_status choir_print_text(const char *text, size_t length) CHOIR_MUST_CHECK;
/* Into the buffer of standard output, which main flushes. */
choir_status choir_print(const char *format, ...) CHOIR_PRINTF(1, 2) CHOIR_MUST_CHECK;
/* One line, flushed; takes the value over. */
choir_status choir_print_json(choir_json *json) CHOIR_MUST_CHECK;

/* Writes a file of this one text and a line's end, over one that was there; EIO. */
choir_status choir_save_text(const char *path, const char *text) CHOIR_MUST_CHECK;
/* The same with a value, which is taken over. */
choir_status choir_save_json(const char *path, choir_json *json) CHOIR_MUST_CHECK;

/* A remark on standard error: dim on a terminal, unless NO_COLOR is set. */
void choir_remark(const char *format, ...) CHOIR_PRINTF(1, 2);
/*
 * A line on standard error that the next one replaces, cut to the terminal's width; only on a
 * terminal. NULL: clears it.
 */
void choir_progress(const char *format, ...) CHOIR_PRINTF(1, 2);

bool choir_is_terminal_out(void);
bool choir_is_terminal_error(void);

/* Numbers as people read them, in a buffer that the caller gives and the call returns. */
enum { CHOIR_NUMBER_BYTES = 32 };
/* "512 B", "93.8 MiB" */
const char *choir_number_bytes(uint64_t bytes, char text[CHOIR_NUMBER_BYTES]);
/* "512", "134.5 M", "70.6 B" (powers of 1,000) */
const char *choir_number_count(uint64_t count, char text[CHOIR_NUMBER_BYTES]);
/* "830 us", "12.4 ms", "3.21 s", "2 min 5 s" */
const char *choir_number_time(uint64_t us, char text[CHOIR_NUMBER_BYTES]);

#endif
