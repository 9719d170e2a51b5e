/* SPDX-License-Identifier: MIT */
/*
 * The reaper, with descriptors whose close hangs until the test ends it. So no test depends on how
 * long a close takes.
 */
#include <base/thread.h>
#include <harness/fault.h>
#include <semaphore.h>
#include <socket/reaping.h>

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
	/* Otherwise this would hang as long as the closes do. */
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
		/*
		 * One thread that is late, one that goes on, one that watches, and a few more on a
		 * busy machine.
		 */
		check(reapers() < LATE);
		/* Those before it have been reported. */
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
	/* What is done makes room, so the queue need not grow. */
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

/*
 * Its thread counts as prompt for 10 ms. Meanwhile another thread watches it, and the late one
 * comes back.
 */
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
	/* Nobody watches, so the next caller has to notice it. */
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

/* ---- As many late closes as there may be ----------------------------------------------------- */

static void test_when_many_are_late_that_are_nobodys_others_wait_but_not_accounts(void)
{
	int64_t begin = now_ns();
	struct owner owner;
	int reader, fd;

	begin_all_late();
	owner_begin(&owner);
	/* The last of them counts as late once another one has gone on. */
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
	/* Not all threads stay, even if one of them has something to do now and then. */
	check_within(WAIT_MS, (check_goes_on(NULL), reapers() <= 2));
	owner_end(&owner, 2);
	close(reader);
}

static const struct test tests[] = {
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
};
HARNESS_MAIN("reaper_late", tests)
