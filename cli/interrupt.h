/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ctrl-C, SIGTERM and SIGHUP for verbs that wait for something: the signals are counted, blocking
 * calls return with EINTR, and the verb looks here.
 */
#ifndef CHOIR_CLI_INTERRUPT_H
#define CHOIR_CLI_INTERRUPT_H

#include <stdbool.h>

/* From now on the signals are counted instead of ending the process. */
void choir_interrupt_install(void);
/* Interrupts since the last clear. */
int choir_interrupt_count(void);
void choir_interrupt_clear(void);
/* Waits for input at a descriptor: false where an interrupt came, also before the call. */
bool choir_interrupt_wait_input(int descriptor);
/* Whether SIGTERM or SIGHUP came (never cleared): everything is to end, not only what runs just
 * now. */
bool choir_interrupt_is_final(void);

/*
 * From now on each interrupt also makes this call, in the signal's handler, on the thread that
 * called choir_interrupt_install() (if all others block signals); so does one that came before.
 */
void choir_interrupt_call(void (*call)(void));

/* A choir_service_progress: shown on a terminal; gives up at an interrupt. The caller clears the
 * line with choir_progress(NULL). */
bool choir_interrupt_show_progress(void *unused, const char *what, double seconds);

#endif
