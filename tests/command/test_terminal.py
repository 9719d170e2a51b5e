# SPDX-License-Identifier: MIT
"""What is printed on a terminal: nothing from the peer that would control it, and the progress of
long transfers."""

from command import *  # noqa: F403

ESCAPES = b"\x1b[31mred\x1b]0;title\x07 \x9b31m \xc2\x9b31m \r\x08\x7f\x00"
QUOTED = rb"\x1b[31mred\x1b]0;title\x07 \x9b31m \xc2\x9b31m \x0d\x08\x7f\x00"


class Quoting(Case):
    def show(self, payload, *options, topic=b"log", env=None, terminal=True):
        """Prints one message with `connect`, without a topic so that names are shown. Returns the
        output."""
        with self.server() as accept:
            if terminal:
                running, output = self.on_terminal("connect", "peer", *options, env=env)
            else:
                running = self.start("connect", "peer", *options, env=env)
            self.send_from_peer(accept, [payload], topic)
            # A terminal converts line ends.
            shown = output().replace(b"\r\n", b"\n") if terminal else None
            self.succeed(running)
            os.unlink(self.path("peer"))
            return shown if terminal else running.stdout

    def test_a_terminal_gets_what_it_would_obey_quoted(self):
        self.assertEqual(self.show(ESCAPES), b"log: " + QUOTED + b"\n")

    def test_no_byte_reaches_a_terminal_that_it_would_obey(self):
        for byte in set(range(256)) - {10}:
            with self.subTest(byte=byte):
                if byte % 16 == 0:      # several bytes at a time
                    shown = self.show(bytes(range(byte, byte + 16)))
                    self.assertNotRegex(shown.replace(b"\n", b"").replace(b"\t", b""), rb"[\x00-\x1f\x7f]")
                    self.assertNotRegex(shown.decode().replace("\n", "").replace("\t", ""), "[\x80-\x9f]")

    def test_names_of_topics_are_quoted_too_and_keep_to_their_line(self):
        self.assertEqual(self.show(b"hi", topic=b"\x1b[2Jevil\nlog"), rb"\x1b[2Jevil\x0alog: hi" + b"\n")

    def test_what_is_no_terminal_gets_payloads_as_they_are(self):
        self.assertEqual(self.show(ESCAPES, terminal=False), b"log: " + ESCAPES + b"\n")

    def test_text_of_all_scripts_lines_and_tabs_are_shown_as_they_are(self):
        text = "Grüße, \u0395\u03bb, \u4f60\u597d, \U0001f600\n\tnext".encode()
        self.assertEqual(self.show(text), b"log: " + text + b"\n")

    def test_what_turns_text_round_is_quoted(self):
        self.assertEqual(self.show("a\u202eb\u2066c\u2026".encode()),
                         rb"log: a\xe2\x80\xaeb\xe2\x81\xa6c" + "\u2026\n".encode())

    def test_what_only_looks_like_utf8_is_quoted(self):
        for wrong in (b"\xc0\x9b", b"\xe0\x80\x9b", b"\xed\xa0\x80", b"\xf0\x80\x80\x9b", b"\xf4\x90\x80\x80",
                      b"\xe4\xbd", b"\xff"):
            self.assertEqual(self.show(wrong), b"log: " + b"".join(b"\\x%02x" % byte for byte in wrong) + b"\n")

    def test_without_utf8_in_the_locale_nothing_above_ascii_reaches_the_terminal(self):
        self.assertEqual(self.show("ě".encode(), env={"LC_ALL": "C"}), rb"log: \xc4\x9b" + b"\n")

    def test_json_on_a_terminal_is_ascii(self):
        text = "\u009b\u001b\u007f"
        self.assertEqual(json.loads(self.show(text.encode(), "--json"))["payload"], text)
        self.assertNotRegex(self.show(text.encode(), "--json").replace(b"\n", b""), rb"[^\x20-\x7e]")

    def test_raw_is_quoted_on_a_terminal_too(self):
        self.assertEqual(self.show(ESCAPES, "--raw"), QUOTED)


class Lines(Case):
    def test_each_message_on_a_terminal_ends_its_line(self):
        for options, shown in (([], b"one\ntwo\nthree\n"), (["--lines"], b"one\ntwo\nthree\n"),
                               (["--raw"], b"onetwo\nthree")):
            with self.server() as accept:
                receiver, output = self.on_terminal("receive", "peer", "log", *options)
                self.send_from_peer(accept, [b"one", b"two\n", b"three"])
                self.assertEqual(output().replace(b"\r\n", b"\n"), shown)
                self.succeed(receiver)
            os.unlink(self.path("peer"))


