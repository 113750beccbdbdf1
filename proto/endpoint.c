/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/endpoint.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IPC_PATH_MAX = 107 }; /* sun_path without its NUL */

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

choir_status choir_runtime_folder(char folder[CHOIR_PATH_BYTES])
{
    struct stat info;
    const char *base = getenv("XDG_RUNTIME_DIR");
    /* After `su` the variable may name another user's folder, or one that is gone. */
    const int length = base && base[0] == '/' && access(base, W_OK) == 0
                           ? snprintf(folder, CHOIR_PATH_BYTES, "%s/choir", base)
                           : snprintf(folder, CHOIR_PATH_BYTES, "/tmp/choir-%ld", (long)getuid());
    if (length < 0 || length >= CHOIR_PATH_BYTES)
        return choir_fail(CHOIR_EUSAGE, "XDG_RUNTIME_DIR is too long");
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return choir_fail(CHOIR_EIO, "%s: %s", folder, strerror(errno));
    if (lstat(folder, &info) != 0)
        return choir_fail(CHOIR_EIO, "%s: %s", folder, strerror(errno));
    if (!S_ISDIR(info.st_mode) || info.st_uid != getuid() || (info.st_mode & 077) != 0)
        return choir_fail(CHOIR_EUSAGE, "%s: not a folder of yours that is closed to others (0700)",
                          folder);
    return CHOIR_OK;
}

choir_status choir_connection_path(char path[CHOIR_PATH_BYTES])
{
    char folder[CHOIR_PATH_BYTES];
    const choir_status status = choir_runtime_folder(folder);
    if (status != CHOIR_OK)
        return status;
    const int length = snprintf(path, CHOIR_PATH_BYTES, "%s/choir.json", folder);
    if (length < 0 || length >= CHOIR_PATH_BYTES)
        return choir_fail(CHOIR_EUSAGE, "%s: path too long", folder);
    return CHOIR_OK;
}

choir_status choir_endpoint_make(const char *stem, char endpoint[CHOIR_ENDPOINT_BYTES])
{
    static atomic_uint n_made;
    char folder[CHOIR_PATH_BYTES];
    const choir_status status = choir_runtime_folder(folder);
    if (status != CHOIR_OK)
        return status;
    const int length = snprintf(endpoint, CHOIR_ENDPOINT_BYTES, "ipc://%s/%s-%ld-%u", folder, stem,
                                (long)getpid(), atomic_fetch_add(&n_made, 1));
    /* Room for the control endpoint's ending. */
    if (length < 0 || length - 6 + (int)strlen(".control") > IPC_PATH_MAX)
        return choir_fail(CHOIR_EUSAGE,
                          "%s: too long for a socket's path (%d bytes); set "
                          "XDG_RUNTIME_DIR to a shorter folder",
                          folder, IPC_PATH_MAX);
    return CHOIR_OK;
}

/* The port of tcp://HOST:PORT; 0 for `*`, -1 if there is none that fits. */
static long port_of(const char *endpoint)
{
    const char *colon = strrchr(endpoint, ':');
    char *end;
    if (strcmp(colon + 1, "*") == 0)
        return 0;
    if (colon[1] < '0' || colon[1] > '9')
        return -1;
    const long port = strtol(colon + 1, &end, 10);
    return *end == 0 && port > 0 && port < 65535 ? port : -1;
}

static bool is_loopback(const char *host, size_t length)
{
    if (length == strlen("localhost") && strncmp(host, "localhost", length) == 0)
        return true;
    if (length == strlen("[::1]") && strncmp(host, "[::1]", length) == 0)
        return true;
    size_t n_dots = 0;
    for (size_t i = 0; i < length; i++) {
        if (host[i] != '.' && (host[i] < '0' || host[i] > '9'))
            return false;
        n_dots += host[i] == '.';
    }
    return n_dots == 3 && strncmp(host, "127.", 4) == 0;
}

static choir_status check_tcp(const char *endpoint)
{
    const char *host = endpoint + strlen("tcp://"), *colon = strrchr(host, ':');
    if (!colon || colon == host || port_of(endpoint) < 0)
        return choir_fail(CHOIR_EUSAGE,
                          "%s: write tcp://127.0.0.1:PORT with a port from 1 to 65534", endpoint);
    if (!is_loopback(host, (size_t)(colon - host)))
        return choir_fail(CHOIR_EUNSUPPORTED,
                          "%s: this version has no encryption, so it listens on loopback only; use "
                          "tcp://127.0.0.1:PORT (through an ssh tunnel) or ipc://PATH",
                          endpoint);
    return CHOIR_OK;
}

choir_status choir_endpoint_check(const char *endpoint)
{
    const size_t length = strlen(endpoint);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)endpoint[i] < 0x20 || endpoint[i] == 0x7f)
            return choir_fail(CHOIR_EUSAGE, "the endpoint holds a control character");
    if (length + strlen(".control") >= CHOIR_ENDPOINT_BYTES)
        return choir_fail(CHOIR_EUSAGE, "the endpoint is too long");
    if (starts_with(endpoint, "tcp://"))
        return check_tcp(endpoint);
    if (starts_with(endpoint, "ipc://") && endpoint[6] == '/') {
        if (length - 6 + strlen(".control") > IPC_PATH_MAX)
            return choir_fail(CHOIR_EUSAGE, "%s: the path may have %zu bytes, not %zu", endpoint,
                              IPC_PATH_MAX - strlen(".control"), length - 6);
        return CHOIR_OK;
    }
    if (starts_with(endpoint, "inproc://") && endpoint[9])
        return CHOIR_OK;
    return choir_fail(CHOIR_EUSAGE, "%s: write ipc:///FULL/PATH or tcp://127.0.0.1:PORT", endpoint);
}

choir_status choir_endpoint_control(const char *endpoint, char control[CHOIR_ENDPOINT_BYTES])
{
    const choir_status status = choir_endpoint_check(endpoint);
    if (status != CHOIR_OK)
        return status;
    if (!starts_with(endpoint, "tcp://")) {
        snprintf(control, CHOIR_ENDPOINT_BYTES, "%s.control", endpoint);
        return CHOIR_OK;
    }
    const long port = port_of(endpoint);
    const int n_host = (int)(strrchr(endpoint, ':') - endpoint);
    if (port == 0)
        snprintf(control, CHOIR_ENDPOINT_BYTES, "%.*s:*", n_host, endpoint);
    else
        snprintf(control, CHOIR_ENDPOINT_BYTES, "%.*s:%ld", n_host, endpoint, port + 1);
    return CHOIR_OK;
}
