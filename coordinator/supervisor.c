/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread does it all: it forks mpirun (and so has to live as long as mpirun: the signal that
 * ends the job with its parent is tied to the thread that forked), then sleeps in poll() on
 *
 *     the pipe with the job's output  →  log file, choir_job_output
 *     a descriptor of the process     →  its end: kill what it left, sum up, tell
 *     an eventfd                      →  choir_supervisor_kill()
 *
 * A kill goes to the ranks and, as SIGTERM, to mpirun, which then removes its files by itself; what
 * still lives after KILL_PATIENCE_US is killed.
 */
#include "coordinator/supervisor.h"

#include "common/clock.h"
#include "common/mem.h"
#include "coordinator/job_output.h"
#include "coordinator/session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum { KILL_PATIENCE_US = 1000000, END_TIMEOUT_MS = 5000, NO_PIDFD_POLL_MS = 50 };

/* The same numbers on every architecture; the C library of older systems has no names for them. */
enum { SYSCALL_PIDFD_OPEN = 434, SYSCALL_CLOSE_RANGE = 436 };
static const unsigned CLOSE_RANGE_ON_EXEC = 4;

typedef enum job_state { STARTING, RUNNING, NOT_STARTED, ENDED } job_state;

struct choir_supervisor {
    pthread_t thread;
    bool has_thread;
    void (*on_end)(void *context, const choir_job_end *end);
    void *context;
    int kill_event, log;
    /* Of the thread alone. */
    char *const *argv;
    char **environment;
    pid_t pid;
    int output_pipe;
    int process;              /* a pidfd; -1 before Linux 5.3: then it looks every 50 ms */
    int64_t kill_deadline_us; /* 0: no kill was asked for */
    choir_job_output output;
    /* Shared. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    job_state state;
    choir_job_end end; /* also why it did not start */
};

static void set_state(choir_supervisor *it, job_state state)
{
    pthread_mutex_lock(&it->lock);
    it->state = state;
    pthread_cond_broadcast(&it->changed);
    pthread_mutex_unlock(&it->lock);
}

/* ---- the child ---- */

/* Between fork and exec: only what is async-signal-safe. Ends with errno in the pipe, or in exec.
 */
static _Noreturn void become_launcher(const choir_supervisor *it, pid_t parent, int output,
                                      int failure)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
    if (getppid() != parent)
        _exit(1);
    const int null = open("/dev/null", O_RDONLY);
    if (null >= 0 && dup2(null, 0) >= 0 && dup2(output, 1) >= 0 && dup2(output, 2) >= 0) {
        if (null > 2)
            close(null);
        /* All of ours are close-on-exec; another library's may not be. */
        syscall(SYSCALL_CLOSE_RANGE, 3U, ~0U, CLOSE_RANGE_ON_EXEC);
        execve(it->argv[0], it->argv, it->environment);
    }
    const int error = errno;
    if (write(failure, &error, sizeof error) < 0)
        _exit(2);
    _exit(1);
}

static choir_status start_child(choir_supervisor *it)
{
    int output[2], failure[2], error = 0;
    if (pipe2(output, O_CLOEXEC) != 0)
        return choir_fail(CHOIR_ENOMEM, "cannot make a pipe: %s", strerror(errno));
    if (pipe2(failure, O_CLOEXEC) != 0) {
        error = errno;
        close(output[0]);
        close(output[1]);
        return choir_fail(CHOIR_ENOMEM, "cannot make a pipe: %s", strerror(error));
    }
    const pid_t parent = getpid();
    it->pid = fork();
    if (it->pid == 0)
        become_launcher(it, parent, output[1], failure[1]);
    const int fork_error = errno;
    close(output[1]);
    close(failure[1]);
    if (it->pid > 0 && read(failure[0], &error, sizeof error) != sizeof error)
        error = 0;
    close(failure[0]);
    it->output_pipe = output[0];
    if (it->pid < 0)
        return choir_fail(CHOIR_ENOMEM, "cannot start a process: %s", strerror(fork_error));
    if (error != 0) {
        waitpid(it->pid, NULL, 0);
        return choir_fail(CHOIR_EUNAVAILABLE, "%s: cannot be run: %s", it->argv[0],
                          strerror(error));
    }
    fcntl(it->output_pipe, F_SETFL, O_NONBLOCK);
    it->process = (int)syscall(SYSCALL_PIDFD_OPEN, it->pid, 0U);
    return CHOIR_OK;
}

