#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A layer has at most 5 barriers with up to 16 rows and at most 8 with more, whatever the shards
and threads."""
import re
import subprocess
import sys
import tempfile

import settings

FEW, MANY = [1, 2, 15, 16], [17, 64, 200]


def barriers(model, n_shards, n_threads):
    """Barriers of one layer for each number of rows."""
    command, environment = settings.mpirun(n_shards)
    done = subprocess.run(
        command + [settings.BUILD / "tests/mpi_barriers", model, str(n_threads),
                   *map(str, FEW + MANY)],
        env=environment, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    found = {}
    for line in done.stdout.splitlines():
        rows, n, layers = map(int, re.fullmatch(r"(\d+) rows: (\d+) barriers in (\d+) layers",
                                                line).groups())
        found[rows] = n / layers
    return found


def main():
    n_bad = 0
    with tempfile.TemporaryDirectory() as folder:
        model = settings.make_tiny(folder, "Q4_1")
        for n_shards in (1, 2, 3):
            for n_threads in (1, 2, 3, 4):
                found = barriers(model, n_shards, n_threads)
                # All of a step's barriers belong to its layers: none is counted twice or left out.
                wanted = {rows: 5 for rows in FEW} | {rows: 8 for rows in MANY}
                if found != wanted:
                    print(f"{n_shards} shards, {n_threads} threads: {found}, wanted {wanted}")
                    n_bad += 1
    print(f"{n_bad} of 12 layouts have another number of barriers")
    return 1 if n_bad else 0


if __name__ == "__main__":
    sys.exit(main())
