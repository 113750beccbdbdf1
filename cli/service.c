/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts and who knows whom:
 *
 *     clients ──ZeroMQ──> front end ──engine link──> rank 0 <──MPI──> other ranks
 *                             ^ engine_lost               ^ started, watched, killed by
 *                             └────────────────────── supervisor
 *
 * A clean end goes from left to right: the front end says goodbye to the clients and Shutdown to
 * rank 0, the ranks end, mpirun ends, the supervisor notices. An unclean one goes the other way.
 */
#include "cli/service.h"

#include "cli/engine_flags.h"
#include "cli/print.h"
#include "common/clock.h"
#include "common/mem.h"
#include "coordinator/frontend.h"
#include "coordinator/job_folder.h"
#include "coordinator/launch.h"
#include "coordinator/supervisor.h"
#include "model/partition.h"
#include "proto/endpoint.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { SHUTDOWN_TIMEOUT_MS = 10000, PROGRESS_MS = 100, EXECUTABLE_CAP = 4096 };

struct choir_service {
    choir_job_folder *folder;
    choir_frontend *frontend;
    choir_supervisor *supervisor;
    choir_engine_report report;
    char summary[256]; /* of the launch */
    char engine_endpoint[CHOIR_ENDPOINT_BYTES];
    char connection_file[EXECUTABLE_CAP]; /* "" for a fingerprint */
    int64_t start_us, shutdown_timeout_ms;
    int changed; /* eventfd: a stop was asked for, or the ranks ended */
    atomic_int n_stops_asked;
    atomic_bool is_engine_lost;
};

/* ---- before anything is started ---- */

/* What the ranks would refuse too, said here in one line and at once; *what describes the load. */
static choir_status check_model(const choir_engine_options *engine, char what[256])
{
    choir_model *model = NULL;
    choir_layout *layout = NULL;
    char bytes[CHOIR_NUMBER_BYTES];
    const choir_layout_options options = choir_engine_options_layout(engine);
    choir_status status = choir_engine_options_check(engine);
    if (status == CHOIR_OK)
        status = choir_model_open(engine->model, &model);
    if (status == CHOIR_OK)
        status = choir_layout_create(choir_model_hparams(model), &options, &layout);
    if (status == CHOIR_OK)
        snprintf(what, 256, "loading %s on %lld rank%s",
                 choir_number_bytes(choir_model_file_bytes(model), bytes),
                 (long long)engine->n_ranks, engine->n_ranks == 1 ? "" : "s");
    choir_layout_destroy(&layout);
    choir_model_destroy(&model);
    return status;
}

/* choir-worker lies beside this program. */
static choir_status find_worker(char path[EXECUTABLE_CAP])
{
    static const char name[] = "choir-worker";
    const ssize_t length = readlink("/proc/self/exe", path, EXECUTABLE_CAP - sizeof name);
    if (length <= 0)
        return choir_fail(CHOIR_EIO, "/proc/self/exe: %s", strerror(errno));
    path[length] = '\0';
    strcpy(strrchr(path, '/') + 1, name);
    if (access(path, X_OK) != 0)
        return choir_fail(CHOIR_EUNAVAILABLE, "%s: %s; it belongs beside choir", path,
                          strerror(errno));
    return CHOIR_OK;
}

/* The worker's arguments: the engine's, then our own. The list is new, its strings are borrowed. */
static choir_status join_arguments(char *const *engine, const char *const *own, const char ***all)
{
    size_t n_engine = 0, n_own = 0;
    while (engine[n_engine])
        n_engine++;
    while (own[n_own])
        n_own++;
    choir_status status = choir_alloc(n_engine + n_own + 1, sizeof **all, (void **)all);
    for (size_t i = 0; status == CHOIR_OK && i < n_engine; i++)
        (*all)[i] = engine[i];
    for (size_t i = 0; status == CHOIR_OK && i < n_own; i++)
        (*all)[n_engine + i] = own[i];
    return status;
}

