#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds lines to a width: code to 120 columns; comments, Markdown and manual pages to 100.

usage: width.py FOLDER

Measures the sources, scripts and pages below the folder, whether git knows them or not, and leaves
out what was built there. Prints FILE:LINE and the rule for each line that is too wide, and exits 1
if there is any. A tab is eight columns wide. These lines may be wider:

- a row of a table in a page, because a cell cannot be wrapped;
- a line of one word, such as an address, with its indentation and its mark;
- code in a page, fenced or indented by four blanks, which may have 120 columns as other code;
- recorded data, such as the golden transcripts: of such files only the comments are measured.

A comment behind code is part of a line of code. Python's documentation strings are comments.
"""

import ast
import os
import re
import sys
from pathlib import Path

CODE, TEXT, TAB = 120, 100, 8

# The files that are measured, by the ends of their names. Scripts without one begin with #!.
C = (".c", ".h", ".pml")
HASH = (".py", ".sh", ".bash", ".cmake", ".gp", ".in", ".map", "CMakeLists.txt")
PAGES = (".md", ".scd")
DATA = (".txt", ".dict", ".supp")

# Strings are found so that what looks like a comment in them is none.
C_COMMENT = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'|//[^\n]*|/\*.*?\*/', re.S)
FENCE = re.compile(r"\s*```")
INDENTED = re.compile(r" {4}")
TABLE = {".md": re.compile(r"\s*\|"), ".scd": re.compile(r"[|\[\]:][-\[\]<=>]*(?: |$)")}
# Before the word: the mark of a comment, a heading, an item of a list or the target of a link.
ONE_WORD = re.compile(r"\s*(?:(?:/?\*+|//|#+|;|[-.]|\d+\.|\[[^]]*\]:)\s+)?\S+(?:\s*\*/)?")


def c_bounds(text):
    """The bound of each line of C."""
    code = C_COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m[0]) if m[0][0] == "/" else m[0], text)
    return [CODE if line.strip() else TEXT for line in code.split("\n")]


def docstrings(text):
    """The numbers of the lines of Python that are documentation."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            yield from range(node.body[0].lineno, node.body[0].end_lineno + 1)


def hash_bounds(text, name):
    """The bound of each line where comments begin with #; None for what is no comment in data."""
    documentation = set(docstrings(text)) if name.endswith(".py") else ()
    is_data = name.endswith(DATA) and not name.endswith(HASH)
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("#") or number in documentation:
            yield TEXT
        else:
            yield None if is_data else CODE


def page_bounds(text, suffix):
    """The bound of each line of a page; None for a row of a table."""
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
    """The lines of a file, each with its bound or None; nothing for a file that is not measured."""
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
    """The files below a folder, but for builds and hidden folders."""
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
