/* SPDX-License-Identifier: MIT */
/*
 * The five functions of Go's beam, without any state.
 *
 * A read from a stream never goes beyond the end of a message's header or payload. So the
 * descriptors that come with a read belong to the message that is being read, and nothing has to be
 * kept for the next call. A writer may send a message in any pieces as long as its descriptor goes
 * with the first. Go's code sends the first byte of the header alone.
 */
#include <base/clock.h>
#include <base/reader.h>
#include <base/sys.h>
#include <base/thread.h>
#include <beam/core.h>
#include <errno.h>
#include <message/message.h>
#include <socket/reaper.h>
#include <socket/socket.h>

#define HEADER_CARRIES 0x80000000u

enum {
	HEADER = 4,
	/*
	 * The first memory for a payload. It doubles as bytes arrive, whatever length was
	 * announced.
	 */
	FIRST_ROOM = 64 << 10,
	/* The pauses between tries, if no event tells when to try again. */
	PAUSE_MIN_MS = 1,
	PAUSE_MAX_MS = 50,
};

static bool is_time(ssize_t error)
{
	return error == -EAGAIN || error == -ETIMEDOUT;
}

/* Sleeps, a little longer each time. Returns 1 if the other end hung up meanwhile. */
static int pause_a_while(int socket, int *pause_ms, beam_deadline deadline)
{
	beam_deadline until = deadline_earlier(deadline, beam_in_ms(*pause_ms));
	int r = socket_wait(socket, 0, -1, until);

	*pause_ms = *pause_ms * 2 < PAUSE_MAX_MS ? *pause_ms * 2 : PAUSE_MAX_MS;
	if (is_time(r) && !deadline_passed(deadline))
		return 0;
	return is_time(r) ? deadline_error(deadline) : r;
}

/* Waits after a write that failed with `error`. Returns 0 if it is to be tried again. */
static int wait_to_write(int socket, int error, int *pause_ms, beam_deadline deadline)
{
	int r;

	if (error == -EAGAIN) {
		r = socket_wait_more(socket, POLLOUT, -1, deadline);
		return r < 0 ? r : 0;
	}
	if (!socket_retry_later(error))
		return error;
	r = pause_a_while(socket, pause_ms, deadline);
	return r == 1 ? -EPIPE : r;
}

/* Drops `n` bytes from the front. Returns true if some are left. */
static bool advance(struct iovec *iov, size_t n_iov, size_t n)
{
	size_t left = 0;

	for (size_t i = 0; i < n_iov; i++) {
		size_t gone = n < iov[i].iov_len ? n : iov[i].iov_len;

		iov[i].iov_base = (char *)iov[i].iov_base + gone;
		iov[i].iov_len -= gone;
		n -= gone;
		left += iov[i].iov_len;
	}
	return left > 0;
}

/* Writes all of `iov`, and `fd` with its first byte. */
static int core_write_all(int socket, struct iovec *iov, size_t n_iov, int fd, beam_deadline deadline)
{
	int pause_ms = PAUSE_MIN_MS;
	bool begun = false;

	for (;;) {
		ssize_t n = socket_write(socket, iov, n_iov, &fd, fd >= 0 && !begun);
		int r;

		if (n >= 0) {
			begun = true;
			if (!advance(iov, n_iov, (size_t)n))
				return 0;
			continue;
		}
		r = wait_to_write(socket, (int)n, &pause_ms, deadline);
		if (r < 0)
			return begun && r != -EPIPE && r != -ECONNRESET ? -ECONNABORTED : r;
	}
}

static int check_send(int socket, const void *data, size_t size, int fd, int *ret_type)
{
	if ((!data && size > 0) || fd < -1)
		return -EINVAL;
	return socket_check(socket, ret_type);
}

/* The pointer in struct iovec is not const. */
static struct iovec iovec_of(const void *data, size_t size)
{
	union {
		const void *in;
		void *out;
	} pointer = {.in = data};

	return (struct iovec){.iov_base = pointer.out, .iov_len = size};
}

/* Sends on a socket of this type, which has been checked. */
static int core_send_message(int socket, int type, const void *data, size_t size, int fd, beam_deadline deadline)
{
	unsigned char header[HEADER];
	struct iovec iov[2] = {{.iov_base = header, .iov_len = HEADER}, iovec_of(data, size)};

	if (type == SOCK_SEQPACKET)
		return core_write_all(socket, iov + 1, 1, fd, deadline);
	if (size > INT32_MAX)
		return -EMSGSIZE;
	put_u32(header, (uint32_t)size | (fd >= 0 ? HEADER_CARRIES : 0));
	return core_write_all(socket, iov, 2, fd, deadline);
}

int beam_send(int socket, const void *data, size_t size, int fd, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	int type, r = check_send(socket, data, size, fd, &type);

	return r < 0 ? r : core_send_message(socket, type, data, size, fd, deadline);
}

