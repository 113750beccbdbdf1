#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""choir chat: one question, lines from a pipe, and a conversation on a terminal with Ctrl-C and
Ctrl-D."""
import fcntl
import json
import os
import pty
import select
import subprocess
import termios
import time

import cli

QUESTION = "What do plants need to grow?"
GREEDY = ("--temperature", "0", "--max-tokens", "12")


class Terminal:
    """choir on a pseudo-terminal."""

    def __init__(self, *args):
        self.master, slave = pty.openpty()
        environment = dict(os.environ, NO_COLOR="1", TERM="xterm")
        self.process = subprocess.Popen([cli.CHOIR, *map(str, args)], stdin=slave, stdout=slave,
                                        stderr=slave, env=environment, start_new_session=True,
                                        preexec_fn=take_terminal)
        os.close(slave)
        self.text = ""

    def wait_for(self, words, timeout=60):
        """Reads until the words come; what came up to them is the result."""
        deadline = time.monotonic() + timeout
        while words not in self.text:
            cli.check(time.monotonic() < deadline, f"no \"{words}\", but {self.text!r}")
            if not select.select([self.master], [], [], 1)[0]:
                continue
            try:
                self.text += os.read(self.master, 4096).decode(errors="replace")
            except OSError:
                cli.fail(f"choir ended before \"{words}\": {self.text!r}")
        found, _, self.text = self.text.partition(words)
        return found

    def wait_for_more(self, n_characters, timeout=60):
        """Reads until that many characters are there."""
        deadline = time.monotonic() + timeout
        while len(self.text) < n_characters:
            cli.check(time.monotonic() < deadline, f"only {self.text!r} came")
            if select.select([self.master], [], [], 1)[0]:
                self.text += os.read(self.master, 4096).decode(errors="replace")

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self):
        """The exit code, after the rest of the output."""
        try:
            while True:
                data = os.read(self.master, 4096)
                if not data:
                    break
                self.text += data.decode(errors="replace")
        except OSError:
            pass
        return self.process.wait(timeout=30)


def take_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


with cli.Service("-n", 1) as service:
    S = service.flags

    # One question: the same as generate with its message.
    answer = cli.succeed("chat", *S, *GREEDY, QUESTION)
    line = {"messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 12}
    same = cli.lines_of_json("generate", *S, "--jsonl", "-", stdin=json.dumps(line))[0]
    cli.equal(answer, same["text"] + "\n", "one question")
    cli.equal(cli.lines_of_json("chat", *S, *GREEDY, "--json", QUESTION)[0]["token_ids"],
              same["token_ids"], "--json")
    line["messages"].insert(0, {"role": "system", "content": "Answer in French."})
    same_system = cli.lines_of_json("generate", *S, "--jsonl", "-", stdin=json.dumps(line))[0]
    cli.equal(cli.succeed("chat", *S, *GREEDY, "--system", "Answer in French.", QUESTION),
              same_system["text"] + "\n", "--system")

    # Lines from a pipe: no prompt, and the history is remembered.
    two = cli.succeed("chat", *S, *GREEDY, stdin=f"{QUESTION}\n\nWhy?\n")
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": same["text"]},
                {"role": "user", "content": "Why?"}]
    line = {"messages": messages, "temperature": 0, "max_tokens": 12}
    second = cli.lines_of_json("generate", *S, "--jsonl", "-", stdin=json.dumps(line))[0]["text"]
    cli.equal(two, f"{same['text']}\n{second}\n", "two questions from a pipe")
    cli.equal(cli.succeed("chat", *S, stdin=""), "", "no question")

    # A terminal: three turns, the second interrupted.
    terminal = Terminal("chat", *S, "--temperature", "0", "--ignore-eos", "--max-tokens", "400")
    terminal.wait_for("> ")
    terminal.type("\x03")
    terminal.wait_for("(Ctrl-D ends)")
    terminal.wait_for("> ")
    terminal.type("Tell me a long story.\n")
    terminal.wait_for("\n")
    terminal.wait_for_more(20)
    terminal.type("\x03")
    story = terminal.wait_for("(interrupted)")
    cli.check(len(story.strip()) > 3, f"the partial answer stays: {story!r}")
    terminal.wait_for("> ")
    terminal.type("And now?\n")
    terminal.wait_for("\n")
    terminal.wait_for_more(5)
    terminal.type("\x03")
    terminal.wait_for("(interrupted)")
    terminal.wait_for("> ")
    terminal.type("\x04")
    cli.equal(terminal.end(), cli.OK, "exit code after Ctrl-D")

    cli.refuse(cli.EUSAGE, "quote a question", "chat", *S, "What", "now?")

# The oldest turns are forgotten when the context is full, and it says so.
with cli.Service("-n", 1, "--max-model-len", 200) as service:
    done = cli.run("chat", *service.flags, *GREEDY, stdin="\n".join([QUESTION + " Say more."] * 6) + "\n")
    cli.equal(done.returncode, cli.OK, f"a full context; it said {done.stderr}")
    cli.check("forgotten" in done.stderr, f"what was forgotten: {done.stderr!r}")
    cli.check(done.stdout.count("\n") >= 6, f"six answers: {done.stdout!r}")
cli.check_nothing_left()
