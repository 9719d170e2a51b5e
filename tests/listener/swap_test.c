/* SPDX-License-Identifier: MIT */
/*
 * The place of a socket is changed between two steps of a listener that takes it, each time at the
 * worst moment. This program's own fstatat(), connect() and flock() do that.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <public/listening.h>
#include <sys/file.h>
#include <sys/syscall.h>

static struct spot spot;
static char victim[80], aside[80];

/*
 * Functions to call once, before and after the place is examined, before connecting, and before
 * locking; and one to call before each lock.
 */
static void (*before_stat)(void), (*after_stat)(void), (*before_connect)(void), (*before_flock)(void),
    (*before_each_flock)(void);

/* A file system has been mounted over PATH, so that PATH names another file. */
static bool mounted_over;

static void happen(void (**what)(void))
{
	void (*now)(void) = *what;

	*what = NULL;
	if (now)
		now();
}

static bool is_socket_name(const char *name)
{
	return strcmp(name, strrchr(spot.path, '/') + 1) == 0;
}

int fstatat(int folder, const char *name, struct stat *status, int flags)
{
	static __typeof__(&fstatat) next;
	int r;

	if (!next)
		next = (__typeof__(&fstatat))(uintptr_t)dlsym(RTLD_NEXT, "fstatat");
	if (is_socket_name(name))
		happen(&before_stat);
	r = next(folder, name, status, flags);
	if (is_socket_name(name))
		happen(&after_stat);
	if (mounted_over)
		status->st_dev++;
	return r;
}

int connect(int fd, const struct sockaddr *name, socklen_t size)
{
	happen(&before_connect);
	return (int)syscall(SYS_connect, fd, name, size);
}

int flock(int fd, int operation)
{
	happen(&before_flock);
	if (before_each_flock)
		before_each_flock();
	return (int)syscall(SYS_flock, fd, operation);
}

