# SPDX-License-Identifier: MIT
"""How the command ends: exit codes, deadlines, signals, addresses."""

import stat

from command import *  # noqa: F403


class Usage(Case):
    def setUp(self):
        super().setUp()
        self.needs_no_checker("argp ends the program without freeing what it has allocated")

    def test_wrong_usage_is_an_exit_code_of_its_own_and_says_where_help_is(self):
        for arguments in ([], ["juggle"],
                          ["send"], ["send", "address"], ["send", "a", "t", "m", "more"], ["receive", "a"],
                          ["receive", "a", "t", "more"], ["send", "a", ""], ["send", "a", "x" * 256],
                          ["connect", "a", "t", ""], ["connect"],
                          ["receive", "a", "t", "--count", "0"], ["receive", "a", "t", "--count", "-1"],
                          ["receive", "a", "t", "--count", " -1"], ["receive", "a", "t", "--count", "1x"],
                          ["receive", "a", "t", "--limit", "1K"], ["receive", "a", "t", "--limit", "2G"],
                          ["receive", "a", "t", "--limit", "17179869185G"],
                          ["send", "a", "t", "--deadline", "soon"], ["send", "a", "t", "--deadline", "-1"],
                          ["send", "a", "t", "--deadline", "nan"],
                          ["send", "a", "t", "--fd", "x"], ["send", "a", "t", "--fd", "-1"],
                          ["send", "a", "t", "--unknown"],
                          ["send", "a", "t", "m", "--lines"], ["send", "a", "t", "--lines", "--file", "f"],
                          ["serve", "a", "t"], ["serve", "a", "t", "c", "--processes", "0"], ["serve", "a", "", "c"],
                          ["call", "a"],
                          ["listen", "a", "--mode", "800"], ["listen", "a", "--mode", "1777"],
                          ["connect", "a", "--user", "nobody at all"],
                          ["send", "a", "t"] + ["--fd", "0"] * 254,
                          ["help", "juggle"], ["juggle", "--help"], ["help", "send", "more"], ["-x"]):
            with self.subTest(arguments=arguments[:5]):
                run = self.run_beam(*arguments)
                self.assertEqual(run.code, USAGE)
                self.assertIn("--help", run.stderr)
                self.assertEqual(run.stdout, b"")

    def test_help_tells_every_subcommand_and_each_its_options(self):
        overview = self.succeed(self.run_beam("--help")).stdout.decode()
        for command in "listen", "connect", "send", "receive", "call", "serve":
            self.assertIn("\n  %s " % command, overview)
            self.assertIn("--deadline=SECONDS", self.succeed(self.run_beam(command, "--help")).stdout.decode())

    def test_help_is_the_same_in_each_form_and_goes_to_standard_output(self):
        for command in [], ["listen"], ["connect"], ["send"], ["receive"], ["call"], ["serve"]:
            expected = self.succeed(self.run_beam(*command, "--help")).stdout
            self.assertTrue(expected.startswith(b"Usage: %s " % " ".join(["beam", *command]).encode()), expected)
            for form in [*command, "-h"], [*command, "-?"], ["help", *command]:
                run = self.succeed(self.run_beam(*form))
                self.assertEqual((run.stdout, run.stderr), (expected, ""))
        self.assertEqual(self.run_beam("help", "help").stdout, self.run_beam("help").stdout)

    def test_the_version_is_the_librarys(self):
        self.assertRegex(self.succeed(self.run_beam("--version")).stdout, rb"^beam \d+\.\d+\.\d+\n$")


class Addresses(Case):
    def test_without_a_server_there_is_an_exit_code_of_its_own(self):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(self.path("stale"))
        with open(self.path("file"), "w"):
            pass
        for address in "none", "@beam-command-none", "stale", "file", "none/none", "file/none":
            for command in ("send", address, "t", "m"), ("receive", address, "t"), ("connect", address):
                with self.subTest(command=command):
                    run = self.run_beam(*command)
                    self.assertEqual(run.code, UNREACHABLE, run.stderr)
                    self.assertTrue(run.stderr.startswith("beam: %s: " % address))

    def test_an_address_that_is_too_long_is_an_error(self):
        self.assertEqual(self.run_beam("send", "x" * 108, "t", "m").code, ERROR)

    def test_two_servers_on_one_address_are_one_too_many(self):
        for address in self.path("both"), "@" + self.folder:
            first = self.start("receive", "--listen", address, "t")
            self.until(lambda: self.listens(address))
            second = self.run_beam("receive", "--listen", address, "t")
            self.assertEqual(second.code, ERROR)
            self.assertIn("Address already in use", second.stderr)
            self.succeed(self.run_beam("send", address, "t", "still here"))
            self.assertEqual(self.succeed(first).stdout, b"still here")

    def listens(self, address):
        """True if a server listens there, according to the kernel."""
        with open("/proc/net/unix") as sockets:
            return any(line.split()[3] == "00010000" and line.split()[-1] == address for line in list(sockets)[1:])

    def test_the_sockets_file_has_the_permissions_asked_for_and_goes_with_the_server(self):
        for mode in 0o600, 0o666, 0o640:
            server = self.start("receive", "--listen", self.path("s"), "t", "--mode", "%o" % mode)
            self.until(lambda: self.listens(self.path("s")))
            self.assertEqual(stat.S_IMODE(os.stat(self.path("s")).st_mode), mode)
            self.succeed(self.run_beam("send", "s", "t", "m"))
            self.succeed(server)
            self.assertFalse(os.path.exists(self.path("s")))

    def test_a_server_of_another_user_is_not_talked_to(self):
        with self.server():
            run = self.run_beam("send", "peer", "t", "m", "--user", str(os.getuid() + 1))
            self.assertEqual((run.code, run.stderr), (UNREACHABLE, "beam: peer: the server belongs to another user\n"))
            self.succeed(self.run_beam("send", "peer", "t", "m", "--user", str(os.getuid())))

    def test_a_server_that_is_not_there_yet_is_waited_for_if_asked(self):
        sender = self.start("send", "--wait", "later", "t", "m")
        with self.assertRaises(subprocess.TimeoutExpired):
            sender.process.wait(0.1)
        receiver = self.start("receive", "--listen", "later", "t")
        self.succeed(sender)
        self.assertEqual(self.succeed(receiver).stdout, b"m")


