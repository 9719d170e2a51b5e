/* SPDX-License-Identifier: MIT */
/*
 * The reaper, with descriptors that close at once and with some whose close hangs until the test
 * ends it. So no test depends on how long a close lasts.
 */
#include <base/clock.h>
#include <base/thread.h>
#include <harness/fault.h>
#include <harness/harness.h>
#include <hostile/lingering.h>
#include <socket/reaper.h>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/resource.h>

/* The bounds in reaper.c, and how long a test waits for what others do. */
enum { TURN = 64, LATE_MAX = 64, WAIT_MS = 20000 };

static void need_an_exit_of_a_child(void)
{
	if (under_valgrind())
		skip("the child's exit would be judged by its parent's memory");
}

static void need_threads_beside_a_close(void)
{
	if (under_valgrind())
		skip("Valgrind lets no thread run while another is in close()");
}

/* A pipe's writing end; `*ret_reader` sees when it is closed. */
static int watched(int *ret_reader)
{
	int fds[2];

	require_int(pipe2(fds, O_CLOEXEC), 0);
	*ret_reader = fds[0];
	return fds[1];
}

static bool closed(int reader)
{
	struct pollfd fd = {.fd = reader};

	return poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP);
}

static int any_fd(void)
{
	int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);

	require(fd >= 0);
	return fd;
}

/* How many threads the reaper has. */
static unsigned reapers(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	unsigned n = 0;

	require(tasks != NULL);
	while ((task = readdir(tasks))) {
		char path[300], name[16] = "";
		int fd;

		snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (read(fd, name, sizeof name - 1) > 0)
			n += strncmp(name, "beam-reaper", 11) == 0;
		close(fd);
	}
	closedir(tasks);
	return n;
}

/* An account that counts what is reported. */
struct owner {
	struct reaper_account account;
	atomic_size_t reported, reports;
};

static void on_settled(struct reaper_account *account, size_t n)
{
	struct owner *owner = list_entry(account, struct owner, account);

	check(n > 0);
	atomic_fetch_add(&owner->reports, 1);
	atomic_fetch_add(&owner->reported, n);
}

static void owner_begin(struct owner *owner)
{
	atomic_init(&owner->reported, 0);
	atomic_init(&owner->reports, 0);
	reaper_account_init(&owner->account, on_settled);
}

/* So many have been given in all. */
static void owner_end(struct owner *owner, size_t given)
{
	check(reaper_drain(BEAM_FOREVER));
	check_int(atomic_load(&owner->reported), given);
	reaper_account_end(&owner->account);
}

static void give_one(struct owner *owner, int fd)
{
	reaper_close_for(&owner->account, &fd, 1);
}

/* One of the owner's, or with NULL nobody's, whose close hangs by now. */
static struct lingering hang(struct owner *owner)
{
	struct lingering lingering = lingering_open();

	if (owner)
		give_one(owner, lingering.fd);
	else
		reaper_close(&lingering.fd, 1);
	check_within(WAIT_MS, !fd_open(lingering.fd));
	return lingering;
}

/* What is given now is closed soon, to the owner's account or, with NULL, to nobody's. */
static void check_goes_on(struct owner *owner)
{
	int reader, fd = watched(&reader);

	if (owner)
		give_one(owner, fd);
	else
		reaper_close(&fd, 1);
	check_within(WAIT_MS, closed(reader));
	close(reader);
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
		/* As many as fit into a small table wait at once. */
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
			/* Its threads have ended, and its memory with them. */
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
		check_int(reapers(), 0);
	}
}

/* ---- Closes that are late -------------------------------------------------------------------- */

static void test_a_close_that_is_late_delays_nobody_else(void)
{
	struct lingering of_account, of_nobody;
	struct owner owner, another;
	int64_t begin = now_ns();

	owner_begin(&owner);
	owner_begin(&another);
	of_account = hang(&owner);
	check_goes_on(&another);
	check_goes_on(NULL);
	of_nobody = hang(NULL);
	check_goes_on(&another);
	check_goes_on(NULL);
	check(!fd_open(of_account.fd) && !reaper_drain(BEAM_NOWAIT));
	lingering_end(&of_account, begin);
	lingering_end(&of_nobody, begin);
	owner_end(&another, 2);
	owner_end(&owner, 1);
}

