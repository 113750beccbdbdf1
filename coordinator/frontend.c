/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/frontend.h"

#include "common/clock.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "coordinator/frontend_control.h"
#include "coordinator/frontend_loop.h"
#include "coordinator/frontend_requests.h"
#include "coordinator/frontend_shared.h"
#include "model/model.h"
#include "proto/connection.h"
#include "proto/engine_link.h"
#include "proto/envelope.h"
#include "proto/socket.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct choir_frontend {
    choir_frontend_shared shared;
    choir_frontend_loop loop;
    choir_frontend_control control;
    pthread_t loop_thread, control_thread;
    bool has_shared, has_loop_thread, has_control_thread;
    bool owns_connection_file;
};

/* ---- making ---- */

static uint32_t or_default(uint32_t value, uint32_t otherwise, uint32_t most)
{
    if (value == 0)
        return otherwise;
    return value < most ? value : most;
}

static choir_status set_model_name(const choir_frontend_options *options,
                                   choir_frontend_setup *setup)
{
    const char *slash = strrchr(options->model_path, '/');
    const char *name = options->served_model_name ? options->served_model_name
                       : slash                    ? slash + 1
                                                  : options->model_path;
    const int length = snprintf(setup->model, sizeof setup->model, "%s", name);
    if (length < 1 || length >= (int)sizeof setup->model ||
        !choir_utf8_is_valid(name, (size_t)length))
        return choir_fail(CHOIR_EUSAGE,
                          "the model's name must be UTF-8 of 1 to 127 bytes; give one with "
                          "--served-model-name");
    if (!options->served_model_name && length > 5 && strcmp(name + length - 5, ".gguf") == 0)
        setup->model[length - 5] = 0;
    return CHOIR_OK;
}

static size_t longest_piece(const choir_tokenizer *tokenizer)
{
    size_t longest = 0;
    for (int32_t id = 0; id < choir_tokenizer_size(tokenizer); id++) {
        const char *bytes;
        size_t length;
        choir_tokenizer_piece(tokenizer, id, &bytes, &length);
        longest = length > longest ? length : longest;
    }
    return longest;
}

static choir_status open_model(const choir_frontend_options *options, choir_frontend_setup *setup)
{
    choir_model *model = NULL;
    choir_status status = set_model_name(options, setup);
    if (status == CHOIR_OK)
        status = choir_model_open_header(options->model_path, &model);
    if (status == CHOIR_OK)
        status = choir_tokenizer_create(choir_model_gguf(model), &setup->tokenizer);
    if (status == CHOIR_OK) {
        /* Without a template everything but chat works. */
        const choir_status recognised =
            choir_chat_recognise(choir_model_gguf(model), &setup->chat_template);
        setup->limits.has_template = recognised == CHOIR_OK;
        setup->limits.n_vocab = choir_tokenizer_size(setup->tokenizer);
        setup->limits.longest_piece = longest_piece(setup->tokenizer);
        setup->limits.model = setup->model;
        snprintf(setup->architecture, sizeof setup->architecture, "%s",
                 choir_model_hparams(model)->architecture);
    }
    choir_model_destroy(&model);
    return status;
}

static choir_status bind_router(const char *endpoint, choir_socket **socket,
                                char bound[CHOIR_ENDPOINT_BYTES])
{
    choir_status status =
        choir_socket_create(CHOIR_SOCKET_ROUTER, CHOIR_CLIENT_MESSAGE_MAX, socket);
    if (status == CHOIR_OK)
        status = choir_socket_bind(*socket, endpoint);
    if (status == CHOIR_OK)
        status = choir_socket_bound(*socket, bound, CHOIR_ENDPOINT_BYTES);
    return status;
}

static choir_status open_clients(const choir_frontend_options *options, choir_frontend *frontend)
{
    choir_frontend_setup *setup = &frontend->shared.setup;
    char control[CHOIR_ENDPOINT_BYTES];
    choir_status status = choir_endpoint_control(options->listen, control);
    if (status == CHOIR_OK && options->connection_file)
        status = choir_connection_check_free(options->connection_file);
    if (status == CHOIR_OK)
        status = open_model(options, setup);
    if (status == CHOIR_OK)
        status = bind_router(options->listen, &frontend->loop.socket, setup->endpoint);
    if (status == CHOIR_OK)
        status = bind_router(control, &frontend->control.socket, setup->control);
    if (status == CHOIR_OK && options->connection_file)
        status = choir_copy_string(options->connection_file, strlen(options->connection_file),
                                   &setup->connection_file);
    if (status == CHOIR_OK)
        status = choir_frontend_write_connection(&frontend->shared, CHOIR_FRONTEND_LAUNCHING);
    frontend->owns_connection_file = status == CHOIR_OK && setup->connection_file;
    return status;
}

