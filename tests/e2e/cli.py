# SPDX-License-Identifier: Apache-2.0
"""What the tests of `choir` verbs have in common: running it, checking what came."""
import json
import os
import struct
import subprocess
import sys
import tempfile
import time

BUILD = os.environ["CHOIR_BUILD"]
CHOIR = os.path.join(BUILD, "choir")
CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
MODEL = os.path.join(CACHE, "choir", "SmolLM2-135M-Instruct.Q4_1.gguf")
REFERENCE = os.path.join("tests", "fixtures", "reference")
# Exit codes are values of choir_status.
OK, EUSAGE, EIO, EFORMAT, EINVALID, EUNAVAILABLE, ECANCELLED = 0, 2, 3, 4, 7, 8, 10


def run(*args, stdin="", timeout=120, **options):
    """Runs choir; the result has returncode, stdout and stderr."""
    return subprocess.run([CHOIR, *map(str, args)], input=stdin, capture_output=True, text=True,
                          timeout=timeout, **options)


def succeed(*args, **options):
    """Its standard output; the test fails if it does not succeed, or says anything else."""
    done = run(*args, **options)
    if done.returncode != OK or done.stderr:
        fail(f"choir {args}: exit {done.returncode}, said: {done.stderr}")
    return done.stdout


def lines_of_json(*args, **options):
    # Not splitlines(), which also splits at U+2028 and others that JSON may hold as they are.
    return [json.loads(line) for line in succeed(*args, **options).split("\n")[:-1]]


def refuse(code, words, *args, **options):
    """It ends with this code and one line that has these words, and writes no result."""
    done = run(*args, **options)
    lines = done.stderr.splitlines()
    good = (done.returncode == code and len(lines) == 1 and lines[0].startswith("choir: ")
            and words in lines[0] and not done.stdout)
    if not good:
        fail(f"choir {args}: exit {done.returncode} for {code}, wanted \"{words}\" in one line, "
             f"said: {done.stderr!r}, wrote: {done.stdout[:200]!r}")


def equal(found, wanted, what):
    if found != wanted:
        fail(f"{what}: {found!r}, wanted {wanted!r}")


def check(claim, what):
    if not claim:
        fail(what)


def fail(words):
    sys.exit(f"FAILED: {words}")


# What this test starts inherits this variable, so that tests may run beside each other.
MARK = f"CHOIR_TEST={os.getpid()}-{time.monotonic_ns()}"
os.environ.update([MARK.split("=")])


def child_processes():
    """The ids of what this test has started and is still there."""
    found = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if MARK.encode() in file.read().split(b"\0"):
                    found.add(int(entry))
        except OSError:
            continue
    return found


def check_nothing_left():
    """Nothing that this test has started is there now."""
    deadline = time.monotonic() + 10
    while child_processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    left = child_processes()
    check(not left, f"still running: {sorted(left)}")


def check_logprob(token, n_top, what):
    """One entry of the stable form of log-probabilities."""
    equal(list(token), ["token_id", "logprob", "logprob_bits", "top"], what)
    bits = struct.pack(">f", token["logprob"]).hex()
    equal(token["logprob_bits"], bits, f"{what}: bits of {token['logprob']}")
    check(token["logprob"] <= 0, f"{what}: logprob {token['logprob']}")
    equal(len(token["top"]), n_top, f"{what}: alternatives")
    for other in token["top"]:
        equal(list(other), ["token_id", "logprob"], what)
    logprobs = [other["logprob"] for other in token["top"]]
    equal(logprobs, sorted(logprobs, reverse=True), f"{what}: likeliest first")


class Service:
    """`choir serve` on the default model as long as the block; flags says how to reach it."""

    def __init__(self, *args):
        self.args = args

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        connection_file = os.path.join(self.folder.name, "choir.json")
        self.flags = ("--connection-file", connection_file)
        self.output = open(os.path.join(self.folder.name, "output"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [CHOIR, "serve", "--model", MODEL, *self.flags, "--listen",
             f"ipc://{self.folder.name}/clients", *map(str, self.args)],
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 120
        while "READY in " not in self.said():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                fail(f"choir serve {self.args} is not ready, exit {self.process.poll()}: {self.said()}")
            time.sleep(0.02)
        return self

    def said(self):
        self.output.flush()
        with open(self.output.name, encoding="utf-8") as file:
            return file.read()

    def __exit__(self, kind, value, trace):
        self.process.terminate()
        code = self.process.wait(timeout=60)
        if kind is None:
            equal(code, OK, f"exit code of choir serve, which said: {self.said()}")
        self.output.close()
        self.folder.cleanup()
