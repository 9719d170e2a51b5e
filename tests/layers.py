#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the includes of src/ to the rooms: a room knows the rooms below it, and never one above.

usage: layers.py SOURCE-DIRECTORY

Prints FILE:LINE and the rule for each include that breaks one, and exits 1 if there is any.
"""

import re
import sys
from pathlib import Path

# Bottom to top; each room with the rooms it may know besides itself.
ROOMS = {
    "base": set(),
    "wire": {"base"},
    "socket": {"base"},
    "message": {"base", "wire", "socket"},
    "buffer": {"base", "message"},
    "core": {"base", "wire", "socket", "message"},
    "session": {"base", "wire", "message"},
    "link": {"base", "wire", "socket", "session"},
    "channel": {"base", "wire", "socket", "message", "core", "session", "link"},
    # Those above the channel use it by its public headers.
    "select": {"base"},
    "relay": {"base"},
    "listener": {"base", "socket", "channel"},
}
# Above the channel only its public header is known, and what it keeps ready for rooms above.
CHANNEL_HEADERS = {"channel/hook.h"}

# The session is a pure state machine, and a frame's codec is bytes in, bytes out: no
# lock, clock or system call.
IMPURE = {
    "pthread.h", "threads.h", "signal.h", "time.h", "unistd.h", "fcntl.h", "poll.h", "sched.h",
    "sys/socket.h", "sys/un.h", "sys/epoll.h", "sys/eventfd.h", "sys/mman.h", "sys/time.h", "sys/stat.h",
    "sys/syscall.h",
    "base/clock.h", "base/thread.h",
}
PURE_ROOMS = {"wire", "session"}

# base/sys.h brings such headers along, and is allowed for malloc(); so the calls
# are looked for by name too.
IMPURE_CALLS = re.compile(
    r"(?<![\w.>])(?:sys_(?!malloc\b|calloc\b|realloc\b|tsearch\b)\w+|pthread_\w+|clock_\w+|condition_\w+|"
    r"thread_start|(?:send|recv)msg|poll|ppoll|epoll_\w+|read|write|close|shutdown|fcntl|ioctl|dup[23]?|getpid|sleep|usleep|nanosleep)\s*\("
)

# Only the socket room knows how descriptors travel; the seam has the two calls.
CMSG = re.compile(r"\b(?:CMSG_\w+|SCM_\w+|struct\s+cmsghdr|msg_control(?:len)?|(?:send|recv)m?msg)\b")

# Only wire and session know frames. The session's headers bring wire/frame.h along, so its
# names are looked for too.
FRAME_ROOMS = {"wire", "session"}
FRAMES = re.compile(
    r"\b(?:FRAME_\w+|frame_(?:decode|encode|body|payload|padding|message|set_carried)\s*\(|struct\s+frame\b)"
)

# The link drives a connection, and does not know what for.
OWNERS = re.compile(r"\b(?:beam_(?:channel|topic|call|message)\w*|message_queue\w*|inbox\w*|outbox\w*)\b")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')
COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.S)


def without_comments(text):
    """The text without comments and strings, line by line where it was."""
    return COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def check_include(room, brackets, header):
    """What is wrong with an include, or None."""
    if brackets == '"':
        return "an include by quotes: includes name the room, <room/header.h>"
    if room in PURE_ROOMS and header in IMPURE:
        return f"{room} is pure: no <{header}>"
    if "/" not in header:
        return None
    if header == "wire/frame.h" and room not in FRAME_ROOMS:
        return f"{room} knows no frames: no <{header}>"
    other = header.split("/")[0]
    if other in ROOMS and other != room and other not in ROOMS[room]:
        return f"{room} may not know {other}"
    if other == "channel" and room != "channel" and header not in CHANNEL_HEADERS:
        return f"{room} may not know {header}"
    return None


def check_file(path, room):
    text = path.read_text()
    knows_cmsg = room == "socket" or path.match("base/sys.h")
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            wrong = check_include(room, *match.groups())
            if wrong:
                yield number, wrong
    for number, line in enumerate(without_comments(text).splitlines(), 1):
        if not knows_cmsg and CMSG.search(line):
            yield number, f"only the socket room knows cmsg: {CMSG.search(line).group()}"
        if room not in FRAME_ROOMS and FRAMES.search(line):
            yield number, f"{room} knows no frames: no {FRAMES.search(line).group()}"
        if room == "link" and OWNERS.search(line):
            yield number, f"link knows no channels, topics, calls and queues: no {OWNERS.search(line).group()}"
        if room in PURE_ROOMS and IMPURE_CALLS.search(line):
            yield number, f"{room} is pure: no {IMPURE_CALLS.search(line).group()[:-1].strip()}()"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    source = Path(sys.argv[1])
    files = wrong = 0
    for path in sorted(source.rglob("*.[ch]")):
        room = path.relative_to(source).parts[0]
        if room not in ROOMS:
            print(f"{path}:1: {room} is no room")
            wrong += 1
            continue
        files += 1
        for number, message in check_file(path, room):
            print(f"{path}:{number}: {message}")
            wrong += 1
    print(f"{files} files, {wrong} wrong")
    sys.exit(1 if wrong or not files else 0)


main()
