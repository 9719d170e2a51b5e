# SPDX-License-Identifier: MIT
"""Tests beam_wire.py on its own: its frames, its sessions, and its parser on a model of a
socket."""

import os
import random
import socket
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import beam_wire as w  # noqa: E402
from descriptors import Descriptors  # noqa: E402


class Core(Descriptors):
    def test_messages_arrive_on_every_kind_of_socket(self):
        for kind in socket.SOCK_STREAM, socket.SOCK_SEQPACKET:
            a, b = socket.socketpair(socket.AF_UNIX, kind)
            b.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            for size in 0, 1, 3, 4, 5, 4096, 70000:
                for fd in None, self.null:
                    for first in (1, 4, None):
                        payload = os.urandom(size)
                        w.core_send(a, payload, fd, first)
                        got, fds = w.core_receive(b)
                        self.assertEqual(got, payload)
                        self.assertEqual(len(fds), 0 if fd is None else 1)
                        w.close_fds(fds)
            a.close()
            self.assertIsNone(w.core_receive(b))
            b.close()

    def test_a_descriptor_without_bit_31_and_bit_31_without_one_are_refused(self):
        for message, fds in ((b"\x00\x00\x00\x01x", [self.null]), (b"\x80\x00\x00\x01x", [])):
            a, b = socket.socketpair()
            a.sendmsg([message], w.rights(fds))
            with self.assertRaises(ConnectionError):
                w.core_receive(b)
            a.close()
            b.close()


class Frames(unittest.TestCase):
    def test_every_size_is_encoded_and_decoded_back(self):
        for size in list(range(40)) + [65535, 65536]:
            frame = w.encode(w.DATA, 0, 7, 9, bytes(size))
            self.assertEqual(len(frame) % 8, 0)
            header = w.decode(frame[:16])
            self.assertEqual((header.length + 4, header.id, header.argument), (len(frame), 7, 9))
            self.assertEqual(header.length - 12 - header.padding, size)

    def test_the_examples_of_the_page_are_frames(self):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir, "docs", "protocol.md"),
                  encoding="utf-8") as page:
            examples = page.read().split("\n## 13.")[1].split("\n## 14.")[0]
        data = bytes.fromhex("".join(line for line in examples.split("\n") if line.startswith("    ")))
        seen = set()
        while data:
            frame = w.decode(data[:16])
            body, data = data[16:4 + frame.length], data[4 + frame.length:]
            self.assertEqual(len(body), frame.length - 12)
            self.assertFalse(any(body[len(body) - frame.padding:]))
            if frame.kind == w.HELLO:
                w.decode_hello(body[:len(body) - frame.padding])
            seen.add(frame.kind)
        self.assertEqual(seen, set(w.KINDS))

    def test_random_headers_never_do_anything_but_breach(self):
        rng = random.Random(5)
        for _ in range(20000):
            try:
                w.decode(bytes(rng.choice((0, 1, 3, 0xff, rng.randrange(256))) for _ in range(16)))
            except w.Breach:
                pass


