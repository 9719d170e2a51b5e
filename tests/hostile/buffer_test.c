/* SPDX-License-Identifier: MIT */
/*
 * What a peer may send in place of a shared buffer: memory that it could still change or truncate,
 * memory that does not exist, and files that are not memory. The descriptor stays in its message,
 * and nothing is read from it.
 */
#include <hostile/attack.h>
#include <kernel/stuck_reader.h>
#include <sys/epoll.h>

enum { PAGE = 4096, SIZE = 4 * PAGE, ENOUGH = 1 << 30 };

static struct attack attack;

/* ---- Bait ------------------------------------------------------------------------------------ */

enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

/* A memfd with the size `size`, of which `there` bytes are allocated, and with these seals. */
static int memfd(unsigned flags, off_t size, off_t there, int seals)
{
	int fd = memfd_create("beam-bait", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd < 0)
		return fd;
	require_int(ftruncate(fd, size), 0);
	if (there > 0)
		require_int(fallocate(fd, 0, 0, there), 0);
	if (seals)
		require_int(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

/* Opens the same file again, with other flags. */
static int reopen(int fd, int flags)
{
	char path[64];
	int again;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	again = open(path, flags | O_CLOEXEC);
	require(again >= 0);
	close(fd);
	return again;
}

static int not_sealed(void)
{
	return memfd(0, SIZE, SIZE, 0);
}

static int sealed_but_for_its_end(void)
{
	return memfd(0, SIZE, SIZE, F_SEAL_GROW | F_SEAL_WRITE);
}

static int sealed_but_for_its_bytes(void)
{
	return memfd(0, SIZE, SIZE, F_SEAL_SHRINK | F_SEAL_GROW);
}

static int sealed_against_future_writes(void)
{
	return memfd(0, SIZE, SIZE, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
}

static int empty(void)
{
	return memfd(0, 0, 0, ALL_SEALS);
}

static int empty_with_memory_behind_its_end(void)
{
	int fd = memfd(0, 0, 0, 0);

	require_int(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, SIZE), 0);
	require_int(fcntl(fd, F_ADD_SEALS, ALL_SEALS), 0);
	return fd;
}

static int sparse(void)
{
	return memfd(0, SIZE, 0, ALL_SEALS);
}

static int enormous_and_sparse(void)
{
	return memfd(0, (off_t)1 << 40, PAGE, ALL_SEALS);
}

static int without_its_last_page(void)
{
	return memfd(0, SIZE + 1, SIZE, ALL_SEALS);
}

static int not_open_for_reading(void)
{
	return reopen(memfd(0, SIZE, SIZE, ALL_SEALS), O_WRONLY);
}

static int not_open_at_all(void)
{
	return reopen(memfd(0, SIZE, SIZE, ALL_SEALS), O_PATH);
}

/* Allocates a page if one is free. Without a page, the memfd is refused because it is sparse. */
static int of_huge_pages(void)
{
	enum { HUGE_PAGE = 2 << 20 };
	int fd = memfd(MFD_HUGETLB | 21u << MAP_HUGE_SHIFT, HUGE_PAGE, 0, 0);

	if (fd < 0)
		return fd;
	if (fallocate(fd, 0, 0, HUGE_PAGE) < 0)
		check_int(errno, ENOSPC);
	require_int(fcntl(fd, F_ADD_SEALS, ALL_SEALS), 0);
	return fd;
}

static int device(void)
{
	return open("/dev/zero", O_RDWR | O_CLOEXEC);
}

static int plain_file(void)
{
	char path[FOLDER_SIZE];
	int fd = file_make(path);

	require_int(unlink(path), 0);
	require_int(ftruncate(fd, SIZE), 0);
	return fd;
}

static int folder(void)
{
	return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int fifo(void)
{
	int ends[2];

	require_int(pipe2(ends, O_CLOEXEC), 0);
	close(ends[1]);
	return ends[0];
}

static int plain_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int epoll(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

struct bait {
	const char *name;
	int (*make)(void);
};

#define BAIT(name)                                                                                                     \
	{                                                                                                              \
#name, name                                                                                            \
	}

/* ---- What becomes of it ---------------------------------------------------------------------- */

/* The peer sends the descriptor in a message, which is received here. */
static beam_message *send_bait(int fd)
{
	beam_message *message = NULL;

	raw_text_with_fds(&attack.out, 1, "a buffer", 1);
	raw_peer_send_fds(&attack.peer, &attack.out, &fd, 1);
	require_int(beam_topic_receive(attack.topic, &message, 0, soon()), 1);
	return message;
}

static void expect_refused(const struct bait *bait)
{
	beam_buffer *buffer = NULL;
	beam_message *message;
	int fd = bait->make(), taken;

	harness_context("%s", bait->name);
	require(fd >= 0);
	attack_begin(&attack, NULL);
	message = send_bait(fd);
	check_int(beam_message_take_buffer(message, 0, SIZE_MAX, &buffer), -EBADMSG);
	check(buffer == NULL);
	/* It can be taken as an ordinary descriptor. */
	taken = beam_message_take_fd(message, 0);
	check_int(raw_inode(taken), raw_inode(fd));
	close(taken);
	close(fd);
	beam_message_free(message);
	expect_going_on(&attack);
	attack_end(&attack);
}

static void expect_all_refused(const struct bait *baits, size_t n)
{
	for (size_t i = 0; i < n; i++)
		expect_refused(&baits[i]);
}

static void test_what_could_be_cut_off_or_is_not_there_is_no_buffer(void)
{
	static const struct bait baits[] = {
	    BAIT(not_sealed),
	    BAIT(sealed_but_for_its_end),
	    BAIT(empty),
	    BAIT(empty_with_memory_behind_its_end),
	    BAIT(sparse),
	    BAIT(enormous_and_sparse),
	    BAIT(without_its_last_page),
	};

	expect_all_refused(baits, sizeof baits / sizeof *baits);
}

static void test_what_could_be_rewritten_is_no_buffer(void)
{
	static const struct bait baits[] = {
	    BAIT(not_sealed),
	    BAIT(sealed_but_for_its_bytes),
	    BAIT(sealed_against_future_writes),
	};

	expect_all_refused(baits, sizeof baits / sizeof *baits);
}

static void test_what_is_no_memory_or_cannot_be_read_is_no_buffer(void)
{
	static const struct bait baits[] = {
	    BAIT(device), BAIT(plain_file),           BAIT(folder),          BAIT(fifo), BAIT(plain_socket),
	    BAIT(epoll),  BAIT(not_open_for_reading), BAIT(not_open_at_all),
	};

	expect_all_refused(baits, sizeof baits / sizeof *baits);
}

static void test_what_lies_in_huge_pages_is_no_buffer(void)
{
	static const struct bait bait = BAIT(of_huge_pages);
	int fd = of_huge_pages();

	if (fd < 0)
		skip("no huge pages here: %s", strerror(errno));
	close(fd);
	expect_refused(&bait);
}

static void test_what_another_made_and_sealed_is_a_buffer_up_to_the_size_that_is_accepted(void)
{
	beam_buffer *buffer = NULL;
	beam_message *message;
	int fd = memfd(0, SIZE, SIZE, 0);

	attack_begin(&attack, NULL);
	require_int(pwrite(fd, "written", 7, SIZE - 7), 7);
	require_int(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE), 0);
	message = send_bait(fd);
	check_int(beam_message_take_buffer(message, 0, SIZE - 1, &buffer), -EMSGSIZE);
	check_int(raw_inode(beam_message_peek_fd(message, 0)), raw_inode(fd));
	require_int(beam_message_take_buffer(message, 0, SIZE, &buffer), 0);
	beam_message_free(message);
	close(fd);
	check_int(beam_buffer_size(buffer), SIZE);
	check_bytes((const char *)beam_buffer_data(buffer) + SIZE - 7, "written", 7);
	beam_buffer_free(buffer);
	attack_end(&attack);
}

static void test_where_no_attachment_came_there_is_no_buffer(void)
{
	beam_buffer *buffer = NULL;
	beam_message *message = NULL;

	attack_begin(&attack, NULL);
	raw_text(&attack.out, 1, "nothing attached");
	attack_send(&attack);
	require_int(beam_topic_receive(attack.topic, &message, 0, soon()), 1);
	check_int(beam_message_take_buffer(message, 0, ENOUGH, &buffer), -ENOENT);
	check(buffer == NULL);
	beam_message_free(message);
	attack_end(&attack);
}

/*
 * A sparse memfd can have pages beyond its end, which make up for the missing ones in its number of
 * blocks. This cannot be detected without operations that may block on the peer, so the buffer is
 * accepted. Reading it must not allocate more than the accepted size.
 */
static void test_what_hides_behind_the_end_takes_no_more_memory_than_was_accepted(void)
{
	beam_buffer *buffer = NULL;
	beam_message *message;
	struct stat before, after;
	int fd = memfd(0, SIZE, 0, 0);

	attack_begin(&attack, NULL);
	require_int(fallocate(fd, FALLOC_FL_KEEP_SIZE, SIZE, SIZE), 0);
	require_int(fcntl(fd, F_ADD_SEALS, ALL_SEALS), 0);
	message = send_bait(fd);
	check_int(beam_message_take_buffer(message, 0, SIZE - 1, &buffer), -EMSGSIZE);
	require_int(beam_message_take_buffer(message, 0, SIZE, &buffer), 0);
	require_int(fstat(fd, &before), 0);
	for (size_t i = 0; i < SIZE; i++)
		check_int(((const char *)beam_buffer_data(buffer))[i], 0);
	require_int(fstat(fd, &after), 0);
	check((after.st_blocks - before.st_blocks) * 512 <= SIZE);
	beam_message_free(message);
	beam_buffer_free(buffer);
	close(fd);
	attack_end(&attack);
}

static void test_a_peer_that_holds_the_locks_of_its_buffer_holds_up_nobody(void)
{
	beam_buffer *buffer = NULL;
	struct stuck_reader reader;
	beam_message *message;
	int fd = memfd(0, SIZE, SIZE, ALL_SEALS);

	stuck_reader_start(&reader, fd);
	attack_begin(&attack, NULL);
	message = send_bait(reader.file);
	require_int(beam_message_take_buffer(message, 0, SIZE, &buffer), 0);
	check_int(((const char *)beam_buffer_data(buffer))[SIZE - 1], 0);
	beam_buffer_free(buffer);
	beam_message_free(message);
	attack_end(&attack);
	stuck_reader_end(&reader);
	close(fd);
}

static const struct test tests[] = {
    TEST(test_what_could_be_cut_off_or_is_not_there_is_no_buffer),
    TEST(test_what_could_be_rewritten_is_no_buffer),
    TEST(test_what_is_no_memory_or_cannot_be_read_is_no_buffer),
    TEST(test_what_lies_in_huge_pages_is_no_buffer),
    TEST(test_what_another_made_and_sealed_is_a_buffer_up_to_the_size_that_is_accepted),
    TEST(test_where_no_attachment_came_there_is_no_buffer),
    TEST(test_what_hides_behind_the_end_takes_no_more_memory_than_was_accepted),
    TEST(test_a_peer_that_holds_the_locks_of_its_buffer_holds_up_nobody),
};

HARNESS_MAIN("hostile/buffer", tests)
