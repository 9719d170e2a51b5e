# SPDX-License-Identifier: MIT
"""Tests of beam_wire.py by itself: two of its channels against each other, and its parser on models of a socket."""

import os
import random
import resource
import socket
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import beam_wire as w  # noqa: E402


def open_fds():
    return set(os.listdir("/proc/self/fd"))


class Descriptors(unittest.TestCase):
    """Every test leaves as many descriptors as it found."""

    def setUp(self):
        self.before = len(open_fds())
        self.null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def tearDown(self):
        os.close(self.null)
        self.assertEqual(len(open_fds()), self.before)


def file_with(number):
    """A descriptor that can be told from others."""
    fd = os.memfd_create("n", os.MFD_CLOEXEC)
    os.write(fd, struct.pack(">I", number))
    return fd


def number_of(fd):
    return struct.unpack(">I", os.pread(fd, 4, 0))[0]


class Pair:
    """Two channels on a pair."""

    def __init__(self, a=None, b=None, seed=1, **both):
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.a = w.Channel(ends[0], rng=random.Random(seed), **{**both, **(a or {})})
        self.b = w.Channel(ends[1], rng=random.Random(seed + 1), **{**both, **(b or {})})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.a.close()
        self.b.close()

    def settle(self, quiet=3):
        """Until neither can do anything."""
        while quiet:
            moved = [self.a.step(), self.b.step()]
            for c in self.a, self.b:
                if c.session.breach:
                    raise c.session.breach
            quiet = 3 if any(moved) else quiet - 1


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
    """What docs/protocol.md promises of a fair sender."""

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
    """One side by itself."""

    def side(self, **options):
        session = w.Session(**options)
        session.pump()
        self.written(session)
        return session

    def written(self, session):
        """The frames that have been made since the last time."""
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
        session.feed(w.encode(w.DATA, w.SIZED, 1, 0, struct.pack(">II", 100, 100) + bytes(100)) + w.encode(w.CLOSE, 0, 1))
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
    """Random frames in random sendmsgs, read at random borders as the kernel does it: every attachment goes to its message."""

    def run_once(self, seed):
        rng = random.Random(seed)
        segments, expected = [], []         # (bytes, fd numbers): what each sendmsg sent
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
            # A read stops after a segment that has descriptors and never holds two such.
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