static choir_status make_launch(const choir_service *service, const choir_engine_options *engine,
                                const char *launcher, const char *const *own, choir_launch **launch)
{
    char worker[EXECUTABLE_CAP];
    char **engine_arguments = NULL;
    const char **arguments = NULL;
    choir_engine_options chosen = *engine;
    choir_machine machine;
    choir_status status = find_worker(worker);
    if (status == CHOIR_OK)
        status = choir_machine_probe(launcher, &machine);
    if (status != CHOIR_OK)
        return status;
    if (chosen.threads == 0) /* decided here, since the binding depends on it */
        chosen.threads = machine.n_cores > engine->n_ranks ? machine.n_cores / engine->n_ranks : 1;
    status = choir_engine_options_to_argv(&chosen, &engine_arguments);
    if (status == CHOIR_OK)
        status = join_arguments(engine_arguments, own, &arguments);
    if (status == CHOIR_OK) {
        const choir_launch_wish wish = {
            .launcher = launcher,
            .worker = worker,
            .worker_arguments = arguments,
            .n_ranks = (int)chosen.n_ranks,
            .n_threads = (int)chosen.threads,
            .folder = service->folder->path,
            .shared_folder = service->folder->shared_path,
        };
        status = choir_launch_create(&wish, &machine, launch);
    }
    free(arguments);
    choir_engine_argv_destroy(&engine_arguments);
    return status;
}

/* ---- starting ---- */

static void wake(const choir_service *service)
{
    const uint64_t one = 1;
    const int saved = errno;
    /* It fails only when 2^64 - 2 calls are already waiting. */
    if (write(service->changed, &one, sizeof one) < 0)
        errno = saved;
}

static void on_job_end(void *context, const choir_job_end *end)
{
    choir_service *service = context;
    choir_frontend_engine_lost(service->frontend, end->words);
    atomic_store(&service->is_engine_lost, true);
    wake(service);
}

static choir_status start_frontend(choir_service *service, const choir_service_options *options,
                                   bool has_clients)
{
    char listen[CHOIR_ENDPOINT_BYTES];
    snprintf(service->engine_endpoint, sizeof service->engine_endpoint, "ipc://%s/engine",
             service->folder->path);
    snprintf(listen, sizeof listen, "ipc://%s/clients", service->folder->path);
    if (has_clients && options->connection_file)
        snprintf(service->connection_file, sizeof service->connection_file, "%s",
                 options->connection_file);
    else if (has_clients)
        snprintf(service->connection_file, sizeof service->connection_file, "%s/choir.json",
                 service->folder->path);
    const choir_frontend_options frontend = {
        .engine_endpoint = service->engine_endpoint,
        .listen = !has_clients      ? NULL
                  : options->listen ? options->listen
                                    : listen,
        .connection_file = has_clients ? service->connection_file : NULL,
        .model_path = options->engine->model,
    };
    return choir_frontend_create(&frontend, &service->frontend);
}

static choir_status start_job(choir_service *service, const choir_service_options *options,
                              const char *const *more)
{
    char *launcher = NULL;
    choir_launch *launch = NULL;
    const char *own[8] = {"--engine-link", service->engine_endpoint};
    for (size_t i = 0; more && more[i]; i++)
        own[i + 2] = more[i];
    choir_status status = choir_launcher_find(NULL, &launcher);
    if (status == CHOIR_OK)
        status = make_launch(service, options->engine, launcher, own, &launch);
    if (status == CHOIR_OK) {
        const choir_supervisor_options supervisor = {
            .launch = launch,
            .log_file = options->log_file,
            .on_end = on_job_end,
            .context = service,
        };
        memcpy(service->summary, launch->summary, sizeof service->summary);
        status = choir_supervisor_start(&supervisor, &service->supervisor);
    }
    choir_launch_destroy(&launch);
    free(launcher);
    return status;
}

static bool report_progress(const choir_service *service, const choir_service_options *options,
                            const char *what)
{
    const double seconds = (double)(choir_clock_us() - service->start_us) / 1e6;
    return !options->progress || options->progress(options->progress_context, what, seconds);
}

/*
 * The front end knows what the lead said of its end, or else the words of the supervisor, and that
 * only as EENGINE; the supervisor may know the code that a rank ended with.
 */
