#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the shell examples of documents as they are printed, and compares their output.

usage: shell.py FOLDER-OF-THE-COMMAND DOCUMENT...

An example is a literal block that begins with "$ ". In Markdown, the block begins with ```console.
A block is run by one shell in an empty folder. Lines that begin with "$ " are typed, lines that
begin with "> " continue them, and the other lines are the output, in this order, on both streams.

Prints each example whose output differs. Exits with 1 if there is one, or if a document has no
example.
"""

import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

#: Seconds that an example may take.
PATIENCE = 60


def blocks(path):
    """Yields (line, text) for each example."""
    text = path.read_text()
    opening = "```console" if path.suffix == ".md" else "```"
    for match in re.finditer(r"^%s\n(.*?)^```$" % re.escape(opening), text, re.M | re.S):
        body = match.group(1)
        if path.suffix != ".md":
            body = re.sub(r"\\(\\)", r"\1", body)       # escaped for scdoc
        if body.startswith("$ "):
            yield text.count("\n", 0, match.start()) + 2, body


def run(body, folder):
    """Runs a block, waits until everything that it started has ended, and returns its output."""
    commands = "\n".join(line[2:] for line in body.splitlines() if line[:2] in ("$ ", "> "))
    with tempfile.TemporaryDirectory(prefix="beam-example.") as scratch:
        # The output is what a reader sees on a terminal.
        master, slave = pty.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        environment = {**os.environ, "PATH": "%s:%s" % (folder, os.environ["PATH"]), "LC_ALL": "C.UTF-8"}
        shell = subprocess.Popen(["bash", "-c", commands + "\nwait"], cwd=scratch, env=environment,
                                 stdin=subprocess.DEVNULL, stdout=slave, stderr=slave)
        os.close(slave)
        printed = read_all(master)
        shell.wait(PATIENCE)
    return printed.decode()


def read_all(master):
    """Returns everything that is written to a terminal until all have closed it."""
    printed = bytearray()
    end = time.monotonic() + PATIENCE
    try:
        while select.select([master], [], [], max(0, end - time.monotonic()))[0]:
            printed += os.read(master, 65536)
        sys.exit("no end of an example that has printed %r" % bytes(printed))
    except OSError:
        return printed
    finally:
        os.close(master)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    passed = failed = 0
    for name in sys.argv[2:]:
        path = Path(name)
        examples = list(blocks(path))
        if not examples:
            print("%s: no example" % path)
            failed += 1
        for line, body in examples:
            shown = "".join(line + "\n" for line in body.splitlines() if line[:2] not in ("$ ", "> "))
            printed = run(body, os.path.abspath(sys.argv[1]))
            if printed == shown:
                passed += 1
                continue
            failed += 1
            print("%s:%d: the example\n%sprints\n%sand not\n%s" % (path, line, body, printed, shown))
    print("%d examples passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)


main()
