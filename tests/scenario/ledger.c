/* SPDX-License-Identifier: MIT */
#include <scenario/ledger.h>

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { NONE = UINT32_MAX, NOISE = 251 };

int attached[ATTACHED];
static ino_t inodes[ATTACHED];

bool ledger_result(long long result, long long good, const char *call, const int *documented)
{
	const char *name;

	if (result == good)
		return true;
	while (!strict && *documented != LEDGER_LAST && *documented != result)
		documented++;
	name = result < 0 && result > -4096 ? errno_name((int)-result) : NULL;
	if (strict || (*documented == LEDGER_LAST && !excused(result)))
		fail("%s is %lld (%s%s)", call, result, name ? "-" : "no error", name ? name : "");
	return false;
}

/* ---- Messages -------------------------------------------------------------------------------- */

void attached_open(void)
{
	for (size_t i = 0; i < ATTACHED; i++) {
		struct stat status;

		attached[i] = memfd_create("attached", MFD_CLOEXEC);
		require(attached[i] >= 0 && fstat(attached[i], &status) == 0);
		inodes[i] = status.st_ino;
	}
}

void attached_close(void)
{
	for (size_t i = 0; i < ATTACHED; i++)
		close(attached[i]);
}

/* The byte at offset `at` of the message with this number. */
static unsigned char content(uint32_t number, size_t at)
{
	return (unsigned char)((number + at) % NOISE);
}

static unsigned char *compose(uint32_t number, size_t size, size_t n_fds)
{
	const uint32_t head[HEAD / 4] = {number, (uint32_t)size, (uint32_t)n_fds};
	unsigned char *bytes = malloc(size + 1);

	require(bytes != NULL);
	if (size)
		memcpy(bytes, head, HEAD);
	for (size_t i = HEAD; i < size; i++)
		bytes[i] = content(number, i);
	return bytes;
}

static void note(struct ledger_entry *entries, size_t *n, uint32_t number, size_t size)
{
	require(*n < FLOW_MAX);
	entries[(*n)++] = (struct ledger_entry){size ? number : NONE, (uint32_t)size};
}

static void check_attachment(int fd, size_t index)
{
	struct stat status = {0};

	if (fd >= 0) {
		check_int(fstat(fd, &status), 0);
		check_int(status.st_ino, inodes[index % ATTACHED]);
	} else {
		check(!strict && (fd == -EMFILE || fd == -EACCES));
	}
}

/* The message must be the one that its head describes. */
static void note_received(struct flow *flow, const unsigned char *bytes, size_t size, size_t n_fds)
{
	uint32_t head[HEAD / 4] = {NONE, 0, 0};
	size_t i = HEAD;

	if (size && !check(size >= HEAD))
		return;
	if (size)
		memcpy(head, bytes, HEAD);
	check_int(size, head[1]);
	if (size)
		check_int(n_fds, head[2]);
	while (i < size && bytes[i] == content(head[0], i))
		i++;
	check(!size || i == size);
	note(flow->received, &flow->n_received, head[0], size);
}

void flow_note(struct flow *flow, beam_message *message)
{
	for (size_t i = 0; i < beam_message_attachments(message); i++)
		check_attachment(beam_message_peek_fd(message, i), i);
	note_received(flow, beam_message_data(message), beam_message_size(message), beam_message_attachments(message));
	beam_message_free(message);
}

int ledger_message(beam_message **ret, const unsigned char *bytes, size_t size, size_t n_fds)
{
	beam_message *message = NULL;
	int r = beam_message_new(&message, bytes, size);

	if (!result_of(r, 0, -ENOMEM))
		return r;
	for (size_t i = 0; i < n_fds && !r; i++) {
		int fd = attached[i % ATTACHED];

		if (i % 2) {
			r = beam_message_add_fd(message, fd);
			result_of(r, 0, -EMFILE, -ENOMEM);
			continue;
		}
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		require(fd >= 0);
		r = beam_message_give_fd(message, fd);
		if (!result_of(r, 0, -EMFILE, -ENOMEM)) /* EMFILE: a fault of fcntl() */
			close(fd);
	}
	if (r < 0)
		beam_message_free(message);
	else
		*ret = message;
	return r;
}

