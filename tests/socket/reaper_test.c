/* SPDX-License-Identifier: MIT */
/*
 * The reaper, with descriptors that close at once: closing, turns, many givers, forks, and the end
 * of the process.
 */
#include <base/thread.h>
#include <harness/fault.h>
#include <sched.h>
#include <socket/reaping.h>

static void need_an_exit_of_a_child(void)
{
	if (under_valgrind())
		skip("the child's exit would be judged by its parent's memory");
}

/* ---- Closing --------------------------------------------------------------------------------- */

static void test_what_is_given_is_closed(void)
{
	int readers[3], fds[5] = {-EMFILE, watched(&readers[0]), -1, watched(&readers[1]), watched(&readers[2])};

	reaper_close(fds, 5);
	check(reaper_drain(BEAM_FOREVER));
	for (int i = 0; i < 3; i++) {
		check(closed(readers[i]));
		close(readers[i]);
	}
}

static void test_what_is_given_for_an_account_is_closed_and_reported(void)
{
	int readers[3], fds[5] = {-EMFILE, watched(&readers[0]), -1, watched(&readers[1]), watched(&readers[2])};
	struct owner owner;

	owner_begin(&owner);
	reaper_close_for(&owner.account, fds, 5);
	owner_end(&owner, 3);
	for (int i = 0; i < 3; i++) {
		check(closed(readers[i]));
		close(readers[i]);
	}
}

static void test_nothing_to_close_is_nothing_to_do(void)
{
	struct owner owner;

	owner_begin(&owner);
	reaper_close(NULL, 0);
	reaper_close((int[]){-1, -EMFILE, -ENOENT}, 3);
	reaper_close_for(&owner.account, (int[]){-1, -EMFILE, -ENOENT}, 3);
	check(reaper_drain(BEAM_NOWAIT));
	owner_end(&owner, 0);
}

static void test_many_descriptors_are_closed_in_many_turns(void)
{
	int fds[300];
	struct owner owner;

	owner_begin(&owner);
	for (size_t turn = 0; turn < scale(50); turn++) {
		for (size_t i = 0; i < 300; i++)
			fds[i] = any_fd();
		reaper_close(fds, 100);
		reaper_close_for(&owner.account, fds + 100, 1);
		reaper_close_for(&owner.account, fds + 101, 199);
		/* As many wait at once as fit into a small descriptor table. */
		if (turn % 2)
			check(reaper_drain(beam_in_ms(stretch(20000))));
	}
	owner_end(&owner, scale(50) * 200);
}

static void test_without_memory_or_thread_it_closes_at_once(void)
{
	static const enum sys_call calls[] = {SYS_REALLOC, SYS_MALLOC, SYS_PTHREAD_CREATE};

	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		for (int for_account = 0; for_account < 2; for_account++) {
			int reader, fd_or_not[2] = {-EMFILE, watched(&reader)};
			struct owner owner;

			owner_begin(&owner);
			/* The reaper's threads have ended, and its memory is gone. */
			check(thread_end_all(BEAM_FOREVER));
			fault_only(FAULT(calls[i]));
			fault_at(1, 0, true);
			if (for_account)
				reaper_close_for(&owner.account, fd_or_not, 2);
			else
				reaper_close(fd_or_not, 2);
			check(fault_hit());
			check(closed(reader));
			check_int(atomic_load(&owner.reported), for_account);
			fault_off();
			close(reader);
			owner_end(&owner, (size_t)for_account);
		}
	}
}

static void close_some(void)
{
	int fds[2][100];
	struct owner owner;

	owner_begin(&owner);
	for (int i = 0; i < 100; i++) {
		fds[0][i] = any_fd();
		fds[1][i] = any_fd();
	}
	reaper_close(fds[0], 100);
	reaper_close_for(&owner.account, fds[1], 100);
	owner_end(&owner, 100);
	check(thread_end_all(BEAM_FOREVER));
}

static void test_whatever_fails_all_is_closed_and_reported(void)
{
	fault_sweep(close_some);
}

