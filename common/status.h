/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Status codes and the words of an error.
 *
 * A function that can fail returns choir_status. Where a failure is detected its words are written
 * once, with choir_fail(); callers pass the code up unchanged. The words live in the thread that
 * failed until its next choir_fail(), so whoever reports them reads choir_error() on that thread.
 */
#ifndef CHOIR_COMMON_STATUS_H
#define CHOIR_COMMON_STATUS_H

#define CHOIR_MUST_CHECK __attribute__((warn_unused_result))
#define CHOIR_PRINTF(words, first) __attribute__((format(printf, words, first)))

/* The value of a code is also the exit code of `choir` and `choir-worker`: README lists them. */
typedef enum choir_status {
    CHOIR_OK = 0,
    CHOIR_EINTERNAL = 1,     /* our own bug, or something that has no better code */
    CHOIR_EUSAGE = 2,        /* wrong flag, wrong argument */
    CHOIR_EIO = 3,           /* a file or socket of the system failed */
    CHOIR_EFORMAT = 4,       /* a file is damaged or contradicts itself */
    CHOIR_EUNSUPPORTED = 5,  /* a valid file or request that this version cannot serve */
    CHOIR_ENOMEM = 6,        /* memory, threads or descriptors ran out */
    CHOIR_EINVALID = 7,      /* a request with a field outside its range */
    CHOIR_EUNAVAILABLE = 8,  /* no service there, or it is shutting down */
    CHOIR_ETIMEOUT = 9,      /* the other side did not answer in time */
    CHOIR_ECANCELLED = 10,   /* ended because the user or client asked for it */
    CHOIR_EENGINE = 11,      /* the ranks failed; a service would start them again */
    CHOIR_EFILECHANGED = 12, /* the model file changed or shrank while it was in use */
} choir_status;

/*
 * Records the words of an error for this thread (one line, cut at 1,023 bytes, control characters
 * as
 * ?) and returns `status`.
 */
choir_status choir_fail(choir_status status, const char *format, ...) CHOIR_PRINTF(2, 3);

/* The words of this thread's last failure; "" before the first. Valid until its next choir_fail().
 */
const char *choir_error(void);

/* A fixed name such as "EFORMAT"; "E?" for a value that is none. */
const char *choir_status_name(choir_status status);

#endif
