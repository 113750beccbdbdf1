/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The speed of each kernel beside what this machine could do: the bandwidth of loads and the
 * multiply-adds of the level's own instructions, measured in the same run. --help tells the rest.
 */
#include "cli/flags.h"
#include "cli/print.h"
#include "common/json.h"
#include "tests/bench/limits.h"
#include "tests/bench/subject.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

typedef struct kernels_options {
    choir_flag_strings ops, types, levels, shapes, activations, cache_types;
    choir_flag_reals rows, threads;
    const char *model;
    int64_t n_positions, n_samples, sample_ms, pool_mib, read_mib;
    bool is_best, is_cpu_time, is_limits, is_sweep, is_quick, is_json;
} kernels_options;

#define AT(member) offsetof(kernels_options, member)

static const choir_flag flags[] = {
    {"--op", "NAME",
     "linear, attention, quantize, quantize_q15, rms_norm, layer_norm, rotary, swiglu, geglu, add, "
     "lse, embedding; may be repeated, as all such flags (default: all)",
     CHOIR_FLAG_STRINGS, AT(ops), 0, 0, NULL},
    {"--type", "TYPE", "type of the weights (default: all)", CHOIR_FLAG_STRINGS, AT(types), 0, 0,
     NULL},
    {"--activations", "FORMAT", "q8 or q15, for block types (default: q8)", CHOIR_FLAG_STRINGS,
     AT(activations), 0, 0, NULL},
    {"--cache-type", "TYPE", "of keys and values (default: all)", CHOIR_FLAG_STRINGS,
     AT(cache_types), 0, 0, NULL},
    {"--level", "LEVEL", "default: all that this CPU has but ref", CHOIR_FLAG_STRINGS, AT(levels),
     0, 0, NULL},
    {"--shape", "ROLE",
     "linear layer: q, kv, attn_output, gate, down, output (default: attn_output, gate, down)",
     CHOIR_FLAG_STRINGS, AT(shapes), 0, 0, NULL},
    {"--model", "SHAPE", "whose sizes are taken (default: 1b)", CHOIR_FLAG_STRING, AT(model), 0, 0,
     "tiny 135m 1b 8b 70b"},
    {"--positions", "N", "of attention, one span (default: 1024)", CHOIR_FLAG_INTEGER,
     AT(n_positions), 1, CHOIR_SPAN_PAGES *CHOIR_PAGE_POSITIONS, NULL},
    {"--rows", "T,…", "rows of a step (default: 1,4,16,64,512)", CHOIR_FLAG_REALS, AT(rows), 1,
     4096, NULL},
    {"--threads", "N,…", "default: 1 and all CPUs", CHOIR_FLAG_REALS, AT(threads), 1,
     CHOIR_LIMITS_THREADS, NULL},
    {"--samples", "N", "the figure is the median of so many (default: 7)", CHOIR_FLAG_INTEGER,
     AT(n_samples), 1, CHOIR_BENCH_SAMPLES, NULL},
    {"--sample-ms", "N", "a sample takes so long at least (default: 10)", CHOIR_FLAG_INTEGER,
     AT(sample_ms), 1, 10000, NULL},
    {"--pool-mib", "N", "weights and caches cycle over so much memory (default: 256)",
     CHOIR_FLAG_INTEGER, AT(pool_mib), 1, 1 << 20, NULL},
    {"--read-mib", "N", "read bandwidth is that of a region so large (default: 1024)",
     CHOIR_FLAG_INTEGER, AT(read_mib), 1, 1 << 20, NULL},
    {"--best", NULL, "figures by the best sample instead of the median", CHOIR_FLAG_BOOL,
     AT(is_best), 0, 0, NULL},
    {"--cpu-time", NULL, "only time with a CPU counts: where other programs run at the same time",
     CHOIR_FLAG_BOOL, AT(is_cpu_time), 0, 0, NULL},
    {"--limits", NULL, "the machine's limits alone", CHOIR_FLAG_BOOL, AT(is_limits), 0, 0, NULL},
    {"--sweep", NULL,
     "the best time per row over T = 1..64; marks each that is 5 % above one of a smaller T",
     CHOIR_FLAG_BOOL, AT(is_sweep), 0, 0, NULL},
    {"--quick", NULL, "little of everything, to see that it runs: the figures mean nothing",
     CHOIR_FLAG_BOOL, AT(is_quick), 0, 0, NULL},
    {"--json", NULL, "one JSON object a line; the first is the machine's", CHOIR_FLAG_BOOL,
     AT(is_json), 0, 0, NULL},
};

