#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Level neon against ref: the kernel checks, built for arm64 and run by qemu, on a CPU with the dot product and on
# one without it, which must fall back to ref.
set -euo pipefail
cd "$(dirname "$0")/.."
if [[ $(uname -m) == aarch64 ]]; then
    echo "check_neon: ok, kernels/check_* have checked it on this CPU itself"
    exit 0
fi
build=${CHOIR_BUILD:-build}-neon
sysroot=${XDG_CACHE_HOME:-$HOME/.cache}/choir/arm64
[[ -d $sysroot ]] || { echo "check_neon: no $sysroot; run tests/kernels/fetch_arm64" && exit 1; }
export PKG_CONFIG_SYSROOT_DIR=$sysroot PKG_CONFIG_LIBDIR=$sysroot/usr/lib/aarch64-linux-gnu/pkgconfig
[[ -f $build/build.ninja ]] || cmake --log-level=WARNING -S . -B "$build" -G Ninja \
    -DCMAKE_TOOLCHAIN_FILE=tests/kernels/aarch64.cmake -DCHOIR_KERNELS_ONLY=ON \
    -DCMAKE_C_FLAGS_RELEASE=-O3 # without -g it compiles twice as fast
ninja -C "$build" --quiet test-programs
CHOIR_CHECK_LEVEL=neon ctest --test-dir "$build" -j 2 --no-tests=error --output-on-failure
CHOIR_CHECK_LEVEL=ref QEMU_CPU=cortex-a53 qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/tests/check_kernels"
echo "check_neon: ok"
