/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_job.h"

#include "cli/report.h"
#include "common/json.h"
#include "common/mem.h"
#include "worker/bench.h"

#include <math.h>
#include <stdlib.h>

static choir_bench_test test_of(const choir_bench_word *word)
{
    return (choir_bench_test){word->is_prefill, word->n_tokens, word->batch, word->depth};
}

void choir_bench_job_limit(const choir_bench_job *job, choir_worker_options *settings)
{
    choir_bench_test tests[CHOIR_BENCH_TESTS_MAX];
    for (int i = 0; i < job->n_tests; i++)
        tests[i] = test_of(&job->tests[i]);
    const choir_bench_needs needs = choir_bench_needs_of(tests, job->n_tests);
    settings->max_model_len = needs.max_model_len;
    settings->max_num_seqs = needs.max_num_seqs;
    if (settings->max_num_batched_tokens < needs.max_num_batched_tokens)
        settings->max_num_batched_tokens = needs.max_num_batched_tokens;
}

/* avg_ts, stddev_ts (of the samples, over n - 1), samples_ts: tokens per second. */
static void set_speeds(choir_json *row, const choir_bench_word *test, const int64_t *samples_us,
                       int n)
{
    const double tokens = (double)(test->n_tokens * test->batch);
    choir_json *samples = choir_json_make_array();
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++) {
        const double speed = tokens * 1e6 / (double)(samples_us[i] > 0 ? samples_us[i] : 1);
        sum += speed;
        choir_json_append(samples, choir_json_make_real(speed));
    }
    for (int i = 0; i < n; i++) {
        const double speed = tokens * 1e6 / (double)(samples_us[i] > 0 ? samples_us[i] : 1);
        squares += (speed - sum / n) * (speed - sum / n);
    }
    choir_json_set_real(row, "avg_ts", sum / n);
    choir_json_set_real(row, "stddev_ts", n > 1 ? sqrt(squares / (n - 1)) : 0);
    choir_json_set(row, "samples_ts", samples);
}

static void set_model(choir_json *row, const choir_model *model)
{
    const choir_hparams *hparams = choir_model_hparams(model);
    char types[CHOIR_REPORT_TYPES_BYTES];
    choir_report_types(choir_model_gguf(model), types);
    choir_json_set_text(row, "model", choir_model_path(model));
    choir_json_set_text(row, "model_name",
                        hparams->name[0] ? hparams->name : hparams->architecture);
    choir_json_set_text(row, "model_type", types);
    choir_json_set_integer(row, "model_size", (int64_t)choir_model_file_bytes(model));
    choir_json_set_integer(row, "model_n_params", hparams->n_parameters);
}

static choir_json *make_row(const choir_bench_word *test, const choir_worker *worker,
                            const choir_engine_options *engine)
{
    const choir_layout *layout = choir_worker_layout(worker);
    choir_json *row = choir_json_make_object();
    char name[CHOIR_BENCH_WORD_BYTES];
    choir_bench_word_write(test, name);
    set_model(row, choir_worker_model(worker));
    choir_json_set_text(row, "test", name);
    choir_json_set_integer(row, "n_prompt", test->is_prefill ? test->n_tokens : 0);
    choir_json_set_integer(row, "n_gen", test->is_prefill ? 0 : test->n_tokens);
    choir_json_set_integer(row, "batch", test->batch);
    choir_json_set_integer(row, "depth", test->depth);
    choir_json_set_integer(row, "ranks", layout->n_ranks);
    choir_json_set_integer(row, "tp", layout->n_shards);
    choir_json_set_integer(row, "pp", layout->n_stages);
    choir_json_set_integer(row, "threads", choir_worker_threads(worker));
    choir_json_set_text(row, "level", choir_level_name(choir_worker_kernels(worker)->level));
    choir_json_set_text(row, "activations", engine->activations);
    choir_json_set_text(row, "cache_type_k", engine->cache_type_k);
    choir_json_set_text(row, "cache_type_v", engine->cache_type_v);
    return row;
}

/* Microseconds a step of one operation over all threads: the mean and the largest of `ns`. */
typedef struct spread {
    double mean_us, most_us;
} spread;

static spread spread_of(const choir_bench_clocks *c, int n_ranks, choir_phase phase, bool is_wait)
{
    spread s = {0};
    int n = 0;
    for (int i = 0; i < n_ranks * c->n_threads; i++) {
        const choir_phase_clock *clock = &c->clocks[i];
        const int64_t ns = is_wait ? clock->wait_ns[phase] : clock->work_ns[phase];
        const double us = (double)ns / 1e3 / (double)c->n_steps;
        s.mean_us += us;
        s.most_us = us > s.most_us ? us : s.most_us;
        n += clock->last_ns != 0; /* a thread that is there */
    }
    s.mean_us /= n > 0 ? n : 1;
    return s;
}