typedef struct bench {
    kernels_options options;
    choir_subject_options subject_options;
    choir_bench_effort effort;
    choir_limits *limits;
    const choir_kernels *levels[CHOIR_LEVEL_COUNT];
    int n_levels;
} bench;

/* The machine and its limits */

static const char *const peak_names[CHOIR_PEAK_COUNT] = {"narrow", "wide", "fma"};

static void print_limits(bench *b, int n_threads)
{
    printf("%d thread%s: read %.1f GB/s", n_threads, n_threads == 1 ? "" : "s",
           choir_limits_read(b->limits, n_threads) * 1e-9);
    for (int l = 0; l < b->n_levels; l++) {
        printf("; %s", choir_level_name(b->levels[l]->level));
        for (int kind = 0; kind < CHOIR_PEAK_COUNT; kind++)
            printf(" %s %.0f", peak_names[kind],
                   choir_limits_peak(b->limits, b->levels[l]->level, (choir_peak_kind)kind,
                                     n_threads) *
                       1e-9);
        printf(" GMAC/s");
    }
    puts("");
}

static choir_json *limits_as_json(bench *b, int n_threads)
{
    choir_json *json = choir_json_make_object();
    choir_json_set_integer(json, "threads", n_threads);
    choir_json_set_real(json, "read_gbs", choir_limits_read(b->limits, n_threads) * 1e-9);
    choir_json_set_real(json, "read_mean_gbs", choir_limits_read_mean(b->limits, n_threads) * 1e-9);
    for (int l = 0; l < b->n_levels; l++) {
        const choir_level level = b->levels[l]->level;
        choir_json *peaks = choir_json_make_object();
        for (int kind = 0; kind < CHOIR_PEAK_COUNT; kind++)
            choir_json_set_real(
                peaks, peak_names[kind],
                choir_limits_peak(b->limits, level, (choir_peak_kind)kind, n_threads) * 1e-9);
        choir_json_set(json, choir_level_name(level), peaks);
    }
    return json;
}

static choir_status print_machine(bench *b)
{
    const choir_flag_reals *threads = &b->options.threads;
    char cpu[128];
    choir_limits_cpu_name(cpu, sizeof cpu);
    if (!b->options.is_json) {
        printf("%s, %ld CPUs\n", cpu, sysconf(_SC_NPROCESSORS_ONLN));
        for (size_t i = 0; i < threads->n_items; i++)
            print_limits(b, (int)threads->items[i]);
        return CHOIR_OK;
    }
    choir_json *json = choir_json_make_object(), *limits = choir_json_make_array();
    choir_json_set_text(json, "cpu", cpu);
    choir_json_set_integer(json, "n_cpus", sysconf(_SC_NPROCESSORS_ONLN));
    choir_json_set(json, "limits", limits);
    for (size_t i = 0; i < threads->n_items; i++)
        choir_json_append(limits, limits_as_json(b, (int)threads->items[i]));
    return choir_print_json(json);
}

/* One subject, level, number of rows and threads */

typedef struct figures {
    choir_bench_time time;
    double seconds;          /* an iteration took so long: the median or, if asked for, the best */
    double macs, bytes;      /* a second */
    double of_peak, of_read; /* shares of the limits; 0: there is no such limit */
} figures;

