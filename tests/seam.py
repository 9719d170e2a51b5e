#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks the library's seam: every function of the C library that it uses can be made to fail
(src/base/sys.h), or is known not to.

usage: seam.py LIBRARY SOURCE-DIRECTORY PRELOAD-SOURCE

The library must not import anything else. Functions of the seam are called nowhere else, and
preload.c contains all of them, too.
"""

import re
import subprocess
import sys
from pathlib import Path

# Functions that the seam calls by other names, with the names that the linker sees.
ALIASES = {"aligned_alloc": ["posix_memalign"], "atexit": ["__cxa_atexit"], "pthread_atfork": ["__register_atfork"],
           "fchmodat2": ["syscall"]}

# Functions that are not in the seam, and the reason.
CANNOT_FAIL = {
    "has no failure to tell": """
        __errno_location free memchr memcmp memcpy memmove memset strchr strrchr strcmp strcspn strlen strncmp strnlen
        getenv secure_getenv getpid pthread_self __environ environ tdestroy qsort sched_yield pthread_equal
        __cmsg_nxthdr dl_iterate_phdr""",
    "tells that there is none, or what the text says": "tfind tdelete strtol strtoull",
    "takes a format and a size of ours": "snprintf",
    "fails only for an argument that is wrong": """
        clock_gettime sysconf sigemptyset sigfillset sigdelset pthread_sigmask pthread_setcancelstate timerfd_settime
        pthread_join pthread_mutex_lock pthread_mutex_unlock pthread_cond_wait pthread_cond_timedwait""",
    "needs no memory and no kernel, with our attributes": """
        pthread_mutex_init pthread_mutex_destroy pthread_cond_init pthread_cond_destroy pthread_cond_signal
        pthread_cond_broadcast pthread_condattr_init pthread_condattr_setclock pthread_condattr_destroy
        pthread_attr_init pthread_attr_destroy
        posix_spawn_file_actions_init posix_spawn_file_actions_destroy posix_spawnattr_init posix_spawnattr_setflags
        posix_spawnattr_setsigmask posix_spawnattr_setsigdefault posix_spawnattr_destroy""",
    "there is nothing left to be done about it": "close munmap",
    "a thread with the C library's own stack is as good": "pthread_attr_setstacksize",
    "is there only in a program with TSan": "__tsan_acquire __tsan_release",
    "a thread without a name is as good": "pthread_setname_np",
}
# Functions of the compiler and the linker.
NOT_OURS = re.compile(r"^(_ITM_|__gmon_start__|__cxa_finalize|__stack_chk_fail|__tls_get_addr)")


def seam(header):
    """The functions of the seam."""
    return set(re.findall(r"^static inline [\w ]+?\*?sys_(\w+)\(", header.read_text(), re.M)) - {"fault"}


def imported(library):
    """What the library imports, without versions, and with one name for both widths of offsets."""
    command = ["nm", "-D", "--undefined-only", library]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = {line.split()[-1].partition("@")[0] for line in output.splitlines()}
    return {re.sub("64$", "", name) for name in names if not NOT_OURS.match(name)}


def called(source, names):
    """Calls of these functions that bypass the seam."""
    comment = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.S)
    call = re.compile(r"(?<![\w.>])(" + "|".join(sorted(names)) + r")\s*\(")
    for path in sorted(source.rglob("*.[ch]")):
        if path.match("base/sys.h"):
            continue
        text = comment.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), path.read_text())
        for number, line in enumerate(text.splitlines(), 1):
            for name in call.findall(line):
                yield f"{path}:{number}: {name}() is called, not sys_{name}()"


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    library, source, preload = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]).read_text()
    names = seam(source / "base/sys.h")
    symbols = {symbol for name in names for symbol in ALIASES.get(name, [name])}
    harmless = {name for listed in CANNOT_FAIL.values() for name in listed.split()}
    unknown = imported(library) - symbols - harmless
    not_preloaded = {name for name in symbols if not re.search(rf"\b{name}\(|, {name},\s*\(", preload)}
    wrong = [f"{library}: {name}() is not in the seam, and not known not to fail" for name in unknown]
    wrong += [f"{name}() is in the seam, and said not to fail" for name in symbols & harmless]
    wrong += [f"{sys.argv[3]}: no {name}()" for name in not_preloaded]
    wrong += called(source, names | {"posix_memalign"})
    print("\n".join(sorted(wrong)) if wrong else f"{len(names)} functions")
    sys.exit(1 if wrong or not names else 0)


main()
