/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libzmq limits the count of waiting messages and the size of one part, not the number of parts of
 * a message: a peer could make one message of very many parts. Until there is encryption and a list
 * of allowed keys, the 0700 folder and loopback keep strangers away.
 */
#include "proto/socket.h"

#include "common/mem.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

enum { SOCKET_PATH_BYTES = sizeof((struct sockaddr_un *)0)->sun_path };

struct choir_socket {
    void *zmq;
    void *monitor; /* DEALER: tells of connections made and lost */
    bool is_connected, is_inproc;
    size_t n_lost; /* connections */
    bool is_bound;
    char path[SOCKET_PATH_BYTES]; /* of a bound ipc socket, "" if it is none, */
    dev_t device;                 /* and which file that is */
    ino_t inode;
};

struct choir_message {
    zmq_msg_t parts[CHOIR_MESSAGE_PARTS];
    size_t n_parts;
};

static pthread_mutex_t context_lock = PTHREAD_MUTEX_INITIALIZER;
static void *context;
static size_t context_users;

static choir_status context_acquire(void)
{
    choir_status status = CHOIR_OK;
    pthread_mutex_lock(&context_lock);
    if (!context)
        context = zmq_ctx_new();
    if (context)
        context_users++;
    else
        status = choir_fail(CHOIR_ENOMEM, "ZeroMQ: %s", zmq_strerror(zmq_errno()));
    pthread_mutex_unlock(&context_lock);
    return status;
}

static void context_release(void)
{
    pthread_mutex_lock(&context_lock);
    if (--context_users == 0) {
        while (zmq_ctx_term(context) != 0 && zmq_errno() == EINTR)
            continue;
        context = NULL;
    }
    pthread_mutex_unlock(&context_lock);
}

static bool set_int(void *zmq, int option, int value)
{
    return zmq_setsockopt(zmq, option, &value, sizeof value) == 0;
}

static bool configure(void *zmq, choir_socket_kind kind, size_t max_part_bytes)
{
    const int64_t max_bytes = (int64_t)max_part_bytes;
    bool ok = zmq_setsockopt(zmq, ZMQ_MAXMSGSIZE, &max_bytes, sizeof max_bytes) == 0;
    ok = ok && set_int(zmq, ZMQ_LINGER, 1000) && set_int(zmq, ZMQ_HANDSHAKE_IVL, 3000);
    if (kind == CHOIR_SOCKET_PAIR) /* both ends are ours and keep reading */
        return ok && set_int(zmq, ZMQ_IMMEDIATE, 1) && set_int(zmq, ZMQ_SNDHWM, 4096) &&
               set_int(zmq, ZMQ_RCVHWM, 4096);
    ok = ok && set_int(zmq, ZMQ_HEARTBEAT_IVL, 2000) && set_int(zmq, ZMQ_HEARTBEAT_TIMEOUT, 6000) &&
         set_int(zmq, ZMQ_HEARTBEAT_TTL, 6000);
    if (kind == CHOIR_SOCKET_ROUTER)
        return ok && set_int(zmq, ZMQ_ROUTER_MANDATORY, 1) && set_int(zmq, ZMQ_RCVHWM, 16) &&
               set_int(zmq, ZMQ_SNDHWM, 256);
    /*
     * A client's queues have no limit but what the service lets it ask for: a full one would hold
     * up heartbeats, which come in order with messages. No ZMQ_IMMEDIATE here: with it,
     * libzmq 4.3.4 drops a message half read when the connection is lost, and aborts at its next
     * part.
     */
    return ok && set_int(zmq, ZMQ_RCVHWM, 0) && set_int(zmq, ZMQ_SNDHWM, 0);
}

/*
 * A DEALER cannot tell by itself whether it is connected: it takes messages all the same. libzmq's
 * I/O thread, on which all sockets depend, waits until the monitor's events are taken: so their
 * queue has no limit, and the monitor is switched off before its reader goes.
 */
