/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/interrupt.h"

#include "cli/print.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

static volatile sig_atomic_t n_interrupts;
static volatile sig_atomic_t is_terminated;
static void (*volatile call_too)(void);

static void on_signal(int number)
{
    if (number != SIGINT)
        is_terminated = 1;
    n_interrupts = n_interrupts + 1;
    if (call_too)
        call_too();
}

void choir_interrupt_install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal; /* without SA_RESTART: a read of the terminal returns */
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
}

int choir_interrupt_count(void)
{
    return n_interrupts;
}

void choir_interrupt_clear(void)
{
    n_interrupts = 0;
}

/* The signals are blocked but while ppoll waits, so none can come between a look and the wait. */
bool choir_interrupt_wait_input(int descriptor)
{
    struct pollfd input = {.fd = descriptor, .events = POLLIN};
    sigset_t blocked, before;
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGINT);
    (void)sigaddset(&blocked, SIGTERM);
    (void)sigaddset(&blocked, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &blocked, &before);
    while (n_interrupts == 0 && ppoll(&input, 1, NULL, &before) < 0 && errno == EINTR)
        ;
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return n_interrupts == 0;
}

bool choir_interrupt_is_final(void)
{
    return is_terminated != 0;
}

void choir_interrupt_call(void (*call)(void))
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_BLOCK, &all, &before);
    call_too = call;
    if (n_interrupts > 0)
        call();
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
}

bool choir_interrupt_show_progress(void *unused, const char *what, double seconds)
{
    (void)unused;
    choir_progress("%s … %.1f s", what, seconds);
    return n_interrupts == 0;
}
