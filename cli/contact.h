/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service a verb talks to: a running one, found by its connection file, or with --model a
 * private one that lives as long as the verb.
 */
#ifndef CHOIR_CLI_CONTACT_H
#define CHOIR_CLI_CONTACT_H

#include "cli/engine_flags.h"
#include "client/client.h"
#include "common/status.h"

#include <stdbool.h>

typedef struct choir_contact_options {
    const char *connection_file; /* NULL: the user's default one, if there is no model either */
    const char *log_file;        /* of a private service; NULL: none */
    bool is_verbose;             /* remarks also where standard error is no terminal */
    choir_engine_options engine;
} choir_contact_options;

choir_contact_options choir_contact_options_default(void);

/* The three groups of flags: service, ranks, engine. */
enum { CHOIR_CONTACT_GROUPS = 3 };
void choir_contact_flags(choir_contact_options *options,
                         choir_flag_group groups[CHOIR_CONTACT_GROUPS]);

typedef struct choir_contact choir_contact;

/*
 * Connects, or starts a private service and connects to it (shown on a terminal). Installs the
 * handlers of cli/interrupt.h. EUSAGE where flags contradict each other, ECANCELLED on an
 * interrupt, else as choir_service_start() and choir_client_connect_file(). `options` is borrowed
 * for the time of the call.
 */
choir_status choir_contact_open(const choir_contact_options *options,
                                choir_contact **contact) CHOIR_MUST_CHECK;
choir_client *choir_contact_client(choir_contact *contact);
/* Whether remarks such as speeds are wanted. */
bool choir_contact_is_talkative(const choir_contact *contact);

/*
 * Waits for the next event of the client. ECANCELLED once more than `n_interrupts` interrupts came;
 * so a verb that has sent its cancel waits for the end with 1.
 */
choir_status choir_contact_next_event(choir_contact *contact, int n_interrupts,
                                      choir_event *event) CHOIR_MUST_CHECK;

/*
 * Disconnects and ends a private service. Returns `status`, what the verb has come to, with its
 * words; where that is OK, a failure of the end itself. Where the ranks of a private service have
 * died, their words are the cause. Accepts NULL, nulls the pointer.
 */
choir_status choir_contact_close(choir_contact **contact, choir_status status) CHOIR_MUST_CHECK;

#endif
