# SPDX-License-Identifier: MIT
"""A second implementation of Beam's protocol, written from docs/protocol.md alone.

It shows whether that page is complete, and whether libbeam complies with it. So it is strict where
a library would be fast: it checks every rule of the page, and counts all credit. It has no threads.

    core_send(), core_receive()   single messages on any Unix socket (section 1)
    encode(), decode()            a frame, a frame's header (section 2)
    Parser                        bytes and groups of descriptors in, frames with attachments out
                                  (sections 2 and 4); pure
    Session                       one side of a channel: frames in, events and output out
                                  (sections 3 to 11); pure
    Channel                       a Session on a socket, with deadlines

It uses only the standard library.
"""

import array
import collections
import os
import random
import select
import socket
import struct
import time

HELLO, OPEN, DATA, REPLY, CREDIT, CLOSE, RESET, GOODBYE = range(1, 9)
WANT, RETURN, PING = range(15, 18)
MORE, SIZED, ABORT, END, ERROR = 0x01, 0x02, 0x04, 0x08, 0x10
OVERDRAFT = 0x01
LENDS, ANSWERS = 2, 4

CARRIES = 0x80000000
HEADER = 16
LENGTH_MIN, LENGTH_MAX = 12, 65548
BODY_MAX = LENGTH_MAX - LENGTH_MIN
CARRIED_MAX = 253
MESSAGE_COST = 64
CREDIT_MAX = 1 << 30
DONE, UNWANTED, REFUSED = range(3)
DROPPED, CLOSED = 1, 2
ASKS, ANSWER = 0, 1

RULES = ("length kind flags padding unused payload carrier first hello goodbye descriptors unclaimed claim topic-id "
         "name closed fragment message-size attachments credit grant reset call-id timeout").split()

Limits = collections.namedtuple(
    "Limits", "topics calls message_bytes message_attachments topic_bytes topic_attachments pool_bytes attachments")
BASE = Limits(64, 64, 1 << 20, 16, 64 << 10, 16, 1 << 20, 64)

Hello = collections.namedtuple("Hello", "version features limits")

#: The descriptors that came with one read.
Group = collections.namedtuple("Group", "fds truncated")

#: An attachment that was lost on arrival.
LOST = None


class Breach(Exception):
    """The other side broke a rule. `rule` is its name in docs/protocol.md."""

    def __init__(self, rule, why=""):
        assert rule in RULES, rule
        super().__init__("%s: %s" % (rule, why) if why else rule)
        self.rule = rule


def require(condition, rule, why=""):
    if not condition:
        raise Breach(rule, why)


def close_fds(fds):
    for fd in fds:
        if fd is not LOST:
            os.close(fd)


# Core messages


def rights(fds):
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []


