/* SPDX-License-Identifier: Apache-2.0 */
#include "common/status.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char error_words[1024];

choir_status choir_fail(choir_status status, const char *format, ...)
{
    va_list arguments;
    char words[sizeof error_words];
    va_start(arguments, format);
    /* Through a second buffer, since an argument may be choir_error() itself. */
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    /* Words may quote a file: nothing of it may steer the reader's terminal. */
    for (char *c = words; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    snprintf(error_words, sizeof error_words, "%s", words);
    return status;
}

const char *choir_error(void)
{
    return error_words;
}

const char *choir_status_name(choir_status status)
{
    static const char *const names[] = {
        [CHOIR_OK] = "OK",
        [CHOIR_EINTERNAL] = "EINTERNAL",
        [CHOIR_EUSAGE] = "EUSAGE",
        [CHOIR_EIO] = "EIO",
        [CHOIR_EFORMAT] = "EFORMAT",
        [CHOIR_EUNSUPPORTED] = "EUNSUPPORTED",
        [CHOIR_ENOMEM] = "ENOMEM",
        [CHOIR_EINVALID] = "EINVALID",
        [CHOIR_EUNAVAILABLE] = "EUNAVAILABLE",
        [CHOIR_ETIMEOUT] = "ETIMEOUT",
        [CHOIR_ECANCELLED] = "ECANCELLED",
        [CHOIR_EENGINE] = "EENGINE",
        [CHOIR_EFILECHANGED] = "EFILECHANGED",
    };
    const unsigned index = (unsigned)status;
    return index < sizeof names / sizeof names[0] ? names[index] : "E?";
}
