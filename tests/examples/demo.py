#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the demo on various folders, and compares its counts with the files in them.

usage: demo.py [RUNNER...] BEAM-DEMO
"""

import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

COMMAND = []


def can_be_read(path):
    try:
        path.open("rb").close()
        return True
    except PermissionError:
        return False


class Folders(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = Path(self.temporary.name)

    def show(self, *sizes):
        """Runs the demo on the folder. Both processes must count the files with these sizes."""
        result = subprocess.run([*COMMAND, str(self.folder)], capture_output=True, text=True, check=False, timeout=300)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout)
        n, total = len(sizes), sum(sizes)
        files = "file" if n == 1 else "files"
        self.assertIn(f"Folder {self.folder}: {n} {files} with {total} bytes", result.stdout)
        for topic in "files", "bundles", "descriptors", "slow":
            rows = re.findall(rf"^  {topic} +\d+ +(\d+) +(\d+) +(\d+)  ", result.stdout, re.MULTILINE)
            self.assertEqual([row[:2] for row in rows], [(str(n), str(total))] * 2, topic)
            # A file that is larger than a message may be is sent as an open descriptor on each
            # topic.
            large = n if topic == "descriptors" else sum(size > 16 << 20 for size in sizes)
            self.assertEqual([row[2] for row in rows], [str(large)] * 2, topic)
        self.assertTrue(result.stdout.endswith("Both processes agree: all counts and checksums are equal.\n"))
        return result.stdout

    def add(self, name, size):
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(size))
        return path

    def test_a_folder_without_files_is_shown(self):
        self.show()

    def test_a_folder_of_one_file_is_shown(self):
        self.add("alone", 5)
        self.show(5)

    def test_small_and_large_files_are_counted_byte_by_byte(self):
        sizes = [0, 1, 65535, 65536, 65537, 3 << 20, 20 << 20]
        for i, size in enumerate(sizes):
            self.add(f"{i % 2}/{i}", size)
        self.show(*sizes)

    def test_what_is_no_file_is_passed_over(self):
        self.add("file", 7)
        os.mkfifo(self.folder / "fifo")
        (self.folder / "link").symlink_to("file")
        (self.folder / "to nowhere").symlink_to("nowhere")
        self.show(7)

    def test_what_cannot_be_read_is_left_out_and_counted(self):
        self.add("file", 7)
        secret = self.add("secret", 11)
        secret.chmod(0)
        if can_be_read(secret):
            self.skipTest("this user can read everything")
        inside = self.add("closed/inside", 13)
        inside.parent.chmod(0)
        try:
            self.assertIn("; 2 that cannot be read are left out", self.show(7))
        finally:
            inside.parent.chmod(0o700)


if __name__ == "__main__":
    COMMAND = sys.argv[1:]
    unittest.main(argv=sys.argv[:1])
