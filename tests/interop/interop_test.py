# SPDX-License-Identifier: MIT
"""libbeam and the Python implementation talk to each other: messages, transcripts, and random
activity.

    interop_test.py COMMAND... [-- UNITTEST-ARGUMENT...]

COMMAND starts the program of peer.c, possibly under a checker.
"""

import errno
import glob
import os
import random
import socket
import struct
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, os.pardir, "golden")]
import beam_wire as w  # noqa: E402
import golden_test as golden  # noqa: E402
from descriptors import Descriptors, file_with, number_of  # noqa: E402
from interop_peer import LARGE, LENT, OPTIONS, PATIENCE, Peer, main, pattern  # noqa: E402


class Core(Descriptors):
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


class Echo(Descriptors):
    """Messages from this side are sent back unchanged."""

    def round(self, peer, messages):
        """Sends (topic, payload, fds). All messages must be returned, in order on each topic."""
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
            for size in [0, 1, 7, 8, 9, 63, 64, 65, 4095, 4096, 8192, 8193, 65527, 65528, 65529, 65535, 65536, 65537,
                         70000, 1 << 20, 5 << 20, (16 << 20) - 1, 16 << 20]:
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
                channel = peer.connect(rng.choice((w.BASE._replace(topics=256), LARGE, LENT)), rng=rng,
                                       ragged=rng.random() < 0.7, fragment=fragment, lazy=rng.random() < 0.5,
                                       most_attachments=rng.choice((0, 300)))
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
                # The echo releases a topic when it has read its end. Only then it accepts another
                # one with that name.
                channel.run(lambda c: not c.session.out_topics and not c.session.in_topics, PATIENCE)
            self.assertEqual(peer.orderly(), (0, "-"))


class Transcripts(Descriptors):
    """The golden transcripts that end with a breach, over a socket."""

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
                # Consecutive lines are sent in one piece, so that nothing is answered in between.
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
                # A side that has shut down at GOODBYE need not notice what follows.
                self.assertIn(breach, ("-", "goodbye"))
            elif limits.message_attachments == 0 and lines[-1][1] == "attachments":
                # With these limits the library grants no attachments, so two rules are broken.
                self.assertEqual((result, breach), (-errno.EPROTO, "credit"))
            else:
                self.assertEqual((result, breach), (-errno.EPROTO, lines[-1][1]))

    def read_to_the_end(self, sock, seen):
        """Reads to the end: a side that has detected a breach closes the socket, and one that has
        received GOODBYE sends its own."""
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
        """Sends everything, or as much as possible before the other side ends."""
        if not data:
            return
        try:
            sent = sock.sendmsg([data], w.rights([self.null] * n))
            sock.sendall(data[sent:])
        except (BrokenPipeError, ConnectionResetError):
            pass

    @staticmethod
    def whole(data):
        """Returns the complete frames."""
        at = 0
        while len(data) - at >= w.HEADER:
            size = 4 + (struct.unpack_from(">I", data, at)[0] & ~w.CARRIES)
            if len(data) - at < size:
                break
            at += size
        return bytes(data[:at])

    def fits(self, lines):
        for words in lines:
            if words[0] == "wait" or words[0] == "do" and words[1] in self.CANNOT:
                return False
            if any("lost=" in word for word in words):
                return False
            if words[0] == "limits" and int(words[4]) > w.CARRIED_MAX:
                return False    # not a valid option of the library
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


class Both(Descriptors):
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
        """Everything that can happen to topics, messages and calls, in random order. Neither side
        may find a breach."""
        rng = random.Random(seed)
        options = dict(zip(OPTIONS, w.BASE)) if rng.random() < 0.5 else {}
        with Peer(mode, **options) as peer:
            channel = peer.connect(rng.choice((w.BASE._replace(topics=256), LARGE, LENT)), rng=rng,
                                   ragged=rng.random() < 0.5, fragment=rng.choice((100, 5000, w.BODY_MAX)),
                                   lazy=rng.random() < 0.5, most_attachments=rng.choice((0, 300)))
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
    main(__doc__)