static choir_status explain(const choir_service *service, choir_status status)
{
    char words[1024];
    choir_job_end end;
    snprintf(words, sizeof words, "%s", choir_error());
    if (status != CHOIR_EENGINE ||
        choir_supervisor_wait(service->supervisor, 0, &end) != CHOIR_OK || end.status == CHOIR_OK ||
        end.status == CHOIR_EENGINE)
        return status == CHOIR_OK ? status : choir_fail(status, "%s", words);
    return choir_fail(end.status, "%s", end.words);
}

/* After the loss of the engine. */
static choir_status explain_loss(const choir_service *service)
{
    choir_engine_report unused;
    const choir_status status = choir_frontend_wait_ready(service->frontend, 0, &unused);
    choir_engine_report_destroy(&unused);
    if (status == CHOIR_OK)
        return choir_fail(CHOIR_EINTERNAL, "the engine was lost, and the front end says otherwise");
    return explain(service, status);
}

/*
 * Shuts down and waits until no process is left. An end before that was asked for is not told apart
 * here.
 */
static choir_status end_job(choir_service *service, choir_job_end *end)
{
    choir_frontend_stop(service->frontend);
    choir_status status =
        choir_supervisor_wait(service->supervisor, service->shutdown_timeout_ms, end);
    if (status != CHOIR_OK) {
        choir_supervisor_kill(service->supervisor);
        status = choir_supervisor_wait(service->supervisor, -1, end);
        return choir_fail(status == CHOIR_OK ? CHOIR_EENGINE : status,
                          "the ranks did not end in %.1f s and were killed",
                          (double)service->shutdown_timeout_ms / 1000);
    }
    if (atomic_load(&service->n_stops_asked) > 1)
        return choir_fail(CHOIR_EENGINE, "the ranks were killed as asked");
    return end->status == CHOIR_OK ? CHOIR_OK : choir_fail(CHOIR_EENGINE, "%s", end->words);
}

static void destroy(choir_service *service)
{
    if (service->frontend)
        choir_frontend_stop(service->frontend);
    choir_supervisor_destroy(&service->supervisor);
    choir_frontend_destroy(&service->frontend);
    choir_job_folder_destroy(&service->folder);
    choir_engine_report_destroy(&service->report);
    if (service->changed >= 0)
        close(service->changed);
    free(service);
}

/* All but the job. Threads made here and later leave signals to the caller's thread. */
static choir_status create(const choir_service_options *options, bool has_clients,
                           choir_service **result)
{
    choir_service *service;
    choir_status status = choir_alloc(1, sizeof *service, (void **)&service);
    if (status != CHOIR_OK)
        return status;
    service->start_us = choir_clock_us();
    service->shutdown_timeout_ms =
        options->shutdown_timeout_ms > 0 ? options->shutdown_timeout_ms : SHUTDOWN_TIMEOUT_MS;
    service->changed = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (service->changed < 0)
        status = choir_fail(CHOIR_ENOMEM, "cannot make an eventfd: %s", strerror(errno));
    if (status == CHOIR_OK)
        status = choir_job_folder_create(&service->folder);
    if (status == CHOIR_OK)
        status = start_frontend(service, options, has_clients);
    if (status != CHOIR_OK)
        destroy(service);
    else
        *result = service;
    return status;
}

static choir_status create_and_launch(const choir_service_options *options, bool has_clients,
                                      const char *const *more, choir_service **service)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    choir_status status = create(options, has_clients, service);
    if (status == CHOIR_OK)
        status = start_job(*service, options, more);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

choir_status choir_service_start(const choir_service_options *options, choir_service **service)
{
    char what[256];
    choir_service *created = NULL;
    *service = NULL;
    choir_status status = check_model(options->engine, what);
    if (status == CHOIR_OK)
        status = create_and_launch(options, true, NULL, &created);
    if (status == CHOIR_OK) {
        do {
            if (!report_progress(created, options, what))
                status = choir_fail(CHOIR_ECANCELLED, "cancelled while the model was loading");
            else
                status =
                    choir_frontend_wait_ready(created->frontend, PROGRESS_MS, &created->report);
        } while (status == CHOIR_ETIMEOUT);
        status = explain(created, status);
        memcpy(created->report.launch, created->summary, sizeof created->report.launch);
    }
    if (status != CHOIR_OK && created)
        destroy(created);
    else
        *service = created;
    return status;
}

