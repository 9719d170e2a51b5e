# SPDX-License-Identifier: MIT
"""libbeam and the Python implementation talk to each other: credit, attachments that are lent,
shares, and silence.

    interop_credit_test.py COMMAND... [-- UNITTEST-ARGUMENT...]

COMMAND starts the program of peer.c, possibly under a checker.
"""

import errno
import os
import select
import signal
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import beam_wire as w  # noqa: E402
from descriptors import Descriptors  # noqa: E402
from interop_peer import ALMOST, DEFAULTS, OPTIONS, PATIENCE, Peer, SLOWNESS, main, pattern  # noqa: E402


class Credit(Descriptors):
    def test_withheld_credit_makes_the_sender_wait_and_no_other_topic(self):
        with Peer("channel") as peer:
            channel = peer.connect(w.BASE, withhold=True)
            for name in "slow", "quick":
                self.assertEqual(peer.ask("open", name), [0])
            sent = 0
            while peer.ask("send", "slow", 1000, 0, 200) == [0]:
                sent += 1
            # The last message overdraws the topic into the pool. After that the topic has no
            # credit.
            self.assertEqual(sent, 65536 // 1064 + 1)
            self.assertEqual(peer.ask("send", "slow", 0, 0, 50), [-errno.ETIMEDOUT])
            self.assertEqual(peer.ask("send", "quick", 1000, 0, 1000), [0])
            channel.run(lambda c: len(c.messages) == sent + 1, PATIENCE)
            self.assertTrue(all(bytes(m.payload) == pattern(1000) for m in channel.messages))
            # With a single byte of credit a message can be sent, by overdrawing into the pool.
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
            self.assertEqual(peer.ask("send", "t0", 10, 1, 50), [-errno.ETIMEDOUT])     # the topic's limit
            self.assertEqual(peer.ask("send", "t1", 10, 4, 50), [-errno.ETIMEDOUT])     # more than a little
            for i in range(1, 17):
                self.assertEqual(peer.ask("send", "t%d" % i, 10, 3, 5000), [0])
            self.assertEqual(peer.ask("send", "t17", 10, 1, 50), [-errno.ETIMEDOUT])    # the channel's limit
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
            # The credit that was granted is valid to the last byte.
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


class Attachments(Descriptors):
    """Attachments of the channel: charged when carried, lent, wanted, returned."""

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
                # Everything is idle, so all of it is returned, possibly in several parts.
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
            # More than a quarter of what was granted at the beginning. A fifth of the 1,024
            # descriptors is for attachments, and three quarters of that for one channel.
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
            self.assertEqual(session.out_attachments.room, 56)
            self.assertEqual(topic.attachments.room, DEFAULTS.topic_attachments - 8)
            session.raw(w.encode(w.WANT, 0, 0, 128))
            channel.run(lambda c: c.session.out_attachments.room == 64, PATIENCE)
            channel.run(lambda c: topic.attachments.room == DEFAULTS.topic_attachments, PATIENCE)
            # More is still wanted, so nothing is withheld.
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
        """Sends a frame that carries one end of a pipe, which nobody claims. Returns the other
        end."""
        reader, writer = os.pipe()
        carrier = bytearray(w.encode(w.PING, 0, 0, 1))
        w.set_carried(carrier, 1)
        peer.sock.sendmsg([carrier], w.rights([writer]))
        os.close(writer)
        return reader

    def closed(self, fd, seconds):
        """Returns whether the other end of a pipe is closed within that time."""
        try:
            return bool(select.select([fd], [], [], seconds)[0])
        finally:
            os.close(fd)

    def test_descriptors_that_nobody_claims_are_closed_when_the_channel_ends(self):
        with Peer("channel") as peer:
            peer.connect()
            reader = self.pipe_that_is_carried(peer)
            if select.select([reader], [], [], 0.2)[0]:
                self.fail("closed while the channel was open: %s" % (peer.end(),))
            peer.channel.close()
            peer.channel = None
            # The handle of the library's side still exists.
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
                if claims:
                    frame = w.encode(w.DATA, w.MORE | w.SIZED, id, 0, struct.pack(">IIB", 2, 0, 65), 1)
                else:
                    frame = w.encode(w.PING, 0, 0, 1)
                frame = bytearray(frame)
                w.set_carried(frame, 1)
                peer.sock.sendmsg([frame], w.rights([peer.sock.fileno()]))
                channel.close()
                peer.channel = None
                # Only the library's process has that end now.
                self.assertEqual(peer.ask("accept", 1000 * PATIENCE)[0], 1)
                self.assertEqual(peer.breach(), (-errno.EPROTO, "timeout"))


class Silence(Descriptors):
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


class Isolation(Descriptors):
    """Topics that nobody drains leave a share for the others (section 7, "A fair sender")."""

    def fill(self, peer, name, size):
        """Sends a message that fills a new topic's window, and then one whose overdraft is `size`.
        Returns the result of the latter."""
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
            # The others can use what it leaves.
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
        with Peer("channel", pool_bytes=1 << 20, message_bytes=1 << 20, topic_window_bytes=65536,
                  attachments=128) as peer:
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


if __name__ == "__main__":
    main(__doc__)
