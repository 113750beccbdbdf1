#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""cluster/quickstart answers, tells how fast, and leaves nothing behind, interrupted or not."""
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

QUESTION = "What do plants need to grow?"


def start(scratch):
    """quickstart in a process group of its own, as at a terminal, with its temporary files in `scratch`."""
    environment = dict(os.environ, TMPDIR=scratch)
    return subprocess.Popen(["cluster/quickstart", QUESTION], env=environment, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def processes(scratch):
    """Processes of a service that a quickstart in `scratch` has started."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"CHOIR_QUICKSTART={scratch}/".encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            pass  # it ended, or is not ours
    return found


def check_nothing_left(scratch):
    assert processes(scratch) == [], f"still running: {processes(scratch)}"
    assert os.listdir(scratch) == [], f"left in the temporary folder: {os.listdir(scratch)}"


def check_answer(scratch):
    with start(scratch) as run:
        output = run.stdout.read()
    assert run.returncode == 0, f"exit code {run.returncode}:\n{output}"
    report, _, rest = output.partition(f"\n{QUESTION}\n")
    assert re.search(r"^READY in [0-9.]+ s$", report, re.M), output
    assert re.search(r"^layout +2 ranks", report, re.M), output
    answer, _, figures = rest.partition("\nHow fast\n")
    assert "water" in answer and len(answer.split()) > 10, output
    assert re.search(r"^\d+ tokens, [0-9.]+ tokens/s", figures, re.M), output
    assert re.search(r"^weights: .* = [0-9.]+ GB/s, \d+ % of the [0-9.]+ GB/s", figures, re.M), output
    assert output.endswith("\nstopped; nothing is left running\n"), output
    check_nothing_left(scratch)


def check_interrupt(scratch):
    with start(scratch) as run:
        lines = []
        for line in run.stdout:
            lines.append(line)
            if line.startswith("READY in"):
                assert processes(scratch), "the service is not seen, so its end would not be either"
                os.killpg(run.pid, signal.SIGINT)
        output = "".join(lines)
    assert run.returncode == 130, f"exit code {run.returncode}:\n{output}"
    assert output.endswith("\nstopped; nothing is left running\n"), output
    check_nothing_left(scratch)


def main():
    for check in (check_answer, check_interrupt):
        with tempfile.TemporaryDirectory() as scratch:
            check(scratch)
    print("test_quickstart: ok")


if __name__ == "__main__":
    sys.exit(main())
