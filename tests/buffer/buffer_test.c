/* SPDX-License-Identifier: MIT */
/*
 * Shared buffers: creating, filling, sealing, attaching and taking them. What a peer may send in
 * their place is in tests/hostile.
 */
#include <buffer/content.h>
#include <fcntl.h>
#include <kernel/raw.h>
#include <sys/resource.h>

/* The number of the next descriptor. A buffer shows its own only when it is sealed. */
static int next_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

/* ---- Creating and filling -------------------------------------------------------------------- */

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
	/* A larger file would end the process with SIGXFSZ. */
	require_int(setrlimit(RLIMIT_FSIZE, &small), 0);
	check_int(beam_buffer_new(&buffer, 2 * PAGE + 1), -EFBIG);
	check(buffer == NULL);
	check_int(beam_buffer_new(&buffer, 2 * PAGE), 0);
	require_int(setrlimit(RLIMIT_FSIZE, &before), 0);
	beam_buffer_free(buffer);
}

/* ---- Sealing --------------------------------------------------------------------------------- */

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

/* Each thread attaches the buffer to messages of its own, takes it from them, and reads it. */
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

/* ---- Taking ---------------------------------------------------------------------------------- */

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
	/* A buffer that was taken can be sent on. */
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
};

HARNESS_MAIN("buffer", tests)
