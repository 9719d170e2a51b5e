/* SPDX-License-Identifier: MIT */
/* How scenarios are run with faults, and what each run waits for. */
#include <channel/sweep.h>

#include <base/thread.h>
#include <socket/reaper.h>

enum { RUN_MS = 10, SHORT_MS = 1, CHECKED_MS = 60, IN_A_ROW = 4 };

bool strict;

/* Until when the current run may wait, in total. */
static beam_deadline run_until;

beam_deadline soon(void)
{
	beam_deadline least = beam_in_ms(stretch(strict ? LONG_MS : SHORT_MS));

	return least.ns > run_until.ns ? least : run_until;
}

/* Nothing is excused, because all likely errors are documented. */
bool excused(long long result)
{
	(void)result;
	return false;
}

void ledger_settle(void)
{
	check_within(20000, !thread_named("beam"));
	check(reaper_drain(BEAM_FOREVER));
	/*
	 * Valgrind would report a thread that exists at the end of one run and not of another as
	 * lost memory.
	 */
	if (under_valgrind())
		check(thread_end_all(BEAM_FOREVER));
}

/*
 * The reaper's thread stays for a while, with its memory. To start it before each run is quicker
 * than to wait for its end.
 */
static void summon_reaper(void)
{
	int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);

	if (under_valgrind()) {
		close(fd);
		return;
	}
	reaper_close(&fd, 1);
	/*
	 * The reaper has begun, and has freed what it was started with. Otherwise, that memory
	 * could hide as much that the run loses.
	 */
	check(reaper_drain(BEAM_FOREVER));
}

static void run_and_settle(void *argument)
{
	void (*const *scenario)(void) = argument;

	run_until = beam_in_ms(stretch(RUN_MS));
	(*scenario)();
	ledger_settle();
}

static bool checked(void)
{
	return under_valgrind() || under_sanitizer();
}

static unsigned long sweep_as(struct fault_sweep *plan, void (*scenario)(void))
{
	plan->scenario = run_and_settle;
	plan->argument = &scenario;
	plan->prepare = summon_reaper;
	/*
	 * A suite has up to a hundred sweeps. With a checker, each of them tries only some faults.
	 */
	plan->milliseconds = checked() ? CHECKED_MS : 0;
	return fault_sweep_with(plan);
}

unsigned long sweep(void (*scenario)(void))
{
	return sweep_as(&(struct fault_sweep){.only = FAULT_ALL & ~FAULT(SYS_EPOLL_WAIT)}, scenario);
}

unsigned long sweep_error(void (*scenario)(void), uint64_t calls, int error, bool sticky)
{
	return sweep_as(&(struct fault_sweep){.only = calls, .error = error, .once = true, .sticky = sticky}, scenario);
}

static unsigned long sweep_unnoticed_times(void (*scenario)(void), uint64_t calls, int error, unsigned long times)
{
	unsigned long n;

	strict = true;
	n = sweep_as(&(struct fault_sweep){.only = calls, .error = error, .once = true, .times = times}, scenario);
	strict = false;
	return n;
}

unsigned long sweep_unnoticed(void (*scenario)(void), uint64_t calls, int error)
{
	return sweep_unnoticed_times(scenario, calls, error, 1);
}

struct error {
	uint64_t calls;
	int error;
};

unsigned long sweep_passing(void (*scenario)(void))
{
	static const struct error errors[] = {
	    {FAULT(SYS_SENDMSG), EAGAIN},
	    {FAULT(SYS_SENDMSG), EINTR},
	    {FAULT(SYS_SENDMSG), ENOBUFS},
	    {FAULT(SYS_SENDMSG), ENOMEM},
	    {FAULT(SYS_SENDMSG), ETOOMANYREFS},
	    {FAULT(SYS_RECVMSG), EINTR},
	    {FAULT(SYS_RECVMSG), EAGAIN},
	    /*
	     * Returned once, it does not mean that nothing is left: a peer has closed with
	     * something unread.
	     */
	    {FAULT(SYS_RECVMSG), ECONNRESET},
	    {FAULT(SYS_PPOLL), EINTR},
	};
	unsigned long n = 0;

	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		n += sweep_unnoticed(scenario, errors[i].calls, errors[i].error);
	/* Errors that are temporary, but end only after a while, and nothing says when. */
	n += sweep_unnoticed_times(scenario, FAULT(SYS_SENDMSG), ENOBUFS, IN_A_ROW);
	n += sweep_unnoticed_times(scenario, FAULT(SYS_SENDMSG), ETOOMANYREFS, IN_A_ROW);
	n += sweep_unnoticed_times(scenario, FAULT(SYS_SENDMSG), EAGAIN, IN_A_ROW);
	return n;
}

unsigned long sweep_lasting(void (*scenario)(void))
{
	static const struct error errors[] = {
	    {FAULT(SYS_SENDMSG), EPIPE},   {FAULT(SYS_SENDMSG), EAGAIN}, {FAULT(SYS_SENDMSG), ETOOMANYREFS},
	    {FAULT(SYS_SENDMSG), ENOBUFS}, {FAULT(SYS_SENDMSG), ENOMEM}, {FAULT(SYS_RECVMSG), ECONNRESET},
	    {FAULT(SYS_RECVMSG), ENOMEM},  {FAULT(SYS_PPOLL), ENOMEM},   {FAULT_MEMORY, ENOMEM},
	};
	unsigned long n = 0;

	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		n += sweep_error(scenario, errors[i].calls, errors[i].error, true);
	return n;
}

unsigned long at_least(unsigned long n)
{
	return checked() ? (n + 1) / 2 : n;
}