class Channels(Descriptors):
    LARGE = w.BASE._replace(topics=300, message_bytes=8 << 20, message_attachments=253, topic_bytes=512 << 10,
                            topic_attachments=600, pool_bytes=16 << 20, attachments=1000)

    def test_random_messages_and_descriptors_both_ways(self):
        for seed in range(12):
            rng = random.Random(seed)
            limits = [rng.choice((w.BASE, self.LARGE)) for _ in range(2)]
            fragment = rng.choice((9, 1000, 30000, w.BODY_MAX))
            with Pair({"limits": limits[0]}, {"limits": limits[1]}, seed, ragged=rng.random() < 0.8, fragment=fragment) as p:
                sent = {p.a: {}, p.b: {}}
                keep = []
                for channel in p.a, p.b:
                    for i in range(rng.randint(1, 8)):
                        id = channel.session.open(b"topic %d" % i)
                        sent[channel][id] = []
                for i in range(60):
                    channel = rng.choice((p.a, p.b))
                    id = rng.choice(list(sent[channel]))
                    size = rng.choice((0, 1, 7, 8, 100, 5000, 70000 if fragment > 500 else 300, 900000 if fragment > 2000 else 1000))
                    fds = [file_with(1000 * i + k) for k in range(rng.choice((0, 0, 0, 1, 3, 16)))]
                    payload = rng.randbytes(size)
                    keep += fds
                    channel.session.send(id, payload, fds)
                    sent[channel][id].append((payload, [number_of(fd) for fd in fds]))
                p.settle()
                for channel, other in ((p.a, p.b), (p.b, p.a)):
                    got = {}
                    for m in other.messages:
                        got.setdefault(m.id, []).append((bytes(m.payload), [number_of(fd) for fd in m.attachments]))
                    self.assertEqual(got, {id: list_ for id, list_ in sent[channel].items() if list_})
                for channel in p.a, p.b:
                    self.assertEqual(channel.session.out_pool.room, channel.session.peer.pool_bytes)
                    self.assertEqual(channel.session.out_attachments.room, channel.session.peer.attachments)
                    for topic in channel.session.out_topics.values():
                        self.assertEqual(topic.bytes.room, channel.session.peer.topic_bytes)
                w.close_fds(keep)

    def lazy_pair(self, rng, seed):
        """Two sides that withhold credit as far as the page allows it, and lend."""
        sides = []
        for _ in range(2):
            most = rng.choice((1, 5, 16, 40))
            limits = w.BASE._replace(message_attachments=most, topic_attachments=most + rng.choice((0, 1, 7, 30)),
                                     attachments=rng.choice((0, 1, most, 2 * most)))
            sides.append({"limits": limits, "lazy": True, "most_attachments": most + rng.choice((0, 3, 100))})
        return Pair(*sides, seed=seed, ragged=rng.random() < 0.3, fragment=rng.choice((5000, w.BODY_MAX)))

    def answer(self, channel):
        """Answers the calls that have come: how many."""
        n = 0
        for m in channel.messages:
            if m.kind == w.DATA and m.call and not m.answered:
                m.answered = True
                fds = [self.null] * min(2, channel.session.peer.message_attachments)
                channel.session.reply(m.call, bytes(n % 2 * 70000), fds, True)
                n += 1
        return n

    def test_readers_that_withhold_what_they_may_never_stop_a_sender(self):
        for seed in range(20):
            rng = random.Random(seed)
            with self.lazy_pair(rng, seed) as p:
                ids = {c: [c.session.open(b"%d" % i) for i in range(rng.randint(1, 20))] for c in (p.a, p.b)}
                p.settle()
                sent = {p.a: 0, p.b: 0}
                for _ in range(100):
                    c = rng.choice((p.a, p.b))
                    most = c.session.peer.message_attachments
                    size = rng.choice((0, 10, 60000, 65472, 66000, 200000, 1 << 20))
                    call = rng.choice([0, 0, 0] + [i for i in range(1, 65) if i not in c.session.out_calls])
                    fds = [self.null] * rng.choice((0, 0, 1, most, rng.randint(0, most)))
                    c.session.send(rng.choice(ids[c]), bytes(size), fds, call)
                    sent[c] += 1
                    for c in rng.choices((p.a, p.b), k=rng.randrange(6)):
                        c.step()
                        if rng.random() < 0.1:
                            c.session.give_back_unused()
                quiet = 0
                while quiet < 5:
                    moved = [p.a.step(), p.b.step(), self.answer(p.a), self.answer(p.b)]
                    quiet = 0 if any(moved) else quiet + 1
                for c, other in (p.a, p.b), (p.b, p.a):
                    self.assertIsNone(c.session.breach)
                    self.assertFalse([t for t in c.session.out_topics.values() if t.queue], seed)
                    self.assertFalse(c.session.out_calls, seed)
                    self.assertEqual(sum(m.kind == w.DATA for m in other.messages), sent[c])

    def test_ids_are_closed_and_opened_again_from_both_sides(self):
        rng = random.Random(3)
        with Pair(ragged=True) as p:
            for i in range(3000):
                channel = rng.choice((p.a, p.b))
                session = channel.session
                do = rng.random()
                live = [t for t in session.out_topics.values() if t.state == "open" and not t.closing]
                incoming = [t for t in session.in_topics.values() if t.state == "open" and t.control is None]
                names = {t.name for t in session.out_topics.values() if t.state != "closed"}
                name = b"%d" % rng.randrange(5)
                if do < 0.2 and name not in names:
                    session.open(name)
                elif do < 0.6 and live:
                    session.send(rng.choice(live).id, bytes(rng.choice((0, 10, 3000))), [self.null] * rng.choice((0, 0, 2)))
                elif do < 0.7 and live:
                    session.close(rng.choice(live).id)
                elif do < 0.75 and incoming:
                    session.reset(rng.choice(incoming).id, rng.choice((1, 2)))
                else:
                    channel.step()
                    if channel.session.breach:
                        raise channel.session.breach
            p.settle()
            for channel, other in ((p.a, p.b), (p.b, p.a)):
                self.assertEqual(set(channel.session.out_topics), set(other.session.in_topics))
                self.assertEqual(channel.session.out_pool.room, 1 << 20)
                self.assertEqual(channel.session.out_attachments.room, 64)

    def test_calls_and_their_replies(self):
        rng = random.Random(4)
        with Pair(ragged=True, fragment=500) as p:
            a, b = p.a.session, p.b.session
            id = a.open(b"call")
            answered, asked, n = 0, 0, 0
            busy = {}
            while answered < 300:
                free = [c for c in range(1, 65) if c not in a.out_calls and c not in busy]
                if free and asked < 300 and rng.random() < 0.3:
                    call = rng.choice(free)
                    busy[call] = b"%d" % asked
                    a.send(id, busy[call] + bytes(rng.choice((0, 900))), call=call)
                    asked += 1
                if a.out_calls and rng.random() < 0.05:
                    a.reset_call(rng.choice(list(a.out_calls)))
                p.a.step()
                p.b.step()
                for m in p.b.messages:
                    n = rng.randrange(4)
                    for i in range(n):
                        b.reply(m.call, b"part", [self.null] * rng.randrange(2))
                    if rng.random() < 0.2:
                        b.reply_error(m.call, 256, bytes(rng.choice((0, 9))))
                    else:
                        b.reply(m.call, bytes(m.payload), end=True)
                p.b.messages = []
                for m in p.a.messages:
                    if m.end:
                        self.assertTrue(m.error or bytes(m.payload).startswith(busy[m.call]))
                        del busy[m.call]
                        answered += 1
                    m.close()
                p.a.messages = []
                for e in p.a.log:
                    if e[0] == "discard-reply" and e[1] not in a.out_calls and e[1] in busy:
                        del busy[e[1]]
                        answered += 1
                p.a.log = []
                for c in p.a, p.b:
                    if c.session.breach:
                        raise c.session.breach
            p.settle()
            self.assertFalse(a.out_calls)
            self.assertFalse(b.in_calls)
            self.assertEqual(b.out_attachments.room, 64)
            self.assertEqual(b.out_pool.room, 1 << 20)

    def test_withheld_credit_stops_one_topic_and_no_other(self):
        with Pair(b={"withhold": True}) as p:
            slow, quick = p.a.session.open(b"slow"), p.a.session.open(b"quick")
            for _ in range(20):
                p.a.session.send(slow, bytes(60000))
            p.settle()
            self.assertEqual(len(p.b.messages), 2)      # the second is what draws on the pool
            p.a.session.send(quick, b"word")
            p.settle()
            self.assertEqual(bytes(p.b.messages[-1].payload), b"word")
            p.b.session.withhold = False
            p.settle()
            self.assertEqual(len(p.b.messages), 21)

    def test_lost_attachments_are_lost_and_nothing_else(self):
        with Pair() as p:
            id = p.a.session.open(b"t")
            p.settle()
            p.a.session.send(id, b"one", [self.null] * 5)
            p.a.session.send(id, b"two", [self.null] * 3)
            p.a.step()
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            used = {int(fd) for fd in open_fds()}
            limit = next(n for n in range(4096) if n - len([u for u in used if u < n]) == 6)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            try:
                while len(p.b.messages) < 2:
                    p.b.step()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            lost = [[fd is w.LOST for fd in m.attachments] for m in p.b.messages]
            self.assertEqual(lost[0][:4], [False] * 4)
            self.assertEqual(lost[1][-1], True)
            p.settle()
            self.assertEqual(p.a.session.out_attachments.room, 64)

    def test_goodbye_both_ways(self):
        with Pair() as p:
            id = p.a.session.open(b"t")
            p.a.session.send(id, bytes(200000))
            p.a.session.goodbye()
            p.settle()
            self.assertTrue(p.b.session.peer_goodbye)
            p.b.session.goodbye()
            p.settle()
            p.a.sock.shutdown(socket.SHUT_RDWR)
            p.settle()
            self.assertEqual(p.b.log[-1], ("end", "orderly"))

    def test_the_frame_clock_starts_when_the_reader_is_starved(self):
        session = w.Session(frame_timeout=10)
        session.feed(w.encode_hello()[:20])
        session.tick(100)
        session.starved(100)
        session.feed(w.encode_hello()[20:30])
        session.starved(105)
        session.tick(109)
        self.assertIsNone(session.breach)
        session.tick(110)
        self.assertEqual(session.breach.rule, "timeout")

    def test_the_clock_for_descriptors_is_started_anew_by_every_frame(self):
        session = w.Session(frame_timeout=10, hold_timeout=5)
        session.feed(w.encode_hello())
        carrier = bytearray(w.encode(w.PING, 0, 0, w.ANSWER))
        w.set_carried(carrier, 1)
        session.feed(carrier, w.Group([os.dup(self.null)], False))
        for now in 100, 104, 108:
            session.starved(now)
            session.tick(now + 4)
            self.assertIsNone(session.breach)
            session.feed(w.encode(w.PING, 0, 0, w.ANSWER))
        session.starved(112)
        session.feed(w.encode(w.PING, 0, 0, w.ANSWER)[:8])
        session.starved(116)
        session.tick(117)
        self.assertEqual(session.breach.rule, "timeout")


if __name__ == "__main__":
    unittest.main()
