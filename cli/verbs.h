/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs of `choir`, one file each. argv[0] is the verb. A verb writes its results to standard
 * output; a failure is returned, and main prints its words and exits with the status as code.
 */
#ifndef CHOIR_CLI_VERBS_H
#define CHOIR_CLI_VERBS_H

#include "common/status.h"

choir_status choir_verb_serve(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_generate(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_chat(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_score(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_embed(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_eval(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_tokenize(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_detokenize(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_inspect(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_plan(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_status(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_top(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_fingerprint(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_bench(int argc, char **argv) CHOIR_MUST_CHECK;
/* Verbs of bench. */
choir_status choir_verb_bench_serve(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_bench_latency(int argc, char **argv) CHOIR_MUST_CHECK;
choir_status choir_verb_bench_throughput(int argc, char **argv) CHOIR_MUST_CHECK;

#endif