static figures measure(bench *b, const choir_subject *subject, const choir_kernels *kernels, int T,
                       int n_threads)
{
    const choir_subject_run run = {subject, kernels, T};
    figures f = {.time = choir_bench_measure(subject->run, &run, n_threads, &b->effort)};
    f.seconds = b->options.is_best ? f.time.best : f.time.median;
    f.macs = T * subject->macs_per_row / f.seconds;
    f.bytes = (subject->bytes + T * subject->bytes_per_row) / f.seconds;
    const double peak = choir_limits_peak(b->limits, kernels->level, subject->peak, n_threads);
    f.of_peak = peak > 0 ? f.macs * subject->n_products / peak : 0;
    f.of_read = f.bytes / choir_limits_read(b->limits, n_threads);
    return f;
}

static void print_head(void)
{
    printf("%-12s %-6s %-4s %-6s %-24s %4s %3s %10s %6s %8s %7s %8s %7s\n", "operation", "type",
           "act", "level", "shape", "T", "thr", "us/row", "spread", "GMAC/s", "of peak", "GB/s",
           "of read");
}

/* Spread is that of the samples, (worst - best) / median. */
static void print_figures(const choir_subject *s, const char *level, int T, int n_threads,
                          const figures *f)
{
    char macs[16] = "-", of_peak[16] = "-";
    if (s->macs_per_row > 0)
        snprintf(macs, sizeof macs, "%.1f", f->macs * 1e-9);
    if (f->of_peak > 0)
        snprintf(of_peak, sizeof of_peak, "%.2f", f->of_peak);
    printf("%-12s %-6s %-4s %-6s %-24s %4d %3d %10.3f %5.0f%% %8s %7s %8.2f %7.2f\n", s->op,
           s->type, s->activations, level, s->shape, T, n_threads, f->seconds * 1e6 / T,
           (f->time.worst - f->time.best) / f->time.median * 100, macs, of_peak, f->bytes * 1e-9,
           f->of_read);
    fflush(stdout);
}

static choir_status print_figures_json(const choir_subject *s, const char *level, int T,
                                       int n_threads, const figures *f)
{
    choir_json *json = choir_json_make_object();
    choir_json_set_text(json, "op", s->op);
    choir_json_set_text(json, "type", s->type);
    choir_json_set_text(json, "activations", s->activations);
    choir_json_set_text(json, "level", level);
    choir_json_set_text(json, "shape", s->shape);
    choir_json_set_integer(json, "rows", T);
    choir_json_set_integer(json, "threads", n_threads);
    choir_json_set_real(json, "median_us", f->time.median * 1e6);
    choir_json_set_real(json, "best_us", f->time.best * 1e6);
    choir_json_set_real(json, "worst_us", f->time.worst * 1e6);
    choir_json_set_real(json, "gbs", f->bytes * 1e-9);
    choir_json_set_real(json, "of_read", f->of_read);
    if (s->macs_per_row > 0)
        choir_json_set_real(json, "gmacs", f->macs * 1e-9);
    if (f->of_peak > 0)
        choir_json_set_real(json, "of_peak", f->of_peak);
    return choir_print_json(json);
}

static choir_status compare_rows(bench *b, const choir_subject *subject)
{
    const choir_flag_reals *rows = &b->options.rows, *threads = &b->options.threads;
    choir_status status = CHOIR_OK;
    for (size_t r = 0; status == CHOIR_OK && r < rows->n_items; r++) {
        const int T = (int)rows->items[r];
        if (subject->prepare)
            subject->prepare(subject, T);
        for (int l = 0; l < b->n_levels; l++)
            for (size_t i = 0; status == CHOIR_OK && i < threads->n_items; i++) {
                const choir_kernels *kernels = b->levels[l];
                if (subject->has && !subject->has(subject, kernels))
                    continue;
                const int n_threads = (int)threads->items[i];
                const char *level = choir_level_name(kernels->level);
                const figures f = measure(b, subject, kernels, T, n_threads);
                if (b->options.is_json)
                    status = print_figures_json(subject, level, T, n_threads, &f);
                else
                    print_figures(subject, level, T, n_threads, &f);
            }
    }
    return status;
}

/* The cost of a row over T: it should never rise, whatever tiles the kernel has. */

