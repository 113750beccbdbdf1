/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `choir-worker`: one MPI rank. Rank 0 is the lead: it also schedules and samples, and without a
 * supervisor it runs the front end on threads of its own.
 *
 *     mpirun -np 4 choir-worker --model M --listen ipc:///path      alone, with its own front end
 *     mpirun … choir-worker --model M --engine-link ipc:///path     under `choir serve`
 */
#include "cli/bench_job.h"
#include "cli/engine_flags.h"
#include "cli/flags.h"
#include "cli/lead.h"
#include "cli/report.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "coordinator/frontend.h"
#include "worker/comm.h"
#include "worker/fingerprint.h"
#include "worker/probe.h"
#include "worker/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct worker_options {
    const char *engine_link, *listen, *connection_file;
    bool is_fingerprint, is_long;
    const char *bench; /* words of cli/bench_tests.h */
    int64_t n_samples;
    choir_bench_job job; /* what they say */
} worker_options;

#define AT(member) offsetof(worker_options, member)

static const choir_flag worker_flags[] = {
    {"--engine-link", "EP", "where the front end of `choir serve` waits for this job",
     CHOIR_FLAG_STRING, AT(engine_link), 0, 0, NULL},
    {"--listen", "EP", "serve clients here, with a front end in rank 0", CHOIR_FLAG_STRING,
     AT(listen), 0, 0, NULL},
    {"--connection-file", "F", "with --listen: write what clients need to this file",
     CHOIR_FLAG_STRING, AT(connection_file), 0, 0, NULL},
    {"--fingerprint", NULL, "with --engine-link: compute the fingerprint and end", CHOIR_FLAG_BOOL,
     AT(is_fingerprint), 0, 0, NULL},
    {"--long", NULL, "with --fingerprint: a sixth sequence, of 1,100 tokens", CHOIR_FLAG_BOOL,
     AT(is_long), 0, 0, NULL},
    {"--bench", "TESTS", "with --engine-link: measure these tests, such as pp512,tg128, and end",
     CHOIR_FLAG_STRING, AT(bench), 0, 0, NULL},
    {"--samples", "N", "with --bench: of each test (default 5)", CHOIR_FLAG_INTEGER, AT(n_samples),
     1, CHOIR_BENCH_SAMPLES_MAX, NULL},
    {"--breakdown", NULL, "with --bench: tell where the time goes", CHOIR_FLAG_BOOL,
     AT(job.has_breakdown), 0, 0, NULL},
};

static volatile sig_atomic_t stop_is_asked;

static void ask_stop(int signal_number)
{
    (void)signal_number;
    stop_is_asked = 1;
}

/* T11: the model file shrank under its mapping. Nothing but write and _exit is safe here. */
static void on_bus_error(int signal_number)
{
    static const char words[] = "choir: error: the model file shrank while it was in use\n";
    (void)signal_number;
    if (write(STDERR_FILENO, words, sizeof words - 1) < 0)
        _exit(CHOIR_EIO);
    _exit(CHOIR_EFILECHANGED);
}

