/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/print.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static choir_status check_output(void)
{
    if (ferror(stdout))
        return choir_fail(CHOIR_EIO, "standard output: %s", strerror(errno));
    return CHOIR_OK;
}

choir_status choir_print_text(const char *text, size_t length)
{
    if (!ferror(stdout)) {
        (void)fwrite(text, 1, length, stdout);
        (void)fflush(stdout);
    }
    return check_output();
}

choir_status choir_print(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (!ferror(stdout))
        (void)vprintf(format, arguments);
    va_end(arguments);
    return check_output();
}

choir_status choir_print_json(choir_json *json)
{
    char *text = NULL;
    choir_status status = choir_json_dump(json, &text);
    choir_json_destroy(&json);
    if (status == CHOIR_OK && !ferror(stdout)) {
        (void)puts(text);
        (void)fflush(stdout);
        status = check_output();
    }
    free(text);
    return status;
}

choir_status choir_save_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    bool is_written = file && fputs(text, file) >= 0 && fputc('\n', file) != EOF;
    if (file && fclose(file) != 0)
        is_written = false;
    return is_written ? CHOIR_OK
                      : choir_fail(CHOIR_EIO, "%s: cannot be written: %s", path, strerror(errno));
}

choir_status choir_save_json(const char *path, choir_json *json)
{
    char *text = NULL;
    choir_status status = choir_json_dump(json, &text);
    choir_json_destroy(&json);
    if (status == CHOIR_OK)
        status = choir_save_text(path, text);
    free(text);
    return status;
}

bool choir_is_terminal_out(void)
{
    return isatty(STDOUT_FILENO) == 1;
}

bool choir_is_terminal_error(void)
{
    return isatty(STDERR_FILENO) == 1;
}

void choir_remark(const char *format, ...)
{
    const char *no_color = getenv("NO_COLOR");
    const bool is_dim = choir_is_terminal_error() && (no_color == NULL || *no_color == '\0');
    va_list arguments;
    va_start(arguments, format);
    (void)fputs(is_dim ? "\033[2m" : "", stderr);
    (void)vfprintf(stderr, format, arguments);
    (void)fputs(is_dim ? "\033[0m\n" : "\n", stderr);
    va_end(arguments);
}

void choir_progress(const char *format, ...)
{
    struct winsize size;
    char line[512] = "";
    if (!choir_is_terminal_error())
        return;
    const int width =
        ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79;
    if (format != NULL) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(line, sizeof line, format, arguments);
        va_end(arguments);
    }
    (void)fprintf(stderr, "\r\033[K%.*s", width, line);
    (void)fflush(stderr);
}

/* Three digits or more, whatever the magnitude. */
static const char *write_scaled(double value, const char *unit, char text[CHOIR_NUMBER_BYTES])
{
    const int digits = value < 10 ? 2 : value < 1000 ? 1 : 0;
    (void)snprintf(text, CHOIR_NUMBER_BYTES, "%.*f %s", digits, value, unit);
    return text;
}

const char *choir_number_bytes(uint64_t bytes, char text[CHOIR_NUMBER_BYTES])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes / 1024;
    int unit = 0;
    if (bytes < 1024)
        (void)snprintf(text, CHOIR_NUMBER_BYTES, "%d B", (int)bytes);
    while (value >= 1000 && unit < 5) {
        value /= 1024;
        unit++;
    }
    return bytes < 1024 ? text : write_scaled(value, units[unit], text);
}

const char *choir_number_count(uint64_t count, char text[CHOIR_NUMBER_BYTES])
{
    static const char *const units[] = {"K", "M", "B", "T"};
    double value = (double)count / 1000;
    int unit = 0;
    if (count < 1000)
        (void)snprintf(text, CHOIR_NUMBER_BYTES, "%d", (int)count);
    while (value >= 999.95 && unit < 3) {
        value /= 1000;
        unit++;
    }
    return count < 1000 ? text : write_scaled(value, units[unit], text);
}

const char *choir_number_time(uint64_t us, char text[CHOIR_NUMBER_BYTES])
{
    const unsigned long long seconds = us / 1000000;
    if (us < 1000)
        (void)snprintf(text, CHOIR_NUMBER_BYTES, "%d us", (int)us);
    else if (us < 1000000)
        return write_scaled((double)us / 1e3, "ms", text);
    else if (seconds < 60)
        return write_scaled((double)us / 1e6, "s", text);
    else
        (void)snprintf(text, CHOIR_NUMBER_BYTES, "%llu min %llu s", seconds / 60, seconds % 60);
    return text;
}
