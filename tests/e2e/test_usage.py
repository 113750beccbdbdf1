#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command line itself: help, version, and one line for everything wrong, from every verb."""
import re
import subprocess

import cli

cli.check(re.fullmatch(r"choir \d+\.\d+\.\d+\n", cli.succeed("--version")), "choir --version")
verbs = re.findall(r"^  ([a-z]+) +\S", cli.succeed("--help").split("Verbs:")[1].split("\n\n")[0], re.M)
cli.check("inspect" in verbs and "help" in verbs, f"verbs of --help: {verbs}")
cli.equal(cli.succeed("help"), cli.succeed("--help"), "choir help")

for verb in verbs:
    if verb == "help":
        continue
    text = cli.succeed(verb, "--help")
    cli.equal(cli.succeed("help", verb), text, f"choir help {verb}")
    cli.check(text.startswith(f"usage: choir {verb} "), f"usage of {verb}")
    cli.check(f"\nExample:\n  choir {verb} " in text, f"{verb} has no example")
    cli.check("--json" in text or verb in ("serve", "chat"), f"{verb} has no --json")
    cli.check(max(map(len, text.splitlines())) <= 100, f"{verb} --help has lines over 100")
    cli.refuse(cli.EUSAGE, "unknown flag --no-such-flag", verb, "--no-such-flag")

cli.refuse(cli.EUSAGE, "no verb")
cli.refuse(cli.EUSAGE, "unknown verb inspekt; did you mean `choir inspect`?", "inspekt")
cli.refuse(cli.EUSAGE, "unknown verb frobnicate; `choir --help` lists the verbs", "frobnicate")
cli.refuse(cli.EUSAGE, "unknown verb nix", "help", "nix")
cli.refuse(cli.EUSAGE, "the verb comes first", "--model", "a", "generate")
cli.refuse(cli.EUSAGE, "did you mean --json?", "inspect", "--jsno")

# A closed pipe is an error, not a death by signal.
process = subprocess.Popen([cli.CHOIR, "inspect", cli.MODEL, "--json"], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)
process.stdout.close()
words = process.stderr.read()
cli.equal((process.wait(), words), (cli.EIO, "choir: standard output: Broken pipe\n"), "closed pipe")
