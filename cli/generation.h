/* SPDX-License-Identifier: Apache-2.0 */
/* One request from its start to its end, as `generate` and `chat` run it. */
#ifndef CHOIR_CLI_GENERATION_H
#define CHOIR_CLI_GENERATION_H

#include "cli/contact.h"
#include "cli/reply.h"

#include <stdbool.h>

/*
 * Runs the request; its text goes to standard output as it comes if `is_streamed`, closed by a
 * newline. Several answers go there when all have ended, with a line in front of each. Ctrl-C
 * cancels it: `answer` then has what came so far, and the result is ECANCELLED. Else OK with a
 * finished answer, or the request's failure.
 */
choir_status choir_generation_run(choir_contact *contact, const choir_generate_request *request,
                                  bool is_streamed, choir_reply *answer) CHOIR_MUST_CHECK;

#endif
