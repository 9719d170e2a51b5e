# SPDX-License-Identifier: MIT
"""libbeam in another process (peer.c), for tests with both implementations."""

import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import beam_wire as w  # noqa: E402

COMMAND = []
#: Seconds that anything may take. Under a checker everything is slower.
PATIENCE = max(30, int(os.environ.get("BEAM_TEST_TIMEOUT", 60)) // 2)
#: The factor by which times are stretched.
SLOWNESS = PATIENCE // 30

OPTIONS = ["topics", "calls", "message_bytes", "message_attachments", "topic_window_bytes",
           "topic_window_attachments", "pool_bytes", "attachments"]
#: What a channel with default options announces, except `attachments`, which are lent and depend on
#: RLIMIT_NOFILE.
DEFAULTS = w.Limits(256, 256, 16 << 20, 64, 512 << 10, 128, 64 << 20, 0)
#: A message with this payload leaves 64 bytes of a topic's window of 64 KiB. Of the next message
#: all but these 64 bytes are overdraft.
ALMOST = 65536 - 64 - 64

LARGE = w.Limits(256, 256, 16 << 20, 253, 1 << 20, 506, 64 << 20, 1012)
#: Limits with few attachments, so that more are lent.
LENT = w.BASE._replace(topics=256, attachments=20)


def pattern(size):
    """The content that peer.c makes and expects."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


class Peer:
    """A process with libbeam at the other end of `sock`."""

    def __init__(self, mode, kind=socket.SOCK_STREAM, files=None, **options):
        self.sock, other = socket.socketpair(socket.AF_UNIX, kind)
        for end in self.sock, other:
            if kind == socket.SOCK_SEQPACKET:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        arguments = COMMAND + [mode, str(other.fileno())] + ["%s=%d" % item for item in options.items()]

        def limit_files():
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        self.process = subprocess.Popen(arguments, pass_fds=[other.fileno()], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, preexec_fn=limit_files if files else None)
        other.close()
        self.sock.settimeout(PATIENCE)
        self.channel = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.channel:
            self.channel.close()
        self.sock.close()
        self.process.stdin.close()
        if self.process.poll() is None:
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGABRT)
                self.process.wait()
                raise
        self.process.stdout.close()

    def connect(self, limits=LARGE, **options):
        """Makes this side of the channel, and waits for the other's HELLO."""
        self.channel = w.Channel(self.sock, limits, **options)
        self.channel.wait_event("hello", PATIENCE)
        return self.channel

    def tell(self, *words):
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.process.stdin.flush()

    def answer(self):
        """Returns a line of the peer's output, while this side continues to run."""
        end = time.monotonic() + PATIENCE
        out = self.process.stdout
        while True:
            if self.channel and not self.channel.eof and not self.channel.session.breach:
                self.channel.step()
            ready, _, _ = select.select([out], [], [], 0.001 if self.channel else PATIENCE)
            if ready:
                line = out.readline().decode()
                return [int(word) if word.lstrip("-").isdigit() else word for word in line.split()]
            if time.monotonic() > end:
                raise TimeoutError("the peer does not answer")

    def ask(self, *words):
        self.tell(*words)
        return self.answer()

    def end(self):
        """Returns how the peer ended: its last result, and its breach or "-"."""
        self.process.stdin.close()
        line = self.answer()
        assert line and line[0] == "end", line
        assert self.process.wait(PATIENCE) == 0, "exit code %d" % self.process.returncode
        return line[1], str(line[2]).rstrip(":")

    def breach(self):
        """Waits until a channel that takes commands has failed. Returns how it ended."""
        while self.ask("accept", 1000 * PATIENCE)[0] > 0:
            pass
        return self.end()

    def orderly(self):
        """Closes the channel, and waits for the other's GOODBYE and its end."""
        self.channel.session.goodbye()
        self.channel.run(lambda c: c.session.peer_goodbye and c.session.goodbye_made and c.session.idle, PATIENCE)
        return self.end()


def main(usage):
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    COMMAND[:] = sys.argv[1:split]
    if not COMMAND:
        sys.exit(usage)
    unittest.main(argv=sys.argv[:1] + sys.argv[split + 1:])
