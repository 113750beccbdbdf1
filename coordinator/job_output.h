/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the words that matter in what a job prints. Ranks print a failure as `choir: WORDS` or as a
 * line of the log; around it mpirun prints screens of its own. Bytes come in pieces of any size.
 */
#ifndef CHOIR_COORDINATOR_JOB_OUTPUT_H
#define CHOIR_COORDINATOR_JOB_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

/* Zero it. */
typedef struct choir_job_output {
    char error[512]; /* the first failure that a rank told; "" if none did */
    char other[256]; /* the first line of anything else that has a letter in it */
    char line[1024]; /* the line that is coming in; bytes after the 1,023rd are dropped */
    size_t used;
} choir_job_output;

void choir_job_output_add(choir_job_output *output, const char *bytes, size_t length);
/* The end of the stream: a last line without a newline counts. */
void choir_job_output_end(choir_job_output *output);

/*
 * How the job ended, in a sentence: the ranks' own words if there are any, else what mpirun's exit
 * tells. wait_status is waitpid()'s.
 */
void choir_job_output_sum_up(const choir_job_output *output, int wait_status, char *words,
                             size_t size);

#endif
