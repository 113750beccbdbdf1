/* SPDX-License-Identifier: Apache-2.0 */
#include "coordinator/job_output.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What waitpid() gives for an exit code, on Linux. */
enum { EXITED = 256 };

static choir_job_output read_text(const char *text, size_t piece)
{
    choir_job_output output = {0};
    for (size_t at = 0, length = strlen(text); at < length; at += piece)
        choir_job_output_add(&output, text + at, length - at < piece ? length - at : piece);
    choir_job_output_end(&output);
    return output;
}

static void test_first_failure_counts(void **state)
{
    (void)state;
    const char *const text = "-----\n\n  mpirun says much\nchoir: rank 1: warning: slow\n"
                             "choir: info: loading\n choir: no\n"
                             "choir: model.gguf: wrong magic\nchoir: later\n";
    for (size_t piece = 1; piece < 40; piece++) {
        const choir_job_output output = read_text(text, piece);
        assert_string_equal(output.error, "model.gguf: wrong magic");
        assert_string_equal(output.other, "mpirun says much");
    }
}

static void test_forms_of_a_failure(void **state)
{
    (void)state;
    assert_string_equal(read_text("choir: error: a: b", 99).error, "a: b");
    assert_string_equal(read_text("choir: rank 3: error: x\n", 99).error, "rank 3: x");
    assert_string_equal(read_text("choir: rank 3: debug: x\n", 99).error, "");
    assert_string_equal(read_text("choir: debug: x\n", 99).error, "");
    assert_string_equal(read_text("choir: rank 12\n", 99).error, "rank 12");
    assert_string_equal(read_text("", 99).error, "");
}

static void test_long_lines_and_control_bytes(void **state)
{
    (void)state;
    choir_job_output output = {0};
    choir_job_output_add(&output, "choir: \x1b[31m", 12);
    for (int i = 0; i < 5000; i++)
        choir_job_output_add(&output, "x", 1);
    choir_job_output_add(&output, "\nnext\n", 6);
    assert_int_equal(strlen(output.error), sizeof output.error - 64);
    assert_int_equal(strncmp(output.error, " [31mxxx", 8), 0);
    assert_string_equal(output.other, "next");
}

static void test_summing_up(void **state)
{
    (void)state;
    char words[512];
    const choir_job_output told = read_text("noise\nchoir: told\n", 7);
    choir_job_output_sum_up(&told, 4 * EXITED, words, sizeof words);
    assert_string_equal(words, "told");
    const choir_job_output noise = read_text("noise\n", 7);
    choir_job_output_sum_up(&noise, 1 * EXITED, words, sizeof words);
    assert_string_equal(words, "the ranks ended by themselves, mpirun with exit code 1; the first "
                               "line of its output: noise");
    choir_job_output_sum_up(&noise, (128 + SIGSEGV) * EXITED, words, sizeof words);
    assert_string_equal(words, "a rank was killed by signal 11 (Segmentation fault)");
    choir_job_output_sum_up(&noise, SIGKILL, words, sizeof words);
    assert_string_equal(words, "mpirun was killed by signal 9 (Killed)");
    const choir_job_output silent = {0};
    choir_job_output_sum_up(&silent, 0, words, sizeof words);
    assert_string_equal(words, "the ranks ended by themselves, mpirun with exit code 0");
    choir_job_output_sum_up(&told, 0, words, 3);
    assert_string_equal(words, "to");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_failure_counts),
        cmocka_unit_test(test_forms_of_a_failure),
        cmocka_unit_test(test_long_lines_and_control_bytes),
        cmocka_unit_test(test_summing_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
