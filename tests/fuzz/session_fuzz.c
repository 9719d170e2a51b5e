/* SPDX-License-Identifier: MIT */
/*
 * The receiving half of the session, fed with whatever the fuzzer thinks of: bytes, how they are cut into reads, and descriptors (numbers
 * here) that come with some of them. It must judge everything, crash at nothing, and give back every descriptor exactly once.
 *
 * The input: pairs of a byte that says how long the next read is and one that says how many descriptors come with it, and the bytes read.
 */
#include <base/annotate.h>
#include <errno.h>
#include <session/rx.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Which descriptors are out; none is a real one. */
enum { FD_FIRST = 100000, FDS = 4096 };
static unsigned char given[FDS];
static int next_fd;

static void give_back(int fd)
{
	if (fd < 0)
		return;
	if (fd < FD_FIRST || fd >= FD_FIRST + FDS || !given[fd - FD_FIRST])
		abort();
	given[fd - FD_FIRST] = 0;
}

static void on_discard(void *owner, const int *fds, size_t n)
{
	(void)owner;
	for (size_t i = 0; i < n; i++)
		give_back(fds[i]);
}

static int on_hello(void *owner, const struct hello *hello)
{
	(void)owner;
	(void)hello;
	return 0;
}

static int on_opened(void *owner, struct inlet *inlet)
{
	(void)owner;
	(void)inlet;
	return 0;
}

static void on_messages(void *owner, struct inlet *inlet, struct message_queue *queue)
{
	struct beam_message *message;
	unsigned sum = 0;

	inlet->calls_arrived = false;
	while ((message = message_queue_take(queue))) {
		for (size_t i = 0; i < message->size; i++)
			sum += message->data[i];
		on_discard(owner, message->fds, message->n_fds);
		message_free_shell(message);
	}
	if (sum == 1)
		inlet->queued = 0;
}

static void on_closed(void *owner, struct inlet *inlet)
{
	(void)owner;
	/* As if everything had been taken and RESET had gone. */
	atomic_store(&inlet->reset_sent, true);
}

static void on_aborted(void *owner, struct inlet *inlet, const struct beam_message *message)
{
	(void)owner;
	(void)inlet;
	(void)message;
}

/* Calls of the peer's, in use by turns; calls of this side's, each made anew as soon as it has ended. */
enum { CALLS = 8 };
static unsigned turn;

static void on_dropped(struct message_call *call)
{
	(void)call;
}

static int on_called(void *owner, uint32_t id, struct message_call **ret)
{
	static struct message_call call = {on_dropped};

	(void)owner;
	*ret = &call;
	return id == 64 && turn++ % 2 ? -EALREADY : 0;
}

static struct inlet callers[CALLS + 1];

static void ask(uint32_t id)
{
	memset(&callers[id], 0, sizeof callers[id]);
	inlet_init(&callers[id], id);
	inlet_open(&callers[id], limits_base.topic_bytes, limits_base.topic_attachments);
	callers[id].replies = true;
}

static struct inlet *on_reply(void *owner, uint32_t id)
{
	(void)owner;
	return id >= 1 && id <= CALLS ? &callers[id] : NULL;
}

static void on_ended(void *owner, struct inlet *inlet, struct message_queue *queue)
{
	on_messages(owner, inlet, queue);
	ask(inlet->id);
}

static const char *on_credit(void *owner, uint32_t id, uint32_t call, uint32_t bytes, uint32_t attachments)
{
	(void)owner;
	(void)id;
	(void)call;
	(void)bytes;
	(void)attachments;
	return NULL;
}

static const char *on_reset(void *owner, uint32_t id, uint32_t argument)
{
	(void)owner;
	(void)id;
	(void)argument;
	return NULL;
}

static void on_nothing(void *owner)
{
	(void)owner;
}

static void on_lost(void *owner, size_t n)
{
	(void)owner;
	(void)n;
}

static const struct rx_events events = {
    .hello = on_hello,
    .opened = on_opened,
    .messages = on_messages,
    .closed = on_closed,
    .aborted = on_aborted,
    .called = on_called,
    .reply = on_reply,
    .ended = on_ended,
    .credit = on_credit,
    .reset = on_reset,
    .goodbye = on_nothing,
    .discard = on_discard,
    .lost = on_lost,
};

/* One read: as many of the next bytes as the cut and the room allow. False when there is nothing to read any more. */
static int read_once(struct rx *rx, struct reader *input)
{
	struct iovec iov[RX_IOV];
	unsigned cut = reader_u8(input), n_fds = reader_u8(input);
	int fds[RX_SLOTS];
	size_t want = cut < 250 ? cut + 1u : SIZE_MAX, n = 0;
	int n_iov = rx_offer(rx, iov);
	struct rx_group group = {.fds = fds};

	if (n_iov < 0 || !input->left)
		return 0;
	for (int i = 0; i < n_iov && n < want && input->left; i++) {
		size_t part = iov[i].iov_len;

		if (part > want - n)
			part = want - n;
		if (part > input->left)
			part = input->left;
		memcpy(iov[i].iov_base, reader_bytes(input, part), part);
		n += part;
	}
	/* Few reads bring descriptors. */
	group.n = n_fds >= 192 ? n_fds - 192u : 0;
	group.loss = n_fds == 191 ? -24 : 0;
	for (size_t i = 0; i < group.n && next_fd < FDS; i++) {
		given[next_fd] = 1;
		fds[i] = FD_FIRST + next_fd++;
	}
	if (next_fd >= FDS)
		group.n = 0;
	return rx_took(rx, n, &group) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct limits limits = limits_base;
	_Atomic uint64_t pool = limits.pool_bytes, attachments = limits.attachments;
	struct reader input = reader_over(data, size);
	struct rx rx;

	memset(given, 0, sizeof given);
	next_fd = 0;
	turn = 0;
	if (rx_init(&rx, &limits, &events, NULL, &pool, &attachments) < 0)
		return 0;
	for (uint32_t id = 1; id <= CALLS; id++)
		ask(id);
	while (next_fd < FDS - RX_SLOTS && read_once(&rx, &input))
		;
	for (uint32_t id = 1; id <= CALLS; id++) {
		struct beam_message *message = callers[id].building;

		if (message) {
			on_discard(NULL, message->fds, message->n_fds);
			message_free_shell(message);
		}
	}
	rx_end(&rx);
	for (int i = 0; i < FDS; i++) {
		if (given[i])
			abort();
	}
	return 0;
}
