/* SPDX-License-Identifier: MIT */
#include "run.h"
#include "calls.h"
#include "idle.h"
#include "util.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONGEST_RUN = 120, CORES_MAX = 64 }; /* LONGEST_RUN is in seconds; a longer run has hung */

const char *const place_names[PLACES] = {"one core", "two cores", "unpinned"};

static const struct work *work;
static const struct peer *peer;

/* ---- Placing ---- */

static int nth_cpu(int n)
{
	cpu_set_t allowed;

	must_sys(sched_getaffinity(0, sizeof allowed, &allowed), "sched_getaffinity");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET((size_t)cpu, &allowed) && n-- == 0)
			return cpu;
	return -1;
}

static void pin(int cpu)
{
	cpu_set_t mine;

	CPU_ZERO(&mine);
	CPU_SET((size_t)cpu, &mine);
	must_sys(sched_setaffinity(0, sizeof mine, &mine), "sched_setaffinity");
}

static void take_place(enum place place, enum side side)
{
	if (place != PLACE_FREE)
		pin(nth_cpu(place == PLACE_SPLIT && side == SIDE_B));
}

/*
 * For an unprivileged user, the kernel limits the descriptors in flight to the sender's limit of
 * open descriptors.
 */
static bool may_have_in_flight(size_t n)
{
	struct rlimit limit;

	return geteuid() == 0 || (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= n);
}

const char *run_impossible(const struct work *w, const struct peer *p, enum place place)
{
	if (place == PLACE_SPLIT && nth_cpu(1) < 0)
		return "there is one core";
	if (w->field != FIELD_ALL && p != &peer_beam && (w->field != FIELD_RAW_AND_BEAM || p != &peer_raw))
		return "the work is not for it";
	if (w->fd && !p->passes_fds)
		return "it passes no descriptors";
	if (w->kind == KIND_ROUND_TRIP && p->one_way)
		return "it only sends one way";
	if (w->threads > 1 && p->one_thread)
		return "its connection belongs to one thread";
	if (p->size_max && w->size > p->size_max)
		return "it sends no messages of this size";
	if (w->fd && w->kind != KIND_ROUND_TRIP && !may_have_in_flight(p->in_flight))
		return "this user may not have so many descriptors in flight";
	return NULL;
}

/* ---- Processes ---- */

