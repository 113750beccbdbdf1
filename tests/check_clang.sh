#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Everything compiles with clang too, warnings being errors (CMakeLists.txt sets the flags).
set -euo pipefail
cd "$(dirname "$0")/.."
build=${CHOIR_BUILD:-build}-clang
[[ -f $build/build.ninja ]] || cmake --log-level=WARNING -S . -B "$build" -G Ninja -DCMAKE_C_COMPILER=clang-14
ninja -C "$build" --quiet all
echo "check_clang: ok"