static int send_message(beam_topic *topic, const unsigned char *bytes, size_t size, size_t n_fds,
			beam_deadline deadline)
{
	beam_message *message = NULL;
	int r = ledger_message(&message, bytes, size, n_fds);

	if (r < 0)
		return r;
	r = beam_topic_send_message(topic, message, 0, deadline);
	if (r < 0) {
		/* The message still belongs to the caller and is unchanged. */
		check_int(beam_message_attachments(message), n_fds);
		for (size_t i = 0; i < n_fds; i++)
			check_attachment(beam_message_peek_fd(message, i), i);
		check_int(beam_message_size(message), size);
		beam_message_free(message);
	}
	return r;
}

static const int *descriptors(size_t n_fds)
{
	static int fds[BEAM_MESSAGE_ATTACHMENTS_MAX];

	for (size_t i = 0; i < n_fds; i++)
		fds[i] = attached[i % ATTACHED];
	return n_fds ? fds : NULL;
}

void given_make(int *ret_fds, size_t n_fds)
{
	for (size_t i = 0; i < n_fds; i++) {
		ret_fds[i] = fcntl(attached[i % ATTACHED], F_DUPFD, 0);
		require(ret_fds[i] >= 0);
	}
}

void given_take_back(const int *fds, size_t n_fds)
{
	for (size_t i = 0; i < n_fds; i++) {
		check_attachment(fds[i], i);
		close(fds[i]);
	}
}

static int give(beam_topic *topic, const struct iovec *iov, size_t n_fds, beam_deadline deadline)
{
	int fds[BEAM_MESSAGE_ATTACHMENTS_MAX], r;

	given_make(fds, n_fds);
	r = beam_topic_sendv(topic, iov, 1, fds, n_fds, BEAM_SEND_GIVE_FDS, deadline);
	if (r < 0)
		given_take_back(fds, n_fds);
	return r;
}

int flow_send_until(struct flow *flow, beam_topic *topic, enum way way, size_t size, size_t n_fds,
		    beam_deadline deadline)
{
	uint32_t number = flow->next++;
	unsigned char *bytes = compose(number, size, n_fds);
	size_t half = size / 2;
	struct iovec iov[3] = {{bytes, half}, {NULL, 0}, {bytes + half, size - half}};
	struct beam_send_item item = {bytes, size, descriptors(n_fds), n_fds};
	int r = 0;

	switch (way) {
	case SEND: r = beam_topic_send(topic, bytes, size, 0, deadline); break;
	case SENDV: r = beam_topic_sendv(topic, iov, 3, descriptors(n_fds), n_fds, 0, deadline); break;
	case SEND_MESSAGE: r = send_message(topic, bytes, size, n_fds, deadline); break;
	case GIVEV: r = give(topic, &(struct iovec){bytes, size}, n_fds, deadline); break;
	case SEND_MANY:
		r = (int)beam_topic_send_many(topic, &item, 1, 0, deadline);
		check(r);
		r = r == 1 ? 0 : r;
		break;
	}
	free(bytes);
	if (result_of(r, 0, -EIO, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM, n_fds ? -EMFILE : -ENOMEM))
		note(flow->accepted, &flow->n_accepted, number, size);
	return r;
}

enum { MANY = 64 };

int flow_send(struct flow *flow, beam_topic *topic, enum way way, size_t size, size_t n_fds)
{
	return flow_send_until(flow, topic, way, size, n_fds, soon());
}

static ssize_t send_many(struct flow *flow, beam_topic *topic, struct beam_send_item *items, size_t n, size_t n_fds,
			 unsigned flags)
{
	uint32_t first = flow->next;
	size_t size = items[0].size;
	ssize_t r;

	for (size_t i = 0; i < n; i++)
		items[i].data = compose(flow->next++, size, n_fds);
	r = beam_topic_send_many(topic, items, n, flags, soon());
	check(r != 0 && r <= (ssize_t)n);
	if (r <= 0)
		result_of(r, (ssize_t)n, -EIO, -EAGAIN, -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM,
			  n_fds ? -EMFILE : -ENOMEM);
	else
		check(!strict || r == (ssize_t)n);
	for (size_t i = 0; i < n; i++) {
		if ((ssize_t)i < r)
			note(flow->accepted, &flow->n_accepted, first + (uint32_t)i, size);
		free((void *)(uintptr_t)items[i].data);
	}
	return r;
}

