# SPDX-License-Identifier: MIT
"""What tests with descriptors share: files that can be told apart, and a check that no descriptor
is leaked."""

import os
import struct
import unittest


def open_fds():
    return set(os.listdir("/proc/self/fd"))


class Descriptors(unittest.TestCase):
    """Checks that each test leaves as many descriptors open as before."""

    def setUp(self):
        self.before = len(open_fds())
        self.null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def tearDown(self):
        os.close(self.null)
        self.assertEqual(len(open_fds()), self.before)


def file_with(number):
    """A descriptor of a file that contains this number."""
    fd = os.memfd_create("n", os.MFD_CLOEXEC)
    os.write(fd, struct.pack(">I", number))
    return fd


def number_of(fd):
    return struct.unpack(">I", os.pread(fd, 4, 0))[0]