static choir_json *thread_to_json(const choir_bench_clocks *c, int rank, int thread)
{
    const choir_phase_clock *clock = &c->clocks[rank * c->n_threads + thread];
    const double unit = 1e3 * (double)c->n_steps;
    int64_t work_ns = 0, wait_ns = 0;
    choir_json *json = choir_json_make_object();
    for (int phase = 0; phase < CHOIR_PHASE_COUNT; phase++) {
        work_ns += phase == CHOIR_PHASE_OUTSIDE ? 0 : clock->work_ns[phase];
        wait_ns += clock->wait_ns[phase];
    }
    choir_json_set_integer(json, "rank", rank);
    choir_json_set_integer(json, "thread", thread);
    choir_json_set_real(json, "work_us", (double)work_ns / unit);
    choir_json_set_real(json, "wait_us", (double)wait_ns / unit);
    choir_json_set_real(json, "outside_us", (double)clock->work_ns[CHOIR_PHASE_OUTSIDE] / unit);
    return json;
}

/* breakdown: steps, operations (work and the wait behind it) and threads, in us a step. */
static void set_breakdown(choir_json *row, const choir_bench_clocks *c, int n_ranks)
{
    choir_json *json = choir_json_make_object(), *operations = choir_json_make_array();
    choir_json *threads = choir_json_make_array();
    for (int phase = 0; phase < CHOIR_PHASE_COUNT; phase++) {
        const spread work = spread_of(c, n_ranks, (choir_phase)phase, false);
        const spread wait = spread_of(c, n_ranks, (choir_phase)phase, true);
        choir_json *operation = choir_json_make_object();
        choir_json_set_text(operation, "operation", choir_phase_name((choir_phase)phase));
        choir_json_set_real(operation, "work_us", work.mean_us);
        choir_json_set_real(operation, "most_work_us", work.most_us);
        choir_json_set_real(operation, "wait_us", wait.mean_us);
        choir_json_append(operations, operation);
    }
    for (int i = 0; i < n_ranks * c->n_threads; i++)
        if (c->clocks[i].last_ns != 0)
            choir_json_append(threads, thread_to_json(c, i / c->n_threads, i % c->n_threads));
    choir_json_set_integer(json, "steps", (int64_t)c->n_steps);
    choir_json_set(json, "operations", operations);
    choir_json_set(json, "threads", threads);
    choir_json_set(row, "breakdown", json);
}

static choir_status send_rows(choir_engine_link *link, const choir_json *rows)
{
    Choir__Engine__FromEngine message = CHOIR__ENGINE__FROM_ENGINE__INIT;
    Choir__Engine__Bench bench = CHOIR__ENGINE__BENCH__INIT;
    choir_status status = choir_json_dump(rows, &bench.rows);
    if (status != CHOIR_OK)
        return status;
    message.body_case = CHOIR__ENGINE__FROM_ENGINE__BODY_BENCH;
    message.bench = &bench;
    status = choir_engine_link_send(link, &message);
    free(bench.rows);
    return status;
}

/* A length that the model was not made for is measured only where --max-model-len asks for it. */
static choir_status check_lengths(const choir_bench_job *job, const choir_worker *worker,
                                  const choir_engine_options *engine)
{
    const int64_t context = choir_model_hparams(choir_worker_model(worker))->context_length;
    const int64_t most = engine->max_model_len > 0 ? engine->max_model_len : context;
    for (int i = 0; i < job->n_tests; i++) {
        char name[CHOIR_BENCH_WORD_BYTES];
        if (job->tests[i].depth + job->tests[i].n_tokens <= most)
            continue;
        choir_bench_word_write(&job->tests[i], name);
        return choir_fail(CHOIR_EUSAGE,
                          "%s needs more than the %lld positions %s: shorten it or raise "
                          "--max-model-len",
                          name, (long long)most,
                          engine->max_model_len > 0 ? "of --max-model-len"
                                                    : "that the model was made for");
    }
    return CHOIR_OK;
}

choir_status choir_bench_job_run(const choir_bench_job *job, choir_worker *worker,
                                 choir_engine_link *link, const choir_engine_options *engine)
{
    int64_t *samples_us = NULL;
    choir_json *rows = choir_json_make_array();
    choir_status status = check_lengths(job, worker, engine);
    if (status == CHOIR_OK)
        status = choir_alloc((size_t)job->n_samples, sizeof *samples_us, (void **)&samples_us);
    for (int i = 0; status == CHOIR_OK && i < job->n_tests; i++) {
        const choir_bench_test test = test_of(&job->tests[i]);
        choir_json *row = make_row(&job->tests[i], worker, engine);
        choir_bench_clocks clocks = {0};
        status = choir_bench_run(worker, &test, job->n_samples, samples_us,
                                 job->has_breakdown ? &clocks : NULL);
        if (status == CHOIR_OK && choir_worker_is_lead(worker))
            set_speeds(row, &job->tests[i], samples_us, job->n_samples);
        if (status == CHOIR_OK && choir_worker_is_lead(worker) && job->has_breakdown)
            set_breakdown(row, &clocks, choir_worker_layout(worker)->n_ranks);
        free(clocks.clocks);
        choir_json_append(rows, row);
    }
    if (status == CHOIR_OK && choir_worker_is_lead(worker))
        status = send_rows(link, rows);
    choir_json_destroy(&rows);
    free(samples_us);
    return status;
}