static void set_signals(bool is_lead)
{
    struct sigaction action = {.sa_handler = on_bus_error};
    sigaction(SIGBUS, &action, NULL);
    /* Only the lead may leave the loop by itself; the others end when it tells them. */
    action.sa_handler = is_lead ? ask_stop : SIG_IGN;
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

/*
 * The cores that this rank may run on, shared between the ranks of the machine that may run on the
 * same: a rank that is bound has its own, others have the machine's or the container's together.
 * Collective.
 */
static choir_status default_threads(const choir_comm *world, int *n_threads)
{
    typedef char text[256];
    choir_comm *node;
    text *all = NULL;
    text mine = "";
    choir_status status = choir_comm_split_node(world, &node);
    if (status != CHOIR_OK)
        return status;
    const int n_cpus = choir_probe_cpus(mine, sizeof mine), n_ranks = choir_comm_size(node);
    int n_same = 0;
    status = choir_comm_agree(node, choir_alloc((size_t)n_ranks, sizeof *all, (void **)&all));
    if (status == CHOIR_OK)
        choir_comm_allgather(node, mine, sizeof mine, all);
    for (int r = 0; status == CHOIR_OK && r < n_ranks; r++)
        n_same += strcmp(all[r], mine) == 0;
    free(all);
    choir_comm_destroy(&node);
    *n_threads = n_same > 0 && n_cpus > n_same ? n_cpus / n_same : 1;
    return status;
}

static choir_status worker_settings(const choir_comm *world, const choir_engine_options *engine,
                                    const worker_options *own, choir_worker_options *settings)
{
    *settings = (choir_worker_options){
        .model_path = engine->model,
        .layout = {.n_shards = (int)engine->tp,
                   .n_stages = (int)engine->pp,
                   .tensor_split = engine->tensor_split.items,
                   .n_tensor_split = (int)engine->tensor_split.n_items,
                   .layer_split = engine->layer_split.items,
                   .n_layer_split = (int)engine->layer_split.n_items},
        .n_threads = (int)engine->threads,
        .level = choir_level_best(),
        .max_model_len = engine->max_model_len,
        .max_num_seqs = engine->max_num_seqs,
        .max_num_batched_tokens = engine->max_num_batched_tokens,
        .kv_cache_memory_bytes = engine->kv_cache_memory_bytes,
        .is_verified = engine->is_verified,
    };
    if (engine->tensor_split.n_items == 0)
        settings->layout.tensor_split = NULL;
    if (engine->layer_split.n_items == 0)
        settings->layout.layer_split = NULL;
    if (own->is_fingerprint) {
        const choir_fingerprint_needs needs = choir_fingerprint_needs_of(own->is_long);
        settings->max_model_len = needs.max_model_len;
        settings->max_num_seqs = needs.max_num_seqs;
        settings->max_num_batched_tokens = needs.max_num_batched_tokens;
    }
    if (own->bench)
        choir_bench_job_limit(&own->job, settings);
    choir_status status = choir_activations_parse(engine->activations, &settings->activations);
    if (status == CHOIR_OK && engine->level)
        status = choir_level_parse(engine->level, &settings->level);
    if (status == CHOIR_OK)
        status = choir_cache_type_parse(engine->cache_type_k, &settings->key_type);
    if (status == CHOIR_OK)
        status = choir_cache_type_parse(engine->cache_type_v, &settings->value_type);
    /* On every rank, since it is collective and only some may have been given --threads. */
    int n_default = 1;
    const choir_status counted = default_threads(world, &n_default);
    if (settings->n_threads == 0)
        settings->n_threads = n_default;
    return status == CHOIR_OK ? counted : status;
}

/* What Ready says. Collective; reports [ranks] are borrowed by *report. */
static void describe(choir_worker *worker, const choir_engine_options *engine, int64_t load_us,
                     choir_rank_report *ranks, choir_engine_report *report)
{
    const choir_layout *layout = choir_worker_layout(worker);
    const choir_step_limits *limits = choir_worker_limits(worker);
    choir_worker_describe(worker, ranks);
    *report = (choir_engine_report){
        .ranks = ranks,
        .n_ranks = (size_t)layout->n_ranks,
        .n_stages = (uint32_t)layout->n_stages,
        .n_shards = (uint32_t)layout->n_shards,
        .max_model_len = (uint32_t)limits->max_model_len,
        .max_num_seqs = (uint32_t)limits->max_num_seqs,
        .load_us = (uint64_t)load_us,
    };
    snprintf(report->activations, sizeof report->activations, "%s", engine->activations);
    snprintf(report->cache_type_k, sizeof report->cache_type_k, "%s", engine->cache_type_k);
    snprintf(report->cache_type_v, sizeof report->cache_type_v, "%s", engine->cache_type_v);
    const char *launch = getenv("CHOIR_LAUNCH"); /* coordinator/launch.h: how it started us */
    snprintf(report->launch, sizeof report->launch, "%s", launch ? launch : choir_comm_library());
    choir_model_identity(choir_worker_model(worker), report->model_identity);
    for (size_t i = 0; i < report->n_ranks; i++)
        report->weights_bytes += ranks[i].weights_bytes;
}

/* Rank 0 in its own words to whoever started the job: the front end, and the terminal without one.
 */
static void tell_failure(choir_engine_link *link, choir_status failure)
{
    char words[1024];
    snprintf(words, sizeof words, "%s", choir_error());
    if (!link || choir_lead_send_failed(link, failure, words) != CHOIR_OK)
        choir_log(CHOIR_LOG_ERROR, "%s", words);
}

static choir_status run_fingerprint(choir_worker *worker, choir_engine_link *link, bool is_long,
                                    const choir_engine_options *engine)
{
    const choir_layout *layout = choir_worker_layout(worker);
    choir_fingerprint fingerprint;
    choir_status status = choir_fingerprint_run(worker, is_long, true, &fingerprint);
    if (status != CHOIR_OK)
        return status;
    choir_fingerprint_report report = {
        .n = (uint32_t)layout->n_ranks,
        .tp = (uint32_t)layout->n_shards,
        .pp = (uint32_t)layout->n_stages,
        .threads = (uint32_t)choir_worker_threads(worker),
    };
    choir_sha256_hex(fingerprint.sha256, report.sha256);
    snprintf(report.activations, sizeof report.activations, "%s", engine->activations);
    snprintf(report.cache_type_k, sizeof report.cache_type_k, "%s", engine->cache_type_k);
    snprintf(report.cache_type_v, sizeof report.cache_type_v, "%s", engine->cache_type_v);
    snprintf(report.level, sizeof report.level, "%s",
             choir_level_name(choir_worker_kernels(worker)->level));
    snprintf(report.difference, sizeof report.difference, "%s", fingerprint.difference);
    if (report.difference[0])
        report.sha256[0] = '\0';
    status = choir_lead_send_fingerprint(link, &report);
    return status == CHOIR_OK ? choir_worker_stop(worker) : status;
}

/* All ranks have a worker: the lead serves, the others follow. */
static choir_status run_worker(choir_worker *worker, const choir_comm *world,
                               choir_engine_link *link, choir_frontend *frontend,
                               const choir_engine_options *engine, const worker_options *own,
                               int64_t start_us)
{
    const bool is_lead = choir_comm_rank(world) == 0;
    choir_rank_report *ranks = NULL;
    choir_engine_report report;
    choir_status status =
        choir_alloc((size_t)choir_comm_size(world), sizeof *ranks, (void **)&ranks);
    status = choir_comm_agree(world, status);
    if (status != CHOIR_OK)
        goto done;
    if (!own->is_fingerprint && !own->bench)
        describe(worker, engine, choir_clock_us() - start_us, ranks, &report);
    if (own->bench) {
        status = choir_bench_job_run(&own->job, worker, link, engine);
    } else if (!is_lead) {
        status = choir_worker_follow(worker);
    } else if (own->is_fingerprint) {
        status = run_fingerprint(worker, link, own->is_long, engine);
    } else {
        status = choir_lead_send_ready(link, &report);
        if (status == CHOIR_OK && frontend)
            status = choir_report_print_ready(stdout, engine->model, &report,
                                              choir_frontend_endpoint(frontend),
                                              own->connection_file, start_us);
        if (status == CHOIR_OK)
            status = choir_lead_serve(worker, link, &report,
                                      &(choir_lead_options){
                                          .keeps_pages = !engine->is_prefix_caching_off,
                                          .max_step_us = engine->max_step_ms * 1000,
                                      },
                                      &stop_is_asked);
    }
done:
    free(ranks);
    return status;
}

/* The front end inside rank 0 (--listen), or only the link to one outside (--engine-link). */
static choir_status open_link(const choir_engine_options *engine, const worker_options *own,
                              choir_frontend **frontend, choir_engine_link **link)
{
    const char *endpoint = own->engine_link ? own->engine_link : "inproc://engine";
    choir_status status = CHOIR_OK;
    if (own->listen) {
        const choir_frontend_options options = {
            .engine_endpoint = endpoint,
            .listen = own->listen,
            .connection_file = own->connection_file,
            .model_path = engine->model,
        };
        status = choir_frontend_create(&options, frontend);
        if (status == CHOIR_OK && strncmp(own->listen, "tcp:", 4) == 0)
            choir_log(CHOIR_LOG_WARNING,
                      "%s is open to every user of this machine, without encryption", own->listen);
    }
    return status == CHOIR_OK ? choir_engine_link_connect(endpoint, link) : status;
}

static choir_status check_options(const choir_engine_options *engine, worker_options *own)
{
    choir_status status = choir_engine_options_check(engine);
    if (status != CHOIR_OK)
        return status;
    if (!own->engine_link == !own->listen)
        return choir_fail(CHOIR_EUSAGE, "choir-worker needs one of --listen and --engine-link");
    if ((own->is_fingerprint || own->bench) && !own->engine_link)
        return choir_fail(CHOIR_EUSAGE, "%s needs --engine-link; use `choir %s`",
                          own->bench ? "--bench" : "--fingerprint",
                          own->bench ? "bench" : "fingerprint");
    own->job.n_samples = (int)own->n_samples;
    return own->bench ? choir_bench_words_parse(own->bench, own->job.tests, &own->job.n_tests)
                      : CHOIR_OK;
}

/* Everything between MPI's start and its end. */
static choir_status run(const choir_comm *world, const choir_engine_options *engine,
                        worker_options *own)
{
    const bool is_lead = choir_comm_rank(world) == 0;
    const int64_t start_us = choir_clock_us();
    choir_engine_link *link = NULL;
    choir_frontend *frontend = NULL;
    choir_worker *worker = NULL;
    choir_worker_options settings;
    choir_status status = check_options(engine, own);
    if (status == CHOIR_OK && is_lead)
        status = open_link(engine, own, &frontend, &link);
    status = choir_comm_agree(world, status);
    if (status == CHOIR_OK)
        status = choir_comm_agree(world, worker_settings(world, engine, own, &settings));
    if (status == CHOIR_OK)
        status = choir_worker_create(world, &settings, &worker);
    if (status == CHOIR_OK)
        status = run_worker(worker, world, link, frontend, engine, own, start_us);
    const bool is_running = worker != NULL;
    if (status != CHOIR_OK && is_lead)
        tell_failure(own->engine_link ? link : NULL, status);
    else if (status != CHOIR_OK && is_running)
        choir_log(CHOIR_LOG_ERROR, "%s", choir_error());
    if (frontend)
        choir_frontend_stop(frontend);
    choir_engine_link_destroy(&link);
    choir_frontend_destroy(&frontend);
    if (status != CHOIR_OK && is_running) /* others may wait in a collective: end the job */
        choir_comm_abort((int)status);
    choir_worker_destroy(&worker);
    return status;
}

/*
 * Between steps a rank's threads sleep; inside one, worker/barrier.h decides how they wait. libgomp
 * reads its setting when it is loaded, so the program starts once more with it. If that fails, it
 * goes on as it is: slower on a busy machine, and as right.
 */
static void let_idle_threads_sleep(char **argv)
{
    char path[4096]; /* the real one, since it names the process in ps and top */
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0 || getenv("OMP_WAIT_POLICY") || setenv("OMP_WAIT_POLICY", "passive", 1) != 0)
        return;
    path[length] = '\0';
    execv(path, argv);
}