/* ---- the watch ---- */

static void write_log(const choir_supervisor *it, const char *bytes, size_t length)
{
    while (it->log >= 0 && length > 0) {
        const ssize_t n = write(it->log, bytes, length);
        if (n <= 0)
            return; /* a full disk costs the log, not the job */
        bytes += n;
        length -= (size_t)n;
    }
}

/* Takes what is in the pipe; at its end closes it. */
static void read_output(choir_supervisor *it)
{
    char bytes[4096];
    ssize_t n;
    if (it->output_pipe < 0)
        return;
    while ((n = read(it->output_pipe, bytes, sizeof bytes)) > 0) {
        write_log(it, bytes, (size_t)n);
        choir_job_output_add(&it->output, bytes, (size_t)n);
    }
    if (n == 0) {
        close(it->output_pipe);
        it->output_pipe = -1;
    }
}

static void begin_kill(choir_supervisor *it)
{
    if (it->kill_deadline_us != 0)
        return;
    it->kill_deadline_us = choir_clock_us() + KILL_PATIENCE_US;
    choir_session_signal(it->pid, it->pid, SIGKILL);
    kill(it->pid, SIGTERM);
}

static int poll_timeout_ms(const choir_supervisor *it)
{
    const int at_most = it->process < 0 ? NO_PIDFD_POLL_MS : -1;
    if (it->kill_deadline_us == 0)
        return at_most;
    const int64_t left_us = it->kill_deadline_us - choir_clock_us();
    return left_us <= 0 ? NO_PIDFD_POLL_MS : (int)(left_us / 1000 + 1);
}

/* Returns when mpirun has ended. */
static int watch(choir_supervisor *it)
{
    int wait_status = 0;
    while (waitpid(it->pid, &wait_status, WNOHANG) != it->pid) {
        struct pollfd events[] = {
            {it->output_pipe, POLLIN, 0},
            {it->process, POLLIN, 0},
            {it->kill_deadline_us == 0 ? it->kill_event : -1, POLLIN, 0},
        };
        poll(events, 3, poll_timeout_ms(it));
        read_output(it);
        if (events[2].revents != 0)
            begin_kill(it);
        if (it->kill_deadline_us != 0 && choir_clock_us() >= it->kill_deadline_us)
            choir_session_signal(it->pid, 0, SIGKILL);
    }
    return wait_status;
}

/* A code that mpirun passes on from a rank is a choir_status, if the rank also told a failure. */
static choir_status status_of(const choir_job_output *output, int wait_status)
{
    const int code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
    if (output->error[0])
        return code > 0 && code <= CHOIR_EFILECHANGED ? (choir_status)code : CHOIR_EENGINE;
    return code == 0 ? CHOIR_OK : CHOIR_EENGINE;
}

static void *run(void *argument)
{
    choir_supervisor *it = argument;
    choir_status status = start_child(it);
    if (status != CHOIR_OK) {
        it->end.status = status;
        snprintf(it->end.words, sizeof it->end.words, "%.500s", choir_error());
        set_state(it, NOT_STARTED);
        return NULL;
    }
    set_state(it, RUNNING);
    const int wait_status = watch(it);
    choir_session_end(it->pid, END_TIMEOUT_MS);
    read_output(it);
    choir_job_output_end(&it->output);
    it->end.status = status_of(&it->output, wait_status);
    choir_job_output_sum_up(&it->output, wait_status, it->end.words, sizeof it->end.words);
    const choir_job_end end = it->end;
    set_state(it, ENDED);
    if (it->on_end)
        it->on_end(it->context, &end);
    return NULL;
}

/* ---- the callers' side ---- */

/* The environment with the launch's variables in the place of others of the same name. */
static choir_status make_environment(char *const *variables, char ***result)
{
    size_t n = 0, n_more = 0;
    while (environ[n])
        n++;
    while (variables[n_more])
        n_more++;
    choir_status status = choir_alloc(n + n_more + 1, sizeof **result, (void **)result);
    if (status != CHOIR_OK)
        return status;
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        bool is_replaced = false;
        for (size_t j = 0; j < n_more; j++) {
            const size_t name_and_sign = strcspn(variables[j], "=") + 1;
            is_replaced |= strncmp(environ[i], variables[j], name_and_sign) == 0;
        }
        if (!is_replaced)
            (*result)[used++] = environ[i];
    }
    memcpy(*result + used, variables, n_more * sizeof *variables);
    return CHOIR_OK;
}

