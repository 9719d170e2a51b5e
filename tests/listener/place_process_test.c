/* SPDX-License-Identifier: MIT */
/* The place of a socket when processes die, leave children behind, or race for it. */
#include <fcntl.h>
#include <listener/places.h>
#include <signal.h>

/*
 * Listens until it is killed. Its own child continues to run until the other end of the socket is
 * closed.
 */
static int child_leaves_a_child(void *argument)
{
	const int *ends = argument;
	beam_listener *listener = listen_at(spot.path, NULL);
	char byte;

	check(beam_listener_accept_fd(listener) >= 0);
	close(ends[0]);
	if (fork() == 0) {
		check_int(write(ends[1], "c", 1), 1);
		_exit((int)read(ends[1], &byte, 1));
	}
	pause();
	return 0;
}

static void test_a_child_that_outlives_a_dead_server_does_not_keep_its_address(void)
{
	pid_t server;
	int ends[2];
	char byte;

	spot_make(&spot);
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	server = process_spawn(child_leaves_a_child, ends);
	close(ends[1]);
	require_int(read(ends[0], &byte, 1), 1);
	kill(server, SIGKILL);
	check_int(process_wait(server), 128 + SIGKILL);
	check(exists(spot.path) && exists(spot.lock));
	expect_new(0);
	/* The child still exists. */
	check_int(recv(ends[0], &byte, 1, MSG_DONTWAIT), -1);
	check_int(errno, EAGAIN);
	close(ends[0]);
	spot_end(&spot);
}

static int child_exits(void *argument)
{
	(void)argument;
	listen_at(spot.path, NULL);
	/* Exits as at the end of main(). process_exit() would skip exit handlers. */
	exit(0);
}

static void test_a_program_that_ends_without_closing_leaves_nothing(void)
{
	int code;

	needs_threads_in_children();
	spot_make(&spot);
	code = process_wait(process_spawn(child_exits, NULL));
	/* Valgrind reports the parent's memory as leaked by the child. */
	if (!under_valgrind())
		check_int(code, 0);
	check(!exists(spot.path) && !exists(spot.lock));
	rmdir(spot.folder);
}

enum { RACERS = 2, RACES = 200 };

struct race {
	const char *address;
	int go[RACERS][2], told[RACERS][2];
};

static int child_races(struct race *race, int which)
{
	char byte;

	while (read(race->go[which][0], &byte, 1) == 1 && byte == 'g') {
		beam_listener *listener = NULL;
		int r = beam_listener_new(&listener, race->address, NULL);

		check(r == 0 || r == -EADDRINUSE);
		check_int(write(race->told[which][1], &(char){r == 0 ? 'w' : 'l'}, 1), 1);
		/*
		 * Waits until the other process has tried, too. Every other time it then exits
		 * without closing the listener.
		 */
		check_int(read(race->go[which][0], &byte, 1), 1);
		if (byte == 'k' && r == 0)
			process_exit(0);
		beam_listener_unref(listener);
		check_int(write(race->told[which][1], "d", 1), 1);
	}
	return 0;
}

static int child_races_first(void *argument)
{
	return child_races(argument, 0);
}

static int child_races_second(void *argument)
{
	return child_races(argument, 1);
}

static int (*const racers[RACERS])(void *) = {child_races_first, child_races_second};

/*
 * Two processes race. Returns how many have won, which must be one. The winner can be connected to.
 */
static int run_race(struct race *race, pid_t children[RACERS], bool kill)
{
	char results[RACERS];
	int won = 0;

	for (int i = 0; i < RACERS; i++)
		check_int(write(race->go[i][1], "g", 1), 1);
	for (int i = 0; i < RACERS; i++) {
		require_int(read(race->told[i][0], &results[i], 1), 1);
		won += results[i] == 'w';
	}
	if (won == 1)
		close(raw_connect(race->address));
	for (int i = 0; i < RACERS; i++)
		check_int(write(race->go[i][1], kill ? "k" : "g", 1), 1);
	for (int i = 0; i < RACERS; i++) {
		if (kill && results[i] == 'w') {
			check_int(process_wait(children[i]), 0);
			children[i] = process_spawn(racers[i], race);
			continue;
		}
		check_int(read(race->told[i][0], &(char){0}, 1), 1);
	}
	return won;
}

static void race_for(const char *address)
{
	struct race race = {.address = address};
	pid_t children[RACERS];

	for (int i = 0; i < RACERS; i++) {
		require_int(pipe2(race.go[i], O_CLOEXEC), 0);
		require_int(pipe2(race.told[i], O_CLOEXEC), 0);
	}
	for (int i = 0; i < RACERS; i++)
		children[i] = process_spawn(racers[i], &race);
	for (size_t i = 0; i < scale(RACES) && !harness_failures(); i++) {
		harness_progress();
		check_int(run_race(&race, children, i % 2), 1);
	}
	for (int i = 0; i < RACERS; i++) {
		check_int(write(race.go[i][1], "e", 1), 1);
		check_int(process_wait(children[i]), 0);
		for (int j = 0; j < 2; j++) {
			close(race.go[i][j]);
			close(race.told[i][j]);
		}
	}
}

static void test_of_two_processes_that_race_for_a_path_one_gets_it_each_time(void)
{
	needs_threads_in_children();
	spot_make(&spot);
	race_for(spot.path);
	/* The last winner may have exited without removing them. */
	unlink(spot.path);
	unlink(spot.lock);
	spot_end(&spot);
}

static void test_of_two_processes_that_race_for_an_abstract_name_one_gets_it_each_time(void)
{
	char address[64];

	needs_threads_in_children();
	snprintf(address, sizeof address, "%s", abstract_address());
	race_for(address);
}

static const struct test tests[] = {
    TEST(test_a_child_that_outlives_a_dead_server_does_not_keep_its_address),
    TEST(test_a_program_that_ends_without_closing_leaves_nothing),
    TEST(test_of_two_processes_that_race_for_a_path_one_gets_it_each_time),
    TEST(test_of_two_processes_that_race_for_an_abstract_name_one_gets_it_each_time),
};

HARNESS_MAIN("listener/place_process", tests)