static void test_who_waits_until_all_is_closed_need_not_wait_for_what_is_late(void)
{
	struct lingering of_account, of_nobody;
	int64_t begin = now_ns();
	struct owner owner;
	int reader, fd;

	owner_begin(&owner);
	of_account = hang(&owner);
	of_nobody = hang(NULL);
	fd = watched(&reader);
	reaper_close(&fd, 1);
	/* It would be hung up for as long as the closes last. */
	check(reaper_drain_prompt(beam_in_ms(AT_ONCE_MS)));
	check(closed(reader));
	check(reaper_drain_prompt(BEAM_NOWAIT));
	check(!reaper_drain(BEAM_NOWAIT));
	lingering_end(&of_account, begin);
	lingering_end(&of_nobody, begin);
	owner_end(&owner, 1);
	close(reader);
}

static void test_what_is_nobodys_does_not_wait_for_what_is_given_with_it(void)
{
	struct lingering lingering = lingering_open();
	int reader, fds[2] = {lingering.fd, watched(&reader)};
	int64_t begin = now_ns();

	reaper_close(fds, 2);
	check_within(WAIT_MS, closed(reader));
	check(!reaper_drain(BEAM_NOWAIT));
	lingering_end(&lingering, begin);
	check(reaper_drain(BEAM_FOREVER));
	close(reader);
}

static void test_what_waits_already_is_closed_though_nobody_gives_more(void)
{
	struct lingering lingering = lingering_open();
	int64_t begin = now_ns();
	struct owner owner, others[3];
	int readers[4];

	owner_begin(&owner);
	give_one(&owner, lingering.fd);
	for (int i = 0; i < 3; i++) {
		owner_begin(&others[i]);
		give_one(&others[i], watched(&readers[i]));
	}
	reaper_close((int[]){watched(&readers[3])}, 1);
	for (int i = 0; i < 4; i++) {
		check_within(WAIT_MS, closed(readers[i]));
		close(readers[i]);
	}
	check(!reaper_drain(beam_in_ms(1)));
	lingering_end(&lingering, begin);
	owner_end(&owner, 1);
	for (int i = 0; i < 3; i++)
		owner_end(&others[i], 1);
}

static void test_the_closes_of_an_account_take_place_one_after_the_other(void)
{
	enum { LATE = 12 };
	struct lingering lingering[LATE];
	struct owner owner, another;
	int64_t begin = now_ns();

	owner_begin(&owner);
	owner_begin(&another);
	for (int i = 0; i < LATE; i++)
		lingering[i] = lingering_open();
	for (int i = 0; i < LATE; i++)
		give_one(&owner, lingering[i].fd);
	for (int i = 0; i < LATE; i++) {
		check_within(WAIT_MS, !fd_open(lingering[i].fd));
		check_goes_on(&another);
		check_goes_on(NULL);
		check(i + 1 == LATE || fd_open(lingering[i + 1].fd));
		/* One late, one that goes on, one that watches, and a few on a busy machine. */
		check(reapers() < LATE);
		/* Those before it are reported. */
		check_within(WAIT_MS, atomic_load(&owner.reported) == (size_t)i);
		lingering_end(&lingering[i], begin);
	}
	owner_end(&owner, LATE);
	owner_end(&another, LATE);
}

static void test_a_drain_waits_for_the_close_that_is_under_way(void)
{
	struct lingering lingering = hang(NULL);

	check(!reaper_drain(BEAM_NOWAIT));
	check(!reaper_drain(beam_in_ms(20)));
	lingering_end(&lingering, now_ns());
	check(reaper_drain(BEAM_FOREVER));
}

