/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/stop_signals.h"

#include "cli/print.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t n_seen;
static choir_service *volatile *forward_to;

static void on_signal(int number)
{
    (void)number;
    n_seen = n_seen + 1;
    if (forward_to && *forward_to)
        choir_service_ask_stop(*forward_to);
}

void choir_stop_signals_catch(void)
{
    /* Without SA_RESTART: what waits is woken. */
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

bool choir_stop_signals_seen(void)
{
    return n_seen > 0;
}

void choir_stop_signals_forward(choir_service **service)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    forward_to = (choir_service *volatile *)service;
    if (n_seen > 0 && *service)
        choir_service_ask_stop(*service);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

bool choir_stop_signals_progress(void *unused, const char *what, double seconds)
{
    (void)unused;
    choir_progress("%s  %.1f s", what, seconds);
    return !choir_stop_signals_seen();
}
