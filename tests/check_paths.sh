#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Nothing in the tree names one person's machine: no home folders, no work folders, no package hosts.
# (The brackets keep this file from finding itself.)
set -euo pipefail
cd "$(dirname "$0")/.."
pattern='(^|[^A-Za-z0-9_./-])/([r]oot|[h]ome|[w]ork|[o]pt/wheels)/[A-Za-z0-9.]|/tmp/[b]-|/tmp/[s]/'
pattern+='|[p]ypi\.|[p]ythonhosted|[d]eb\.debian|[a]rtifactory|[s]napshot\.debian|[c]onda\.|[c]rates\.io|[n]pmjs'
if grep -rnIE "$pattern" . --exclude-dir=.git --exclude=.git --exclude-dir='build*' --exclude-dir=__pycache__; then
    echo "check_paths: the lines above name one machine's paths or a package host"
    exit 1
fi
echo "check_paths: ok"