class OtherSide(Case):
    def test_a_topic_that_is_refused_is_an_exit_code(self):
        with self.server() as accept:
            reading, writing = os.pipe()
            sender = self.start("send", "peer", "t", "--lines", stdin=reading)
            os.close(reading)
            channel = accept()
            os.write(writing, b"first\n")
            channel.receive(PATIENCE)
            channel.session.reset(1, w.REFUSED)
            channel.flush(PATIENCE)
            channel.wait_event("closed", PATIENCE)      # it knows of the reset
            os.write(writing, b"second\n")
            os.close(writing)
            self.succeed(sender, ENDED)
            self.assertEqual(sender.stderr, "beam: t: the peer refused the topic\n")

    def test_a_server_that_dies_is_an_exit_code_after_what_it_sent(self):
        with self.server() as accept:
            receiver = self.start("receive", "peer", "t")
            channel = accept()
            channel.session.send(channel.session.open(b"t"), b"last words")
            channel.flush(PATIENCE)
            channel.run(lambda c: c.session.hello, PATIENCE)
            channel.close()
            self.succeed(receiver, ENDED)
            self.assertEqual((receiver.stdout, receiver.stderr), (b"last words", "beam: t: the peer died\n"))

    def test_a_breach_is_an_exit_code_and_names_the_rule(self):
        with self.server() as accept:
            receiver = self.start("receive", "peer", "t")
            channel = accept()
            channel.flush(PATIENCE)
            channel.sock.send(w.encode(w.CREDIT, 0, 9, 1, b"\0\0\0\0"))
            self.succeed(receiver, ENDED)
            self.assertRegex(receiver.stderr, r"^beam: t: the peer violated the protocol: \S+")


    def test_a_breach_is_the_same_for_who_sends_calls_and_talks(self):
        for arguments in ["connect", "peer"], ["call", "peer", "t", "x"], ["send", "peer", "t", "-"]:
            with self.subTest(arguments=arguments), self.server() as accept:
                client = self.start(*arguments, stdin=subprocess.PIPE)
                channel = accept()
                channel.flush(PATIENCE)
                channel.sock.send(w.encode(w.CREDIT, 0, 9, 1, b"\0\0\0\0"))
                channel.run(lambda c: c.eof, PATIENCE)     # it has detected the breach
                client.process.stdin.close()
                self.succeed(client, ENDED)
                self.assertIn("the peer violated the protocol: ", client.stderr)
            os.unlink(self.path("peer"))

    def test_a_server_that_closes_or_dies_is_the_same_for_who_sends(self):
        for end, text in ((lambda channel: self.leave(channel), "has closed the topic or the channel"),
                          (lambda channel: channel.close(), "died")):
            with self.server() as accept:
                sender = self.start("send", "peer", "t", "-", stdin=subprocess.PIPE)
                channel = accept()
                channel.run(lambda c: c.session.hello, PATIENCE)
                end(channel)
                sender.process.stdin.close()
                self.succeed(sender, ENDED)
                self.assertEqual(sender.stderr, "beam: t: the peer %s\n" % text)
            os.unlink(self.path("peer"))

    def test_standard_input_that_cannot_be_read_is_an_error_of_its_own(self):
        folder = os.open("/", os.O_RDONLY)
        self.addCleanup(os.close, folder)
        for arguments in (["send", "peer", "t"], ["send", "peer", "t", "--lines"], ["call", "peer", "t"],
                          ["connect", "peer"]):
            with self.subTest(arguments=arguments), self.server():
                run = self.run_beam(*arguments, "--deadline", str(PATIENCE), stdin=folder)
                self.assertEqual((run.code, run.stderr), (ERROR, "beam: standard input: Is a directory\n"))
            os.unlink(self.path("peer"))


