#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""choir top: one look as JSON and as text, and the live view in a terminal, which it gives back."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

import cli
import streams
from service import LIMIT_S, Home, Serve, wait_until

EUNSUPPORTED = 5
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"  # the other screen of an xterm
CONTROL_L = b"\x0c"


class Load:
    """Requests one after the other, as long as the block."""

    def __init__(self, home):
        self.home = home
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        client = streams.connect(self.home)
        while not self.is_over.is_set():
            streams.ask(client, token_ids=[1, 2, 3], max_tokens=100, ignore_eos=True)
        client.close()

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()


class Terminal:
    """`choir top` in a terminal of its own; what it wrote is in .seen."""

    def __init__(self, home, *args, size=(24, 120), **environment):
        variables = {**home.environment, "TERM": "xterm", "NO_COLOR": "", **environment}
        self.master, self.slave = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.slave)
        # The first terminal that the leader of a session opens is the session's.
        name = os.ttyname(self.slave)
        self.process = subprocess.Popen(
            ["sh", "-c", f'exec "$@" <{name} >{name} 2>&1', "sh", cli.CHOIR, "top", *map(str, args)],
            env=variables, start_new_session=True)
        self.seen = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys):
        os.write(self.master, keys)

    def wait_for(self, *words, what=None):
        """Draws again and again, until all the words come in one piece."""
        deadline = time.monotonic() + LIMIT_S
        seen = b""
        while not all(word in seen for word in words):
            self.seen += seen
            seen = b""
            cli.check(time.monotonic() < deadline,
                      f"top does not show {what or words}, but {self.seen[-2000:]!r}")
            self.press(CONTROL_L)
            while select.select([self.master], [], [], 0.05)[0]:
                seen += os.read(self.master, 65536)
        self.seen += seen

    def check_end(self, code):
        """It ends with this code, and gives the terminal back."""
        deadline = time.monotonic() + LIMIT_S
        while self.process.poll() is None or select.select([self.master], [], [], 0)[0]:
            cli.check(time.monotonic() < deadline, "top does not end")
            if select.select([self.master], [], [], 0.01)[0]:
                self.seen += os.read(self.master, 65536)
        cli.equal(self.process.returncode, code, f"exit code of top: {self.seen[-300:]!r}")
        cli.equal(termios.tcgetattr(self.slave), self.before, "settings of the terminal")
        cli.equal(self.seen.count(ENTER), self.seen.count(LEAVE), "screens entered and left")
        cli.check(b"\x1b[?25l" not in self.seen.rsplit(b"\x1b[?25h")[-1], "the cursor is hidden")
        os.close(self.master)
        os.close(self.slave)


def once(home):
    return json.loads(cli.succeed("top", "--json", "--interval", "0.1", env=home.environment))


def check_look(home):
    """Under load: counters move; a rank's shares are shares of one whole."""
    wait_until(lambda: all(rank["compute_share"] > 0 and rank["bandwidth"] > 0
                           for rank in once(home)["ranks"]), "figures of all ranks")
    wait_until(lambda: once(home)["generation_tokens_per_s"] > 0, "tokens per second")
    first = once(home)
    for name in ("n_steps", "generation_tokens_total", "prompt_tokens_total", "uptime_s"):
        wait_until(lambda: once(home)[name] > first[name], f"more {name} than {first[name]}")
    second = once(home)
    cli.check(second["n_steps"] > first["n_steps"] and second["interval_s"] >= 0.1, f"rates: {second}")
    cli.equal([rank["rank"] for rank in second["ranks"]], [0, 1], "ranks")
    for rank in second["ranks"]:
        shares = [rank[name] for name in ("compute_share", "wait_share", "exchange_share")]
        cli.check(all(0 <= share <= 1 for share in shares), f"shares: {shares}")
        cli.check(abs(sum(shares) - 1) < 1e-3, f"sum of the shares {shares}")
        cli.check(0 < rank["step_us_p50"] <= rank["step_us_p99"], f"step times: {rank}")
        cli.check(rank["rss"] > 0 and rank["memory_free"] > 0, f"memory: {rank}")
    status = json.loads(cli.succeed("status", "--json", env=home.environment))
    cli.check(all(rank["compute_share"] > 0 for rank in status["ranks"]), "shares in choir status")
    cli.check("computes" in cli.succeed("status", env=home.environment), "text of choir status")


def check_text(home):
    """Without a terminal it is plain."""
    text = cli.succeed("top", "--interval", "0.1", env=home.environment)
    cli.check("READY" in text and "KV pages" in text and "exchanges" in text, f"text: {text}")
    cli.check(re.search(r"tokens +[0-9.]+/s generated", text), f"no rate in {text}")
    cli.check("\x1b" not in text, "escape sequences in plain text")


def check_live(home):
    top = Terminal(home, "--interval", "0.1")
    top.wait_for(b"READY", b"running", b"computes", b"GB/s", what="the figures")
    cli.check(ENTER in top.seen, "not a screen of its own")
    cli.check(b"[36m" in top.seen, "no colour")
    top.press(b"xq")  # another key is passed over
    top.check_end(0)
    plain = Terminal(home, "--interval", "0.1", NO_COLOR="1")
    plain.wait_for(b"computes")
    plain.press(b"\x03")
    plain.check_end(0)
    cli.check(b"[36m" not in plain.seen, "colour in spite of NO_COLOR")


def check_resize(home):
    top = Terminal(home, size=(8, 30))
    top.wait_for(b"computes")
    cli.check(b"exchanges" not in top.seen, "a column too many")
    top.resize(24, 120)
    top.wait_for(b"exchanges", b"memory")
    top.process.terminate()
    top.check_end(0)


def check_unknown_terminal(home):
    top = Terminal(home, TERM="no-such-terminal")
    top.check_end(EUNSUPPORTED)
    cli.check(b"no-such-terminal" in top.seen and b"--once" in top.seen, f"words: {top.seen}")


def check_gone(home, serve):
    """It says so, tries again, and finds the next service."""
    top = Terminal(home, "--interval", "0.1")
    top.wait_for(b"computes")
    serve.kill(signal.SIGTERM)
    top.wait_for(b"SERVICE")
    cli.equal(serve.wait()[0], 0, "end of the service")
    again = Serve(home)
    top.wait_for(b"READY", what="the next service")
    again.kill(signal.SIGKILL)
    again.wait()
    top.wait_for(b"SERVICE")
    top.press(b"q")
    top.check_end(0)


def test_without_service(home):
    home.refuse(cli.EUNAVAILABLE, "no such connection file", "top")
    top = Terminal(home)
    top.check_end(cli.EUNAVAILABLE)
    cli.check(ENTER not in top.seen, "a screen for nothing")
    for args in (["x"], ["--interval", "0"], ["--interval"]):
        home.refuse(cli.EUSAGE, "", "top", *args)


def main():
    with Home() as home:
        test_without_service(home)
        serve = Serve(home, "-n", 2, "-tp", 2, "--threads", 1)
        with Load(home):
            check_look(home)
            check_text(home)
            check_live(home)
            check_resize(home)
            check_unknown_terminal(home)
        check_gone(home, serve)
        home.wait_for_no_process()
        again = Serve(home)  # clears what the killed one left
        again.kill(signal.SIGTERM)
        again.check_end(0, "stopping")


main()
