/* SPDX-License-Identifier: MIT */
/* Shared buffers: made, filled, sealed, attached, taken. What a peer sends in their place is in tests/hostile. */
#include <base/thread.h>
#include <beam/buffer.h>
#include <harness/fault.h>
#include <harness/harness.h>
#include <kernel/raw.h>
#include <socket/reaper.h>

#include <sys/resource.h>

enum { PAGE = 4096 };

static beam_buffer *new_buffer(size_t size)
{
	beam_buffer *buffer = NULL;

	require_int(beam_buffer_new(&buffer, size), 0);
	return buffer;
}

static beam_message *new_message(void)
{
	beam_message *message = NULL;

	require_int(beam_message_new(&message, "buffer", 6), 0);
	return message;
}

/* The message goes with what it still has. */
static void free_message(beam_message *message)
{
	beam_message_free(message);
	check(reaper_drain(BEAM_FOREVER));
}

/* The descriptor that comes next: a buffer gives its own only when it is sealed. */
static int next_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

/* How many mappings of buffers there are; `permissions`, if not NULL, takes those of the last, as in "r--p". */
static size_t count_mappings(char permissions[8])
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	size_t n = 0;

	require(maps != NULL);
	while (fgets(line, sizeof line, maps)) {
		if (!strstr(line, "/memfd:beam-buffer"))
			continue;
		n++;
		if (permissions)
			check_int(sscanf(line, "%*s %7s", permissions), 1);
	}
	fclose(maps);
	return n;
}

static void fill(void *to, size_t size)
{
	struct rng rng = rng_new(size);

	rng_fill(&rng, to, size);
}

static void check_filled(const void *data, size_t size)
{
	unsigned char *expected = malloc(size);

	require(expected != NULL);
	fill(expected, size);
	check_bytes(data, expected, size);
	free(expected);
}

/* ---- Made and filled ------------------------------------------------------------------------------------------------------------ */

static void test_a_buffer_is_zero_and_all_its_memory_is_there(void)
{
	static const char zeroes[3 * PAGE];
	int fd = next_fd();
	beam_buffer *buffer = new_buffer(sizeof zeroes);
	struct stat status;

	check_int(beam_buffer_size(buffer), sizeof zeroes);
	check(beam_buffer_writable(buffer) == beam_buffer_data(buffer));
	check_bytes(beam_buffer_data(buffer), zeroes, sizeof zeroes);
	require_int(fstat(fd, &status), 0);
	check_int(status.st_size, sizeof zeroes);
	check_int(status.st_blocks * 512, sizeof zeroes);
	check_int(fcntl(fd, F_GETFD), FD_CLOEXEC);
	beam_buffer_free(buffer);
	check_int(count_mappings(NULL), 0);
}

static void test_buffers_of_every_size_around_the_edges_arrive_whole(void)
{
	const size_t sizes[] = {1, 7, PAGE - 1, PAGE, PAGE + 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (3 << 20) + 5};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		beam_buffer *buffer = new_buffer(sizes[i]), *taken = NULL;
		beam_message *message = new_message();

		harness_context("%zu bytes", sizes[i]);
		fill(beam_buffer_writable(buffer), sizes[i]);
		check_int(beam_message_add_buffer(message, buffer), 0);
		beam_buffer_free(buffer);
		require_int(beam_message_take_buffer(message, 0, sizes[i], &taken), 0);
		free_message(message);
		check_int(beam_buffer_size(taken), sizes[i]);
		check_filled(beam_buffer_data(taken), sizes[i]);
		beam_buffer_free(taken);
	}
	check_int(count_mappings(NULL), 0);
}

static void test_impossible_sizes_are_refused(void)
{
	beam_buffer *buffer = NULL;

	check_int(beam_buffer_new(&buffer, 0), -EINVAL);
	check_int(beam_buffer_new(&buffer, SIZE_MAX), -ENOMEM);
	check_int(beam_buffer_new(&buffer, SIZE_MAX / 4 * 3), -ENOMEM);
	check(buffer == NULL);
}