enum { SWEEP_ROWS = 64, SWEEP_ROUNDS = 3 };

/* Several rounds, so that a while of noise does not hit some T alone. */
static void sweep(bench *b, const choir_subject *subject, const choir_kernels *kernels,
                  int n_threads)
{
    double costs[SWEEP_ROWS + 1], lowest = INFINITY;
    int n_rises = 0;
    for (int round = 0; round < SWEEP_ROUNDS; round++)
        for (int T = 1; T <= SWEEP_ROWS; T++) {
            if (subject->prepare)
                subject->prepare(subject, T);
            const figures f = measure(b, subject, kernels, T, n_threads);
            const double cost = f.time.best * 1e6 / T;
            costs[T] = round == 0 || cost < costs[T] ? cost : costs[T];
        }
    printf("%s %s %s %s %s, threads: %d\n%6s %10s %8s\n", subject->op, subject->type,
           subject->activations, choir_level_name(kernels->level), subject->shape, n_threads, "T",
           "us/row", "GMAC/s");
    for (int T = 1; T <= SWEEP_ROWS; T++) {
        const bool is_rise = costs[T] > 1.05 * lowest;
        printf("%6d %10.3f %8.1f", T, costs[T], subject->macs_per_row / costs[T] * 1e-3);
        if (is_rise)
            printf("  +%.0f %%", (costs[T] / lowest - 1) * 100);
        puts("");
        n_rises += is_rise;
        lowest = costs[T] < lowest ? costs[T] : lowest;
    }
    printf("%d of %d cost over 5 %% more than a smaller T\n\n", n_rises, SWEEP_ROWS);
    fflush(stdout);
}

static choir_status sweep_all(bench *b, const choir_subject *subject)
{
    for (int l = 0; l < b->n_levels; l++)
        for (size_t i = 0; i < b->options.threads.n_items; i++)
            if (!subject->has || subject->has(subject, b->levels[l]))
                sweep(b, subject, b->levels[l], (int)b->options.threads.items[i]);
    return CHOIR_OK;
}

/* What is asked for */

enum { N_ROLES = 6, N_OPS = 12, FIRST_ROW_OP = 3, N_FORMATS = 2 };
static const char *const roles[N_ROLES] = {"q", "kv", "attn_output", "gate", "down", "output"};
static const char *const op_names[N_OPS] = {"linear",       "attention", "embedding",  "quantize",
                                            "quantize_q15", "rms_norm",  "layer_norm", "rotary",
                                            "swiglu",       "geglu",     "add",        "lse"};
static const char *const formats[N_FORMATS] = {"q8", "q15"};

/* Whether `name` is listed, or nothing is and it counts by default. */
static bool is_chosen(const choir_flag_strings *list, const char *name, bool by_default)
{
    for (size_t i = 0; i < list->n_items; i++)
        if (strcasecmp(list->items[i], name) == 0)
            return true;
    return list->n_items == 0 && by_default;
}

/* A type that does not fit the model's shapes is left out, unless it was asked for. */
static choir_status run_subject(bench *b, choir_status created, choir_subject *subject)
{
    if (created == CHOIR_EUSAGE && b->options.types.n_items == 0)
        return CHOIR_OK;
    if (created != CHOIR_OK)
        return created;
    choir_status status = b->options.is_sweep ? sweep_all(b, subject) : compare_rows(b, subject);
    choir_subject_clear(subject);
    return status;
}

static choir_status run_linear(bench *b, choir_type type)
{
    const char *name = choir_type_info_of(type)->name;
    const bool is_quantized = choir_type_info_of(type)->is_quantized;
    choir_subject subject;
    choir_status status = CHOIR_OK;
    if (!is_chosen(&b->options.types, name, true))
        return CHOIR_OK;
    for (int i = 0; i < N_ROLES; i++) {
        const bool by_default = i >= 2 && i <= 4;
        if (!is_chosen(&b->options.shapes, roles[i], by_default))
            continue;
        if (status == CHOIR_OK && is_chosen(&b->options.activations, "q8", true))
            status = run_subject(
                b, choir_subject_linear(&b->subject_options, roles[i], type, false, &subject),
                &subject);
        if (status == CHOIR_OK && is_quantized && is_chosen(&b->options.activations, "q15", false))
            status = run_subject(
                b, choir_subject_linear(&b->subject_options, roles[i], type, true, &subject),
                &subject);
    }
    return status;
}

