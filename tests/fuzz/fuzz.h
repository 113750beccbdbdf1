/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one function of a fuzz target: tests/fuzz/fuzz_<stem>.c defines it, and libFuzzer or
 * tests/fuzz/regression.c calls it.
 */
#ifndef CHOIR_TESTS_FUZZ_FUZZ_H
#define CHOIR_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Any bytes, which end where `length` says; aborts where the target finds a fault. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

#endif
