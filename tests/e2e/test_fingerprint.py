#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""choir fingerprint: one hash for all ways to run a model, another for another model or rounding."""
import json
import signal
import subprocess

import cli
from service import Home, wait_until

KEYS = ["sha256", "n", "tp", "pp", "threads", "level", "activations", "cache_type_k",
        "cache_type_v"]


def fingerprint(home, *args):
    done = cli.run("fingerprint", "--model", home.model, "--json", *args, env=home.environment)
    if done.returncode != 0 or done.stderr:
        cli.fail(f"fingerprint {args}: exit {done.returncode}, said: {done.stderr}")
    home.check_clean()
    return json.loads(done.stdout)


with Home() as home:
    first = fingerprint(home, "--threads", 1)
    cli.equal(list(first), KEYS, "keys")
    cli.check(len(first["sha256"]) == 64 and int(first["sha256"], 16) > 0, "form of the hash")
    cli.equal([first[key] for key in KEYS[1:5] + KEYS[6:]], [1, 1, 1, 1, "q8", "f16", "f16"],
              "what it was made with")
    ways = (("-n", 2, "-tp", 2), ("-n", 2, "-pp", 2), ("-n", 3, "--threads", 2))
    for way in ways:
        found = fingerprint(home, *way)
        cli.equal(found["sha256"], first["sha256"], f"hash with {way}")
        cli.equal(found["n"], way[1], f"ranks with {way}")
    hashes = {fingerprint(home, "--threads", 1, *args)["sha256"]
              for args in (("--activations", "f32"), ("--cache-type-k", "f32"), ("--long",))}
    for activations in ("mixed", "q15"):
        found = fingerprint(home, "-n", 2, "--activations", activations)
        cli.equal(found["activations"], activations, "what it was made with")
        hashes.add(found["sha256"])
    cli.equal(len(hashes | {first["sha256"]}), 6, "different hashes of different things")
    home.refuse(cli.EUSAGE, "none of: q8 mixed q15 f32", "fingerprint", "--model", home.model,
                "--activations", "q7")

    text = cli.succeed("fingerprint", "--model", home.model, env=home.environment)
    cli.equal(text.splitlines()[0], first["sha256"], "first line for people")
    home.refuse(cli.EUSAGE, "-tp 2 -pp 2", "fingerprint", "--model", home.model, "-n", 3, "-tp", 2,
                "-pp", 2)

    process = subprocess.Popen([cli.CHOIR, "fingerprint", "--model", home.model, "-n", "2"],
                               env=home.environment, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    wait_until(home.jobs, "the job's folder")
    process.send_signal(signal.SIGINT)
    out, words = process.communicate(timeout=60)
    cli.equal((process.returncode, out), (cli.ECANCELLED, ""), "after Ctrl-C")
    cli.check(words.startswith("choir: cancelled") and words.count("\n") == 1, f"words: {words}")