static choir_status run_all(bench *b)
{
    const choir_flag_strings *ops = &b->options.ops;
    choir_status status = CHOIR_OK;
    choir_subject subject;
    int n_types;
    const choir_type_info *types = choir_type_all(&n_types);
    for (int i = 0; status == CHOIR_OK && i < n_types && is_chosen(ops, "linear", true); i++)
        status = run_linear(b, types[i].type);
    for (int i = 0; status == CHOIR_OK && i <= CHOIR_CACHE_Q8_0; i++)
        if (is_chosen(ops, "attention", true) &&
            is_chosen(&b->options.cache_types, choir_cache_type_name((choir_cache_type)i), true))
            status = run_subject(b,
                                 choir_subject_attention(&b->subject_options, (choir_cache_type)i,
                                                         b->options.n_positions, &subject),
                                 &subject);
    for (int i = FIRST_ROW_OP; status == CHOIR_OK && i < N_OPS; i++)
        if (is_chosen(ops, op_names[i], true))
            status = run_subject(b, choir_subject_rows(&b->subject_options, op_names[i], &subject),
                                 &subject);
    for (int i = 0; status == CHOIR_OK && i < n_types && is_chosen(ops, "embedding", true); i++)
        if (is_chosen(&b->options.types, types[i].name, true))
            status = run_subject(
                b, choir_subject_embedding(&b->subject_options, types[i].type, &subject), &subject);
    return status;
}

/* Those that are asked for, which this CPU must have, or those that it has. */
static choir_status choose_levels(bench *b)
{
    const choir_flag_strings *asked = &b->options.levels;
    const bool has_ref_alone = choir_level_best() == CHOIR_LEVEL_REF;
    for (size_t i = 0; i < asked->n_items; i++) {
        choir_level level;
        const choir_kernels *kernels;
        choir_status status = choir_level_parse(asked->items[i], &level);
        if (status == CHOIR_OK)
            status = choir_kernels_get(level, &kernels);
        if (status != CHOIR_OK)
            return status;
    }
    for (int level = 0; level < CHOIR_LEVEL_COUNT; level++) {
        const bool by_default = level != CHOIR_LEVEL_REF || has_ref_alone;
        if (is_chosen(asked, choir_level_name((choir_level)level), by_default) &&
            choir_kernels_get((choir_level)level, &b->levels[b->n_levels]) == CHOIR_OK)
            b->n_levels++;
    }
    return CHOIR_OK;
}

/* Names that nothing is called would otherwise choose nothing, silently. */
static choir_status check_names(const choir_flag_strings *list, const char *flag,
                                const char *const *names, int n_names)
{
    for (size_t i = 0; i < list->n_items; i++) {
        bool is_known = false;
        for (int k = 0; k < n_names; k++)
            is_known |= strcasecmp(list->items[i], names[k]) == 0;
        if (!is_known)
            return choir_fail(CHOIR_EUSAGE, "%s: unknown \"%.32s\"; see --help", flag,
                              list->items[i]);
    }
    return CHOIR_OK;
}

static choir_status check_all_names(const kernels_options *o)
{
    choir_status status = check_names(&o->ops, "--op", op_names, N_OPS);
    if (status == CHOIR_OK)
        status = check_names(&o->shapes, "--shape", roles, N_ROLES);
    if (status == CHOIR_OK)
        status = check_names(&o->activations, "--activations", formats, N_FORMATS);
    for (size_t i = 0; status == CHOIR_OK && i < o->types.n_items; i++)
        if (!choir_type_find_name(o->types.items[i]))
            status = choir_fail(CHOIR_EUSAGE, "--type: unknown \"%.32s\"", o->types.items[i]);
    for (size_t i = 0; status == CHOIR_OK && i < o->cache_types.n_items; i++) {
        choir_cache_type type;
        status = choir_cache_type_parse(o->cache_types.items[i], &type);
    }
    return status;
}

