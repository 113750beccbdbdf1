#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Packed weights take the place of the file's pages: while loading and afterwards a rank holds at
most 1.05 times the bytes of its slice in the file."""
import os
import subprocess
import sys
import tempfile

import settings


def load(model, n_ranks, n_shards, n_threads):
    """One dict a rank, of what mpi_memory says."""
    command, environment = settings.mpirun(n_ranks)
    done = subprocess.run(
        command + [settings.BUILD / "tests/mpi_memory", model, str(n_shards), str(n_threads)],
        env=environment, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return [dict(zip(row[::2], map(int, row[1::2]))) for row in rows]


def check(model, name, layout):
    n_bad = 0
    ranks = load(model, *layout)
    for row in ranks:
        # It must hold the weights at all, or the figures mean nothing; what was mapped before (the
        # file's header) may be gone.
        is_held = row["after"] > 0.9 * row["packed"]
        is_good = is_held and row["after"] <= row["peak"] <= 1.05 * row["file"]
        n_bad += not is_good
        print(f"{'good' if is_good else 'BAD '} {name}, {layout[0]} ranks as {layout[1]} shards, "
              f"{layout[2]} threads: {row}, peak {row['peak'] / row['file']:.3f} of the file")
    return n_bad + (len(ranks) != layout[0])


def main():
    n_bad = 0
    with tempfile.TemporaryDirectory() as folder:
        large = os.path.join(folder, "large.gguf")
        # Of all types the one that grows most in packing; eight times the default model.
        subprocess.run([settings.BUILD / "tests/make_model", "--shape", "1b", "--type", "Q4_K",
                        "--output", large], check=True, stdout=subprocess.DEVNULL)
        for layout in ((1, 1, 1), (1, 1, 2), (2, 2, 2), (2, 1, 1)):
            n_bad += check(settings.DEFAULT_MODEL, "default model", layout)
        for layout in ((1, 1, 2), (2, 2, 1)):
            n_bad += check(large, "1b Q4_K", layout)
    return 1 if n_bad else 0


if __name__ == "__main__":
    sys.exit(main())
