/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `choir top`: a running service, looked at again and again. The figures of a look come from its
 * status; rates from the counters of two looks. A service that ends is waited for, since whoever
 * watches one wants to see it come back; what it said last stays on the screen.
 */
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/print.h"
#include "cli/top_screen.h"
#include "cli/top_view.h"
#include "cli/verbs.h"
#include "client/client.h"
#include "common/clock.h"
#include "common/mem.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { CONNECT_TIMEOUT_MS = 5000, AGAIN_TIMEOUT_MS = 1000, STATUS_TIMEOUT_MS = 3000 };

typedef struct top_options {
    const char *connection_file;
    double interval;
    bool is_once, is_json;
} top_options;

#define AT(member) offsetof(top_options, member)

static const choir_flag flags[] = {
    {"--connection-file", "F", "of the service (default: choir.json in your runtime folder)",
     CHOIR_FLAG_STRING, AT(connection_file), 0, 0, NULL},
    {"--interval -i", "S", "seconds between two looks (default 1)", CHOIR_FLAG_REAL, AT(interval),
     0.1, 3600, NULL},
    {"--once", NULL,
     "prints one look as plain text, with rates over one interval; also where standard input or "
     "output is no terminal",
     CHOIR_FLAG_BOOL, AT(is_once), 0, 0, NULL},
    {"--json", NULL, "prints one look as one JSON object; implies --once", CHOIR_FLAG_BOOL,
     AT(is_json), 0, 0, NULL},
};

/* Two looks at a service; the older one gives the rates. */
typedef struct watch {
    const top_options *options;
    choir_client *client; /* NULL: to be connected */
    choir_service_status before, now;
    int64_t before_us, now_us; /* 0: none */
    char alarm[256];           /* "": the last look succeeded */
} watch;

static void forget(choir_service_status *status, int64_t *when_us)
{
    choir_service_status_destroy(status);
    *status = (choir_service_status){0};
    *when_us = 0;
}

static void watch_release(watch *w)
{
    forget(&w->before, &w->before_us);
    forget(&w->now, &w->now_us);
    choir_client_destroy(&w->client);
}

/* One look. After a failure the next one connects again. */
static choir_status look(watch *w, int connect_timeout_ms)
{
    choir_service_status fresh = {0};
    const bool is_new = w->client == NULL;
    choir_status status = CHOIR_OK;
    if (is_new)
        status =
            choir_client_connect_file(w->options->connection_file, connect_timeout_ms, &w->client);
    if (status == CHOIR_OK && is_new) /* keys are not looked at meanwhile */
        choir_client_set_call_timeout(w->client, STATUS_TIMEOUT_MS);
    if (status == CHOIR_OK)
        status = choir_client_status(w->client, &fresh);
    if (status != CHOIR_OK) {
        choir_client_destroy(&w->client);
        return status;
    }
    forget(&w->before, &w->before_us);
    if (is_new) {
        forget(&w->now, &w->now_us);
    } else {
        w->before = w->now;
        w->before_us = w->now_us;
    }
    w->now = fresh;
    w->now_us = choir_clock_us();
    return CHOIR_OK;
}

static choir_top_picture picture_of(const watch *w)
{
    choir_top_picture picture = {.status = w->now_us ? &w->now : NULL};
    if (w->before_us)
        picture.rates =
            choir_top_rates_between(&w->before, &w->now, (double)(w->now_us - w->before_us) / 1e6);
    if (w->alarm[0]) {
        picture.alarm = w->alarm;
        picture.rates.is_known = false;
    }
    return picture;
}

/* ---- one look ---- */

static int terminal_width(void)
{
    struct winsize size;
    const bool is_known =
        choir_is_terminal_out() && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return is_known && size.ws_col < CHOIR_TOP_WIDTH_MAX ? size.ws_col : CHOIR_TOP_WIDTH_MAX;
}

static choir_status print_lines(const choir_top_picture *picture)
{
    const size_t n_max = choir_top_lines_max(picture->status->engine.n_ranks);
    choir_top_line *lines = NULL;
    choir_status status = choir_alloc(n_max, sizeof *lines, (void **)&lines);
    if (status != CHOIR_OK)
        return status;
    const size_t n = choir_top_view(picture, terminal_width(), lines, n_max);
    for (size_t i = 0; status == CHOIR_OK && i < n; i++)
        status = choir_print("%s\n", lines[i].text);
    free(lines);
    return status;
}