static void test_the_threads_end_when_nothing_comes(void)
{
	for (int i = 0; i < 2; i++) {
		close_some();
		/* A thread that has been joined can still be seen for a moment. */
		check_within(WAIT_MS, reapers() == 0);
	}
}

/* ---- Turns ----------------------------------------------------------------------------------- */

static void test_a_flood_is_reported_in_few_calls(void)
{
	enum { MANY = 640 };
	struct lingering lingering;
	struct owner owner;

	owner_begin(&owner);
	lingering = hang(&owner);
	for (int i = 0; i < MANY; i++)
		give_one(&owner, any_fd());
	lingering_end(&lingering, now_ns());
	owner_end(&owner, MANY + 1);
	/* There are more calls than MANY / TURN only where closes take a while. */
	check(atomic_load(&owner.reports) < MANY / 2);
}

static struct owner flooding, modest;
static atomic_size_t before_modest;

static void note_flood(struct reaper_account *account, size_t n)
{
	atomic_store(&before_modest, atomic_load(&flooding.reported));
	on_settled(account, n);
}

/* Called in a thread of the reaper, so that all of it waits before the next turn begins. */
static void flood_and_one(struct reaper_account *account, size_t n)
{
	int fds[10 * TURN];

	for (int i = 0; i < 10 * TURN; i++)
		fds[i] = any_fd();
	reaper_close_for(&flooding.account, fds, 10 * TURN);
	give_one(&modest, fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0));
	on_settled(account, n);
}

static void flood_once(void)
{
	struct owner owner;

	owner_begin(&flooding);
	owner_begin(&modest);
	owner_begin(&owner);
	modest.account.settled = note_flood;
	owner.account.settled = flood_and_one;
	give_one(&owner, any_fd());
	owner_end(&owner, 1);
	owner_end(&modest, 1);
	owner_end(&flooding, 10 * TURN);
}

static void test_a_flood_of_one_account_lets_another_have_its_turn(void)
{
	unsigned tries = 0;

	/* On a busy machine a turn may be noticed late, and the next one may begin beside it. */
	do
		flood_once();
	while (atomic_load(&before_modest) > TURN && ++tries < 100);
	check(tries < 100);
}

/* ---- Many givers ----------------------------------------------------------------------------- */

enum { GIVERS = 4, FLOOD = 100000, OPEN_MAX_IN_FLOOD = 150 };

static atomic_bool enough;

/* There are many such accounts. Each is freed when its last descriptor is reported. */
struct passing {
	struct reaper_account account;
	atomic_size_t left;
	atomic_size_t *closed;
};

static void on_passing_settled(struct reaper_account *account, size_t n)
{
	struct passing *passing = list_entry(account, struct passing, account);
	atomic_size_t *count = passing->closed;

	if (atomic_fetch_sub(&passing->left, n) == n) {
		reaper_account_end(&passing->account);
		free(passing);
	}
	atomic_fetch_add(count, n);
}

static void give_passing(atomic_size_t *count, size_t n)
{
	struct passing *passing = malloc(sizeof *passing);

	require(passing != NULL);
	reaper_account_init(&passing->account, on_passing_settled);
	atomic_init(&passing->left, n);
	passing->closed = count;
	/* The last time, the account may be gone before this returns. */
	for (size_t i = 0; i < n; i++) {
		int fd = any_fd();

		reaper_close_for(&passing->account, &fd, 1);
	}
}

/* Gives descriptors as fast as it can, but never has more open than a process may. */
static void *flood(void *argument)
{
	struct owner *owner = argument;
	atomic_size_t passed = 0;
	size_t n = scale(FLOOD) / GIVERS / 4;

	for (size_t i = 0; i < n; i++) {
		give_one(owner, any_fd());
		give_one(owner, any_fd());
		give_passing(&passed, 2);
		while (2 * (i + 1) - atomic_load(&owner->reported) > OPEN_MAX_IN_FLOOD / 2)
			sched_yield();
		while (2 * (i + 1) - atomic_load(&passed) > OPEN_MAX_IN_FLOOD / 2)
			sched_yield();
		if (i % 16 == 0)
			reaper_close((int[]){any_fd()}, 1);
	}
	check_within(WAIT_MS, atomic_load(&passed) == 2 * n);
	return NULL;
}