static void test_a_queue_of_which_much_is_done_takes_more_without_growing(void)
{
	enum { QUEUE = 2 * TURN, MORE = 32 };
	struct lingering lingering;
	struct owner owner;
	int fds[QUEUE + MORE], reader;

	need_threads_beside_a_close();
	lingering = lingering_open();
	owner_begin(&owner);
	for (size_t i = 0; i < QUEUE + MORE; i++)
		if (i != QUEUE - 1 && i != QUEUE + MORE - 1)
			fds[i] = any_fd();
	/* Its turn begins in the second half of the queue. */
	fds[QUEUE - 1] = lingering.fd;
	fds[QUEUE + MORE - 1] = watched(&reader);
	reaper_close_for(&owner.account, fds, QUEUE);
	check_within(WAIT_MS, !fd_open(lingering.fd));
	/* What is done makes room. */
	fault_only(FAULT(SYS_REALLOC));
	fault_at(1, 0, true);
	reaper_close_for(&owner.account, fds + QUEUE, MORE);
	check(!fault_hit());
	fault_off();
	check(!closed(reader));
	lingering_end(&lingering, now_ns());
	owner_end(&owner, QUEUE + MORE);
	check(closed(reader));
	close(reader);
}

static struct owner first, second, third;
static sem_t first_reports, first_may_go;

static void wait_in_report(struct reaper_account *account, size_t n)
{
	sem_post(&first_reports);
	sem_wait(&first_may_go);
	on_settled(account, n);
}

/* Its thread is prompt for 10 ms. Meanwhile another watches it, and the late one comes back. */
static void let_the_first_go(struct reaper_account *account, size_t n)
{
	give_one(&third, any_fd());
	poll(NULL, 0, 2);
	sem_post(&first_may_go);
	poll(NULL, 0, 2);
	on_settled(account, n);
}

static void test_a_report_may_last_and_who_comes_back_from_it_leaves_the_rest_to_others(void)
{
	sem_init(&first_reports, 0, 0);
	sem_init(&first_may_go, 0, 0);
	for (size_t i = 0; i < scale(20); i++) {
		owner_begin(&first);
		owner_begin(&second);
		owner_begin(&third);
		first.account.settled = wait_in_report;
		second.account.settled = let_the_first_go;
		give_one(&first, any_fd());
		sem_wait(&first_reports);
		give_one(&second, any_fd());
		owner_end(&first, 1);
		owner_end(&second, 1);
		owner_end(&third, 1);
	}
	sem_destroy(&first_reports);
	sem_destroy(&first_may_go);
}

static void test_without_another_thread_a_giver_goes_on_while_one_is_late(void)
{
	struct lingering lingering;
	struct owner owner;
	int reader, fd;

	need_threads_beside_a_close();
	check(thread_end_all(BEAM_FOREVER));
	owner_begin(&owner);
	lingering = hang(&owner);
	fault_only(FAULT(SYS_PTHREAD_CREATE));
	fault_at(1, EAGAIN, true);
	fd = watched(&reader);
	reaper_close(&fd, 1);
	check(fault_hit());
	/* Nobody watches: it is for the next to find out. */
	check_within(WAIT_MS, (reaper_close((int[]){any_fd()}, 1), closed(reader)));
	fault_off();
	lingering_end(&lingering, now_ns());
	owner_end(&owner, 1);
	close(reader);
}

static void test_a_thread_that_nobody_can_watch_closes_all_the_same(void)
{
	int readers[2], fds[2];

	check(thread_end_all(BEAM_FOREVER));
	for (int i = 0; i < 2; i++)
		fds[i] = watched(&readers[i]);
	fault_only(FAULT(SYS_PTHREAD_CREATE));
	fault_at(2, EAGAIN, true);
	reaper_close(fds, 2);
	check(reaper_drain(BEAM_FOREVER));
	check(fault_hit());
	fault_off();
	for (int i = 0; i < 2; i++) {
		check(closed(readers[i]));
		close(readers[i]);
	}
}

/* ---- As many late ones as there may be ------------------------------------------------------- */

static struct lingering late[LATE_MAX];

