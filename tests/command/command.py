# SPDX-License-Identifier: MIT
"""What the tests of the beam command share. Each test is started as

    test_X.py COMMAND... [-- UNITTEST-ARGUMENT...]

with the command to test, possibly under a checker.
"""

import contextlib
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "interop"))
import beam_wire as w  # noqa: E402

COMMAND = []
#: Seconds that anything may take. Under a checker everything is slower.
PATIENCE = max(30, int(os.environ.get("BEAM_TEST_TIMEOUT", 60)) // 2)

DONE, ERROR, USAGE, DEADLINE, UNREACHABLE, ENDED, FAILED = range(7)


def pattern(size):
    """Bytes of all kinds."""
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def default_signals():
    """Resets all signals, because ignored signals are inherited: nohup ignores SIGHUP, and other
    programs ignore SIGPIPE."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


class Running:
    """A command that was started. stdout and stderr are files, which cannot fill up as pipes
    can."""

    def __init__(self, case, arguments, stdin=subprocess.DEVNULL, env=None, stdout=None, stderr=None, preexec_fn=None,
                 under=(), **more):
        def prepare():
            default_signals()
            if preexec_fn:
                preexec_fn()
        self.out = tempfile.TemporaryFile(dir=case.folder)
        self.err = tempfile.TemporaryFile(dir=case.folder)
        self.process = subprocess.Popen([*under, *COMMAND, *arguments], cwd=case.folder, stdin=stdin,
                                        stdout=self.out if stdout is None else stdout,
                                        stderr=self.err if stderr is None else stderr,
                                        env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})}, start_new_session=True,
                                        preexec_fn=prepare, **more)
        case.addCleanup(self.end)

    def end(self):
        if self.process.poll() is None:
            self.kill()
        if self.process.stdin:
            self.process.stdin.close()
        self.out.close()
        self.err.close()

    def kill(self):
        """Kills it, with its checker and everything that it has started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    @staticmethod
    def text(file):
        return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)

    @property
    def stdout(self):
        return self.text(self.out)

    @property
    def stderr(self):
        return self.text(self.err).decode()

    def wait(self):
        """Waits for its end, and returns its exit code."""
        return self.process.wait(PATIENCE)

    def write(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()


class Case(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="beam-command.")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def needs_no_checker(self, why="signals reach the checker and not the command"):
        if len(COMMAND) > 1:
            self.skipTest(why)

    def needs_no_tsan(self):
        why = "ThreadSanitizer delivers signals later, and then reports the threads that were not joined"
        with open(COMMAND[-1], "rb") as program:
            if b"libtsan" in program.read():
                self.skipTest(why)

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, *arguments, **more):
        return Running(self, arguments, **more)

    def run_beam(self, *arguments, data=None, **more):
        """Runs the command to its end, with `data` as standard input."""
        if data is not None:
            more["stdin"] = tempfile.TemporaryFile(dir=self.folder)
            more["stdin"].write(data)
            more["stdin"].seek(0)
            self.addCleanup(more["stdin"].close)
        running = self.start(*arguments, **more)
        running.code = running.wait()
        return running

    def succeed(self, running, code=DONE):
        self.assertEqual(running.wait(), code, running.stderr)
        return running

    def until(self, condition, what="the condition"):
        """Waits until `condition()` is true, and returns its value. Fails after PATIENCE."""
        end = time.monotonic() + PATIENCE
        while True:
            value = condition()
            if value:
                return value
            self.assertLess(time.monotonic(), end, "no end of waiting for %s" % what)
            time.sleep(0.005)

    def connect(self, name):
        """A connection to the command, which will listen there soon. Until it listens, its socket
        exists and refuses connections."""
        connection = socket.socket(socket.AF_UNIX)
        self.addCleanup(connection.close)
        self.until(lambda: connection.connect_ex(self.path(name)) == 0, "a server")
        return connection

    @contextlib.contextmanager
    def server(self, name="peer", **options):
        """A listening socket of the test, and accept(), which returns a channel of the second
        implementation."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self.path(name))
        listener.listen(8)
        listener.settimeout(PATIENCE)
        channels = []

        def accept():
            channels.append(w.Channel(listener.accept()[0], **options))
            return channels[-1]
        try:
            yield accept
        finally:
            for channel in channels:
                channel.close()
            listener.close()

    def leave(self, channel):
        """Closes the channel, and waits for the end of the other side."""
        channel.session.goodbye()
        with contextlib.suppress(EOFError):
            channel.run(lambda c: c.eof, PATIENCE)

    @contextlib.contextmanager
    def client(self, running, address, descriptors):
        """A channel of the second implementation to a command that listens. Once the command has
        announced how many attachments it accepts, its descriptors are limited to `descriptors`. The
        channel keeps what it was lent, because the command could not lend more after that."""
        with socket.socket(socket.AF_UNIX) as connection:
            self.until(lambda: connection.connect_ex(address) == 0)
            with w.Channel(connection, give_back=False) as channel:
                channel.run(lambda c: c.session.hello, PATIENCE)
                hard = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)[1]
                resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (descriptors, hard))
                yield channel
                self.leave(channel)

    def send_from_peer(self, accept, messages, topic=b"log"):
        """Accepts a connection, sends messages, which are bytes or (bytes, fds), and closes the
        channel."""
        channel = accept()
        number = channel.session.open(topic)
        for message in messages:
            payload, fds = message if isinstance(message, tuple) else (message, ())
            channel.session.send(number, payload, fds)
        channel.session.close(number)
        channel.flush(PATIENCE)
        self.leave(channel)

    def on_terminal(self, *arguments, stream="stdout", **more):
        """Starts a command with one of its streams on a terminal. Returns (Running, output).
        output() returns what was printed when the command has ended or, with a pattern, as soon as
        that matches."""
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        running = self.start(*arguments, **{stream: slave}, **more)
        os.close(slave)

        def output(until=None):
            seen = bytearray()
            end = time.monotonic() + PATIENCE
            while select.select([master], [], [], max(0, end - time.monotonic()))[0]:
                try:
                    some = os.read(master, 65536)
                except OSError:     # all have closed it
                    return bytes(seen)
                seen += some
                if until and re.search(until, seen):
                    return bytes(seen)
            self.fail("no end of the terminal's output: %r" % bytes(seen[-200:]))
        return running, output


def main():
    arguments = sys.argv[1:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    # Each command runs in a folder of its own.
    COMMAND[:] = [os.path.abspath(word) if os.path.exists(word) else word for word in arguments[:split]]
    if not COMMAND:
        sys.exit(__doc__)
    unittest.main(argv=sys.argv[:1] + arguments[split + 1:])


__all__ = ["COMMAND", "Case", "DEADLINE", "DONE", "ENDED", "ERROR", "FAILED", "HERE", "PATIENCE", "UNREACHABLE",
           "USAGE", "json", "main", "os", "pattern", "resource", "signal", "socket", "subprocess", "time",
           "unittest", "w"]
