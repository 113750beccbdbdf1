/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/contact.h"

#include "cli/interrupt.h"
#include "cli/print.h"
#include "cli/service.h"
#include "common/mem.h"

#include <stdlib.h>

enum {
    CONNECT_TIMEOUT_MS = 10000,
    POLL_MS = 100,       /* how soon an interrupt is seen */
    DEATH_WAIT_MS = 500, /* for the supervisor to learn why its ranks are gone */
    WORDS_BYTES = 1024,
};

struct choir_contact {
    choir_client *client;
    choir_service *service; /* NULL: somebody else's */
    bool is_talkative;
};

#define AT(member) offsetof(choir_contact_options, member)

static const choir_flag service_flags[] = {
    {"--connection-file", "FILE",
     "of a running service, which `choir serve` wrote (default: the one in your runtime folder)",
     CHOIR_FLAG_STRING, AT(connection_file), 0, 0, NULL},
    {"--log-file", "FILE", "what the ranks of a private service say is added to this file",
     CHOIR_FLAG_STRING, AT(log_file), 0, 0, NULL},
    {"--verbose", NULL, "speeds on standard error, also where that is no terminal", CHOIR_FLAG_BOOL,
     AT(is_verbose), 0, 0, NULL},
};

choir_contact_options choir_contact_options_default(void)
{
    return (choir_contact_options){.engine = choir_engine_options_default()};
}

void choir_contact_flags(choir_contact_options *options,
                         choir_flag_group groups[CHOIR_CONTACT_GROUPS])
{
    groups[0] = (choir_flag_group){"Service", service_flags,
                                   sizeof service_flags / sizeof service_flags[0], options};
    groups[1] = choir_rank_flags(&options->engine);
    groups[1].title = "A private service, with --model";
    groups[2] = choir_engine_flags(&options->engine);
}

static choir_status start_private(const choir_contact_options *options, choir_contact *contact)
{
    const choir_service_options service = {.engine = &options->engine,
                                           .log_file = options->log_file,
                                           .progress = choir_interrupt_show_progress};
    choir_status status = choir_engine_options_check(&options->engine);
    if (status == CHOIR_OK)
        status = choir_service_start(&service, &contact->service);
    choir_progress(NULL);
    if (status == CHOIR_OK)
        status = choir_client_connect(choir_service_endpoint(contact->service), NULL,
                                      CONNECT_TIMEOUT_MS, &contact->client);
    return status;
}

/* Flags of an engine have no effect on a service that runs already. */
static choir_status check_no_engine_flags(const choir_engine_options *engine)
{
    char **argv;
    choir_status status = choir_engine_options_to_argv(engine, &argv);
    if (status != CHOIR_OK)
        return status;
    if (argv[0] != NULL || engine->n_ranks != 1)
        status =
            choir_fail(CHOIR_EUSAGE, "%s is for a private service: name its file with --model FILE",
                       argv[0] != NULL ? argv[0] : "-n");
    choir_engine_argv_destroy(&argv);
    return status;
}

static choir_status open_contact(const choir_contact_options *options, choir_contact *contact)
{
    if (options->engine.model != NULL && options->connection_file != NULL)
        return choir_fail(CHOIR_EUSAGE, "--model and --connection-file: give one of them, for a "
                                        "private service or a running one");
    if (options->engine.model != NULL)
        return start_private(options, contact);
    const choir_status status = check_no_engine_flags(&options->engine);
    if (status != CHOIR_OK)
        return status;
    return choir_client_connect_file(options->connection_file, CONNECT_TIMEOUT_MS,
                                     &contact->client);
}

choir_status choir_contact_open(const choir_contact_options *options, choir_contact **contact)
{
    choir_status status = choir_alloc(1, sizeof **contact, (void **)contact);
    if (status != CHOIR_OK)
        return status;
    choir_interrupt_install();
    (*contact)->is_talkative = options->is_verbose || choir_is_terminal_error();
    status = open_contact(options, *contact);
    if (status != CHOIR_OK)
        status = choir_contact_close(contact, status);
    return status;
}

choir_client *choir_contact_client(choir_contact *contact)
{
    return contact->client;
}

bool choir_contact_is_talkative(const choir_contact *contact)
{
    return contact->is_talkative;
}

choir_status choir_contact_next_event(choir_contact *contact, int n_interrupts, choir_event *event)
{
    choir_status status;
    do {
        if (choir_interrupt_count() > n_interrupts)
            return choir_fail(CHOIR_ECANCELLED, "interrupted");
        status = choir_client_next_event(contact->client, POLL_MS, event);
    } while (status == CHOIR_ETIMEOUT);
    return status;
}

choir_status choir_contact_close(choir_contact **contact, choir_status status)
{
    char words[WORDS_BYTES];
    if (*contact == NULL)
        return status;
    (void)snprintf(words, sizeof words, "%s", choir_error());
    if ((*contact)->service != NULL && (status == CHOIR_EUNAVAILABLE || status == CHOIR_EENGINE)) {
        const choir_status cause = choir_service_wait((*contact)->service, DEATH_WAIT_MS);
        if (cause != CHOIR_OK && cause != CHOIR_ETIMEOUT) {
            status = cause;
            (void)snprintf(words, sizeof words, "%s", choir_error());
        }
    }
    choir_client_destroy(&(*contact)->client);
    const choir_status end = choir_service_stop(&(*contact)->service);
    free(*contact);
    *contact = NULL;
    return status == CHOIR_OK ? end : choir_fail(status, "%s", words);
}
