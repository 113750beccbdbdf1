#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# choir runs on login nodes and outlives the MPI job: neither it nor a library of it may link MPI.
set -euo pipefail
build=${CHOIR_BUILD:-build}
pattern='lib(mpi|open-rte|open-pal|pmix|mpich|pmi2?)[.-]'
# The pattern must find MPI where it is, or its silence would prove nothing
# (not grep -q, which closes the pipe while ldd still writes).
ldd "$build/choir-worker" | grep -E "$pattern" >/dev/null || { echo "check_no_mpi: choir-worker does not link MPI?" && exit 1; }
if ldd "$build/choir" | grep -E "$pattern"; then
    echo "check_no_mpi: choir links MPI"
    exit 1
fi
echo "check_no_mpi: ok"