int beam_send_bare(int socket, const void *data, size_t size, int fd, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct iovec iov = iovec_of(data, size);
	int type, r = size == 0 ? -EINVAL : check_send(socket, data, size, fd, &type);

	if (r < 0)
		return r;
	return type == SOCK_STREAM ? core_write_all(socket, &iov, 1, fd, deadline) : -EPROTOTYPE;
}

int beam_send_pipe(int socket, const void *data, size_t size, int *ret_fd, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	int fds[2], type, r;

	if (!ret_fd)
		return -EINVAL;
	/*
	 * This must come before the pair is created. If `socket` is not open, an end of the pair
	 * may get its number.
	 */
	r = check_send(socket, data, size, -1, &type);
	if (r < 0)
		return r;
	r = socket_pair(SOCK_STREAM, fds);
	if (r < 0)
		return r;
	r = core_send_message(socket, type, data, size, fds[0], deadline);
	close(fds[0]);
	if (r < 0)
		close(fds[1]);
	else
		*ret_fd = fds[1];
	return r;
}

/* Waits until something is there, and reads at most `size` bytes of it. */
static ssize_t core_read_some(int socket, void *data, size_t size, struct fd_group *group, beam_deadline deadline)
{
	struct iovec iov = {.iov_base = data, .iov_len = size};

	for (;;) {
		ssize_t n = socket_read(socket, &iov, 1, group);
		int r;

		if (n != -EAGAIN)
			return n;
		r = socket_wait_more(socket, POLLIN, -1, deadline);
		if (r < 0)
			return r;
	}
}

