#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every level gives the same fingerprint: the tiny shape in each type, one hash per type. AVX-512 is
also emulated (tests/kernels/emulated), so that it is compared on a CPU without it. With --full: all
activations and caches, and the default model on every level, whose hash is the second implementation's
(mpi/test_reference has it of the best level).
"""

import itertools
import sys
import tempfile

import settings
import test_reference

ALONE = settings.LAYOUTS[0]
# mixed takes q8 and q15 kernels in one run.
QUICK = [("mixed", "f16", "f16")]
FULL = list(itertools.product(settings.ACTIVATIONS, ["f16", "f32", "q8_0"], ["f16", "f32", "q8_0"]))


def fingerprints(runs, level):
    """Hashes of (model, activations, cache k, cache v); the level may be "emulated"."""
    is_emulated = level == "emulated"
    return settings.walk(
        [(model, ALONE, 2, "avx512" if is_emulated else level, *rest, "first")
         for model, *rest in runs],
        timeout_s=36000, program="mpi_layouts_emulated" if is_emulated else "mpi_layouts")


def compare(runs, levels):
    """Counts runs whose hash is not that of the first level, which all are expected to give."""
    n_bad = 0
    hashes = {level: fingerprints(runs, level) for level in levels}
    for i, run in enumerate(runs):
        found = {hashes[level][i] for level in levels}
        if len(found) != 1 or any(len(one) != 64 for one in found):
            n_bad += 1
            print("different:", *run, *(f"\n  {level} {hashes[level][i]}" for level in levels))
        else:
            print(run[0].stem, *run[1:], *found)
    return n_bad, hashes[levels[0]]


def main():
    is_full = "--full" in sys.argv[1:]
    levels = settings.levels()
    if "avx2" in levels:
        levels.append("emulated")
    kinds = FULL if is_full else QUICK
    print("levels", *levels)
    with tempfile.TemporaryDirectory() as folder:
        models = [settings.make_tiny(folder, name) for name in settings.TYPES]
        n_bad, hashes = compare([(model, *kind) for model in models for kind in kinds], levels)
    if len(set(hashes)) < len(models):
        print("types share a hash, so this compares nothing")
        n_bad += 1
    if is_full:
        n_more, hashes = compare([(settings.DEFAULT_MODEL, "mixed", "f16", "f16")], levels)
        n_bad += n_more
        if hashes[0] != test_reference.REFERENCE["fingerprint"]["mixed"]:
            print("the second implementation has", test_reference.REFERENCE["fingerprint"]["mixed"])
            n_bad += 1
    return 1 if n_bad else 0


if __name__ == "__main__":
    sys.exit(main())