static void begin(void)
{
	spot_make(&spot);
	snprintf(victim, sizeof victim, "%s/victim", spot.folder);
	snprintf(aside, sizeof aside, "%s/aside", spot.folder);
	close(open(victim, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static void end(void)
{
	before_each_flock = NULL;
	unlink(victim);
	unlink(aside);
	unlink(spot.path);
	unlink(spot.lock);
	spot_end(&spot);
}

/* ---- The socket ------------------------------------------------------------------------------ */

static void put_symlink(void)
{
	check_int(unlink(spot.path), 0);
	check_int(symlink(victim, spot.path), 0);
}

static void put_hard_link(void)
{
	check_int(unlink(spot.path), 0);
	check_int(link(victim, spot.path), 0);
}

static void put_socket(void)
{
	check_int(rename(spot.path, aside), 0);
	close(raw_listen(spot.path, 0));
}

static void (*const puts_there[])(void) = {put_symlink, put_hard_link, put_socket};

/*
 * Listening with a mode that needs more than the umask allows must fail, and must not change what
 * was put there.
 */
static void expect_untouched(void (**moment)(void), void (*put)(void), mode_t mode)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	mode_t before = umask(077);
	beam_listener *listener = NULL;
	struct stat status;

	options.mode = 0666;
	*moment = put;
	check_int(beam_listener_new(&listener, spot.path, &options), -EADDRINUSE);
	umask(before);
	check(*moment == NULL);
	check_int(lstat(victim, &status), 0);
	check_int(status.st_mode & 07777, 0600);
	check_int(lstat(spot.path, &status), 0);
	check_int(status.st_mode & 07777, mode);
}

static void test_permissions_are_given_to_the_socket_that_was_bound_and_to_nothing_else(void)
{
	static const mode_t modes[] = {0777, 0600, 0700};

	for (size_t i = 0; i < sizeof puts_there / sizeof *puts_there; i++) {
		begin();
		/* The first fstatat() is for the socket that was bound. */
		expect_untouched(&after_stat, puts_there[i], modes[i]);
		end();
	}
}

static void test_what_is_no_socket_is_not_taken_for_the_one_that_was_bound(void)
{
	begin();
	expect_untouched(&before_stat, put_symlink, 0777);
	end();
	begin();
	expect_untouched(&before_stat, put_hard_link, 0600);
	end();
}

static void test_what_takes_the_place_of_a_stale_socket_is_not_replaced(void)
{
	static const mode_t modes[] = {0777, 0600, 0700};

	for (size_t i = 0; i < sizeof puts_there / sizeof *puts_there; i++) {
		begin();
		close(raw_listen(spot.path, 0));
		expect_untouched(&before_connect, puts_there[i], modes[i]);
		end();
	}
}

static void take_away(void)
{
	unlink(spot.path);
}

static void test_a_stale_socket_that_somebody_else_removes_is_not_missed(void)
{
	void (**const moments[])(void) = {&before_connect, &after_stat};

	for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) {
		beam_listener *listener = NULL;

		begin();
		close(raw_listen(spot.path, 0));
		*moments[i] = take_away;
		check_int(beam_listener_new(&listener, spot.path, NULL), 0);
		check(*moments[i] == NULL);
		beam_listener_unref(listener);
		end();
	}
}

static void test_a_file_of_the_same_number_on_another_file_system_is_not_taken_for_the_socket(void)
{
	beam_listener *listener;

	begin();
	listener = listen_at(spot.path, NULL);
	mounted_over = true;
	check_int(beam_listener_close(listener), 0);
	mounted_over = false;
	check(exists(spot.path) && exists(spot.lock));
	beam_listener_unref(listener);
	end();
}

/* ---- The lock -------------------------------------------------------------------------------- */

static int rival;

/*
 * The previous holder of the lock has removed it, and another process has created and locked a new
 * one of the same name.
 */
static void change_hands(void)
{
	unlink(spot.lock);
	rival = open(spot.lock, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	check_int(syscall(SYS_flock, rival, LOCK_EX | LOCK_NB), 0);
}

static void test_a_lock_that_is_not_of_that_name_any_more_is_worth_nothing(void)
{
	beam_listener *listener = NULL;

	begin();
	before_flock = change_hands;
	check_int(beam_listener_new(&listener, spot.path, NULL), -EADDRINUSE);
	check(listener == NULL);
	check(exists(spot.lock) && !exists(spot.path));
	close(rival);
	end();
}

static void leave(void)
{
	unlink(spot.lock);
}

static void test_a_lock_whose_holder_has_just_left_is_taken_anew(void)
{
	beam_listener *listener = NULL;

	begin();
	before_flock = leave;
	check_int(beam_listener_new(&listener, spot.path, NULL), 0);
	check(exists(spot.lock));
	beam_listener_unref(listener);
	check(!exists(spot.lock));
	end();
}

static void test_a_lock_that_is_taken_away_again_and_again_is_given_up(void)
{
	beam_listener *listener = NULL;

	begin();
	before_each_flock = leave;
	check_int(beam_listener_new(&listener, spot.path, NULL), -EADDRINUSE);
	end();
}

static const struct test tests[] = {
    TEST(test_permissions_are_given_to_the_socket_that_was_bound_and_to_nothing_else),
    TEST(test_what_is_no_socket_is_not_taken_for_the_one_that_was_bound),
    TEST(test_what_takes_the_place_of_a_stale_socket_is_not_replaced),
    TEST(test_a_stale_socket_that_somebody_else_removes_is_not_missed),
    TEST(test_a_file_of_the_same_number_on_another_file_system_is_not_taken_for_the_socket),
    TEST(test_a_lock_that_is_not_of_that_name_any_more_is_worth_nothing),
    TEST(test_a_lock_whose_holder_has_just_left_is_taken_anew),
    TEST(test_a_lock_that_is_taken_away_again_and_again_is_given_up),
};

HARNESS_MAIN("listener/swap", tests)