/* Reads all `size` bytes of a message that has begun. No descriptor may come with them. */
static int read_rest(int socket, unsigned char *data, size_t size, beam_deadline deadline)
{
	struct fd_group group;

	while (size > 0) {
		ssize_t n = core_read_some(socket, data, size, &group, deadline);

		if (group.n > 0) {
			reaper_close(group.fds, (size_t)group.n);
			return -EPROTO;
		}
		if (n <= 0)
			return n == 0 ? -ECONNRESET : is_time(n) ? -ECONNABORTED : (int)n;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Reads into memory that doubles each time it is full. */
static int read_growing(int socket, struct beam_message *message, size_t size, beam_deadline deadline)
{
	size_t have = 0, room = FIRST_ROOM;
	int r = 0;

	while (r == 0 && have < size) {
		unsigned char *owned;

		room = room < size ? room : size;
		owned = sys_realloc(message->owned, room);
		if (!owned)
			return -ENOMEM;
		message->owned = owned;
		r = read_rest(socket, owned + have, room - have, deadline);
		have = room;
		room *= 2;
	}
	return r;
}

static int read_payload(int socket, struct beam_message **ret, size_t size, beam_deadline deadline)
{
	bool grows = size > FIRST_ROOM;
	struct beam_message *message = message_allocate(grows ? 0 : size);
	int r;

	if (!message)
		return -ENOMEM;
	r = grows ? read_growing(socket, message, size, deadline)
		  : read_rest(socket, message_room(message), size, deadline);
	if (r < 0) {
		message_free_shell(message);
		return r;
	}
	message->data = message_room(message);
	message->size = size;
	*ret = message;
	return 0;
}

/*
 * Attaches the first descriptor to the message, or the reason why it was lost. The others are
 * closed.
 */
static void attach(struct beam_message *message, const struct fd_group *group)
{
	if (group->n > 0)
		message_put_fd(message, group->fds[0]);
	else if (group->truncated)
		message_put_fd(message, socket_loss_reason());
	if (group->n > 1)
		reaper_close(group->fds + 1, (size_t)group->n - 1);
}

/*
 * Reads a header, and the descriptors that came with its first byte. Returns 1, 0 at the end, or an
 * error. `group` is filled in in each case.
 */
static int read_header(int socket, uint32_t *ret, struct fd_group *group, beam_deadline deadline)
{
	unsigned char header[HEADER];
	struct reader reader;
	ssize_t n = core_read_some(socket, header, HEADER, group, deadline);
	int r;

	if (n <= 0)
		return (int)n;
	r = read_rest(socket, header + n, HEADER - (size_t)n, deadline);
	if (r < 0)
		return r;
	reader = reader_over(header, HEADER);
	*ret = reader_u32(&reader);
	return 1;
}

static int check_header(uint32_t header, const struct fd_group *group, size_t limit)
{
	/* If the group was truncated, there may have been a descriptor or not. */
	if (header & HEADER_CARRIES ? group->n == 0 && !group->truncated : group->n > 0)
		return -EPROTO;
	return (header & ~HEADER_CARRIES) > limit ? -EMSGSIZE : 0;
}

static int receive_stream(int socket, beam_message **ret, size_t limit, beam_deadline deadline)
{
	struct beam_message *message = NULL;
	struct fd_group group;
	uint32_t header = 0;
	int r = read_header(socket, &header, &group, deadline);

	if (r > 0)
		r = check_header(header, &group, limit);
	else if (r == 0)
		return 0;
	if (r == 0)
		r = read_payload(socket, &message, header & ~HEADER_CARRIES, deadline);
	if (r < 0) {
		reaper_close(group.fds, (size_t)group.n);
		return r;
	}
	if (header & HEADER_CARRIES)
		attach(message, &group);
	*ret = message;
	return 1;
}

static ssize_t peek_some(int socket, beam_deadline deadline)
{
	for (;;) {
		ssize_t n = socket_peek(socket);
		int r;

		if (n != -EAGAIN)
			return n;
		r = socket_wait_more(socket, POLLIN, -1, deadline);
		if (r < 0)
			return r;
	}
}

static int drop_packet(int socket)
{
	struct fd_group group;
	ssize_t n = socket_read(socket, NULL, 0, &group);

	reaper_close(group.fds, (size_t)group.n);
	return n < 0 ? (int)n : -EMSGSIZE;
}

/* Returns -EAGAIN if the packet was there and another thread or process has taken it. */
static int take_packet(int socket, beam_message **ret, size_t limit, beam_deadline deadline)
{
	struct beam_message *message;
	struct fd_group group;
	struct iovec iov;
	ssize_t n = peek_some(socket, deadline);
	bool reset = n == -ECONNRESET;
	int r;

	/*
	 * If a peer closes and leaves packets unread, the kernel reports that once, before it
	 * returns the packets that the peer had sent.
	 */
	if (reset)
		n = socket_peek(socket);
	if (n < 0)
		return reset ? -ECONNRESET : (int)n;
	if ((size_t)n > limit)
		return drop_packet(socket);
	/* A size of 0 is an empty packet or the end. Only a packet carries credentials. */
	r = n == 0 ? socket_pass_credentials(socket) : 0;
	if (r < 0)
		return r;
	message = message_allocate((size_t)n);
	if (!message)
		return -ENOMEM;
	iov = (struct iovec){.iov_base = message_room(message), .iov_len = (size_t)n};
	n = socket_read(socket, &iov, 1, &group);
	if (n < 0 || (n == 0 && !group.credentials)) {
		message_free_shell(message);
		return n == 0 && reset ? -ECONNRESET : (int)n;
	}
	attach(message, &group);
	*ret = message;
	return 1;
}

/* If others read from the socket too, one of them may have been quicker. */
static int receive_packet(int socket, beam_message **ret, size_t limit, beam_deadline deadline)
{
	int r;

	/* Others who have the socket may have set SO_PEEK_OFF since beam_fd_conn(). */
	socket_peek_from_start(socket);
	do
		r = take_packet(socket, ret, limit, deadline);
	while (r == -EAGAIN && !deadline_passed(deadline));
	return r == -EAGAIN ? deadline_error(deadline) : r;
}

int beam_receive(int socket, beam_message **ret, size_t limit, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	int type, r = ret ? socket_check(socket, &type) : -EINVAL;

	if (r < 0)
		return r;
	return type == SOCK_STREAM ? receive_stream(socket, ret, limit, deadline)
				   : receive_packet(socket, ret, limit, deadline);
}

/* Reduces the memory to what arrived. */
static void shrink(struct beam_message *message, size_t size)
{
	unsigned char *owned = sys_realloc(message->owned, size);

	if (owned)
		message->owned = owned;
	message->data = message->owned;
	message->size = size;
}

static int receive_bare(int socket, beam_message **ret, size_t limit, beam_deadline deadline)
{
	size_t room = limit < FIRST_ROOM ? limit : FIRST_ROOM;
	struct beam_message *message = message_allocate(0);
	struct fd_group group;
	ssize_t n;

	if (!message)
		return -ENOMEM;
	message->owned = sys_malloc(room);
	n = message->owned ? core_read_some(socket, message->owned, room, &group, deadline) : -ENOMEM;
	if (n <= 0) {
		message_free_shell(message);
		return (int)n;
	}
	attach(message, &group);
	shrink(message, (size_t)n);
	*ret = message;
	return 1;
}

int beam_receive_bare(int socket, beam_message **ret, size_t limit, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	int type, r = ret && limit > 0 ? socket_check(socket, &type) : -EINVAL;

	if (r < 0)
		return r;
	return type == SOCK_STREAM ? receive_bare(socket, ret, limit, deadline) : -EPROTOTYPE;
}

int beam_socket_pair(int type, int ret_fds[2])
{
	if (!ret_fds || (type != SOCK_STREAM && type != SOCK_SEQPACKET))
		return -EINVAL;
	return socket_pair(type, ret_fds);
}

int beam_fd_conn(int fd)
{
	int type, r = socket_check(fd, &type);

	return r < 0 ? r : socket_prepare(fd, type);
}
