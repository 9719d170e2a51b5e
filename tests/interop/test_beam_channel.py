# SPDX-License-Identifier: MIT
"""Tests beam_wire.py on its own: two of its channels connected to each other."""

import os
import random
import resource
import socket
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import beam_wire as w  # noqa: E402
from descriptors import Descriptors, file_with, number_of, open_fds  # noqa: E402


class Pair:
    """Two connected channels."""

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
        """Steps until neither side can do anything."""
        while quiet:
            moved = [self.a.step(), self.b.step()]
            for c in self.a, self.b:
                if c.session.breach:
                    raise c.session.breach
            quiet = 3 if any(moved) else quiet - 1


class Channels(Descriptors):
    LARGE = w.BASE._replace(topics=300, message_bytes=8 << 20, message_attachments=253, topic_bytes=512 << 10,
                            topic_attachments=600, pool_bytes=16 << 20, attachments=1000)

    def test_random_messages_and_descriptors_both_ways(self):
        for seed in range(12):
            rng = random.Random(seed)
            limits = [rng.choice((w.BASE, self.LARGE)) for _ in range(2)]
            fragment = rng.choice((9, 1000, 30000, w.BODY_MAX))
            with Pair({"limits": limits[0]}, {"limits": limits[1]}, seed, ragged=rng.random() < 0.8,
                      fragment=fragment) as p:
                sent = {p.a: {}, p.b: {}}
                keep = []
                for channel in p.a, p.b:
                    for i in range(rng.randint(1, 8)):
                        id = channel.session.open(b"topic %d" % i)
                        sent[channel][id] = []
                for i in range(60):
                    channel = rng.choice((p.a, p.b))
                    id = rng.choice(list(sent[channel]))
                    size = rng.choice((0, 1, 7, 8, 100, 5000, 70000 if fragment > 500 else 300,
                                       900000 if fragment > 2000 else 1000))
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
        """Two sides that withhold as much credit as the page allows, and lend."""
        sides = []
        for _ in range(2):
            most = rng.choice((1, 5, 16, 40))
            limits = w.BASE._replace(message_attachments=most, topic_attachments=most + rng.choice((0, 1, 7, 30)),
                                     attachments=rng.choice((0, 1, most, 2 * most)))
            sides.append({"limits": limits, "lazy": True, "most_attachments": most + rng.choice((0, 3, 100))})
        return Pair(*sides, seed=seed, ragged=rng.random() < 0.3, fragment=rng.choice((5000, w.BODY_MAX)))

    def answer(self, channel):
        """Answers the calls that have arrived. Returns their number."""
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
                    id, payload = rng.choice(live).id, bytes(rng.choice((0, 10, 3000)))
                    session.send(id, payload, [self.null] * rng.choice((0, 0, 2)))
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
            self.assertEqual(len(p.b.messages), 2)      # the second one overdraws into the pool
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
