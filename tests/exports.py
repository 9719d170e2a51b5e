#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that the library, its version map and its public headers agree: each exports, lists and
declares the same functions.

usage: exports.py LIBRARY MAP HEADER...
"""

import re
import subprocess
import sys
from pathlib import Path


def declared(headers):
    """The functions that the headers declare with BEAM_API."""
    names = {}
    for header in headers:
        text = re.sub(r"/\*.*?\*/", "", Path(header).read_text(), flags=re.S)
        for name in re.findall(r"^BEAM_API\b[^;{]*?\b(\w+)\s*\(", text, re.M):
            names[name] = header
    return names


def listed(path):
    """The functions that the map lists, with their versions."""
    names = {}
    text = re.sub(r"#[^\n]*", "", Path(path).read_text())
    for version, body in re.findall(r"(BEAM_[\d.]+)\s*\{(.*?)\}", text, re.S):
        for name in re.findall(r"(\w+)\s*;", body.split("local:")[0]):
            names[name] = version
    return names


def exported(library):
    """The functions that the library exports, with their versions."""
    output = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    names = {}
    for line in output.splitlines():
        kind, symbol = line.split()[-2:]
        name, _, version = symbol.partition("@")
        if kind != "A":
            names[name] = version.lstrip("@")
    return names


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    library, version_map, headers = sys.argv[1], sys.argv[2], sys.argv[3:]
    in_headers, in_map, in_library = declared(headers), listed(version_map), exported(library)
    wrong = [f"{in_headers[name]}: {name}() is not in {version_map}" for name in in_headers.keys() - in_map.keys()]
    wrong += [f"{version_map}: {name} is in no public header" for name in in_map.keys() - in_headers.keys()]
    wrong += [f"{library}: {name}() is declared and not exported" for name in in_headers.keys() - in_library.keys()]
    wrong += [f"{library}: {name} is exported and not declared" for name in in_library.keys() - in_headers.keys()]
    wrong += [
        f"{library}: {name} is of version {in_library[name]}, not {in_map[name]}"
        for name in in_map.keys() & in_library.keys()
        if in_map[name] != in_library[name]
    ]
    print("\n".join(sorted(wrong)) if wrong else f"{len(in_library)} functions")
    sys.exit(1 if wrong or not in_library else 0)


main()