int main(int argc, char **argv)
{
    let_idle_threads_sleep(argv);
    choir_engine_options engine = choir_engine_options_default();
    worker_options own = {.n_samples = CHOIR_BENCH_SAMPLES};
    const choir_flag_group groups[] = {
        {"Worker", worker_flags, sizeof worker_flags / sizeof worker_flags[0], &own},
        choir_engine_flags(&engine),
    };
    const choir_command command = {
        .name = "choir-worker",
        .synopsis = "--model FILE (--listen EP | --engine-link EP) [FLAGS]",
        .about = "One MPI rank of a Choir engine; start it with mpirun or srun, or let\n"
                 "`choir serve` start it.",
        .examples =
            "  mpirun -np 2 choir-worker --model model.gguf --listen ipc:///tmp/choir.ipc\n",
        .groups = groups,
        .n_groups = sizeof groups / sizeof groups[0],
    };
    choir_comm *world = NULL;
    int n_rest = 0;
    bool is_help_shown = false;
    choir_status status = choir_comm_start(&world);
    if (status != CHOIR_OK) {
        choir_log(CHOIR_LOG_ERROR, "%s", choir_error());
        return (int)status;
    }
    const bool is_lead = choir_comm_rank(world) == 0;
    char name[32];
    snprintf(name, sizeof name, "rank %d", choir_comm_rank(world));
    choir_log_set_name(name);
    set_signals(is_lead);
    if (!is_lead && !freopen("/dev/null", "w", stdout)) /* one rank speaks */
        choir_log(CHOIR_LOG_WARNING, "cannot open /dev/null");
    status = choir_flags_parse(&command, argc, argv, &n_rest, &is_help_shown);
    if (status == CHOIR_OK && n_rest > 0)
        status = choir_fail(CHOIR_EUSAGE, "unexpected argument %.40s", argv[0]);
    if (status != CHOIR_OK && is_lead)
        choir_log(CHOIR_LOG_ERROR, "%s", choir_error());
    if (status == CHOIR_OK && !is_help_shown)
        status = run(world, &engine, &own);
    choir_comm_destroy(&world);
    choir_comm_finish();
    return (int)status;
}
