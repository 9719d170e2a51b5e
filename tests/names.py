#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that each function has a unique name, even if it is static, so that a breakpoint or a line
of a profile refers to one place.

usage: names.py SOURCE-DIRECTORY...

Prints each name that is defined in several files, with the places, and exits with 1 if there is
any.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

# From the beginning of a line to the brace at the beginning of another. The type precedes the name.
DEFINITION = re.compile(r"^[a-z_][\w \t*]*?\b(\w+)\([^;{}]*\)\n\{", re.M)


def main():
    places = defaultdict(dict)
    for folder in map(Path, sys.argv[1:]):
        for path in sorted(folder.rglob("*.[ch]")):
            text = path.read_text()
            for found in DEFINITION.finditer(text):
                places[found[1]].setdefault(path, text.count("\n", 0, found.start()) + 1)
    several = {name: where for name, where in places.items() if len(where) > 1}
    for name, where in sorted(several.items()):
        print(f"{name}() is defined in several files:", *(f"{path}:{line}" for path, line in where.items()))
    if not places:
        sys.exit("no functions there")
    sys.exit(bool(several))


if __name__ == "__main__":
    main()
