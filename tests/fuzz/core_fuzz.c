/* SPDX-License-Identifier: MIT */
/*
 * The five functions of beam/core.h on a real socket. The input decides which bytes are sent, how
 * they are cut into segments or packets, and which of them descriptors come with. Some messages are
 * sent properly. The test records what was written, and checks all results of receiving against it:
 * payloads byte by byte, attachments by their files, and errors by whether there is a reason. No
 * descriptor may be leaked.
 *
 * The input is a byte of `enum manner`, a byte that selects the limit, and then steps. A step is a
 * byte that says what to send (`enum step`, and from bit 2 on the number of descriptors), a byte
 * with the size, and the data.
 */
#include <beam/core.h>
#include <errno.h>
#include <fuzz/fuzz.h>
#include <harness/fault.h>
#include <socket/socket.h>
#include <string.h>
#include <sys/mman.h>

enum manner {
	PACKETS = 1,
	BARE = 2,       /* received without framing */
	NO_ROOM = 4,    /* the receiver has no free descriptor */
	STAYS_OPEN = 8, /* the sender does not close the socket */
	UNREAD = 16,    /* the sender closes the socket with unread data */
};

enum step { RAW, SEND, SEND_BARE, SEND_PIPE };

enum {
	STEPS = 48,
	BYTES = 160 << 10,
	FILES = 4,
	A_SOCKET = FILES,
	/*
	 * The most descriptors in flight, and how many descriptor numbers are checked at the end.
	 */
	FDS = 128,
	WATCHED = FDS + 32,
	/*
	 * A step with this size is large if the limit is large, too. Otherwise the data would be
	 * received byte by byte.
	 */
	LARGE = 255,
	LARGE_BYTES = 70000,
	LARGE_LIMIT = 65536,
	CARRIES_SHIFT = 31,
};

/* What was written, and the segments with descriptors. Each packet is a segment. */
static unsigned char bytes[BYTES];
static size_t total;
static struct segment {
	size_t at, size;
	unsigned n_fds;
	int file; /* the file of the first descriptor */
} segments[STEPS];
static unsigned n_segments, n_fds;

/* The payload of large steps. Zeros would be the headers of many empty messages. */
static unsigned char large[LARGE_BYTES];

/* Files that can be told apart. */
static bool begun;
static int files[FILES];
static ino_t inodes[FILES];

static void begin_once(void)
{
	if (begun)
		return;
	begun = true;
	memset(large, 0xff, sizeof large);
	for (int i = 0; i < FILES; i++) {
		struct stat status;

		files[i] = memfd_create("fuzz", MFD_CLOEXEC);
		must(files[i] >= 0 && fstat(files[i], &status) == 0);
		inodes[i] = status.st_ino;
	}
	/* Without the reaper, descriptors are closed at once. */
	fault_only(FAULT(SYS_PTHREAD_CREATE));
	fault_at(1, EAGAIN, FAULT_STICKY);
}

/* ---- Sending --------------------------------------------------------------------------------- */

static void write_down(const void *data, size_t size, unsigned fds, int file)
{
	struct segment *segment = &segments[n_segments++];

	memcpy(bytes + total, data, size);
	*segment = (struct segment){total, size, fds, file};
	total += size;
	n_fds += fds;
}

/* Records a message. On a stream, a header precedes it. */
static void write_down_message(bool packets, const void *data, size_t size, unsigned fds, int file)
{
	static unsigned char framed[4 + LARGE_BYTES];

	if (packets) {
		write_down(data, size, fds, file);
		return;
	}
	put_u32(framed, (uint32_t)size | (uint32_t)fds << CARRIES_SHIFT);
	memcpy(framed + 4, data, size);
	write_down(framed, 4 + size, fds, file);
}

static void send_raw(int socket, const unsigned char *data, size_t size, unsigned fds)
{
	/* The data is not modified. */
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
	int sent[SOCKET_FDS_MAX];

	for (unsigned i = 0; i < fds; i++)
		sent[i] = files[(n_segments + i) % FILES];
	must(socket_write(socket, &iov, 1, sent, fds) == (ssize_t)size);
	write_down(data, size, fds, (int)n_segments % FILES);
}

