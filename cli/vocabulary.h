/* SPDX-License-Identifier: Apache-2.0 */
/* A model file's tokenizer alone, for verbs that need no engine. */
#ifndef CHOIR_CLI_VOCABULARY_H
#define CHOIR_CLI_VOCABULARY_H

#include "common/status.h"
#include "model/tokenizer.h"

/*
 * EUSAGE where no path is given, else as choir_model_open_header() and choir_tokenizer_create();
 * choir_tokenizer_destroy() releases *result.
 */
choir_status choir_vocabulary_open(const char *path, choir_tokenizer **result) CHOIR_MUST_CHECK;

#endif
