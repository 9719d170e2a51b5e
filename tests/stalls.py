#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs a command on a machine that stalls now and then: on each CPU a thread with real-time
priority uses all the time for some tenths of a second, again and again, as the host of a virtual
machine may do. The result of a test that fails only here depends on time.

usage, as root: python3 tests/stalls.py [--milliseconds N] COMMAND [ARGUMENT...]
"""

import argparse
import os
import random
import subprocess
import sys
import time


def stall(cpu, seconds):
    """Uses the CPU for about so long, leaves it for as long on average, and never ends."""
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    draw = random.Random()
    while True:
        end = time.monotonic() + seconds * draw.uniform(0.3, 1.3)
        while time.monotonic() < end:
            pass
        time.sleep(seconds * draw.uniform(0, 2))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--milliseconds", type=int, default=150)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if not options.command:
        parser.error("a command is wanted")
    stallers = []
    for cpu in sorted(os.sched_getaffinity(0)):
        pid = os.fork()
        if pid == 0:
            try:
                stall(cpu, options.milliseconds / 1000)
            except PermissionError as error:
                print("stalls: %s" % error, file=sys.stderr)
                os._exit(1)
            except KeyboardInterrupt:
                os._exit(1)
        stallers.append(pid)
    try:
        status = subprocess.call(options.command)
    finally:
        ended = [pid for pid in stallers if os.waitpid(pid, os.WNOHANG) != (0, 0)]
        for pid in set(stallers) - set(ended):
            os.kill(pid, 9)
    # Without the stalls, the command's success proves nothing.
    sys.exit(status if not ended else 1)


if __name__ == "__main__":
    main()