/* Signals are for the program's own threads; those that a thread brings on itself cannot be moved.
 */
static choir_status start_thread(pthread_t *thread, void *(*run)(void *), void *argument,
                                 bool *has_thread)
{
    static const int own[] = {SIGBUS, SIGFPE, SIGILL, SIGSEGV};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        sigdelset(&blocked, own[i]);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    const int failed = pthread_create(thread, NULL, run, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return choir_fail(CHOIR_ENOMEM, "cannot start a thread: %s", strerror(failed));
    *has_thread = true;
    return CHOIR_OK;
}

static choir_status open_all(const choir_frontend_options *options, choir_frontend *frontend)
{
    choir_frontend_setup *setup = &frontend->shared.setup;
    setup->max_requests = or_default(options->max_requests, 1024, CHOIR_REQUEST_SLOTS_MAX);
    setup->max_requests_per_client = or_default(options->max_requests_per_client, 256, UINT32_MAX);
    setup->max_clients = or_default(options->max_clients, 4096, UINT32_MAX);
    setup->credit_wait_us = 1000 * (int64_t)or_default(options->credit_wait_ms, 60000, UINT32_MAX);
    setup->started_us = choir_clock_us();
    choir_status status = choir_frontend_shared_open(&frontend->shared);
    frontend->has_shared = true;
    if (status == CHOIR_OK)
        status = choir_engine_link_bind(options->engine_endpoint, &frontend->loop.link);
    if (status == CHOIR_OK && options->listen)
        status = open_clients(options, frontend);
    frontend->loop.shared = frontend->control.shared = &frontend->shared;
    if (status == CHOIR_OK)
        status = start_thread(&frontend->loop_thread, choir_frontend_loop_run, &frontend->loop,
                              &frontend->has_loop_thread);
    if (status == CHOIR_OK && options->listen)
        status = start_thread(&frontend->control_thread, choir_frontend_control_run,
                              &frontend->control, &frontend->has_control_thread);
    return status;
}

choir_status choir_frontend_create(const choir_frontend_options *options, choir_frontend **frontend)
{
    *frontend = NULL;
    if (!options->engine_endpoint || (options->listen && !options->model_path))
        return choir_fail(CHOIR_EUSAGE, "a front end needs an engine endpoint and a model file");
    choir_status status = choir_alloc(1, sizeof **frontend, (void **)frontend);
    if (status != CHOIR_OK)
        return status;
    status = open_all(options, *frontend);
    if (status != CHOIR_OK)
        choir_frontend_destroy(frontend);
    return status;
}

/* ---- ending ---- */

void choir_frontend_stop(choir_frontend *frontend)
{
    choir_frontend_shared *shared = &frontend->shared;
    if (frontend->has_loop_thread || frontend->has_control_thread) {
        pthread_mutex_lock(&shared->lock);
        shared->asked_stop = true;
        pthread_mutex_unlock(&shared->lock);
        choir_frontend_wake(shared->wake_requests);
        choir_frontend_wake(shared->wake_control);
    }
    if (frontend->has_loop_thread)
        pthread_join(frontend->loop_thread, NULL);
    if (frontend->has_control_thread)
        pthread_join(frontend->control_thread, NULL);
    frontend->has_loop_thread = frontend->has_control_thread = false;
    if (frontend->owns_connection_file)
        choir_connection_remove(shared->setup.connection_file);
    frontend->owns_connection_file = false;
    choir_socket_destroy(&frontend->loop.socket);
    choir_socket_destroy(&frontend->control.socket);
    choir_engine_link_destroy(&frontend->loop.link);
}

void choir_frontend_destroy(choir_frontend **frontend)
{
    if (!*frontend)
        return;
    choir_frontend_stop(*frontend);
    if ((*frontend)->has_shared)
        choir_frontend_shared_close(&(*frontend)->shared);
    free(*frontend);
    *frontend = NULL;
}

/* ---- waiting and looking ---- */

/* Under the lock: waits for a change, false when the deadline has passed. */
static bool wait_change(choir_frontend_shared *shared, const struct timespec *deadline)
{
    if (!deadline)
        return pthread_cond_wait(&shared->changed, &shared->lock) == 0;
    return pthread_cond_timedwait(&shared->changed, &shared->lock, deadline) != ETIMEDOUT;
}

void choir_frontend_engine_lost(choir_frontend *frontend, const char *words)
{
    choir_frontend_shared *shared = &frontend->shared;
    pthread_mutex_lock(&shared->lock);
    shared->asked_lost = true;
    choir_frontend_copy_words(shared->lost_words, sizeof shared->lost_words, words);
    choir_frontend_wake(shared->wake_requests);
    while (shared->asked_lost && shared->state != CHOIR_FRONTEND_SHUTDOWN)
        wait_change(shared, NULL);
    pthread_mutex_unlock(&shared->lock);
}

static struct timespec deadline_after(int timeout_ms)
{
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += timeout_ms / 1000;
    deadline.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (deadline.tv_nsec >= 1000000000L) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000L;
    }
    return deadline;
}