static bool add_monitor(choir_socket *socket)
{
    static atomic_uint n_made;
    char address[64];
    snprintf(address, sizeof address, "inproc://choir-monitor-%u", atomic_fetch_add(&n_made, 1));
    socket->monitor = zmq_socket(context, ZMQ_PAIR);
    return socket->monitor && set_int(socket->monitor, ZMQ_LINGER, 0) &&
           set_int(socket->monitor, ZMQ_RCVHWM, 0) &&
           zmq_socket_monitor(socket->zmq, address,
                              ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) == 0 &&
           zmq_connect(socket->monitor, address) == 0;
}

choir_status choir_socket_create(choir_socket_kind kind, size_t max_part_bytes,
                                 choir_socket **socket)
{
    static const int types[] = {[CHOIR_SOCKET_ROUTER] = ZMQ_ROUTER,
                                [CHOIR_SOCKET_DEALER] = ZMQ_DEALER,
                                [CHOIR_SOCKET_PAIR] = ZMQ_PAIR};
    choir_status status = choir_alloc(1, sizeof **socket, (void **)socket);
    if (status != CHOIR_OK)
        return status;
    status = context_acquire();
    if (status != CHOIR_OK) {
        free(*socket);
        *socket = NULL;
        return status;
    }
    (*socket)->zmq = zmq_socket(context, types[kind]);
    if ((*socket)->zmq && configure((*socket)->zmq, kind, max_part_bytes) &&
        (kind != CHOIR_SOCKET_DEALER || add_monitor(*socket)))
        return CHOIR_OK;
    status = choir_fail(CHOIR_ENOMEM, "ZeroMQ socket: %s", zmq_strerror(zmq_errno()));
    choir_socket_destroy(socket);
    return status;
}

/* libzmq leaves it lying. A later socket of the same name is not ours to remove. */
static void remove_socket_file(const choir_socket *socket)
{
    struct stat info;
    if (socket->path[0] && lstat(socket->path, &info) == 0 && info.st_dev == socket->device &&
        info.st_ino == socket->inode)
        unlink(socket->path);
}

static void unbind(void *zmq)
{
    char endpoint[512];
    size_t size = sizeof endpoint;
    if (zmq_getsockopt(zmq, ZMQ_LAST_ENDPOINT, endpoint, &size) == 0)
        zmq_unbind(zmq, endpoint);
}

void choir_socket_destroy(choir_socket **socket)
{
    if (!*socket)
        return;
    remove_socket_file(*socket);
    if ((*socket)->is_bound) /* at once, while closing takes its time: the name can be used again */
        unbind((*socket)->zmq);
    if ((*socket)->monitor)
        zmq_socket_monitor((*socket)->zmq, NULL, 0);
    if ((*socket)->zmq)
        zmq_close((*socket)->zmq);
    if ((*socket)->monitor)
        zmq_close((*socket)->monitor);
    context_release();
    free(*socket);
    *socket = NULL;
}

