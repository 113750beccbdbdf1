/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/job_output.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define PREFIX "choir: "

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/*
 * Takes the words of a failure from a line that begins with `choir: ` unless it is a lower level of
 * the log: `choir: WORDS`, `choir: error: WORDS`, `choir: rank 3: error: WORDS` → "rank 3: WORDS".
 */
static void take_failure(choir_job_output *output, const char *words)
{
    const char *level = words;
    if (starts_with(words, "rank ")) {
        const char *colon = strstr(words, ": ");
        level = colon ? colon + 2 : words;
    }
    if (starts_with(level, "warning: ") || starts_with(level, "info: ") ||
        starts_with(level, "debug: "))
        return;
    const char *rest = starts_with(level, "error: ") ? level + strlen("error: ") : level;
    snprintf(output->error, sizeof output->error, "%.*s%.*s", (int)(level - words), words,
             (int)sizeof output->error - 64, rest);
}

static bool has_letter(const char *line)
{
    for (; *line; line++)
        if (isalpha((unsigned char)*line))
            return true;
    return false;
}

static void take_line(choir_job_output *output)
{
    const char *line = output->line;
    output->line[output->used] = '\0';
    output->used = 0;
    if (starts_with(line, PREFIX)) {
        if (!output->error[0])
            take_failure(output, line + strlen(PREFIX));
    } else if (!output->other[0] && has_letter(line)) {
        snprintf(output->other, sizeof output->other, "%.*s", (int)sizeof output->other - 1,
                 line + strspn(line, " \t"));
    }
}

void choir_job_output_add(choir_job_output *output, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '\n')
            take_line(output);
        else if (output->used < sizeof output->line - 1)
            output->line[output->used++] =
                isprint((unsigned char)bytes[i]) || bytes[i] < 0 ? bytes[i] : ' ';
    }
}

void choir_job_output_end(choir_job_output *output)
{
    if (output->used > 0)
        take_line(output);
}

void choir_job_output_sum_up(const choir_job_output *output, int wait_status, char *words,
                             size_t size)
{
    const int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
    const char *said = output->other[0] ? "; the first line of its output: " : "";
    if (output->error[0])
        snprintf(words, size, "%s", output->error);
    else if (code < 0)
        snprintf(words, size, "mpirun was killed by signal %d (%s)", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)));
    else if (code > 128 && code < 128 + 65)
        snprintf(words, size, "a rank was killed by signal %d (%s)", code - 128,
                 strsignal(code - 128));
    else
        snprintf(words, size, "the ranks ended by themselves, mpirun with exit code %d%s%s", code,
                 said, output->other);
}