class Shares(unittest.TestCase):
    """What docs/protocol.md guarantees for a fair sender."""

    def test_sixteen_topics_that_are_never_drained_leave_the_next_one_its_part(self):
        for seed in range(300):
            rng = random.Random(seed)
            total = rng.choice((64, 512, 1000, 1 << 20, 32 << 20))
            share, holds = w.Share(total), [0] * 16
            for _ in range(400):
                i = rng.randrange(16)
                n = rng.randint(1, max(1, rng.choice((total // 4, total * 3 // 64, total // 100))))
                if share.lets(holds[i], n, True):
                    share.used += n
                    share.held += n
                    holds[i] += n
                self.assertEqual(share.total, total)
                self.assertTrue(share.lets(0, total * 3 // 64, False), (seed, holds))

    def test_a_message_of_more_than_a_quarter_goes_when_nobody_holds_anything_and_not_before(self):
        share = w.Share(1000)
        self.assertTrue(share.lets(0, 1000, True))
        share.used = share.held = 1
        self.assertFalse(share.lets(0, 250, True))
        self.assertTrue(share.lets(0, 249, True))
        self.assertFalse(share.lets(0, 249, False))
        self.assertTrue(share.lets(0, 46, False))
        self.assertFalse(share.lets(0, 47, False))
        self.assertTrue(share.lets(1, 0, False))


class Sides(unittest.TestCase):
    """One side on its own."""

    def side(self, **options):
        session = w.Session(**options)
        session.pump()
        self.written(session)
        return session

    def written(self, session):
        """Returns the frames that were made since the last call."""
        session.pump()
        frames = [bytes(frame) for frame, _ in session.out]
        session.out.clear()
        return frames

    def test_one_want_stands_until_it_is_granted(self):
        session = self.side()
        session.feed(w.encode_hello(w.BASE._replace(attachments=4)))
        for name in b"a", b"b", b"c":
            session.open(name)
        self.written(session)
        session.send(1, b"", [0] * 4)
        self.assertEqual(len(self.written(session)), 1)
        session.send(2, b"", [0] * 2)
        self.assertEqual(self.written(session), [w.encode(w.WANT, 0, 0, 24)])
        session.send(3, b"", [0] * 2)
        self.assertEqual(self.written(session), [])
        session.feed(w.encode(w.CREDIT, 0, 0, 0, struct.pack(">II", 0, 19)))
        self.assertEqual(self.written(session), [])
        session.feed(w.encode(w.CREDIT, 0, 0, 0, struct.pack(">II", 0, 1)))
        self.assertEqual(self.written(session), [w.encode(w.DATA, 0, 2, 0, b"", 2), w.encode(w.WANT, 0, 0, 32)])

    def test_nothing_is_given_back_while_a_message_waits(self):
        session = self.side()
        session.feed(w.encode_hello(w.BASE._replace(attachments=2), features=w.LENDS))
        session.open(b"a")
        self.written(session)
        session.send(1, b"", [0] * 3)
        self.assertEqual(self.written(session), [w.encode(w.WANT, 0, 0, 6)])
        self.assertFalse(session.give_back_unused())
        session.feed(w.encode(w.CREDIT, 0, 0, 0, struct.pack(">II", 0, 4)))
        self.assertEqual(len(self.written(session)), 1)
        self.assertTrue(session.give_back_unused())
        self.assertEqual(self.written(session), [w.encode(w.RETURN, 0, 0, 3)])
        self.assertFalse(session.give_back_unused())

    def test_want_and_return_are_counted_modulo_2_to_32(self):
        session = self.side(most_attachments=100)
        session.feed(w.encode_hello())
        for window in (session.in_attachments,):
            window.granted = window.used = (1 << 32) - 3
        session.lent = 0
        session.feed(w.encode(w.WANT, 0, 0, 7))
        self.assertEqual(self.written(session), [w.encode(w.CREDIT, 0, 0, 0, struct.pack(">II", 0, 10))])
        session.feed(w.encode(w.WANT, 0, 0, 6))
        self.assertEqual(self.written(session), [])
        session.feed(w.encode(w.RETURN, 0, 0, 10))
        self.assertEqual((session.lent, session.in_attachments.room, session.wanted), (0, 0, 0))
        session.feed(w.encode(w.RETURN, 0, 0, 1))
        self.assertEqual(session.breach.rule, "grant")

    def test_a_lazy_reader_withholds_no_more_than_the_page_allows(self):
        for size, n, returned in (32703, 0, False), (32704, 0, True), (0, 4, False), (0, 5, True):
            session = self.side(limits=w.BASE._replace(topic_attachments=20, attachments=80), lazy=True)
            session.feed(w.encode_hello() + w.encode(w.OPEN, 0, 1, 0, b"a"))
            frame = bytearray(w.encode(w.DATA, 0, 1, 0, bytes(size), n))
            fds = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(n)]
            w.set_carried(frame, n)
            session.feed(frame, w.Group(fds, False))
            session.take(session.events[-1][1])
            w.close_fds(fds)
            credit = [w.encode(w.CREDIT, 0, 1, 0, struct.pack(">II", size + 64, n))]
            self.assertEqual(self.written(session), credit if returned else [])
            session.feed(w.encode(w.WANT, 0, 0, 1000))
            due = [] if returned or not n else credit
            due += [w.encode(w.CREDIT, 0, 0, 0, struct.pack(">II", 0, n))] if n else []
            self.assertEqual(self.written(session), due)

    def test_no_more_is_lent_than_there_is(self):
        session = self.side(most_attachments=100)
        session.feed(w.encode_hello() + w.encode(w.WANT, 0, 0, 1000))
        self.assertEqual(self.written(session), [w.encode(w.CREDIT, 0, 0, 0, struct.pack(">II", 0, 36))])
        self.assertEqual(session.wanted, 900)

    def test_overdraft_comes_back_as_that_of_its_topic_unless_that_is_over(self):
        session = self.side()
        session.feed(w.encode_hello() + w.encode(w.OPEN, 0, 1, 0, b"a"))
        for size in 65408, 100:
            session.feed(w.encode(w.DATA, w.SIZED if size == 100 else 0, 1, 0,
                                  (struct.pack(">II", 100, 100) if size == 100 else b"") + bytes(size)))
        first, second = [e[1] for e in session.events if e[0] == "message"]
        self.assertEqual((first.overdraft, second.overdraft), (0, 100))
        session.take(first)
        session.take(second)
        self.assertEqual(self.written(session), [w.encode(w.CREDIT, 0, 1, 0, struct.pack(">II", 65536, 0)),
                                                 w.encode(w.CREDIT, w.OVERDRAFT, 1, 0, struct.pack(">II", 100, 0))])
        data = w.encode(w.DATA, w.SIZED, 1, 0, struct.pack(">II", 100, 100) + bytes(100))
        session.feed(data + w.encode(w.CLOSE, 0, 1))
        session.take([e[1] for e in session.events if e[0] == "message"][-1])
        self.assertEqual(self.written(session), [w.encode(w.CREDIT, 0, 0, 0, struct.pack(">II", 100, 0)),
                                                 w.encode(w.RESET, 0, 1, w.DONE)])

    def test_silence_is_asked_about_and_then_the_end(self):
        session = self.side(idle_timeout=10)
        session.feed(w.encode_hello(features=w.ANSWERS))
        session.heard = 100
        session.tick(104.9)
        self.assertEqual(self.written(session), [])
        session.tick(105)
        self.assertEqual(self.written(session), [w.encode(w.PING)])
        session.tick(109.9)
        session.feed(w.encode(w.PING, 0, 0, w.ANSWER))
        session.heard = 109.9
        session.tick(114)
        self.assertEqual(self.written(session), [])
        session.tick(115)
        self.assertEqual(self.written(session), [w.encode(w.PING)])
        session.tick(119)
        self.assertFalse(session.ended)
        session.tick(120)
        self.assertEqual(session.events[-1], ("end", "silence"))

    def test_who_does_not_answer_is_not_asked(self):
        session = self.side(idle_timeout=10)
        session.feed(w.encode_hello())
        session.heard = 100
        session.tick(105)
        self.assertEqual(self.written(session), [])
        session.tick(110)
        self.assertEqual(session.events[-1], ("end", "silence"))


class ParserOnAModelSocket(Descriptors):
    """Random frames in random sendmsg() calls, read at random boundaries as the kernel does it.
    Each attachment must be delivered with its message."""

    def run_once(self, seed):
        rng = random.Random(seed)
        segments, expected = [], []         # (bytes, fd numbers): what each sendmsg() has sent
        number = 0
        for _ in range(rng.randint(1, 30)):
            frames, fds = [], []
            for _ in range(rng.randint(1, 5)):
                claimed = rng.choice((0, 0, 1, 2, 5))
                numbers = list(range(number, number + claimed))
                number += claimed
                fds += numbers
                frames.append(bytearray(w.encode(w.DATA, 0, 1, 0, bytes(rng.choice((0, 1, 8, 30))), claimed)))
                expected.append(numbers)
            if fds:
                w.set_carried(frames[0], len(fds))
            data = b"".join(frames)
            cut = rng.randint(1, len(data))
            segments.append((data[:cut], fds))
            segments.append((data[cut:], []))
        got = []
        parser = w.Parser()
        while segments:
            # A read ends after a segment with descriptors, and never contains two of them.
            want, data, group = rng.choice((1, 2, 5, 15, 16, 17, 40, 200)), b"", None
            while segments and want > len(data):
                bytes_, fds = segments[0]
                if fds and group:
                    break
                some = bytes_[:want - len(data)]
                data += some
                if fds:
                    group = w.Group([os.dup(self.null) for _ in fds], False)
                    ids = dict(zip(group.fds, fds))
                    self.ids.update(ids)
                if len(some) < len(bytes_):
                    segments[0] = (bytes_[len(some):], [])
                    break
                segments.pop(0)
                if fds:
                    break
            for frame in parser.feed(data, group):
                got.append([self.ids[fd] for fd in frame.attachments])
                w.close_fds(frame.attachments)
        self.assertEqual(got, expected)
        self.assertFalse(parser.slots)

    def test_every_attachment_goes_to_its_message(self):
        for seed in range(1500):
            self.ids = {}
            self.run_once(seed)


if __name__ == "__main__":
    unittest.main()
