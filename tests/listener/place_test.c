/* SPDX-License-Identifier: MIT */
/*
 * The place of a socket: who gets it, what is found there, and what is left of it. Tested from
 * outside and, where that is not enough, from inside.
 */
#include <fcntl.h>
#include <harness/fault.h>
#include <listener/place.h>
#include <listener/places.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/file.h>

static void test_the_socket_of_a_server_that_died_is_replaced(void)
{
	spot_make(&spot);
	close(raw_listen(spot.path, 1));
	check(exists(spot.path));
	expect_new(0);
	/* A socket that never listened. */
	close(raw_listen(spot.path, 0));
	expect_new(0);
	check(!exists(spot.path) && !exists(spot.lock));
	spot_end(&spot);
}

static void test_a_living_server_that_knows_no_lock_is_left_alone(void)
{
	int fd, waiting[8], n = 0;

	spot_make(&spot);
	fd = raw_listen(spot.path, 1);
	expect_new(-EADDRINUSE);
	/* Also with a full backlog. */
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (n < 8 && (waiting[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) >= 0) {
		struct sockaddr_un name = {.sun_family = AF_UNIX};

		snprintf(name.sun_path, sizeof name.sun_path, "%s", spot.path);
		if (connect(waiting[n++], (struct sockaddr *)&name, sizeof name) < 0)
			break;
	}
	check_int(errno, EAGAIN);
	expect_new(-EADDRINUSE);
	while (n > 0)
		close(waiting[--n]);
	close(fd);
	unlink(spot.path);
	spot_end(&spot);
}

static void test_a_living_socket_of_another_type_is_left_alone(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	spot_make(&spot);
	snprintf(name.sun_path, sizeof name.sun_path, "%s", spot.path);
	require_int(bind(fd, (struct sockaddr *)&name, sizeof name), 0);
	expect_new(-EADDRINUSE);
	check(exists(spot.path));
	close(fd);
	unlink(spot.path);
	spot_end(&spot);
}

static void expect_untouched(void)
{
	struct stat before, after;

	require_int(lstat(spot.path, &before), 0);
	expect_new(-EADDRINUSE);
	require_int(lstat(spot.path, &after), 0);
	check_int(after.st_ino, before.st_ino);
	check_int(after.st_mode, before.st_mode);
	check(!exists(spot.lock));
}

static void test_what_is_no_socket_is_left_alone(void)
{
	char target[80];

	spot_make(&spot);
	snprintf(target, sizeof target, "%s/target", spot.folder);
	close(open(spot.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	expect_untouched();
	unlink(spot.path);
	require_int(mkdir(spot.path, 0700), 0);
	expect_untouched();
	rmdir(spot.path);
	require_int(mkfifo(spot.path, 0600), 0);
	expect_untouched();
	unlink(spot.path);
	/*
	 * Symbolic links: to a file that does not exist, which bind() must not create, and to a
	 * stale socket, which must not be replaced.
	 */
	require_int(symlink(target, spot.path), 0);
	expect_untouched();
	check(!exists(target));
	close(raw_listen(target, 1));
	expect_untouched();
	check(exists(target));
	unlink(target);
	unlink(spot.path);
	spot_end(&spot);
}

static void test_a_lock_that_another_holds_is_respected(void)
{
	int lock;

	spot_make(&spot);
	lock = open(spot.lock, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	require_int(flock(lock, LOCK_EX), 0);
	expect_new(-EADDRINUSE);
	check(exists(spot.lock) && !exists(spot.path));
	close(lock);
	/* Nobody holds the lock any more. */
	expect_new(0);
	check(!exists(spot.lock));
	spot_end(&spot);
}

static void test_a_lock_that_is_no_file_of_its_own_keeps_nobody_waiting(void)
{
	spot_make(&spot);
	require_int(symlink("/dev/null", spot.lock), 0);
	expect_new(-ELOOP);
	unlink(spot.lock);
	require_int(mkdir(spot.lock, 0700), 0);
	expect_new(-EISDIR);
	rmdir(spot.lock);
	require_int(mkfifo(spot.lock, 0600), 0);
	expect_new(0);
	unlink(spot.lock);
	spot_end(&spot);
}

static void test_the_lock_is_open_to_nobody_else(void)
{
	mode_t before = umask(0);
	beam_listener *listener;

	spot_make(&spot);
	listener = listen_at(spot.path, NULL);
	check_int(mode_of(spot.lock), 0600);
	beam_listener_unref(listener);
	umask(before);
	spot_end(&spot);
}

static void test_a_socket_that_another_has_put_there_since_is_not_removed(void)
{
	beam_listener *listener;
	int other;

	spot_make(&spot);
	listener = listen_at(spot.path, NULL);
	require_int(unlink(spot.path), 0);
	other = raw_listen(spot.path, 1);
	beam_listener_unref(listener);
	check(exists(spot.path));
	close(raw_connect(spot.path));
	close(other);
	unlink(spot.path);
	spot_end(&spot);
}

static void test_a_socket_that_is_gone_is_not_missed(void)
{
	beam_listener *listener;

	spot_make(&spot);
	listener = listen_at(spot.path, NULL);
	require_int(unlink(spot.path), 0);
	require_int(unlink(spot.lock), 0);
	check_int(beam_listener_close(listener), 0);
	beam_listener_unref(listener);
	spot_end(&spot);
}

static void test_nobody_can_connect_before_the_permissions_are_set(void)
{
	struct place place;
	int fd;

	spot_make(&spot);
	fd = place_bind(&place, spot.path, 0640);
	require(fd >= 0);
	check_int(mode_of(spot.path), 0640);
	check_int(raw_connect(spot.path), -ECONNREFUSED);
	place_leave(&place);
	close(fd);
	spot_end(&spot);
}

struct watch {
	atomic_bool stop;
	mode_t wanted;
	atomic_uint seen;
	unsigned wider;
};

static void *watch_mode(void *argument)
{
	struct watch *watch = argument;
	struct stat status;

	while (!atomic_load(&watch->stop)) {
		if (lstat(spot.path, &status) < 0)
			continue;
		atomic_fetch_add(&watch->seen, 1);
		if (status.st_mode & 07777 & ~watch->wanted)
			watch->wider++;
	}
	return NULL;
}

static void test_the_permissions_are_never_wider_than_asked_for(void)
{
	struct watch watch = {.wanted = 0620};
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	mode_t before = umask(0);
	pthread_t thread;

	spot_make(&spot);
	options.mode = watch.wanted;
	thread = thread_spawn(watch_mode, &watch);
	/*
	 * Wait until the mode has been observed in each round. On a single processor, the other
	 * thread might otherwise run only while no socket exists.
	 */
	for (unsigned turn = 0; turn < 100 && !harness_failures(); turn++) {
		unsigned seen = atomic_load(&watch.seen);
		beam_listener *listener;

		harness_progress();
		umask(turn % 2 ? 0 : 0600);
		listener = listen_at(spot.path, &options);
		check_within(20000, atomic_load(&watch.seen) != seen);
		beam_listener_unref(listener);
	}
	atomic_store(&watch.stop, true);
	thread_wait(thread);
	umask(before);
	check_int(watch.wider, 0);
	spot_end(&spot);
}

static void test_with_no_umask_the_permissions_are_there_from_the_first(void)
{
	mode_t before = umask(0);
	struct place place;
	int fd;

	spot_make(&spot);
	/* The mode need not be set after the file has been created. */
	fault_only(FAULT(SYS_CHMOD));
	fault_at(1, EPERM, true);
	fd = place_bind(&place, spot.path, 0620);
	fault_off();
	require(fd >= 0);
	check_int(mode_of(spot.path), 0620);
	place_leave(&place);
	close(fd);
	umask(before);
	spot_end(&spot);
}

/*
 * Repeatedly puts links to a file, which must not be changed, in the place of the socket, and
 * removes the lock.
 */
struct swapper {
	atomic_bool stop;
	char victim[80], link[80];
};

static void *swap_often(void *argument)
{
	struct swapper *swapper = argument;

	while (!atomic_load(&swapper->stop)) {
		check_int(link(swapper->victim, swapper->link), 0);
		check_int(rename(swapper->link, spot.path), 0);
		unlink(spot.path);
		check_int(symlink(swapper->victim, swapper->link), 0);
		check_int(rename(swapper->link, spot.path), 0);
		unlink(spot.path);
		unlink(spot.lock);
		sched_yield();
	}
	return NULL;
}

static void test_whoever_changes_the_place_meanwhile_changes_nothing_else_by_it(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	mode_t before = umask(077);
	struct swapper swapper = {.stop = false};
	struct stat victim;
	pthread_t thread;
	/*
	 * On a busy machine a round can take long. Then fewer rounds are enough, but at least one
	 * must succeed.
	 */
	int64_t end = now_ns() + INT64_C(10000000000);
	size_t listened = 0;

	spot_make(&spot);
	snprintf(swapper.victim, sizeof swapper.victim, "%s/victim", spot.folder);
	snprintf(swapper.link, sizeof swapper.link, "%s/link", spot.folder);
	close(open(swapper.victim, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	options.mode = 0666;
	thread = thread_spawn(swap_often, &swapper);
	for (size_t i = 0; listened == 0 || (i < scale(5000) && now_ns() < end); i++) {
		beam_listener *listener = NULL;
		int r = beam_listener_new(&listener, spot.path, &options);

		check(r == 0 || r == -EADDRINUSE || r == -ENOENT || r == -ELOOP);
		listened += r == 0;
		beam_listener_unref(listener);
	}
	atomic_store(&swapper.stop, true);
	thread_wait(thread);
	umask(before);
	check_int(lstat(swapper.victim, &victim), 0);
	check_int(victim.st_mode & 07777, 0600);
	unlink(swapper.victim);
	unlink(spot.path);
	unlink(spot.lock);
	spot_end(&spot);
}

static const struct test tests[] = {
    TEST(test_the_socket_of_a_server_that_died_is_replaced),
    TEST(test_a_living_server_that_knows_no_lock_is_left_alone),
    TEST(test_a_living_socket_of_another_type_is_left_alone),
    TEST(test_what_is_no_socket_is_left_alone),
    TEST(test_a_lock_that_another_holds_is_respected),
    TEST(test_a_lock_that_is_no_file_of_its_own_keeps_nobody_waiting),
    TEST(test_the_lock_is_open_to_nobody_else),
    TEST(test_a_socket_that_another_has_put_there_since_is_not_removed),
    TEST(test_a_socket_that_is_gone_is_not_missed),
    TEST(test_nobody_can_connect_before_the_permissions_are_set),
    TEST(test_the_permissions_are_never_wider_than_asked_for),
    TEST(test_with_no_umask_the_permissions_are_there_from_the_first),
    TEST(test_whoever_changes_the_place_meanwhile_changes_nothing_else_by_it),
};

HARNESS_MAIN("listener/place", tests)
