#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What tests/bench/peers makes of samples: medians, the better number of threads, bars, shares."""
import importlib.machinery
import importlib.util
import pathlib
import sys
import types

sys.dont_write_bytecode = True
PATH = pathlib.Path(__file__).with_name("peers")


def load_peers():
    loader = importlib.machinery.SourceFileLoader("peers", str(PATH))
    loader_spec = importlib.util.spec_from_loader("peers", loader)
    module = importlib.util.module_from_spec(loader_spec)
    loader.exec_module(module)
    return module


peers = load_peers()
OPTIONS = types.SimpleNamespace(threads=[1, 2], tests=["pp512", "tg64", "batch32", "q15"])


READ = {1: 20e9, 2: 40e9}


def results_of(llama, choir, level="avx512"):
    """Three samples around each speed of {(model, test, threads): speed}; the middle one is the speed."""
    results = peers.Results()
    for who, speeds, facts in (("llama", llama, {"weights_bytes": 1e9}),
                               ("choir", choir, {"level": level, "activations": "q8"})):
        for (model, test, threads), speed in speeds.items():
            for sample in (speed * 3, speed, speed / 9):
                results.add(who, model, threads, ({test: sample}, facts), READ[threads])
    return results


def value_of(rows, words):
    found = [row for row in rows if row[0].startswith(words)]
    assert len(found) == 1, (words, rows)
    return found[0][1:]


def test_ratios_take_the_better_count_of_llama():
    results = results_of({("default", "tg64", 1): 50.0, ("default", "tg64", 2): 40.0},
                         {("default", "tg64", 1): 60.0, ("default", "tg64", 2): 90.0})
    assert value_of(peers.figures(results, OPTIONS), "decode default") == (1.6, 1.8, True)
    rows = {row["threads"]: row for row in peers.table(results)}
    assert rows[2]["ratio"] == 90 / 40 and rows[1]["ratio"] == 60 / 50, "a row compares equal numbers of threads"


def test_shares_of_the_bandwidth():
    results = results_of({("1b-Q8_0", "tg64", 2): 30.0, ("1b-Q8_0", "tg64", 1): 15.0},
                         {("1b-Q8_0", "tg64", 2): 34.0, ("1b-Q8_0", "tg64", 1): 15.0})
    rows = peers.figures(results, OPTIONS)
    assert value_of(rows, "decode 1b-Q8_0, 2 threads") == (0.85, 0.85, True)
    assert value_of(rows, "decode 1b-Q8_0, 1 threads") == (0.80, 0.75, False)
    assert not value_of(rows, "decode 1b-Q8_0 against")[2], "1.13 and 0.85 of the bandwidth: neither will do"
    results = results_of({("1b-Q8_0", "tg64", 2): 35.0}, {("1b-Q8_0", "tg64", 2): 36.0})
    assert value_of(peers.figures(results, OPTIONS), "decode 1b-Q8_0 against")[2], "0.9 of the bandwidth is enough"


def test_shares_follow_the_bandwidth_of_their_own_minute():
    results = results_of({("1b-Q8_0", "tg64", 2): 20.0}, {})
    for speed, read in ((10.0, 20e9), (30.0, 40e9), (60.0, 60e9)):  # 0.5, 0.75 and 1.0 of it
        results.add("choir", "1b-Q8_0", 2, ({"tg64": speed}, {"level": "avx2", "activations": "q8"}), read)
    assert value_of(peers.figures(results, OPTIONS), "decode 1b-Q8_0, 2 threads") == (0.85, 0.75, False)


def test_the_bandwidth_around_a_measurement():
    results, samples = peers.Results(), iter((rate, "cpu") for rate in (10e9, 30e9, 20e9, 50e9, 60e9))
    original, peers.measure_read = peers.measure_read, lambda threads: next(samples)
    try:
        bandwidth = peers.Bandwidth(results, 2)
        assert bandwidth.around(lambda: "first") == ("first", 20e9)
        assert bandwidth.around(lambda: "second") == ("second", 25e9)
        assert results.read == {2: [10e9, 30e9, 20e9]}, "what is just measured serves both"
        assert results.read_median(2) == 20e9 and results.cpu == "cpu"
        bandwidth.last = None
        assert bandwidth.around(lambda: "later") == ("later", 55e9)
    finally:
        peers.measure_read = original


def test_bars_by_level():
    speeds = {("1b-Q4_0", "pp512", 2): 100.0}
    for level, bar in (("avx512", 1.5), ("avx2", 1.7)):
        rows = peers.figures(results_of(speeds, {("1b-Q4_0", "pp512", 2): 160.0}, level), OPTIONS)
        assert value_of(rows, "prefill 1b-Q4_0") == (bar, 1.6, 1.6 >= bar)
        assert len(rows) == 1, "nothing is said of what was not measured"


def test_q15_beside_q8():
    results = results_of({}, {})
    for who, speed in (("choir-q8", 100.0), ("choir-q15", 90.0)):
        results.add(who, "1b-Q4_0", 2, ({"tg64": speed}, {"level": "avx2", "activations": who[6:]}))
    assert value_of(peers.figures(results, OPTIONS), "decode 1b-Q4_0, q15") == (0.85, 0.9, True)


def main():
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(f"{name}: ok")


if __name__ == "__main__":
    main()
