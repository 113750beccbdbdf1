/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/connection.h"

#include "common/json.h"
#include "common/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BYTES_MAX = 64 << 10, PATH_MAX_BYTES = 4096 };

static const char *const state_names[] = {"LAUNCHING", "READY", "FAILED", "SHUTDOWN"};

const char *choir_connection_state_name(choir_connection_state state)
{
    return state_names[state];
}

static void set_string(choir_json *object, const char *key, const char *text)
{
    choir_json_set(object, key, choir_json_make_string(text, strlen(text)));
}

static choir_status to_json(const choir_connection *connection, char **text)
{
    char host[64] = "";
    gethostname(host, sizeof host - 1);
    choir_json *root = choir_json_make_object(), *endpoints = choir_json_make_object();
    set_string(endpoints, "request", connection->request);
    set_string(endpoints, "control", connection->control);
    choir_json_set(root, "protocol", choir_json_make_integer(1));
    set_string(root, "state", state_names[connection->state]);
    choir_json_set(root, "endpoints", endpoints);
    set_string(root, "model", connection->model);
    set_string(root, "version", CHOIR_VERSION);
    set_string(root, "host", host);
    choir_json_set(root, "pid", choir_json_make_integer(getpid()));
    const choir_status status = choir_json_dump(root, text);
    choir_json_destroy(&root);
    return status;
}

static bool write_all(int fd, const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        const ssize_t n = write(fd, text, left);
        if (n < 0 && errno != EINTR)
            return false;
        text += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

choir_status choir_connection_write(const char *path, const choir_connection *connection)
{
    char temporary[PATH_MAX_BYTES], *text = NULL;
    const int length = snprintf(temporary, sizeof temporary, "%s.%ld.new", path, (long)getpid());
    if (length < 0 || length >= (int)sizeof temporary)
        return choir_fail(CHOIR_EUSAGE, "the connection file's path is too long");
    choir_status status = to_json(connection, &text);
    if (status != CHOIR_OK)
        return status;
    unlink(temporary); /* of a process that had our id and was killed here */
    const int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool is_ok = fd >= 0 && write_all(fd, text) && write_all(fd, "\n");
    if (fd >= 0)
        is_ok = close(fd) == 0 && is_ok;
    if (!is_ok || rename(temporary, path) != 0) {
        status = choir_fail(CHOIR_EIO, "%s: cannot write: %s", path, strerror(errno));
        if (fd >= 0)
            unlink(temporary);
    }
    free(text);
    return status;
}

/* The whole file into text; *length is 0 where it is too long to be one of ours. */
static choir_status read_file(const char *path, char text[FILE_BYTES_MAX], size_t *length)
{
    struct stat info;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    *length = 0;
    if (fd < 0 && errno == ENOENT)
        return choir_fail(CHOIR_EUNAVAILABLE,
                          "%s: no such connection file; start a service with choir serve", path);
    if (fd < 0 || fstat(fd, &info) != 0) {
        const choir_status status = choir_fail(CHOIR_EIO, "%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return status;
    }
    if (!S_ISREG(info.st_mode) || (info.st_mode & 022) != 0) {
        close(fd);
        return choir_fail(CHOIR_EFORMAT, "%s: not a file that only its owner can write", path);
    }
    ssize_t n;
    while (
        *length < FILE_BYTES_MAX &&
        ((n = read(fd, text + *length, FILE_BYTES_MAX - *length)) > 0 || (n < 0 && errno == EINTR)))
        *length += n > 0 ? (size_t)n : 0;
    close(fd);
    if (*length == FILE_BYTES_MAX)
        *length = 0;
    return CHOIR_OK;
}

static bool copy_field(const choir_json *object, const char *key, char *to, size_t size)
{
    const char *text = choir_json_string(choir_json_get(object, key), NULL);
    return text && snprintf(to, size, "%s", text) < (int)size;
}

static bool from_json(const choir_json *root, choir_connection *connection)
{
    const choir_json *endpoints = choir_json_get(root, "endpoints");
    const char *state = choir_json_string(choir_json_get(root, "state"), "");
    size_t i = 0;
    while (i < 4 && strcmp(state, state_names[i]) != 0)
        i++;
    connection->state = (choir_connection_state)i;
    connection->pid = (long)choir_json_integer(choir_json_get(root, "pid"), 0);
    return i < 4 && connection->pid > 0 && connection->pid <= INT32_MAX &&
           copy_field(endpoints, "request", connection->request, sizeof connection->request) &&
           copy_field(endpoints, "control", connection->control, sizeof connection->control) &&
           copy_field(root, "model", connection->model, sizeof connection->model) &&
           copy_field(root, "version", connection->version, sizeof connection->version) &&
           copy_field(root, "host", connection->host, sizeof connection->host);
}

choir_status choir_connection_read(const char *path, choir_connection *connection)
{
    char *text = NULL;
    size_t length = 0;
    choir_json *root = NULL;
    *connection = (choir_connection){0};
    choir_status status = choir_alloc(FILE_BYTES_MAX, 1, (void **)&text);
    if (status == CHOIR_OK)
        status = read_file(path, text, &length);
    if (status == CHOIR_OK &&
        (choir_json_parse(text, length, &root) != CHOIR_OK || !from_json(root, connection)))
        status = choir_fail(CHOIR_EFORMAT, "%s: not a connection file of choir serve", path);
    choir_json_destroy(&root);
    free(text);
    return status;
}

static bool is_this_host(const char *host)
{
    char name[64] = "";
    gethostname(name, sizeof name - 1);
    return strcmp(host, name) == 0;
}

choir_status choir_connection_check_free(const char *path)
{
    choir_connection there;
    const choir_status status = choir_connection_read(path, &there);
    if (status == CHOIR_EUNAVAILABLE)
        return CHOIR_OK;
    if (status != CHOIR_OK)
        return status;
    if (there.state == CHOIR_CONNECTION_SHUTDOWN || there.pid == (long)getpid())
        return CHOIR_OK;
    if (is_this_host(there.host) && kill((pid_t)there.pid, 0) != 0 && errno == ESRCH)
        return CHOIR_OK;
    return choir_fail(CHOIR_EUNAVAILABLE,
                      "%s: a service runs already (process %ld on %s); stop it, or choose another "
                      "--connection-file",
                      path, there.pid, there.host);
}

void choir_connection_remove(const char *path)
{
    choir_connection there;
    if (choir_connection_read(path, &there) == CHOIR_OK && there.pid == (long)getpid() &&
        is_this_host(there.host))
        unlink(path);
}
