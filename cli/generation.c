/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/generation.h"

#include "cli/print.h"

/* The next event; the first interrupt asks for the end of the request and goes on waiting for it.
 */
static choir_status next_event(choir_contact *contact, const char *request_id, bool *is_cancelled,
                               choir_event *event)
{
    choir_status status = choir_contact_next_event(contact, *is_cancelled ? 1 : 0, event);
    if (status != CHOIR_ECANCELLED || *is_cancelled)
        return status;
    *is_cancelled = true;
    status = choir_client_cancel(choir_contact_client(contact), request_id);
    return status == CHOIR_OK ? choir_contact_next_event(contact, 1, event) : status;
}

/* Closes the last line of a text on the screen. */
static choir_status end_line(const choir_reply *answer)
{
    if (answer->text_length > 0 && answer->text[answer->text_length - 1] == '\n')
        return CHOIR_OK;
    return choir_print_text("\n", 1);
}

static choir_status print_answers(const choir_reply *reply)
{
    choir_status status = CHOIR_OK;
    for (size_t i = 0; i <= reply->n_others && status == CHOIR_OK; i++) {
        const choir_reply *answer = i == 0 ? reply : &reply->others[i - 1];
        status = choir_print("--- %zu of %zu\n", i + 1, reply->n_others + 1);
        if (status == CHOIR_OK && answer->text_length > 0)
            status = choir_print_text(answer->text, answer->text_length);
        if (status == CHOIR_OK)
            status = end_line(answer);
    }
    return status;
}

choir_status choir_generation_run(choir_contact *contact, const choir_generate_request *request,
                                  bool is_streamed, choir_reply *answer)
{
    char request_id[CHOIR_REQUEST_ID_SIZE];
    bool is_cancelled = false;
    const bool has_one = request->sampling.n <= 1;
    choir_event event;
    choir_status status = choir_client_generate(choir_contact_client(contact), request, request_id);
    while (status == CHOIR_OK && !answer->is_finished) {
        status = next_event(contact, request_id, &is_cancelled, &event);
        if (status == CHOIR_OK && is_streamed && has_one && event.text_length > 0)
            status = choir_print_text(event.text, event.text_length);
        if (status == CHOIR_OK)
            status = choir_reply_add(answer, &event);
    }
    if (is_streamed &&
        (answer->text_length > 0 || (answer->is_finished && answer->status == CHOIR_OK))) {
        const choir_status end = has_one ? end_line(answer) : print_answers(answer);
        status = status == CHOIR_OK ? end : status;
    }
    if (status == CHOIR_OK)
        status = choir_reply_status(answer);
    if (is_cancelled && (status == CHOIR_OK || status == CHOIR_ECANCELLED))
        return choir_fail(CHOIR_ECANCELLED, "interrupted");
    return status;
}
