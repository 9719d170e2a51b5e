#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the scenarios to the whole of the interface: together they call every function that the
library exports.

usage: reach.py PROGRAM MAP

The program is that of the scenarios, linked with the shared library: what it imports is what they
call.
"""

import re
import subprocess
import sys
from pathlib import Path


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    program, version_map = sys.argv[1:]
    exported = set(re.findall(r"^\t(beam_\w+);", Path(version_map).read_text(), re.M))
    command = ["nm", "-D", "--undefined-only", program]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    called = {line.split()[-1].partition("@")[0] for line in output.splitlines()}
    missing = sorted(exported - called)
    print("\n".join(f"{name}() is called by no scenario" for name in missing) or f"{len(exported)} functions")
    sys.exit(1 if missing or not exported else 0)


main()
