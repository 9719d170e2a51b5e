# SPDX-License-Identifier: MIT
"""Completion in bash, tested as bash uses it."""

import re
import shlex

from command import *  # noqa: F403

COMPLETION = os.path.join(HERE, os.pardir, os.pardir, "tools", "beam", "completion.bash")


class Completion(Case):
    def setUp(self):
        super().setUp()
        self.needs_no_checker("argp ends the program without freeing what it has allocated")

    def complete(self, *words):
        """The completions of the last word after `beam`."""
        # The command is found by the name that was typed, as in a shell. A checker is passed along.
        script = "\n".join([
            f"source {shlex.quote(COMPLETION)}",
            f'beam() {{ {shlex.join(COMMAND)} "$@"; }}',
            f"COMP_WORDS=(beam {shlex.join(words)})",
            f"COMP_CWORD={len(words)}",
            "_beam",
            r'printf "%s\n" "${COMPREPLY[@]}"',
        ])
        run = subprocess.run(["bash", "-c", script], cwd=self.folder, stdout=subprocess.PIPE, check=True,
                             timeout=PATIENCE)
        return sorted(run.stdout.decode().split())

    def options(self, *command):
        run = self.succeed(self.run_beam(*command, "--help"))
        return sorted(re.findall(r"^ +(?:-., +)?(--[a-z]+)", run.stdout.decode(), re.M))

    def subcommands(self):
        lines = self.succeed(self.run_beam("--help")).stdout.decode().split("Subcommands:\n")[1].split("\n\n")[0]
        return sorted(line.split()[0] for line in lines.splitlines())

    def test_subcommands_are_offered(self):
        self.assertEqual(self.complete(""), sorted(self.subcommands() + ["--help", "--usage", "--version"]))
        self.assertEqual(self.complete("se"), [name for name in self.subcommands() if name.startswith("se")])
        self.assertEqual(self.complete("help", "se"), self.complete("se"))

    def test_of_each_subcommand_the_options_that_it_has_are_offered(self):
        for command in self.subcommands():
            self.assertEqual(self.complete(command, "--"), self.options(command))
        self.assertEqual(self.complete("send", "--li"), ["--lines", "--listen"])

    def test_files_and_folders_are_offered_where_they_may_stand(self):
        os.mkdir(self.path("folder"))
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(self.path("socket"))
        self.assertEqual(self.complete("send", ""), ["folder", "socket"])
        self.assertEqual(self.complete("send", "s", "t", "--file", "s"), ["socket"])
        self.assertEqual(self.complete("receive", "s", "t", "--save", ""), ["folder"])

    def test_abstract_names_of_servers_are_offered(self):
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as other:
            name = "@beam-completion-%d" % os.getpid()
            server.bind("\0" + name[1:])
            server.listen()
            other.bind("\0" + name[1:] + "-silent")
            self.assertEqual(self.complete("connect", "@beam-completion"), [name])


main()