/* Ranks that give one answer and end: waits for it with `wait`, 100 ms at a time. */
static choir_status run_once(const choir_service_options *options, const char *const *more,
                             const char *doing,
                             choir_status (*wait)(choir_frontend *, void *answer), void *answer)
{
    char what[256];
    choir_service *created = NULL;
    choir_status status = check_model(options->engine, what);
    if (status == CHOIR_OK)
        status = create_and_launch(options, false, more, &created);
    if (status == CHOIR_OK) {
        do {
            if (!report_progress(created, options, doing))
                status = choir_fail(CHOIR_ECANCELLED, "cancelled while %s", doing);
            else
                status = wait(created->frontend, answer);
        } while (status == CHOIR_ETIMEOUT);
        status = explain(created, status);
    }
    /* The ranks end by themselves; whether they do so well is part of the answer. */
    choir_job_end end;
    if (status == CHOIR_OK)
        status = end_job(created, &end);
    if (created)
        destroy(created);
    return status;
}

static choir_status wait_fingerprint(choir_frontend *frontend, void *report)
{
    return choir_frontend_wait_fingerprint(frontend, PROGRESS_MS, report);
}

choir_status choir_service_fingerprint(const choir_service_options *options, bool is_long,
                                       choir_fingerprint_report *report)
{
    const char *const more[] = {"--fingerprint", is_long ? "--long" : NULL, NULL};
    return run_once(options, more, "computing the fingerprint", wait_fingerprint, report);
}

static choir_status wait_bench(choir_frontend *frontend, void *rows)
{
    return choir_frontend_wait_bench(frontend, PROGRESS_MS, rows);
}

choir_status choir_service_bench(const choir_service_options *options, const char *tests,
                                 int n_samples, bool has_breakdown, char **rows)
{
    char samples[16];
    snprintf(samples, sizeof samples, "%d", n_samples);
    const char *const more[] = {
        "--bench", tests, "--samples", samples, has_breakdown ? "--breakdown" : NULL, NULL};
    *rows = NULL;
    choir_status status = run_once(options, more, "measuring", wait_bench, rows);
    if (status != CHOIR_OK) {
        free(*rows);
        *rows = NULL;
    }
    return status;
}

/* ---- running ---- */

const choir_engine_report *choir_service_report(const choir_service *service)
{
    return &service->report;
}

const char *choir_service_endpoint(const choir_service *service)
{
    return choir_frontend_endpoint(service->frontend);
}

const char *choir_service_connection_file(const choir_service *service)
{
    return service->connection_file;
}

choir_status choir_service_wait(choir_service *service, int64_t timeout_ms)
{
    const int64_t deadline_us = choir_clock_us() + timeout_ms * 1000;
    for (;;) {
        if (atomic_load(&service->n_stops_asked) > 0)
            return CHOIR_OK;
        if (atomic_load(&service->is_engine_lost))
            return explain_loss(service);
        const int64_t left_us = deadline_us - choir_clock_us();
        if (timeout_ms >= 0 && left_us <= 0)
            return choir_fail(CHOIR_ETIMEOUT, "the service still runs");
        struct pollfd event = {service->changed, POLLIN, 0};
        uint64_t count;
        /* A signal ends poll(), and its handler may have asked for the stop. */
        if (poll(&event, 1, timeout_ms < 0 ? -1 : (int)(left_us / 1000 + 1)) > 0 &&
            read(service->changed, &count, sizeof count) < 0 && errno != EAGAIN)
            return choir_fail(CHOIR_EINTERNAL, "eventfd: %s", strerror(errno));
    }
}

void choir_service_ask_stop(choir_service *service)
{
    if (atomic_fetch_add(&service->n_stops_asked, 1) > 0 && service->supervisor)
        choir_supervisor_kill(service->supervisor);
    wake(service);
}

choir_status choir_service_stop(choir_service **service)
{
    if (!*service)
        return CHOIR_OK;
    const bool was_lost = atomic_load(&(*service)->is_engine_lost);
    choir_job_end end;
    choir_status status = end_job(*service, &end);
    if (was_lost)
        status = choir_fail(CHOIR_EENGINE, "%s", end.words);
    choir_service *it = *service;
    *service = NULL;
    destroy(it);
    return status;
}
