/* SPDX-License-Identifier: Apache-2.0 */
/* `choir fingerprint`: the hash that must be the same on every layout, level and machine. */
#include "cli/engine_flags.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/print.h"
#include "cli/service.h"
#include "cli/verbs.h"

#include <stddef.h>

typedef struct fingerprint_options {
    bool is_json, is_long;
    const char *log_file;
} fingerprint_options;

#define AT(member) offsetof(fingerprint_options, member)

static const choir_flag flags[] = {
    {"--long", NULL, "also a sequence of 1,100 tokens", CHOIR_FLAG_BOOL, AT(is_long), 0, 0, NULL},
    {"--json", NULL, "one JSON object", CHOIR_FLAG_BOOL, AT(is_json), 0, 0, NULL},
    {"--log-file", "F", "add all that mpirun and the ranks print to this file", CHOIR_FLAG_STRING,
     AT(log_file), 0, 0, NULL},
};

static choir_status print_as_json(const choir_fingerprint_report *report)
{
    choir_json *json = choir_json_make_object();
    choir_json_set_text(json, "sha256", report->sha256);
    choir_json_set_integer(json, "n", report->n);
    choir_json_set_integer(json, "tp", report->tp);
    choir_json_set_integer(json, "pp", report->pp);
    choir_json_set_integer(json, "threads", report->threads);
    choir_json_set_text(json, "level", report->level);
    choir_json_set_text(json, "activations", report->activations);
    choir_json_set_text(json, "cache_type_k", report->cache_type_k);
    choir_json_set_text(json, "cache_type_v", report->cache_type_v);
    return choir_print_json(json);
}

static choir_status print_for_people(const choir_fingerprint_report *report)
{
    return choir_print("%s\n"
                       "  depends on      %s activations, %s keys, %s values, and the model\n"
                       "  and not on      %u ranks (tp %u x pp %u), %u threads, %s kernels\n",
                       report->sha256, report->activations, report->cache_type_k,
                       report->cache_type_v, (unsigned)report->n, (unsigned)report->tp,
                       (unsigned)report->pp, (unsigned)report->threads, report->level);
}

choir_status choir_verb_fingerprint(int argc, char **argv)
{
    fingerprint_options options = {0};
    choir_engine_options engine = choir_engine_options_default();
    const choir_flag_group groups[] = {
        {"Output", flags, sizeof flags / sizeof flags[0], &options},
        choir_rank_flags(&engine),
        choir_engine_flags(&engine),
    };
    const choir_command command = {
        "choir fingerprint",
        "--model FILE [FLAGS]",
        "Runs fixed token sequences alone, together, in chunks and one token at a time, checks "
        "that "
        "all ways give the same bits, and prints their SHA-256 (docs/numerics.md).",
        "choir fingerprint --model model.gguf\n"
        "choir fingerprint --model model.gguf -n 3 --threads 2 --level ref --json",
        groups,
        sizeof groups / sizeof groups[0],
    };
    choir_fingerprint_report report;
    int n_rest;
    bool is_help_shown;
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (n_rest > 0)
        return choir_fail(CHOIR_EUSAGE, "unexpected argument %.40s; `choir fingerprint --help`",
                          argv[0]);
    const choir_service_options wanted = {
        .engine = &engine,
        .log_file = options.log_file,
        .progress = choir_interrupt_show_progress,
    };
    choir_interrupt_install();
    status = choir_service_fingerprint(&wanted, options.is_long, &report);
    choir_progress(NULL);
    if (status == CHOIR_OK && report.difference[0])
        status = choir_fail(CHOIR_EINTERNAL, "no fingerprint, since two ways differ: %s",
                            report.difference);
    if (status != CHOIR_OK)
        return status;
    return options.is_json ? print_as_json(&report) : print_for_people(&report);
}