class Progress(Case):
    def test_a_long_transfer_shows_progress_on_a_terminal_and_wipes_it_away(self):
        with open(self.path("large"), "wb") as file:
            file.truncate(12 << 20)
        receiver, shown = self.on_terminal("receive", "--listen", "@" + self.folder, "t", "--raw", "--save", "saved",
                                           stream="stderr")
        with open(self.path("large"), "rb") as large:
            sender, sent = self.on_terminal("send", "--wait", "@" + self.folder, "t", "-", "--file", "large",
                                            stdin=large, stream="stderr")
            self.assertRegex(sent(), rb"^\rreading: \d+\.\d MiB of 12\.0, \d+%, \d+\.\d MiB/s.*\r\x1b\[K$")
            self.succeed(sender)
        self.assertRegex(shown(), rb"^\rsaving: \d+\.\d MiB of 12\.0, \d+%, \d+\.\d MiB/s.*\r\x1b\[K"
                                  rb"beam: attachment 1: ")
        self.succeed(receiver)

    LARGE = w.BASE._replace(message_bytes=16 << 20, pool_bytes=32 << 20)

    def test_a_large_message_that_nobody_reads_shows_that_it_is_being_sent(self):
        with open(self.path("large"), "wb") as file:
            file.truncate(8 << 20)
        for command in "send", "call":
            server = self.server(limits=self.LARGE)
            with self.subTest(command=command), server as accept, open(self.path("large"), "rb") as large:
                sender, shown = self.on_terminal(command, "peer", "t", "-", stdin=large, stream="stderr")
                channel = accept()
                channel.run(lambda c: c.session.hello, PATIENCE)
                # The server does not read any more.
                shown(rb"(\rsending: 8\.0 MiB, \d+ s\x1b\[K){3}")
                channel.close()
                self.assertRegex(shown(), rb"\r\x1b\[Kbeam: t: the peer died")
                self.succeed(sender, ENDED)
            os.unlink(self.path("peer"))

    def test_lines_that_nobody_reads_show_a_line_that_moves(self):
        self.needs_no_checker()
        with open(self.path("large"), "wb") as file:
            file.write((b"x" * 65535 + b"\n") * 512)
        receiver = self.start("receive", "--listen", "@" + self.folder, "t", "--raw", stdout=subprocess.PIPE)
        with open(self.path("large"), "rb") as large, receiver.process.stdout as output:
            sender, shown = self.on_terminal("send", "--wait", "@" + self.folder, "t", "--lines", stdin=large,
                                             stream="stderr")
            self.assertEqual(len(output.read(5 << 20)), 5 << 20)
            receiver.process.send_signal(signal.SIGSTOP)
            shown(rb"\rsending: (\d+\.\d MiB), \d+\.\d MiB/s\x1b\[K\rsending: \1, \d+\.\d MiB/s\x1b\[K")
            receiver.kill()
            self.succeed(sender, ENDED)

    def test_of_a_pipe_there_is_no_percentage(self):
        receiver = self.start("receive", "--listen", "@" + self.folder, "t")
        reading, writing = os.pipe()
        sender, sent = self.on_terminal("send", "--wait", "@" + self.folder, "t", "--lines", stdin=reading,
                                        stream="stderr")
        os.close(reading)
        for _ in range(100):
            os.write(writing, (b"x" * 65535) + b"\n")
        os.close(writing)
        shown = sent()
        self.assertRegex(shown, rb"^\rsending: \d+\.\d MiB, \d+\.\d MiB/s\x1b\[K.*\r\x1b\[K$")
        self.assertNotIn(b"%", shown)
        self.succeed(sender)
        self.succeed(receiver)

    def test_a_short_transfer_shows_none(self):
        receiver = self.start("receive", "--listen", "@" + self.folder, "t")
        with open("/dev/zero", "rb") as zero, open(self.path("small"), "wb") as small:
            small.write(zero.read(3 << 20))
        with open(self.path("small"), "rb") as small:
            sender, sent = self.on_terminal("send", "--wait", "@" + self.folder, "t", stdin=small, stream="stderr")
            self.assertEqual(sent(), b"")
            self.succeed(sender)
        self.succeed(receiver)

    def test_without_a_terminal_there_is_none(self):
        receiver = self.start("receive", "--listen", "@" + self.folder, "t", "--save", "saved")
        sender = self.run_beam("send", "--wait", "@" + self.folder, "t", "-", data=bytes(8 << 20))
        self.assertEqual(self.succeed(sender).stderr, "")
        self.assertEqual(self.succeed(receiver).stderr, "")


main()