static void *count_reapers(void *argument)
{
	unsigned *most = argument;

	while (!atomic_load(&enough)) {
		unsigned n = reapers();

		*most = n > *most ? n : *most;
		poll(NULL, 0, 1);
	}
	return NULL;
}

static void test_a_flood_from_many_threads_is_closed_by_few_and_reported_exactly(void)
{
	struct owner owners[GIVERS];
	pthread_t givers[GIVERS], counter;
	unsigned most = 0;

	check(thread_end_all(BEAM_FOREVER));
	atomic_store(&enough, false);
	counter = thread_spawn(count_reapers, &most);
	for (int i = 0; i < GIVERS; i++) {
		owner_begin(&owners[i]);
		givers[i] = thread_spawn(flood, &owners[i]);
	}
	for (int i = 0; i < GIVERS; i++)
		thread_wait(givers[i]);
	atomic_store(&enough, true);
	thread_wait(counter);
	for (int i = 0; i < GIVERS; i++)
		owner_end(&owners[i], 2 * (scale(FLOOD) / GIVERS / 4));
	/*
	 * Two threads, and one more each time that a thread does not run for 10 ms within a turn.
	 */
	if (most < 1 || most > 8)
		fail("%u threads", most);
}

static void *keep_closing(void *unused)
{
	while (!atomic_load(&enough)) {
		int fds[3];

		for (size_t i = 0; i < 3; i++)
			fds[i] = any_fd();
		reaper_close(fds, 3);
		check(reaper_drain(BEAM_FOREVER));
	}
	return unused;
}

/* ---- Forks ----------------------------------------------------------------------------------- */

static int close_one(void *unused)
{
	int reader, fd = watched(&reader);
	struct owner owner;

	(void)unused;
	owner_begin(&owner);
	reaper_close(&fd, 1);
	check(reaper_drain(BEAM_FOREVER));
	check(closed(reader));
	give_one(&owner, any_fd());
	owner_end(&owner, 1);
	return 0;
}

static void test_a_forked_child_has_a_reaper_of_its_own(void)
{
	pthread_t thread;

	if (under_sanitizer())
		skip("a sanitizer's own locks are left locked by a fork");
	atomic_store(&enough, false);
	thread = thread_spawn(keep_closing, NULL);
	for (size_t i = 0; i < scale(100); i++)
		check_int(process_wait(process_spawn(close_one, NULL)), 0);
	atomic_store(&enough, true);
	thread_wait(thread);
	check(reaper_drain(BEAM_FOREVER));
}

/* What waits in the parent: a descriptor of an account, and one of no account. */
struct inherited {
	struct owner owner;
	int fds[2];
};

static int use_its_numbers(void *argument)
{
	struct inherited *inherited = argument;
	int readers[3];

	for (int i = 0; i < 2; i++) {
		int fd = watched(&readers[i]);

		/* The child's own descriptor gets the number of the parent's. */
		require_int(dup3(fd, inherited->fds[i], O_CLOEXEC), inherited->fds[i]);
		close(fd);
	}
	give_one(&inherited->owner, watched(&readers[2]));
	close_one(NULL);
	check(reaper_drain(BEAM_FOREVER));
	check(closed(readers[2]));
	check(!closed(readers[0]) && !closed(readers[1]));
	check_int(atomic_load(&inherited->owner.reported), 0);
	/* What the child gives itself is closed. */
	reaper_close(inherited->fds, 2);
	check(reaper_drain(BEAM_FOREVER));
	check(closed(readers[0]) && closed(readers[1]));
	reaper_account_end(&inherited->owner.account);
	return 0;
}

