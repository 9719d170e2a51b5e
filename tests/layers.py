#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks the includes of src/: a room may include headers of the rooms below it, and none of the
rooms above.

usage: layers.py SOURCE-DIRECTORY

Prints FILE:LINE and the rule for each include that breaks one, and exits with 1 if there is any.
"""

import re
import sys
from pathlib import Path

# From bottom to top: each room with the rooms that it may use besides itself.
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
    # Rooms above the channel use its public headers.
    "select": {"base"},
    "relay": {"base"},
    "listener": {"base", "socket", "channel"},
}
# Rooms above the channel may use only its public header, and this one.
CHANNEL_HEADERS = {"channel/hook.h"}

# The session is a pure state machine, and the frames' codec only converts bytes: no locks, clocks
# or system calls.
IMPURE = {
    "pthread.h", "threads.h", "signal.h", "time.h", "unistd.h", "fcntl.h", "poll.h", "sched.h",
    "sys/socket.h", "sys/un.h", "sys/epoll.h", "sys/eventfd.h", "sys/mman.h", "sys/time.h", "sys/stat.h",
    "sys/syscall.h",
    "base/clock.h", "base/thread.h",
}
PURE_ROOMS = {"wire", "session"}

# base/sys.h, which is allowed for malloc(), includes such headers, so the calls are also searched
# for by name.
IMPURE_CALLS = re.compile(
    r"(?<![\w.>])(?:sys_(?!malloc\b|calloc\b|realloc\b|tsearch\b)\w+|pthread_\w+|clock_\w+|condition_\w+|"
    r"thread_start|(?:send|recv)msg|poll|ppoll|epoll_\w+|read|write|close|shutdown|fcntl|ioctl|dup[23]?|getpid|sleep|usleep|nanosleep)\s*\("
)

# Only the socket room passes descriptors. The seam contains the two system calls.
CMSG = re.compile(r"\b(?:CMSG_\w+|SCM_\w+|struct\s+cmsghdr|msg_control(?:len)?|(?:send|recv)m?msg)\b")

# Only wire and session use frames. The session's headers include wire/frame.h, so its names are
# also searched for.
FRAME_ROOMS = {"wire", "session"}
FRAMES = re.compile(
    r"\b(?:FRAME_\w+|frame_(?:decode|encode|body|payload|padding|message|set_carried)\s*\(|struct\s+frame\b)"
)

# The link runs a connection, without knowing what for.
OWNERS = re.compile(r"\b(?:beam_(?:channel|topic|call|message)\w*|message_queue\w*|inbox\w*|outbox\w*)\b")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]')
COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.S)


def without_comments(text):
    """Removes comments and strings, and keeps the lines."""
    return COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def check_include(room, brackets, header):
    """Returns what is wrong with an include, or None."""
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