/* Returns false if there are no more steps. */
static bool send_step(int socket, bool packets, bool large_ones, struct reader *input)
{
	unsigned what = reader_u8(input), size = reader_u8(input), fds = what >> 2;
	int file = (int)n_segments % FILES, fd = fds ? files[file] : -1, kept;
	const unsigned char *data = large;

	if (input->failed || n_segments == STEPS || total + 4 + LARGE_BYTES > BYTES)
		return false;
	if (size == LARGE && large_ones) {
		size = LARGE_BYTES;
	} else {
		size = size < input->left ? size : (unsigned)input->left;
		data = reader_bytes(input, size);
	}
	if (n_fds + fds > FDS)
		fds = 0;
	if (!packets && size == 0 && (what % 4 == RAW || what % 4 == SEND_BARE)) {
		must(beam_send_bare(socket, data, 0, fd, BEAM_NOWAIT) == -EINVAL);
		return true;
	}
	switch ((enum step)(what % 4)) {
	case RAW: send_raw(socket, data, size, fds); break;
	case SEND:
		must(beam_send(socket, data, size, fd, BEAM_NOWAIT) == 0);
		write_down_message(packets, data, size, fd >= 0, file);
		break;
	case SEND_BARE:
		if (packets) {
			must(beam_send_bare(socket, data, size, fd, BEAM_NOWAIT) == (size ? -EPROTOTYPE : -EINVAL));
			break;
		}
		must(beam_send_bare(socket, data, size, fd, BEAM_NOWAIT) == 0);
		write_down(data, size, fd >= 0, file);
		break;
	case SEND_PIPE:
		must(beam_send_pipe(socket, data, size, &kept, BEAM_NOWAIT) == 0);
		write_down_message(packets, data, size, 1, A_SOCKET);
		close(kept);
		break;
	}
	return true;
}

/* ---- Receiving ------------------------------------------------------------------------------- */

/* The first segment with descriptors that begins in [from, to), or NULL. */
static const struct segment *carrier(size_t from, size_t to)
{
	for (unsigned i = 0; i < n_segments; i++)
		if (segments[i].n_fds && segments[i].at >= from && segments[i].at < to)
			return &segments[i];
	return NULL;
}

static void check_attachment(const beam_message *message, const struct segment *segment, bool no_room)
{
	int fd = beam_message_peek_fd(message, 0);
	struct stat status;

	must(beam_message_attachments(message) == 1);
	if (no_room) {
		must(fd == -EMFILE);
		return;
	}
	must(fcntl(fd, F_GETFD) == FD_CLOEXEC && fstat(fd, &status) == 0);
	must(segment->file == A_SOCKET ? S_ISSOCK(status.st_mode) : status.st_ino == inodes[segment->file]);
}

/*
 * The message must be the `size` bytes at `at`, with a descriptor of this segment; NULL: without
 * one.
 */
static void check_message(beam_message *message, size_t at, size_t size, const struct segment *segment, bool no_room)
{
	must(beam_message_size(message) == size && at + size <= total);
	must(memcmp(beam_message_data(message), bytes + at, size) == 0);
	if (segment)
		check_attachment(message, segment, no_room);
	else
		must(beam_message_attachments(message) == 0);
	beam_message_free(message);
}

/* The result of receiving when everything has been received. */
static int at_end(unsigned manner)
{
	if (manner & STAYS_OPEN)
		return -EAGAIN;
	/* For packets, the kernel reports the reset before the first one. */
	return manner & UNREAD && !(manner & PACKETS && n_segments) ? -ECONNRESET : 0;
}

static void receive_packets(int socket, unsigned manner, size_t limit)
{
	beam_message *message;
	int r;

	for (unsigned i = 0; i < n_segments; i++) {
		const struct segment *packet = &segments[i];

		r = beam_receive(socket, &message, limit, BEAM_NOWAIT);
		must(r == (packet->size > limit ? -EMSGSIZE : 1));
		if (r == 1)
			check_message(message, packet->at, packet->size, packet->n_fds ? packet : NULL,
				      manner & NO_ROOM);
	}
	must(beam_receive(socket, &message, limit, BEAM_NOWAIT) == at_end(manner));
}

static void receive_bare(int socket, unsigned manner, size_t limit)
{
	beam_message *message;
	size_t at = 0;
	int r;

	while ((r = beam_receive_bare(socket, &message, limit, BEAM_NOWAIT)) == 1) {
		size_t size = beam_message_size(message);

		must(size > 0 && size <= limit);
		check_message(message, at, size, carrier(at, at + size), manner & NO_ROOM);
		at += size;
	}
	must(limit ? at == total && r == at_end(manner) : r == -EINVAL);
}

