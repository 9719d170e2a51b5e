#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints the lines, and the branches of lines, that no test reaches according to gcovr.
Fails if there are any."""

import json
import sys
from pathlib import Path

missed = 0
for file in sorted(json.loads(Path(sys.argv[1]).read_text())["files"], key=lambda file: file["file"]):
    source = Path(file["file"]).read_text().splitlines()
    for line in file["lines"]:
        if line.get("gcovr/noncode"):
            continue
        branches = [str(i) for i, branch in enumerate(line["branches"]) if branch["count"] == 0]
        if line["count"] and not branches:
            continue
        what = f"branch {', '.join(branches)} of {len(line['branches'])}" if line["count"] else "line"
        missed += 1
        print(f"{file['file']}:{line['line_number']}: {what} missed: {source[line['line_number'] - 1].strip()}")
sys.exit(missed > 0)
