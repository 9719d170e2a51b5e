/* SPDX-License-Identifier: MIT */
/*
 * Calls that the peer makes. A *request* is the state of one. Its message holds it until the
 * message is freed, and the session holds it until END has been sent. Replies leave through an
 * outbox, as the messages of a topic do.
 */
#include <beam/call.h>
#include <channel/sending.h>
#include <limits.h>
#include <string.h>

struct request {
	struct message_call handle;
	struct beam_channel *channel;
	struct outbox outbox;
	/*
	 * Readable once nobody wants replies any more. It is in the channel's `cancellable` list
	 * while it has a descriptor.
	 */
	struct level cancelled;
	struct list of_cancellable;
	/*
	 * Under the writer's lock. `held`: its message exists. `known`: the session knows it.
	 * `error`: how the call ends if its message is freed.
	 */
	bool held, known;
	uint32_t error;
	/*
	 * Whether it holds a reference to the channel's memory. Belongs to the holder of the
	 * reading right until the message is in a queue.
	 */
	bool counted;
};

static struct request *request_of(struct message_call *handle)
{
	return list_entry(handle, struct request, handle);
}

/*
 * Closes the descriptors of a request, whose message is being freed. Returns how many there were.
 * The writer's lock is held.
 */
static unsigned request_close_fds(struct request *request)
{
	unsigned n = outbox_close_fd(&request->outbox);

	list_remove(&request->of_cancellable);
	return n + level_close(&request->cancelled);
}

/* The request's message has been freed, by any thread. */
static void on_dropped(struct message_call *handle)
{
	struct request *request = request_of(handle);
	struct beam_channel *channel = request->channel;
	bool counted = request->counted;
	unsigned closed;

	if (channel_foreign(channel))
		return;
	pthread_mutex_lock(&channel->link.writer.lock);
	request->held = false;
	closed = request_close_fds(request);
	if (request->known) {
		tx_asked(&channel->link.writer.tx, &request->outbox.outlet);
		tx_end_call(&channel->link.writer.tx, &request->outbox.outlet, request->error);
		write_pending(&channel->link);
	} else {
		free(request);
	}
	pthread_mutex_unlock(&channel->link.writer.lock);
	while (closed--)
		baton_independ(&channel->link);
	if (counted)
		channel_memory_unref(channel);
}

int request_begin(struct beam_channel *channel, uint32_t id, struct message_call **ret)
{
	struct request *request = sys_calloc(1, sizeof *request);
	int r;

	if (!request)
		return -ENOMEM;
	request->handle.dropped = on_dropped;
	request->channel = channel;
	request->held = request->known = true;
	request->error = REPLY_DROPPED;
	outbox_init(&request->outbox);
	level_init(&request->cancelled);
	list_init(&request->of_cancellable);
	pthread_mutex_lock(&channel->link.writer.lock);
	r = tx_open_replies(&channel->link.writer.tx, &request->outbox.outlet, id);
	pthread_mutex_unlock(&channel->link.writer.lock);
	if (r < 0)
		free(request);
	else
		*ret = &request->handle;
	return r;
}

void request_deliver(struct message_call *handle)
{
	struct request *request = request_of(handle);

	request->counted = true;
	channel_memory_ref(request->channel);
	tx_asked(&request->channel->link.writer.tx, &request->outbox.outlet);
}

void request_refuse(struct message_call *handle)
{
	request_of(handle)->error = REPLY_CLOSED;
}

void request_released(struct outlet *outlet)
{
	struct request *request = list_entry(outbox_of(outlet), struct request, outbox);
	struct beam_statistics *sum = &request->channel->replies;

	sum->messages_sent += outlet->messages;
	sum->bytes_sent += outlet->bytes;
	sum->attachments_sent += outlet->attachments;
	request->known = false;
	if (!request->held)
		free(request);
}

/* ---- Descriptors that show what the caller does ---------------------------------------------- */

static void show_cancelled(struct request *request)
{
	level_put(&request->cancelled, request->channel->link.writer.send_error || request->outbox.outlet.reset);
}

void requests_show_cancelled(struct beam_channel *channel, struct outlet *outlet)
{
	if (outlet && outlet_replies(outlet))
		show_cancelled(list_entry(outbox_of(outlet), struct request, outbox));
	if (!channel->link.writer.send_error)
		return;
	for (struct list *link = channel->cancellable.next; link != &channel->cancellable; link = link->next)
		show_cancelled(list_entry(link, struct request, of_cancellable));
}

