# SPDX-License-Identifier: Apache-2.0
"""Services for tests: each with a runtime folder of its own, in which nothing may be left."""
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import cli

LIMIT_S = 60  # for what takes a second or two on an idle machine


class Home:
    """A runtime folder, and a tiny model with random weights beside it."""

    def __init__(self):
        # /tmp, since a socket's path has room for 107 bytes only.
        self.folder = tempfile.mkdtemp(prefix="choir-test-", dir="/tmp")
        self.runtime = os.path.join(self.folder, "run")
        os.mkdir(self.runtime, 0o700)
        self.model = os.path.join(self.folder, "tiny.gguf")
        self.environment = dict(os.environ, XDG_RUNTIME_DIR=self.runtime)
        subprocess.run([os.path.join(cli.BUILD, "tests", "make_model"), "--shape", "tiny",
                        "--type", "Q8_0", "--output", self.model], check=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.check_clean()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder)

    def jobs(self):
        """The names of the folders of running jobs, and of those that were killed."""
        choir = os.path.join(self.runtime, "choir")
        return [name for name in os.listdir(choir) if name.startswith("job-")] \
            if os.path.isdir(choir) else []

    def processes(self):
        """The ids of all processes that were started with this home, choir itself too."""
        mark = f"XDG_RUNTIME_DIR={self.runtime}".encode()
        found = []
        for entry in os.listdir("/proc"):
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        found.append(int(entry))
            except (OSError, ValueError):
                continue
        return found

    def wait_for_no_process(self):
        wait_until(lambda: not self.processes(), "the end of all processes")

    def check_clean(self):
        cli.check(not self.processes(), f"still running: {self.processes()}")
        # A client that looks for a service makes the folder, and nothing in it.
        choir = os.path.join(self.runtime, "choir")
        cli.equal(os.listdir(choir) if os.path.isdir(choir) else [], [], "what is left behind")

    def refuse(self, code, words, *args):
        """Like cli.refuse(), and nothing is left."""
        cli.refuse(code, words, *args, env=self.environment)
        self.check_clean()


class Serve:
    """A running `choir serve`; lines of its standard output are in .report once it is ready."""

    def __init__(self, home, *args, model=None, is_waiting=True):
        self.home = home
        self.process = subprocess.Popen(
            [cli.CHOIR, "serve", "--model", model or home.model, *map(str, args)],
            env=home.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self.report = []
        if is_waiting:
            self.wait_for_report()

    def wait_for_report(self):
        # A service that hangs is killed, which ends the loop.
        guard = threading.Timer(LIMIT_S, self.process.kill)
        guard.start()
        for line in self.process.stdout:
            self.report.append(line.rstrip("\n"))
            if line.startswith("READY in "):
                break
        else:
            cli.fail(f"not ready: {self.report} {self.process.stderr.read()!r}")
        guard.cancel()

    def kill(self, number):
        os.kill(self.process.pid, number)

    def ranks(self):
        """The ids of the ranks, in their order."""
        found = {}
        for pid in self.home.processes():
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    command = file.read().split(b"\0")[0]
                with open(f"/proc/{pid}/environ", "rb") as file:
                    variables = dict(v.split(b"=", 1) for v in file.read().split(b"\0") if b"=" in v)
            except OSError:
                continue
            if command.endswith(b"/choir-worker"):
                found[int(variables[b"OMPI_COMM_WORLD_RANK"])] = pid
        return [found[rank] for rank in sorted(found)]

    def launcher(self):
        with open(f"/proc/{self.ranks()[0]}/stat", encoding="utf-8") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])

    def shared_folder(self):
        """Where the transport's segments are."""
        with open(f"/proc/{self.launcher()}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
        return words[words.index(b"btl_vader_backing_directory") + 1].decode()

    def wait(self):
        """Its exit code and the lines of its standard error."""
        try:
            self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            cli.fail("the service has not ended")
        return self.process.returncode, self.process.stderr.read().splitlines()

    def check_end(self, code, words):
        """It ends by itself, with this code and these words in its last line; nothing is left."""
        found, lines = self.wait()
        if found != code or words not in (lines or [""])[-1]:
            cli.fail(f"exit {found} for {code}, wanted \"{words}\", said: {lines}")
        self.home.check_clean()


def wait_until(is_true, what):
    deadline = time.monotonic() + LIMIT_S
    while not is_true():
        cli.check(time.monotonic() < deadline, f"waited for {what}")
        time.sleep(0.01)
