#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every header compiles alone, and has a guard or the like: including it twice changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${CHOIR_BUILD:-build}
flags=(-std=c11 -D_GNU_SOURCE -DCHOIR_VERSION='"0"' -Wall -Wextra -Wshadow -Wmissing-prototypes
    -Wstrict-prototypes -Wvla -Werror -fsyntax-only -I. -I"$build/generated")
faults=0
while read -r header; do
    level=() compiler=gcc
    case $header in
    *neon*) level=(-march=armv8.2-a+dotprod) compiler=aarch64-linux-gnu-gcc ;;
    *avx512*) level=(-march=x86-64-v4 -mavx512vnni) ;;
    *avx2*) level=(-march=x86-64-v3) ;;
    esac
    printf '#include "%s"\n#include "%s"\n' "$header" "$header" |
        "$compiler" "${flags[@]}" "${level[@]}" -x c - || faults=$((faults + 1))
done < <(find common kernels model proto coordinator worker client compress cli -name '*.h' 2>/dev/null | sort)
((faults == 0)) || { echo "check_headers: $faults headers do not compile alone" && exit 1; }
echo "check_headers: ok"
