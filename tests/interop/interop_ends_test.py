# SPDX-License-Identifier: MIT
"""libbeam and the Python implementation talk to each other: options, and how topics, calls and
channels end.

    interop_ends_test.py COMMAND... [-- UNITTEST-ARGUMENT...]

COMMAND starts the program of peer.c, possibly under a checker.
"""

import errno
import os
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import beam_wire as w  # noqa: E402
from descriptors import Descriptors  # noqa: E402
from interop_peer import DEFAULTS, LARGE, OPTIONS, PATIENCE, Peer, main, pattern  # noqa: E402


class Ends(Descriptors):
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
            # It is sent when this side reads again. It probably waits until then, but nothing
            # depends on that.
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
            # Discarded messages have returned what they used of the channel.
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
            session.send(id, pattern(5), call=7)        # the id can be used again
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
                self.assertEqual((message.error, message.code, bytes(message.payload)),
                                 (True, 256 + size, pattern(size)))
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
            # Discarding has used up nothing.
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
            # What was not taken is closed by a thread of the library some time later.
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


if __name__ == "__main__":
    main(__doc__)
