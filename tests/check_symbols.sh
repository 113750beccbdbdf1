#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Global names begin with choir_ (those that protoc-c makes with choir__): nothing of ours can clash with a
# library's name. Looks at the static libraries and at the programs' own objects, where only main is let through.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${CHOIR_BUILD:-build}
mapfile -t files < <(find "$build" -maxdepth 1 -name 'libchoir_*.a'
    find "$build/CMakeFiles" -path '*/choir*.dir/cli/*.o' 2>/dev/null)
((${#files[@]} > 0)) || { echo "check_symbols: nothing is built in $build; run cluster/setup --tests" && exit 1; }
strangers=$(nm -A -g --defined-only "${files[@]}" |
    awk 'NF >= 3 && $NF !~ /^choir_/ && !($NF == "main" && /\/cli\//)')
[[ -z $strangers ]] || { printf '%s\ncheck_symbols: global names without choir_\n' "$strangers" && exit 1; }
echo "check_symbols: ok (${#files[@]} files)"