/* libzmq removes whatever lies at the path of an ipc endpoint; here only a dead socket may go. */
static choir_status check_path_is_free(const char *path)
{
    struct stat info;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const size_t length = strlen(path);
    if (length >= sizeof address.sun_path)
        return choir_fail(CHOIR_EUSAGE, "ipc://%s: path over %zu bytes", path,
                          sizeof address.sun_path - 1);
    if (lstat(path, &info) != 0)
        return CHOIR_OK;
    if (!S_ISSOCK(info.st_mode))
        return choir_fail(CHOIR_EUSAGE, "ipc://%s: there is a file that is not a socket", path);
    memcpy(address.sun_path, path, length + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return choir_fail(CHOIR_EIO, "ipc://%s: %s", path, strerror(errno));
    const bool is_taken =
        connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 || errno == EAGAIN;
    close(fd);
    return is_taken
               ? choir_fail(CHOIR_EUNAVAILABLE, "ipc://%s: another process listens there", path)
               : CHOIR_OK;
}

/* Closes the file to others and remembers it. Its path fits, or it would not have been bound. */
static choir_status own_socket_file(choir_socket *socket, const char *path)
{
    struct stat info;
    if (chmod(path, 0600) != 0 || lstat(path, &info) != 0)
        return choir_fail(CHOIR_EIO, "ipc://%s: %s", path, strerror(errno));
    memcpy(socket->path, path, strlen(path) + 1);
    socket->device = info.st_dev;
    socket->inode = info.st_ino;
    return CHOIR_OK;
}

/* Only where an address asks for it, since it turns 127.0.0.1 into an IPv6 address. */
static bool allow_ipv6(choir_socket *socket, const char *endpoint)
{
    return !strchr(endpoint, '[') || set_int(socket->zmq, ZMQ_IPV6, 1);
}

choir_status choir_socket_bind(choir_socket *socket, const char *endpoint)
{
    const bool is_ipc = strncmp(endpoint, "ipc://", 6) == 0;
    if (is_ipc) {
        const choir_status status = check_path_is_free(endpoint + 6);
        if (status != CHOIR_OK)
            return status;
    }
    socket->is_bound = allow_ipv6(socket, endpoint) && zmq_bind(socket->zmq, endpoint) == 0;
    if (socket->is_bound)
        return is_ipc ? own_socket_file(socket, endpoint + 6) : CHOIR_OK;
    if (zmq_errno() == EADDRINUSE)
        return choir_fail(CHOIR_EUNAVAILABLE, "%s: another process listens there", endpoint);
    return choir_fail(CHOIR_EIO, "%s: cannot listen: %s", endpoint, zmq_strerror(zmq_errno()));
}

choir_status choir_socket_bound(const choir_socket *socket, char *endpoint, size_t size)
{
    if (zmq_getsockopt(socket->zmq, ZMQ_LAST_ENDPOINT, endpoint, &size) == 0)
        return CHOIR_OK;
    return choir_fail(CHOIR_EIO, "ZeroMQ endpoint: %s", zmq_strerror(zmq_errno()));
}

choir_status choir_socket_connect(choir_socket *socket, const char *endpoint)
{
    socket->is_inproc = strncmp(endpoint, "inproc://", 9) == 0;
    if (allow_ipv6(socket, endpoint) && zmq_connect(socket->zmq, endpoint) == 0)
        return CHOIR_OK;
    return choir_fail(CHOIR_EIO, "%s: cannot connect: %s", endpoint, zmq_strerror(zmq_errno()));
}

/* Takes what the monitor has to tell: messages of two parts, the first beginning with the event. */
static void read_monitor(choir_socket *socket)
{
    char address[64];
    unsigned char event[6];
    uint16_t kind;
    while (zmq_recv(socket->monitor, event, sizeof event, ZMQ_DONTWAIT) == sizeof event) {
        if (zmq_recv(socket->monitor, address, sizeof address, ZMQ_DONTWAIT) < 0)
            return;
        memcpy(&kind, event, sizeof kind);
        const bool was_connected = socket->is_connected;
        socket->is_connected = kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
        socket->n_lost += was_connected && !socket->is_connected;
    }
}

size_t choir_socket_n_lost(choir_socket *socket)
{
    if (socket->monitor)
        read_monitor(socket);
    return socket->n_lost;
}

bool choir_socket_is_up(choir_socket *socket)
{
    int events = 0;
    size_t size = sizeof events;
    if (socket->monitor && !socket->is_inproc) { /* inproc has no connections to tell of */
        read_monitor(socket);
        return socket->is_connected;
    }
    return zmq_getsockopt(socket->zmq, ZMQ_EVENTS, &events, &size) == 0 && (events & ZMQ_POLLOUT);
}

/* Copies of all parts, so that memory cannot run out between two of them. */
static size_t copy_parts(const choir_part *parts, size_t n_parts, zmq_msg_t *copies)
{
    size_t n = 0;
    while (n < n_parts && zmq_msg_init_size(&copies[n], parts[n].length) == 0) {
        if (parts[n].length > 0)
            memcpy(zmq_msg_data(&copies[n]), parts[n].bytes, parts[n].length);
        n++;
    }
    return n;
}

/*
 * Only the first part can be refused: libzmq counts messages, not parts. A later part that finds
 * its peer gone is dropped with the rest of the message.
 */
choir_delivery choir_socket_send(choir_socket *socket, const choir_part *parts, size_t n_parts)
{
    zmq_msg_t copies[CHOIR_MESSAGE_PARTS];
    assert(n_parts > 0 && n_parts <= CHOIR_MESSAGE_PARTS);
    const size_t n_copies = copy_parts(parts, n_parts, copies);
    choir_delivery delivery = n_copies == n_parts ? CHOIR_DELIVERED : CHOIR_FULL;
    for (size_t i = 0; i < n_parts && delivery == CHOIR_DELIVERED; i++) {
        const int flags = ZMQ_DONTWAIT | (i + 1 < n_parts ? ZMQ_SNDMORE : 0);
        int sent;
        do
            sent = zmq_msg_send(&copies[i], socket->zmq, flags);
        while (sent < 0 && zmq_errno() == EINTR);
        if (sent < 0)
            delivery = zmq_errno() == EHOSTUNREACH ? CHOIR_GONE : CHOIR_FULL;
    }
    for (size_t i = 0; i < n_copies; i++)
        zmq_msg_close(&copies[i]); /* those that were sent are empty now */
    return delivery;
}

choir_status choir_message_create(choir_message **message)
{
    const choir_status status = choir_alloc(1, sizeof **message, (void **)message);
    for (size_t i = 0; status == CHOIR_OK && i < CHOIR_MESSAGE_PARTS; i++)
        zmq_msg_init(&(*message)->parts[i]);
    return status;
}

void choir_message_destroy(choir_message **message)
{
    if (!*message)
        return;
    for (size_t i = 0; i < CHOIR_MESSAGE_PARTS; i++)
        zmq_msg_close(&(*message)->parts[i]);
    free(*message);
    *message = NULL;
}

size_t choir_message_n_parts(const choir_message *message)
{
    return message->n_parts;
}

choir_part choir_message_part(const choir_message *message, size_t index)
{
    assert(index < CHOIR_MESSAGE_PARTS && index < message->n_parts);
    /* libzmq has no const accessor for the data. */
    zmq_msg_t *part = (zmq_msg_t *)&message->parts[index];
    return (choir_part){.bytes = zmq_msg_data(part), .length = zmq_msg_size(part)};
}

bool choir_socket_receive(choir_socket *socket, choir_message *message)
{
    zmq_msg_t surplus;
    zmq_msg_init(&surplus);
    message->n_parts = 0;
    bool has_more = true;
    while (has_more) {
        zmq_msg_t *part =
            message->n_parts < CHOIR_MESSAGE_PARTS ? &message->parts[message->n_parts] : &surplus;
        int got;
        do
            got = zmq_msg_recv(part, socket->zmq, ZMQ_DONTWAIT);
        while (got < 0 && zmq_errno() == EINTR);
        if (got < 0)
            break;
        message->n_parts++;
        has_more = zmq_msg_more(part) != 0;
    }
    zmq_msg_close(&surplus);
    return message->n_parts > 0;
}

choir_status choir_socket_poll(choir_poll_item *items, size_t n_items, int timeout_ms)
{
    zmq_pollitem_t polled[CHOIR_POLL_ITEMS];
    assert(n_items <= CHOIR_POLL_ITEMS);
    for (size_t i = 0; i < n_items; i++) {
        polled[i] = (zmq_pollitem_t){.socket = items[i].socket ? items[i].socket->zmq : NULL,
                                     .fd = items[i].fd,
                                     .events = ZMQ_POLLIN};
        items[i].is_readable = false;
    }
    const int n_ready = zmq_poll(polled, (int)n_items, timeout_ms);
    if (n_ready < 0 && zmq_errno() != EINTR)
        return choir_fail(CHOIR_EIO, "ZeroMQ poll: %s", zmq_strerror(zmq_errno()));
    for (size_t i = 0; n_ready > 0 && i < n_items; i++)
        items[i].is_readable = (polled[i].revents & ZMQ_POLLIN) != 0;
    return CHOIR_OK;
}