/* What callers wait for. */
static bool is_ready(const choir_frontend_shared *shared)
{
    return shared->state == CHOIR_FRONTEND_READY;
}

static bool has_fingerprint(const choir_frontend_shared *shared)
{
    return shared->has_fingerprint;
}

static bool has_bench(const choir_frontend_shared *shared)
{
    return shared->bench != NULL;
}

/* Under the lock: waits until that is there, or cannot come. */
static choir_status wait_engine(choir_frontend_shared *shared,
                                bool (*is_there)(const choir_frontend_shared *), int timeout_ms)
{
    const struct timespec deadline = deadline_after(timeout_ms > 0 ? timeout_ms : 0);
    for (;;) {
        if (is_there(shared))
            return CHOIR_OK;
        if (shared->state == CHOIR_FRONTEND_FAILED)
            return choir_fail(shared->failed_status, "%s", shared->failed_words);
        if (shared->state == CHOIR_FRONTEND_SHUTDOWN)
            return choir_fail(CHOIR_EUNAVAILABLE, "the service is shutting down");
        if (!wait_change(shared, timeout_ms < 0 ? NULL : &deadline))
            return choir_fail(CHOIR_ETIMEOUT, "the engine is not ready yet");
    }
}

choir_status choir_frontend_wait_ready(choir_frontend *frontend, int timeout_ms,
                                       choir_engine_report *report)
{
    choir_frontend_shared *shared = &frontend->shared;
    *report = (choir_engine_report){0};
    pthread_mutex_lock(&shared->lock);
    choir_status status = wait_engine(shared, is_ready, timeout_ms);
    if (status == CHOIR_OK)
        status = choir_engine_report_copy(&shared->report, report);
    pthread_mutex_unlock(&shared->lock);
    return status;
}

choir_status choir_frontend_wait_fingerprint(choir_frontend *frontend, int timeout_ms,
                                             choir_fingerprint_report *report)
{
    choir_frontend_shared *shared = &frontend->shared;
    *report = (choir_fingerprint_report){0};
    pthread_mutex_lock(&shared->lock);
    const choir_status status = wait_engine(shared, has_fingerprint, timeout_ms);
    if (status == CHOIR_OK)
        *report = shared->fingerprint;
    pthread_mutex_unlock(&shared->lock);
    return status;
}

choir_status choir_frontend_wait_bench(choir_frontend *frontend, int timeout_ms, char **rows)
{
    choir_frontend_shared *shared = &frontend->shared;
    *rows = NULL;
    pthread_mutex_lock(&shared->lock);
    choir_status status = wait_engine(shared, has_bench, timeout_ms);
    if (status == CHOIR_OK)
        status = choir_copy_string(shared->bench, strlen(shared->bench), rows);
    pthread_mutex_unlock(&shared->lock);
    return status;
}

const char *choir_frontend_endpoint(const choir_frontend *frontend)
{
    return frontend->shared.setup.endpoint;
}

const char *choir_frontend_control_endpoint(const choir_frontend *frontend)
{
    return frontend->shared.setup.control;
}

void choir_frontend_count(choir_frontend *frontend, choir_frontend_counters *counters)
{
    pthread_mutex_lock(&frontend->shared.lock);
    *counters = frontend->shared.counters;
    counters->state = frontend->shared.state;
    pthread_mutex_unlock(&frontend->shared.lock);
}