static choir_status run_once(watch *w)
{
    choir_status status = look(w, CONNECT_TIMEOUT_MS);
    const int64_t end_us = choir_clock_us() + (int64_t)(w->options->interval * 1e6);
    for (int64_t left_us = 1; status == CHOIR_OK && left_us > 0 && choir_interrupt_count() == 0;) {
        left_us = end_us - choir_clock_us();
        if (left_us > 0)
            choir_clock_sleep_us(left_us); /* returns early for a signal */
    }
    if (choir_interrupt_count() > 0)
        return choir_fail(CHOIR_ECANCELLED, "interrupted");
    if (status == CHOIR_OK)
        status = look(w, CONNECT_TIMEOUT_MS);
    if (status != CHOIR_OK)
        return status;
    const choir_top_picture picture = picture_of(w);
    return w->options->is_json ? choir_print_json(choir_top_to_json(&picture))
                               : print_lines(&picture);
}

/* ---- the live view ---- */

static choir_status show(const watch *w)
{
    const choir_top_picture picture = picture_of(w);
    choir_top_line *lines = NULL;
    int rows, columns;
    choir_top_screen_size(&rows, &columns);
    if (columns > CHOIR_TOP_WIDTH_MAX)
        columns = CHOIR_TOP_WIDTH_MAX;
    choir_status status = choir_alloc((size_t)rows, sizeof *lines, (void **)&lines);
    if (status == CHOIR_OK)
        choir_top_screen_show(lines, choir_top_view(&picture, columns, lines, (size_t)rows));
    free(lines);
    return status;
}

/* A service that is gone, or silent, may come back; other failures stay what they are. */
static choir_status look_again(watch *w)
{
    const choir_status status = look(w, AGAIN_TIMEOUT_MS);
    w->alarm[0] = '\0';
    if (status != CHOIR_EUNAVAILABLE && status != CHOIR_ETIMEOUT)
        return status;
    (void)snprintf(w->alarm, sizeof w->alarm,
                   "NO SERVICE, trying again (q quits); below is what it said last. %s",
                   choir_error());
    return CHOIR_OK;
}

static choir_status run_live(watch *w)
{
    choir_status status = look(w, CONNECT_TIMEOUT_MS);
    if (status == CHOIR_OK)
        status = choir_top_screen_open();
    while (status == CHOIR_OK && choir_interrupt_count() == 0) {
        choir_top_key key = CHOIR_TOP_KEY_REDRAW;
        const int64_t next_us = choir_clock_us() + (int64_t)(w->options->interval * 1e6);
        while (status == CHOIR_OK && key == CHOIR_TOP_KEY_REDRAW) {
            status = show(w);
            const int64_t left_us = next_us - choir_clock_us();
            if (status == CHOIR_OK)
                key = choir_top_screen_wait(left_us > 0 ? (int)(left_us / 1000) : 0);
        }
        if (key == CHOIR_TOP_KEY_QUIT)
            break;
        if (status == CHOIR_OK && choir_interrupt_count() == 0)
            status = look_again(w);
    }
    choir_top_screen_close();
    return status;
}

choir_status choir_verb_top(int argc, char **argv)
{
    top_options options = {.interval = 1};
    const choir_flag_group group = {"Options", flags, sizeof flags / sizeof flags[0], &options};
    const choir_command command = {
        "choir top",
        "[FLAGS]",
        "Shows a running service live: requests, tokens and steps per second, pages of keys and "
        "values, and for each rank how its time goes: computing, waiting for other ranks, moving "
        "bytes; and what it reads of its weights per second, beside the most that was measured at "
        "its start. > marks a rank that the others wait for. "
        "q or Ctrl-C ends it (exit code 0), space looks at once, Ctrl-L draws again. If the "
        "service ends it says so "
        "and goes on trying; without one at the start the exit code is 8.",
        "choir top --interval 0.5\n"
        "choir top --connection-file choir.json --once\n"
        "choir top --json | jq '.ranks[] | [.rank, .wait_share]'",
        &group,
        1,
    };
    watch w = {.options = &options};
    int n_rest;
    bool is_help_shown;
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (n_rest > 0)
        return choir_fail(CHOIR_EUSAGE, "unexpected argument %.40s; `choir top --help`", argv[0]);
    const bool is_live = !options.is_once && !options.is_json && choir_is_terminal_out() &&
                         isatty(STDIN_FILENO) == 1;
    choir_interrupt_install();
    status = is_live ? run_live(&w) : run_once(&w);
    watch_release(&w);
    return status;
}
