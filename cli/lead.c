/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/lead.h"

#include "cli/outbox.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "coordinator/scheduler.h"

#include <stdlib.h>
#include <string.h>

enum { IDLE_MS = 200, STEP_TIMES = 256, MESSAGES_AT_ONCE = 256 };

typedef struct lead {
    choir_worker *worker;
    choir_engine_link *link;
    choir_engine_report *report;
    choir_scheduler *scheduler;
    choir_step_builder *builder;
    choir_outbox *outbox;
    int64_t step_us[STEP_TIMES]; /* of the last steps, a ring */
    uint64_t n_steps;
    int64_t last_collect_us;
    int64_t window_start_us; /* throughput is counted in windows of at least a second */
    uint64_t window_start_tokens;
    float throughput;
    bool is_shut_down;
    bool has_rested; /* since the last step there was nothing to compute */
} lead;

/* protobuf structs of the ranks' reports; they point into `reports`. */
static choir_status pack_ranks(const choir_engine_report *report, Choir__Engine__RankReport ***list,
                               Choir__Engine__RankReport **items)
{
    *items = NULL;
    choir_status status = choir_alloc(report->n_ranks, sizeof **list, (void **)list);
    if (status == CHOIR_OK)
        status = choir_alloc(report->n_ranks, sizeof **items, (void **)items);
    for (size_t i = 0; status == CHOIR_OK && i < report->n_ranks; i++) {
        choir_rank_report *from = &report->ranks[i];
        Choir__Engine__RankReport *to = (*list)[i] = *items + i;
        choir__engine__rank_report__init(to);
        to->rank = from->rank;
        to->host = from->host;
        to->stage = from->stage;
        to->shard = from->shard;
        to->threads = from->threads;
        to->bound_cpus = from->bound_cpus;
        to->weights_bytes = from->weights_bytes;
        to->kv_bytes = from->kv_bytes;
        to->rss = from->rss;
        to->first_layer = from->first_layer;
        to->n_layers = from->n_layers;
        to->first_head = from->first_head;
        to->n_heads = from->n_heads;
        to->read_bandwidth = from->read_bandwidth;
        to->memory_free = from->memory_free;
        to->huge_bytes = from->huge_bytes;
        to->level = from->level;
        to->step_us_p50 = from->step_us_p50;
        to->step_us_p99 = from->step_us_p99;
        to->compute_share = from->compute_share;
        to->wait_share = from->wait_share;
        to->exchange_share = from->exchange_share;
        to->bandwidth = from->bandwidth;
    }
    return status;
}

choir_status choir_lead_send_ready(choir_engine_link *link, const choir_engine_report *report)
{
    Choir__Engine__FromEngine message = CHOIR__ENGINE__FROM_ENGINE__INIT;
    Choir__Engine__Ready ready = CHOIR__ENGINE__READY__INIT;
    Choir__Engine__RankReport *items = NULL;
    /* protoc-c's strings are not const; sending only reads them. */
    choir_engine_report texts = *report;
    choir_status status = pack_ranks(report, &ready.ranks, &items);
    if (status == CHOIR_OK) {
        ready.n_ranks = report->n_ranks;
        ready.n_stages = report->n_stages;
        ready.n_shards = report->n_shards;
        ready.max_model_len = report->max_model_len;
        ready.max_num_seqs = report->max_num_seqs;
        ready.activations = texts.activations;
        ready.cache_type_k = texts.cache_type_k;
        ready.cache_type_v = texts.cache_type_v;
        ready.model_identity.data = texts.model_identity;
        ready.model_identity.len = sizeof texts.model_identity;
        ready.weights_bytes = report->weights_bytes;
        ready.load_us = report->load_us;
        ready.launch = texts.launch;
        message.body_case = CHOIR__ENGINE__FROM_ENGINE__BODY_READY;
        message.ready = &ready;
        status = choir_engine_link_send(link, &message);
    }
    free(ready.ranks);
    free(items);
    return status;
}

choir_status choir_lead_send_failed(choir_engine_link *link, choir_status failure,
                                    const char *words)
{
    Choir__Engine__FromEngine message = CHOIR__ENGINE__FROM_ENGINE__INIT;
    Choir__Engine__Failed failed = CHOIR__ENGINE__FAILED__INIT;
    failed.status = (uint32_t)failure;
    failed.error = (char *)(uintptr_t)words;
    message.body_case = CHOIR__ENGINE__FROM_ENGINE__BODY_FAILED;
    message.failed = &failed;
    return choir_engine_link_send(link, &message);
}

