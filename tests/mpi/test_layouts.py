#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The fingerprint does not depend on layout, threads or level: on the tiny shape for every type.

Every two settings meet in one run (all pairs); all other passes (chunks, decode, all together) are
run on a few layouts. With --full the whole product is walked, which takes hours on two cores.
"""

import itertools
import sys
import tempfile

import settings

CACHES = [("f16", "f16"), ("f32", "f32"), ("q8_0", "f16"), ("f16", "q8_0")]


def kind(run):
    """What a fingerprint may depend on: model, activations and cache types. Float weights take f32
    activations whatever the option says."""
    is_float = run[0].stem in ("tiny-F32", "tiny-F16", "tiny-BF16")
    return run[0], "f32" if is_float else run[4], run[5], run[6]


def make_runs(models, is_full):
    best, alone = settings.levels()[-1], settings.LAYOUTS[0]
    axes = [models, settings.LAYOUTS, settings.THREADS, settings.levels(), settings.ACTIVATIONS, CACHES]
    if is_full:
        runs = [(*row[:5], *row[5], "all") for row in itertools.product(*axes)]
    else:
        # Plain C is some twenty times slower: it meets each layout, type and number of threads once.
        fast = settings.levels()[1:]
        axes[3] = fast or ["ref"]
        runs = [(*row[:5], *row[5], "first") for row in settings.pairs(*axes)]
        integer = settings.ACTIVATIONS[:3]
        runs += [(models[i % len(models)], layout, 1 + i % 4, "ref", integer[i % 3], "f16", "f16", "first")
                 for i, layout in enumerate(settings.LAYOUTS) if fast]
        runs += [(model, layout, 1 + layout[2] % 2, best, integer[i % 3], "f16", "f16", "all")
                 for i, (model, layout) in enumerate(zip(models[3:], settings.LAYOUTS[:7]))]
    # Each kind is compared with one rank and one thread.
    kinds = sorted({kind(run) for run in runs})
    return [(model, alone, 1, best, activations, k, v, "first")
            for model, activations, k, v in kinds] + runs, len(kinds)


def main():
    is_full = "--full" in sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        models = [settings.make_tiny(folder, name) for name in settings.TYPES]
        runs, n_kinds = make_runs(models, is_full)
        results = settings.walk(runs, timeout_s=36000 if is_full else 550)
    n_bad = settings.compare(runs, results, kind)
    n_hashes = len(set(results))
    print(f"{len(runs)} runs of {n_kinds} kinds give {n_hashes} hashes, {n_bad} runs differ; "
          f"levels {' '.join(settings.levels())}")
    # Kinds must differ from each other, or the comparison would compare nothing.
    return 1 if n_bad or n_hashes != n_kinds else 0


if __name__ == "__main__":
    sys.exit(main())
