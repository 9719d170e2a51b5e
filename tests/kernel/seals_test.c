/* SPDX-License-Identifier: MIT */
/* What the kernel promises: what seals guarantee for a memfd, and what they do not. */
#include <fcntl.h>
#include <kernel/raw.h>
#include <kernel/stuck_reader.h>
#include <stdatomic.h>
#include <sys/stat.h>

enum { PAGE = 4096, PAGES = 16, SIZE = PAGES * PAGE };

/* A memfd whose pages are all allocated. */
static int memfd(void)
{
	int fd = memfd_create("beam-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	require(fd >= 0);
	require_int(fallocate(fd, 0, 0, SIZE), 0);
	return fd;
}

static blkcnt_t pages_in(int fd)
{
	struct stat status;

	require_int(fstat(fd, &status), 0);
	return status.st_blocks * 512 / PAGE;
}

static char *map(int fd, int protection, int flags)
{
	char *data = mmap(NULL, SIZE, protection, flags, fd, 0);

	require(data != MAP_FAILED);
	return data;
}

static void test_a_writable_mapping_keeps_a_memfd_from_being_sealed_and_a_private_one_does_not(void)
{
	int fd = memfd();
	char *shared = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED), *private = map(fd, PROT_READ, MAP_PRIVATE);

	check_int(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	check_int(errno, EBUSY);
	/* A mapping that is now read-only also counts, because it could be made writable again. */
	check_int(mprotect(shared, SIZE, PROT_READ), 0);
	check_int(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	check_int(errno, EBUSY);
	munmap(shared, SIZE);
	check_int(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	munmap(private, SIZE);
	close(fd);
}

static void test_a_private_mapping_takes_the_place_of_a_shared_one_and_shows_the_same_pages(void)
{
	int fd = memfd();
	char *data = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED);

	strcpy(data, "written");
	check(mmap(data, SIZE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == data);
	check_string(data, "written");
	check_int(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	check_string(data, "written");
	check_int(pages_in(fd), PAGES);
	munmap(data, SIZE);
	close(fd);
}

static void test_sealed_against_future_writes_only_it_can_still_be_written_to_by_an_older_mapping(void)
{
	int fd = memfd();
	char *data = map(fd, PROT_READ | PROT_WRITE, MAP_SHARED), *other;

	check_int(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE), 0);
	other = map(fd, PROT_READ, MAP_PRIVATE);
	strcpy(data, "before");
	check_string(other, "before");
	strcpy(data, "after");
	check_string(other, "after");
	munmap(data, SIZE);
	munmap(other, SIZE);
	close(fd);
}

static void test_reading_a_hole_of_a_sealed_memfd_takes_memory(void)
{
	int fd = memfd_create("beam-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	volatile char *data;

	require_int(ftruncate(fd, SIZE), 0);
	check_int(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL), 0);
	check_int(pages_in(fd), 0);
	data = map(fd, PROT_READ, MAP_PRIVATE);
	for (size_t i = 0; i < PAGES; i++)
		check_int(data[i * PAGE], 0);
	check_int(pages_in(fd), PAGES);
	munmap((void *)(uintptr_t)data, SIZE);
	close(fd);
}

static void test_memory_behind_the_end_of_a_file_counts_as_in_it(void)
{
	int fd = memfd_create("beam-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct stat status;

	require_int(ftruncate(fd, SIZE), 0);
	check_int(fallocate(fd, FALLOC_FL_KEEP_SIZE, SIZE, SIZE), 0);
	require_int(fstat(fd, &status), 0);
	check_int(status.st_size, SIZE);
	check_int(pages_in(fd), PAGES);
	close(fd);
}

/* ---- Operations that wait for a reader ------------------------------------------------------- */

struct seeker {
	int fd;
	_Atomic pid_t number;
};

static void *seek_hole(void *argument)
{
	struct seeker *seeker = argument;

	atomic_store(&seeker->number, thread_number());
	check_int(lseek(seeker->fd, 0, SEEK_HOLE), SIZE);
	return NULL;
}

static void test_lseek_can_wait_for_whoever_reads_the_file_but_asking_for_seals_and_size_and_mapping_do_not(void)
{
	static char zeroes[SIZE];
	struct stuck_reader reader;
	struct seeker seeker = {0};
	int fd = memfd();
	pthread_t thread;
	char *data;

	require_int(write(fd, zeroes, SIZE), SIZE);
	check_int(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE), 0);
	stuck_reader_start(&reader, fd);
	seeker.fd = reader.file;
	thread = thread_spawn(seek_hole, &seeker);
	check_within(20000, thread_state(atomic_load(&seeker.number)) == 'D');

	check_int(fcntl(reader.file, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_WRITE);
	check_int(pages_in(reader.file), PAGES);
	data = map(reader.file, PROT_READ, MAP_PRIVATE);
	check_int(data[SIZE - 1], 0);
	munmap(data, SIZE);

	check(thread_state(atomic_load(&seeker.number)) == 'D');
	stuck_reader_end(&reader);
	thread_wait(thread);
	close(fd);
}

static const struct test tests[] = {
    TEST(test_a_writable_mapping_keeps_a_memfd_from_being_sealed_and_a_private_one_does_not),
    TEST(test_a_private_mapping_takes_the_place_of_a_shared_one_and_shows_the_same_pages),
    TEST(test_sealed_against_future_writes_only_it_can_still_be_written_to_by_an_older_mapping),
    TEST(test_reading_a_hole_of_a_sealed_memfd_takes_memory),
    TEST(test_memory_behind_the_end_of_a_file_counts_as_in_it),
    TEST(test_lseek_can_wait_for_whoever_reads_the_file_but_asking_for_seals_and_size_and_mapping_do_not),
};

HARNESS_MAIN("kernel/seals", tests)