/* True if an error is right for the message that begins at `at`, of which a part may be missing. */
static bool deserved(int error, size_t at, unsigned manner, size_t limit)
{
	struct reader reader = reader_over(bytes + at, total - at);
	uint32_t header = reader_u32(&reader);
	size_t size = header & ~(1u << CARRIES_SHIFT), end = at + 4 + size < total ? at + 4 + size : total;
	bool cut = reader.failed || total - at - 4 < size;

	switch (error) {
	case -EMSGSIZE: return size > limit;
	case -ECONNRESET: return cut && !(manner & STAYS_OPEN);
	case -ECONNABORTED: return cut && manner & STAYS_OPEN;
	case -EPROTO: return carrier(at + 1, end) || (header >> CARRIES_SHIFT) != (carrier(at, at + 1) != NULL);
	default: return false;
	}
}

static void receive_stream(int socket, unsigned manner, size_t limit)
{
	beam_message *message;
	size_t at = 0;
	int r;

	while ((r = beam_receive(socket, &message, limit, BEAM_NOWAIT)) == 1) {
		struct reader reader = reader_over(bytes + at, total - at);
		uint32_t header = reader_u32(&reader);
		size_t size = header & ~(1u << CARRIES_SHIFT);

		must(!reader.failed && size <= limit);
		must(manner & NO_ROOM || !carrier(at + 4, at + 4 + size));
		must(manner & NO_ROOM || !carrier(at, at + 4) == !(header >> CARRIES_SHIFT));
		check_message(message, at + 4, size, header >> CARRIES_SHIFT ? carrier(at, at + 4) : NULL,
			      manner & NO_ROOM);
		at += 4 + size;
	}
	must(at == total ? r == at_end(manner) : deserved(r, at, manner, limit));
}

/* ---- The target ------------------------------------------------------------------------------ */

/* Stores which of the first descriptor numbers are in use. */
static void look_at_fds(bool ret_open[WATCHED])
{
	static struct pollfd watched[WATCHED];

	for (int i = 0; i < WATCHED; i++)
		watched[i].fd = i;
	must(poll(watched, WATCHED, 0) >= 0);
	for (int i = 0; i < WATCHED; i++)
		ret_open[i] = !(watched[i].revents & POLLNVAL);
}

/*
 * Receives everything. With NO_ROOM there is no free descriptor: all numbers below that of the
 * sender's socket are in use.
 */
static void receive(int socket, int sender, unsigned manner, size_t limit)
{
	struct rlimit before, none;

	must(getrlimit(RLIMIT_NOFILE, &before) == 0);
	none = (struct rlimit){.rlim_cur = (rlim_t)sender, .rlim_max = before.rlim_max};
	if (manner & NO_ROOM)
		must(setrlimit(RLIMIT_NOFILE, &none) == 0);
	if (manner & PACKETS)
		receive_packets(socket, manner, limit);
	else if (manner & BARE)
		receive_bare(socket, manner, limit);
	else
		receive_stream(socket, manner, limit);
	must(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t limits[] = {0, 1, 16, 200, 65536, 65537, BYTES, INT32_MAX};
	struct reader input = reader_over(data, size);
	unsigned manner = reader_u8(&input);
	size_t limit = limits[reader_u8(&input) % (sizeof limits / sizeof limits[0])];
	bool packets = manner & PACKETS;
	bool before[WATCHED], after[WATCHED];
	int ends[2];

	begin_once();
	look_at_fds(before);
	total = n_segments = n_fds = 0;
	must(beam_socket_pair(packets ? SOCK_SEQPACKET : SOCK_STREAM, ends) == 0);
	/* Everything must fit into the socket. */
	socket_set_buffer(ends[0], 4 * BYTES);
	while (send_step(ends[0], packets, limit >= LARGE_LIMIT, &input))
		;
	if (manner & UNREAD)
		must(beam_send(ends[1], "unread", 6, -1, BEAM_NOWAIT) == 0);
	if (!(manner & STAYS_OPEN))
		close(ends[0]);
	must(beam_fd_conn(ends[1]) == 0);
	receive(ends[1], ends[0], manner, limit);
	if (manner & STAYS_OPEN)
		close(ends[0]);
	close(ends[1]);
	look_at_fds(after);
	must(memcmp(before, after, sizeof before) == 0);
	return 0;
}