/* Forks a child that is killed when its parent ends. */
static pid_t fork_child(void)
{
	pid_t parent = getpid(), child = (pid_t)must_sys(fork(), "fork");

	if (child == 0) {
		must_sys(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
		if (getppid() != parent)
			_exit(1);
	}
	return child;
}

static unsigned start_busy(enum place place, pid_t *ret)
{
	unsigned n = 0;

	for (int cpu; n < CORES_MAX && (place == PLACE_FREE || n <= (unsigned)place) && (cpu = nth_cpu((int)n)) >= 0;
	     n++) {
		ret[n] = fork_child();
		if (ret[n] == 0) {
			pin(cpu);
			for (volatile uint64_t i = 0;; i++)
				;
		}
	}
	return n;
}

/* If a run is interrupted, it ends its processes and removes its folder. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
	interrupted = number;
}

static void catch_interrupts(void (*handler)(int))
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = handler};

	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		must_sys(sigaction(numbers[i], &action, NULL), "sigaction");
}

static bool ended_well(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0) {
		must_sys(errno == EINTR ? 0 : -1, "waitpid");
		if (interrupted)
			kill(child, SIGKILL);
	}
	if (WIFSIGNALED(status) && !interrupted)
		fprintf(stderr, "bench: a process died of signal %d\n", WTERMSIG(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/*
 * No child may end before A has its results. If one does, it has failed, and A would wait forever
 * for its messages.
 */
static void on_child(int number)
{
	(void)number;
	_exit(1);
}

static int ready[2], finished[2]; /* pipes, closed when B listens, and when A has finished */

static void wait_end_of(int fd)
{
	char byte;

	while (read(fd, &byte, 1) != 0)
		;
}

/* Threads may be waiting for messages that never come. They must not see the other process end. */
__attribute__((noreturn)) static void end_idle(enum side side, pid_t other)
{
	int status;

	if (side == SIDE_B)
		for (;;)
			pause();
	must_sys(kill(other, SIGSTOP), "kill");
	must_sys(waitpid(other, &status, WUNTRACED), "waitpid");
	_exit(WIFSTOPPED(status) ? 0 : 1);
}

static void run_side(enum side side, enum place place, pid_t other, uint64_t count, struct outcome *ret)
{
	take_place(place, side);
	if (side == SIDE_B && peer->listen)
		peer->listen();
	close(ready[1]);
	if (side == SIDE_A)
		wait_end_of(ready[0]);
	peer->open(side);
	if (peer->begin_beside)
		peer->begin_beside(side);
	if (work->kind == KIND_IDLE)
		idle_load(work, peer, side, other, (unsigned)count, ret);
	else
		load_run(work, peer, side, count, ret);
	if (peer->end_beside)
		peer->end_beside(side);
	if (side == SIDE_A)
		signal(SIGCHLD, SIG_DFL);
	if (work->kind == KIND_IDLE)
		end_idle(side, other);
	close(finished[1]);
	if (side == SIDE_B)
		wait_end_of(finished[0]);
	peer->close(side);
}

/* Both sides run in new processes, so that nothing of the previous run is left. */
__attribute__((noreturn)) static void run_both(enum place place, uint64_t count, bool calls, const char *folder,
					       struct outcome *ret)
{
	struct settings settings = {
	    .size = work->size, .fds = work->fd, .lanes = work->lanes, .beside = work->beside, .folder = folder};
	pid_t busy[CORES_MAX];
	unsigned n_busy = work->busy ? start_busy(place, busy) : 0;

	alarm(LONGEST_RUN);
	must_sys(pipe2(ready, O_CLOEXEC), "pipe");
	must_sys(pipe2(finished, O_CLOEXEC), "pipe");
	peer->prepare(&settings);
	if (calls)
		calls_begin();
	signal(SIGCHLD, on_child);
	pid_t b = fork_child();
	if (b == 0)
		signal(SIGCHLD, SIG_DFL);
	run_side(b ? SIDE_A : SIDE_B, place, b, count, ret);
	if (b == 0)
		exit(0); /* as programs end, so that the library ends its threads */
	bool well = ended_well(b);
	if (calls)
		ret->calls = calls_end();
	while (n_busy > 0)
		kill(busy[--n_busy], SIGKILL);
	exit(well ? 0 : 1);
}

/* ---- A run ---- */

static void remove_folder(const char *folder)
{
	DIR *directory = opendir(folder);
	struct dirent *entry;

	if (!directory)
		die("%s: %s", folder, strerror(errno));
	while ((entry = readdir(directory)))
		unlinkat(dirfd(directory), entry->d_name, 0);
	closedir(directory);
	must_sys(rmdir(folder), folder);
}

struct outcome run(const struct work *w, const struct peer *p, enum place place, uint64_t count, bool calls)
{
	struct outcome *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0),
		       outcome;
	const char *temporary = getenv("TMPDIR");
	char folder[64];

	if (shared == MAP_FAILED)
		die("no memory");
	snprintf(folder, sizeof folder, "%s/beam-bench-XXXXXX", temporary ? temporary : "/tmp");
	must_sys(mkdtemp(folder) ? 0 : -1, folder);
	work = w;
	peer = p;
	fflush(NULL);
	catch_interrupts(on_interrupt);
	pid_t a = fork_child();
	if (a == 0)
		catch_interrupts(SIG_DFL);
	if (a == 0 && work->kind == KIND_MEMORY)
		memory_run(work, shared);
	if (a == 0)
		run_both(place, count, calls, folder, shared);
	bool well = ended_well(a);
	remove_folder(folder);
	catch_interrupts(SIG_DFL);
	if (interrupted)
		raise(interrupted);
	if (!well)
		die("%s, %s, %s: the run failed", p->name, w->title, place_names[place]);
	outcome = *shared;
	munmap(shared, sizeof *shared);
	return outcome;
}