ssize_t flow_send_many(struct flow *flow, beam_topic *topic, size_t n, size_t size, size_t n_fds)
{
	struct beam_send_item items[MANY];

	require(n && n <= MANY);
	for (size_t i = 0; i < n; i++)
		items[i] = (struct beam_send_item){NULL, size, descriptors(n_fds), n_fds};
	return send_many(flow, topic, items, n, n_fds, 0);
}

ssize_t flow_give_many(struct flow *flow, beam_topic *topic, size_t n, size_t size, size_t n_fds)
{
	struct beam_send_item items[MANY];
	int fds[MANY][ATTACHED];
	ssize_t r;

	require(n && n <= MANY && n_fds <= ATTACHED);
	for (size_t i = 0; i < n; i++) {
		given_make(fds[i], n_fds);
		items[i] = (struct beam_send_item){NULL, size, fds[i], n_fds};
	}
	r = send_many(flow, topic, items, n, n_fds, BEAM_SEND_GIVE_FDS);
	for (size_t i = r > 0 ? (size_t)r : 0; i < n; i++)
		given_take_back(fds[i], n_fds);
	return r;
}

/* Notes the end, or an error. */
static void note_end(struct flow *flow, long long r)
{
	if (r == 0)
		flow->over = true;
	else if (r < 0)
		result_of(r, 1, -EAGAIN, -ETIMEDOUT, -ECONNRESET, -ENOMEM);
}

int flow_receive_until(struct flow *flow, beam_topic *topic, beam_deadline deadline)
{
	beam_message *message = NULL;
	int r = beam_topic_receive(topic, &message, 0, deadline);

	check((r == 1) == (message != NULL));
	if (message)
		flow_note(flow, message);
	note_end(flow, r);
	return r;
}

int flow_receive(struct flow *flow, beam_topic *topic)
{
	return flow_receive_until(flow, topic, soon());
}

ssize_t flow_receive_many(struct flow *flow, beam_topic *topic, size_t n)
{
	beam_message *messages[64];
	ssize_t r;

	require(n && n <= sizeof messages / sizeof *messages);
	r = beam_topic_receive_many(topic, messages, n, 0, soon());
	check(r <= (ssize_t)n);
	for (ssize_t i = 0; i < r; i++)
		flow_note(flow, messages[i]);
	note_end(flow, r);
	return r;
}

int flow_receive_into(struct flow *flow, beam_topic *topic, size_t capacity)
{
	unsigned char *buffer = malloc(capacity + 1);
	size_t size = 0, n_fds = 0;
	int fds[64], r;

	require(buffer != NULL);
	r = beam_topic_receive_into(topic, buffer, capacity, &size, fds, sizeof fds / sizeof *fds, &n_fds, 0, soon());
	if (r == 1) {
		note_received(flow, buffer, size, n_fds);
		for (size_t i = 0; i < n_fds; i++) {
			check_attachment(fds[i], i);
			if (fds[i] >= 0)
				close(fds[i]);
		}
	} else if (r == -EMSGSIZE) {
		check(size > capacity);
	} else {
		note_end(flow, r);
	}
	free(buffer);
	return r;
}

int flow_drain(struct flow *flow, beam_topic *topic)
{
	int r;

	do
		r = flow_receive(flow, topic);
	while (r == 1);
	return r;
}

void flow_check(const struct flow *flow)
{
	check(flow->n_received <= flow->n_accepted);
	for (size_t i = 0; i < flow->n_received && i < flow->n_accepted; i++) {
		if (!check_int(flow->received[i].number, flow->accepted[i].number))
			break;
		check_int(flow->received[i].size, flow->accepted[i].size);
	}
	if (flow->over)
		check_int(flow->n_received, flow->n_accepted);
}

/* ---- Ends ------------------------------------------------------------------------------------ */

struct beam_channel_options ends_options(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.linger_ms = (uint32_t)stretch(strict ? LONG_MS : LINGER_MS);
	return options;
}

