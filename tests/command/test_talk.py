# SPDX-License-Identifier: MIT
"""beam listen and beam connect: messages in both directions at the same time."""

from command import *  # noqa: F403


class Talk(Case):
    def pair(self, *topics, options=()):
        """A server and a client, each with a pipe as standard input."""
        address = "@" + self.folder
        return (self.start("listen", address, *topics, *options, stdin=subprocess.PIPE),
                self.start("connect", "--wait", address, *topics, *options, stdin=subprocess.PIPE))

    def shows(self, running, expected):
        self.until(lambda: running.stdout == expected, "%r; there is %r" % (expected, running.stdout))

    def test_lines_go_both_ways_as_they_come(self):
        server, client = self.pair("chat")
        client.write(b"hello\n")
        self.shows(server, b"hello\n")
        server.write(b"good day\n")
        self.shows(client, b"good day\n")
        client.write(b"bye\n")
        self.shows(server, b"hello\nbye\n")

    def test_it_is_over_when_both_standard_inputs_are(self):
        server, client = self.pair("chat")
        client.write(b"hello\nwithout an end")
        client.process.stdin.close()
        self.shows(server, b"hello\nwithout an end\n")
        server.write(b"still here\n")
        self.shows(client, b"still here\n")
        self.assertIsNone(client.process.poll())
        server.process.stdin.close()
        self.succeed(server)
        self.succeed(client)

    def test_it_is_over_when_the_other_side_has_left(self):
        server, client = self.pair("chat")
        client.write(b"hello\n")
        self.shows(server, b"hello\n")
        client.kill()
        self.succeed(server, ENDED)
        self.assertEqual(server.stderr, "beam: @%s: the peer died\n" % self.folder)

    def test_two_that_have_nothing_to_say_part_at_once(self):
        for topics in (), ("a",), ("a", "b", "c"):
            for _ in range(10):
                server = self.start("listen", "@" + self.folder, *topics)
                client = self.start("connect", "--wait", "@" + self.folder, *topics)
                self.succeed(server)
                self.succeed(client)

    def test_a_goodbye_ends_it_while_standard_input_is_open(self):
        with self.server() as accept:
            client = self.start("connect", "peer", "log", stdin=subprocess.PIPE)
            self.send_from_peer(accept, [b"one", b"two"])
            self.assertEqual(self.succeed(client).stdout, b"one\ntwo\n")

    def test_without_topics_all_are_printed_with_their_names(self):
        with self.server() as accept:
            client = self.start("connect", "peer")
            channel = accept()
            for topic in b"a", b"b", b"stdin":
                channel.session.send(channel.session.open(topic), b"on " + topic)
            channel.flush(PATIENCE)
            self.leave(channel)
            self.succeed(client)
            self.assertEqual(sorted(client.stdout.splitlines()), [b"a: on a", b"b: on b", b"stdin: on stdin"])

    def test_topics_opened_and_closed_for_ever_leave_nothing_behind(self):
        with self.server() as accept:
            client = self.start("connect", "peer", "--raw")
            channel = accept()

            def threads():
                return len(os.listdir("/proc/%d/task" % client.process.pid))

            def memory():
                with open("/proc/%d/statm" % client.process.pid) as file:
                    return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            sizes = []
            for turn in range(300):
                number = channel.session.open(b"topic %d" % turn)
                channel.session.send(number, b".")
                channel.session.close(number)
                channel.flush(PATIENCE)
                self.until(lambda: len(client.stdout) == turn + 1)
                sizes.append(memory())
            self.until(lambda: threads() < 10)
            # Three hundred stacks would take more than a gigabyte.
            self.assertLess(sizes[-1] - sizes[100], 256 << 20)
            self.leave(channel)
            self.succeed(client)

    def test_with_topics_others_are_turned_away_and_standard_input_goes_on_the_first(self):
        with self.server() as accept:
            client = self.start("connect", "peer", "a", "b", stdin=subprocess.PIPE)
            client.write(b"line\n")
            channel = accept()
            message = channel.receive(PATIENCE)
            self.assertEqual(channel.session.in_topics[message.id].name, b"a")
            numbers = {topic: channel.session.open(topic) for topic in (b"a", b"b", b"c")}
            for topic, number in numbers.items():
                channel.session.send(number, b"on " + topic)
            channel.wait_event("reset", PATIENCE, lambda e: e[1] == numbers[b"c"])
            channel.flush(PATIENCE)
            self.leave(channel)
            self.succeed(client)
            self.assertEqual(sorted(client.stdout.splitlines()), [b"a: on a", b"b: on b"])

    def test_lines_of_64_kib_and_more_pass_both_ways_at_once(self):
        lines = b"".join(bytes([97 + i % 26]) * (65536 + i * 7919) + b"\n" for i in range(60))
        names = []
        for name in "a", "b":
            with open(self.path(name), "wb") as file:
                file.write(lines)
            names.append(open(self.path(name), "rb"))
            self.addCleanup(names[-1].close)
        server = self.start("listen", "@" + self.folder, "t", stdin=names[0])
        client = self.start("connect", "--wait", "@" + self.folder, "t", stdin=names[1])
        self.assertEqual(self.succeed(server).stdout, lines)
        self.assertEqual(self.succeed(client).stdout, lines)

    def test_a_server_that_keeps_on_serves_many_at_once_and_survives_each(self):
        server = self.start("listen", "--keep", "s", "log")
        staying = [self.start("connect", "--wait", "s", "log", stdin=subprocess.PIPE) for _ in range(10)]
        for i, client in enumerate(staying):
            client.write(b"from %d\n" % i)
        self.until(lambda: len(server.stdout.splitlines()) == 10)
        staying[0].kill()
        for i in range(20):
            self.succeed(self.run_beam("send", "s", "log", "short %d" % i))
        self.until(lambda: len(server.stdout.splitlines()) == 30)
        self.assertEqual(sorted(server.stdout.splitlines()),
                         sorted([b"from %d" % i for i in range(10)] + [b"short %d" % i for i in range(20)]))
        for client in staying[1:]:
            client.process.stdin.close()
            self.succeed(client)
        self.until(lambda: "the peer died" in server.stderr)
        self.assertIsNone(server.process.poll())


main()
