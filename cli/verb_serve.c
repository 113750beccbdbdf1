/* SPDX-License-Identifier: Apache-2.0 */
/* `choir serve`: a service in the foreground, from its start report to a signal. */
#include "cli/engine_flags.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/print.h"
#include "cli/report.h"
#include "cli/service.h"
#include "cli/verbs.h"
#include "common/clock.h"
#include "proto/endpoint.h"

#include <stdio.h>
#include <string.h>

typedef struct serve_options {
    const char *listen, *connection_file, *log_file;
    double shutdown_timeout;
} serve_options;

#define AT(member) offsetof(serve_options, member)

static const choir_flag flags[] = {
    {"--listen", "EP",
     "where clients connect: ipc:///path, or tcp://127.0.0.1:PORT (default: an ipc:// socket in "
     "your runtime folder)",
     CHOIR_FLAG_STRING, AT(listen), 0, 0, NULL},
    {"--connection-file", "F",
     "what clients need to find the service (default: choir.json in your runtime folder)",
     CHOIR_FLAG_STRING, AT(connection_file), 0, 0, NULL},
    {"--shutdown-timeout", "S", "seconds until ranks that do not end are killed (default 10)",
     CHOIR_FLAG_REAL, AT(shutdown_timeout), 0.001, 86400, NULL},
    {"--log-file", "F", "add all that mpirun and the ranks print to this file", CHOIR_FLAG_STRING,
     AT(log_file), 0, 0, NULL},
};

static choir_status check_listen(const char *listen)
{
    if (!listen)
        return CHOIR_OK;
    choir_status status = choir_endpoint_check(listen);
    if (status == CHOIR_OK && strncmp(listen, "tcp://", 6) == 0)
        choir_remark("choir: warning: %s is open to every user of this machine, without encryption "
                     "or keys; the default endpoint is open to you alone",
                     listen);
    return status;
}

/* The one that runs: choir_service_stop() nulls it before it is gone. */
static choir_service *service;

static void stop(void)
{
    if (service)
        choir_service_ask_stop(service);
}

/* Runs until a signal or until the ranks die; stops in any case. */
static choir_status run(const char *model, int64_t start_us)
{
    char words[1024] = "";
    choir_status status = choir_report_print_ready(
        stdout, model, choir_service_report(service), choir_service_endpoint(service),
        choir_service_connection_file(service), start_us);
    if (status == CHOIR_OK)
        status = choir_service_wait(service, -1);
    if (status == CHOIR_OK)
        choir_remark("stopping; once more to kill the ranks");
    else
        snprintf(words, sizeof words, "%s", choir_error());
    const choir_status stopped = choir_service_stop(&service);
    return status == CHOIR_OK ? stopped : choir_fail(status, "%s", words);
}

choir_status choir_verb_serve(int argc, char **argv)
{
    const int64_t start_us = choir_clock_us();
    char default_file[CHOIR_PATH_BYTES];
    serve_options options = {.shutdown_timeout = 10};
    choir_engine_options engine = choir_engine_options_default();
    const choir_flag_group groups[] = {
        {"Service", flags, sizeof flags / sizeof flags[0], &options},
        choir_rank_flags(&engine),
        choir_engine_flags(&engine),
    };
    const choir_command command = {
        "choir serve",
        "--model FILE [FLAGS]",
        "Starts the ranks with mpirun, serves clients until Ctrl-C or SIGTERM, and leaves nothing "
        "behind. Exit code 0 after a clean end, 11 if the ranks failed.",
        "choir serve --model model.gguf -n 2\n"
        "choir serve --model model.gguf -n 4 -tp 2 -pp 2 --threads 8 --connection-file choir.json",
        groups,
        sizeof groups / sizeof groups[0],
    };
    int n_rest;
    bool is_help_shown;
    choir_status status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status != CHOIR_OK || is_help_shown)
        return status;
    if (n_rest > 0)
        return choir_fail(CHOIR_EUSAGE, "unexpected argument %.40s; `choir serve --help`", argv[0]);
    status = check_listen(options.listen);
    if (status == CHOIR_OK && !options.connection_file)
        status = choir_connection_path(default_file);
    if (status != CHOIR_OK)
        return status;
    const choir_service_options wanted = {
        .engine = &engine,
        .listen = options.listen,
        .connection_file = options.connection_file ? options.connection_file : default_file,
        .log_file = options.log_file,
        .shutdown_timeout_ms = (int64_t)(options.shutdown_timeout * 1000),
        .progress = choir_interrupt_show_progress,
    };
    choir_interrupt_install();
    status = choir_service_start(&wanted, &service);
    choir_progress(NULL);
    if (status != CHOIR_OK)
        return status == CHOIR_ECANCELLED ? CHOIR_OK : status;
    choir_interrupt_call(stop);
    return run(engine.model, start_us);
}
