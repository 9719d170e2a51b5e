# SPDX-License-Identifier: MIT
"""libbeam and the Python implementation talk to each other.

    interop_test.py COMMAND... [-- UNITTEST-ARGUMENT...]

COMMAND starts peer.c's program, perhaps under a checker.
"""

import errno
import glob
import os
import random
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "golden")]
import beam_wire as w  # noqa: E402
import golden_test as golden  # noqa: E402

COMMAND = []
#: Seconds that anything may take; a checker makes everything slower.
PATIENCE = max(30, int(os.environ.get("BEAM_TEST_TIMEOUT", 60)) // 2)
#: By how much limits in time are stretched.
SLOWNESS = PATIENCE // 30

OPTIONS = "topics calls message_bytes message_attachments topic_window_bytes topic_window_attachments pool_bytes attachments".split()
#: What a channel with default options announces, but for `attachments`, which are lent: they follow from RLIMIT_NOFILE.
DEFAULTS = w.Limits(256, 256, 16 << 20, 64, 512 << 10, 128, 64 << 20, 0)
#: With this payload a message leaves 64 bytes of a topic's window of 64 KiB. Of the next message all but these are overdraft.
ALMOST = 65536 - 64 - 64

LARGE = w.Limits(256, 256, 16 << 20, 253, 1 << 20, 506, 64 << 20, 1012)
#: To be lent more.
LENT = w.BASE._replace(topics=256, attachments=20)


def pattern(size):
    """The content that peer.c makes and expects."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def file_with(number):
    """A descriptor that can be told from others."""
    fd = os.memfd_create("n", os.MFD_CLOEXEC)
    os.write(fd, struct.pack(">I", number))
    return fd


def number_of(fd):
    return struct.unpack(">I", os.pread(fd, 4, 0))[0]


class Peer:
    """A process with libbeam at the other end of `sock`."""

    def __init__(self, mode, kind=socket.SOCK_STREAM, files=None, **options):
        self.sock, other = socket.socketpair(socket.AF_UNIX, kind)
        for end in self.sock, other:
            if kind == socket.SOCK_SEQPACKET:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        arguments = COMMAND + [mode, str(other.fileno())] + ["%s=%d" % item for item in options.items()]
        self.process = subprocess.Popen(arguments, pass_fds=[other.fileno()], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        preexec_fn=files and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))))
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
        """Our side of the channel, once the other's HELLO is there."""
        self.channel = w.Channel(self.sock, limits, **options)
        self.channel.wait_event("hello", PATIENCE)
        return self.channel

    def tell(self, *words):
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.process.stdin.flush()

    def answer(self):
        """A line of the peer's, while our side goes on."""
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
        """How the peer ended: its last result, its breach or "-"."""
        self.process.stdin.close()
        line = self.answer()
        assert line and line[0] == "end", line
        assert self.process.wait(PATIENCE) == 0, "exit code %d" % self.process.returncode
        return line[1], str(line[2]).rstrip(":")

    def breach(self):
        """Waits until a channel that takes commands has failed: how it ended."""
        while self.ask("accept", 1000 * PATIENCE)[0] > 0:
            pass
        return self.end()

    def orderly(self):
        """Says goodbye, waits for the other's, and for its end."""
        self.channel.session.goodbye()
        self.channel.run(lambda c: c.session.peer_goodbye and c.session.goodbye_made and c.session.idle, PATIENCE)
        return self.end()


class Test(unittest.TestCase):
    """Every test leaves as many descriptors as it found."""

    def setUp(self):
        self.before = len(os.listdir("/proc/self/fd"))
        self.null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def tearDown(self):
        os.close(self.null)
        self.assertEqual(len(os.listdir("/proc/self/fd")), self.before)


class Core(Test):
    def echo(self, kind, sizes):
        with Peer("core-echo", kind) as peer:
            number = 0
            for size in sizes:
                for first in (None, 1, 4, 5):
                    for with_fd in False, True:
                        number += 1
                        fd = file_with(number) if with_fd else None
                        payload = os.urandom(size)
                        w.core_send(peer.sock, payload, fd, first)
                        got, attachments = w.core_receive(peer.sock)
                        self.assertEqual(got, payload)
                        self.assertEqual([number_of(a) for a in attachments], [number] if with_fd else [])
                        w.close_fds(attachments + ([fd] if with_fd else []))
            peer.sock.shutdown(socket.SHUT_WR)
            self.assertEqual(peer.end(), (0, "-"))

    def test_stream_messages_with_and_without_a_descriptor_go_both_ways(self):
        self.echo(socket.SOCK_STREAM, [0, 1, 3, 4, 5, 4096, 65536, 300000, 3 << 20])

    def test_packets_go_both_ways_also_empty_ones(self):
        self.echo(socket.SOCK_SEQPACKET, [0, 1, 3, 4096, 65536])

    def test_bare_bytes_go_both_ways(self):
        with Peer("bare-echo") as peer:
            for number, size in enumerate([1, 2, 4096, 50000]):
                fd = file_with(number)
                payload = os.urandom(size)
                peer.sock.sendmsg([payload], w.rights([fd]))
                got, attachments = b"", []
                while len(got) < size:
                    some, group, _ = w.read_group(peer.sock, size)
                    self.assertTrue(some)
                    self.assertTrue(not group.fds or not got)
                    got += some
                    attachments += group.fds
                self.assertEqual(got, payload)
                self.assertEqual([number_of(a) for a in attachments], [number])
                w.close_fds(attachments + [fd])
            peer.sock.shutdown(socket.SHUT_WR)
            self.assertEqual(peer.end(), (0, "-"))

    def test_more_than_one_descriptor_the_first_is_kept(self):
        with Peer("core-echo") as peer:
            fds = [file_with(i) for i in range(5)]
            peer.sock.sendmsg([b"\x80\x00\x00\x01x"], w.rights(fds))
            got, attachments = w.core_receive(peer.sock)
            self.assertEqual((got, [number_of(a) for a in attachments]), (b"x", [0]))
            w.close_fds(attachments + fds)
            peer.sock.shutdown(socket.SHUT_WR)
            self.assertEqual(peer.end(), (0, "-"))

    def test_headers_and_descriptors_that_do_not_agree_are_refused(self):
        for sends in ([(b"\x00\x00\x00\x01x", 1)], [(b"\x80\x00\x00\x01x", 0)], [(b"\x00\x00\x00\x02x", 0), (b"y", 1)],
                      [(b"\x80\x00", 1), (b"\x00\x01", 1)]):
            with Peer("core-echo") as peer:
                for data, n in sends:
                    peer.sock.sendmsg([data], w.rights([self.null] * n))
                self.assertEqual(peer.end(), (-errno.EPROTO, "-"))

    def test_an_end_in_mid_message_is_no_end(self):
        with Peer("core-echo") as peer:
            peer.sock.sendall(b"\x00\x00\x00\x05abc")
            peer.sock.shutdown(socket.SHUT_WR)
            self.assertEqual(peer.end(), (-errno.ECONNRESET, "-"))


class Echo(Test):
    """Messages of ours come back as they went."""

    def round(self, peer, messages):
        """Sends (topic, payload, fds); all of them must come back, in order on each topic."""
        channel = peer.channel
        expected = {}
        for id, payload, fds in messages:
            channel.session.send(id, payload, fds)
            name = channel.session.out_topics[id].name
            expected.setdefault(name, []).append((bytes(payload), [number_of(fd) for fd in fds]))
        channel.run(lambda c: len(c.messages) == len(messages), PATIENCE)
        got = {}
        for message in channel.messages:
            name = message.stream.name
            got.setdefault(name, []).append((bytes(message.payload), [number_of(fd) for fd in message.attachments]))
            message.close()
        channel.messages = []
        for name in expected:
            self.assertEqual([(len(p), f) for p, f in got.get(name, [])], [(len(p), f) for p, f in expected[name]])
        self.assertEqual(got, expected)

    def test_every_size_comes_back(self):
        with Peer("channel-echo") as peer:
            channel = peer.connect()
            id = channel.session.open(b"sizes")
            for size in [0, 1, 7, 8, 9, 63, 64, 65, 4095, 4096, 8192, 8193, 65527, 65528, 65529, 65535, 65536, 65537, 70000, 1 << 20,
                         5 << 20, (16 << 20) - 1, 16 << 20]:
                with self.subTest(size=size):
                    self.round(peer, [(id, random.Random(size).randbytes(size), [])])
            self.round(peer, [(id, bytes(n % 50), []) for n in range(3000)])
            self.assertEqual(peer.orderly(), (0, "-"))

    def test_from_0_to_64_descriptors_come_back(self):
        with Peer("channel-echo", attachments=1000) as peer:
            channel = peer.connect()
            id = channel.session.open(b"fds")
            for n in range(65):
                fds = [file_with(i) for i in range(n)]
                self.round(peer, [(id, b"x" * (n * 1500 if n % 8 == 0 else n), fds)])
                w.close_fds(fds)
            fds = [file_with(i) for i in range(300)]
            self.round(peer, [(id, b"%d" % i, fds[i * 3:i * 3 + i % 4]) for i in range(100)])
            w.close_fds(fds)
            self.assertEqual(peer.orderly(), (0, "-"))

    def test_as_many_topics_as_there_may_be_and_one_more(self):
        with Peer("channel-echo") as peer:
            channel = peer.connect()
            ids = [channel.session.open(b"topic %d" % i) for i in range(256)]
            self.assertNotIn(None, ids)
            self.assertIsNone(channel.session.open(b"one more"))
            self.round(peer, [(id, b"%d" % id * (i + 1), []) for id in ids for i in range(5)])
            for id in ids[::2]:
                channel.session.close(id)
            channel.run(lambda c: len(c.session.out_topics) == 128, PATIENCE)
            more = [channel.session.open(b"more %d" % i) for i in range(128)]
            self.round(peer, [(id, bytes(id), []) for id in more + ids[1::2]])
            channel.session.raw(w.encode(w.OPEN, 0, 257, 0, b"one more"))
            self.assertEqual(peer.end(), (-errno.EPROTO, "topic-id"))

    def test_random_sizes_fragments_reads_and_descriptors(self):
        for seed in range(10):
            rng = random.Random(seed)
            fragment = rng.choice((40, 3000, 20000, w.BODY_MAX))
            options = dict(zip(OPTIONS, w.BASE)) if rng.random() < 0.5 else {}
            with self.subTest(seed=seed), Peer("channel-echo", **options) as peer:
                channel = peer.connect(rng.choice((w.BASE._replace(topics=256), LARGE, LENT)), rng=rng, ragged=rng.random() < 0.7,
                                       fragment=fragment, lazy=rng.random() < 0.5, most_attachments=rng.choice((0, 300)))
                ids = [channel.session.open(b"t%d" % i) for i in range(rng.randint(1, 10))]
                fds = [file_with(i) for i in range(40)]
                messages = []
                for _ in range(200):
                    size = rng.choice((0, 1, 8, 100, 3000, min(fragment * 20, 100000), min(fragment * 30, 900000)))
                    n = rng.choice((0, 0, 0, 1, 2, 16))
                    messages.append((rng.choice(ids), rng.randbytes(size), rng.sample(fds, n)))
                self.round(peer, messages)
                w.close_fds(fds)
                self.assertEqual(peer.orderly(), (0, "-"))

    def test_a_topic_can_be_closed_and_opened_again_and_again(self):
        with Peer("channel-echo") as peer:
            channel = peer.connect()
            for i in range(300):
                id = channel.session.open(b"again")
                self.round(peer, [(id, b"%d" % i, [])])
                channel.session.close(id)
                # The echo lets go of a topic when it has read its end: only then another of that name is new to it.
                channel.run(lambda c: not c.session.out_topics and not c.session.in_topics, PATIENCE)
            self.assertEqual(peer.orderly(), (0, "-"))


class Credit(Test):
    def test_withheld_credit_makes_the_sender_wait_and_no_other_topic(self):
        with Peer("channel") as peer:
            channel = peer.connect(w.BASE, withhold=True)
            for name in "slow", "quick":
                self.assertEqual(peer.ask("open", name), [0])
            sent = 0
            while peer.ask("send", "slow", 1000, 0, 200) == [0]:
                sent += 1
            # The last draws on the pool; then there is no room on the topic.
            self.assertEqual(sent, 65536 // 1064 + 1)
            self.assertEqual(peer.ask("send", "slow", 0, 0, 50), [-errno.ETIMEDOUT])
            self.assertEqual(peer.ask("send", "quick", 1000, 0, 1000), [0])
            channel.run(lambda c: len(c.messages) == sent + 1, PATIENCE)
            self.assertTrue(all(bytes(m.payload) == pattern(1000) for m in channel.messages))
            # Just one byte of credit lets a message go, on the pool.
            slow = next(t for t in channel.session.in_topics.values() if t.name == b"slow")
            channel.session.grant(slow.id, 0, 1, 0)
            self.assertEqual(peer.ask("send", "slow", 1000, 0, 5000), [0])
            self.assertEqual(peer.ask("send", "slow", 1000, 0, 50), [-errno.ETIMEDOUT])
            channel.session.withhold = False
            self.assertEqual(peer.ask("send", "slow", 1000000, 0, 5000), [0])
            channel.run(lambda c: len(c.messages[-1].payload) == 1000000, PATIENCE)
            self.assertEqual(peer.orderly()[1], "-")

    def test_the_pool_is_first_come_first_served_and_never_overdrawn(self):
        with Peer("channel") as peer:
            channel = peer.connect(w.BASE, withhold=True)
            self.assertEqual(peer.ask("open", "a"), [0])
            self.assertEqual(peer.ask("open", "b"), [0])
            self.assertEqual(peer.ask("send", "a", 1 << 20, 0, 5000), [0])
            self.assertEqual(peer.ask("send", "b", 200000, 0, 200), [-errno.ETIMEDOUT])
            self.assertEqual(peer.ask("send", "b", 60000, 0, 1000), [0])
            channel.session.withhold = False
            self.assertEqual(peer.ask("send", "b", 200000, 0, 5000), [0])
            channel.run(lambda c: len(c.messages) == 3, PATIENCE)
            self.assertEqual(peer.orderly()[1], "-")

    def test_withheld_attachments_make_the_sender_wait(self):
        with Peer("channel") as peer:
            channel = peer.connect(w.BASE, withhold=True)
            for i in range(18):
                self.assertEqual(peer.ask("open", "t%d" % i), [0])
            self.assertEqual(peer.ask("send", "t0", 10, 16, 5000), [0])
            self.assertEqual(peer.ask("send", "t0", 10, 1, 50), [-errno.ETIMEDOUT])     # the topic's
            self.assertEqual(peer.ask("send", "t1", 10, 4, 50), [-errno.ETIMEDOUT])     # more than little
            for i in range(1, 17):
                self.assertEqual(peer.ask("send", "t%d" % i, 10, 3, 5000), [0])
            self.assertEqual(peer.ask("send", "t17", 10, 1, 50), [-errno.ETIMEDOUT])    # the channel's
            self.assertEqual(peer.ask("send", "t17", 10, 0, 1000), [0])
            self.assertEqual(peer.ask("send", "t17", 10, 17, 1000), [-errno.E2BIG])
            self.assertEqual(peer.ask("send", "t17", (1 << 20) + 1, 0, 1000), [-errno.EMSGSIZE])
            channel.session.withhold = False
            self.assertEqual(peer.ask("send", "t0", 10, 16, 5000), [0])
            channel.run(lambda c: len(c.messages) == 19, PATIENCE)
            self.assertEqual(peer.orderly()[1], "-")

    def test_credit_of_the_library_stops_us_and_comes_back_when_messages_are_taken(self):
        with Peer("channel") as peer:
            channel = peer.connect()
            session = channel.session
            id = session.open(b"t")
            for _ in range(700):
                session.send(id, pattern(1000))
            self.assertEqual(peer.ask("accept", 5000), [1, "t"])
            channel.run(lambda c: c.session.out_topics[id].bytes.room <= 0 and c.session.idle, PATIENCE)
            self.assertTrue(session.out_topics[id].queue)
            for _ in range(700):
                self.assertEqual(peer.ask("receive", "t", 5000), [1, 1000, "right", 0, 0])
            self.assertEqual(peer.ask("receive", "t", 20), [-errno.ETIMEDOUT])
            self.assertFalse(session.out_topics[id].queue)
            self.assertGreaterEqual(session.out_topics[id].bytes.room, DEFAULTS.topic_bytes // 2)
            self.assertEqual(session.out_pool.room, DEFAULTS.pool_bytes)
            # And what was given out is honoured to the last byte.
            room = session.out_topics[id].bytes.room
            while room:
                cost = min(room if room < 65600 or room > 65700 else 65500, 65600)
                session.send(id, bytes(max(cost - 64, 0)))
                room -= min(cost, room)
            channel.run(lambda c: not c.session.out_topics[id].queue and c.session.idle, PATIENCE)
            channel.session.raw(w.encode(w.DATA, 0, id, 0, b""))
            self.assertEqual(peer.breach(), (-errno.EPROTO, "credit"))

    def test_attachments_and_overdraft_come_back(self):
        with Peer("channel-drain", **dict(zip(OPTIONS, w.BASE))) as peer:
            channel = peer.connect()
            id = channel.session.open(b"t")
            other = channel.session.open(b"u")
            for i in range(300):
                channel.session.send(id, bytes(i % 7 * 150000), [self.null] * (i % 17))
                channel.session.send(other, bytes(i % 5 * 30000), [self.null] * (16 - i % 17))
            channel.run(lambda c: not any(t.queue for t in c.session.out_topics.values()) and c.session.idle, PATIENCE)
            self.assertEqual(peer.orderly(), (0, "-"))

    def test_aborted_messages_give_their_credit_back(self):
        with Peer("channel-drain", **dict(zip(OPTIONS, w.BASE))) as peer:
            channel = peer.connect(fragment=5000)
            session = channel.session
            channel.most = 1
            id = session.open(b"t")
            topic = session.out_topics[id]
            for _ in range(100):
                session.send(id, bytes(1 << 20), [self.null] * 16)
                channel.run(lambda c: topic.queue[0].begun, PATIENCE)
                session.abort(topic)
            session.send(id, bytes(1 << 20), [self.null] * 16)
            channel.run(lambda c: not topic.queue and c.session.idle, PATIENCE)
            self.assertEqual(peer.orderly(), (0, "-"))


class Attachments(Test):
    """Attachments of the channel: charged when carried, lent, wanted, given back."""

    def test_the_library_wants_what_it_is_lent_and_gives_it_back(self):
        with Peer("channel") as peer:
            channel = peer.connect(w.BASE._replace(attachments=0), most_attachments=100)
            session = channel.session
            self.assertEqual(peer.ask("open", "t"), [0])
            for n in 4, 1, 16:
                granted = session.in_attachments.granted
                self.assertEqual(peer.ask("send", "t", 10, n, 5000), [0])
                self.assertEqual(channel.wait_event("want", PATIENCE), ("want", granted + 4 * n))
                message = channel.receive(PATIENCE)
                self.assertEqual(len(message.attachments), n)
                message.close()
                # Nothing goes on: all of it comes back, perhaps in several parts.
                channel.run(lambda c: c.session.in_attachments.room == 0 and c.session.lent == 0, PATIENCE)
            self.assertEqual(peer.orderly()[1], "-")

    def test_the_library_does_not_give_back_what_is_not_lent(self):
        with Peer("channel") as peer:
            channel = peer.connect(w.BASE)
            self.assertEqual(peer.ask("open", "t"), [0])
            self.assertEqual(peer.ask("send", "t", 10, 4, 5000), [0])
            channel.receive(PATIENCE).close()
            time.sleep(0.1)
            self.assertEqual(peer.ask("send", "t", 10, 0, 5000), [0])
            channel.receive(PATIENCE)
            self.assertFalse([e for e in channel.log if e[0] in ("return", "want")])
            self.assertEqual(peer.orderly()[1], "-")

    def test_the_library_waits_for_descriptors_that_are_not_taken_out_of_their_messages(self):
        with Peer("channel") as peer:
            channel = peer.connect(w.BASE._replace(attachments=4), auto_take=False)
            session = channel.session
            self.assertEqual(peer.ask("open", "t"), [0])
            self.assertEqual(peer.ask("open", "u"), [0])
            self.assertEqual(peer.ask("send", "t", 10, 4, 5000), [0])
            message = channel.receive(PATIENCE)
            session.take(message, descriptors=False)
            self.assertEqual(peer.ask("send", "u", 10, 1, 100), [-errno.ETIMEDOUT])
            self.assertTrue([e for e in channel.log if e[0] == "want"])
            message.close()
            session.settle(message)
            self.assertEqual(peer.ask("send", "u", 10, 1, 5000), [0])
            channel.receive(PATIENCE).close()
            self.assertEqual(peer.orderly()[1], "-")

    def test_the_library_lends_when_we_want_and_takes_back_what_we_give_back(self):
        with Peer("channel", files=1024) as peer:
            channel = peer.connect(give_back=False)
            session = channel.session
            begun = session.out_attachments.granted
            self.assertEqual(session.hello.limits.attachments, begun)
            ids = [session.open(b"t%d" % i) for i in range(8)]
            for id in ids:
                session.send(id, pattern(9), [self.null] * 4)
            # More than a quarter of what it began with. One in five of 1,024 are for attachments, three quarters of these for one
            # channel.
            channel.run(lambda c: c.session.out_attachments.used == 32, PATIENCE)
            self.assertGreater(session.out_attachments.granted, begun)
            self.assertLessEqual(session.out_attachments.granted, 153)
            names = [peer.ask("accept", 5000) for _ in ids]
            for _, name in names:
                self.assertEqual(peer.ask("receive", name, 5000), [1, 9, "right", 4, 0])
            channel.run(lambda c: not any(t.queue for t in c.session.out_topics.values()) and c.session.idle, PATIENCE)
            self.assertTrue(session.give_back_unused())
            self.assertFalse(session.give_back_unused())
            channel.run(lambda c: c.session.idle, PATIENCE)
            for id, (_, name) in zip(ids, names):
                session.send(id, pattern(5), [self.null] * 5)
                self.assertEqual(peer.ask("receive", name, 5000), [1, 5, "right", 5, 0])
            self.assertEqual(peer.orderly()[1], "-")

    def test_the_library_returns_at_once_what_it_withholds_when_we_want(self):
        with Peer("channel", attachments=64) as peer:
            channel = peer.connect(give_back=False)
            session = channel.session
            id = session.open(b"t")
            topic = session.out_topics[id]
            session.send(id, pattern(5), [self.null] * 8)
            self.assertEqual(peer.ask("accept", 5000), [1, "t"])
            self.assertEqual(peer.ask("receive", "t", 5000), [1, 5, "right", 8, 0])
            self.assertEqual(peer.ask("receive", "t", 50), [-errno.ETIMEDOUT])
            self.assertEqual((session.out_attachments.room, topic.attachments.room), (56, DEFAULTS.topic_attachments - 8))
            session.raw(w.encode(w.WANT, 0, 0, 128))
            channel.run(lambda c: c.session.out_attachments.room == 64, PATIENCE)
            channel.run(lambda c: topic.attachments.room == DEFAULTS.topic_attachments, PATIENCE)
            # It is still wanted: nothing is withheld.
            session.send(id, pattern(5), [self.null])
            self.assertEqual(peer.ask("receive", "t", 5000), [1, 5, "right", 1, 0])
            channel.run(lambda c: c.session.out_attachments.room == 64 and
                        topic.attachments.room == DEFAULTS.topic_attachments, PATIENCE)
            self.assertEqual(peer.orderly()[1], "-")

    def test_carried_without_credit(self):
        with Peer("channel", attachments=64) as peer:
            channel = peer.connect(give_back=False)
            session = channel.session
            id = session.open(b"t")
            for n in 30, 30:
                session.raw(w.encode(w.DATA, 0, id, 0, b"", n), [self.null] * n)
            channel.run(lambda c: c.session.idle, PATIENCE)
            carrier = bytearray(w.encode(w.PING, 0, 0, 1))
            w.set_carried(carrier, 5)
            peer.sock.sendmsg([carrier], w.rights([self.null] * 5))
            self.assertEqual(peer.breach(), (-errno.EPROTO, "credit"))

    def pipe_that_is_carried(self, peer):
        """A frame that carries one end of a pipe, which nobody claims: the other end."""
        reader, writer = os.pipe()
        carrier = bytearray(w.encode(w.PING, 0, 0, 1))
        w.set_carried(carrier, 1)
        peer.sock.sendmsg([carrier], w.rights([writer]))
        os.close(writer)
        return reader

    def closed(self, fd, seconds):
        """True if the other end of a pipe is closed within that time."""
        try:
            return bool(select.select([fd], [], [], seconds)[0])
        finally:
            os.close(fd)

    def test_descriptors_that_nobody_claims_are_closed_when_the_channel_ends(self):
        with Peer("channel") as peer:
            peer.connect()
            reader = self.pipe_that_is_carried(peer)
            self.assertEqual(select.select([reader], [], [], 0.2)[0], [])
            peer.channel.close()
            peer.channel = None
            # The library's side still has its handle.
            self.assertTrue(self.closed(reader, PATIENCE))
            self.assertEqual(peer.ask("accept", 5000), [-errno.ECONNRESET])
            self.assertEqual(peer.end(), (-errno.ECONNRESET, "-"))

    def test_descriptors_that_nobody_claims_are_held_for_a_while(self):
        with Peer("channel", frame_timeout_ms=300) as peer:
            peer.connect()
            reader = self.pipe_that_is_carried(peer)
            self.assertTrue(self.closed(reader, PATIENCE))
            self.assertEqual(peer.breach(), (-errno.EPROTO, "timeout"))

    def test_every_frame_starts_the_time_for_descriptors_anew(self):
        with Peer("channel", frame_timeout_ms=2000) as peer:
            channel = peer.connect()
            reader = self.pipe_that_is_carried(peer)
            begin = time.monotonic()
            while time.monotonic() < begin + 4:
                channel.session.raw(w.encode(w.PING, 0, 0, 1))
                channel.run(lambda c: c.session.idle, PATIENCE)
                time.sleep(0.1)
            self.assertEqual(select.select([reader], [], [], 0)[0], [])
            channel.session.goodbye()
            channel.run(lambda c: c.session.peer_goodbye and c.session.idle, PATIENCE)
            self.assertTrue(self.closed(reader, PATIENCE))
            self.assertEqual(peer.end()[1], "-")

    def test_a_channel_whose_own_other_end_is_carried_to_it_ends(self):
        for claims in False, True:
            with Peer("channel", frame_timeout_ms=300) as peer:
                channel = peer.connect()
                id = channel.session.open(b"t")
                channel.run(lambda c: c.session.idle, PATIENCE)
                frame = bytearray(w.encode(w.DATA, w.MORE | w.SIZED, id, 0, struct.pack(">IIB", 2, 0, 65), 1) if claims else
                                  w.encode(w.PING, 0, 0, 1))
                w.set_carried(frame, 1)
                peer.sock.sendmsg([frame], w.rights([peer.sock.fileno()]))
                channel.close()
                peer.channel = None
                # Nobody but the library's process has that end now.
                self.assertEqual(peer.ask("accept", 1000 * PATIENCE)[0], 1)
                self.assertEqual(peer.breach(), (-errno.EPROTO, "timeout"))


class Silence(Test):
    def test_the_library_answers(self):
        with Peer("channel") as peer:
            channel = peer.connect()
            for _ in range(3):
                channel.session.ping()
                self.assertEqual(channel.wait_event("ping", PATIENCE), ("ping", "answer"))
            self.assertEqual(peer.orderly()[1], "-")

    def test_the_library_asks_and_we_live_as_long_as_we_answer(self):
        with Peer("channel", idle_timeout_ms=400 * SLOWNESS) as peer:
            channel = peer.connect()
            end = time.monotonic() + 1.5 * SLOWNESS
            channel.run(lambda c: time.monotonic() > end, PATIENCE)
            asked = [e for e in channel.log if e == ("ping", "ask")]
            self.assertGreaterEqual(len(asked), 3)
            self.assertEqual(peer.ask("accept", 0), [-errno.ETIMEDOUT])
            held, peer.channel = peer.channel, None     # nobody answers
            self.assertEqual(peer.ask("accept", 1000 * PATIENCE), [-errno.ECONNRESET])
            peer.channel = held
            self.assertEqual(peer.end(), (-errno.ECONNRESET, "-"))

    def test_the_library_does_not_ask_who_does_not_answer(self):
        with Peer("channel", idle_timeout_ms=400 * SLOWNESS) as peer:
            channel = peer.connect(features=0)
            with self.assertRaises(EOFError):
                channel.run(lambda c: False, PATIENCE)
            self.assertFalse([e for e in channel.log if e[0] == "ping"])
            self.assertEqual(peer.end(), (-errno.ECONNRESET, "-"))

    def test_we_ask_and_the_library_lives_as_long_as_it_answers(self):
        with Peer("channel") as peer:
            channel = peer.connect(idle_timeout=0.6 * SLOWNESS)
            end = time.monotonic() + 2 * SLOWNESS
            channel.run(lambda c: time.monotonic() > end, PATIENCE)
            self.assertGreaterEqual(len([e for e in channel.log if e == ("ping", "answer")]), 3)
            peer.process.send_signal(signal.SIGSTOP)
            try:
                channel.run(lambda c: c.session.ended, PATIENCE)
                self.assertEqual(channel.log[-1], ("end", "silence"))
            finally:
                peer.process.send_signal(signal.SIGCONT)
            channel.close()
            peer.channel = None
            self.assertEqual(peer.breach(), (-errno.ECONNRESET, "-"))


class Isolation(Test):
    """Topics that nobody drains leave something for the others (section 7, "A fair sender")."""

    def fill(self, peer, name, size):
        """A message that fills a new topic's window, then one whose overdraft is `size`: how that ended."""
        self.assertEqual(peer.ask("open", name), [0])
        self.assertEqual(peer.ask("send", name, ALMOST, 0, 5000), [0])
        return peer.ask("send", name, size, 0, 50)

    def test_sixteen_topics_leave_the_seventeenth_its_part_of_the_pool(self):
        with Peer("channel") as peer:
            channel = peer.connect(w.BASE, withhold=True)
            little = (1 << 20) * 3 // 64
            for i in range(17):
                self.assertEqual(self.fill(peer, "t%d" % i, little), [0])
            self.assertEqual(peer.ask("open", "more"), [0])
            self.assertEqual(peer.ask("send", "more", ALMOST, 0, 5000), [0])
            self.assertEqual(peer.ask("send", "more", little + 1, 0, 50), [-errno.ETIMEDOUT])
            channel.session.withhold = False
            self.assertEqual(peer.ask("send", "more", 1 << 20, 0, 5000), [0])
            self.assertEqual(peer.orderly()[1], "-")

    def test_large_messages_have_a_quarter_of_the_pool(self):
        with Peer("channel") as peer:
            channel = peer.connect(w.BASE, withhold=True)
            for i, size, result in (0, 131072, 0), (1, 131072, 0), (2, 65536, -errno.ETIMEDOUT), (3, 49152, 0):
                self.assertEqual(self.fill(peer, "t%d" % i, size), [result], i)
            topic = next(t for t in channel.session.in_topics.values() if t.name == b"t0")
            peer.tell("send", "t2", 65536, 0, 20000)
            channel.session.grant(topic.id, 0, 131072, 0, overdraft=True)
            self.assertEqual(peer.answer(), [0])
            channel.session.withhold = False
            self.assertEqual(peer.orderly()[1], "-")

    def test_a_message_of_more_than_a_quarter_goes_when_nobody_holds_anything(self):
        with Peer("channel") as peer:
            channel = peer.connect(w.BASE, withhold=True)
            self.assertEqual(self.fill(peer, "small", 1000), [0])
            self.assertEqual(self.fill(peer, "large", 600000), [-errno.ETIMEDOUT])
            peer.tell("send", "large", 600000, 0, 20000)
            topic = next(t for t in channel.session.in_topics.values() if t.name == b"small")
            channel.session.grant(topic.id, 0, 1000, 0, overdraft=True)
            self.assertEqual(peer.answer(), [0])
            # The others have what it leaves.
            n = 0
            while self.fill(peer, "t%d" % n, 49152) == [0]:
                n += 1
            self.assertEqual(n, ((1 << 20) - 600000) // 49152)
            channel.session.withhold = False
            self.assertEqual(peer.orderly()[1], "-")

    def test_replies_hold_too(self):
        with Peer("channel") as peer:
            channel = peer.connect(w.BASE, withhold=True)
            session = channel.session
            id = session.open(b"t")
            session.send(id, b"a", call=1)
            self.assertEqual(peer.ask("accept", 5000), [1, "t"])
            self.assertEqual(peer.ask("take", "t", 5000)[0], 1)
            self.assertEqual(peer.ask("answer", ALMOST, 0, 1), [0])
            self.assertEqual(peer.ask("answer", 262144, 0, 1), [0])
            self.assertEqual(self.fill(peer, "u", 49153), [-errno.ETIMEDOUT])
            self.assertEqual(peer.ask("send", "u", 49152, 0, 5000), [0])
            session.withhold = False
            self.assertEqual(peer.ask("send", "u", 400000, 0, 5000), [0])
            self.assertEqual(peer.ask("answer", 0, 0, 0), [0])
            self.assertEqual(peer.orderly()[1], "-")

    def test_topics_of_ours_that_the_library_does_not_drain_leave_something_for_the_others(self):
        with Peer("channel", pool_bytes=1 << 20, message_bytes=1 << 20, topic_window_bytes=65536, attachments=128) as peer:
            channel = peer.connect()
            session = channel.session
            for i in range(16):
                id = session.open(b"slow%d" % i)
                session.send(id, bytes(ALMOST))
                for _ in range(10):
                    session.send(id, bytes(100000), [self.null] * 3)
            quick = session.open(b"quick")
            for i in range(17):
                self.assertEqual(peer.ask("accept", 5000)[0], 1)
            for _ in range(20):
                session.send(quick, pattern(110000), [self.null] * 6)
            for _ in range(20):
                self.assertEqual(peer.ask("receive", "quick", 5000), [1, 110000, "right", 6, 0])
            channel.close()
            peer.channel = None
            self.assertEqual(peer.breach(), (-errno.ECONNRESET, "-"))


class Ends(Test):
    def test_hello_tells_the_options(self):
        values = w.Limits(100, 200, 2 << 20, 20, 70000, 30, 3 << 20, 90)
        with Peer("channel", **dict(zip(OPTIONS, values))) as peer:
            channel = peer.connect(LARGE)
            self.assertEqual(channel.session.hello, w.Hello(1, w.ANSWERS, values))
            self.assertEqual(peer.ask("limits", 5000), [0] + list(LARGE))
            self.assertEqual(peer.orderly()[1], "-")

    def test_defaults(self):
        with Peer("channel") as peer:
            channel = peer.connect()
            hello = channel.session.hello
            self.assertEqual(hello.limits[:-1], DEFAULTS[:-1])
            self.assertEqual(hello.features, w.LENDS | w.ANSWERS)
            self.assertGreater(hello.limits.attachments, 0)
            self.assertEqual(peer.orderly()[1], "-")

    def test_no_attachments_are_accepted_none_are_granted(self):
        with Peer("channel", message_attachments=0) as peer:
            limits = peer.connect().session.hello.limits
            self.assertEqual((limits.message_attachments, limits.attachments), (0, 0))
            self.assertEqual(peer.orderly()[1], "-")

    def test_no_hello_is_waited_for(self):
        with Peer("channel") as peer:
            channel = peer.channel = w.Channel(peer.sock, LARGE, say_hello=False, withhold=True, give_back=False)
            self.assertEqual(peer.ask("open", "early"), [0])
            self.assertEqual(peer.ask("send", "early", 60000, 0, 5000), [0])
            self.assertEqual(peer.ask("send", "early", 60000, 0, 5000), [0])
            self.assertEqual(peer.ask("send", "early", 60000, 0, 50), [-errno.ETIMEDOUT])
            self.assertEqual(peer.ask("limits", 50), [-errno.ETIMEDOUT])
            channel.session.raw(w.encode_hello(LARGE))
            channel.session.withhold = False
            self.assertEqual(peer.ask("send", "early", 60000, 0, 5000), [0])
            channel.run(lambda c: len(c.messages) == 3, PATIENCE)
            self.assertEqual(peer.orderly()[1], "-")

    def test_close_by_us(self):
        with Peer("channel") as peer:
            channel = peer.connect()
            id = channel.session.open(b"t")
            channel.session.send(id, pattern(10))
            channel.session.close(id)
            self.assertEqual(peer.ask("accept", 5000), [1, "t"])
            self.assertEqual(channel.session.out_topics[id].state, "closed")
            self.assertEqual(peer.ask("receive", "t", 5000), [1, 10, "right", 0, 0])
            self.assertEqual(peer.ask("receive", "t", 5000), [0])
            self.assertEqual(channel.wait_event("reset", PATIENCE), ("reset", id, w.DONE))
            self.assertEqual(peer.ask("send", "t", 3, 0, 1000), [0])
            self.assertEqual(bytes(channel.receive(PATIENCE).payload), pattern(3))
            self.assertEqual(peer.orderly()[1], "-")

    def test_close_by_the_library(self):
        with Peer("channel") as peer:
            channel = peer.connect(auto_take=False)
            self.assertEqual(peer.ask("open", "t"), [0])
            self.assertEqual(peer.ask("send", "t", 3, 0, 1000), [0])
            self.assertEqual(peer.ask("close", "t"), [0])
            self.assertEqual(peer.ask("send", "t", 3, 0, 1000), [-errno.EPIPE])
            channel.wait_event("closed", PATIENCE)
            message = channel.receive(PATIENCE)
            self.assertTrue(channel.session.in_topics)
            channel.session.take(message)
            channel.run(lambda c: not c.session.in_topics and c.session.idle, PATIENCE)
            self.assertEqual(peer.ask("release", "t"), [0])
            for _ in range(100):
                self.assertEqual(peer.ask("open", "t"), [0])
                self.assertEqual(peer.ask("send", "t", 3, 0, 1000), [0])
                self.assertEqual(peer.ask("release", "t"), [0])
                channel.session.take(channel.receive(PATIENCE))
            channel.run(lambda c: not c.session.in_topics and c.session.idle, PATIENCE)
            self.assertEqual(peer.orderly()[1], "-")

    def test_a_name_of_ours_is_opened_again_right_behind_its_close(self):
        with Peer("channel") as peer:
            channel = peer.connect()
            self.assertEqual(peer.ask("open", "t"), [0])
            for size in 1, 2, 3:
                id = channel.session.open(b"t")
                channel.session.send(id, pattern(size))
                channel.session.send(id, pattern(100 * size))
                channel.session.pump()
                channel.session.close(id)
            received = []
            while len(received) < 6:
                answer = peer.ask("receive", "t", 5000)
                self.assertIn(answer[0], (0, 1))
                received += answer[1:2]
            self.assertEqual(received, [1, 100, 2, 200, 3, 300])
            channel.run(lambda c: not c.session.out_topics, PATIENCE)
            self.assertEqual(peer.orderly()[1], "-")

    def test_a_name_that_is_opened_again_comes_behind_its_close(self):
        with Peer("channel") as peer:
            channel = peer.connect(LARGE._replace(topic_bytes=16 << 20), withhold=True)
            self.assertEqual(peer.ask("open", "t"), [0])
            held, peer.channel = peer.channel, None     # nobody reads here for a while
            sent = 0
            while peer.ask("send", "t", 2000, 0, 100) == [0]:
                sent += 1
            self.assertEqual(peer.ask("release", "t"), [0])
            self.assertEqual(peer.ask("open", "t"), [0])
            peer.tell("send", "t", 1000, 0, 20000)
            # It is sent once we read again; that it waited until then is likely, and nothing depends on it.
            time.sleep(0.2)
            peer.channel = held
            self.assertEqual(peer.answer(), [0])
            channel.run(lambda c: len(c.messages) == sent + 1, PATIENCE)
            self.assertEqual([len(m.payload) for m in channel.messages], [2000] * sent + [1000])
            self.assertEqual(peer.orderly()[1], "-")

    def test_reset_by_us(self):
        for reason, error in ((w.UNWANTED, errno.EPIPE), (w.REFUSED, errno.ECONNREFUSED)):
            with Peer("channel") as peer:
                channel = peer.connect()
                self.assertEqual(peer.ask("open", "t"), [0])
                self.assertEqual(peer.ask("send", "t", 3, 0, 1000), [0])
                channel.receive(PATIENCE)
                id, = channel.session.in_topics
                channel.session.reset(id, reason)
                channel.wait_event("closed", PATIENCE)
                self.assertEqual(peer.ask("send", "t", 3, 0, 1000), [-error])
                self.assertEqual(peer.orderly()[1], "-")

    def test_reset_by_the_library(self):
        with Peer("channel") as peer:
            channel = peer.connect(fragment=1000)
            session = channel.session
            id = session.open(b"t")
            session.send(id, pattern(3))
            self.assertEqual(peer.ask("accept", 5000), [1, "t"])
            for _ in range(2000):
                session.send(id, bytes(5000), [self.null])
            self.assertEqual(peer.ask("reset", "t"), [0])
            channel.wait_event("reset", PATIENCE, lambda e: e[1:] == (id, w.UNWANTED))
            channel.run(lambda c: id not in c.session.out_topics and c.session.idle, PATIENCE)
            self.assertEqual(peer.ask("receive", "t", 1000), [0])
            # What was discarded gave back what it took of the channel.
            other = session.open(b"other")
            for _ in range(200):
                session.send(other, bytes(1000), [self.null] * 4)
            self.assertEqual(peer.ask("accept", 5000), [1, "other"])
            for _ in range(200):
                self.assertEqual(peer.ask("receive", "other", 5000)[0], 1)
            self.assertEqual(peer.orderly()[1], "-")

    def test_topics_that_nobody_wants_are_refused(self):
        with Peer("channel", unknown_topics=1) as peer:
            channel = peer.connect()
            id = channel.session.open(b"t")
            channel.session.send(id, bytes(10000), [self.null] * 10)
            self.assertEqual(channel.wait_event("reset", PATIENCE), ("reset", id, w.REFUSED))
            channel.run(lambda c: not c.session.out_topics and c.session.idle, PATIENCE)
            self.assertEqual(peer.orderly()[1], "-")

    def test_goodbye_by_us(self):
        with Peer("channel") as peer:
            channel = peer.connect()
            id = channel.session.open(b"t")
            for _ in range(3):
                channel.session.send(id, pattern(100000))
            channel.session.goodbye()
            channel.run(lambda c: c.session.goodbye_made and c.session.idle, PATIENCE)
            self.assertEqual(peer.ask("accept", 5000), [1, "t"])
            for _ in range(3):
                self.assertEqual(peer.ask("receive", "t", 5000), [1, 100000, "right", 0, 0])
            self.assertEqual(peer.ask("receive", "t", 5000), [0])
            self.assertEqual(peer.ask("send", "t", 1, 0, 5000), [-errno.EPIPE])
            channel.wait_event("goodbye", PATIENCE)
            self.assertEqual(peer.end(), (0, "-"))

    def test_goodbye_by_the_library(self):
        with Peer("channel") as peer:
            channel = peer.connect()
            id = channel.session.open(b"back")
            self.assertEqual(peer.ask("open", "t"), [0])
            for _ in range(20):
                self.assertEqual(peer.ask("send", "t", 20000, 2, 5000), [0])
            peer.tell("goodbye", 20000)
            channel.wait_event("goodbye", PATIENCE)
            self.assertEqual(len(channel.messages), 20)
            channel.session.send(id, b"late but legal")
            channel.session.goodbye()
            self.assertEqual(peer.answer(), [0])
            self.assertEqual(peer.end()[1], "-")

    def test_a_burst_and_an_exit_lose_nothing(self):
        with Peer("channel-send", count=5000, size=1000, fds=1) as peer:
            channel = peer.connect(w.BASE)
            n = 0
            while n < 5000:
                message = channel.receive(PATIENCE)
                self.assertEqual(len(message.attachments), 1)
                self.assertEqual(bytes(message.payload), pattern(1000))
                message.close()
                n += 1
            self.assertEqual(channel.wait_event("end", PATIENCE), ("end", "orderly"))
            self.assertEqual(peer.end(), (0, "-"))

    def test_a_crash_of_ours(self):
        for rest in b"", w.encode(w.DATA, 0, 1, 0, b"hello")[:19]:
            with Peer("channel") as peer:
                channel = peer.connect()
                id = channel.session.open(b"t")
                channel.session.send(id, pattern(7))
                channel.session.pump()
                channel.session.raw(rest) if rest else None
                channel.run(lambda c: c.session.idle, PATIENCE)
                channel.sock.shutdown(socket.SHUT_RDWR)
                self.assertEqual(peer.ask("accept", 5000), [1, "t"])
                self.assertEqual(peer.ask("receive", "t", 5000), [1, 7, "right", 0, 0])
                self.assertEqual(peer.ask("receive", "t", 5000), [-errno.ECONNRESET])
                self.assertEqual(peer.ask("send", "t", 1, 0, 1000), [-errno.ECONNRESET])
                self.assertEqual(peer.end(), (-errno.ECONNRESET, "-"))

    def test_a_send_that_runs_out_of_time_is_taken_back(self):
        with Peer("channel") as peer:
            channel = peer.connect()
            self.assertEqual(peer.ask("open", "t"), [0])
            channel.run(lambda c: c.session.in_topics, PATIENCE)
            held, peer.channel = peer.channel, None     # nobody reads here for a while
            self.assertEqual(peer.ask("send", "t", 10 << 20, 3, 300), [-errno.ETIMEDOUT])
            peer.channel = held
            self.assertEqual(peer.ask("send", "t", 10, 0, 5000), [0])
            self.assertEqual(bytes(channel.receive(PATIENCE).payload), pattern(10))
            channel.wait_event("abort", PATIENCE)
            self.assertEqual(peer.ask("send", "t", 10 << 20, 3, 20000), [0])
            message = channel.receive(PATIENCE)
            self.assertEqual((len(message.payload), len(message.attachments)), (10 << 20, 3))
            message.close()
            self.assertEqual(peer.orderly()[1], "-")

    def test_calls_that_nobody_answers_get_their_end(self):
        with Peer("channel") as peer:
            channel = peer.connect(fragment=1000)
            session = channel.session
            id = session.open(b"t")
            session.send(id, pattern(5), call=7)
            session.send(id, pattern(5000), [self.null], call=256)
            self.assertEqual(peer.ask("accept", 5000), [1, "t"])
            for size in 5, 5000:
                self.assertEqual(peer.ask("receive", "t", 5000)[:3], [1, size, "right"])
            for call in 7, 256:
                reply = channel.receive(PATIENCE, lambda m, c=call: m.kind == w.REPLY and m.call == c)
                self.assertEqual((reply.end, reply.error, reply.code, reply.payload), (True, True, w.DROPPED, b""))
            session.send(id, pattern(5), call=7)        # the id is free again
            session.reset_call(7)
            session.send(id, bytes(50000), call=8)
            topic = session.out_topics[id]
            channel.most = 1
            channel.run(lambda c: len(topic.queue) == 1 and topic.queue[0].begun, PATIENCE)
            session.abort(topic)
            reply = channel.receive(PATIENCE, lambda m: m.kind == w.REPLY and m.call == 8)
            self.assertTrue(reply.error)
            self.assertEqual(peer.ask("reset", "t"), [0])
            channel.run(lambda c: not c.session.out_calls, PATIENCE)
            self.assertEqual(peer.orderly()[1], "-")

    def test_calls_of_ours_get_every_kind_of_answer(self):
        with Peer("channel") as peer:
            channel = peer.connect(fragment=1000)
            session = channel.session
            id = session.open(b"t")
            session.send(id, pattern(5000), [self.null], call=7)
            self.assertEqual(peer.ask("accept", 5000), [1, "t"])
            self.assertEqual(peer.ask("take", "t", 5000), [1, 5000, "right", 1, 0])

            def reply(call=7):
                return channel.receive(PATIENCE, lambda m: m.kind == w.REPLY and m.call == call)
            for size, fds, more in (0, 0, 1), (100, 16, 1), (200000, 2, 1), (70000, 0, 1), (5, 1, 0):
                self.assertEqual(peer.ask("answer", size, fds, more), [0])
                message = reply()
                self.assertEqual((bytes(message.payload), len(message.attachments)), (pattern(size), fds))
                self.assertEqual(message.end, not more)
                message.close()
            self.assertEqual(peer.ask("answer", 1, 0, 0), [-errno.EALREADY])
            for size in 0, 11, 100000:
                session.send(id, pattern(3), call=7)
                self.assertEqual(peer.ask("take", "t", 5000), [1, 3, "right", 0, 0])
                self.assertEqual(peer.ask("fail", 256 + size, size), [0])
                message = reply()
                self.assertEqual((message.error, message.code, bytes(message.payload)), (True, 256 + size, pattern(size)))
            session.send(id, pattern(3), call=7)
            self.assertEqual(peer.ask("take", "t", 5000), [1, 3, "right", 0, 0])
            session.reset_call(7)
            channel.wait_event("discard-reply", PATIENCE)
            self.assertEqual(peer.ask("answer", 1, 0, 0), [-errno.ECANCELED])
            self.assertEqual(peer.orderly()[1], "-")

    def test_calls_of_the_librarys_take_every_kind_of_answer(self):
        with Peer("channel") as peer:
            channel = peer.connect(fragment=1000)
            session = channel.session
            self.assertEqual(peer.ask("open", "t"), [0])

            def called(size, fds):
                self.assertEqual(peer.ask("call", "t", size, fds, 5000), [0])
                message = channel.receive(PATIENCE, lambda m: m.kind == w.DATA and m.call)
                self.assertEqual((bytes(message.payload), len(message.attachments)), (pattern(size), fds))
                message.close()
                return message.call
            call = called(150000, 3)
            for size, fds, end in (0, 0, False), (100, 16, False), (200000, 2, False), (5, 1, True):
                session.reply(call, pattern(size), [self.null] * fds, end)
                self.assertEqual(peer.ask("reply", 5000), [1, size, "right", fds, 0])
            self.assertEqual(peer.ask("reply", 5000), [0])
            for size in 0, 11, 100000:
                call = called(10, 0)
                session.reply_error(call, 256 + size, pattern(size))
                self.assertEqual(peer.ask("reply", 5000), [-errno.EREMOTEIO, 256 + size, size])
            call = called(10, 0)
            self.assertEqual(peer.ask("cancel", 0), [0])
            channel.wait_event("reset-call", PATIENCE)
            session.reply(call, pattern(1000), [self.null], True)
            self.assertEqual(peer.ask("reply", 5000), [-errno.ECANCELED])
            # Nothing of what was discarded is missing.
            session.reply(called(1, 0), pattern(1), [], True)
            self.assertEqual(peer.ask("reply", 5000), [1, 1, "right", 0, 0])
            self.assertEqual(peer.orderly()[1], "-")

    def test_attachments_that_the_library_has_no_room_for_are_lost_and_told(self):
        with Peer("channel", files=60, attachments=300, message_attachments=253, topic_window_attachments=300) as peer:
            channel = peer.connect()
            id = channel.session.open(b"t")
            channel.session.send(id, pattern(5), [self.null] * 200)
            channel.session.send(id, pattern(6), [self.null] * 3)
            self.assertEqual(peer.ask("accept", 5000), [1, "t"])
            first = peer.ask("receive", "t", 5000)
            self.assertEqual(first, [1, 5, "right", 200, -errno.EMFILE])
            self.assertEqual(peer.ask("receive", "t", 5000)[:4], [1, 6, "right", 3])
            # What was not taken is closed by a thread of the library's, in its own time: looked for again and again, with a bound.
            for _ in range(100 * PATIENCE):
                channel.session.send(id, pattern(7), [self.null] * 3)
                answer = peer.ask("receive", "t", 5000)
                if answer[-1] == 0:
                    break
                time.sleep(0.01)
            self.assertEqual(answer, [1, 7, "right", 3, 0])
            self.assertEqual(peer.orderly()[1], "-")

    def test_a_frame_that_takes_too_long(self):
        with Peer("channel", frame_timeout_ms=100) as peer:
            peer.sock.sendall(w.encode_hello()[:20])
            self.assertEqual(peer.ask("accept", 10000), [-errno.EPROTO])
            self.assertEqual(peer.end(), (-errno.EPROTO, "timeout"))


class Transcripts(Test):
    """The golden transcripts that end in a breach, through a socket."""

    CANNOT = {"reset", "reset-call", "message", "reply", "error", "goodbye", "take", "return", "ping"}

    def play(self, lines):
        limits = next((w.Limits(*map(int, words[1:])) for words in lines if words[0] == "limits"), w.BASE)
        with Peer("channel", **dict(zip(OPTIONS, limits))) as peer:
            seen, plain, name = bytearray(), b"", None
            for words in lines:
                if words[0] == "send":
                    options = dict(word.split("=") for word in words if "=" in word)
                    data = golden.bytes_of([word for word in words[1:] if "=" not in word])
                    n = int(options.get("fds", 0))
                    if n:
                        self.send(peer.sock, plain, 0)
                        plain = b""
                        self.send(peer.sock, data, n)
                    else:
                        plain += data
                    continue
                if words[0] in ("event", "limits"):
                    continue
                # Whatever stands between two lines of another kind goes in one piece, so that nothing is answered before.
                self.send(peer.sock, plain, 0)
                plain = b""
                if words[0] == "hello":
                    plain = w.encode_hello()
                elif words[0] == "do":
                    name = words[-1] if words[1] == "open" else name
                    self.assertEqual(peer.ask(words[1], name), [0])
                elif words[0] == "out" and words[1] != "-":
                    expected = golden.bytes_of(words[1:])
                    while not golden.Player.compared(self.whole(seen)).endswith(expected):
                        some = peer.sock.recv(65536)
                        self.assertTrue(some, "the peer hung up")
                        seen += some
            self.send(peer.sock, plain, 0)
            self.read_to_the_end(peer.sock, seen)
            result, breach = peer.end()
            if ["event", "goodbye"] in lines and result == 0:
                # What follows GOODBYE need not be noticed by a side that has shut down on it.
                self.assertIn(breach, ("-", "goodbye"))
            elif limits.message_attachments == 0 and lines[-1][1] == "attachments":
                # The library grants none then, whatever the transcript says: two rules are broken.
                self.assertEqual((result, breach), (-errno.EPROTO, "credit"))
            else:
                self.assertEqual((result, breach), (-errno.EPROTO, lines[-1][1]))

    def read_to_the_end(self, sock, seen):
        """A side that found a breach closes the socket; one that heard goodbye says so too."""
        while True:
            try:
                some = sock.recv(65536)
            except ConnectionResetError:
                continue
            seen += some
            whole = self.whole(seen)
            if not some or whole[-16:-8] == w.encode(w.GOODBYE)[:8]:
                return

    def send(self, sock, data, n):
        """All of it, or as much as is wanted before the other side ends."""
        if not data:
            return
        try:
            sent = sock.sendmsg([data], w.rights([self.null] * n))
            sock.sendall(data[sent:])
        except (BrokenPipeError, ConnectionResetError):
            pass

    @staticmethod
    def whole(data):
        """The frames that are complete."""
        at = 0
        while len(data) - at >= w.HEADER:
            size = 4 + (struct.unpack_from(">I", data, at)[0] & ~w.CARRIES)
            if len(data) - at < size:
                break
            at += size
        return bytes(data[:at])

    def fits(self, lines):
        for words in lines:
            if words[0] == "wait" or words[0] == "do" and words[1] in self.CANNOT or any("lost=" in word for word in words):
                return False
            if words[0] == "limits" and int(words[4]) > w.CARRIED_MAX:
                return False    # not an option of the library's
        return True

    def test_each_breach_has_its_name(self):
        n = 0
        for path in sorted(glob.glob(os.path.join(HERE, os.pardir, "golden", "breach-*.txt"))):
            for title, lines in golden.cases(path):
                if self.fits(lines):
                    with self.subTest(file=os.path.basename(path), case=title):
                        self.play(lines)
                        n += 1
        self.assertGreater(n, 100)


class Both(Test):
    def test_two_sides_that_only_write_do_not_stop_each_other(self):
        with Peer("channel-echo", **dict(zip(OPTIONS, w.BASE))) as peer:
            channel = peer.connect(w.BASE._replace(topics=256))
            ids = [channel.session.open(b"t%d" % i) for i in range(20)]
            for i in range(20000):
                channel.session.send(ids[i % 20], pattern(i % 3000))
            channel.run(lambda c: len(c.messages) == 20000, PATIENCE)
            self.assertEqual(sum(len(m.payload) for m in channel.messages), sum(i % 3000 for i in range(20000)))
            self.assertEqual(peer.orderly(), (0, "-"))

    def live(self, seed, mode, names):
        """All that can become of topics, messages and calls, in any order; each side finds the other blameless."""
        rng = random.Random(seed)
        options = dict(zip(OPTIONS, w.BASE)) if rng.random() < 0.5 else {}
        with Peer(mode, **options) as peer:
            channel = peer.connect(rng.choice((w.BASE._replace(topics=256), LARGE, LENT)), rng=rng, ragged=rng.random() < 0.5,
                                   fragment=rng.choice((100, 5000, w.BODY_MAX)), lazy=rng.random() < 0.5,
                                   most_attachments=rng.choice((0, 300)))
            session = channel.session
            channel.most = rng.choice((1, 10000, 1 << 20))
            for _ in range(1500):
                do = rng.random()
                mine = [t for t in session.out_topics.values() if t.state == "open" and not t.closing]
                theirs = [t for t in session.in_topics.values() if t.state != "reset" and t.control is None]
                if do < 0.1:
                    name = next(names)
                    if all(t.name != name or t.state == "closed" for t in session.out_topics.values()):
                        session.open(name)
                elif do < 0.5 and mine:
                    call = rng.choice((0, 0, rng.randint(1, session.peer.calls)))
                    session.send(rng.choice(mine).id, bytes(rng.choice((0, 9, 1000, 9000, 150000))),
                                 [self.null] * rng.choice((0, 0, 0, 1, 16)), 0 if call in session.out_calls else call)
                elif do < 0.53 and mine:
                    session.close(rng.choice(mine).id)
                elif do < 0.55 and theirs:
                    session.reset(rng.choice(theirs).id, rng.choice((1, 2)))
                elif do < 0.57:
                    begun = [t for t in mine if t.queue and t.queue[0].begun]
                    if begun:
                        session.abort(rng.choice(begun))
                elif do < 0.59 and session.out_calls:
                    session.reset_call(rng.choice(list(session.out_calls)))
                else:
                    channel.step()
                    if session.breach:
                        raise session.breach
                for message in channel.messages:
                    message.close()
                channel.messages = []
            channel.run(lambda c: not any(t.queue for t in c.session.out_topics.values()) and c.session.idle, PATIENCE)
            for topic in list(session.out_topics.values()):
                if topic.state == "open":
                    session.close(topic.id)
            channel.run(lambda c: not c.session.out_topics and not c.session.out_calls and c.session.idle, PATIENCE)
            for message in channel.messages:
                message.close()
            channel.messages = []
            self.assertEqual(peer.orderly(), (0, "-"))

    def test_random_lives(self):
        for mode in "channel-drain", "channel-echo":
            for seed in range(5):
                with self.subTest(mode=mode, seed=seed):
                    self.live(seed, mode, iter(b"%d" % i for i in range(10000)))

    def test_random_lives_with_few_names(self):
        for mode in "channel-drain", "channel-echo":
            for seed in range(5):
                with self.subTest(mode=mode, seed=seed):
                    self.live(seed, mode, iter(b"%d" % (i * 7 % 5) for i in range(10000)))

    def test_many_channels_at_once(self):
        failures = []

        def one(seed):
            try:
                with Peer("channel-echo") as peer:
                    channel = peer.connect(rng=random.Random(seed), ragged=True)
                    id = channel.session.open(b"t")
                    for i in range(300):
                        channel.session.send(id, pattern(i * 7))
                    channel.run(lambda c: len(c.messages) == 300, PATIENCE)
                    assert peer.orderly() == (0, "-")
            except BaseException as failure:
                failures.append(failure)
        threads = [threading.Thread(target=one, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])


if __name__ == "__main__":
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    COMMAND[:] = sys.argv[1:split]
    if not COMMAND:
        sys.exit(__doc__)
    unittest.main(argv=sys.argv[:1] + sys.argv[split + 1:])
