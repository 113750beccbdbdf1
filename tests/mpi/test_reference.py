#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The default model gives the bits of the second implementation (tests/fixtures/reference)."""

import json
import pathlib
import subprocess
import sys

import settings

REFERENCE = json.loads(pathlib.Path("tests/fixtures/reference/fingerprint.json").read_text())
TRACE_IDS = ["1", "9690", "198"]


def check_trace(level):
    """x after the embedding and each layer; names the first layer that differs."""
    done = subprocess.run([settings.BUILD / "tests/mpi_trace", settings.DEFAULT_MODEL, "q8", level,
                           *TRACE_IDS], check=True, stdout=subprocess.PIPE, text=True, timeout=120,
                          env=settings.mpirun(1)[1])
    got = dict(line.split() for line in done.stdout.splitlines())
    for name, expected in REFERENCE["trace_1_9690_198_q8"].items():
        if got.get(name) != expected:
            print(f"{level}: {name} is {got.get(name)}, the reference has {expected}")
            return 1
    print(f"{level}: embedding, 30 layers and logits equal")
    return 0


def check_fingerprints():
    """A selection of layouts, threads and levels; f32 once, since it is slow."""
    lowest, best = settings.levels()[0], settings.levels()[-1]
    middle = settings.levels()[min(1, len(settings.levels()) - 1)]
    layouts = settings.LAYOUTS
    runs = [(settings.DEFAULT_MODEL, layout, threads, level, activations, "f16", "f16", passes)
            for layout, threads, level, activations, passes in [
                (layouts[0], 2, best, "q8", "all"),
                (layouts[0], 1, lowest, "mixed", "first"),
                (layouts[1], 1, middle, "q8", "all"),
                (layouts[2], 2, best, "q8", "first"),
                (layouts[3], 1, best, "q8", "first"),
                (layouts[6], 1, best, "mixed", "all"),
                (layouts[8], 1, middle, "mixed", "first"),
                (layouts[14], 1, best, "mixed", "first"),
                (layouts[11], 1, best, "q8", "first"),
                (layouts[0], 2, best, "q15", "first"),
                (layouts[1], 1, middle, "q15", "first"),
                (layouts[1], 1, best, "f32", "first"),
            ]]
    n_bad = 0
    for run, result in zip(runs, settings.walk(runs, timeout_s=500)):
        expected = REFERENCE["fingerprint"][run[4]]
        print("equal" if result == expected else "DIFFERENT", *run[1:], result[:16])
        n_bad += result != expected
    return n_bad


def main():
    n_bad = sum(check_trace(level) for level in settings.levels())
    return 1 if n_bad + check_fingerprints() else 0


if __name__ == "__main__":
    sys.exit(main())
