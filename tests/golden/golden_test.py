# SPDX-License-Identifier: MIT
"""Plays the golden transcripts (README.md) to the Python implementation, each read in many ways."""

import glob
import os
import random
import struct
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, os.pardir, "interop"))
import beam_wire as w  # noqa: E402


def bytes_of(words):
    """The bytes that some words stand for."""
    out, digits = bytearray(), ""
    for word in words:
        if "*" in word:
            out += bytes.fromhex(digits)
            value, n = word.split("*")
            out += bytes.fromhex(value) * int(n)
            digits = ""
        else:
            digits += word
    return bytes(out + bytes.fromhex(digits))


def payload_text(data):
    if not data:
        return "-"
    if len(data) <= 32:
        return bytes(data).hex()
    value = 0x811c9dc5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xffffffff
    return "fnv1a:%08x" % value


def name_text(name):
    return "".join(chr(b) if 0x21 <= b <= 0x7e and b != 0x25 else "%%%02x" % b for b in name)


def cases(path):
    """(title, [words of a line])"""
    found = []
    with open(path, encoding="ascii") as lines:
        for line in lines:
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if words[0] == "case":
                found.append((" ".join(words[1:]), []))
            else:
                found[-1][1].append(words)
    return found


HASHES = {}


class Player:
    """One case, read in one way: "whole", "bytes", or a seed."""

    def __init__(self, lines, how):
        self.how = how
        self.rng = random.Random(how)
        self.lines = lines
        self.numbers = {}       # descriptor: its number
        self.sent_fds = 0
        self.now = 0.0
        self.pending = []       # [bytes, Group or None] that were sent and not read yet
        self.expected = []
        self.seen = []
        self.queued = {}
        limits = [w.Limits(*map(int, words[1:])) for words in lines if words[0] == "limits"]
        self.session = w.Session(limits[0] if limits else w.BASE)
        self.null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        self.given = []         # what was delivered

    def play(self):
        try:
            for words in self.lines:
                getattr(self, "on_" + words[0])(*words[1:])
            self.settle()
            if self.lines[-1][0] != "breach":
                self.no_breach()
        finally:
            self.session.fail(w.Breach("timeout"))
            w.close_fds(self.given)
            os.close(self.null)

    def no_breach(self):
        if self.session.breach:
            raise AssertionError("breach: %s" % self.session.breach)

    # What arrives

    def on_limits(self, *_):
        pass

    def on_hello(self):
        self.on_send(w.encode_hello().hex())
        self.on_event(*"hello 1 0".split(), *map(str, w.BASE))

    def on_send(self, *words):
        options = dict(word.split("=") for word in words if "=" in word)
        n, lost = int(options.get("fds", 0)), int(options.get("lost", 0))
        group = None
        if n:
            fds = [os.dup(self.null) for _ in range(n - lost)]
            for i, fd in enumerate(fds):
                self.numbers[fd] = self.sent_fds + i + 1
            self.sent_fds += n
            group = w.Group(fds, lost > 0)
        self.pending.append([bytes_of([word for word in words if "=" not in word]), group])
        if group:
            # Numbers of descriptors may be used again once they are closed: read
            # on before others are made.
            self.read()

    def read(self):
        while self.pending:
            if self.how == "whole":
                data, group = self.pending.pop(0)
            elif self.how == "bytes":
                data, group = self.take(1)
            else:
                data, group = self.take(self.rng.choice((1, 3, 8, 15, 16, 17, 24, 100, 70000)))
            self.session.feed(data, group)
            self.collect()

    def take(self, size):
        data, group = b"", None
        while self.pending and len(data) < size:
            first = self.pending[0]
            some = first[0][:size - len(data)]
            data += some
            first[0] = first[0][len(some):]
            here = first[1]
            if here:
                group, first[1] = here, None
            if not first[0]:
                self.pending.pop(0)
            if here or self.pending and self.pending[0][1] and group:
                break
        return data, group

    def collect(self):
        while self.session.events:
            self.seen.append(self.text(self.session.events.popleft()))

    def text(self, event):
        kind, rest = event[0], event[1:]
        if kind == "hello":
            rest = (rest[0].version, rest[0].features) + tuple(rest[0].limits)
        elif kind == "open":
            rest = (rest[0], name_text(rest[1]))
        elif kind in ("message", "reply"):
            message = rest[0]
            numbers = ["lost" if fd is w.LOST else str(self.numbers[fd]) for fd in message.attachments]
            attachments = ",".join(numbers) or "-"
            self.given += message.attachments
            message.attachments = []
            tail = (len(message.payload), attachments, payload_text(message.payload))
            if kind == "message":
                rest = (message.id, message.call) + tail
                self.queued.setdefault(message.id, []).append(message)
            else:
                end = "error" if message.error else "end" if message.end else "more"
                rest = (message.call, end, message.code or 0) + tail
                self.session.take(message)
        return " ".join(map(str, (kind,) + rest))

    def settle(self):
        self.read()
        if self.seen != self.expected:
            raise AssertionError("events:\n  %s\nnot:\n  %s" % ("\n  ".join(self.seen), "\n  ".join(self.expected)))
        self.seen, self.expected = [], []

    def on_event(self, *words):
        self.expected.append(" ".join(words))

    def on_breach(self, name):
        self.settle()
        if self.session.breach is None or self.session.breach.rule != name:
            raise AssertionError("breach %s, not %s" % (self.session.breach, name))

    def on_wait(self, ms):
        self.settle()
        self.session.tick(self.now)
        self.session.starved(self.now)
        self.now += int(ms) / 1000
        self.session.tick(self.now)

    def on_end(self, _=None):
        self.settle()
        self.session.end_of_stream()
        self.collect()

    # What the side under test does

    def on_do(self, what, *words):
        self.settle()
        self.no_breach()
        getattr(self, "do_" + what.replace("-", "_"))(*words)

    def do_open(self, id, name):
        assert self.session.open(name.encode()) == int(id)

    def do_message(self, id, call, n, *payload):
        self.session.send(int(id), b"" if payload == ("-",) else bytes_of(payload), [self.null] * int(n), int(call))

    def do_reply(self, call, kind, n, *payload):
        payload = b"" if payload == ("-",) else bytes_of(payload)
        self.session.reply(int(call), payload, [self.null] * int(n), kind == "end")

    def do_error(self, call, code, *payload):
        self.session.reply_error(int(call), int(code), b"" if payload == ("-",) else bytes_of(payload))

    def do_take(self, id):
        self.session.take(self.queued[int(id)].pop(0))

    def do_close(self, id):
        self.session.close(int(id))

    def do_reset(self, id, reason):
        self.session.reset(int(id), int(reason))

    def do_reset_call(self, call):
        self.session.reset_call(int(call))

    def do_goodbye(self):
        self.session.goodbye()

    def do_return(self):
        self.session.give_back_unused()

    def do_ping(self):
        self.session.ping()

    def on_out(self, *words):
        self.settle()
        self.no_breach()
        self.session.pump()
        written = b""
        while not self.session.idle:
            data, _ = self.session.batch()
            written += data
            self.session.wrote(len(data))
        if words == ("hello",):
            assert written == w.encode_hello(self.session.limits, features=self.session.features), written.hex()
            return
        expected = b"" if words == ("-",) else bytes_of(words)
        if self.compared(written) != self.compared(expected):
            raise AssertionError("out: %s" % self.compared(written).hex()[:400])

    @staticmethod
    def compared(data):
        """Without HELLO and CREDIT, bit 31 and carried."""
        out = b""
        while data:
            word, kind = struct.unpack_from(">IB", data)
            size = 4 + (word & ~w.CARRIES)
            frame = bytearray(data[:size])
            data = data[size:]
            w.set_carried(frame, 0)
            if kind not in (w.HELLO, w.CREDIT):
                out += frame
        return out


