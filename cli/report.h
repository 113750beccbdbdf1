/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a service says when it is ready: the model, who holds what, memory, measured bandwidth and
 * the tokens/s that it allows, where clients connect. `choir serve` and a `choir-worker` without a
 * supervisor print the same; `choir status` prints the table of ranks.
 */
#ifndef CHOIR_CLI_REPORT_H
#define CHOIR_CLI_REPORT_H

#include "common/json.h"
#include "common/status.h"
#include "model/gguf.h"
#include "proto/report.h"

#include <stdint.h>
#include <stdio.h>

/*
 * The whole report, its last line `READY in N s` counted from start_us (choir_clock_us()); flushed.
 * model_path: its header is read for the model's lines. connection_file NULL: none. EIO: file is
 * gone.
 */
choir_status choir_report_print_ready(FILE *file, const char *model_path,
                                      const choir_engine_report *report, const char *endpoint,
                                      const char *connection_file,
                                      int64_t start_us) CHOIR_MUST_CHECK;

/* "Q4_1 85 %, Q8_0 15 %": of the tensors' bytes, the largest part first. */
enum { CHOIR_REPORT_TYPES_BYTES = 256 };
void choir_report_types(const choir_gguf *gguf, char text[CHOIR_REPORT_TYPES_BYTES]);

/* One line a rank under a heading: place, threads, layers, heads, bytes, bandwidth. */
void choir_report_print_ranks(FILE *file, const choir_engine_report *report);
/* The same for what they do: shares of their time, step times, bytes read. Nothing before the
 * first step. */
void choir_report_print_activity(FILE *file, const choir_engine_report *report);
/* All of a rank, as one object; the caller's. */
choir_json *choir_report_rank_to_json(const choir_rank_report *rank);

/*
 * Seconds that reading the weights once takes: stages one after the other, each as long as its
 * slowest shard. 0 where a rank has no measured bandwidth.
 */
double choir_report_read_seconds(const choir_engine_report *report);

#endif
