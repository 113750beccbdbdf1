/* SPDX-License-Identifier: Apache-2.0 */
/* The picture of a load test, as SVG: no library, a few hundred elements. */
#include "cli/load_record.h"

#include "common/mem.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 800, HEIGHT = 520, LEFT = 70, RIGHT = 20, PANEL = 180, TICKS = 4 };

typedef struct text {
    char *bytes;
    size_t used, capacity;
    choir_status status;
} text;

static void add(text *t, const char *format, ...) CHOIR_PRINTF(2, 3);

static void add(text *t, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (t->status == CHOIR_OK)
        t->status = choir_grow((void **)&t->bytes, &t->capacity, t->used + (size_t)n + 1, 1);
    if (t->status != CHOIR_OK)
        return;
    memcpy(t->bytes + t->used, line, (size_t)n + 1);
    t->used += (size_t)n;
}

/* 1, 2 or 5 times a power of ten, so that TICKS of them reach `most`. */
static double tick_of(double most)
{
    const double least = most > 0 ? most / TICKS : 1;
    const double power = pow(10, floor(log10(least)));
    for (int i = 0; i < 3; i++)
        if ((const double[]){1, 2, 5}[i] * power >= least)
            return (const double[]){1, 2, 5}[i] * power;
    return 10 * power;
}

/* One panel: its frame, ticks and words; maps values to places. */
typedef struct panel {
    double top, x_most, y_most;
} panel;

static double x_of(const panel *p, double x)
{
    return LEFT + x / p->x_most * (WIDTH - LEFT - RIGHT);
}

static double y_of(const panel *p, double y)
{
    return p->top + PANEL - y / p->y_most * PANEL;
}

static panel draw_panel(text *t, double top, const char *name, double x_most, double y_most)
{
    const double x_tick = tick_of(x_most), y_tick = tick_of(y_most);
    const panel p = {top, x_most > 0 ? x_most : 1, y_tick * ceil(y_most / y_tick + 1e-9)};
    add(t, "<text x=\"%d\" y=\"%g\" font-weight=\"bold\">%s</text>\n", LEFT, top - 8, name);
    for (double y = 0; y <= p.y_most * 1.0001; y += y_tick)
        add(t,
            "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>"
            "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
            LEFT, WIDTH - RIGHT, y_of(&p, y), y_of(&p, y), LEFT - 6, y_of(&p, y) + 4, y);
    for (double x = 0; x <= p.x_most * 1.0001; x += x_tick)
        add(t, "<text x=\"%.1f\" y=\"%g\" text-anchor=\"middle\">%g s</text>\n", x_of(&p, x),
            top + PANEL + 18, x);
    return p;
}

/* Tokens of each second; those between two chunks count for when they came. */
static choir_status count_tokens(const choir_load_record *records, size_t n, size_t n_seconds,
                                 double **counts)
{
    const choir_status status = choir_alloc(n_seconds, sizeof **counts, (void **)counts);
    for (size_t i = 0; status == CHOIR_OK && i < n; i++) {
        const choir_load_record *record = &records[i];
        const double each =
            (double)record->n_output / (double)(record->n_itls + 1); /* of a chunk, on average */
        int64_t at_us = record->first_us;
        for (size_t k = 0; record->n_output > 0 && k <= record->n_itls; k++) {
            const size_t second = (size_t)(at_us / 1000000);
            (*counts)[second < n_seconds ? second : n_seconds - 1] += each;
            at_us += k < record->n_itls ? record->itls_us[k] : 0;
        }
    }
    return status;
}

static void draw_throughput(text *t, const double *counts, size_t n_seconds, double duration)
{
    double most = 1;
    for (size_t i = 0; i < n_seconds; i++)
        most = counts[i] > most ? counts[i] : most;
    const panel p = draw_panel(t, 60, "tokens/s", duration, most);
    add(t, "<polyline fill=\"none\" stroke=\"#1f77b4\" stroke-width=\"2\" points=\"");
    for (size_t i = 0; i < n_seconds; i++)
        if ((double)i + 0.5 <= duration || i == 0)
            add(t, "%.1f,%.1f ", x_of(&p, fmin((double)i + 0.5, duration)), y_of(&p, counts[i]));
    add(t, "\"/>\n");
}

static void draw_ttft(text *t, const choir_load_record *records, size_t n, double duration)
{
    double most = 1;
    for (size_t i = 0; i < n; i++)
        if (records[i].n_output > 0)
            most = fmax(most, (double)(records[i].first_us - records[i].sent_us) / 1e3);
    const panel p = draw_panel(t, 60 + PANEL + 70, "time to first token, ms, by when it was sent",
                               duration, most);
    for (size_t i = 0; i < n; i++)
        if (records[i].n_output > 0)
            add(t, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\" fill=\"#d62728\"/>\n",
                x_of(&p, (double)records[i].sent_us / 1e6),
                y_of(&p, (double)(records[i].first_us - records[i].sent_us) / 1e3));
}

/* The title is ours or a model's name: what XML keeps for itself is left out. */
static void draw_title(text *t, const char *title)
{
    char safe[200];
    size_t used = 0;
    for (; *title && used + 1 < sizeof safe; title++)
        if (!strchr("<>&\"'", *title) && (unsigned char)*title >= ' ')
            safe[used++] = *title;
    safe[used] = '\0';
    add(t, "<text x=\"%d\" y=\"24\" font-size=\"15\">%s</text>\n", LEFT, safe);
}

choir_status choir_load_plot(const choir_load_record *records, size_t n, int64_t duration_us,
                             const char *title, char **svg)
{
    const double duration = duration_us > 0 ? (double)duration_us / 1e6 : 1;
    const size_t n_seconds = (size_t)duration + 1;
    double *counts = NULL;
    text t = {0};
    *svg = NULL;
    t.status = count_tokens(records, n, n_seconds, &counts);
    add(&t,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
        "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n"
        "<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n",
        WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT);
    draw_title(&t, title);
    if (counts)
        draw_throughput(&t, counts, n_seconds, duration);
    draw_ttft(&t, records, n, duration);
    add(&t, "</svg>\n");
    free(counts);
    if (t.status != CHOIR_OK) {
        free(t.bytes);
        return t.status;
    }
    *svg = t.bytes;
    return CHOIR_OK;
}