class Golden(unittest.TestCase):
    def test_every_transcript_read_in_every_way(self):
        paths = sorted(glob.glob(os.path.join(HERE, "*.txt")))
        self.assertGreaterEqual(len(paths), 25)
        n = 0
        for path in paths:
            for title, lines in cases(path):
                repeated = [words[1:] for words in lines if words[0] == "send" and "*" in "".join(words)]
                large = sum(len(bytes_of(words)) for words in repeated) > 10000
                for how in ["whole", 1] if large else ["whole", "bytes"] + list(range(12)):
                    with self.subTest(file=os.path.basename(path), case=title, how=how):
                        before = os.listdir("/proc/self/fd")
                        Player(lines, how).play()
                        self.assertEqual(os.listdir("/proc/self/fd"), before)
                        n += 1
        print("%d transcripts, %d plays" % (len(paths), n))

    def test_there_is_a_transcript_for_each_breach(self):
        for rule in w.RULES:
            found = cases(os.path.join(HERE, "breach-%s.txt" % rule))
            for title, lines in found:
                self.assertEqual(lines[-1], ["breach", rule], title)

    def test_the_rules_are_those_of_the_library(self):
        path = os.path.join(HERE, os.pardir, os.pardir, "src", "wire", "breach.h")
        with open(path, encoding="ascii") as header:
            rules = [line.split('"')[1].split(":")[0] for line in header if line.startswith("#define BREACH_")]
        self.assertEqual(rules, w.RULES)


if __name__ == "__main__":
    unittest.main()