static int cancelled_fd(struct request *request)
{
	struct beam_channel *channel = request->channel;
	bool is_new;
	int fd;

	if (channel_foreign(channel))
		return -ECHILD;
	pthread_mutex_lock(&channel->link.writer.lock);
	fd = level_open(&request->cancelled, &is_new);
	if (is_new)
		list_append(&channel->cancellable, &request->of_cancellable);
	show_cancelled(request);
	pthread_mutex_unlock(&channel->link.writer.lock);
	return fd_opened(channel, fd, is_new);
}

int beam_message_cancelled_fd(beam_message *request)
{
	WITHOUT_CANCELLATION;

	return beam_message_is_call(request) ? cancelled_fd(request_of(request->call)) : -EINVAL;
}

int beam_message_reply_fd(beam_message *request)
{
	WITHOUT_CANCELLATION;
	struct request *found;

	if (!beam_message_is_call(request))
		return -EINVAL;
	found = request_of(request->call);
	return outbox_fd(found->channel, &found->outbox);
}

/* ---- Answering ------------------------------------------------------------------------------- */

bool beam_message_is_call(const beam_message *message)
{
	return message && message->call;
}

static int reply_send(beam_message *message, const struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds,
		      uint8_t flags, bool give, beam_deadline deadline)
{
	struct request *request = request_of(message->call);
	struct sending s;
	int r = sending_prepare(&s, request->channel, &request->outbox, iov, n_iov, fds, n_fds, deadline);

	if (!r && give)
		r = sending_give(&s);
	s.message.flags = flags;
	return r < 0 ? r : sending_send(&s);
}

static bool reply_flags_known(unsigned flags)
{
	return !(flags & ~(unsigned)BEAM_REPLY_MORE);
}

static uint8_t last_unless_more(unsigned flags)
{
	return flags & BEAM_REPLY_MORE ? 0 : TX_LAST;
}

int beam_message_replyv(beam_message *request, const struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds,
			unsigned flags, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;

	if (!beam_message_is_call(request) || !reply_flags_known(flags & ~(unsigned)BEAM_SEND_GIVE_FDS))
		return -EINVAL;
	return reply_send(request, iov, n_iov, fds, n_fds, last_unless_more(flags), flags & BEAM_SEND_GIVE_FDS,
			  deadline);
}

int beam_message_reply_message(beam_message *request, beam_message *message, unsigned flags, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct request *answered;
	struct iovec iov;
	struct sending s;
	int r;

	if (!beam_message_is_call(request) || !message || !reply_flags_known(flags))
		return -EINVAL;
	answered = request_of(request->call);
	r = sending_prepare_message(&s, answered->channel, &answered->outbox, message, &iov, deadline);
	s.message.flags = last_unless_more(flags);
	return r < 0 ? r : sending_send_message(&s, message);
}

int beam_message_reply(beam_message *request, const void *data, size_t size, unsigned flags, beam_deadline deadline)
{
	struct iovec iov = {(void *)(uintptr_t)data, size};

	/* There are no descriptors to give. */
	return flags & BEAM_SEND_GIVE_FDS ? -EINVAL : beam_message_replyv(request, &iov, 1, NULL, 0, flags, deadline);
}

/* A failure that is only a code is made due, as credit is, so reporting it never blocks. */
static int fail_plainly(struct request *request, uint32_t code)
{
	struct beam_channel *channel = request->channel;
	int r;

	if (channel_foreign(channel))
		return -ECHILD;
	pthread_mutex_lock(&channel->link.writer.lock);
	r = sending_begin(channel, &request->outbox.outlet);
	if (!r) {
		tx_end_call(&channel->link.writer.tx, &request->outbox.outlet, code);
		write_pending(&channel->link);
	}
	pthread_mutex_unlock(&channel->link.writer.lock);
	return r;
}

int beam_message_reply_failure(beam_message *request, uint32_t code, const void *data, size_t size, unsigned flags,
			       beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	unsigned char bytes[4];
	struct iovec iov[2] = {{bytes, sizeof bytes}, {(void *)(uintptr_t)data, size}};

	if (!beam_message_is_call(request) || code < BEAM_FAILURE_APPLICATION || flags)
		return -EINVAL;
	if (!size)
		return fail_plainly(request_of(request->call), code);
	put_u32(bytes, code);
	return reply_send(request, iov, 2, NULL, 0, TX_LAST | TX_FAILED, false, deadline);
}
