/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/top_view.h"

#include "cli/print.h"
#include "cli/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    CELL_BYTES = 48,
    LABEL_COLUMNS = 10,
    BAR_MIN = 10,
    BAR_MAX = 40,
    PAGE_COLUMNS = 40,
    HEADER_LINES = 10
};

/* ---- what the figures mean ---- */

choir_top_rates choir_top_rates_between(const choir_service_status *before,
                                        const choir_service_status *now, double seconds)
{
    const choir_engine_counters *a = &before->counters, *b = &now->counters;
    if (seconds <= 0 || now->n_steps < before->n_steps || now->uptime_us < before->uptime_us ||
        b->generation_tokens_total < a->generation_tokens_total ||
        b->prompt_tokens_total < a->prompt_tokens_total)
        return (choir_top_rates){.is_known = false};
    return (choir_top_rates){
        .is_known = true,
        .seconds = seconds,
        .generation_tokens =
            (double)(b->generation_tokens_total - a->generation_tokens_total) / seconds,
        .prompt_tokens = (double)(b->prompt_tokens_total - a->prompt_tokens_total) / seconds,
        .steps = (double)(now->n_steps - before->n_steps) / seconds,
    };
}

/* All shares are 0 until a rank has told of its first steps. */
static bool has_shares(const choir_rank_report *rank)
{
    return rank->compute_share + rank->wait_share + rank->exchange_share > 0.0f;
}

int choir_top_straggler(const choir_engine_report *report)
{
    const double least_gap = 0.1, n_others = (double)report->n_ranks - 1;
    double compute = 0, wait = 0;
    int most = -1;
    for (size_t i = 0; i < report->n_ranks; i++) {
        const choir_rank_report *rank = &report->ranks[i];
        if (!has_shares(rank))
            return -1;
        compute += (double)rank->compute_share;
        wait += (double)rank->wait_share;
        if (most < 0 || rank->compute_share > report->ranks[most].compute_share)
            most = (int)i;
    }
    if (n_others < 1)
        return -1;
    const double my_compute = (double)report->ranks[most].compute_share;
    const double my_wait = (double)report->ranks[most].wait_share;
    const bool computes_more = my_compute - (compute - my_compute) / n_others >= least_gap;
    const bool waits_less = (wait - my_wait) / n_others - my_wait >= least_gap;
    return computes_more && waits_less ? most : -1;
}

/* ---- lines ---- */

typedef struct page {
    choir_top_line *lines;
    size_t n, max;
    int width;
    choir_top_line beyond; /* the last line: written, never read */
} page;

