/* SPDX-License-Identifier: MIT */
/*
 * Waiting for a socket or a kick. Every wait of the library for a descriptor is here, except those
 * that use epoll.
 *
 * ppoll() fails with EINVAL if it has more entries than RLIMIT_NOFILE allows descriptors. A program
 * that wants to open nothing more lowers that limit, often to 0, and keeps what it has open.
 * select() ignores the limit. Its sets are made here, because an fd_set ends at 1,024.
 */
#include <base/clock.h>
#include <base/sys.h>
#include <socket/socket.h>
#include <string.h>

/*
 * How often a wait ends to check for what select() does not report: that a socket has hung up while
 * it is full and a thread waits to write to it.
 */
enum { LOOK_MS = 50, WORD_BITS = 8 * sizeof(unsigned long) };

static void put(unsigned long *set, int fd)
{
	set[fd / WORD_BITS] |= 1ul << (fd % WORD_BITS);
}

static bool has(const unsigned long *set, int fd)
{
	return set[fd / WORD_BITS] >> (fd % WORD_BITS) & 1;
}

/* Two sets of the descriptors below `n`, each of `bytes` bytes. */
struct sets {
	unsigned long *in, *out;
	size_t bytes;
	int n;
};

static int wait_for_sets(const struct sets *sets, int fd, short events, int kick, beam_deadline until)
{
	struct timespec storage;
	int n;

	do {
		memset(sets->in, 0, 2 * sets->bytes);
		if (events & POLLIN)
			put(sets->in, fd);
		if (events & POLLOUT)
			put(sets->out, fd);
		if (kick >= 0)
			put(sets->in, kick);
		n = sys_pselect(sets->n, sets->in, sets->out, deadline_timeout(until, &storage));
	} while (n < 0 && errno == EINTR);
	return n;
}

/* Used when there is no memory. Acts as if the socket were ready every now and then. */
static int wait_for_nothing(beam_deadline deadline)
{
	struct timespec storage;

	sys_pselect(0, NULL, NULL, deadline_timeout(deadline_earlier(deadline, beam_in_ms(LOOK_MS)), &storage));
	return deadline_passed(deadline) ? deadline_error(deadline) : 1;
}

/* Like socket_wait(). */
static int wait_by_select(int fd, short events, int kick, beam_deadline deadline)
{
	int most = fd > kick ? fd : kick, n, error;
	bool looks = events & POLLOUT, kicked;
	struct sets sets = {.bytes = ((size_t)(most + 1) / WORD_BITS + 1) * sizeof *sets.in, .n = most + 1};

	sets.in = sys_calloc(2, sets.bytes);
	if (!sets.in)
		return wait_for_nothing(deadline);
	sets.out = sets.in + sets.bytes / sizeof *sets.in;
	n = wait_for_sets(&sets, fd, events, kick, looks ? deadline_earlier(deadline, beam_in_ms(LOOK_MS)) : deadline);
	error = errno;
	kicked = n > 0 && kick >= 0 && has(sets.in, kick);
	free(sets.in);
	/* A descriptor that is not open is ready, as for ppoll(). */
	if (n < 0)
		return error == EBADF ? 1 : -error;
	if (n == 0 && (!looks || deadline_passed(deadline)))
		return deadline_error(deadline);
	return !kicked;
}

int socket_wait(int fd, short events, int kick, beam_deadline deadline)
{
	struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = kick, .events = POLLIN}};
	struct timespec storage;
	int n;

	do
		n = sys_ppoll(fds, kick < 0 ? 1 : 2, deadline_timeout(deadline, &storage));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EINVAL ? wait_by_select(fd, events, kick, deadline) : -errno;
	if (n == 0)
		return deadline_error(deadline);
	return fds[1].revents ? 0 : 1;
}

bool socket_hung_up(int fd)
{
	struct pollfd item = {.fd = fd, .events = POLLRDHUP};

	return sys_ppoll(&item, 1, &(struct timespec){0}) > 0;
}

int socket_wait_more(int fd, short events, int kick, beam_deadline deadline)
{
	return deadline_passed(deadline) ? deadline_error(deadline) : socket_wait(fd, events, kick, deadline);
}
