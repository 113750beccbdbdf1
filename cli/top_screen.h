/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal of `choir top`, by ncurses: the whole screen as long as it is open. There is one at
 * a time. Signals stay those of cli/interrupt.h.
 */
#ifndef CHOIR_CLI_TOP_SCREEN_H
#define CHOIR_CLI_TOP_SCREEN_H

#include "cli/top_view.h"
#include "common/status.h"

/* Takes the terminal over. EUNSUPPORTED, naming $TERM, if ncurses does not know it. */
choir_status choir_top_screen_open(void) CHOIR_MUST_CHECK;
/* Gives it back as it was; nothing if it is not open. */
void choir_top_screen_close(void);

/* What there is room for now. */
void choir_top_screen_size(int *rows, int *columns);
/* Replaces what is shown. In colour, unless NO_COLOR is set or the terminal has none. */
void choir_top_screen_show(const choir_top_line *lines, size_t n);

typedef enum choir_top_key {
    CHOIR_TOP_KEY_NONE, /* the time is over, or a signal came */
    CHOIR_TOP_KEY_QUIT,
    CHOIR_TOP_KEY_REDRAW, /* another size, or Ctrl-L: all of it again */
    CHOIR_TOP_KEY_REFRESH /* space: new figures at once */
} choir_top_key;

/* Waits for a key at most so long; others than these are passed over. */
choir_top_key choir_top_screen_wait(int timeout_ms);

#endif