static void begin_all_late(void)
{
	need_threads_beside_a_close();
	for (int i = 0; i < LATE_MAX; i++)
		late[i] = lingering_open();
	for (int i = 0; i < LATE_MAX; i++)
		reaper_close(&late[i].fd, 1);
	for (int i = 0; i < LATE_MAX; i++)
		check_within(WAIT_MS, !fd_open(late[i].fd));
}

static void test_when_many_are_late_that_are_nobodys_others_wait_but_not_accounts(void)
{
	int64_t begin = now_ns();
	struct owner owner;
	int reader, fd;

	begin_all_late();
	owner_begin(&owner);
	/* The last of them is late once another has gone on. */
	check_goes_on(&owner);
	fd = watched(&reader);
	reaper_close(&fd, 1);
	check_goes_on(&owner);
	check(!closed(reader));
	check(reapers() <= LATE_MAX + 8);
	lingering_end(&late[LATE_MAX / 2], begin);
	check_within(WAIT_MS, closed(reader));
	for (int i = 0; i < LATE_MAX; i++)
		if (i != LATE_MAX / 2)
			lingering_end(&late[i], begin);
	/* They do not all linger, even if one of them has something to do now and then. */
	check_within(WAIT_MS, (check_goes_on(NULL), reapers() <= 2));
	owner_end(&owner, 2);
	close(reader);
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
	/* More than MANY / TURN only where closes take a while. */
	check(atomic_load(&owner.reports) < MANY / 2);
}

static struct owner flooding, modest;
static atomic_size_t before_modest;

static void note_flood(struct reaper_account *account, size_t n)
{
	atomic_store(&before_modest, atomic_load(&flooding.reported));
	on_settled(account, n);
}

/* From a thread of the reaper, so that all of it waits before the next turn begins. */
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

	/* On a machine that is busy a turn may be found late, and the next begin beside it. */
	do
		flood_once();
	while (atomic_load(&before_modest) > TURN && ++tries < 100);
	check(tries < 100);
}

/* ---- Many givers ----------------------------------------------------------------------------- */

enum { GIVERS = 4, FLOOD = 100000, OPEN_MAX_IN_FLOOD = 150 };

static atomic_bool enough;

/* Many accounts, of which each is freed by the report of its last one. */
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
	/* The last time it may be gone before this returns. */
	for (size_t i = 0; i < n; i++) {
		int fd = any_fd();

		reaper_close_for(&passing->account, &fd, 1);
	}
}

/* Gives as quickly as it can, but has no more open than a process may. */
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
	/* Two, and one more each time that a thread is kept from running for 10 ms in a turn. */
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

/* What waits in the parent: an account's, and one that is nobody's. */
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

		/* Its own under the number of the parent's. */
		require_int(dup3(fd, inherited->fds[i], O_CLOEXEC), inherited->fds[i]);
		close(fd);
	}
	give_one(&inherited->owner, watched(&readers[2]));
	close_one(NULL);
	check(reaper_drain(BEAM_FOREVER));
	check(closed(readers[2]));
	check(!closed(readers[0]) && !closed(readers[1]));
	check_int(atomic_load(&inherited->owner.reported), 0);
	/* What it gives itself is closed. */
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

/* Before the reaper registers its own, so that it runs after that. */
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
    TEST(test_a_close_that_is_late_delays_nobody_else),
    TEST(test_who_waits_until_all_is_closed_need_not_wait_for_what_is_late),
    TEST(test_what_is_nobodys_does_not_wait_for_what_is_given_with_it),
    TEST(test_what_waits_already_is_closed_though_nobody_gives_more),
    TEST(test_the_closes_of_an_account_take_place_one_after_the_other),
    TEST(test_a_drain_waits_for_the_close_that_is_under_way),
    TEST(test_a_queue_of_which_much_is_done_takes_more_without_growing),
    TEST(test_a_report_may_last_and_who_comes_back_from_it_leaves_the_rest_to_others),
    TEST(test_without_another_thread_a_giver_goes_on_while_one_is_late),
    TEST(test_a_thread_that_nobody_can_watch_closes_all_the_same),
    TEST(test_when_many_are_late_that_are_nobodys_others_wait_but_not_accounts),
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
