/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/frontend_shared.h"

#include "common/log.h"
#include "common/mem.h"
#include "common/utf8.h"
#include "proto/connection.h"
#include "proto/envelope.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { CANCELS_MAX = 65536 }; /* that wait, ids counted too */

choir_status choir_frontend_shared_open(choir_frontend_shared *shared)
{
    pthread_condattr_t attributes;
    shared->wake_requests = shared->wake_control = -1;
    if (pthread_mutex_init(&shared->lock, NULL) != 0 || pthread_condattr_init(&attributes) != 0)
        return choir_fail(CHOIR_ENOMEM, "no lock");
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    const int made = pthread_cond_init(&shared->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (made != 0)
        return choir_fail(CHOIR_ENOMEM, "no condition variable");
    shared->wake_requests = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    shared->wake_control = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (shared->wake_requests < 0 || shared->wake_control < 0)
        return choir_fail(CHOIR_ENOMEM, "eventfd: %s", strerror(errno));
    return CHOIR_OK;
}

void choir_frontend_shared_close(choir_frontend_shared *shared)
{
    choir_cancel_destroy(&shared->cancels);
    choir_tokenizer_destroy(&shared->setup.tokenizer);
    choir_engine_report_destroy(&shared->report);
    free(shared->bench);
    free(shared->setup.connection_file);
    shared->setup.connection_file = NULL;
    if (shared->wake_requests > 0)
        close(shared->wake_requests);
    if (shared->wake_control > 0)
        close(shared->wake_control);
    pthread_cond_destroy(&shared->changed);
    pthread_mutex_destroy(&shared->lock);
}

void choir_frontend_wake(int descriptor)
{
    /* A full counter has woken it already. */
    if (eventfd_write(descriptor, 1) != 0 && errno != EAGAIN)
        choir_log(CHOIR_LOG_ERROR, "eventfd: %s", strerror(errno));
}

void choir_frontend_drain(int descriptor)
{
    eventfd_t count;
    if (eventfd_read(descriptor, &count) != 0 && errno != EAGAIN)
        choir_log(CHOIR_LOG_ERROR, "eventfd: %s", strerror(errno));
}

void choir_cancel_destroy(choir_cancel **list)
{
    while (*list) {
        choir_cancel *next = (*list)->next;
        for (size_t i = 0; i < (*list)->n_ids; i++)
            free((*list)->ids[i]);
        free((*list)->ids);
        free(*list);
        *list = next;
    }
}

static choir_cancel *copy_cancel(const Choir__Client__Cancel *cancel)
{
    choir_cancel *copy;
    if (choir_alloc(1, sizeof *copy, (void **)&copy) != CHOIR_OK)
        return NULL;
    choir_status status =
        choir_alloc(cancel->n_request_ids, sizeof *copy->ids, (void **)&copy->ids);
    for (size_t i = 0; i < cancel->n_request_ids && status == CHOIR_OK; i++) {
        const char *id = cancel->request_ids[i];
        const size_t length = strlen(id);
        if (length > CHOIR_REQUEST_ID_BYTES_MAX)
            continue;
        status = choir_copy_string(id, length, &copy->ids[copy->n_ids]);
        copy->n_ids += status == CHOIR_OK;
    }
    if (status != CHOIR_OK)
        choir_cancel_destroy(&copy);
    return copy;
}

void choir_frontend_put_cancel(choir_frontend_shared *shared, const Choir__Client__Cancel *cancel)
{
    if (cancel->session.len != CHOIR_SESSION_BYTES)
        return;
    choir_cancel *copy = copy_cancel(cancel);
    if (!copy)
        return;
    memcpy(copy->session, cancel->session.data, sizeof copy->session);
    pthread_mutex_lock(&shared->lock);
    const size_t n_more = 1 + copy->n_ids;
    if (n_more <= CANCELS_MAX - shared->n_cancels) {
        copy->next = shared->cancels;
        shared->cancels = copy;
        shared->n_cancels += n_more;
        copy = NULL;
    }
    pthread_mutex_unlock(&shared->lock);
    choir_cancel_destroy(&copy);
    choir_frontend_wake(shared->wake_requests);
}

choir_cancel *choir_frontend_take_cancels(choir_frontend_shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    choir_cancel *list = shared->cancels;
    shared->cancels = NULL;
    shared->n_cancels = 0;
    pthread_mutex_unlock(&shared->lock);
    return list;
}

choir_status choir_frontend_write_connection(const choir_frontend_shared *shared,
                                             choir_frontend_state state)
{
    static const choir_connection_state states[] = {
        [CHOIR_FRONTEND_LAUNCHING] = CHOIR_CONNECTION_LAUNCHING,
        [CHOIR_FRONTEND_READY] = CHOIR_CONNECTION_READY,
        [CHOIR_FRONTEND_FAILED] = CHOIR_CONNECTION_FAILED,
        [CHOIR_FRONTEND_SHUTDOWN] = CHOIR_CONNECTION_SHUTDOWN,
    };
    const choir_frontend_setup *setup = &shared->setup;
    choir_connection connection = {.state = states[state]};
    if (!setup->connection_file)
        return CHOIR_OK;
    snprintf(connection.request, sizeof connection.request, "%s", setup->endpoint);
    snprintf(connection.control, sizeof connection.control, "%s", setup->control);
    snprintf(connection.model, sizeof connection.model, "%s", setup->model);
    return choir_connection_write(setup->connection_file, &connection);
}

void choir_frontend_copy_words(char *to, size_t size, const char *from)
{
    const int length = snprintf(to, size, "%s", from);
    if (length >= (int)size)
        to[size - 1 - choir_utf8_incomplete_tail(to, size - 1)] = 0;
}

Choir__Client__State choir_frontend_state_code(choir_frontend_state state)
{
    static const Choir__Client__State codes[] = {
        [CHOIR_FRONTEND_LAUNCHING] = CHOIR__CLIENT__STATE__STATE_LAUNCHING,
        [CHOIR_FRONTEND_READY] = CHOIR__CLIENT__STATE__STATE_READY,
        [CHOIR_FRONTEND_FAILED] = CHOIR__CLIENT__STATE__STATE_FAILED,
        [CHOIR_FRONTEND_SHUTDOWN] = CHOIR__CLIENT__STATE__STATE_SHUTDOWN,
    };
    return codes[state];
}

void choir_frontend_welcome(choir_frontend_shared *shared, Choir__Client__Welcome *welcome)
{
    static char version[] = CHOIR_VERSION;
    *welcome = (Choir__Client__Welcome)CHOIR__CLIENT__WELCOME__INIT;
    welcome->protocol = CHOIR_PROTOCOL;
    welcome->version = version;
    welcome->model = shared->setup.model;
    welcome->max_requests = shared->setup.max_requests_per_client;
    pthread_mutex_lock(&shared->lock);
    welcome->max_model_len = shared->report.max_model_len;
    welcome->state = choir_frontend_state_code(shared->state);
    pthread_mutex_unlock(&shared->lock);
}

choir_error_kind choir_frontend_refusal(choir_frontend_shared *shared,
                                        char words[CHOIR_FRONTEND_WORDS])
{
    static const choir_error_kind kinds[] = {
        [CHOIR_FRONTEND_LAUNCHING] = CHOIR_ERROR_LAUNCHING,
        [CHOIR_FRONTEND_READY] = CHOIR_ERROR_NONE,
        [CHOIR_FRONTEND_FAILED] = CHOIR_ERROR_LOST,
        [CHOIR_FRONTEND_SHUTDOWN] = CHOIR_ERROR_SHUTDOWN,
    };
    pthread_mutex_lock(&shared->lock);
    const choir_error_kind kind = kinds[shared->state];
    snprintf(words, CHOIR_FRONTEND_WORDS, "%s",
             kind == CHOIR_ERROR_LOST ? shared->client_words : "");
    pthread_mutex_unlock(&shared->lock);
    return kind;
}
