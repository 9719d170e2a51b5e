/* SPDX-License-Identifier: MIT */
/*
 * What the command finds when it starts, before it opens anything or starts a thread.
 */
#include "command.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static bool was_closed[STDERR_FILENO + 1];

/*
 * A standard descriptor that is closed would become a socket or a file of ours, and what is printed
 * would be written into it. A descriptor of O_PATH takes its place, which needs no device: reading
 * and writing it fail with EBADF, as before.
 */
static void occupy_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		int opened;

		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* The lowest number that is free is this one. */
		opened = open("/", O_PATH);
		if (opened != fd)
			_exit(CODE_ERROR);
		was_closed[fd] = true;
	}
}

bool descriptor_was_closed(int fd)
{
	return fd >= STDIN_FILENO && fd <= STDERR_FILENO && was_closed[fd];
}

/*
 * Passes signals on to the command and waits for all children, its own and those that it was
 * given, until the command ends.
 */
static _Noreturn void be_init(pid_t command, const sigset_t *all)
{
	int number, status;
	pid_t ended;

	for (;;) {
		while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
			if (ended == command)
				_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		if (sigwait(all, &number) == 0 && number != SIGCHLD)
			kill(command, number);
	}
}

/*
 * The kernel gives process 1 of a container no default actions: a signal that would end
 * another process does nothing. And it makes process 1, or a subreaper (prctl(2)), the parent
 * of every process whose own parent has ended. So the command becomes a child, and its parent
 * does nothing else but that.
 */
static void leave_process_1(void)
{
	int is_subreaper = 0;
	sigset_t all, before;

	prctl(PR_GET_CHILD_SUBREAPER, &is_subreaper);
	if (getpid() != 1 && !is_subreaper)
		return;
	/* Children of which nobody wants to hear could not be waited for. */
	signal(SIGCHLD, SIG_DFL);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid_t init = getpid(), command = fork();
	if (command > 0)
		be_init(command, &all);
	if (command < 0) {
		say_error(-errno, "process 1");
		exit(CODE_ERROR);
	}
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != init)
		_exit(CODE_ERROR);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

void start_up(void)
{
	occupy_standard_descriptors();
	leave_process_1();
	streams_begin();
}
