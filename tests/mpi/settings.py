# SPDX-License-Identifier: Apache-2.0
"""What the layout tests vary, and lists of runs for mpi_layouts that cover it."""

import itertools
import os
import pathlib
import random
import subprocess
import tempfile

BUILD = pathlib.Path(os.environ.get("CHOIR_BUILD", "build")).resolve()
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "choir"
DEFAULT_MODEL = CACHE / "SmolLM2-135M-Instruct.Q4_1.gguf"
TYPES = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K",
         "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4"]

# (ranks, shards, stages, tensor split, layer split): every factoring of 1, 2, 3, 4, 5 and 8 ranks,
# and uneven slices.
LAYOUTS = [
    (1, 1, 1, "-", "-"), (2, 2, 1, "-", "-"), (2, 1, 2, "-", "-"), (3, 3, 1, "-", "-"),
    (3, 1, 3, "-", "-"), (4, 4, 1, "-", "-"), (4, 2, 2, "-", "-"), (4, 1, 4, "-", "-"),
    (5, 5, 1, "-", "-"), (5, 1, 5, "-", "-"), (8, 8, 1, "-", "-"), (8, 4, 2, "-", "-"),
    (8, 2, 4, "-", "-"), (8, 1, 8, "-", "-"), (3, 3, 1, "5,3,1", "-"), (2, 1, 2, "-", "1,6"),
    (4, 2, 2, "1,7", "3,1"),
]
THREADS = [1, 2, 3, 4]
ACTIVATIONS = ["q8", "mixed", "q15", "f32"]


def levels():
    """The levels of this CPU, lowest first."""
    flags = set(pathlib.Path("/proc/cpuinfo").read_text().split())
    found = ["ref"]
    if {"avx2", "fma", "f16c"} <= flags:
        found.append("avx2")
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"} <= flags:
        found.append("avx512")
    return found


def pairs(*axes, seed=1):
    """Tuples of one value an axis such that every two values of two axes meet in one of them."""
    shuffle = random.Random(seed)
    missing = {
        (a, x, b, y)
        for (a, xs), (b, ys) in itertools.combinations(enumerate(axes), 2)
        for x in range(len(xs)) for y in range(len(ys))
    }
    rows = []
    while missing:
        best, best_gain = None, -1
        for _ in range(40):
            a, x, b, y = shuffle.choice(sorted(missing))
            row = [shuffle.randrange(len(axis)) for axis in axes]
            row[a], row[b] = x, y
            gain = sum((i, row[i], j, row[j]) in missing
                       for i, j in itertools.combinations(range(len(axes)), 2))
            if gain > best_gain:
                best, best_gain = row, gain
        missing -= {(i, best[i], j, best[j])
                    for i, j in itertools.combinations(range(len(axes)), 2)}
        rows.append(tuple(axis[i] for axis, i in zip(axes, best)))
    return rows


def mpirun(n_ranks):
    """The command line that starts n ranks here, with whatever this machine needs."""
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                       OMP_WAIT_POLICY="passive")
    command = ["mpirun", "-np", str(n_ranks), "--oversubscribe", "--bind-to", "none",
               "--mca", "mpi_yield_when_idle", "1", "--mca", "btl", "self,vader",
               "--mca", "btl_vader_single_copy_mechanism", "none"]
    return command, environment


def make_tiny(folder, weight_type):
    """A seeded model of the tiny shape, all its matrices of one type."""
    path = pathlib.Path(folder) / f"tiny-{weight_type}.gguf"
    if not path.exists():
        subprocess.run([BUILD / "tests/make_model", "--shape", "tiny", "--type", weight_type,
                        "--output", path], check=True, stdout=subprocess.DEVNULL)
    return path


def walk(runs, timeout_s, program="mpi_layouts"):
    """Runs mpi_layouts, or another build of it, over runs (model, layout, threads, level, activations, cache k, cache v,
    passes); returns what it said of each."""
    n_ranks = max(run[1][0] for run in runs)
    with tempfile.NamedTemporaryFile("w", suffix=".list") as listing:
        for model, layout, threads, level, activations, key_type, value_type, passes in runs:
            words = [model, *layout, threads, level, activations, key_type, value_type, passes]
            print(*words, file=listing)
        listing.flush()
        command, environment = mpirun(n_ranks)
        done = subprocess.run(
            command + [BUILD / "tests" / program, listing.name], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout_s)
    results = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    if done.returncode != 0 or len(results) != len(runs):
        raise SystemExit(f"{program} ended with {done.returncode} after {len(results)} of "
                         f"{len(runs)} runs:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return [results[str(i)] for i in range(len(runs))]


def compare(runs, results, what_decides):
    """Prints and counts runs whose result is not that of the first run with the same key."""
    first, n_bad = {}, 0
    for run, result in zip(runs, results):
        key = what_decides(run)
        expected = first.setdefault(key, result)
        if result != expected or len(result) != 64:
            print("different:", *run, "\n  gives   ", result, "\n  expected", expected)
            n_bad += 1
    return n_bad
