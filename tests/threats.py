#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the table of docs/security.md to the tests: every suite and every test that it names is
there.

usage: threats.py SECURITY.MD TESTS-DIRECTORY

Prints each row that names what is not there, or nothing at all, and exits 1 if there is any. A row
that says "not yet" may name nothing.
"""

import re
import sys
from pathlib import Path

ROW = re.compile(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$")
NAME = re.compile(r"\b(?P<suite>[a-z]+/[a-z_]+)\b|`(?P<test>test_\w+)`")


def wrong_in(cell, tests):
    """What a row names that is not there."""
    suite, text, found = None, "", 0
    for match in NAME.finditer(cell):
        if match["suite"]:
            suite = match["suite"]
            folder, name = suite.split("/")
            sources = tests / folder / f"{name}_test.c", tests / folder / f"test_{name}.py"
            source = next(filter(Path.is_file, sources), None)
            if not source:
                yield f"no suite {suite}"
                return
            text = source.read_text()
            found += 1
        elif not re.search(rf"\b{match['test']}\b", text):
            yield f"{suite} has no {match['test']}"
    if not found and "not yet" not in cell:
        yield "names no test"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    page, tests = Path(sys.argv[1]), Path(sys.argv[2])
    rows = wrong = 0
    for number, line in enumerate(page.read_text().splitlines(), 1):
        match = ROW.match(line)
        if not match:
            continue
        rows += 1
        for message in wrong_in(match[2], tests):
            print(f"{page}:{number}: row {match[1]}: {message}")
            wrong += 1
    print(f"{rows} rows, {wrong} wrong")
    sys.exit(1 if wrong or not rows else 0)


main()