static void test_a_buffer_is_as_large_as_a_file_may_be_and_no_larger(void)
{
	struct rlimit before, small;
	beam_buffer *buffer = NULL;

	require_int(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = 2 * PAGE;
	/* Past it the kernel would end us by SIGXFSZ. */
	require_int(setrlimit(RLIMIT_FSIZE, &small), 0);
	check_int(beam_buffer_new(&buffer, 2 * PAGE + 1), -EFBIG);
	check(buffer == NULL);
	check_int(beam_buffer_new(&buffer, 2 * PAGE), 0);
	require_int(setrlimit(RLIMIT_FSIZE, &before), 0);
	beam_buffer_free(buffer);
}

/* ---- Sealed ----------------------------------------------------------------------------------------------------------------------- */

static void test_a_sealed_buffer_stays_where_it_is_and_nobody_can_change_it(void)
{
	beam_buffer *buffer = new_buffer(2 * PAGE);
	const void *data = beam_buffer_data(buffer);
	char permissions[8] = "";
	int fd;

	fill(beam_buffer_writable(buffer), 2 * PAGE);
	check_int(count_mappings(permissions), 1);
	check_string(permissions, "rw-s");
	fd = beam_buffer_seal(buffer);
	require(fd >= 0);
	check(beam_buffer_writable(buffer) == NULL);
	check(beam_buffer_data(buffer) == data);
	check_filled(data, 2 * PAGE);
	check_int(count_mappings(permissions), 1);
	check_string(permissions, "r--p");

	check_int(pwrite(fd, "x", 1, 0), -1);
	check_int(ftruncate(fd, PAGE), -1);
	check_int(ftruncate(fd, 3 * PAGE), -1);
	check_int(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), -1);
	check(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	check_filled(data, 2 * PAGE);
	beam_buffer_free(buffer);
}

static void test_sealing_again_gives_the_same_descriptor(void)
{
	beam_buffer *buffer = new_buffer(1);
	int fd = beam_buffer_seal(buffer);

	check(fd_open(fd));
	check_int(beam_buffer_seal(buffer), fd);
	beam_buffer_free(buffer);
	check(!fd_open(fd));
}

static void test_a_buffer_that_something_else_writes_to_can_be_filled_and_sealed_later(void)
{
	int fd = next_fd();
	beam_buffer *buffer = new_buffer(PAGE);
	beam_message *message = new_message();
	char *other = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	require(other != MAP_FAILED);
	check_int(beam_buffer_seal(buffer), -EBUSY);
	check_int(beam_message_add_buffer(message, buffer), -EBUSY);
	check_int(beam_message_attachments(message), 0);
	require(beam_buffer_writable(buffer) != NULL);
	strcpy(beam_buffer_writable(buffer), "written after");
	check_string(other, "written after");
	munmap(other, PAGE);
	check_int(beam_message_add_buffer(message, buffer), 0);
	check_string((const char *)beam_buffer_data(buffer), "written after");
	beam_buffer_free(buffer);
	free_message(message);
}

/* Each thread attaches the buffer to messages of its own, takes it from there, and reads. */
static void *send_and_read(void *argument)
{
	beam_buffer *buffer = argument, *taken = NULL;

	for (int i = 0; i < 20; i++) {
		beam_message *message = new_message();

		check_int(beam_message_add_buffer(message, buffer), 0);
		check_int(beam_message_take_buffer(message, 0, SIZE_MAX, &taken), 0);
		beam_message_free(message);
		check_filled(beam_buffer_data(buffer), 3 * PAGE);
		check_filled(beam_buffer_data(taken), 3 * PAGE);
		beam_buffer_free(taken);
	}
	return NULL;
}

static void test_a_sealed_buffer_is_read_and_sent_by_many_threads(void)
{
	beam_buffer *buffer = new_buffer(3 * PAGE);
	pthread_t threads[4];

	fill(beam_buffer_writable(buffer), 3 * PAGE);
	check(beam_buffer_seal(buffer) >= 0);
	for (size_t i = 0; i < 4; i++)
		threads[i] = thread_spawn(send_and_read, buffer);
	for (size_t i = 0; i < 4; i++)
		thread_wait(threads[i]);
	beam_buffer_free(buffer);
}

/* ---- Taken ------------------------------------------------------------------------------------------------------------------------ */

static void test_what_is_taken_is_the_same_memory_read_only(void)
{
	beam_buffer *buffer = new_buffer(PAGE), *taken = NULL;
	beam_message *message = new_message();
	int file = raw_file();

	check_int(beam_message_add_fd(message, file), 0);
	check_int(beam_message_add_buffer(message, buffer), 0);
	check_int(beam_message_take_buffer(message, 1, PAGE, &taken), 0);
	check_int(beam_message_take_buffer(message, 1, PAGE, &taken), -ENOENT);
	check_int(beam_message_take_buffer(message, 2, PAGE, &taken), -ENOENT);
	check(beam_buffer_writable(taken) == NULL);
	check_int(raw_inode(beam_buffer_seal(taken)), raw_inode(beam_buffer_seal(buffer)));
	/* What was taken can go on. */
	check_int(beam_message_add_buffer(message, taken), 0);
	check_int(raw_inode(beam_message_peek_fd(message, 2)), raw_inode(beam_buffer_seal(buffer)));
	free_message(message);
	beam_buffer_free(buffer);
	check_bytes(beam_buffer_data(taken), "\0\0\0\0", 4);
	beam_buffer_free(taken);
	close(file);
}

static void test_a_buffer_is_taken_up_to_the_size_that_is_accepted(void)
{
	beam_buffer *buffer = new_buffer(PAGE + 1), *taken = NULL;
	beam_message *message = new_message();
	int fd;

	check_int(beam_message_add_buffer(message, buffer), 0);
	fd = beam_message_peek_fd(message, 0);
	check_int(beam_message_take_buffer(message, 0, 0, &taken), -EMSGSIZE);
	check_int(beam_message_take_buffer(message, 0, PAGE, &taken), -EMSGSIZE);
	check(taken == NULL);
	check_int(beam_message_peek_fd(message, 0), fd);
	check_int(beam_message_take_buffer(message, 0, PAGE + 1, &taken), 0);
	beam_buffer_free(taken);
	beam_buffer_free(buffer);
	free_message(message);
}

static void test_no_buffer_is_an_error_or_nothing_but_never_a_crash(void)
{
	beam_buffer *buffer = new_buffer(1);
	beam_message *message = new_message();

	check_int(beam_buffer_new(NULL, 1), -EINVAL);
	beam_buffer_free(NULL);
	check(beam_buffer_data(NULL) == NULL);
	check(beam_buffer_writable(NULL) == NULL);
	check_int(beam_buffer_size(NULL), 0);
	check_int(beam_buffer_seal(NULL), -EINVAL);
	check_int(beam_message_add_buffer(message, NULL), -EINVAL);
	check_int(beam_message_add_buffer(NULL, buffer), -EINVAL);
	check_int(beam_message_take_buffer(NULL, 0, 1, &buffer), -EINVAL);
	check_int(beam_message_take_buffer(message, 0, 1, NULL), -EINVAL);
	beam_buffer_free(buffer);
	free_message(message);
}

/* ---- Cancellation ------------------------------------------------------------------------------------------------------------------ */

struct cancelled {
	beam_message *message;
	int made, added, taken;
};

/* A thread that was cancelled already comes through all that can be done with a buffer. */
static void *live_cancelled(void *argument)
{
	struct cancelled *cancelled = argument;
	beam_buffer *buffer = NULL, *taken = NULL;

	pthread_cancel(pthread_self());
	cancelled->made = beam_buffer_new(&buffer, PAGE);
	cancelled->added = beam_message_add_buffer(cancelled->message, buffer);
	cancelled->taken = beam_message_take_buffer(cancelled->message, 0, PAGE, &taken);
	beam_buffer_free(taken);
	beam_buffer_free(buffer);
	pthread_testcancel();
	return NULL;
}

static void test_a_thread_that_is_cancelled_leaves_no_buffer_behind(void)
{
	struct cancelled cancelled = {new_message(), 1, 1, 1};
	pthread_t thread;
	void *result;

	require_int(pthread_create(&thread, NULL, live_cancelled, &cancelled), 0);
	require_int(pthread_join(thread, &result), 0);
	check(result == PTHREAD_CANCELED);
	check_int(cancelled.made, 0);
	check_int(cancelled.added, 0);
	check_int(cancelled.taken, 0);
	check_int(count_mappings(NULL), 0);
	free_message(cancelled.message);
}

/* ---- Fork ------------------------------------------------------------------------------------------------------------------------- */

struct inherited {
	beam_buffer *filled, *sealed;
	int go[2];
};

/* The parent's buffer is not there, but can be let go of; the sealed one is whole. */
static int look_at(void *argument)
{
	struct inherited *inherited = argument;
	beam_buffer *own;
	char go;

	check_int(count_mappings(NULL), 1);
	check(beam_buffer_data(inherited->filled) == NULL);
	check(beam_buffer_writable(inherited->filled) == NULL);
	check_int(beam_buffer_seal(inherited->filled), -ECHILD);
	check_int(beam_buffer_size(inherited->filled), PAGE);
	check(fd_open(beam_buffer_seal(inherited->sealed)));
	check_filled(beam_buffer_data(inherited->sealed), PAGE);
	own = new_buffer(PAGE);
	strcpy(beam_buffer_writable(own), "the child's own");
	check(beam_buffer_seal(own) >= 0);
	check(beam_buffer_data(inherited->filled) == NULL);
	check_int(write(inherited->go[1], "r", 1), 1);
	check_int(read(inherited->go[1], &go, 1), 1);
	/* Its addresses may be another's by now. */
	beam_buffer_free(inherited->filled);
	check_string((const char *)beam_buffer_data(own), "the child's own");
	beam_buffer_free(own);
	beam_buffer_free(inherited->sealed);
	check_int(count_mappings(NULL), 0);
	return 0;
}

static void test_a_child_keeps_no_buffer_from_being_sealed_and_has_only_what_was_sealed(void)
{
	struct inherited inherited = {.filled = new_buffer(PAGE), .sealed = new_buffer(PAGE)};
	pid_t child;
	char ready;

	fill(beam_buffer_writable(inherited.sealed), PAGE);
	check(beam_buffer_seal(inherited.sealed) >= 0);
	strcpy(beam_buffer_writable(inherited.filled), "the parent's");
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, inherited.go), 0);
	child = process_spawn(look_at, &inherited);
	check_int(read(inherited.go[0], &ready, 1), 1);
	check(beam_buffer_seal(inherited.filled) >= 0);
	check_string((const char *)beam_buffer_data(inherited.filled), "the parent's");
	check_int(write(inherited.go[0], "g", 1), 1);
	check_int(process_wait(child), 0);
	beam_buffer_free(inherited.filled);
	beam_buffer_free(inherited.sealed);
	close(inherited.go[0]);
	close(inherited.go[1]);
}