choir_status choir_lead_send_fingerprint(choir_engine_link *link,
                                         const choir_fingerprint_report *report)
{
    Choir__Engine__FromEngine message = CHOIR__ENGINE__FROM_ENGINE__INIT;
    Choir__Engine__Fingerprint fingerprint = CHOIR__ENGINE__FINGERPRINT__INIT;
    choir_fingerprint_report texts = *report;
    fingerprint.sha256 = texts.sha256;
    fingerprint.activations = texts.activations;
    fingerprint.cache_type_k = texts.cache_type_k;
    fingerprint.cache_type_v = texts.cache_type_v;
    fingerprint.level = texts.level;
    fingerprint.n = report->n;
    fingerprint.tp = report->tp;
    fingerprint.pp = report->pp;
    fingerprint.threads = report->threads;
    fingerprint.difference = texts.difference;
    message.body_case = CHOIR__ENGINE__FROM_ENGINE__BODY_FINGERPRINT;
    message.fingerprint = &fingerprint;
    return choir_engine_link_send(link, &message);
}

static int by_size(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void count_throughput(lead *l, const choir_scheduler_load *load, int64_t now_us)
{
    const int64_t length_us = now_us - l->window_start_us;
    if (length_us < 1000000)
        return;
    l->throughput = (float)((double)(load->n_generated_tokens - l->window_start_tokens) * 1e6 /
                            (double)length_us);
    l->window_start_us = now_us;
    l->window_start_tokens = load->n_generated_tokens;
}

static choir_status send_status(lead *l, uint64_t serial)
{
    Choir__Engine__FromEngine message = CHOIR__ENGINE__FROM_ENGINE__INIT;
    Choir__Engine__EngineStatus answer = CHOIR__ENGINE__ENGINE_STATUS__INIT;
    Choir__Engine__RankReport *items = NULL;
    choir_scheduler_load load;
    int64_t sorted[STEP_TIMES];
    const size_t n = l->n_steps < STEP_TIMES ? (size_t)l->n_steps : STEP_TIMES;
    choir_scheduler_get_load(l->scheduler, &load);
    count_throughput(l, &load, choir_clock_us());
    memcpy(sorted, l->step_us, sizeof sorted);
    qsort(sorted, n, sizeof sorted[0], by_size);
    choir_worker_refresh(l->worker, l->report->ranks);
    choir_status status = pack_ranks(l->report, &answer.ranks, &items);
    if (status == CHOIR_OK) {
        answer.n_ranks = l->report->n_ranks;
        answer.serial = serial;
        answer.n_running = (uint32_t)load.n_running;
        answer.n_waiting = (uint32_t)load.n_waiting;
        answer.token_usage = (float)load.n_pages_used / (float)load.n_pages;
        answer.gen_throughput = load.n_running > 0 ? l->throughput : 0.0f;
        answer.n_steps = load.n_steps;
        answer.step_us_p50 = n > 0 ? (uint64_t)sorted[n / 2] : 0;
        answer.step_us_p99 = n > 0 ? (uint64_t)sorted[n * 99 / 100] : 0;
        answer.n_prompt_tokens = load.n_prompt_tokens;
        answer.n_generated_tokens = load.n_generated_tokens;
        answer.n_preemptions = load.n_preemptions;
        answer.n_cache_queries = load.n_cache_queries;
        answer.n_cache_hits = load.n_cache_hits;
        answer.n_pages = (uint32_t)load.n_pages;
        answer.n_pages_used = (uint32_t)load.n_pages_used;
        answer.n_pages_kept = (uint32_t)load.n_pages_kept;
        answer.n_rows_gathered = load.n_rows_gathered;
        message.body_case = CHOIR__ENGINE__FROM_ENGINE__BODY_STATUS;
        message.status = &answer;
        status = choir_engine_link_send(l->link, &message);
    }
    free(answer.ranks);
    free(items);
    return status;
}

static choir_sampling read_sampling(const Choir__Engine__Sampling *sampling)
{
    if (!sampling)
        return (choir_sampling){.top_p = 1.0f};
    return (choir_sampling){
        .temperature = sampling->temperature,
        .top_k = (int32_t)sampling->top_k,
        .top_p = sampling->top_p,
        .min_p = sampling->min_p,
        .typical_p = sampling->typical_p,
        .repetition_penalty = sampling->repetition_penalty,
        .frequency_penalty = sampling->frequency_penalty,
        .presence_penalty = sampling->presence_penalty,
        .seed = sampling->seed,
        .choice = (int32_t)sampling->choice,
    };
}

/* bias [n_logit_bias] is the caller's. EINVALID where the words' lengths do not fit their ids. */
static choir_status read_wishes(const Choir__Engine__Submit *s, choir_logit_bias *bias,
                                choir_token_wishes *wishes)
{
    size_t n_ids = 0;
    for (size_t i = 0; i < s->n_bad_word_lengths; i++) {
        if (s->bad_word_lengths[i] < 1 ||
            (size_t)s->bad_word_lengths[i] > s->n_bad_word_ids - n_ids)
            return choir_fail(CHOIR_EINVALID, "bad_words: their lengths do not fit");
        n_ids += (size_t)s->bad_word_lengths[i];
    }
    for (size_t i = 0; i < s->n_logit_bias; i++)
        bias[i] = (choir_logit_bias){s->logit_bias[i]->token_id, s->logit_bias[i]->bias};
    *wishes = (choir_token_wishes){
        .bias = bias,
        .n_bias = s->n_logit_bias,
        .allowed = s->allowed_token_ids,
        .n_allowed = s->n_allowed_token_ids,
        .bad_ids = s->bad_word_ids,
        .bad_lengths = s->bad_word_lengths,
        .n_bad_words = s->n_bad_word_lengths,
        .min_tokens = s->min_tokens,
    };
    return CHOIR_OK;
}

static choir_pooling read_pooling(Choir__Engine__Pooling pooling)
{
    switch (pooling) {
    case CHOIR__ENGINE__POOLING__POOLING_LAST:
        return CHOIR_POOLING_LAST;
    case CHOIR__ENGINE__POOLING__POOLING_MEAN:
        return CHOIR_POOLING_MEAN;
    default:
        return CHOIR_POOLING_NONE;
    }
}

/* A request that the scheduler refuses ends at once, with its words. */
static void submit(lead *l, const Choir__Engine__Submit *s)
{
    choir_logit_bias *bias = NULL;
    choir_token_wishes wishes = {0};
    choir_status status = choir_alloc(s->n_logit_bias, sizeof *bias, (void **)&bias);
    if (status == CHOIR_OK)
        status = read_wishes(s, bias, &wishes);
    const choir_request request = {
        .id = s->id,
        .token_ids = s->token_ids,
        .n_token_ids = (int64_t)s->n_token_ids,
        .sampling = read_sampling(s->sampling),
        .wishes = wishes,
        .max_tokens = s->max_tokens,
        .stop_token_ids = s->stop_token_ids,
        .n_stop_token_ids = (int)s->n_stop_token_ids,
        .wants_logprobs = s->wants_logprobs,
        .n_top = (int)s->n_top,
        .is_score = s->is_score,
        .wants_prompt_logprobs = s->wants_prompt_logprobs,
        .n_prompt_top = (int)s->n_prompt_top,
        .group_id = s->group_id,
        .pooling = read_pooling(s->pooling),
        .is_normalized = s->is_normalized,
        .user_id = s->user_id,
        .priority = s->priority,
        .timeout_us = s->timeout_us <= INT64_MAX ? (int64_t)s->timeout_us : INT64_MAX,
        .cache_salt = s->cache_salt.data,
        .n_cache_salt = s->cache_salt.len,
    };
    const int64_t now_us = choir_clock_us();
    if (status == CHOIR_OK)
        status = choir_scheduler_submit(l->scheduler, &request, now_us);
    free(bias);
    if (status == CHOIR_OK)
        return;
    const choir_output refusal = {.id = s->id,
                                  .finish = CHOIR_FINISH_ERROR,
                                  .status = status,
                                  .error = choir_error(),
                                  .retry_after_us =
                                      status == CHOIR_EUNAVAILABLE
                                          ? choir_scheduler_retry_after_us(l->scheduler, now_us)
                                          : 0};
    choir_outbox_take(l->outbox, &refusal);
}

/* Outputs that a front end would have got that is gone are dropped: serve() sees it, and ends. */
static choir_status send_outputs(lead *l)
{
    const choir_status status = choir_outbox_send(l->outbox, l->link);
    return status == CHOIR_EUNAVAILABLE && choir_engine_link_is_lost(l->link) ? CHOIR_OK : status;
}

static choir_status take_message(lead *l, const Choir__Engine__ToEngine *message)
{
    switch (message->body_case) {
    case CHOIR__ENGINE__TO_ENGINE__BODY_SUBMIT:
        submit(l, message->submit);
        /* Sent here since a refusal's words are this thread's last error. */
        return send_outputs(l);
    case CHOIR__ENGINE__TO_ENGINE__BODY_ABORT:
        choir_scheduler_abort(l->scheduler, message->abort->id, choir_clock_us());
        return send_outputs(l);
    case CHOIR__ENGINE__TO_ENGINE__BODY_STATUS_QUERY:
        return send_status(l, message->status_query->serial);
    case CHOIR__ENGINE__TO_ENGINE__BODY_SHUTDOWN:
        l->is_shut_down = true;
        return CHOIR_OK;
    default:
        return CHOIR_OK;
    }
}

/*
 * Takes what is there, but no flood of it between two steps; waits for the first message only while
 * there is nothing to compute.
 */
static choir_status take_messages(lead *l)
{
    choir_scheduler_load load;
    choir_scheduler_get_load(l->scheduler, &load);
    const bool is_idle = load.n_running + load.n_waiting == 0;
    int timeout_ms = is_idle ? IDLE_MS : 0;
    l->has_rested = l->has_rested || is_idle;
    for (int n = 0; n < MESSAGES_AT_ONCE; n++) {
        Choir__Engine__ToEngine *message;
        choir_status status = choir_engine_link_receive(l->link, timeout_ms, &message);
        if (status == CHOIR_EFORMAT) {
            choir_log(CHOIR_LOG_WARNING, "front end: %s", choir_error());
            continue;
        }
        if (is_idle && n == 0) { /* throughput is that of work, not of rest */
            l->window_start_us = choir_clock_us();
            l->window_start_tokens = load.n_generated_tokens;
        }
        if (status != CHOIR_OK || !message)
            return status;
        status = take_message(l, message);
        choir_to_engine_destroy(&message);
        if (status != CHOIR_OK || l->is_shut_down)
            return status;
        timeout_ms = 0;
    }
    return CHOIR_OK;
}

/* Hands in as many steps as there are stages, as far as there is work for them. */
static choir_status begin_steps(lead *l, int *n_in_flight)
{
    const int n_stages = choir_worker_layout(l->worker)->n_stages;
    choir_status status = CHOIR_OK;
    while (status == CHOIR_OK && *n_in_flight < n_stages &&
           choir_scheduler_next_step(l->scheduler, choir_clock_us(), l->builder)) {
        const void *message;
        size_t bytes;
        if (*n_in_flight == 0)
            l->last_collect_us = choir_clock_us();
        choir_step_builder_finish(l->builder, l->has_rested ? CHOIR_STEP_AFTER_REST : 0, &message,
                                  &bytes);
        l->has_rested = false;
        status = choir_worker_step(l->worker, message, bytes);
        ++*n_in_flight;
    }
    /* Making a step ends requests that are late. */
    return status == CHOIR_OK ? send_outputs(l) : status;
}

static choir_status collect_step(lead *l, int *n_in_flight)
{
    uint64_t step_id;
    const choir_row_result *rows;
    int64_t n_rows;
    choir_status status = choir_worker_collect(l->worker, &step_id, &rows, &n_rows);
    if (status != CHOIR_OK)
        return status;
    --*n_in_flight;
    const int64_t now_us = choir_clock_us();
    l->step_us[l->n_steps++ % STEP_TIMES] = now_us - l->last_collect_us;
    l->last_collect_us = now_us;
    status = choir_scheduler_complete(l->scheduler, step_id, rows, n_rows, now_us);
    if (status == CHOIR_OK)
        status = send_outputs(l);
    choir_scheduler_load load;
    choir_scheduler_get_load(l->scheduler, &load);
    count_throughput(l, &load, now_us);
    return status;
}

static choir_status serve(lead *l, const volatile sig_atomic_t *stop)
{
    choir_status status = CHOIR_OK;
    int n_in_flight = 0;
    while (status == CHOIR_OK && !l->is_shut_down && !*stop &&
           !choir_engine_link_is_lost(l->link)) {
        status = take_messages(l);
        if (status == CHOIR_OK && !l->is_shut_down)
            status = begin_steps(l, &n_in_flight);
        if (status == CHOIR_OK && n_in_flight > 0)
            status = collect_step(l, &n_in_flight);
    }
    while (status == CHOIR_OK && n_in_flight > 0)
        status = collect_step(l, &n_in_flight);
    return status == CHOIR_OK ? choir_worker_stop(l->worker) : status;
}

choir_status choir_lead_serve(choir_worker *worker, choir_engine_link *link,
                              choir_engine_report *report, const choir_lead_options *own,
                              const volatile sig_atomic_t *stop)
{
    lead l = {.worker = worker, .link = link, .report = report};
    l.window_start_us = choir_clock_us();
    choir_status status = choir_outbox_create(&l.outbox);
    const choir_scheduler_options options = {
        .limits = *choir_worker_limits(worker),
        .width = choir_model_hparams(choir_worker_model(worker))->width,
        .n_stages = choir_worker_layout(worker)->n_stages,
        .keeps_pages = own->keeps_pages,
        .max_step_us = own->max_step_us,
        .kernels = choir_worker_kernels(worker),
        .take = choir_outbox_take,
        .context = l.outbox,
    };
    if (status == CHOIR_OK)
        status = choir_scheduler_create(&options, &l.scheduler);
    if (status == CHOIR_OK)
        status = choir_step_builder_create(&options.limits, &l.builder);
    if (status == CHOIR_OK)
        status = serve(&l, stop);
    choir_step_builder_destroy(&l.builder);
    choir_scheduler_destroy(&l.scheduler);
    choir_outbox_destroy(&l.outbox);
    return status;
}
