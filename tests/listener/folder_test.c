/* SPDX-License-Identifier: MIT */
/*
 * The folder of a socket: it is opened once and used until the listener is closed, whatever happens
 * to the working directory, to the folder's path, and to a descriptor that the path goes through;
 * with and without /proc.
 */
#include <fcntl.h>
#include <harness/fault.h>
#include <public/listening.h>
#include <sys/vfs.h>

static struct spot spot;

/* Another folder with a socket and a lock of the same names, which must not be changed. */
struct other {
	struct spot spot;
	int fd;
};

static void other_make(struct other *other)
{
	spot_make(&other->spot);
	other->fd = raw_listen(other->spot.path, 1);
	close(open(other->spot.lock, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
}

static void other_end(struct other *other)
{
	check(exists(other->spot.path) && exists(other->spot.lock));
	close(other->fd);
	unlink(other->spot.path);
	unlink(other->spot.lock);
	spot_end(&other->spot);
}

static void expect_served(beam_listener *listener, const char *path)
{
	beam_channel *channels[2];

	meet(listener, path, channels);
	expect_connected(channels);
	part(channels);
}

static void test_a_relative_path_is_left_where_it_was_after_the_working_directory_has_changed(void)
{
	static const char *const prefixes[] = {"", "./", "../"};
	int before = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct other other;
	char path[160];

	require(before >= 0);
	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
		beam_listener *listener;

		spot_make(&spot);
		other_make(&other);
		require_int(chdir(spot.folder), 0);
		snprintf(path, sizeof path, "%s%s", prefixes[i],
			 i == 2 ? spot.path + (strrchr(spot.folder, '/') + 1 - spot.folder) : "socket");
		listener = listen_at(path, NULL);
		check(exists(spot.path) && exists(spot.lock));
		require_int(chdir(other.spot.folder), 0);
		expect_served(listener, spot.path);
		check_int(beam_listener_close(listener), 0);
		check(!exists(spot.path) && !exists(spot.lock));
		beam_listener_unref(listener);
		require_int(fchdir(before), 0);
		other_end(&other);
		spot_end(&spot);
	}
	close(before);
}

static void test_a_folder_that_was_renamed_is_still_the_sockets(void)
{
	beam_listener *listener;
	struct other other;
	char moved[80];

	spot_make(&spot);
	other_make(&other);
	listener = listen_at(spot.path, NULL);
	snprintf(moved, sizeof moved, "%s-moved", spot.folder);
	require_int(rename(spot.folder, moved), 0);
	/* Another folder gets its name. */
	require_int(rename(other.spot.folder, spot.folder), 0);
	beam_listener_unref(listener);
	require_int(rename(spot.folder, other.spot.folder), 0);
	other_end(&other);
	/* The moved folder is empty. */
	check_int(rmdir(moved), 0);
}

static void expect_through(const char *descriptors)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	mode_t before = umask(077);
	beam_listener *listener;
	struct other other;
	char path[80];
	int folder;

	spot_make(&spot);
	other_make(&other);
	folder = open(spot.folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	require(folder >= 0);
	snprintf(path, sizeof path, "%s/%d/socket", descriptors, folder);
	options.mode = 0666;
	listener = listen_at(path, &options);
	umask(before);
	check_int(mode_of(spot.path), 0666);
	/* The descriptor's number now belongs to another folder. */
	close(folder);
	require_int(open(other.spot.folder, O_PATH | O_DIRECTORY | O_CLOEXEC), folder);
	expect_served(listener, spot.path);
	beam_listener_unref(listener);
	check(!exists(spot.path) && !exists(spot.lock));
	close(folder);
	other_end(&other);
	spot_end(&spot);
}

static void test_a_path_through_a_descriptor_outlives_the_descriptor(void)
{
	expect_through("/proc/self/fd");
	expect_through("/dev/fd");
}

static void test_a_path_that_ends_with_a_slash_is_no_place_for_a_socket(void)
{
	beam_listener *listener = NULL;
	char path[80];

	spot_make(&spot);
	snprintf(path, sizeof path, "%s/", spot.folder);
	check_int(beam_listener_new(&listener, path, NULL), -EADDRINUSE);
	snprintf(path, sizeof path, "%s/.", spot.folder);
	check_int(beam_listener_new(&listener, path, NULL), -EADDRINUSE);
	snprintf(path, sizeof path, "%s/nowhere/", spot.folder);
	check_int(beam_listener_new(&listener, path, NULL), -ENOENT);
	check(listener == NULL);
	spot_end(&spot);
}

static void test_the_longest_path_is_listened_at(void)
{
	beam_listener *listener = NULL;
	char path[sizeof((struct sockaddr_un *)0)->sun_path + 1];

	spot_make(&spot);
	memset(path, 'x', sizeof path);
	memcpy(path, spot.folder, strlen(spot.folder));
	path[strlen(spot.folder)] = '/';
	path[sizeof path - 1] = '\0';
	check_int(beam_listener_new(&listener, path, NULL), -ENAMETOOLONG);
	path[sizeof path - 2] = '\0';
	listener = listen_at(path, NULL);
	expect_served(listener, path);
	beam_listener_unref(listener);
	check(!exists(path));
	/* All of the path but one letter names the folder. */
	memset(path + strlen(spot.folder), '/', sizeof path - 3 - strlen(spot.folder));
	listener = listen_at(path, NULL);
	expect_served(listener, path);
	beam_listener_unref(listener);
	spot_end(&spot);
}

static void test_a_path_longer_than_an_address_is_reached_through_a_descriptor(void)
{
	char deep[120], address[40], path[200];
	beam_listener *listener;
	int folder;

	spot_make(&spot);
	memset(deep, 'x', sizeof deep);
	memcpy(deep, spot.folder, strlen(spot.folder));
	deep[strlen(spot.folder)] = '/';
	deep[sizeof deep - 1] = '\0';
	require_int(mkdir(deep, 0700), 0);
	folder = open(deep, O_PATH | O_DIRECTORY | O_CLOEXEC);
	snprintf(address, sizeof address, "/proc/self/fd/%d/socket", folder);
	snprintf(path, sizeof path, "%s/socket", deep);
	listener = listen_at(address, NULL);
	check(exists(path));
	expect_served(listener, address);
	beam_listener_unref(listener);
	close(folder);
	check_int(rmdir(deep), 0);
	spot_end(&spot);
}

/* ---- Without /proc --------------------------------------------------------------------------- */

/* True if the kernel can set permissions without /proc. */
static bool has_fchmodat2(void)
{
	return sys_fchmodat2(AT_FDCWD, spot.folder, 0700, 0) == 0;
}

static int listen_with_umask(beam_listener **ret, const char *path)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	mode_t before = umask(077);
	int r;

	options.mode = 0666;
	r = beam_listener_new(ret, path, &options);
	umask(before);
	return r;
}

