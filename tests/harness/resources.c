/* SPDX-License-Identifier: MIT */
/* What this process has: descriptors and memory. */
#include <dirent.h>
#include <fcntl.h>
#include <harness/internal.h>
#include <malloc.h>

/* Files */

static void template_of_files(char path[FOLDER_SIZE])
{
	static const char name[] = "beam-test-XXXXXX";
	const char *folder = getenv("TMPDIR");

	if (!folder || folder[0] != '/' || strlen(folder) + sizeof "/" + sizeof name > FOLDER_SIZE)
		folder = "/tmp";
	snprintf(path, FOLDER_SIZE, "%s/%s", folder, name);
}

void folder_make(char folder[FOLDER_SIZE])
{
	template_of_files(folder);
	require(mkdtemp(folder) != NULL);
}

int file_make(char path[FOLDER_SIZE])
{
	int fd;

	template_of_files(path);
	fd = mkostemp(path, O_CLOEXEC);
	require(fd >= 0);
	return fd;
}

/* Descriptors */

bool fd_open(int fd)
{
	char path[32], link[8];

	/* Not fcntl(), because Valgrind reports a bad descriptor as an error. */
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return readlink(path, link, sizeof link) >= 0;
}

/*
 * The descriptor that an entry of /proc/self/fd stands for. -1: none, or the one that reads the
 * folder.
 */
static int listed_fd(DIR *folder, const struct dirent *file)
{
	int fd = file->d_name[0] == '.' ? -1 : (int)strtol(file->d_name, NULL, 10);

	return fd == dirfd(folder) ? -1 : fd;
}

void fd_snapshot_take(struct fd_snapshot *snapshot)
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *file;

	snapshot->n = 0;
	if (!folder) {
		fail("/proc/self/fd cannot be read");
		return;
	}
	while ((file = readdir(folder)) && snapshot->n < sizeof snapshot->entries / sizeof snapshot->entries[0]) {
		struct fd_entry *entry = &snapshot->entries[snapshot->n];
		char path[300];
		ssize_t size;

		entry->fd = listed_fd(folder, file);
		if (entry->fd < 0)
			continue;
		snprintf(path, sizeof path, "/proc/self/fd/%s", file->d_name);
		size = readlink(path, entry->link, sizeof entry->link - 1);
		if (size < 0)
			continue;
		entry->link[size] = '\0';
		snapshot->n++;
	}
	closedir(folder);
}

static const struct fd_entry *fd_snapshot_find(const struct fd_snapshot *snapshot, int fd)
{
	for (size_t i = 0; i < snapshot->n; i++)
		if (snapshot->entries[i].fd == fd)
			return &snapshot->entries[i];
	return NULL;
}

/*
 * How many descriptors of `of` are not the same in `in`. Reports them as `what` unless that is
 * NULL.
 */
static unsigned fds_missing(const struct fd_snapshot *of, const struct fd_snapshot *in, const char *what)
{
	unsigned n = 0;

	for (size_t i = 0; i < of->n; i++) {
		const struct fd_entry *entry = &of->entries[i], *other = fd_snapshot_find(in, entry->fd);

		if (other && strcmp(entry->link, other->link) == 0)
			continue;
		n++;
		if (what)
			fail("%s: descriptor %d, %s", what, entry->fd, entry->link);
	}
	return n;
}

static int settle_ms = 5000;

void harness_settle(int milliseconds)
{
	settle_ms = milliseconds;
}

bool check_fds(const struct fd_snapshot *before)
{
	struct harness_wait wait = harness_wait_begin(settle_ms);
	struct fd_snapshot *now = malloc(sizeof *now);
	unsigned n;

	if (!now) {
		fail("no memory");
		return false;
	}
	do {
		fd_snapshot_take(now);
		n = fds_missing(now, before, NULL) + fds_missing(before, now, NULL);
	} while (n && harness_wait_more(&wait));
	if (n) {
		fds_missing(now, before, "left open");
		fds_missing(before, now, "closed, but not its own");
	}
	free(now);
	return n == 0;
}

size_t open_fds(void)
{
	DIR *folder = opendir("/proc/self/fd");
	struct dirent *file;
	size_t n = 0;

	if (!folder)
		return 0;
	while ((file = readdir(folder)))
		if (listed_fd(folder, file) >= 0)
			n++;
	closedir(folder);
	return n;
}

/* Memory */

size_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	char line[128] = "";
	char *resident;
	size_t pages = 0;

	if (!file)
		return 0;
	/* First all pages, then those in RAM. */
	if (fgets(line, sizeof line, file) && (resident = strchr(line, ' ')))
		pages = strtoul(resident, NULL, 10);
	fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

size_t allocated_bytes(void)
{
#ifdef __GLIBC__
	struct mallinfo2 info = mallinfo2();

	return under_valgrind() || under_sanitizer() ? 0 : info.uordblks + info.hblkhd;
#else
	return 0;
#endif
}