static void test_a_forked_child_forgets_what_its_parent_was_about_to_close(void)
{
	int64_t begin = now_ns();
	struct inherited inherited;
	struct lingering lingering;

	needs_threads_in_children();
	begin_all_late();
	owner_begin(&inherited.owner);
	check_goes_on(&inherited.owner);
	atomic_store(&inherited.owner.reported, 0);
	lingering = hang(&inherited.owner);
	for (int i = 0; i < 2; i++)
		inherited.fds[i] = any_fd();
	give_one(&inherited.owner, inherited.fds[0]);
	reaper_close(&inherited.fds[1], 1);
	check_int(process_wait(process_spawn(use_its_numbers, &inherited)), 0);
	check(fd_open(inherited.fds[0]) && fd_open(inherited.fds[1]));
	lingering_end(&lingering, begin);
	for (int i = 0; i < LATE_MAX; i++)
		lingering_end(&late[i], begin);
	owner_end(&inherited.owner, 2);
}

/* ---- The end of the process ------------------------------------------------------------------ */

static int leave(void *argument)
{
	close_one(argument);
	exit(harness_failures() ? 1 : 7);
}

static void test_the_end_of_the_process_does_not_wait_for_an_idle_reaper(void)
{
	int64_t begin = now_ns();

	needs_threads_in_children();
	need_an_exit_of_a_child();
	for (int i = 0; i < 20; i++)
		check_int(process_wait(process_spawn(leave, NULL)), 7);
	check(now_ns() - begin < (int64_t)stretch(1500) * 1000000);
}

static int leave_while_it_hangs(void *unused)
{
	struct owner owner;
	(void)unused;

	owner_begin(&owner);
	hang(&owner);
	hang(NULL);
	give_one(&owner, any_fd());
	exit(harness_failures() ? 1 : 7);
}

static void test_the_end_of_the_process_does_not_wait_for_a_close_that_hangs(void)
{
	int64_t begin;

	needs_threads_in_children();
	need_an_exit_of_a_child();
	begin = now_ns();
	check_int(process_wait(process_spawn(leave_while_it_hangs, NULL)), 7);
	check(now_ns() - begin < (int64_t)stretch(2000) * 1000000);
}

static bool gives_in_the_end;

static void give_in_the_end(void)
{
	int reader, fd;

	if (!gives_in_the_end)
		return;
	fd = watched(&reader);
	reaper_close(&fd, 1);
	if (!reaper_drain(beam_in_ms(WAIT_MS)) || !closed(reader))
		_exit(1);
}

static int give_after_the_end(void *unused)
{
	(void)unused;
	gives_in_the_end = true;
	close_one(NULL);
	exit(harness_failures() ? 1 : 7);
}

/* Registered before the reaper's own handler, so that it runs after that one. */
__attribute__((constructor(101))) static void register_the_end(void)
{
	atexit(give_in_the_end);
}

static void test_what_is_given_after_the_end_of_the_reaper_is_closed(void)
{
	needs_threads_in_children();
	need_an_exit_of_a_child();
	check_int(process_wait(process_spawn(give_after_the_end, NULL)), 7);
}

static const struct test tests[] = {
    TEST(test_what_is_given_is_closed),
    TEST(test_what_is_given_for_an_account_is_closed_and_reported),
    TEST(test_nothing_to_close_is_nothing_to_do),
    TEST(test_many_descriptors_are_closed_in_many_turns),
    TEST(test_without_memory_or_thread_it_closes_at_once),
    TEST(test_whatever_fails_all_is_closed_and_reported),
    TEST(test_the_threads_end_when_nothing_comes),
    TEST(test_a_flood_is_reported_in_few_calls),
    TEST(test_a_flood_of_one_account_lets_another_have_its_turn),
    TEST(test_a_flood_from_many_threads_is_closed_by_few_and_reported_exactly),
    TEST(test_a_forked_child_has_a_reaper_of_its_own),
    TEST(test_a_forked_child_forgets_what_its_parent_was_about_to_close),
    TEST(test_the_end_of_the_process_does_not_wait_for_an_idle_reaper),
    TEST(test_the_end_of_the_process_does_not_wait_for_a_close_that_hangs),
    TEST(test_what_is_given_after_the_end_of_the_reaper_is_closed),
};
HARNESS_MAIN("reaper", tests)
