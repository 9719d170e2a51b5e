/* SPDX-License-Identifier: MIT */
/*
 * beam-demo [FOLDER]               runs both processes, with a socket in a private folder
 * beam-demo --receive SOCKET       runs only the receiver
 * beam-demo --send SOCKET [FOLDER] runs only the sender
 */
#include "demo.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char default_folder[] = "/usr/share/doc";

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof address.sun_path)
		must(-ENAMETOOLONG, path);
	memcpy(address.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must_sys(fd, "socket");
	must_sys(bind(fd, (struct sockaddr *)&address, sizeof address), path);
	must_sys(listen(fd, 1), path);
	return fd;
}

/* Only one connection is expected, so the socket's file is removed after it has been accepted. */
static int accept_one(int listener, const char *path)
{
	struct sockaddr_un from;
	socklen_t size = sizeof from;
	int fd = accept4(listener, (struct sockaddr *)&from, &size, SOCK_CLOEXEC);

	must_sys(fd, "accept");
	close(listener);
	unlink(path);
	return fd;
}

static int both(const char *folder)
{
	const char *temporary = getenv("TMPDIR");
	char private[64], path[sizeof private + sizeof "/socket"];
	struct tree tree;
	int status = 0;

	tree_walk(&tree, folder);
	snprintf(private, sizeof private, "%s/beam-demo.XXXXXX", temporary ? temporary : "/tmp");
	must_sys(mkdtemp(private) ? 0 : -1, private);
	snprintf(path, sizeof path, "%s/socket", private);
	int listener = listen_at(path);
	fflush(stdout); /* else the child would print it once more */
	pid_t sender = fork();
	must_sys(sender, "fork");
	if (sender == 0) {
		close(listener);
		exit(demo_send(path, &tree));
	}
	printf("Process %d sends the files to process %d through one channel, over the Unix socket %s.\n", (int)sender,
	       (int)getpid(), path);
	plans_describe();
	puts("Both processes count what they send or receive, add up checksums, and compare them at the end.\n");
	fflush(stdout);
	int fd = accept_one(listener, path);
	rmdir(private);
	int code = demo_receive(fd);
	waitpid(sender, &status, 0);
	tree_free(&tree);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		code = 1;
	puts(code ? "FAILED" : "Both processes agree: all counts and checksums are equal.");
	return code;
}

static int send_folder(const char *path, const char *folder)
{
	struct tree tree;

	tree_walk(&tree, folder);
	int code = demo_send(path, &tree);
	tree_free(&tree);
	return code;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--receive") == 0)
		return demo_receive(accept_one(listen_at(argv[2]), argv[2]));
	if (argc >= 3 && argc <= 4 && strcmp(argv[1], "--send") == 0)
		return send_folder(argv[2], argc == 4 ? argv[3] : default_folder);
	if (argc <= 2 && (argc == 1 || argv[1][0] != '-'))
		return both(argc == 2 ? argv[1] : default_folder);
	fprintf(stderr,
		"usage: beam-demo [FOLDER]                 run both processes\n"
		"       beam-demo --receive SOCKET         run only the receiver, which listens at SOCKET\n"
		"       beam-demo --send SOCKET [FOLDER]   run only the sender, which connects to SOCKET\n"
		"The sender sends all files in FOLDER. Without FOLDER, it sends those in %s.\n",
		default_folder);
	return 2;
}
