#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# docs/robustness.md says which test covers which fault of the list: each file it names must have a test with
# the fault's id in its name (t05_bad_tensor_names), and each such test must be told there.
set -euo pipefail
cd "$(dirname "$0")/.."
page=docs/robustness.md
faults=0
fault() {
    echo "$*"
    faults=$((faults + 1))
}

# "| T05 | words | `tests/unit/test_x.c` … | what is left |" → "T05 tests/unit/test_x.c"
told=$(sed -nE 's/^\| (T[0-9]{2}) \|/\1 |/p' "$page" | while read -r id line; do
    grep -oE '`tests/[a-zA-Z0-9_./-]+`' <<<"$line" | tr -d '`' | sed "s/^/$id /" || true
done | sort -u)
while read -r id file; do
    [[ -n $id ]] || continue
    if [[ ! -f $file ]]; then
        fault "$page: $id names $file, which is not there"
    elif ! grep -qE "\\b(test_)?${id,}_" "$file"; then
        fault "$page: $id names $file, which has no test of that id"
    fi
done <<<"$told"
while read -r id file; do
    grep -qx "$id $file" <<<"$told" || fault "$file has a test of $id, which $page does not tell"
done < <(grep -roE '\b(test_)?t[0-4][0-9]_' tests --include='*.c' --include='*.py' |
    sed -E 's/^([^:]+):(test_)?t([0-9]+)_$/T\3 \1/' | sort -u)
((faults == 0)) || exit 1
echo "check_faults: ok ($(wc -l <<<"$told") tests named)"