/* ---- Faults ----------------------------------------------------------------------------------------------------------------------- */

/* The rest of a life; what was filled in stays. */
static void seal_and_pass(beam_buffer *buffer)
{
	beam_message *message = NULL;
	beam_buffer *taken = NULL;
	int r = beam_buffer_seal(buffer);

	check(r >= 0 || r == -ENOMEM || r == -EMFILE);
	check(r < 0 || beam_buffer_writable(buffer) == NULL);
	check_string((const char *)beam_buffer_data(buffer), "filled");
	/* What failed once can be done again. */
	if (r < 0 && beam_buffer_writable(buffer))
		strcpy(beam_buffer_writable(buffer), "filled");
	if (beam_message_new(&message, "", 0) < 0)
		return;
	r = beam_message_add_buffer(message, buffer);
	check(r == 0 || r == -ENOMEM || r == -EMFILE);
	if (r == 0) {
		r = beam_message_take_buffer(message, 0, PAGE, &taken);
		/* What the kernel does not tell is not vouched for. */
		check(r == 0 || r == -ENOMEM || r == -EBADMSG);
		check((r == 0) == (taken != NULL));
		check_int(beam_message_peek_fd(message, 0) == -ENOENT, r == 0);
		if (taken)
			check_string((const char *)beam_buffer_data(taken), "filled");
		beam_buffer_free(taken);
	}
	beam_message_free(message);
}