static int child_listens_without_proc(void *argument)
{
	int r, root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	beam_listener *listener = NULL;
	struct statfs status;

	(void)argument;
	require_int(chroot(spot.folder), 0);
	require_int(chdir("/"), 0);
	check(statfs("/proc", &status) < 0);
	/* If the umask does not affect the mode, neither is needed. */
	require_int(beam_listener_new(&listener, "/socket", NULL), 0);
	expect_served(listener, "/socket");
	listener = beam_listener_unref(listener);
	spot = (struct spot){.folder = "/"};
	r = listen_with_umask(&listener, "/socket");
	check_int(r, has_fchmodat2() ? 0 : -EOPNOTSUPP);
	if (r == 0) {
		check_int(mode_of("/socket"), 0666);
		expect_served(listener, "socket");
		beam_listener_unref(listener);
	}
	check(!exists("/socket") && !exists("/socket.lock"));
	/* Restores the root, because checkers need it at exit. */
	require_int(fchdir(root), 0);
	require_int(chroot("."), 0);
	close(root);
	return 0;
}

static void test_a_server_in_a_chroot_without_proc_listens(void)
{
	if (geteuid() != 0)
		skip("only root can change its root");
	needs_threads_in_children();
	spot_make(&spot);
	check_int(process_wait(process_spawn(child_listens_without_proc, NULL)), 0);
	spot_end(&spot);
}

/* fchmodat2() is only used if /proc does not work. */
static void test_permissions_are_set_with_proc_or_without(void)
{
	beam_listener *listener = NULL;

	spot_make(&spot);
	fault_only(FAULT(SYS_FCHMODAT2));
	fault_at(1, ENOSYS, FAULT_STICKY);
	check_int(listen_with_umask(&listener, spot.path), 0);
	check(!fault_hit());
	check_int(mode_of(spot.path), 0666);
	listener = beam_listener_unref(listener);
	fault_off();
	fault_only(FAULT(SYS_CHMOD));
	fault_at(1, ENOENT, FAULT_STICKY);
	check_int(listen_with_umask(&listener, spot.path), has_fchmodat2() ? 0 : -EOPNOTSUPP);
	fault_off();
	listener = beam_listener_unref(listener);
	fault_only(FAULT(SYS_CHMOD) | FAULT(SYS_FCHMODAT2));
	fault_at(1, ENOSYS, FAULT_STICKY);
	check_int(listen_with_umask(&listener, spot.path), -EOPNOTSUPP);
	fault_at(1, EPERM, FAULT_STICKY);
	check_int(listen_with_umask(&listener, spot.path), -EPERM);
	fault_off();
	check(listener == NULL);
	spot_end(&spot);
}

static const struct test tests[] = {
    TEST(test_a_relative_path_is_left_where_it_was_after_the_working_directory_has_changed),
    TEST(test_a_folder_that_was_renamed_is_still_the_sockets),
    TEST(test_a_path_through_a_descriptor_outlives_the_descriptor),
    TEST(test_a_path_that_ends_with_a_slash_is_no_place_for_a_socket),
    TEST(test_the_longest_path_is_listened_at),
    TEST(test_a_path_longer_than_an_address_is_reached_through_a_descriptor),
    TEST(test_a_server_in_a_chroot_without_proc_listens),
    TEST(test_permissions_are_set_with_proc_or_without),
};

HARNESS_MAIN("listener/folder", tests)
