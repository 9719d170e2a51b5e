# SPDX-License-Identifier: MIT
"""beam send and beam receive: what is sent is printed."""

import base64
import contextlib

from command import *  # noqa: F403


class Messages(Case):
    def pass_on(self, send, receive=(), data=None, count=1, **more):
        """Sends with `send`, and returns what `receive` prints."""
        receiver = self.start("receive", "--listen", "@" + self.folder, "t", "--count", str(count), *receive)
        sender = self.run_beam("send", "--wait", "@" + self.folder, "t", *send, data=data, **more)
        self.succeed(sender)
        return self.succeed(receiver)

    def test_what_is_no_terminal_gets_exactly_what_was_sent(self):
        for data in b"hello", b"hello\n", b"", b"\n", b"\0":
            for options in [], ["--raw"]:
                self.assertEqual(self.pass_on(["-"], options, data=data).stdout, data)

    def test_lines_are_printed_with_an_end_that_is_not_doubled(self):
        for data, printed in (b"hello", b"hello\n"), (b"hello\n", b"hello\n"), (b"", b"\n"), (b"\n", b"\n"):
            self.assertEqual(self.pass_on(["-"], ["--lines"], data=data).stdout, printed)

    def test_standard_input_is_one_message_if_there_is_no_other(self):
        self.assertEqual(self.pass_on([], ["--json"], data=b"one\ntwo\n").stdout,
                         b'{"topic":"t","size":8,"payload":"one\\ntwo\\n"}\n')

    def test_bytes_of_all_kinds_and_sizes_arrive_as_they_are(self):
        for size in 0, 1, 65535, 65536, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20:
            with self.subTest(size=size):
                self.assertEqual(self.pass_on(["-"], ["--raw"], data=pattern(size)).stdout, pattern(size))

    def test_a_message_of_the_largest_size_arrives_and_one_byte_more_is_an_error(self):
        self.assertEqual(len(self.pass_on(["-"], ["--raw", "--limit", "2M"], data=bytes(2 << 20)).stdout), 2 << 20)
        receiver = self.start("receive", "--listen", "r", "t", "--limit", "2M")
        sender = self.run_beam("send", "--wait", "r", "t", "-", data=bytes((2 << 20) + 1))
        self.assertEqual(sender.code, ERROR)
        self.assertIn("the peer accepts at most 2097152 bytes in a message", sender.stderr)
        self.succeed(receiver)

    def test_lines_are_messages_of_any_length_and_the_last_may_lack_its_end(self):
        lines = [b"one", b"", b"x" * 65536, b"y" * 65535, bytes(range(1, 10)), b"z" * (3 << 20), b"last"]
        output = self.pass_on(["--lines"], ["--hex"], data=b"\n".join(lines), count=len(lines)).stdout
        self.assertEqual([bytes.fromhex(line.decode()) for line in output.splitlines()], lines)

    def test_lines_longer_than_accepted_are_an_error_after_those_before_them(self):
        receiver = self.start("receive", "--listen", "r", "t", "--limit", "1M", "--lines")
        sender = self.run_beam("send", "--wait", "--lines", "r", "t",
                               data=b"before\n" + b"x" * (1 << 20) + b"x\n" + b"after\n")
        self.assertEqual(sender.code, ERROR)
        self.assertIn("at most 1048576 bytes in a message", sender.stderr)
        self.assertEqual(self.succeed(receiver).stdout, b"before\n")

    def send_too_long(self, hello_first):
        """Sends a line that is too long, read after the peer's HELLO has arrived or before the peer
        has sent it. Returns what the command prints."""
        limits = w.BASE._replace(message_bytes=(1 << 20) + 10, pool_bytes=4 << 20)
        # A line over 1 MiB is sent only after HELLO has arrived.
        first = b"x" * (limits.message_bytes if hello_first else 10)
        server = self.server(limits=limits, say_hello=False, auto_take=False, give_back=False)
        with server as accept, open(self.path("lines"), "w+b") as lines:
            lines.write(first + b"\n" + b"y" * (limits.message_bytes + 1) + b"\n")
            lines.seek(0)
            sender = self.start("send", "--lines", "peer", "log", stdin=lines)
            channel = accept()
            if not hello_first:
                self.assertEqual(bytes(channel.receive(PATIENCE).payload), first)
            channel.session.raw(w.encode_hello(limits))
            if hello_first:
                self.assertEqual(bytes(channel.receive(PATIENCE).payload), first)
            channel.flush(PATIENCE)
            self.assertEqual(sender.wait(), ERROR)
        os.unlink(self.path("peer"))
        return sender.stderr

    def test_too_long_a_line_is_told_alike_whether_hello_has_come_or_not(self):
        for hello_first in (True, False) * 5:
            with self.subTest(hello_first=hello_first):
                message = self.send_too_long(hello_first)
                self.assertIn("the peer accepts at most 1048586 bytes in a message", message)

    def test_a_hundred_thousand_lines_arrive_in_order(self):
        data = b"".join(b"%d\n" % i for i in range(100000))
        self.assertEqual(self.pass_on(["--lines"], ["--lines"], data=data, count=100000).stdout, data)

    def test_each_format_shows_the_payload_in_its_way(self):
        for option, payload, printed in (
                ("--raw", b"a\nb", b"a\nb"),
                ("--hex", b"a\nb\xff", b"610a62ff\n"),
                ("--hex", b"", b"\n"),
                ("--json", "grün".encode(), '{"topic":"t","size":5,"payload":"grün"}\n'.encode()),
                ("--json", b"\0\"\\", b'{"topic":"t","size":3,"payload":"\\u0000\\"\\\\"}\n'),
                ("--json", b"\xff", b'{"topic":"t","size":1,"payload_base64":"/w=="}\n'),
                ("--json", b"\xff\xfe", b'{"topic":"t","size":2,"payload_base64":"//4="}\n'),
                ("--json", b"\xff\xfe\xfd", b'{"topic":"t","size":3,"payload_base64":"//79"}\n')):
            with self.subTest(option=option, payload=payload):
                self.assertEqual(self.pass_on(["-"], [option], data=payload).stdout, printed)

    def test_the_server_may_be_the_one_who_sends(self):
        sender = self.start("send", "--listen", "@" + self.folder, "t", "from the server")
        self.assertEqual(self.run_beam("receive", "--wait", "@" + self.folder, "t").stdout, b"from the server")
        self.succeed(sender)

    def test_receive_ends_when_the_topic_does(self):
        with self.server() as accept:
            receiver = self.start("receive", "peer", "log", "--lines")
            self.send_from_peer(accept, [b"one", b"two", b""])
            self.assertEqual(self.succeed(receiver).stdout, b"one\ntwo\n\n")

    def test_a_count_that_is_not_reached_is_an_exit_code(self):
        with self.server() as accept:
            receiver = self.start("receive", "peer", "log", "--count", "3", "--lines")
            self.send_from_peer(accept, [b"one", b"two"])
            self.succeed(receiver, ENDED)
            self.assertEqual(receiver.stdout, b"one\ntwo\n")
            self.assertIn("received 2 of 3 messages", receiver.stderr)