static void live(void)
{
	beam_buffer *buffer = NULL;
	int r = beam_buffer_new(&buffer, PAGE);

	check(r == 0 || r == -ENOMEM || r == -EMFILE || r == -ENOSPC);
	check((r == 0) == (buffer != NULL));
	if (r == 0) {
		strcpy(beam_buffer_writable(buffer), "filled");
		seal_and_pass(buffer);
		beam_buffer_free(buffer);
	}
	check(reaper_drain(BEAM_FOREVER));
	/* To Valgrind a thread that is there at the end of one run and not of another looks like lost memory. */
	if (under_valgrind())
		check(thread_end_all(BEAM_FOREVER));
	check_int(count_mappings(NULL), 0);
}

static void test_no_fault_leaves_memory_a_mapping_or_a_descriptor(void)
{
	check(fault_sweep(live) >= 14);
}

static void test_signals_and_old_kernels_are_no_reason_to_fail(void)
{
	const struct {
		enum sys_call call;
		int error;
	} passing[] = {{SYS_FALLOCATE, EINTR}, {SYS_MEMFD_CREATE, EINVAL}};

	for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) {
		beam_buffer *buffer = NULL;

		fault_only(FAULT(passing[i].call));
		fault_at(1, passing[i].error, false);
		check_int(beam_buffer_new(&buffer, 2 << 20), 0);
		check(fault_hit());
		fault_off();
		fill(beam_buffer_writable(buffer), 2 << 20);
		check(beam_buffer_seal(buffer) >= 0);
		beam_buffer_free(buffer);
	}
}

