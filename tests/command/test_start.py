# SPDX-License-Identifier: MIT
"""What the command may be started with: closed standard descriptors, ignored or blocked signals,
and being process 1 of a container."""

import contextlib
import fcntl
import itertools
import select
import threading

from command import *  # noqa: F403

#: All sets of standard descriptors, from none to all.
CHOICES = [choice for n in range(4) for choice in itertools.combinations(range(3), n)]


def without(choice):
    """For starting the command with these descriptors closed."""
    return lambda: [os.close(fd) for fd in choice]


def non_blocking_pipe():
    """A pipe whose reader is a file object and whose writer is non-blocking."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    return os.fdopen(reading, "rb"), writing


class StandardDescriptors(Case):
    def setUp(self):
        super().setUp()
        self.needs_no_checker("a checker needs standard descriptors of its own")

    def test_a_receiver_without_standard_output_fails_and_writes_into_no_channel(self):
        for choice in CHOICES:
            with self.subTest(closed=choice), self.server() as accept:
                receiver = self.start("receive", "peer", "log", preexec_fn=without(choice))
                channel = accept()
                number = channel.session.open(b"log")
                channel.session.send(number, b"one")
                channel.session.close(number)
                channel.flush(PATIENCE)
                self.leave(channel)     # any printed bytes in the channel would be a breach
                self.assertEqual(receiver.wait(), ERROR if 1 in choice else DONE)
                self.assertEqual(receiver.stdout, b"" if 1 in choice else b"one")
                if choice == (1,):
                    self.assertEqual(receiver.stderr, "beam: standard output: Bad file descriptor\n")
            os.unlink(self.path("peer"))

    def test_a_sender_needs_no_standard_descriptor_but_the_one_it_reads(self):
        for choice in CHOICES:
            for message in (["hello"], ["-"]):
                with self.subTest(closed=choice, message=message), self.server() as accept:
                    with open(self.path("input"), "w+b") as file:
                        file.write(b"hello")
                        file.seek(0)
                        sender = self.start("send", "peer", "t", *message, stdin=file, preexec_fn=without(choice))
                    channel = accept()
                    if message == ["-"] and 0 in choice:
                        self.succeed(sender, ERROR)
                    else:
                        self.assertEqual(bytes(channel.receive(PATIENCE).payload), b"hello")
                        self.leave(channel)
                        self.succeed(sender)
                os.unlink(self.path("peer"))

    def test_a_server_without_standard_descriptors_serves(self):
        for choice in CHOICES:
            with self.subTest(closed=choice):
                server = self.start("serve", "s", "t", "--", "sh", "-c", "cat; ls /proc/$$/fd",
                                    preexec_fn=without(choice))
                run = self.succeed(self.run_beam("call", "--wait", "s", "t", "-", "--file", "/", data=b"hello\n"))
                self.assertEqual(run.stdout, b"hello\n0\n1\n2\n3\n")
                server.kill()

    def test_a_descriptor_that_was_closed_is_not_attached(self):
        for choice in CHOICES[1:]:
            run = self.run_beam("send", "nowhere", "t", "--fd", str(choice[-1]), preexec_fn=without(choice))
            self.assertEqual(run.code, ERROR)
            if 2 not in choice:
                self.assertEqual(run.stderr, "beam: descriptor %d: Bad file descriptor\n" % choice[-1])

    def test_help_that_is_not_printed_is_an_error(self):
        for arguments in ["--help"], ["send", "--help"], ["--version"]:
            with open("/dev/full", "wb") as full:
                run = self.run_beam(*arguments, stdout=full)
            self.assertEqual((run.code, run.stderr), (ERROR, "beam: standard output: No space left on device\n"))
            run = self.run_beam(*arguments, preexec_fn=without([1]))
            self.assertEqual((run.code, run.stderr), (ERROR, "beam: standard output: Bad file descriptor\n"))


class Streams(Case):
    def send_to(self, receive, messages, **more):
        """Starts a receiver to which these messages are sent."""
        with self.server() as accept:
            receiver = self.start("receive", "peer", "log", *receive, **more)
            channel = accept()
            number = channel.session.open(b"log")
            for message in messages:
                channel.session.send(number, message)
            channel.session.close(number)
            with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
                channel.flush(PATIENCE)
            yield receiver
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.leave(channel)

    def test_a_full_disk_is_an_error_for_messages_of_each_size_and_format(self):
        for size, formats in itertools.product((1, 1 << 20), ([], ["--raw"], ["--hex"], ["--json"])):
            with self.subTest(size=size, formats=formats), open("/dev/full", "wb") as full:
                for receiver in self.send_to(formats, [b"x" * size], stdout=full):
                    pass
                self.succeed(receiver, ERROR)
                self.assertEqual(receiver.stderr, "beam: standard output: No space left on device\n")
            os.unlink(self.path("peer"))

    def test_output_waits_for_a_pipe_that_is_non_blocking(self):
        for deadline in [], ["--deadline", str(PATIENCE)]:
            reader, writing = non_blocking_pipe()
            read = []
            thread = threading.Thread(target=lambda: read.append(reader.read()))
            for receiver in self.send_to(["--raw", *deadline], [pattern(100000)] * 4, stdout=writing):
                self.until(lambda: not select.select([], [writing], [], 0)[1], "a full pipe")
                os.close(writing)
                thread.start()
            thread.join()
            reader.close()
            self.assertEqual(read, [pattern(100000) * 4])
            self.succeed(receiver)
            os.unlink(self.path("peer"))

    @staticmethod
    def readable(file):
        """The number of bytes that can be read."""
        return int.from_bytes(fcntl.ioctl(file, 0x541B, bytes(4)), "little")     # FIONREAD

    def test_messages_on_standard_error_wait_for_a_pipe_that_is_non_blocking(self):
        reader, writing = non_blocking_pipe()
        filled = fcntl.fcntl(writing, 1032)     # F_GETPIPE_SZ
        self.assertEqual(os.write(writing, bytes(filled)), filled)
        run = self.start("send", "none", "t", "m", stderr=writing)
        os.close(writing)
        with self.assertRaises(subprocess.TimeoutExpired):
            run.process.wait(0.2)
        with reader:
            self.assertEqual(reader.read().lstrip(b"\0"), b"beam: none: No such file or directory\n")
        self.succeed(run, UNREACHABLE)

    def test_standard_input_waits_for_a_pipe_that_is_non_blocking(self):
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        receiver = self.start("receive", "--listen", "@" + self.folder, "t")
        sender = self.start("send", "--wait", "@" + self.folder, "t", stdin=reading)
        os.close(reading)
        os.write(writing, b"one ")
        self.until(lambda: self.readable(writing) == 0)
        os.write(writing, b"two\n")
        os.close(writing)
        self.succeed(sender)
        self.assertEqual(self.succeed(receiver).stdout, b"one two\n")

    def test_output_that_nobody_reads_costs_no_more_than_the_deadline(self):
        for blocking in True, False:
            seconds = 0.5
            while self.deadline_of_output(blocking, seconds) != "beam: standard output: the deadline passed\n":
                seconds *= 2    # it had passed before anything was printed
                self.assertLess(seconds, PATIENCE)

    def deadline_of_output(self, blocking, seconds):
        reader, writing = non_blocking_pipe()
        os.set_blocking(writing, blocking)
        for receiver in self.send_to(["--deadline", str(seconds)], [bytes(1 << 20)], stdout=writing):
            os.close(writing)
        self.succeed(receiver, DEADLINE)
        reader.close()
        os.unlink(self.path("peer"))
        return receiver.stderr


class Inherited(Case):
    def ignore(self):
        for number in signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM, signal.SIGCHLD])

    def test_a_process_that_serves_a_request_begins_with_no_signal_ignored_or_blocked(self):
        self.needs_no_checker("a checker has signals of its own")
        self.start("serve", "s", "t", "--", "grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status", preexec_fn=self.ignore)
        run = self.succeed(self.run_beam("call", "--wait", "s", "t", "x"))
        blocked, ignored = (int(line.split()[1], 16) for line in run.stdout.splitlines())
        # Signals 32 and 33 belong to the C library.
        self.assertEqual((blocked, ignored & ~(3 << 31)), (0, 0))

    def test_a_signal_that_was_ignored_leaves_a_server_be(self):
        self.needs_no_checker()
        server = self.start("serve", "s", "t", "--", "cat", preexec_fn=self.ignore)
        self.until(lambda: os.path.exists(self.path("s")))
        for number in signal.SIGHUP, signal.SIGINT, signal.SIGTERM:
            server.process.send_signal(number)
        self.assertEqual(self.succeed(self.run_beam("call", "s", "t", "x")).stdout, b"x")

    def test_every_signal_that_ends_a_server_takes_its_socket_along(self):
        self.needs_no_checker()
        for name in "HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "XCPU", "VTALRM", "PROF", "IO", "PWR":
            number = getattr(signal, "SIG" + name)
            server = self.start("listen", "--keep", "s", "t",
                                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
            self.until(lambda: os.path.exists(self.path("s")))
            server.process.send_signal(number)
            self.succeed(server, -number)
            self.assertEqual(os.listdir(self.folder), [], name)

    def test_a_server_whose_reader_has_gone_takes_its_socket_along(self):
        self.needs_no_checker()
        reading, writing = os.pipe()
        server = self.start("listen", "--keep", "s", "t", stdout=writing)
        os.close(writing)
        os.close(reading)
        self.run_beam("send", "--wait", "s", "t", "m")
        self.succeed(server, -signal.SIGPIPE)
        self.assertEqual(os.listdir(self.folder), [])


class Process1(Case):
    """The command as process 1 of a pid namespace, as in a container. Its processes are observed
    from outside."""

    UNSHARE = ["unshare", "--pid", "--fork", "--kill-child"]

    def setUp(self):
        super().setUp()
        self.needs_no_checker()
        if os.getuid() != 0:
            self.UNSHARE = ["unshare", "--user", "--map-root-user", *self.UNSHARE[1:]]
        probe = subprocess.run([*self.UNSHARE, "true"], stderr=subprocess.PIPE, check=False)
        if probe.returncode != 0:
            self.skipTest("no pid namespace can be made: %s" % probe.stderr.decode().strip())

    def start_as_1(self, *arguments, **more):
        """Starts the command. Returns it, and the pid of process 1."""
        running = self.start(*arguments, under=self.UNSHARE, **more)

        def command():
            """The child of unshare, once it has become the command."""
            for pid in self.children(running.process.pid):
                with open("/proc/%d/cmdline" % pid, "rb") as file:
                    # Before it has a child, it may not handle signals yet.
                    if file.read().split(b"\0")[0] == os.fsencode(COMMAND[0]) and self.children(pid):
                        return pid
        return running, self.until(command, "the command")

    @staticmethod
    def children(pid):
        with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
            return [int(word) for word in file.read().split()]

    def ends(self, number, *arguments, ready=lambda: True, code=None, **more):
        running, pid = self.start_as_1(*arguments, **more)
        self.until(ready)
        os.kill(pid, number)
        # unshare exits as the command did.
        self.succeed(running, 128 + number if code is None else code)
        return running

    def test_a_signal_ends_process_1_with_128_and_its_number(self):
        def is_there():
            return os.path.exists(self.path("s"))
        for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT:
            for arguments in (["serve", "s", "t", "--", "cat"], ["listen", "s"], ["listen", "--keep", "s"],
                              ["receive", "--listen", "s", "t"], ["send", "--listen", "s", "t", "m"]):
                with self.subTest(number=number, arguments=arguments):
                    running = self.ends(number, *arguments, ready=is_there)
                    self.assertEqual((running.stderr, os.listdir(self.folder)), ("", []))

    def test_a_signal_ends_process_1_that_is_a_client(self):
        with self.server() as accept:
            for arguments in ["receive", "peer", "t"], ["connect", "peer"], ["call", "peer", "t", "x"]:
                self.ends(signal.SIGTERM, *arguments,
                          ready=lambda: accept().run(lambda c: c.session.hello, PATIENCE) or True)
        self.ends(signal.SIGTERM, "send", "--wait", "none", "t", "m")

    def test_process_1_ends_with_the_commands_exit_code(self):
        for code, arguments in (DONE, ["--help"]), (UNREACHABLE, ["send", "none", "t", "m"]), (USAGE, ["juggle"]):
            self.assertEqual(self.run_beam(*arguments, under=self.UNSHARE).code, code)

    def test_process_1_whose_reader_has_gone_ends_by_sigpipe(self):
        reading, writing = os.pipe()
        os.close(reading)
        with self.server() as accept:
            receiver = self.start("receive", "peer", "log", under=self.UNSHARE, stdout=writing)
            os.close(writing)
            channel = accept()
            channel.session.send(channel.session.open(b"log"), b"unheard")
            channel.flush(PATIENCE)
            self.succeed(receiver, 128 + signal.SIGPIPE)

    def descendants(self, pid):
        found = self.children(pid)
        return found + [grandchild for child in found for grandchild in self.descendants(child)]

    def test_process_1_reaps_the_orphans_of_the_requests_that_it_serves(self):
        _, pid = self.start_as_1("serve", "s", "t", "--", "sh", "-c", "(sleep 0.1 & sleep 0.05 &) >/dev/null; cat")
        for _ in range(5):
            self.assertEqual(self.succeed(self.run_beam("call", "--wait", "s", "t", "x")).stdout, b"x")
        # Process 1 is left with the command as its only child, which has no children.
        self.until(lambda: len(self.children(pid)) == 1, "the end of the orphans")
        self.assertEqual(self.children(self.children(pid)[0]), [])

    def test_process_1_of_each_kind_reaps_what_it_is_left_with(self):
        under = [*self.UNSHARE, "sh", "-c", '(sleep 0.05 &); sleep 0.05 & exec "$@"', "sh"]
        with self.server() as accept:
            receiver = self.start("receive", "peer", "log", under=under)
            channel = accept()
            channel.run(lambda c: c.session.hello, PATIENCE)
            pid, = self.children(receiver.process.pid)
            self.until(lambda: len(self.children(pid)) == 1, "the end of the orphans")
            self.leave(channel)
            self.succeed(receiver)

    def test_a_subreaper_is_no_other(self):
        import ctypes
        libc = ctypes.CDLL(None)
        server = self.start("serve", "s", "t", "--", "sh", "-c", "(sleep 0.05 &) >/dev/null; cat",
                            preexec_fn=lambda: libc.prctl(36, 1, 0, 0, 0))     # PR_SET_CHILD_SUBREAPER
        self.assertEqual(self.succeed(self.run_beam("call", "--wait", "s", "t", "x")).stdout, b"x")
        self.until(lambda: len(self.children(server.process.pid)) == 1, "the end of the orphan")
        server.process.send_signal(signal.SIGTERM)
        self.succeed(server, 128 + signal.SIGTERM)
        self.assertEqual(os.listdir(self.folder), [])


main()
