/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/top_screen.h"

#include "cli/interrupt.h"
#include "common/clock.h"

#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAIR_TITLE = 1, PAIR_ALARM, CONTROL_L = 'L' & 0x1f };

static SCREEN *screen;
static bool is_coloured;

choir_status choir_top_screen_open(void)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    /* newterm() fails where initscr() would end the process. */
    screen = newterm(NULL, stdout, stdin);
    if (!screen)
        return choir_fail(CHOIR_EUNSUPPORTED,
                          "the terminal type %.40s is not known here; set TERM, or use --once",
                          term && term[0] ? term : "(none)");
    is_coloured = !(no_color && no_color[0]) && has_colors();
    if (is_coloured) {
        (void)start_color();
        (void)use_default_colors();
        (void)init_pair(PAIR_TITLE, COLOR_CYAN, -1);
        (void)init_pair(PAIR_ALARM, COLOR_YELLOW, -1);
    }
    (void)cbreak();
    (void)noecho();
    (void)keypad(stdscr, TRUE);
    (void)curs_set(0);
    return CHOIR_OK;
}

void choir_top_screen_close(void)
{
    if (!screen)
        return;
    (void)endwin();
    delscreen(screen);
    screen = NULL;
}

void choir_top_screen_size(int *rows, int *columns)
{
    getmaxyx(stdscr, *rows, *columns);
}

static attr_t look_of(choir_top_style style)
{
    switch (style) {
    case CHOIR_TOP_TITLE:
        return A_BOLD | (is_coloured ? COLOR_PAIR(PAIR_TITLE) : 0);
    case CHOIR_TOP_HEADING:
        return A_REVERSE;
    case CHOIR_TOP_ALARM:
        return A_BOLD | (is_coloured ? COLOR_PAIR(PAIR_ALARM) : 0);
    default:
        return A_NORMAL;
    }
}

void choir_top_screen_show(const choir_top_line *lines, size_t n)
{
    (void)erase();
    for (size_t i = 0; i < n; i++) {
        (void)attrset((int)look_of(lines[i].style));
        (void)mvaddstr((int)i, 0, lines[i].text);
    }
    (void)attrset(A_NORMAL);
    (void)refresh();
}

choir_top_key choir_top_screen_wait(int timeout_ms)
{
    const int64_t end_us = choir_clock_us() + timeout_ms * INT64_C(1000);
    while (choir_interrupt_count() == 0) {
        const int64_t left_us = end_us - choir_clock_us();
        timeout(left_us > 0 ? (int)(left_us / 1000) : 0);
        switch (getch()) {
        case 'q':
        case 'Q':
            return CHOIR_TOP_KEY_QUIT;
        case ' ':
            return CHOIR_TOP_KEY_REFRESH;
        case CONTROL_L:
            (void)clearok(stdscr, TRUE);
            return CHOIR_TOP_KEY_REDRAW;
        case KEY_RESIZE:
            return CHOIR_TOP_KEY_REDRAW;
        default:
            if (left_us <= 1000)
                return CHOIR_TOP_KEY_NONE;
            choir_clock_sleep_us(1000); /* a terminal that is gone gives no key at once */
        }
    }
    return CHOIR_TOP_KEY_NONE;
}