static void set_defaults(kernels_options *o)
{
    static const double rows[] = {1, 4, 16, 64, 512};
    const long n_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    for (size_t i = 0; o->rows.n_items == 0 && i < sizeof rows / sizeof *rows; i++)
        o->rows.items[i] = rows[i];
    if (o->rows.n_items == 0)
        o->rows.n_items = o->is_quick ? 2 : sizeof rows / sizeof *rows;
    if (o->threads.n_items == 0) {
        o->threads.items[o->threads.n_items++] = 1;
        if (n_cpus > 1)
            o->threads.items[o->threads.n_items++] =
                (double)(n_cpus < CHOIR_LIMITS_THREADS ? n_cpus : CHOIR_LIMITS_THREADS);
    }
    if (!o->is_quick)
        return;
    o->model = "tiny";
    o->n_samples = o->sample_ms = o->pool_mib = o->read_mib = 1;
}

static choir_status run_bench(bench *b)
{
    const kernels_options *o = &b->options;
    b->effort =
        (choir_bench_effort){(int)o->n_samples, (double)o->sample_ms * 1000, o->is_cpu_time};
    b->subject_options = (choir_subject_options){.model = choir_shape_find(o->model),
                                                 .pool_bytes = (size_t)o->pool_mib << 20,
                                                 .max_rows = o->is_sweep ? SWEEP_ROWS : 1,
                                                 .n_threads = 1};
    for (size_t i = 0; i < o->rows.n_items; i++)
        if (b->subject_options.max_rows < o->rows.items[i])
            b->subject_options.max_rows = (int)o->rows.items[i];
    for (size_t i = 0; i < o->threads.n_items; i++)
        if (b->subject_options.n_threads < o->threads.items[i])
            b->subject_options.n_threads = (int)o->threads.items[i];
    choir_status status = check_all_names(o);
    if (status == CHOIR_OK)
        status = choose_levels(b);
    if (status == CHOIR_OK)
        status = choir_limits_create((size_t)o->read_mib << 20, &b->effort, &b->limits);
    if (status == CHOIR_OK)
        status = print_machine(b);
    if (status == CHOIR_OK && !o->is_json && !o->is_sweep && !o->is_limits)
        print_head();
    if (status == CHOIR_OK && !o->is_limits)
        status = run_all(b);
    choir_limits_destroy(&b->limits);
    return status;
}

int main(int argc, char **argv)
{
    static bench b = {.options = {.model = "1b",
                                  .n_positions = 1024,
                                  .n_samples = 7,
                                  .sample_ms = 10,
                                  .pool_mib = 256,
                                  .read_mib = 1024}};
    const choir_flag_group group = {"Flags", flags, sizeof flags / sizeof *flags, &b.options};
    const choir_command command = {
        "kernels",
        "[FLAGS]",
        "Measures each kernel beside this machine's limits. `of peak` is the share of the "
        "multiply-adds that a loop without loads or scales reaches with the level's instructions "
        "on as many threads (q15 counts twice), `of read` the share of the bandwidth of a loop of "
        "loads.",
        "kernels --op linear --type Q4_0 --level avx512 --rows 1,512 --threads 2\n"
        "kernels --op linear --type Q4_0 --shape gate --level avx2 --threads 1 --sweep\n",
        &group,
        1};
    int n_rest = 0;
    bool is_help_shown = false;
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status == CHOIR_OK && n_rest > 0)
        status = choir_fail(CHOIR_EUSAGE, "%s: what is it? see --help", argv[0]);
    if (status == CHOIR_OK && !is_help_shown) {
        set_defaults(&b.options);
        status = run_bench(&b);
    }
    if (status != CHOIR_OK)
        fprintf(stderr, "kernels: %s\n", choir_error());
    return status;
}
