#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks the width of lines: 120 columns for code, 100 for comments, Markdown and manual pages.

usage: width.py FOLDER

Measures the sources, scripts and pages below the folder, whether or not they are in git, except
what was built there. Prints FILE:LINE and the limit for each line that is too wide, and exits with
1 if there is any. A tab is eight columns wide. These lines may be wider:

- a row of a table in a page, because a cell cannot be wrapped;
- a line with a single word, such as an address, including its indentation and mark;
- code in a page, fenced or indented by four spaces, which may have 120 columns like other code;
- recorded data, such as the golden transcripts: only comments are measured in such files.

A comment behind code is part of a line of code. Docstrings in Python are comments.
"""

import ast
import os
import re
import sys
from pathlib import Path

CODE, TEXT, TAB = 120, 100, 8

# Files to measure, by the ends of their names. Scripts without an extension begin with #!.
C = (".c", ".h", ".pml")
HASH = (".py", ".sh", ".bash", ".cmake", ".gp", ".in", ".map", "CMakeLists.txt")
PAGES = (".md", ".scd")
DATA = (".txt", ".dict", ".supp")

# Strings are matched, too, because they may look like comments.
C_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'|//[^\n]*|/\*.*?\*/', re.S)
FENCE = re.compile(r"\s*```")
INDENTED = re.compile(r" {4}")
TABLE = {".md": re.compile(r"\s*\|"), ".scd": re.compile(r"[|\[\]:][-\[\]<=>]*(?: |$)")}
# Before the word: the mark of a comment, a heading, a list item or a link target.
ONE_WORD = re.compile(r"\s*(?:(?:/?\*+|//|#+|;|[-.]|\d+\.|\[[^]]*\]:)\s+)?\S+(?:\s*\*/)?")


def c_bounds(text):
    """The limit of each line of C."""
    code = C_COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m[0]) if m[0][0] == "/" else m[0], text)
    return [CODE if line.strip() else TEXT for line in code.split("\n")]


def docstrings(text):
    """The numbers of the lines in docstrings."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            yield from range(node.body[0].lineno, node.body[0].end_lineno + 1)


def hash_bounds(text, name):
    """The limit of each line of a language whose comments begin with #. None for lines of data."""
    documentation = set(docstrings(text)) if name.endswith(".py") else ()
    is_data = name.endswith(DATA) and not name.endswith(HASH)
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("#") or number in documentation:
            yield TEXT
        else:
            yield None if is_data else CODE


def page_bounds(text, suffix):
    """The limit of each line of a page. None for a row of a table."""
    fenced = False
    for line in text.split("\n"):
        if FENCE.match(line):
            fenced = not fenced
        if fenced or INDENTED.match(line):
            yield CODE
        elif TABLE[suffix].match(line):
            yield None
        else:
            yield TEXT


def bounds_of(path):
    """The lines of a file, each with its limit or None. Empty for a file that is not measured."""
    is_script = path.suffix == "" and path.is_file() and path.read_bytes().startswith(b"#!")
    if not is_script and not path.name.endswith(C + HASH + PAGES + DATA):
        return []
    text = path.read_text(encoding="utf-8")
    if path.name.endswith(C):
        bounds = c_bounds(text)
    elif path.name.endswith(PAGES):
        bounds = page_bounds(text, path.suffix)
    else:
        bounds = hash_bounds(text, path.name)
    return list(zip(text.split("\n"), bounds))


def files_below(folder):
    """The files below a folder, except builds and hidden folders."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith("build")
            and (name == ".ci" or not name.startswith("."))
            and not Path(place, name, "CMakeCache.txt").exists()
        )
        yield from (Path(place, name) for name in sorted(names))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    files = wrong = 0
    for path in files_below(sys.argv[1]):
        lines = bounds_of(path)
        files += bool(lines)
        for number, (line, bound) in enumerate(lines, 1):
            columns = len(line.expandtabs(TAB))
            if bound and columns > bound and not ONE_WORD.fullmatch(line):
                print(f"{path}:{number}: {columns} columns, {bound} are the most")
                wrong += 1
    print(f"{files} files, {wrong} wrong")
    sys.exit(1 if wrong or not files else 0)


main()
