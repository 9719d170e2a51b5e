/* SPDX-License-Identifier: MIT */
/*
 * Runs every scenario once for each fault: every call that it makes fails with each error that the
 * call can return, once, and from then on. The program is linked twice: with the seam, and with the
 * library as it is shipped, preceded by preload.c.
 *
 * Each fault is injected in a new process, in which the library has not run before. So
 * initialization is also tested, and a crash or a hang affects a single fault. The process runs the
 * scenario with the fault, and then without it. After that, it must not hold more memory than a
 * process without a fault. BEAM_FAULT=FAULT repeats a single fault, as the message of a failure
 * says.
 */
#include <scenario/ledger.h>
#include <scenario/scenarios.h>
#include <sys/mman.h>

enum { RUN_MS = 10, SHORT_MS = 1, HANG_SECONDS = 30 };

/*
 * The `n`th call of a function (SYS_CALLS: of all functions) fails with error number `choice` of
 * its list. If `n` is 0, none fails. With a `length`, every other read or write transfers at most
 * so many bytes instead. That is no error, and must have no visible effect.
 */
struct fault {
	enum sys_call call;
	unsigned long n;
	unsigned choice;
	enum fault_lasting lasting;
	size_t length;
};

/* What the process reports to its parent. */
static struct report {
	unsigned long calls, calls_of[SYS_CALLS];
	size_t longest;
	bool hit;
	long blocks;
} * report;

static void (*scenario)(void);
static struct fault fault;
/* How many blocks are allocated after two runs without a fault. */
static long baseline;
static unsigned long injected, scenarios, turn;

/* ---- Used by the scenarios ------------------------------------------------------------------- */

bool strict;
static beam_deadline run_until;

beam_deadline soon(void)
{
	beam_deadline least = beam_in_ms(stretch(strict ? LONG_MS : SHORT_MS));

	return strict || least.ns > run_until.ns ? least : run_until;
}

/* Any injected error may be reported, except EINTR. */
bool excused(long long result)
{
	return result != -EINTR && result < 0 && fault_gave((int)-result);
}

/* ---- In a new process ------------------------------------------------------------------------ */

static bool goes_unnoticed(void)
{
	return fault.n == 0 || fault.length || fault.lasting == FAULT_EACH_OTHER ||
	       (fault.lasting == FAULT_ONCE && fault_unnoticed(fault.call, fault.choice));
}

/* The calls that can fail with EINTR. */
static uint64_t interruptible(void)
{
	uint64_t calls = 0;

	for (enum sys_call call = 0; call < SYS_CALLS; call++)
		for (unsigned choice = 0; choice < fault_errors(call); choice++)
			if (fault_error(call, choice) == EINTR)
				calls |= FAULT(call);
	return calls;
}

static void arm(void)
{
	if (fault.length) {
		fault_short(fault.call == SYS_RECVMSG ? fault.length : 0, fault.call == SYS_SENDMSG ? fault.length : 0);
		fault_at(0, 0, FAULT_ONCE);
		return;
	}
	/* The number of epoll_wait() calls is different each time. */
	fault_only(fault.lasting == FAULT_EACH_OTHER ? interruptible()
		   : fault.call == SYS_CALLS         ? FAULT_ALL & ~FAULT(SYS_EPOLL_WAIT)
						     : FAULT(fault.call));
	fault_at(fault.n,
		 fault.lasting == FAULT_EACH_OTHER ? EINTR
		 : fault.call == SYS_CALLS         ? 0
						   : ~(int)fault.choice,
		 fault.lasting);
}

/* No thread of the library is left, except the reaper, and all descriptors are closed. */
static void settle(const struct fd_snapshot *fds)
{
	check_within(10000, !thread_named("beam"));
	check_fds(fds);
}

/*
 * How many blocks are held when the reaper has exited and freed its memory. Returns 0 without
 * preload.c, because blocks that libc caches would be counted, too.
 */
static long held_at_rest(long before)
{
	check_within(10000, !thread_named("beam-reaper"));
	return fault_short ? allocated_blocks() - before : 0;
}

static int play(void *unused)
{
	static struct fd_snapshot fds;
	long before, first_run = 0;

	(void)unused;
	harness_timeout(HANG_SECONDS);
	attached_open();
	fd_snapshot_take(&fds);
	before = allocated_blocks();
	fault_leaked();

	strict = goes_unnoticed();
	run_until = beam_in_ms(stretch(RUN_MS));
	arm();
	scenario();
	report->hit = fault_hit() || fault.length;
	report->calls = fault_calls();
	for (enum sys_call call = 0; call < SYS_CALLS; call++)
		report->calls_of[call] = fault_calls_of(call);
	fault_off();
	if (fault_short) {
		report->longest = fault_longest();
		fault_short(0, 0);
	}
	settle(&fds);
	if (fault.n == 0)
		first_run = held_at_rest(before);

	strict = true;
	fault_at(0, 0, FAULT_ONCE);
	fault_off();
	scenario();
	settle(&fds);
	check(!fault_leaked());
	report->blocks = allocated_blocks() - before;
	if (fault.n == 0)
		check(held_at_rest(before) <= first_run);
	else if (before >= 0)
		check_within(1000, allocated_blocks() - before <= baseline);
	/* Exits normally, so that the library waits for its threads. */
	exit(harness_failures() ? 1 : 0);
}

