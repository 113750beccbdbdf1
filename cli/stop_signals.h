/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIGINT, SIGTERM and SIGHUP as a request to stop: of a service once there is one, before that of
 * its start. One per process.
 */
#ifndef CHOIR_CLI_STOP_SIGNALS_H
#define CHOIR_CLI_STOP_SIGNALS_H

#include "cli/service.h"

#include <stdbool.h>

/* From now on these signals are counted, not deadly. */
void choir_stop_signals_catch(void);
bool choir_stop_signals_seen(void);

/*
 * From now on each signal is a choir_service_ask_stop() on *service; so is one that came before.
 * The pointer is read when a signal comes: it may be NULL, and choir_service_stop() may null it.
 */
void choir_stop_signals_forward(choir_service **service);

/*
 * A choir_service_progress: shows it on a terminal and gives up when a signal was seen. The caller
 * clears the line with choir_progress(NULL).
 */
bool choir_stop_signals_progress(void *unused, const char *what, double seconds);

#endif
