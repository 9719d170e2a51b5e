#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares the tables of docs/security.md, the list tests/threats.txt and the tests.

usage: threats.py SECURITY.MD TESTS-DIRECTORY

Every suite and test in the list must exist. Every threat of the page must be in the list, every
numbered threat of the list on the page, and both must name the same suites for it. Prints what is
wrong and the counts, and exits with 1 if anything is wrong.
"""

import re
import sys
from pathlib import Path

# A row begins with the threat's number and ends with the suites that try it.
ROW = re.compile(r"^\| (\d+) \|.*\| ([^|]+) \|$")
SUITE = re.compile(r"\b[a-z]+/[a-z_]+\b")


def read_list(path):
    """Returns {number or name: {suite: [test, ...]}}. A threat without tests has no suites."""
    threats = {}
    for line in path.read_text().splitlines():
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        if line.startswith("\t\t"):
            suites[suite].append(word)
        elif line.startswith("\t"):
            if word != "not yet":
                suite = word
                suites[suite] = []
        elif word in threats:
            sys.exit(f"{path}: {word} stands there twice")
        else:
            suites = threats[word] = {}
    return threats


def missing(suites, tests):
    """Yields what the list names and does not exist."""
    for suite, names in suites.items():
        folder, name = suite.split("/")
        sources = (tests / folder / f"{name}_test.c", tests / folder / f"test_{name}.py")
        source = next((s for s in sources if s.is_file()), None)
        if not source:
            yield f"no suite {suite}"
            continue
        text = source.read_text()
        for test in names:
            if not re.search(rf"\b{test}\b", text):
                yield f"{suite} has no {test}"


def compare(page, threats):
    """Yields the differences between the rows of the page and the list, with their lines."""
    rows = set()
    for number, line in enumerate(page.read_text().splitlines(), 1):
        match = ROW.match(line)
        if not match:
            continue
        threat, cell = match[1], match[2]
        if threat in rows:
            yield number, f"threat {threat} stands there twice"
        rows.add(threat)
        if threat not in threats:
            yield number, f"threat {threat} is not in the list"
            continue
        shown, listed = set(SUITE.findall(cell)), set(threats[threat])
        if shown != listed:
            yield number, f"threat {threat}: not in both: {', '.join(sorted(shown ^ listed))}"
        if not listed and "not yet" not in cell:
            yield number, f"threat {threat} names no suite"
    for threat in threats:
        if threat.isdigit() and threat not in rows:
            yield 0, f"threat {threat} of the list is in no table"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    page, tests = Path(sys.argv[1]), Path(sys.argv[2])
    threats = read_list(tests / "threats.txt")
    wrong = [f"{page}:{number}: {message}" for number, message in compare(page, threats)]
    for threat, suites in threats.items():
        wrong += [f"threats.txt: {threat}: {message}" for message in missing(suites, tests)]
    print(*wrong, f"{len(threats)} threats, {len(wrong)} wrong", sep="\n")
    sys.exit(1 if wrong or not threats else 0)


main()
