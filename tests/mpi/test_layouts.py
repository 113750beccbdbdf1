#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The fingerprint does not depend on layout, threads or level: on the tiny shape for every type.

For some types every two settings meet in one run (all pairs); every other type is run once on each
level. All other passes (chunks, decode, all together) are run on a few layouts. With --full the
whole product is walked, which takes a day on two cores.
"""

import itertools
import sys
import tempfile

import settings

# A float type, blocks of 32 without and with a minimum, super-blocks.
PAIRED_TYPES = ["F16", "Q8_0", "Q4_1", "Q6_K"]
CACHES = [("f16", "f16"), ("f32", "f32"), ("q8_0", "f16"), ("f16", "q8_0")]


def kind(run):
    """What a fingerprint may depend on: model, activations and cache types. Float weights take f32
    activations whatever the option says."""
    is_float = run[0].stem in ("tiny-F32", "tiny-F16", "tiny-BF16")
    return run[0], "f32" if is_float else run[4], run[5], run[6]


def make_runs(models, is_full):
    levels, layouts, alone = settings.levels(), settings.LAYOUTS, settings.LAYOUTS[0]
    best, integer = levels[-1], settings.ACTIVATIONS[:3]
    axes = [models, layouts, settings.THREADS, levels, settings.ACTIVATIONS, CACHES]
    if is_full:
        runs = [(*row[:5], *row[5], "all") for row in itertools.product(*axes)]
    else:
        # Plain C is some twenty times slower, so it stays out of the pairs.
        axes[0] = [model for model in models if model.stem[5:] in PAIRED_TYPES]
        axes[3] = levels[1:] or levels
        runs = [(*row[:5], *row[5], "first") for row in settings.pairs(*axes)]
        # Each level meets each layout, type and number of threads; a type keeps its activations.
        for k, level in enumerate(levels):
            for i, layout in enumerate(layouts):
                n = (i + 5 * k) % len(models)
                runs.append((models[n], layout, 1 + (i + k) % 4, level, integer[n % 3], "f16", "f16",
                             "first"))
        runs += [(models[n], layout, 1 + layout[2] % 2, best, integer[n % 3], "f16", "f16", "all")
                 for n, layout in zip(range(3, len(models), 2), layouts)]
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