def read_group(sock, size, flags=0):
    """One recvmsg(). Returns the bytes, the Group, and whether credentials came with it."""
    data, ancillary, got, _ = sock.recvmsg(size, socket.CMSG_SPACE(4 * CARRIED_MAX) + socket.CMSG_SPACE(12),
                                           flags | socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    credentials = False
    for level, kind, body in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(body[:len(body) - len(body) % fds.itemsize])
        elif level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            credentials = True
    if got & socket.MSG_TRUNC:
        close_fds(fds)
        raise ConnectionError("a packet was cut off")
    return data, Group(list(fds), bool(got & socket.MSG_CTRUNC)), credentials


def core_send(sock, payload, fd=None, first=None):
    """Sends a core message. `first` is the number of bytes to send together with the descriptor.
    The Go code uses 1; None means as many as fit."""
    fds = [] if fd is None else [fd]
    if sock.type == socket.SOCK_SEQPACKET:
        sock.sendmsg([payload], rights(fds), socket.MSG_NOSIGNAL)
        return
    message = struct.pack(">I", len(payload) | (CARRIES if fds else 0)) + payload
    sent = sock.sendmsg([message[:first]], rights(fds), socket.MSG_NOSIGNAL)
    sock.sendall(message[sent:], socket.MSG_NOSIGNAL)


def core_receive(sock, limit=1 << 30):
    """Receives a core message: (payload, []), (payload, [fd]) or (payload, [LOST]). Returns None at
    the end."""
    if sock.type == socket.SOCK_SEQPACKET:
        data, group, credentials = read_group(sock, limit)
        return (data, core_keep(group)) if credentials else None
    header, attachments = core_read(sock, 4, True)
    if not header:
        return None
    if len(header) < 4:
        close_fds(attachments)
        raise ConnectionError("the stream ended within a message")
    word, = struct.unpack(">I", header)
    size = word & ~CARRIES
    if bool(word & CARRIES) != bool(attachments) or size > limit:
        close_fds(attachments)
        raise ConnectionError("bit 31 and what came do not agree, or too large")
    try:
        payload, _ = core_read(sock, size, False)
        if len(payload) < size:
            raise ConnectionError("the stream ended within a message")
    except BaseException:
        close_fds(attachments)
        raise
    return payload, attachments


def core_keep(group):
    """Returns the first descriptor of a core message, and closes the others."""
    close_fds(group.fds[1:])
    return group.fds[:1] or ([LOST] if group.truncated else [])


def core_read(sock, size, first):
    data, attachments = bytearray(), []
    try:
        while len(data) < size:
            some, group, _ = read_group(sock, min(size - len(data), 1 << 20))
            if first and not data:
                attachments = core_keep(group)
            elif group.fds:
                close_fds(group.fds)
                raise ConnectionError("a descriptor that did not come with the first byte")
            if not some:
                break
            data += some
    except BaseException:
        close_fds(attachments)
        raise
    return bytes(data), attachments


# Frames


class Frame:
    __slots__ = "length kind flags padding claimed carried id argument payload attachments".split()

    def __repr__(self):
        return "Frame(%s)" % ", ".join("%s=%r" % (name, getattr(self, name, None)) for name in self.__slots__)


def encode(kind, flags=0, id=0, argument=0, payload=b"", claimed=0, carried=0):
    padding = -len(payload) % 8
    length = LENGTH_MIN + len(payload) + padding
    if carried:
        length |= CARRIES
    header = struct.pack(">IBBBBII", length, kind, flags | padding << 5, claimed, carried, id, argument)
    return header + payload + bytes(padding)


def set_carried(frame, carried):
    word, = struct.unpack_from(">I", frame)
    struct.pack_into(">I", frame, 0, word & ~CARRIES | (CARRIES if carried else 0))
    frame[7] = carried


Kind = collections.namedtuple("Kind", "flags claims id argument payload")
ANY = range(BODY_MAX + 1)
KINDS = {
    HELLO: Kind(0, False, False, False, range(44, 257)),
    OPEN: Kind(0, False, True, False, ANY),
    DATA: Kind(MORE | SIZED | ABORT, True, True, True, ANY),
    REPLY: Kind(MORE | SIZED | ABORT | END | ERROR, True, False, True, ANY),
    CREDIT: Kind(OVERDRAFT, False, True, True, range(8, 9)),
    CLOSE: Kind(0, False, True, False, range(1)),
    RESET: Kind(0, False, True, True, range(1)),
    GOODBYE: Kind(0, False, False, False, range(1)),
    WANT: Kind(0, False, False, True, range(1)),
    RETURN: Kind(0, False, False, True, range(1)),
    PING: Kind(0, False, False, True, range(1)),
}


def decode(header):
    """Decodes the 16 bytes of a header, and checks everything that it shows by itself."""
    frame = Frame()
    word, frame.kind, flags, frame.claimed, frame.carried, frame.id, frame.argument = struct.unpack(">IBBBBII", header)
    frame.length = word & ~CARRIES
    frame.flags, frame.padding = flags & 0x1f, flags >> 5
    require(LENGTH_MIN <= frame.length <= LENGTH_MAX and (frame.length + 4) % 8 == 0, "length", frame.length)
    require(frame.kind in KINDS, "kind", frame.kind)
    kind = KINDS[frame.kind]
    require(not frame.flags & ~kind.flags, "flags")
    require(not frame.flags & ABORT or frame.flags == ABORT, "flags", "ABORT is not alone")
    require(not frame.flags & ERROR or frame.flags & END, "flags", "ERROR without END")
    body = frame.length - LENGTH_MIN
    require(frame.padding <= body, "padding", "more than needed")
    require(kind.id or not frame.id, "unused", "id")
    require(kind.argument or not frame.argument, "unused", "argument")
    require(kind.claims or not frame.claimed, "unused", "claimed")
    size = body - frame.padding
    require(size in kind.payload, "payload", size)
    require(not frame.flags & ABORT or size == 0, "payload", "ABORT has some")
    require(size >= (8 if frame.flags & SIZED else 0) + (4 if frame.flags & ERROR else 0), "payload", "too short")
    if word & CARRIES:
        require(1 <= frame.carried <= CARRIED_MAX and frame.kind != HELLO, "carrier")
    else:
        require(frame.carried == 0, "carrier")
    return frame


def encode_hello(limits=BASE, version=1, features=0, more=b""):
    return encode(HELLO, payload=b"Beam" + struct.pack(">BxxxI8I", version, features, *limits) + more)


def decode_hello(payload):
    require(payload[:4] == b"Beam", "hello", "not Beam's")
    version, features = struct.unpack_from(">BxxxI", payload, 4)
    limits = Limits(*struct.unpack_from(">8I", payload, 12))
    require(version >= 1, "hello", "version 0")
    require(payload[5:8] == bytes(3), "unused", "in HELLO")
    for name, value, base in zip(Limits._fields, limits, BASE):
        require(value <= CREDIT_MAX, "hello", name)
        require(value >= base or "attachments" in name, "hello", name)
    return Hello(version, features, limits)


class Parser:
    """Bytes and groups of descriptors in, frames with their attachments out. The parser owns the
    descriptors that it was fed until it has returned them.

    `charge(carried, lost)` is called when a carrier's header has been read. It may raise a Breach.
    """

    class Read:
        """A read, as far as carriers are concerned."""

        def __init__(self, group):
            self.group = group
            self.taken = False

    def __init__(self, charge=None):
        self.charge = charge or (lambda carried, lost: None)
        self.buffer = bytearray()
        self.frame = None       # the header of the frame that is arriving
        self.begun = None       # the Read in which that frame began
        self.read = None        # the current Read
        self.slots = collections.deque()

    def close(self):
        """Closes all descriptors that were not returned."""
        close_fds(self.slots)
        self.slots.clear()
        if self.frame:
            close_fds(self.frame.attachments)
            self.frame = None
        for read in {self.read, self.begun}:
            if read and read.group and not read.taken:
                close_fds(read.group.fds)
                read.taken = True

    @property
    def incomplete(self):
        return self.begun is not None

    @property
    def holds_descriptors(self):
        """True if there are descriptors that no frame has claimed yet."""
        begun = self.begun
        return bool(self.slots or begun and begun.group and begun.group.fds and not begun.taken or
                    self.frame and self.frame.attachments)

    def feed(self, data, group=None):
        """Yields the frames that these bytes complete. After a Breach, the parser is closed."""
        if group and not group.fds and not group.truncated:
            group = None
        self.read = Parser.Read(group)
        try:
            yield from self._feed(memoryview(bytes(data)), self.read)
        except Breach:
            self.close()
            raise

    def _feed(self, data, read):
        while data:
            if self.begun is None:
                self.begun = read
            want = HEADER if self.frame is None else HEADER + self.frame.length - LENGTH_MIN
            some = data[:want - len(self.buffer)]
            data = data[len(some):]
            self.buffer += some
            if self.frame is None and len(self.buffer) == HEADER:
                frame = decode(self.buffer)
                frame.attachments = self._attachments(frame)
                self.frame = frame
                want = HEADER + frame.length - LENGTH_MIN
            if self.frame and len(self.buffer) == want:
                frame, self.frame = self.frame, None
                body, self.buffer = bytes(self.buffer[HEADER:]), bytearray()
                self.begun = None
                frame.payload = body[:len(body) - frame.padding]
                if any(body[len(frame.payload):]):
                    close_fds(frame.attachments)
                    raise Breach("padding", "not zero")
                yield frame
        if read.group and read.group.fds and not read.taken:
            require(self.begun is read and self.frame is None, "descriptors", "without a carrier")

    def _attachments(self, frame):
        """Called when a header is complete: takes the descriptors that it carries, and returns
        those that it claims."""
        read = self.begun
        group = read.group
        if frame.carried:
            require(group and not read.taken, "descriptors", "a carrier without a group")
            n = len(group.fds)
            require(n == frame.carried or n < frame.carried and group.truncated, "descriptors", "in another number")
            require(not self.slots, "unclaimed")
            self.charge(frame.carried, frame.carried - n)
            read.taken = True
            self.slots.extend(group.fds)
            self.slots.extend([LOST] * (frame.carried - n))
        elif read is not self.read and read.group and read.group.fds and not read.taken:
            raise Breach("descriptors", "their read is over, and none of its frames carries them")
        require(frame.claimed <= len(self.slots), "claim", "more than have come")
        return [self.slots.popleft() for _ in range(frame.claimed)]


# One side of a channel


class Window:
    """Credit: what was granted and what was used. Both only grow."""

    def __init__(self, granted):
        self.granted = granted
        self.used = 0

    @property
    def room(self):
        return self.granted - self.used

    def grant(self, n):
        self.granted += n
        require(self.room <= CREDIT_MAX, "grant", "more than can be outstanding")

    def __repr__(self):
        return "%d/%d" % (self.used, self.granted)


def signed(n):
    """A difference modulo 2^32, as a signed number."""
    return (n + (1 << 31)) % (1 << 32) - (1 << 31)


class Share(Window):
    """What all messages that are sent share: the pool, or the channel's attachments (section 7, "A
    fair sender")."""

    def __init__(self, granted):
        super().__init__(granted)
        self.held = 0           # what all streams hold
        self.unowned = 0        # what ended streams held, less what was returned for no stream

    @property
    def total(self):
        return self.room + self.all_held

    @property
    def all_held(self):
        return self.held + max(0, self.unowned)

    def is_little(self, n):
        return n <= max(1, self.total * 3 // 64)

    def needed(self, holds, n):
        """How much must be free so that a stream that holds `holds` may take `n`."""
        if self.is_little(holds + n) or not self.all_held:
            return n
        return n - -self.total * 3 // 4

    def lets(self, holds, n, has_turn):
        return not n or (has_turn or self.is_little(holds + n)) and self.room >= self.needed(holds, n)


POOL, ATTACHMENTS = range(2)


class Stream:
    """Messages in one direction: a topic, or the replies to a call."""

    def __init__(self, id, argument, size, attachments):
        self.id, self.argument = id, argument
        self.bytes, self.attachments = Window(size), Window(attachments)
        self.message = None                     # the incomplete message
        self.state = "open"
        self.name = None
        self.queue = collections.deque()        # in: complete, not taken yet; out: to be sent
        self.due = [0, 0, 0]                    # in: credit to return: bytes, attachments, overdraft
        self.holds = [0, 0]                     # out: what its messages hold of the pool and of the attachments
        self.turns = set()                      # out: the shares for which later streams must wait
        self.closing = False                    # out: send CLOSE after what is queued
        self.control = None                     # in: a RESET with this reason is due
        self.ended = False                      # a reply with END was queued or has arrived


class Message:
    def __init__(self, kind, id, call, total=0, overdraft=0, attachments=(), flags=0):
        self.kind, self.id, self.call = kind, id, call
        self.total, self.overdraft = total, overdraft
        self.payload = bytearray()
        self.attachments = list(attachments)
        self.end, self.error = bool(flags & END), bool(flags & ERROR)
        self.code = None
        self.stream = None
        self.charged = [0, 0]       # topic bytes and attachments
        # in: the attachments that it uses of the channel's
        self.unsettled = sum(fd is not LOST for fd in self.attachments)
        self.answered = False       # in: for the caller's use
        self.begun = False          # out: its first frame has been made
        self.at = 0                 # out: how much of the payload is in frames

    @property
    def cost(self):
        """The bytes that are charged."""
        if self.end and self.error and self.total == 4 and not self.attachments:
            return 0
        return self.total + MESSAGE_COST

    def close(self):
        close_fds(self.attachments)
        self.attachments = []


class Session:
    """One side of a channel. Bytes, groups of descriptors and the time are fed in, and events and
    output come out. The only system call is close().

    Events are tuples in `events`, a deque that the caller empties:

        ("hello", Hello)                            ("open", id, name)
        ("message", Message)                        ("reply", Message)
        ("abort", id, call)                         ("abort-reply", call)
        ("discard", id)                             ("discard-reply", call)
        ("credit", id, call, bytes, attachments)    ("overdraft", id, call, bytes)
        ("closed", id)                              ("goodbye",)
        ("reset", id, reason)                       ("reset-call", call)
        ("want", argument)                          ("return", n)
        ("ping", "ask" or "answer")                 ("end", "orderly", "crash" or "silence")

    A Message then belongs to the receiver, and take() returns its credit. `breach` is the Breach
    that has ended the input, or None.

    Options: `withhold`: no credit is returned, as if nothing were taken. `lazy`: as much credit is
    withheld as the page allows. `most_attachments`: the most that are lent to the channel if it
    asks for more than its HELLO has granted.
    """

    def __init__(self, limits=BASE, rng=None, fragment=BODY_MAX, frame_timeout=30.0, hold_timeout=5.0,
                 idle_timeout=None, withhold=False, lazy=False, most_attachments=0, features=None, say_hello=True):
        self.limits, self.rng = limits, rng or random.Random(1)
        self.fragment, self.withhold, self.lazy = fragment, withhold, lazy
        self.frame_timeout, self.hold_timeout, self.idle_timeout = frame_timeout, hold_timeout, idle_timeout
        self.features = ANSWERS | (LENDS if most_attachments else 0) if features is None else features
        self.events = collections.deque()
        self.breach = None
        self.parser = Parser(self.charge_carried)
        self.deadline = None
        self.heard = self.asked = None  # when something arrived last; when the other side was asked for an answer
        # Input.
        self.hello = None
        self.peer_goodbye = self.ended = False
        self.in_topics = {}
        self.in_names = set()
        self.in_pool, self.in_attachments = Window(limits.pool_bytes), Window(limits.attachments)
        self.in_calls = {}              # calls by the other side: the stream of this side's replies
        self.due = [0, 0]               # pool bytes that belong to no stream any more, and attachments of the channel
        self.lent, self.most_attachments = limits.attachments, max(most_attachments, limits.attachments)
        self.want_until = limits.attachments
        self.pong_due = False
        # Output.
        self.peer = BASE                # what the other side accepts
        self.out_topics = {}
        self.out_pool, self.out_attachments = Share(BASE.pool_bytes), Share(BASE.attachments)
        self.want = 0                   # up to where the other side was asked to grant attachments, modulo 2^32
        self.ping_wanted = False
        self.out_calls = {}             # calls by this side: the stream of the other side's replies
        self.out_resets = []            # calls to send RESET for
        self.out = collections.deque()  # (bytearray, fds): frames that are ready to be written
        self.rest = b""                 # of a frame that is half written
        self.waiting = collections.deque()  # streams that wait for credit, in the order of their arrival
        self.goodbye_wanted = self.goodbye_made = False
        self.turn = 0
        if say_hello:
            self.raw(encode_hello(limits, features=self.features))

    # Input

    def feed(self, data, group=None):
        """Processes what one read has returned. Returns False if there is or was a breach."""
        if self.breach or self.ended:
            close_fds(group.fds if group else [])
            return False
        try:
            if self.peer_goodbye and (data or group and group.fds):
                close_fds(group.fds if group else [])
                raise Breach("goodbye", "something follows it")
            for frame in self.parser.feed(data, group):
                self.deadline = None
                try:
                    require(not self.peer_goodbye, "goodbye", "a frame follows it")
                    self.frame(frame)
                except BaseException:
                    close_fds(frame.attachments)
                    raise
            require(not self.peer_goodbye or not self.parser.incomplete, "goodbye", "something follows it")
        except Breach as breach:
            self.fail(breach)
            return False
        return True

    def close_unfinished(self):
        """Called when the channel has ended. Closes descriptors that nobody has claimed, and those
        of incomplete messages."""
        self.parser.close()
        for stream in list(self.in_topics.values()) + list(self.out_calls.values()):
            if stream.message:
                stream.message.close()
                stream.message = None

    def fail(self, breach):
        self.breach = breach
        self.close_unfinished()

    @property
    def holds_descriptors(self):
        """True if there are unclaimed descriptors, or descriptors of an incomplete message."""
        return self.parser.holds_descriptors or any(
            s.message and s.message.attachments for s in list(self.in_topics.values()) + list(self.out_calls.values()))

    def starved(self, now):
        """Called when a read has found nothing."""
        holds = self.holds_descriptors
        if self.deadline is None and (self.parser.incomplete or holds):
            self.deadline = now + (min(self.hold_timeout, self.frame_timeout) if holds else self.frame_timeout)

    def tick(self, now):
        if self.deadline is not None and now >= self.deadline and not self.breach:
            self.fail(Breach("timeout"))
        if self.heard is None:
            self.heard = now
        if not self.idle_timeout or self.breach or self.ended or self.peer_goodbye:
            return
        if self.asked is not None and self.asked <= self.heard:
            self.asked = None
        if self.asked is None and now - self.heard >= self.idle_timeout / 2:
            self.asked = now
            self.ping()
        elif self.asked is not None and now - self.asked >= self.idle_timeout / 2:
            self.ended = True
            self.close_unfinished()
            self.events.append(("end", "silence"))

    def end_of_stream(self):
        self.close_unfinished()
        if not self.breach and not self.ended:
            self.ended = True
            self.events.append(("end", "orderly" if self.peer_goodbye else "crash"))

    def charge_carried(self, carried, lost):
        """Called when a carrier has arrived: from now on, what it carries uses the descriptor
        table."""
        self.in_attachments.used += carried
        require(self.in_attachments.room >= 0, "credit", "carried: %r" % self.in_attachments)
        self.due[1] += lost

    def frame(self, frame):
        require((frame.kind == HELLO) == (self.hello is None), "first")
        handlers = {
            HELLO: self.on_hello, OPEN: self.on_open, DATA: self.on_data, REPLY: self.on_reply,
            CREDIT: self.on_credit, CLOSE: self.on_close, RESET: self.on_reset, GOODBYE: self.on_goodbye,
            WANT: self.on_want, RETURN: self.on_return, PING: self.on_ping,
        }
        handlers[frame.kind](frame)

    def on_hello(self, frame):
        self.hello = decode_hello(frame.payload)
        new = self.hello.limits
        for topic in self.out_topics.values():
            topic.bytes.grant(new.topic_bytes - BASE.topic_bytes)
            topic.attachments.grant(new.topic_attachments - BASE.topic_attachments)
        self.out_pool.grant(new.pool_bytes - BASE.pool_bytes)
        self.out_attachments.grant(new.attachments - BASE.attachments)
        self.peer = new
        self.events.append(("hello", self.hello))

    def on_open(self, frame):
        may_open = 1 <= frame.id <= self.limits.topics and frame.id not in self.in_topics
        require(may_open, "topic-id", "it may not be opened")
        name = frame.payload
        require(1 <= len(name) <= 255 and 0 not in name and name not in self.in_names, "name")
        topic = Stream(frame.id, 0, self.limits.topic_bytes, self.limits.topic_attachments)
        topic.name = name
        self.in_topics[frame.id] = topic
        self.in_names.add(name)
        self.events.append(("open", frame.id, name))

    def on_data(self, frame):
        topic = self.in_topics.get(frame.id)
        require(topic, "topic-id", "not open")
        require(topic.state != "closed", "closed")
        if topic.message is None and not frame.flags & ABORT and frame.argument:
            require(frame.argument <= self.limits.calls and frame.argument not in self.in_calls, "call-id")
        message = self.assemble(topic, frame, frame.argument)
        if frame.flags & ABORT:
            if frame.argument:
                self.in_calls[frame.argument].state = "waiting"
                self.reply_error(frame.argument, DROPPED)
            self.events.append(("abort", frame.id, frame.argument))
            self.settle(message)
            self.give_back(message, topic.state == "open")
        elif message is None:
            if frame.argument and frame.argument not in self.in_calls:
                call = Stream(0, frame.argument, BASE.topic_bytes, BASE.topic_attachments)
                self.in_calls[frame.argument] = call
                call.state = "asking"
        else:
            if message.call:
                call = self.in_calls.get(message.call)
                if call is None:
                    call = Stream(0, message.call, BASE.topic_bytes, BASE.topic_attachments)
                    self.in_calls[message.call] = call
                call.state = "waiting"
            if topic.state == "reset":
                message.close()
                self.settle(message)
                self.give_back(message, False)
                if message.call:
                    self.reply_error(message.call, CLOSED)
                self.events.append(("discard", frame.id))
            else:
                topic.queue.append(message)
                self.events.append(("message", message))

    def on_reply(self, frame):
        call = self.out_calls.get(frame.argument)
        require(call and call.state != "asking", "call-id", "a reply to no call")
        message = self.assemble(call, frame, frame.argument)
        wanted = call.state == "waiting"
        if frame.flags & ABORT:
            self.events.append(("abort-reply", frame.argument))
            self.settle(message)
            self.give_back(message, wanted)
        elif message:
            if message.end:
                del self.out_calls[frame.argument]
                call.state = "ended"
                self.due[0] += call.due[2]
            if message.error:
                message.code, = struct.unpack_from(">I", message.payload)
                del message.payload[:4]
            if wanted:
                self.events.append(("reply", message))
            else:
                message.close()
                self.settle(message)
                self.give_back(message, False)
                self.events.append(("discard-reply", frame.argument))

    def assemble(self, stream, frame, argument):
        """Adds a frame to a message. Returns the message if it is now complete or aborted, and None
        otherwise."""
        message, payload = stream.message, frame.payload
        if frame.flags & ABORT:
            require(not frame.claimed, "claim", "ABORT claims none")
            require(message and message.call == argument, "fragment", "nothing to abort")
            message.close()
            stream.message = None
            return message
        if message:
            require(not frame.claimed, "claim", "not on the first frame")
            require(not frame.flags & (SIZED | END | ERROR) and message.call == argument, "fragment")
            require(payload, "fragment", "nothing")
        else:
            require(bool(frame.flags & SIZED) or not frame.flags & MORE, "fragment", "MORE without SIZED")
            total, overdraft = len(payload), 0
            if frame.flags & SIZED:
                total, overdraft = struct.unpack_from(">II", payload)
                payload = payload[8:]
                require(frame.flags & MORE or overdraft, "fragment", "SIZED for nothing")
                require(payload or not frame.flags & MORE, "fragment", "MORE, and nothing")
            require(total <= self.limits.message_bytes, "message-size", "more than accepted")
            require(not frame.flags & ERROR or total >= 4, "payload", "no code")
            require(frame.claimed <= self.limits.message_attachments, "attachments", "more than accepted")
            message = Message(frame.kind, frame.id, argument, total, overdraft, frame.attachments, frame.flags)
            self.charge(stream, message)
            frame.attachments = []
            stream.message = message
        left = message.total - len(message.payload) - len(payload)
        require(left > 0 if frame.flags & MORE else left == 0, "message-size", "not as announced")
        message.payload += payload
        if frame.flags & MORE:
            return None
        stream.message = None
        return message

    def charge(self, stream, message):
        """Charges a message that begins to arrive, and checks that there was credit."""
        cost, n = message.cost, len(message.attachments)
        try:
            is_charged = message.overdraft < cost or cost == message.overdraft == 0
            require(is_charged, "credit", "nothing charged to the topic")
            message.stream = stream
            message.charged = [cost - message.overdraft, n]
            stream.bytes.used += cost - message.overdraft
            stream.attachments.used += n
            self.in_pool.used += message.overdraft
            for window in stream.bytes, stream.attachments, self.in_pool:
                require(window.room >= 0, "credit", window)
        except Breach:
            message.attachments = []    # they still belong to the frame
            raise

    def on_credit(self, frame):
        size, n = struct.unpack(">II", frame.payload)
        overdraft = frame.flags & OVERDRAFT
        require(size or n, "grant", "of nothing")
        require(not frame.id or not frame.argument, "unused", "argument")
        require(not overdraft or not n and (frame.id or frame.argument), "unused", "OVERDRAFT")
        stream = None
        if frame.id:
            stream = self.out_topics.get(frame.id)
            require(stream, "topic-id")
            require(stream.state != "reset", "closed")
        elif frame.argument:
            require(frame.argument <= self.limits.calls, "call-id")
            stream = self.in_calls.get(frame.argument)
        if overdraft:
            self.out_pool.grant(size)
            self.let_go(stream, POOL, size)
        elif stream:
            stream.bytes.grant(size)
            stream.attachments.grant(n)
            self.let_go(stream, ATTACHMENTS, n)
        elif not frame.argument:
            self.out_pool.grant(size)
            self.out_pool.unowned -= size
            self.out_attachments.grant(n)
        self.events.append(("overdraft", frame.id, frame.argument, size) if overdraft else
                           ("credit", frame.id, frame.argument, size, n))

    def on_want(self, frame):
        self.want_until = frame.argument
        self.lend()
        self.events.append(("want", frame.argument))

    def on_return(self, frame):
        n = frame.argument
        require(0 < n <= self.in_attachments.room, "grant", "more is given back than there is")
        self.in_attachments.granted -= n
        self.lent -= n
        self.want_until = self.in_attachments.granted
        self.events.append(("return", n))

    def on_ping(self, frame):
        asks = frame.argument == ASKS
        if asks and self.features & ANSWERS:
            self.pong_due = True
        self.events.append(("ping", "ask" if asks else "answer"))

    def on_close(self, frame):
        topic = self.in_topics.get(frame.id)
        require(topic, "topic-id")
        require(topic.state != "closed", "closed")
        require(not topic.message, "fragment", "CLOSE within a message")
        self.in_names.discard(topic.name)
        if topic.state == "reset":
            del self.in_topics[frame.id]
        else:
            topic.state = "closed"
        self.events.append(("closed", frame.id))
        self.answer_close(topic)

    def answer_close(self, topic):
        if topic.state == "closed" and not topic.queue and topic.control is None:
            topic.control = DONE

    def on_reset(self, frame):
        if not frame.id:
            require(1 <= frame.argument <= self.limits.calls, "call-id")
            if frame.argument in self.in_calls:
                self.events.append(("reset-call", frame.argument))
            return
        topic = self.out_topics.get(frame.id)
        require(topic, "reset", "not open")
        require(topic.state != "reset", "reset", "once more")
        reason = frame.argument if frame.argument <= REFUSED else UNWANTED
        if topic.state == "open":
            require(reason != DONE, "reset", "done before CLOSE")
            topic.state = "reset"
            self.drop_queue(topic)
        else:
            self.forget(self.out_topics.pop(frame.id))
        self.events.append(("reset", frame.id, reason))

    def on_goodbye(self, _):
        for stream in list(self.in_topics.values()) + list(self.out_calls.values()):
            require(not stream.message, "goodbye", "a message is unfinished")
        self.peer_goodbye = True
        self.events.append(("goodbye",))

    # Returning credit

    def take(self, message, descriptors=True):
        """Called when a message has been taken, with its descriptors unless settle() is called
        later. Its credit is due."""
        stream = message.stream
        if descriptors:
            self.settle(message)
        if message.kind == DATA:
            stream.queue.remove(message)
            self.give_back(message, stream.state == "open")
            self.answer_close(stream)
        else:
            self.give_back(message, stream.state == "waiting")

    def settle(self, message):
        """Called when the program has taken the message's descriptors, or they have been closed, so
        that the channel may hold others."""
        self.due[1] += message.unsettled
        message.unsettled = 0

    def give_back(self, message, window):
        stream = message.stream
        if window:
            stream.due[0] += message.charged[0]
            stream.due[1] += message.charged[1]
            stream.due[2] += message.overdraft
        else:
            self.due[0] += message.overdraft

    @property
    def wanted(self):
        """How many more attachments the other side needs."""
        return max(0, signed(self.want_until - self.in_attachments.granted))

    def lend(self):
        """Lends the other side what it needs, as far as there is something to lend."""
        n = min(self.wanted - self.due[1], self.most_attachments - self.lent)
        if n > 0:
            self.lent += n
            self.due[1] += n

    def may_withhold(self, stream):
        """True if everything that is due to a stream may be withheld (section 7)."""
        call = stream.argument
        window = BASE if call else self.limits
        spare = 0 if call else min(window.topic_attachments // 2, window.topic_attachments - window.message_attachments)
        most = 0 if self.wanted else spare
        return (self.lazy and 2 * stream.due[0] < window.topic_bytes and stream.due[1] <= most
                and not stream.due[2])

    def make_credit(self):
        """Writes the credit that is due, unless it is withheld."""
        if self.withhold:
            return
        streams = [(t.id, 0, t) for t in self.in_topics.values()] + [(0, c, s) for c, s in self.out_calls.items()]
        for id, call, stream in streams:
            if stream.control is not None or stream.state == "reset" or call in self.out_resets:
                self.due[0] += stream.due[2]
                stream.due = [0, 0, 0]
            elif any(stream.due) and not self.may_withhold(stream):
                size, n, overdraft = stream.due
                stream.due = [0, 0, 0]
                if size or n:
                    self.grant(id, call, size, n)
                if overdraft:
                    self.grant(id, call, overdraft, 0, True)
        if self.due[0] or self.due[1] > (self.lent // 8 if self.lazy and not self.wanted else 0):
            size, n = self.due
            self.due = [0, 0]
            self.grant(0, 0, size, n)

    def grant(self, id, call, size, n, overdraft=False):
        """Grants credit, whether or not it is due."""
        stream = self.in_topics[id] if id else self.out_calls[call] if call else None
        shared = overdraft or not stream
        (self.in_pool if shared else stream.bytes).grant(size)
        (self.in_attachments if shared else stream.attachments).grant(n)
        self.raw(encode(CREDIT, OVERDRAFT if overdraft else 0, id, call, struct.pack(">II", size, n)))

    # Sending

    def raw(self, frame, fds=()):
        """Queues a frame as it is. `fds` are those that it claims. They belong to the caller until
        they have been written."""
        self.out.append((bytearray(frame), list(fds)))

    def open(self, name):
        """Opens a topic. Returns its id, or None if the other side accepts no more topics."""
        used = {topic.name for topic in self.out_topics.values() if topic.state != "closed"}
        assert name not in used
        id = next((i for i in range(1, self.peer.topics + 1) if i not in self.out_topics), None)
        if id is not None:
            topic = Stream(id, 0, self.peer.topic_bytes, self.peer.topic_attachments)
            topic.name = name
            self.out_topics[id] = topic
            self.raw(encode(OPEN, 0, id, 0, name))
        return id

    def send(self, id, payload, fds=(), call=0):
        """Queues a message. Its descriptors belong to the caller, but are used until `out` is
        empty."""
        topic = self.out_topics[id]
        if topic.state == "reset":
            return False
        assert topic.state == "open" and not topic.closing and not self.goodbye_wanted
        assert len(payload) <= self.peer.message_bytes and len(fds) <= self.peer.message_attachments
        message = Message(DATA, id, call, len(payload), 0, fds)
        message.payload = bytes(payload)
        if call:
            assert call <= self.peer.calls and call not in self.out_calls
            self.out_calls[call] = stream = Stream(0, call, BASE.topic_bytes, BASE.topic_attachments)
            stream.state = "asking"
        topic.queue.append(message)
        return True

    def reply(self, call, payload, fds=(), end=False):
        stream = self.in_calls[call]
        assert not stream.ended
        stream.ended = end
        message = Message(REPLY, 0, call, len(payload), 0, fds, END if end else 0)
        message.payload = bytes(payload)
        stream.queue.append(message)

    def reply_error(self, call, code, payload=b""):
        stream = self.in_calls[call]
        assert not stream.ended
        stream.ended = True
        message = Message(REPLY, 0, call, 4 + len(payload), 0, (), END | ERROR)
        message.payload = struct.pack(">I", code) + payload
        stream.queue.append(message)

    def close(self, id):
        """Sends CLOSE after everything that is queued."""
        topic = self.out_topics[id]
        topic.closing = True
        self.close_if_empty(topic)

    def close_if_empty(self, topic):
        if topic.closing and topic.state == "open" and not topic.queue:
            self.raw(encode(CLOSE, 0, topic.id))
            topic.state = "closed"

    def reset(self, id, reason=UNWANTED):
        """Sends RESET for a topic of the other side, and drops the messages that are queued."""
        topic = self.in_topics[id]
        for message in list(topic.queue):
            topic.queue.remove(message)
            message.close()
            self.settle(message)
            self.give_back(message, False)
            if message.call:
                self.reply_error(message.call, CLOSED)
        topic.control = reason if topic.state == "open" else DONE

    def reset_call(self, call):
        self.out_resets.append(call)

    def goodbye(self):
        self.goodbye_wanted = True

    def ping(self):
        """Sends a PING if the other side answers them."""
        self.ping_wanted = bool(self.hello and self.hello.features & ANSWERS)

    def give_back_unused(self):
        """Returns lent attachments of the channel that nobody here is waiting for. Returns True if
        there were any."""
        n = self.out_attachments.room
        if not self.hello or not self.hello.features & LENDS or n <= 0 or self.waiting or self.goodbye_wanted:
            return False
        self.out_attachments.granted -= n
        self.want = self.out_attachments.granted % (1 << 32)
        self.raw(encode(RETURN, 0, 0, n))
        return True

    def drop_queue(self, stream):
        """Drops what an owner cannot send. A message that has been begun is aborted."""
        for message in stream.queue:
            if not message.begun:
                self.out_calls.pop(message.call, None)
        begun = bool(stream.queue) and stream.queue[0].begun
        while len(stream.queue) > int(begun):
            stream.queue.pop()
        if begun:
            self.abort(stream)
        if stream in self.waiting:
            self.waiting.remove(stream)

    def abort(self, stream):
        """Aborts the message that was begun on a stream."""
        message = stream.queue.popleft()
        assert message.begun
        self.raw(encode(message.kind, ABORT, message.id, message.call))
        if message.kind == DATA:
            self.sent(stream, message)
        elif message.end:
            stream.ended = False

    def pump(self, most=1 << 20):
        """Makes frames from what is queued, as far as there is credit, until about `most` bytes are
        ready."""
        if self.goodbye_made:
            return
        self.lend()
        self.make_credit()
        if self.ping_wanted:
            self.raw(encode(PING, 0, 0, ASKS))
        if self.pong_due:
            self.raw(encode(PING, 0, 0, ANSWER))
        self.ping_wanted = self.pong_due = False
        for topic in list(self.in_topics.values()):
            if topic.control is not None:
                self.raw(encode(RESET, 0, topic.id, topic.control))
                topic.control = None
                if topic.state == "closed":
                    del self.in_topics[topic.id]
                else:
                    topic.state = "reset"
        while self.out_resets:
            call = self.out_resets.pop(0)
            if call in self.out_calls:
                self.raw(encode(RESET, 0, 0, call))
                if self.out_calls[call].state == "waiting":
                    self.out_calls[call].state = "reset"
        size = sum(len(frame) for frame, _ in self.out)
        while size < most:
            streams = [s for s in list(self.out_topics.values()) + list(self.in_calls.values()) if s.queue]
            made = False
            for i in range(len(streams)):
                stream = streams[(self.turn + i) % len(streams)]
                n = self.one_frame(stream)
                size += n
                made = made or n > 0
                if size >= most:
                    break
            self.turn += 1
            if not made:
                break
        for topic in list(self.out_topics.values()):
            if topic.state == "reset":
                self.raw(encode(CLOSE, 0, topic.id))
                self.forget(self.out_topics.pop(topic.id))
            else:
                self.close_if_empty(topic)
        streams = list(self.out_topics.values()) + list(self.in_calls.values())
        if self.goodbye_wanted and not any(s.queue for s in streams):
            self.raw(encode(GOODBYE))
            self.goodbye_made = True

    def one_frame(self, stream):
        """Makes the next frame of a stream, if there is credit. Returns its size, or 0."""
        message = stream.queue[0]
        flags, prefix, claimed = 0, b"", []
        first = not message.begun
        if first and not self.begin(stream, message):
            return 0
        most = self.rng.randint(1, self.fragment) if self.fragment < BODY_MAX else BODY_MAX
        if first:
            claimed = message.attachments
            flags |= (END if message.end else 0) | (ERROR if message.error else 0)
            if message.overdraft or message.total > most:
                flags |= SIZED
                prefix = struct.pack(">II", message.total, message.overdraft)
                most = max(most - len(prefix), 5)
        part = message.payload[message.at:message.at + most]
        message.begun = True
        message.at += len(part)
        if message.at < message.total:
            flags |= MORE
        elif first and not message.overdraft:
            flags, prefix = flags & ~SIZED, b""
        self.raw(encode(message.kind, flags, message.id, message.call, prefix + part, len(claimed)), claimed)
        if not flags & MORE:
            stream.queue.popleft()
            self.sent(stream, message)
        return HEADER + len(part)

    def sent(self, stream, message):
        """Called when the last frame of a message, or its ABORT, has been made."""
        if message.kind == REPLY and message.end:
            self.forget(self.in_calls.pop(message.call))
        elif message.kind == DATA and message.call:
            self.out_calls[message.call].state = "waiting"

    def begin(self, stream, message):
        """Charges a message at its first frame. Returns False if it has to wait."""
        cost, n = message.cost, len(message.attachments)
        if n and self.hello is None:
            return False        # no attachments are sent before HELLO has arrived
        if not cost:
            return True
        if not self.may_go(stream, cost, n):
            if stream not in self.waiting:
                self.waiting.append(stream)
            return False
        if stream in self.waiting:
            self.waiting.remove(stream)
        message.overdraft = max(0, cost - stream.bytes.room)
        stream.bytes.used += cost - message.overdraft
        stream.attachments.used += n
        for i, share, some in (POOL, self.out_pool, message.overdraft), (ATTACHMENTS, self.out_attachments, n):
            share.used += some
            share.held += some
            stream.holds[i] += some
        return True

    def may_go(self, stream, cost, n):
        """Returns whether there is credit, by the rules for a fair sender. Otherwise notes for
        which shares the stream keeps its turn, and asks for attachments."""
        stream.turns = set()
        room = stream.bytes.room
        if room <= 0 or stream.attachments.room < n:
            return False
        taken = set()           # the turns of earlier streams
        for other in self.waiting:
            if other is stream:
                break
            taken |= other.turns
        free = True
        for i, share, some in (POOL, self.out_pool, max(0, cost - room)), (ATTACHMENTS, self.out_attachments, n):
            if share.lets(stream.holds[i], some, i not in taken):
                continue
            free = False
            if not stream.holds[i] and (i == ATTACHMENTS or some <= share.total):
                stream.turns.add(i)
            if i == ATTACHMENTS:
                self.want_attachments(share, share.needed(stream.holds[i], some) - share.room)
        return free

    def want_attachments(self, share, short):
        """Sends WANT if attachments are missing, unless an earlier WANT has not been granted
        yet."""
        if short > 0 and signed(self.want - share.granted) <= 0:
            self.want = (share.granted + 4 * short) % (1 << 32)
            self.raw(encode(WANT, 0, 0, self.want))

    def let_go(self, stream, i, n):
        """Called for credit that was returned. It may be more than the stream holds."""
        if stream:
            n = min(n, stream.holds[i])
            stream.holds[i] -= n
            (self.out_pool, self.out_attachments)[i].held -= n

    def forget(self, stream):
        """Called when a topic or call is over. What its messages hold of the pool will be returned
        for no stream."""
        self.out_pool.unowned += stream.holds[POOL]
        for i in POOL, ATTACHMENTS:
            self.let_go(stream, i, stream.holds[i])
        if stream in self.waiting:
            self.waiting.remove(stream)

    # Output

    def batch(self, most=256 << 10, ahead=False):
        """Returns the bytes and descriptors for the next sendmsg(), or (b"", []). With `ahead`, the
        first frame carries descriptors even if only a later one claims them. Otherwise plain frames
        without descriptors are sent first."""
        if self.rest:
            return self.rest, []
        frames, fds, size = [], [], 0
        for frame, claimed in self.out:
            plain = not fds and frames and (not ahead or frames[0][4] == HELLO)
            if frames and (size + len(frame) > most or len(fds) + len(claimed) > CARRIED_MAX or plain and claimed):
                break
            frames.append(frame)
            fds += claimed
            size += len(frame)
        if frames:
            set_carried(frames[0], len(fds))    # also 0, because a failed attempt may have set another number
        self.batched = len(frames)
        return b"".join(frames), fds

    def wrote(self, n):
        """Called when the kernel has taken `n` > 0 bytes of the last batch(), and its
        descriptors."""
        if not self.rest:
            self.rest = b"".join(self.out.popleft()[0] for _ in range(self.batched))
        self.rest = self.rest[n:]

    @property
    def idle(self):
        """True if nothing is left to be written."""
        return not self.out and not self.rest


class Channel:
    """A Session on a socket. step() does what can be done now. run() continues until a condition is
    true, or fails at its deadline."""

    def __init__(self, sock, limits=BASE, rng=None, auto_take=True, ragged=False, give_back=True, **options):
        self.sock = sock
        sock.setblocking(False)
        self.rng = rng or random.Random(1)
        self.session = Session(limits, self.rng, **options)
        self.auto_take = auto_take
        self.ragged = ragged            # reads and writes of odd sizes
        self.give_back = give_back      # returns lent attachments that are not used
        self.moved_at = 0.0             # when something was read or written last
        self.most = 1 << 20             # about how many bytes are made ready in one step
        self.eof = self.broken = False  # nothing more to read; writing is not possible any more
        self.messages = []              # received and not fetched yet
        self.log = []                   # all other events
        self.reads = self.writes = 0

    def close(self):
        self.session.parser.close()
        for message in self.messages:
            message.close()
        self.messages = []
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def step(self):
        """Reads and writes what is possible now. Returns True if anything was."""
        session = self.session
        moved = False
        session.tick(time.monotonic())
        self.collect()
        for _ in range(64):
            if not self.eof and not session.breach and self.read():
                moved = True
            else:
                break
        session.pump(self.most)
        if self.give_back and session.idle and time.monotonic() - self.moved_at > 0.02:
            session.give_back_unused()
        for _ in range(64):
            if not self.broken and not session.breach and self.write():
                moved = True
            else:
                break
        if moved:
            self.moved_at = time.monotonic()
        return moved

    def read(self):
        size = self.rng.choice((1, 7, 16, 100, 5000, 70000)) if self.ragged else 256 << 10
        try:
            data, group, _ = read_group(self.sock, size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self.session.starved(time.monotonic())
            return False
        except ConnectionResetError:
            self.broken = True      # only once; then what is left can be read
            return True
        self.reads += 1
        self.session.heard = time.monotonic()
        if not data:
            close_fds(group.fds)
            self.eof = True
            self.session.end_of_stream()
        else:
            self.session.feed(data, group)
        self.collect()
        return True

    def collect(self):
        """Collects the events."""
        while self.session.events:
            event = self.session.events.popleft()
            if event[0] in ("message", "reply"):
                self.messages.append(event[1])
                if self.auto_take:
                    self.session.take(event[1])
            else:
                self.log.append(event)

    def write(self):
        most = self.rng.choice((1, 100, 3000, 100000)) if self.ragged else 256 << 10
        data, fds = self.session.batch(most, self.ragged and self.rng.random() < 0.5)
        if not data:
            return False
        if self.ragged and self.rng.random() < 0.3:
            data = data[:self.rng.randint(1, len(data))]
        try:
            n = self.sock.sendmsg([data], rights(fds), socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            self.broken = True
            return False
        self.writes += 1
        self.session.wrote(n)
        return True

    def run(self, until, seconds=30):
        """Steps until `until(self)` is true. Raises a breach by the other side, unless `until` is
        true first."""
        end = time.monotonic() + seconds
        while not until(self):
            if self.session.breach:
                raise self.session.breach
            if self.step():
                continue
            if until(self):
                break
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("deadline; log %r" % self.log[-5:])
            if self.eof or self.session.ended:
                raise EOFError("the stream ended; log %r" % self.log[-5:])
            events = select.POLLIN | (0 if self.session.idle or self.broken else select.POLLOUT)
            poll = select.poll()
            poll.register(self.sock, events)
            poll.poll(min(left, 0.5) * 1000)
        return self

    def flush(self, seconds=30):
        self.run(lambda c: c.session.idle and not any(s.queue for s in c.session.out_topics.values()), seconds)

    def receive(self, seconds=30, where=lambda m: True):
        """Returns the next message for which `where` is true."""
        self.run(lambda c: any(where(m) for m in c.messages), seconds)
        message = next(m for m in self.messages if where(m))
        self.messages.remove(message)
        return message

    def wait_event(self, kind, seconds=30, where=lambda e: True):
        """Removes the next event of a kind from the log and returns it."""
        def found(channel):
            return next((e for e in channel.log if e[0] == kind and where(e)), None)
        self.run(found, seconds)
        event = found(self)
        self.log.remove(event)
        return event