/* Names come from outside: what is no printable ASCII would move columns, or the cursor. */
static void keep_printable(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

static choir_top_line *add_line(page *p, choir_top_style style)
{
    choir_top_line *line = p->n < p->max ? &p->lines[p->n++] : &p->beyond;
    line->style = style;
    line->text[0] = '\0';
    return line;
}

/* Appends a piece if all of it fits; the first of a line is cut instead. */
static bool add_piece(const page *p, choir_top_line *line, const char *separator,
                      const char *format, ...) CHOIR_PRINTF(4, 5);

static bool add_piece(const page *p, choir_top_line *line, const char *separator,
                      const char *format, ...)
{
    char piece[CHOIR_TOP_WIDTH_MAX + 1];
    va_list arguments;
    const int used = (int)strlen(line->text), room = p->width - used;
    const bool is_first = used == 0;
    va_start(arguments, format);
    (void)vsnprintf(piece, sizeof piece, format, arguments);
    va_end(arguments);
    keep_printable(piece);
    if (!is_first && (int)(strlen(separator) + strlen(piece)) > room)
        return false;
    (void)snprintf(line->text + used, (size_t)room + 1, "%s%s", is_first ? "" : separator, piece);
    return true;
}

/* Labels stand in a column of their own; without a width for anything behind it stays alone. */
static choir_top_line *add_labelled(page *p, const char *label)
{
    choir_top_line *line = add_line(p, CHOIR_TOP_PLAIN);
    (void)add_piece(p, line, "", "%-*s", LABEL_COLUMNS, label);
    return line;
}

static const char *write_duration(uint64_t us, char text[CELL_BYTES])
{
    const unsigned long long s = us / 1000000, minutes = s / 60, hours = s / 3600;
    if (hours >= 48)
        (void)snprintf(text, CELL_BYTES, "%llu d %llu h", hours / 24, hours % 24);
    else if (hours > 0)
        (void)snprintf(text, CELL_BYTES, "%llu h %llu min", hours, minutes % 60);
    else if (minutes > 0)
        (void)snprintf(text, CELL_BYTES, "%llu min %llu s", minutes, s % 60);
    else
        (void)snprintf(text, CELL_BYTES, "%llu s", s);
    return text;
}

static const char *write_rate(const choir_top_rates *rates, double rate, char text[CELL_BYTES])
{
    (void)snprintf(text, CELL_BYTES, rates->is_known ? "%.1f/s" : "-", rate);
    return text;
}

static void add_title(page *p, const choir_service_status *s)
{
    char uptime[CELL_BYTES];
    choir_top_line *line = add_line(p, CHOIR_TOP_TITLE);
    (void)(add_piece(p, line, "", "%s", s->model) && add_piece(p, line, "  ", "%s", s->state) &&
           add_piece(p, line, "  ", "up %s", write_duration(s->uptime_us, uptime)) &&
           add_piece(p, line, "  ", "Choir %s", s->version));
}

static void add_speeds(page *p, const choir_service_status *s, const choir_top_rates *rates)
{
    const unsigned n_others = s->n_clients > 0 ? (unsigned)s->n_clients - 1 : 0;
    char cells[2][CELL_BYTES], times[2][CHOIR_NUMBER_BYTES];
    choir_top_line *line = add_labelled(p, "requests");
    (void)(add_piece(p, line, "", "%u running", (unsigned)s->num_running_reqs) &&
           add_piece(p, line, ", ", "%u waiting", (unsigned)s->num_waiting_reqs) &&
           add_piece(p, line, ", ", "%u other client%s", n_others, n_others == 1 ? "" : "s"));
    line = add_labelled(p, "tokens");
    (void)(add_piece(p, line, "", "%s generated",
                     write_rate(rates, rates->generation_tokens, cells[0])) &&
           add_piece(p, line, ", ", "%s of prompts",
                     write_rate(rates, rates->prompt_tokens, cells[1])));
    line = add_labelled(p, "steps");
    (void)add_piece(p, line, "", "%s", write_rate(rates, rates->steps, cells[0]));
    if (s->n_steps > 0)
        (void)(add_piece(p, line, ", ", "half within %s",
                         choir_number_time(s->step_us_p50, times[0])) &&
               add_piece(p, line, ", ", "99 %% within %s",
                         choir_number_time(s->step_us_p99, times[1])));
}

/* How many of a bar's columns n of n_all things are: at least one if there are any. */
static int bar_columns(uint32_t n, uint32_t n_all, int columns)
{
    const double share = (double)n * columns / (double)n_all + 0.5;
    return n > 0 && share < 1 ? 1 : share < columns ? (int)share : columns;
}

/* "[####==....]" */
static void write_bar(uint32_t n, uint32_t used, uint32_t kept, int columns, char *text)
{
    const int n_used = bar_columns(used, n, columns), n_kept = bar_columns(kept, n, columns);
    *text++ = '[';
    for (int i = 0; i < columns; i++)
        *text++ = i < n_used ? '#' : i < n_used + n_kept ? '=' : '.';
    memcpy(text, "]", 2);
}

static void add_pages(page *p, const choir_service_status *s)
{
    const choir_engine_counters *c = &s->counters;
    const uint64_t n_taken = (uint64_t)c->kv_pages_used + c->kv_pages_kept;
    const uint64_t n_free = c->kv_pages > n_taken ? c->kv_pages - n_taken : 0;
    char bar[BAR_MAX + 3];
    if (c->kv_pages == 0)
        return;
    choir_top_line *line = add_labelled(p, "KV pages");
    const int room = p->width - (int)strlen(line->text) - PAGE_COLUMNS;
    if (room >= BAR_MIN) {
        write_bar(c->kv_pages, c->kv_pages_used, c->kv_pages_kept, room < BAR_MAX ? room : BAR_MAX,
                  bar);
        (void)add_piece(p, line, "", "%s  ", bar);
    }
    (void)(add_piece(p, line, "", "%u used", (unsigned)c->kv_pages_used) &&
           add_piece(p, line, ", ", "%u kept", (unsigned)c->kv_pages_kept) &&
           add_piece(p, line, ", ", "%llu free", (unsigned long long)n_free));
    line = add_labelled(p, "prefixes");
    (void)(add_piece(p, line, "", "%.1f %% reused", (double)s->cache_hit_rate * 100) &&
           add_piece(p, line, ", ", "%llu sequences put back",
                     (unsigned long long)c->num_preemptions_total));
}

/* ---- the table of ranks ---- */

typedef enum column {
    MARK,
    RANK,
    HOST,
    STAGE,
    SHARD,
    THREADS,
    COMPUTES,
    WAITS,
    EXCHANGES,
    STEP,
    READS,
    OF_BEST,
    MEMORY,
    N_COLUMNS,
} column;

static const char *const headings[N_COLUMNS] = {
    "",      "rank",      "host", "stage",     "shard",       "threads", "computes",
    "waits", "exchanges", "step", "reads now", "of its best", "memory",
};

/* Which column goes first where all of them are too wide. */
static const column dropped[] = {THREADS, STAGE,     SHARD, OF_BEST, STEP,
                                 MEMORY,  EXCHANGES, READS, HOST,    COMPUTES};

typedef struct table {
    char cells[N_COLUMNS][CELL_BYTES]; /* of the row at hand */
    int widths[N_COLUMNS];
    bool is_shown[N_COLUMNS];
    bool is_idle; /* shares are those of an earlier time: not shown */
} table;

static void write_percent(double share, bool is_known, char text[CELL_BYTES])
{
    (void)snprintf(text, CELL_BYTES, is_known ? "%.0f %%" : "-", 100 * share);
}

static void write_rank(const choir_rank_report *rank, bool is_marked, table *t)
{
    const bool is_known = has_shares(rank) && !t->is_idle;
    const double reads = t->is_idle ? 0 : (double)rank->bandwidth;
    char number[CHOIR_NUMBER_BYTES];
    (void)snprintf(t->cells[MARK], CELL_BYTES, "%s", is_marked ? ">" : " ");
    (void)snprintf(t->cells[RANK], CELL_BYTES, "%u", (unsigned)rank->rank);
    (void)snprintf(t->cells[HOST], CELL_BYTES, "%.20s", rank->host);
    (void)snprintf(t->cells[STAGE], CELL_BYTES, "%u", (unsigned)rank->stage);
    (void)snprintf(t->cells[SHARD], CELL_BYTES, "%u", (unsigned)rank->shard);
    (void)snprintf(t->cells[THREADS], CELL_BYTES, "%u", (unsigned)rank->threads);
    write_percent((double)rank->compute_share, is_known, t->cells[COMPUTES]);
    write_percent((double)rank->wait_share, is_known, t->cells[WAITS]);
    write_percent((double)rank->exchange_share, is_known, t->cells[EXCHANGES]);
    (void)snprintf(t->cells[STEP], CELL_BYTES, "%s",
                   is_known ? choir_number_time(rank->step_us_p50, number) : "-");
    (void)snprintf(t->cells[READS], CELL_BYTES, reads > 0 ? "%.1f GB/s" : "-", reads / 1e9);
    write_percent(reads / (double)rank->read_bandwidth, reads > 0 && rank->read_bandwidth > 0,
                  t->cells[OF_BEST]);
    (void)snprintf(t->cells[MEMORY], CELL_BYTES, "%s", choir_number_bytes(rank->rss, number));
}

static int table_width(const table *t)
{
    int width = 0;
    for (int c = 0; c < N_COLUMNS; c++)
        width += t->is_shown[c] ? t->widths[c] + (c == MARK ? 0 : 2) : 0;
    return width;
}

/* Columns as wide as their widest cell, and as many as fit. */
static void measure_table(const choir_engine_report *report, int width, table *t)
{
    for (int c = 0; c < N_COLUMNS; c++) {
        t->widths[c] = c == MARK ? 1 : (int)strlen(headings[c]);
        t->is_shown[c] =
            (c != STAGE || report->n_stages > 1) && (c != SHARD || report->n_shards > 1);
    }
    for (size_t i = 0; i < report->n_ranks; i++) {
        write_rank(&report->ranks[i], false, t);
        for (int c = 0; c < N_COLUMNS; c++)
            if ((int)strlen(t->cells[c]) > t->widths[c])
                t->widths[c] = (int)strlen(t->cells[c]);
    }
    for (size_t i = 0; i < sizeof dropped / sizeof dropped[0] && table_width(t) > width; i++)
        t->is_shown[dropped[i]] = false;
}

static void add_row(page *p, const table *t, choir_top_style style)
{
    choir_top_line *line = add_line(p, style);
    for (int c = 0; c < N_COLUMNS; c++)
        if (t->is_shown[c])
            (void)add_piece(p, line, "  ", c == HOST ? "%-*s" : "%*s", t->widths[c], t->cells[c]);
}

static void add_ranks(page *p, const choir_engine_report *report, bool is_idle)
{
    const int straggler = is_idle ? -1 : choir_top_straggler(report);
    table t = {.is_idle = is_idle};
    measure_table(report, p->width, &t);
    for (int c = 0; c < N_COLUMNS; c++)
        (void)snprintf(t.cells[c], CELL_BYTES, "%s", headings[c]);
    (void)add_line(p, CHOIR_TOP_PLAIN);
    if (straggler >= 0) {
        const choir_rank_report *rank = &report->ranks[straggler];
        choir_top_line *line = add_line(p, CHOIR_TOP_ALARM);
        (void)(add_piece(p, line, "", "the others wait for rank %u", (unsigned)rank->rank) &&
               add_piece(p, line, " ", "on %s", rank->host));
    }
    add_row(p, &t, CHOIR_TOP_HEADING);
    for (size_t i = 0; i < report->n_ranks; i++) {
        if (p->n + 1 >= p->max && i + 1 < report->n_ranks) {
            (void)add_piece(p, add_line(p, CHOIR_TOP_PLAIN), "", "... and %zu more ranks",
                            report->n_ranks - i);
            return;
        }
        write_rank(&report->ranks[i], (int)i == straggler, &t);
        add_row(p, &t, (int)i == straggler ? CHOIR_TOP_ALARM : CHOIR_TOP_PLAIN);
    }
}

/* Nothing ran since the last look: what ranks told is of an earlier time. */
static bool is_idle(const choir_top_picture *picture)
{
    const choir_service_status *s = picture->status;
    return picture->rates.is_known && picture->rates.steps <= 0 && s->num_running_reqs == 0;
}

size_t choir_top_lines_max(size_t n_ranks)
{
    return HEADER_LINES + n_ranks;
}

size_t choir_top_view(const choir_top_picture *picture, int width, choir_top_line *lines,
                      size_t max_lines)
{
    page p = {.lines = lines, .max = max_lines, .width = width};
    const choir_service_status *s = picture->status;
    if (picture->alarm)
        (void)add_piece(&p, add_line(&p, CHOIR_TOP_ALARM), "", "%s", picture->alarm);
    if (!s)
        return p.n;
    add_title(&p, s);
    add_speeds(&p, s, &picture->rates);
    add_pages(&p, s);
    if (s->engine.n_ranks > 0)
        add_ranks(&p, &s->engine, is_idle(picture));
    return p.n;
}

/* ---- JSON ---- */

static choir_json *rate_to_json(const choir_top_rates *rates, double rate)
{
    return rates->is_known ? choir_json_make_real(rate) : choir_json_make_null();
}

static void add_counters(const choir_service_status *s, choir_json *json)
{
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {
        {"num_running_reqs", s->num_running_reqs},
        {"num_waiting_reqs", s->num_waiting_reqs},
        {"n_clients", s->n_clients},
        {"n_steps", s->n_steps},
        {"step_us_p50", s->step_us_p50},
        {"step_us_p99", s->step_us_p99},
        {"generation_tokens_total", s->counters.generation_tokens_total},
        {"prompt_tokens_total", s->counters.prompt_tokens_total},
        {"num_preemptions_total", s->counters.num_preemptions_total},
        {"kv_pages", s->counters.kv_pages},
        {"kv_pages_used", s->counters.kv_pages_used},
        {"kv_pages_kept", s->counters.kv_pages_kept},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        choir_json_set_integer(json, fields[i].name, (int64_t)fields[i].value);
}

choir_json *choir_top_to_json(const choir_top_picture *picture)
{
    const choir_service_status *s = picture->status;
    const choir_top_rates *rates = &picture->rates;
    const int straggler = is_idle(picture) ? -1 : choir_top_straggler(&s->engine);
    choir_json *json = choir_json_make_object(), *ranks = choir_json_make_array();
    choir_json_set_text(json, "model", s->model);
    choir_json_set_text(json, "state", s->state);
    choir_json_set_real(json, "uptime_s", (double)s->uptime_us / 1e6);
    choir_json_set(json, "interval_s", rate_to_json(rates, rates->seconds));
    choir_json_set(json, "generation_tokens_per_s", rate_to_json(rates, rates->generation_tokens));
    choir_json_set(json, "prompt_tokens_per_s", rate_to_json(rates, rates->prompt_tokens));
    choir_json_set(json, "steps_per_s", rate_to_json(rates, rates->steps));
    choir_json_set_real(json, "cache_hit_rate", (double)s->cache_hit_rate);
    add_counters(s, json);
    choir_json_set(json, "straggler",
                   straggler < 0 ? choir_json_make_null()
                                 : choir_json_make_integer(s->engine.ranks[straggler].rank));
    for (size_t i = 0; i < s->engine.n_ranks; i++)
        choir_json_append(ranks, choir_report_rank_to_json(&s->engine.ranks[i]));
    choir_json_set(json, "ranks", ranks);
    return json;
}
