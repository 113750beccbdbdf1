/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: one line an event on standard error, `choir: level: words`. Verbs of `choir` keep it at
 * WARNING; workers add their rank. Any thread.
 */
#ifndef CHOIR_COMMON_LOG_H
#define CHOIR_COMMON_LOG_H

#include "common/status.h"

typedef enum choir_log_level {
    CHOIR_LOG_ERROR,
    CHOIR_LOG_WARNING,
    CHOIR_LOG_INFO,
    CHOIR_LOG_DEBUG,
} choir_log_level;

/* Lines above `level` are dropped (default CHOIR_LOG_WARNING). */
void choir_log_set_level(choir_log_level level);
/* A word in front of every line, such as "rank 3"; copied, cut at 31 bytes. */
void choir_log_set_name(const char *name);
void choir_log(choir_log_level level, const char *format, ...) CHOIR_PRINTF(2, 3);

#endif