static void test_a_buffer_that_could_neither_be_sealed_nor_mapped_back_is_sealed_later(void)
{
	const enum sys_call way_back[] = {SYS_MMAP, SYS_MADVISE};

	for (size_t i = 0; i < 2; i++) {
		beam_buffer *buffer = new_buffer(PAGE);

		strcpy(beam_buffer_writable(buffer), "filled");
		/* The seals fail, and what comes next. */
		fault_only(FAULT(SYS_FCNTL) | FAULT(way_back[i]));
		fault_at(way_back[i] == SYS_MMAP ? 2 : 1, ENOMEM, true);
		check_int(beam_buffer_seal(buffer), -ENOMEM);
		fault_off();
		check(beam_buffer_writable(buffer) == NULL);
		check_string((const char *)beam_buffer_data(buffer), "filled");
		check(beam_buffer_seal(buffer) >= 0);
		check_string((const char *)beam_buffer_data(buffer), "filled");
		beam_buffer_free(buffer);
	}
}

static const struct test tests[] = {
    TEST(test_a_buffer_is_zero_and_all_its_memory_is_there),
    TEST(test_buffers_of_every_size_around_the_edges_arrive_whole),
    TEST(test_impossible_sizes_are_refused),
    TEST(test_a_buffer_is_as_large_as_a_file_may_be_and_no_larger),
    TEST(test_a_sealed_buffer_stays_where_it_is_and_nobody_can_change_it),
    TEST(test_sealing_again_gives_the_same_descriptor),
    TEST(test_a_buffer_that_something_else_writes_to_can_be_filled_and_sealed_later),
    TEST(test_a_sealed_buffer_is_read_and_sent_by_many_threads),
    TEST(test_what_is_taken_is_the_same_memory_read_only),
    TEST(test_a_buffer_is_taken_up_to_the_size_that_is_accepted),
    TEST(test_no_buffer_is_an_error_or_nothing_but_never_a_crash),
    TEST(test_a_thread_that_is_cancelled_leaves_no_buffer_behind),
    TEST(test_a_child_keeps_no_buffer_from_being_sealed_and_has_only_what_was_sealed),
    TEST(test_no_fault_leaves_memory_a_mapping_or_a_descriptor),
    TEST(test_signals_and_old_kernels_are_no_reason_to_fail),
    TEST(test_a_buffer_that_could_neither_be_sealed_nor_mapped_back_is_sealed_later),
};

HARNESS_MAIN("buffer", tests)
