/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_int log_level = CHOIR_LOG_WARNING;
static char log_name[32];

void choir_log_set_level(choir_log_level level)
{
    atomic_store(&log_level, (int)level);
}

void choir_log_set_name(const char *name)
{
    snprintf(log_name, sizeof log_name, "%s", name);
}

void choir_log(choir_log_level level, const char *format, ...)
{
    static const char *const words[] = {"error", "warning", "info", "debug"};
    if ((int)level > atomic_load(&log_level))
        return;
    char line[1200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    /* One call, so that lines of several threads or ranks do not mix. */
    fprintf(stderr, "choir: %s%s%s: %s\n", log_name, log_name[0] ? ": " : "", words[level], line);
}
