/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/session.h"

#include "common/clock.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAUSE_US = 5000 };

typedef struct process {
    pid_t pid, parent, session;
    bool is_zombie;
} process;

/* /proc/PID/stat: "pid (command) state parent group session …"; a command may contain anything. */
static bool read_process(int folder, const char *name, process *found)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "%.32s/stat", name);
    const int file = openat(folder, path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    const ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    text[length > 0 ? length : 0] = '\0';
    const char *rest = strrchr(text, ')');
    char state;
    int parent, session;
    if (!rest || sscanf(rest + 1, " %c %d %*d %d", &state, &parent, &session) != 3)
        return false;
    *found = (process){(pid_t)atoi(name), parent, session, state == 'Z' || state == 'X'};
    return true;
}

/* Signals the living, reaps the dead that are our children; counts the living. */
static int sweep(pid_t session, pid_t except, int signal, bool is_reaping)
{
    DIR *folder = opendir("/proc");
    const struct dirent *entry;
    int n_living = 0;
    while (folder && (entry = readdir(folder))) {
        process it;
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
            !read_process(dirfd(folder), entry->d_name, &it) || it.session != session ||
            it.pid == except)
            continue;
        if (it.is_zombie && is_reaping && it.parent == getpid())
            waitpid(it.pid, NULL, WNOHANG);
        if (!it.is_zombie) {
            kill(it.pid, signal);
            n_living++;
        }
    }
    if (folder)
        closedir(folder);
    return n_living;
}

int choir_session_signal(pid_t session, pid_t except, int signal)
{
    return sweep(session, except, signal, false);
}

int choir_session_end(pid_t session, int timeout_ms)
{
    const int64_t deadline = choir_clock_us() + (int64_t)timeout_ms * 1000;
    int n_living = sweep(session, 0, SIGKILL, true);
    while (n_living > 0 && choir_clock_us() < deadline) {
        choir_clock_sleep_us(PAUSE_US);
        n_living = sweep(session, 0, SIGKILL, true);
    }
    /* Those that were killed by the last sweep but one are zombies now. */
    return sweep(session, 0, SIGKILL, true);
}

void choir_session_adopt_orphans(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}