class Attachments(Case):
    def test_attachments_are_told_with_their_types_and_sizes_in_the_order_of_the_options(self):
        with open(self.path("file"), "wb") as file:
            file.write(bytes(1234))
        memfd = os.memfd_create("shared", os.MFD_ALLOW_SEALING)
        os.write(memfd, bytes(77))
        pipe, pair = os.pipe(), socket.socketpair()
        sources = [memfd, pipe[0], pair[0].fileno()]
        receiver = self.start("receive", "--listen", "@" + self.folder, "t", "--json")
        self.succeed(self.run_beam("send", "--wait", "@" + self.folder, "t", "look", "--file", "file",
                                   "--fd", str(memfd), "--file", ".", "--fd", str(pipe[0]),
                                   "--fd", str(pair[0].fileno()), "--file", "/dev/null", pass_fds=sources))
        self.succeed(receiver)
        self.assertEqual(json.loads(receiver.stdout), {"topic": "t", "size": 4, "payload": "look", "attachments": [
            {"type": "file", "size": 1234}, {"type": "memfd", "size": 77}, {"type": "directory"}, {"type": "pipe"},
            {"type": "socket"}, {"type": "device"}]})
        for fd in (memfd, *pipe):
            os.close(fd)
        for end in pair:
            end.close()

    def test_text_has_a_note_of_each_attachment_on_stderr(self):
        receiver = self.start("receive", "--listen", "@" + self.folder, "t")
        self.succeed(self.run_beam("send", "--wait", "@" + self.folder, "t", "--file", "/dev/null", "--file", "/"))
        self.succeed(receiver)
        self.assertEqual(receiver.stdout, b"")
        self.assertEqual(receiver.stderr, "beam: attachment 1: device\nbeam: attachment 2: directory\n")

    def test_sixty_files_are_saved_and_nothing_is_written_over(self):
        names = []
        for i in range(60):
            names.append(self.path("f%d" % i))
            with open(names[-1], "wb") as file:
                file.write(pattern(i * 10000))
        os.mkdir(self.path("saved"))
        with open(self.path("saved/3"), "wb") as file:
            file.write(b"mine")
        receiver = self.start("receive", "--listen", "@" + self.folder, "t", "--save", "saved")
        files = [word for name in names for word in ("--file", name)]
        self.succeed(self.run_beam("send", "--wait", "@" + self.folder, "t", *files))
        self.succeed(receiver)
        for i, number in enumerate([1, 2] + list(range(4, 62))):
            with open(self.path("saved/%d" % number), "rb") as file:
                self.assertEqual(file.read(), pattern(i * 10000))
        with open(self.path("saved/3"), "rb") as file:
            self.assertEqual(file.read(), b"mine")
        self.assertIn("attachment 60: file, 590000 bytes, saved as saved/61", receiver.stderr)

    def test_a_file_is_saved_from_its_start_and_its_place_is_left_alone(self):
        with open(self.path("file"), "w+b") as file:
            file.write(b"0123456789")
            file.seek(4)
            receiver = self.start("receive", "--listen", "@" + self.folder, "t", "--save", "saved")
            self.succeed(self.run_beam("send", "--wait", "@" + self.folder, "t", "--fd", str(file.fileno()),
                                       pass_fds=[file.fileno()]))
            self.succeed(receiver)
            self.assertEqual(os.lseek(file.fileno(), 0, os.SEEK_CUR), 4)
        with open(self.path("saved/1"), "rb") as file:
            self.assertEqual(file.read(), b"0123456789")

    def test_of_a_pipe_what_comes_until_its_end_is_saved(self):
        reading, writing = os.pipe()
        receiver = self.start("receive", "--listen", "@" + self.folder, "t", "--save", "saved", "--json")
        self.succeed(self.run_beam("send", "--wait", "@" + self.folder, "t", "--fd", str(reading), pass_fds=[reading]))
        os.close(reading)
        for _ in range(100):
            os.write(writing, pattern(10000))
        os.close(writing)
        self.succeed(receiver)
        self.assertEqual(json.loads(receiver.stdout)["attachments"], [{"type": "pipe", "saved": "saved/1"}])
        with open(self.path("saved/1"), "rb") as file:
            self.assertEqual(file.read(), pattern(10000) * 100)

    def test_a_path_that_is_no_utf8_is_told_as_base64(self):
        receiver = self.start("receive", "--listen", "@" + self.folder, "t", "--save", b"saved\xff", "--json")
        self.succeed(self.run_beam("send", "--wait", "@" + self.folder, "t", "--file", os.path.abspath(__file__)))
        self.succeed(receiver)
        attachment = json.loads(receiver.stdout)["attachments"][0]
        self.assertEqual(base64.b64decode(attachment["saved_base64"]), b"saved\xff/1")

    def test_a_pipe_that_never_ends_costs_the_deadline_and_leaves_no_half_file(self):
        reading, writing = os.pipe()
        os.write(writing, b"half")
        receiver = self.start("receive", "--listen", "@" + self.folder, "t", "--save", "saved", "--deadline", "1")
        self.run_beam("send", "--wait", "--deadline", "1", "@" + self.folder, "t", "--fd", str(reading),
                      pass_fds=[reading])
        self.succeed(receiver, DEADLINE)
        self.assertEqual(os.listdir(self.path("saved")), [])
        os.close(reading)
        os.close(writing)

    def half_saved(self, *options, arguments=("receive", "--listen"), **more):
        """Starts a receiver that has saved the first four bytes from a pipe that stays open.
        Returns it, and the writer of the pipe."""
        reading, writing = os.pipe()
        writing = os.fdopen(writing, "wb", 0)
        self.addCleanup(writing.close)
        writing.write(b"half")
        receiver = self.start(*arguments, "s", "t", "--save", "saved", *options, **more)
        how = "--listen" if "--wait" in arguments else "--wait"
        self.start("send", how, "s", "t", "--fd", str(reading), pass_fds=[reading])
        os.close(reading)
        self.until(lambda: self.saved_sizes() == [4], "the first half")
        return receiver, writing

    def saved_sizes(self):
        with contextlib.suppress(FileNotFoundError):
            return [os.stat(self.path("saved/" + name)).st_size for name in os.listdir(self.path("saved"))]

    def test_a_file_has_its_name_only_once_all_of_it_is_there(self):
        receiver, writing = self.half_saved()
        self.assertFalse(os.path.exists(self.path("saved/1")))
        with open(self.path("saved/1"), "wb") as file:
            file.write(b"somebody else's")
        writing.write(b" and half")
        writing.close()
        self.succeed(receiver)
        with open(self.path("saved/1"), "rb") as first, open(self.path("saved/2"), "rb") as second:
            self.assertEqual((first.read(), second.read()), (b"somebody else's", b"half and half"))
        self.assertEqual(sorted(os.listdir(self.path("saved"))), ["1", "2"])

    def test_a_signal_leaves_no_file_that_is_saved_in_part(self):
        self.needs_no_checker()
        self.needs_no_tsan()
        for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1:
            for arguments in (["receive", "--listen"], ["receive", "--wait"], ["connect", "--wait"],
                              ["listen", "--keep"]):
                with self.subTest(number=number, arguments=arguments):
                    receiver, _ = self.half_saved(arguments=arguments,
                                                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))
                    receiver.process.send_signal(number)
                    self.succeed(receiver, -number)
                    self.assertEqual(os.listdir(self.path("saved")), [])

    def test_a_file_that_becomes_too_large_is_an_error_and_leaves_nothing(self):
        with open(self.path("large"), "wb") as file:
            file.truncate(1 << 20)
        receiver = self.start("receive", "--listen", "s", "t", "--save", "saved", "--json",
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19)))
        self.succeed(self.run_beam("send", "--wait", "s", "t", "--file", "large"))
        self.succeed(receiver, ERROR)
        attachments = json.loads(receiver.stdout)["attachments"]
        self.assertEqual(attachments, [{"type": "file", "size": 1 << 20, "error": "File too large"}])
        self.assertEqual(os.listdir(self.path("saved")), [])

    def test_what_can_not_be_saved_is_told_and_is_an_exit_code(self):
        writable = os.open(self.path("w"), os.O_WRONLY | os.O_CREAT)
        receiver = self.start("receive", "--listen", "@" + self.folder, "t", "--save", "saved", "--json")
        self.succeed(self.run_beam("send", "--wait", "@" + self.folder, "t", "--file", "/", "--fd", str(writable),
                                   pass_fds=[writable]))
        os.close(writable)
        self.succeed(receiver, ERROR)
        self.assertEqual([a["error"] for a in json.loads(receiver.stdout)["attachments"]],
                         ["Operation not supported", "Bad file descriptor"])

    def test_an_attachment_for_which_there_was_no_descriptor_is_told_as_lost(self):
        receiver = self.start("receive", "--listen", "@" + self.folder, "t", "--json")
        directory = os.open("/", os.O_RDONLY)
        with self.client(receiver, "\0" + self.folder, 26) as channel:
            topic = channel.session.open(b"t")
            channel.session.send(topic, b"x", [directory] * 30)
            channel.session.close(topic)
            channel.flush(PATIENCE)
        os.close(directory)
        self.succeed(receiver)
        told = json.loads(receiver.stdout)["attachments"]
        self.assertEqual(len(told), 30)
        self.assertIn({"type": "directory"}, told)
        self.assertEqual(told[-1]["type"], "lost")

    def test_more_attachments_than_accepted_are_an_error(self):
        receiver = self.start("receive", "--listen", "@" + self.folder, "t")
        sender = self.run_beam("send", "--wait", "@" + self.folder, "t", *["--file", "/"] * 65)
        self.assertEqual(sender.code, ERROR)
        self.assertIn("more attachments than the peer accepts", sender.stderr)
        self.succeed(receiver)

    def test_a_file_or_descriptor_that_is_not_there_is_an_error_before_anything_is_sent(self):
        for option, value, text in (("--file", "none", "beam: none: No such file or directory\n"),
                                    ("--fd", "99", "beam: descriptor 99: Bad file descriptor\n")):
            sender = self.run_beam("send", "nowhere", "t", option, value)
            self.assertEqual((sender.code, sender.stderr), (ERROR, text))


main()
