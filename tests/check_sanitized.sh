#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The unit, kernel and fuzz tests again, built with the address and undefined-behaviour sanitizers.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${CHOIR_BUILD:-build}-asan
[[ -f $build/build.ninja ]] ||
    # -Og: at -O1 gcc 12 needs many minutes for the address checks of a kernel on arrays of 16 lanes.
    cmake --log-level=WARNING -S . -B "$build" -G Ninja \
        -DCHOIR_SANITIZE=address,undefined -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="-Og -g"
ninja -C "$build" --quiet test-programs
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1
ctest --test-dir "$build" -L '^(unit|kernels|fuzz)$' --no-tests=error --output-on-failure -j "$(nproc)"