/* ---- One fault at a time --------------------------------------------------------------------- */

/* The fault, which is printed with every failure. */
static void tell_fault(void)
{
	const char *lasting = fault.lasting == FAULT_ONCE ? "once" : "from then on";

	if (fault.n == 0)
		harness_context("no fault");
	else if (fault.length)
		harness_context("BEAM_FAULT=%d,1,0,0,%zu: every other %s() takes %zu bytes at most", (int)fault.call,
				fault.length, fault_name(fault.call), fault.length);
	else if (fault.lasting == FAULT_EACH_OTHER)
		harness_context("BEAM_FAULT=%d,1,0,%d: every other call interrupted", SYS_CALLS, FAULT_EACH_OTHER);
	else
		harness_context(
		    "BEAM_FAULT=%d,%lu,%u,%d: call %lu of %s(), %s %s", (int)fault.call, fault.n, fault.choice,
		    (int)fault.lasting, fault.n, fault.call == SYS_CALLS ? "all" : fault_name(fault.call),
		    fault.call == SYS_CALLS ? "" : errno_name(fault_error(fault.call, fault.choice)), lasting);
}

static bool play_apart(void)
{
	int status;

	report->hit = false;
	harness_progress();
	tell_fault();
	status = process_wait(process_spawn(play, NULL));
	injected += report->hit;
	if (status != 0)
		fail("%s", status >= 128 ? strsignal(status - 128) : "see above");
	harness_context("%s", "");
	return status == 0;
}

static unsigned long number_of(const char *variable, unsigned long otherwise)
{
	const char *given = getenv(variable);

	return given ? strtoul(given, NULL, 10) : otherwise;
}

/*
 * Only every `step`th fault is injected, starting with the `first`, so that several processes can
 * share the work.
 */
static unsigned long step, first;

static void inject(struct fault next)
{
	if (turn++ % step != first)
		return;
	fault = next;
	play_apart();
}

/*
 * Errors that only ask to repeat the call do not persist, because no real system fails like that.
 * Neither does a full socket, which would report the end of the other side.
 */
static bool can_last(enum sys_call call, int error)
{
	bool transfers = call == SYS_RECVMSG || call == SYS_SENDMSG || call == SYS_WRITE;

	return error != EINTR && error != ECONNABORTED && (error != EAGAIN || !transfers);
}

/* Fails each call of a function with each of its errors. */
static void inject_into(enum sys_call call, unsigned long calls)
{
	for (unsigned long n = 1; n <= calls; n++)
		for (unsigned choice = 0; choice < fault_errors(call); choice++) {
			inject((struct fault){call, n, choice, FAULT_ONCE, 0});
			if (can_last(call, fault_error(call, choice)))
				inject((struct fault){call, n, choice, FAULT_STICKY, 0});
		}
}

/*
 * Tries all lengths at which frames of these scenarios begin or end, and fewer of the greater
 * lengths.
 */
static size_t next_length(size_t length)
{
	return length + (length < 1024 ? 1 : length / 16);
}

static void inject_all(void)
{
	struct report good = *report;

	inject((struct fault){SYS_CALLS, 1, 0, FAULT_EACH_OTHER, 0});
	for (enum sys_call call = 0; call < SYS_CALLS; call++)
		inject_into(call, good.calls_of[call]);
	/*
	 * The tests of the session cut frames everywhere. This tests the same for sockets, which
	 * the seam cannot do.
	 */
	for (size_t length = 1; length < good.longest; length = next_length(length)) {
		inject((struct fault){SYS_RECVMSG, 1, 0, FAULT_ONCE, length});
		inject((struct fault){SYS_SENDMSG, 1, 0, FAULT_ONCE, length});
	}
	for (unsigned long n = 1; n <= good.calls; n++)
		inject((struct fault){SYS_CALLS, n, 0, FAULT_STICKY, 0});
}

static void play_all(void (*run)(void))
{
	const char *given = getenv("BEAM_FAULT");
	int call, lasting;

	scenario = run;
	fault = (struct fault){SYS_CALLS, 0, 0, FAULT_ONCE, 0};
	if (!play_apart())
		return;
	scenarios++;
	baseline = report->blocks;
	if (!given) {
		inject_all();
		return;
	}
	require(sscanf(given, "%d,%lu,%u,%d,%zu", &call, &fault.n, &fault.choice, &lasting, &fault.length) >= 4);
	fault.call = (enum sys_call)call;
	fault.lasting = (enum fault_lasting)lasting;
	play_apart();
}

#define SCENARIO_TEST(name)                                                                                            \
	static void test_##name(void)                                                                                  \
	{                                                                                                              \
		play_all(name);                                                                                        \
	}
SCENARIOS(SCENARIO_TEST)

#define SCENARIO_ENTRY(name) TEST(test_##name),
static const struct test tests[] = {SCENARIOS(SCENARIO_ENTRY)};

int main(int argc, char **argv)
{
	int code;

	step = number_of("BEAM_FAULT_STEP", under_sanitizer() ? 1999 : 397);
	first = number_of("BEAM_FAULT_FIRST", 0);
	report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (report == MAP_FAILED)
		return 2;
	code = harness_main("scenario-faults", tests, sizeof tests / sizeof *tests, argc, argv);
	printf("%lu faults injected in %lu scenarios\n", injected, scenarios);
	return code;
}