class Deadlines(Case):
    def ends_at_its_deadline(self, *arguments, **more):
        run = self.run_beam(*arguments, "--deadline", "0.2", **more)
        self.assertEqual(run.code, DEADLINE, run.stderr)
        self.assertIn("the deadline passed", run.stderr)

    def test_each_wait_ends_at_the_deadline(self):
        self.ends_at_its_deadline("send", "--wait", "none", "t", "m")
        self.ends_at_its_deadline("receive", "--wait", "none", "t")
        self.ends_at_its_deadline("send", "--listen", "s", "t", "m")
        self.ends_at_its_deadline("receive", "--listen", "s", "t")
        self.ends_at_its_deadline("listen", "s", "t")
        self.ends_at_its_deadline("listen", "--keep", "s", "t")
        self.assertEqual(os.listdir(self.folder), [])

    def test_a_server_that_says_nothing_costs_no_more_than_the_deadline(self):
        with self.server():
            self.ends_at_its_deadline("receive", "peer", "t")
            self.ends_at_its_deadline("connect", "peer", "t")
            self.ends_at_its_deadline("send", "peer", "t", "--file", "/")                 # waits for HELLO
            self.ends_at_its_deadline("send", "peer", "t", "-", data=bytes(2 << 20))      # asks for the limit
            self.ends_at_its_deadline("send", "peer", "t", "--lines", data=b"x" * 999 + b"\n" + b"y\n" * 4000)  # credit

    def test_standard_input_that_does_not_come_costs_no_more_than_the_deadline(self):
        reading, writing = os.pipe()
        with self.server():
            for arguments in ("send", "peer", "t"), ("send", "peer", "t", "--lines"), ("connect", "peer", "t"):
                self.ends_at_its_deadline(*arguments, stdin=reading)
        os.close(reading)
        os.close(writing)

    def test_no_time_at_all_is_a_deadline_too(self):
        with self.server():
            self.assertEqual(self.run_beam("receive", "peer", "t", "--deadline", "0").code, DEADLINE)

    def test_the_last_deadline_holds_also_if_it_is_none(self):
        receiver = self.start("receive", "--listen", "@" + self.folder, "t", "--deadline", "0", "--deadline", "inf")
        self.succeed(self.run_beam("send", "--wait", "--deadline", "20", "@" + self.folder, "t", "m"))
        self.succeed(receiver)


class Signals(Case):
    def test_a_signal_ends_a_server_and_takes_its_socket_along(self):
        self.needs_no_checker()
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            for arguments in ("receive", "--listen"), ("listen",), ("listen", "--keep"):
                server = self.start(*arguments, "s", "t")
                self.until(lambda: os.path.exists(self.path("s")))
                server.process.send_signal(number)
                self.succeed(server, -number)
                self.assertEqual(os.listdir(self.folder), [])

    def test_a_signal_that_was_ignored_stays_ignored(self):
        self.needs_no_checker()
        server = self.start("receive", "--listen", "s", "t",
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        self.until(lambda: os.path.exists(self.path("s")))
        server.process.send_signal(signal.SIGINT)
        self.succeed(self.run_beam("send", "s", "t", "m"))
        self.assertEqual(self.succeed(server).stdout, b"m")

    def test_a_signal_ends_who_is_connected(self):
        self.needs_no_checker()
        with self.server() as accept:
            for arguments in ("receive", "peer", "t"), ("connect", "peer", "t"):
                client = self.start(*arguments)
                accept().run(lambda c: c.session.hello, PATIENCE)
                client.process.send_signal(signal.SIGINT)
                self.succeed(client, -signal.SIGINT)

    def closed_output(self, disposition):
        reading, writing = os.pipe()
        os.close(reading)
        with self.server() as accept:
            receiver = self.start("receive", "peer", "log", stdout=writing,
                                  preexec_fn=lambda: signal.signal(signal.SIGPIPE, disposition))
            os.close(writing)
            channel = accept()
            channel.session.send(channel.session.open(b"log"), b"unheard")
            channel.flush(PATIENCE)
            return receiver, receiver.wait()

    def test_closed_standard_output_ends_a_receiver_by_sigpipe_in_silence(self):
        self.needs_no_checker()
        receiver, code = self.closed_output(signal.SIG_DFL)
        self.assertEqual((code, receiver.stderr), (-signal.SIGPIPE, ""))

    def test_closed_standard_output_is_an_error_if_sigpipe_is_ignored(self):
        receiver, code = self.closed_output(signal.SIG_IGN)
        self.assertEqual((code, receiver.stderr), (ERROR, "beam: standard output: Broken pipe\n"))

    def test_a_server_without_standard_output_ends_too(self):
        with open("/dev/full", "wb") as full:
            server = self.start("listen", "--keep", "s", "t", stdout=full)
            self.succeed(self.run_beam("send", "--wait", "s", "t", "m"))
            self.succeed(server, ERROR)
            self.assertEqual(os.listdir(self.folder), [])

    def test_a_full_disk_is_an_error(self):
        with open("/dev/full", "wb") as full, self.server() as accept:
            receiver = self.start("receive", "peer", "log", stdout=full)
            self.send_from_peer(accept, [b"lost"])
            self.succeed(receiver, ERROR)
            self.assertEqual(receiver.stderr, "beam: standard output: No space left on device\n")


main()