static choir_status open_descriptors(choir_supervisor *it, const char *log_file)
{
    it->kill_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (it->kill_event < 0)
        return choir_fail(CHOIR_ENOMEM, "cannot make an eventfd: %s", strerror(errno));
    if (!log_file)
        return CHOIR_OK;
    it->log = open(log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return it->log >= 0 ? CHOIR_OK
                        : choir_fail(CHOIR_EIO, "%s: cannot be opened for writing: %s", log_file,
                                     strerror(errno));
}

/* Starts the thread and waits until it has started mpirun. */
static choir_status start_thread(choir_supervisor *it)
{
    sigset_t all, before;
    sigfillset(&all);
    /* Signals of the terminal are for the caller's threads. */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    const int error = pthread_create(&it->thread, NULL, run, it);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return choir_fail(CHOIR_ENOMEM, "cannot start a thread: %s", strerror(error));
    it->has_thread = true;
    pthread_mutex_lock(&it->lock);
    while (it->state == STARTING)
        pthread_cond_wait(&it->changed, &it->lock);
    const bool is_started = it->state != NOT_STARTED;
    pthread_mutex_unlock(&it->lock);
    return is_started ? CHOIR_OK : choir_fail(it->end.status, "%s", it->end.words);
}

choir_status choir_supervisor_start(const choir_supervisor_options *options,
                                    choir_supervisor **supervisor)
{
    *supervisor = NULL;
    choir_supervisor *it;
    choir_status status = choir_alloc(1, sizeof *it, (void **)&it);
    if (status != CHOIR_OK)
        return status;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&it->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&it->lock, NULL);
    it->kill_event = it->log = it->output_pipe = it->process = -1;
    it->on_end = options->on_end;
    it->context = options->context;
    it->argv = options->launch->argv;
    choir_session_adopt_orphans();
    status = open_descriptors(it, options->log_file);
    if (status == CHOIR_OK)
        status = make_environment(options->launch->variables, &it->environment);
    if (status == CHOIR_OK)
        status = start_thread(it);
    if (status != CHOIR_OK)
        choir_supervisor_destroy(&it);
    *supervisor = it;
    return status;
}

choir_status choir_supervisor_wait(choir_supervisor *supervisor, int64_t timeout_ms,
                                   choir_job_end *end)
{
    const int64_t deadline_us = choir_clock_us() + (timeout_ms > 0 ? timeout_ms * 1000 : 0);
    const struct timespec deadline = {deadline_us / 1000000, deadline_us % 1000000 * 1000};
    int error = 0;
    pthread_mutex_lock(&supervisor->lock);
    while (supervisor->state != ENDED && error == 0)
        error = timeout_ms < 0
                    ? pthread_cond_wait(&supervisor->changed, &supervisor->lock)
                    : pthread_cond_timedwait(&supervisor->changed, &supervisor->lock, &deadline);
    const bool is_ended = supervisor->state == ENDED;
    if (is_ended && end)
        *end = supervisor->end;
    pthread_mutex_unlock(&supervisor->lock);
    return is_ended ? CHOIR_OK : choir_fail(CHOIR_ETIMEOUT, "the ranks have not ended in time");
}

void choir_supervisor_kill(const choir_supervisor *supervisor)
{
    const uint64_t one = 1;
    const int saved = errno;
    /* It fails only when 2^64 - 2 kills are already waiting. */
    if (write(supervisor->kill_event, &one, sizeof one) < 0)
        errno = saved;
}

static void close_descriptor(int descriptor)
{
    if (descriptor >= 0)
        close(descriptor);
}

void choir_supervisor_destroy(choir_supervisor **supervisor)
{
    choir_supervisor *it = *supervisor;
    *supervisor = NULL;
    if (!it)
        return;
    if (it->has_thread) {
        choir_supervisor_kill(it);
        pthread_join(it->thread, NULL);
    }
    close_descriptor(it->kill_event);
    close_descriptor(it->log);
    close_descriptor(it->output_pipe);
    close_descriptor(it->process);
    pthread_cond_destroy(&it->changed);
    pthread_mutex_destroy(&it->lock);
    free(it->environment);
    free(it);
}
