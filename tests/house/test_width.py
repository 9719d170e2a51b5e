# SPDX-License-Identifier: MIT
"""Tests the check of widths (width.py) on this tree, and on trees with lines that are too wide."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]


def words(columns):
    """Two words with so many columns in total, which are also valid Python."""
    return "a, " + "b" * (columns - 3)


class Width(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = Path(folder.name)

    def check(self, tree):
        """Returns the exit status of the check and its output."""
        command = [sys.executable, "-B", str(HERE.parent / "width.py"), str(tree)]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, timeout=300)
        return run.returncode, run.stdout

    def wrong_lines(self, name, *lines):
        """Checks a tree with only this file. Returns the numbers of the lines that are reported."""
        path = self.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        status, output = self.check(self.tree)
        path.unlink()
        *wrong, total = output.splitlines()
        self.assertEqual(total, f"1 files, {len(wrong)} wrong")
        self.assertEqual(status, 1 if wrong else 0)
        for line in wrong:
            self.assertTrue(line.startswith(f"{path}:"), line)
        return [int(line.removeprefix(f"{path}:").split(":")[0]) for line in wrong]

    def test_no_line_of_this_tree_is_too_wide(self):
        status, output = self.check(TOP)
        self.assertEqual(status, 0, output)

    def test_code_has_120_columns_and_a_comment_100(self):
        for name in "a.c", "a.h", "a.pml":
            with self.subTest(name=name):
                code, comment = (words(120), words(121)), (" * " + words(97), " * " + words(98))
                self.assertEqual(self.wrong_lines(name, *code, "/*", *comment, " */"), [2, 5])
        for name in "a.py", "a.sh", "a.bash", "a.cmake", "a.gp", "CMakeLists.txt":
            with self.subTest(name=name):
                code, comment = (words(120), words(121)), ("# " + words(98), "# " + words(99))
                self.assertEqual(self.wrong_lines(name, *code, *comment), [2, 4])

    def test_a_script_is_known_by_its_first_line(self):
        self.assertEqual(self.wrong_lines("tools/run", "#!/bin/sh", words(121), "# " + words(99)), [2, 3])

    def test_a_tab_is_eight_columns_wide(self):
        self.assertEqual(self.wrong_lines("a.c", "\t" + words(112), "\t" + words(113)), [2])

    def test_a_comment_of_several_lines_is_one_to_its_end(self):
        self.assertEqual(self.wrong_lines("a.c", "/* begins", words(101), "ends */", words(101)), [2])

    def test_what_looks_like_a_comment_in_a_string_of_c_is_code(self):
        self.assertEqual(self.wrong_lines("a.c", '"/*" ' + words(110), '\'"\' /*"', words(110), "*/"), [3])

    def test_a_comment_behind_code_has_the_width_of_code(self):
        self.assertEqual(self.wrong_lines("a.c", "int i; // " + words(110), "int i; // " + words(111)), [2])

    def test_a_directive_of_the_preprocessor_is_code(self):
        self.assertEqual(self.wrong_lines("a.c", "#if " + words(116), "#define A " + words(111)), [2])

    def test_documentation_in_python_has_the_width_of_comments(self):
        text = words(98)
        lines = f'"""{text}"""', "def f():", f'    """{text}"""', f'    return "{text}"'
        self.assertEqual(self.wrong_lines("a.py", *lines), [1, 3])

    def test_a_page_has_100_columns(self):
        for name in "a.md", "a.scd":
            with self.subTest(name=name):
                self.assertEqual(self.wrong_lines(name, words(100), words(101), "- " + words(99)), [2, 3])

    def test_a_table_may_be_wider(self):
        self.assertEqual(self.wrong_lines("a.md", f"| {words(130)} |"), [])
        rows = [f"{mark} {words(130)}" for mark in ("[[", ":-", "|[", ":[", "|", ":")]
        self.assertEqual(self.wrong_lines("a.scd", *rows), [])

    def test_a_link_at_the_start_of_a_line_is_no_table(self):
        self.assertEqual(self.wrong_lines("a.md", f"[{words(30)}](page.md) {words(80)}"), [1])

    def test_code_in_a_page_has_the_width_of_code(self):
        for name in "a.md", "a.scd":
            with self.subTest(name=name):
                self.assertEqual(self.wrong_lines(name, "```", words(120), words(121), "```", words(101)), [3, 5])
        self.assertEqual(self.wrong_lines("a.md", "    " + words(116), "    " + words(117)), [2])

    def test_a_line_of_one_word_may_be_wider(self):
        word = "https://" + "a" * 200
        self.assertEqual(self.wrong_lines("a.md", word, f"- {word}", f"[name]: {word}", f"see {word}"), [4])
        self.assertEqual(self.wrong_lines("a.c", f"// {word}", f"/* {word} */", f" {word}", f"// see {word}"), [4])
        self.assertEqual(self.wrong_lines("a.sh", f"# {word}", f"# see {word}"), [2])

    def test_of_recorded_data_only_comments_are_measured(self):
        self.assertEqual(self.wrong_lines("a.txt", "send " + words(500), "# " + words(98), "# " + words(99)), [3])

    def test_other_files_are_not_measured(self):
        (self.tree / "picture.svg").write_text(words(500), encoding="utf-8")
        (self.tree / "corpus").write_bytes(b"\xff" * 500)
        self.assertEqual(self.wrong_lines("a.c", "int i;"), [])

    def test_what_was_built_is_not_measured(self):
        for name in "build/a.c", "build-of-mine/a.c", ".git/a.c", "elsewhere/a.c":
            path = self.tree / name
            path.parent.mkdir()
            path.write_text(words(500), encoding="utf-8")
        (self.tree / "elsewhere" / "CMakeCache.txt").touch()
        self.assertEqual(self.wrong_lines(".ci/run", "#!/bin/sh"), [])

    def test_a_folder_without_sources_is_wrong(self):
        self.assertEqual(self.check(self.tree), (1, "0 files, 0 wrong\n"))


if __name__ == "__main__":
    unittest.main()
