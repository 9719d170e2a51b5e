# SPDX-License-Identifier: MIT
"""beam call and beam serve: requests and replies."""

from command import *  # noqa: F403


class Served(Case):
    def serve(self, *command, options=(), **more):
        server = self.start("serve", *options, "s", "t", "--", *command, **more)
        self.until(lambda: os.path.exists(self.path("s")))
        return server

    def shell(self, script, options=(), **more):
        return self.serve("sh", "-c", script, options=options, **more)

    def call(self, *arguments, code=DONE, **more):
        return self.succeed(self.run_beam("call", "s", "t", *arguments, **more), code)

    def read(self, name):
        with open(self.path(name)) as file:
            return file.read()

    def test_what_the_process_prints_is_the_reply(self):
        self.serve("tr", "a-z", "A-Z")
        self.assertEqual(self.call("hello").stdout, b"HELLO")
        self.assertEqual(self.call("hello", "--lines").stdout, b"HELLO\n")
        self.assertEqual(self.call(data=b"one\ntwo\n").stdout, b"ONE\nTWO\n")

    def test_bytes_of_all_kinds_and_sizes_go_there_and_back(self):
        self.serve("cat")
        for size in 0, 1, 65536, (1 << 20) + 1, 5 << 20:
            self.assertEqual(self.call("-", "--raw", data=pattern(size)).stdout, pattern(size))

    def test_the_reply_is_shown_in_each_format(self):
        self.serve("cat")
        self.assertEqual(self.call("a", "--hex").stdout, b"61\n")
        self.assertEqual(self.call("a", "--json").stdout, b'{"topic":"t","size":1,"payload":"a"}\n')

    def test_attachments_are_descriptors_from_3_on_and_no_other_is_open(self):
        for i in range(60):
            with open(self.path("f%d" % i), "w") as file:
                file.write("content %d\n" % i)
        self.shell('i=3; while [ $i -lt 63 ]; do cat /proc/self/fd/$i; i=$((i + 1)); done; ls /proc/$$/fd')
        run = self.call("x", *(word for i in range(60) for word in ("--file", "f%d" % i)))
        reply = run.stdout.decode().splitlines()
        self.assertEqual(reply[:60], ["content %d" % i for i in range(60)])
        self.assertEqual(sorted(map(int, reply[60:])), list(range(63)))

    def test_a_request_for_which_there_are_too_few_descriptors_fails_and_the_next_is_served(self):
        server = self.serve("cat")
        directory = os.open("/", os.O_RDONLY)
        with self.client(server, self.path("s"), 40) as channel:
            topic = channel.session.open(b"t")
            channel.session.send(topic, b"x", [directory] * 30, call=1)
            channel.receive(PATIENCE)
        os.close(directory)
        self.assertIn("Too many open files", server.stderr)
        # Until the descriptors of the first connection are closed, there is no room for a second
        # one.
        self.until(lambda: self.run_beam("call", "s", "t", "x").stdout == b"x")

    def test_more_attachments_than_a_server_with_few_descriptors_takes_are_an_error(self):
        self.serve("cat", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
        run = self.call("x", *["--file", "/"] * 25, code=ERROR)
        self.assertIn("more attachments than the peer accepts", run.stderr)
        self.assertEqual(self.call("x").stdout, b"x")

    def test_the_process_is_told_of_its_request_by_its_environment(self):
        self.shell('echo $BEAM_TOPIC $BEAM_ATTACHMENTS $BEAM_PEER_UID $BEAM_PEER_PID',
                   env={"BEAM_TOPIC": "of another request"})
        run = self.call("x", "--file", "/", "--file", "/dev/null")
        topic, attachments, uid, pid = run.stdout.split()
        self.assertEqual((topic, int(attachments), int(uid)), (b"t", 2, os.getuid()))
        if len(COMMAND) == 1:
            self.assertEqual(int(pid), run.process.pid)

    def test_a_status_other_than_0_fails_the_call_and_the_reply_is_shown_all_the_same(self):
        self.shell('echo "so far"; exit 3')
        run = self.call("x", code=FAILED)
        self.assertEqual((run.stdout, run.stderr), (b"so far\n", "beam: t: failed with code 3\n"))

    def test_a_process_that_a_signal_ends_fails_the_call(self):
        self.shell("kill -SEGV $$")
        self.assertEqual(self.call("x", code=FAILED).stderr, "beam: t: failed with code 139\n")

    def test_a_program_that_is_not_there_fails_the_call(self):
        self.needs_no_checker("a checker has a process that runs no program fail in its own way")
        server = self.serve("no-such-program")
        self.assertEqual(self.call("x", code=FAILED).stderr, "beam: t: failed with code 127\n")
        self.assertEqual(server.stderr, "beam: no-such-program: No such file or directory\n")

    def test_a_process_that_takes_too_long_is_killed_with_what_it_has_started(self):
        server = self.shell("sleep 1000 & echo $! >child; echo $$ >parent; wait", options=("--deadline", "0.3"))
        self.assertEqual(self.call("x", code=FAILED).stderr, "beam: t: failed with code 137\n")
        for name in "child", "parent":
            self.until(lambda: not self.runs(int(self.read(name))))
        self.assertEqual(server.stderr, "beam: sh: the deadline passed\n")

    def test_a_process_that_goes_on_without_its_output_is_killed_too(self):
        self.needs_no_checker("Valgrind 3.19 has no pidfds")
        self.shell("exec >&-; sleep 1000", options=("--deadline", "0.3"))
        self.assertEqual(self.call("x", code=FAILED).stderr, "beam: t: failed with code 137\n")

    @staticmethod
    def runs(pid):
        """True if a process is running, and is not a zombie."""
        try:
            with open("/proc/%d/stat" % pid) as file:
                return file.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def test_more_output_than_the_caller_accepts_fails_the_call_and_kills_the_process(self):
        server = self.serve("cat", "/dev/zero")
        self.assertEqual(self.call("x", "--limit", "1M", code=FAILED).stderr, "beam: t: failed with code 137\n")
        self.assertEqual(server.stderr, "beam: cat: Message too long\n")

    def test_a_message_that_is_no_call_has_the_servers_output(self):
        server = self.serve("cat")
        self.succeed(self.run_beam("send", "s", "t", "no answer wanted"))
        self.until(lambda: server.stdout == b"no answer wanted")

    def test_other_topics_are_refused(self):
        self.serve("cat")
        for _ in range(10):
            run = self.run_beam("call", "s", "other", "x")
            self.assertEqual(run.code, ENDED, run.stderr)
            self.assertEqual(run.stderr, "beam: other: the peer refused the topic\n")

    FLOOD = 'touch running/$$; ls running | wc -l; sleep 0.05; rm running/$$'

    def test_a_flood_of_callers_never_runs_more_processes_than_allowed(self):
        os.mkdir(self.path("running"))
        self.shell(self.FLOOD, options=("--processes", "3"))
        callers = [self.start("call", "s", "t", "x") for _ in range(30)]
        counts = [int(self.succeed(caller).stdout) for caller in callers]
        self.assertLessEqual(max(counts), 3)
        self.assertGreaterEqual(min(counts), 1)

    def test_a_flood_of_requests_from_one_caller_never_runs_more_processes_than_allowed(self):
        os.mkdir(self.path("running"))
        self.shell(self.FLOOD, options=("--processes", "3"))
        with w.Channel(self.connect("s")) as channel:
            channel.run(lambda c: c.session.hello, PATIENCE)
            topic = channel.session.open(b"t")
            for call in range(1, 61):
                channel.session.send(topic, b"x", call=call)
            for _ in range(60):
                self.assertLessEqual(int(channel.receive(PATIENCE).payload), 3)
            self.leave(channel)

    def test_a_caller_that_leaves_leaves_the_server_be(self):
        self.shell("read name; if [ $name = slow ]; then echo >began; sleep 0.2; fi; echo done")
        caller = self.start("call", "s", "t", "slow")
        self.until(lambda: os.path.exists(self.path("began")))
        caller.kill()
        self.assertEqual(self.call("quick").stdout, b"done\n")

    def test_a_process_whose_caller_has_gone_is_told_and_may_go_on(self):
        server = self.shell("trap 'echo >told' TERM; echo >began; while [ ! -e go ]; do sleep 0.02; done; echo >over")
        caller = self.start("call", "s", "t", "x")
        self.until(lambda: os.path.exists(self.path("began")))
        self.assertFalse(os.path.exists(self.path("told")))
        caller.kill()
        self.until(lambda: os.path.exists(self.path("told")))
        open(self.path("go"), "w").close()
        self.until(lambda: os.path.exists(self.path("over")))
        self.assertNotIn("beam", server.stderr)

    def test_a_process_whose_caller_has_gone_ends_with_what_it_has_started(self):
        server = self.shell("sleep 1000 & echo $! >child; echo $$ >parent; wait")
        caller = self.start("call", "s", "t", "x")
        self.until(lambda: os.path.exists(self.path("parent")) and self.read("parent"))
        caller.kill()
        for name in "child", "parent":
            self.until(lambda: not self.runs(int(self.read(name))))
        self.assertEqual(server.stderr, "")

    def test_a_signal_ends_the_server_and_its_processes_and_takes_its_socket_along(self):
        self.needs_no_checker()
        server = self.shell("echo $$ >process; exec sleep 1000")
        caller = self.start("call", "s", "t", "x")
        self.until(lambda: os.path.exists(self.path("process")) and self.read("process"))
        server.process.send_signal(signal.SIGTERM)
        self.succeed(server, -signal.SIGTERM)
        self.until(lambda: not self.runs(int(self.read("process"))))
        self.succeed(caller, ENDED)
        self.assertEqual(os.listdir(self.folder), ["process"])


class Callers(Case):
    """beam call, with the test as the callee."""

    def call(self, accept, *arguments):
        """Starts a caller. Returns it with its channel and the id of its call."""
        caller = self.start("call", "peer", "t", "request", *arguments)
        channel = accept()
        request = channel.receive(PATIENCE)
        self.assertEqual(bytes(request.payload), b"request")
        return caller, channel, request.call

    @staticmethod
    def push(channel):
        """Writes everything that is queued, including replies."""
        channel.run(lambda c: c.session.idle and not any(s.queue for s in c.session.in_calls.values()), PATIENCE)

    def test_several_replies_are_printed_as_they_come(self):
        with self.server() as accept:
            caller, channel, call = self.call(accept, "--lines")
            for i in range(3):
                channel.session.reply(call, b"reply %d" % i, end=i == 2)
                self.push(channel)
                self.until(lambda: len(caller.stdout.splitlines()) == i + 1)
            self.succeed(caller)
            self.assertEqual(caller.stdout, b"reply 0\nreply 1\nreply 2\n")

    def test_attachments_of_replies_are_told_and_saved(self):
        with self.server() as accept, open(self.path("file"), "w+b") as file:
            file.write(b"content")
            file.flush()
            caller, channel, call = self.call(accept, "--json", "--save", "saved")
            channel.session.reply(call, b"look", [file.fileno()], end=True)
            self.push(channel)
            self.succeed(caller)
            attachments = json.loads(caller.stdout)["attachments"]
            self.assertEqual(attachments, [{"type": "file", "size": 7, "saved": "saved/1"}])
        with open(self.path("saved/1"), "rb") as file:
            self.assertEqual(file.read(), b"content")

    def test_how_a_call_ends_is_an_exit_code(self):
        for end, code, text in (
                (lambda channel, call: channel.session.reply_error(call, w.DROPPED), FAILED,
                 "t: the peer did not reply"),
                (lambda channel, call: channel.session.reply_error(call, w.CLOSED), ENDED,
                 "t: the peer refused the topic"),
                (lambda channel, call: channel.session.reply_error(call, 256 + 77), FAILED, "t: failed with code 77"),
                (lambda channel, call: channel.session.goodbye(), ENDED,
                 "t: the peer has closed the topic or the channel"),
                (lambda channel, call: channel.sock.shutdown(socket.SHUT_RDWR), ENDED, "t: the peer died")):
            with self.server() as accept:
                caller, channel, call = self.call(accept)
                end(channel, call)
                channel.step()
                self.succeed(caller, code)
                self.assertEqual(caller.stderr, "beam: %s\n" % text)
            os.unlink(self.path("peer"))

    def test_a_call_that_is_not_answered_ends_at_the_deadline(self):
        with self.server() as accept:
            caller, _, _ = self.call(accept, "--deadline", "0.5")
            self.succeed(caller, DEADLINE)

    def test_without_a_server_a_call_has_the_exit_code_of_that(self):
        self.assertEqual(self.run_beam("call", "none", "t", "x").code, UNREACHABLE)


main()
