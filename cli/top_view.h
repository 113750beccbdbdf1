/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lines that `choir top` shows of a service, for a width in columns: pure, in ASCII, so that a
 * byte is a column. What does not fit is left out by whole pieces and whole columns of the table.
 *
 *     SmolLM2-135M  READY  up 5 min 2 s  Choir 0.1.0
 *     requests  3 running, 2 waiting, 1 other client
 *     tokens    51.3/s generated, 8.0/s of prompts
 *     steps     17.1/s, half within 58.2 ms, 99 % within 80.1 ms
 *     KV pages  [####===.............]  12 used, 9 kept, 43 free
 *     prefixes  34.5 % reused, 4 sequences put back for want of pages
 *
 *     the others wait for rank 1 on node2
 *       rank  host   threads  computes  waits  exchanges     step  reads now  of its best   memory
 *          0  node1        8      71 %   24 %        5 %  57.0 ms  20.1 GB/s         71 %  4.1 GiB
 *     >    1  node2        8      95 %    0 %        5 %  57.9 ms  15.0 GB/s         95 %  4.1 GiB
 */
#ifndef CHOIR_CLI_TOP_VIEW_H
#define CHOIR_CLI_TOP_VIEW_H

#include "client/client.h"
#include "common/json.h"

#include <stdbool.h>
#include <stddef.h>

/* What happened between two looks at a service, per second. */
typedef struct choir_top_rates {
    bool is_known; /* false: the first look, or another service than before */
    double seconds;
    double generation_tokens, prompt_tokens, steps;
} choir_top_rates;

choir_top_rates choir_top_rates_between(const choir_service_status *before,
                                        const choir_service_status *now, double seconds);

/*
 * The index of the rank that the others wait for: it computes for the largest share of its time,
 * the others on average for 10 % of theirs less, and they wait for 10 % more. -1: there is none.
 */
int choir_top_straggler(const choir_engine_report *report);

typedef enum choir_top_style {
    CHOIR_TOP_PLAIN,
    CHOIR_TOP_TITLE,
    CHOIR_TOP_HEADING,
    CHOIR_TOP_ALARM,
} choir_top_style;

enum { CHOIR_TOP_WIDTH_MAX = 500 };

typedef struct choir_top_line {
    choir_top_style style;
    char text[CHOIR_TOP_WIDTH_MAX + 1];
} choir_top_line;

/* What is shown. */
typedef struct choir_top_picture {
    const choir_service_status *status; /* NULL: nothing is known */
    choir_top_rates rates;
    const char *alarm; /* a line on top, such as that the service is gone; NULL: none */
} choir_top_picture;

/* Lines that a service of so many ranks fills at most. */
size_t choir_top_lines_max(size_t n_ranks);
/*
 * Writes at most max_lines lines of at most `width` columns (at least 1, at most
 * CHOIR_TOP_WIDTH_MAX) and returns how many. Where ranks do not fit, the last line counts them.
 */
size_t choir_top_view(const choir_top_picture *picture, int width, choir_top_line *lines,
                      size_t max_lines);

/* The same figures as one object, with a status; rates that are not known are null. The caller's.
 */
choir_json *choir_top_to_json(const choir_top_picture *picture);

#endif
