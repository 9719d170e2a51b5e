/* SPDX-License-Identifier: MIT */
/* The start of the command, before it opens anything or starts a thread. */
#include "command.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static bool was_closed[STDERR_FILENO + 1];

/*
 * If a standard descriptor is closed, a socket or file of ours could get its number, and what is
 * printed would be written into it. So a descriptor with O_PATH takes its place. That needs no
 * device, and reading and writing fail with EBADF, as before.
 */
static void occupy_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		int opened;

		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* open() returns the lowest free number, which is this one. */
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
 * Passes signals on to the command, and waits for all children, including those that the kernel
 * gives to it, until the command ends.
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
 * Process 1 of a container has no default actions of signals: a signal that would end another
 * process does nothing. And the kernel makes process 1, or a subreaper (prctl(2)), the parent of
 * every process whose own parent has ended. So the command becomes a child, and its parent does
 * nothing but handle signals and children.
 */
static void leave_process_1(void)
{
	int is_subreaper = 0;
	sigset_t all, before;

	prctl(PR_GET_CHILD_SUBREAPER, &is_subreaper);
	if (getpid() != 1 && !is_subreaper)
		return;
	/* If SIGCHLD were ignored, children could not be waited for. */
	signal(SIGCHLD, SIG_DFL);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid_t init = getpid(), command = fork();
	if (command > 0)
		be_init(command, &all);
	if (command < 0) {
		say_error(-errno, "cannot start a child process");
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