void ends_sockets(int fds[2])
{
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

beam_channel *ends_channel(int fd, const struct beam_channel_options *options)
{
	struct beam_channel_options defaults = ends_options();
	beam_channel *channel = NULL;
	/* ENOBUFS and ENOTCONN: faults of getsockopt() and getpeername(). */
	bool made = ledger_result(beam_channel_from_fd(&channel, fd, options ? options : &defaults), 0,
				  "beam_channel_from_fd()",
				  (const int[]){-EMFILE, -ENFILE, -ENOMEM, -EAGAIN, -ENOBUFS, -ENOTCONN, LEDGER_LAST});

	check(made == (channel != NULL));
	if (!made) {
		check(fd_open(fd));
		close(fd);
	}
	return channel;
}

static bool open_topics(struct ends *ends)
{
	for (int i = 1; i >= 0; i--) {
		int r = beam_topic_open(&ends->topic[i], ends->channel[i], "topic");

		check((r == 0) == (ends->topic[i] != NULL));
		if (!result_of(r, 0, -EPIPE, -ECONNRESET, -ENOMEM))
			return false;
	}
	return true;
}

struct ends *ends_make(const struct beam_channel_options *options)
{
	struct beam_channel_options each = options ? *options : ends_options();
	struct ends *ends = calloc(1, sizeof *ends);
	bool was_strict = strict;
	int fds[2];

	require(ends != NULL);
	ends_sockets(fds);
	/* Faults in here may have any effect. The caller gets NULL. */
	strict = false;
	for (int i = 1; i >= 0; i--) {
		ends->channel[i] = ends_channel(fds[i], &each);
		each.unknown_topics = BEAM_TOPICS_ACCEPT;
	}
	strict = was_strict;
	if (ends->channel[0] && ends->channel[1] && open_topics(ends))
		return ends;
	ends_release(ends, 0);
	check(fault_hit() && !(strict && fault_gave(EINTR)));
	return NULL;
}

int ends_close(beam_channel *channel)
{
	int r = beam_channel_close(channel, soon());

	result_of(r, 0, -EIO, -EAGAIN, -ETIMEDOUT, -ECONNRESET, -ENOMEM, -EPIPE);
	return r;
}

void ends_check_breach(const struct ends *ends)
{
	for (int i = 0; i < 2; i++)
		check_string(beam_channel_breach(ends->channel[i]), NULL);
}

/* The counters of a side must agree with the ledger. */
static void check_statistics(const struct ends *ends, int side)
{
	const struct flow *out = &ends->flow[side], *in = &ends->flow[!side];
	struct beam_statistics of_topic, of_channel;

	check_int(beam_topic_statistics(ends->topic[side], &of_topic, sizeof of_topic), 0);
	check_int(beam_channel_statistics(ends->channel[side], &of_channel, sizeof of_channel), 0);
	check_int(of_topic.messages_sent, out->n_accepted);
	check_int(of_topic.messages_received, in->n_received);
	check(of_channel.messages_sent >= of_topic.messages_sent);
	check(of_channel.messages_received >= of_topic.messages_received);
	if (strict)
		check_int(of_channel.messages_lost + of_channel.attachments_lost, 0);
}

void ends_finish(struct ends *ends)
{
	for (int i = 0; i < 2; i++)
		check_int(beam_topic_close_send(ends->topic[i]), 0);
	for (int i = 0; i < 2; i++) {
		int r = flow_drain(&ends->flow[!i], ends->topic[i]);

		if (strict)
			check_int(r, 0);
	}
	for (int i = 0; i < 2; i++) {
		ends_close(ends->channel[i]);
		check_statistics(ends, i);
	}
	ends_release(ends, 0);
}

/* The order is topics before channels or after them, and side 0 first or side 1. */
void ends_release(struct ends *ends, int order)
{
	int first = order % 2;

	ends_check_breach(ends);
	for (int i = 0; i < 4; i++) {
		int side = (i & 1) ^ first;

		if ((i < 2) == (order < 2))
			beam_topic_unref(ends->topic[side]);
		else
			beam_channel_unref(ends->channel[side]);
	}
	for (int i = 0; i < 2; i++)
		flow_check(&ends->flow[i]);
	free(ends);
}

/* A thread that receives while this one sends. */
struct receiver {
	struct flow *flow;
	beam_topic *topic;
};

static void *read_all(void *argument)
{
	struct receiver *receiver = argument;

	flow_drain(receiver->flow, receiver->topic);
	return NULL;
}

void ends_send_to_reader(struct ends *ends, void (*send)(struct flow *flow, beam_topic *topic))
{
	struct receiver receiver = {&ends->flow[0], ends->topic[1]};
	pthread_t thread = thread_spawn(read_all, &receiver);

	send(&ends->flow[0], ends->topic[0]);
	beam_topic_close_send(ends->topic[0]);
	thread_wait(thread);
	ends_finish(ends);
}
