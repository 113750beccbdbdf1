#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Formatting is .clang-format's; every source says its licence on top and stays under 600 lines.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v clang-format-14 >/dev/null || { echo "check_format: no clang-format-14; run cluster/setup --tests" && exit 1; }
mapfile -t sources < <(find common kernels model proto coordinator worker client compress cli tests \
    -name '*.[ch]' -o -name '*.inc' 2>/dev/null | sort)
faults=0
clang-format-14 --dry-run -Werror "${sources[@]}" || faults=1
for file in "${sources[@]}"; do
    [[ $(head -n 1 "$file") == '/* SPDX-License-Identifier: Apache-2.0 */' ]] ||
        { echo "$file:1: no SPDX line" && faults=1; }
    lines=$(wc -l <"$file")
    ((lines <= 600)) || { echo "$file: $lines lines; split it by concern at 600" && faults=1; }
done
((faults == 0)) || exit 1
echo "check_format: ok (${#sources[@]} files)"
