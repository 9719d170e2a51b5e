/* SPDX-License-Identifier: MIT */
/*
 * Calls that this side makes. A call has an inlet, through which its replies arrive, and an inbox,
 * in which they wait. Its memory is counted: one reference is for its handles, and one is held
 * while the session knows its id.
 *
 * The session's reference is released when the last reply has arrived, when it turns out that the
 * request was never sent, or with the channel. All of these happen on the thread that reads, or to
 * a call of which no reply has begun to arrive. So rx never looks at a call that has been freed.
 */
#include <beam/call.h>
#include <channel/sending.h>
#include <string.h>

static struct beam_call *call_of(struct inlet *inlet)
{
	return list_entry(inlet, struct beam_call, inlet);
}

static void call_unref(struct beam_call *call)
{
	struct beam_channel *channel = call->inbox.channel;

	annotate_release(&call->memory);
	if (atomic_fetch_sub_explicit(&call->memory, 1, memory_order_acq_rel) != 1)
		return;
	annotate_acquire(&call->memory);
	inbox_discard(channel, &call->inbox.queue);
	beam_message_free(call->inlet.building);
	beam_message_free(call->failure);
	inbox_destroy(&call->inbox);
	free(call);
	channel_memory_unref(channel);
}

/* ---- Events of the session ------------------------------------------------------------------- */

void call_ended(struct beam_channel *channel, struct inlet *inlet, struct message_queue *queue)
{
	struct inbox *inbox = inlet->owner;
	bool discard;

	pthread_mutex_lock(&inbox->lock);
	discard = inlet->discard;
	inlet->closed = true;
	if (discard) {
		inbox->discarded += queue->n;
	} else {
		inlet->queued += queue->n;
		inbox->ended = true;
		message_queue_splice(&inbox->queue, queue);
		inbox_show(inbox);
		sleepers_wake(&channel->link, &inbox->arrived, SIZE_MAX);
	}
	pthread_mutex_unlock(&inbox->lock);
	if (discard)
		inbox_discard(channel, queue);
	pthread_mutex_lock(&channel->link.writer.lock);
	tx_call_over(&channel->link.writer.tx, inlet);
	pthread_mutex_unlock(&channel->link.writer.lock);
	call_unref(call_of(inlet));
}

void calls_unasked(struct list *unasked)
{
	struct list *link, *next;

	for (link = unasked->next; link != unasked; link = next) {
		struct beam_call *call = call_of(list_entry(link, struct inlet, due));

		next = link->next;
		list_init(link);
		inbox_end_reading(&call->inbox, call->inlet.error);
		call_unref(call);
	}
}

/*
 * Finds the next call in flight after an id. The caller gets a reference to it. With `forget` the
 * session forgets the call, and the caller gets the session's reference.
 */
static struct beam_call *next_call(struct beam_channel *channel, uint32_t *id, bool forget)
{
	struct tx *tx = &channel->link.writer.tx;
	struct beam_call *call = NULL;

	pthread_mutex_lock(&channel->link.writer.lock);
	while (!call && *id < tx->capacity_calls) {
		struct inlet *inlet = tx->calls[++*id];

		if (inlet) {
			call = call_of(inlet);
			if (forget)
				tx_call_over(tx, inlet);
			else
				atomic_fetch_add_explicit(&call->memory, 1, memory_order_relaxed);
		}
	}
	pthread_mutex_unlock(&channel->link.writer.lock);
	return call;
}

void calls_end_reading(struct beam_channel *channel, int end)
{
	struct beam_call *call;
	uint32_t id = 0;

	while ((call = next_call(channel, &id, false))) {
		inbox_end_reading(&call->inbox, end);
		call_unref(call);
	}
}

void calls_forget(struct beam_channel *channel)
{
	struct beam_call *call;
	uint32_t id = 0;

	while ((call = next_call(channel, &id, true)))
		call_unref(call);
}

/* ---- Making ---------------------------------------------------------------------------------- */

/* Cancels a call: discards the replies that wait, and tells the peer. */
static void cancel(struct beam_call *call)
{
	struct inbox *inbox = &call->inbox;
	struct beam_channel *channel = inbox->channel;
	struct message_queue thrown;
	bool over;

	message_queue_init(&thrown);
	pthread_mutex_lock(&inbox->lock);
	over = inbox_state(inbox) != NOT_ENDED;
	if (!over) {
		inbox->end = -ECANCELED;
		call->inlet.discard = true;
		call->inlet.queued = 0;
		inbox->discarded += inbox->queue.n;
		message_queue_splice(&thrown, &inbox->queue);
		inbox_show(inbox);
		sleepers_wake_all(&channel->link, &inbox->arrived);
	}
	pthread_mutex_unlock(&inbox->lock);
	if (over)
		return;
	inbox_discard(channel, &thrown);
	pthread_mutex_lock(&channel->link.writer.lock);
	tx_reset_inlet(&channel->link.writer.tx, &call->inlet, RESET_DONE);
	write_pending(&channel->link);
	pthread_mutex_unlock(&channel->link.writer.lock);
}

static struct beam_call *call_new(struct beam_channel *channel)
{
	struct beam_call *call = sys_calloc(1, sizeof *call);

	if (!call)
		return NULL;
	atomic_init(&call->memory, 2);
	annotate_atomic(&call->memory);
	call->handles = 1;
	call->inlet.owner = &call->inbox;
	/*
	 * Once the queue is empty, a reply with the largest allowed number of attachments must fit.
	 */
	inlet_withhold(&call->inlet, limits_base.topic_bytes, limits_base.topic_attachments,
		       limits_base.topic_attachments);
	list_init(&call->inlet.due);
	inbox_init(&call->inbox, channel, NOT_ENDED);
	channel_memory_ref(channel);
	return call;
}

/* Sends a request that was prepared. `message` is the message to send, or NULL. */
static int call_send(struct sending *s, struct beam_message *message, beam_call **ret)
{
	struct beam_call *call = call_new(s->channel);
	int r;

	if (!call)
		return -ENOMEM;
	s->message.call = &call->inlet;
	r = message ? sending_send_message(s, message) : sending_send(s);
	if (!r) {
		*ret = call;
		return 0;
	}
	/*
	 * If a part of the request has been sent, the peer will end the call, and the session waits
	 * for that.
	 */
	if (!s->message.call || !call->inlet.id)
		call_unref(call);
	else
		cancel(call);
	call_unref(call); /* NOLINT(clang-analyzer-unix.Malloc): two references, as counted */
	return r;
}

int beam_call_begin(beam_call **ret, beam_topic *topic, const struct iovec *iov, size_t n_iov, const int *fds,
		    size_t n_fds, unsigned flags, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct sending s;
	int r;

	if (!ret || !topic || (flags & ~(unsigned)BEAM_SEND_GIVE_FDS))
		return -EINVAL;
	r = sending_prepare(&s, topic->channel, &topic->outbox, iov, n_iov, fds, n_fds, deadline);
	if (!r && flags)
		r = sending_give(&s);
	return r < 0 ? r : call_send(&s, NULL, ret);
}

int beam_call_begin_message(beam_call **ret, beam_topic *topic, beam_message *message, unsigned flags,
			    beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct iovec iov;
	struct sending s;
	int r;

	if (!ret || !topic || !message || flags)
		return -EINVAL;
	r = sending_prepare_message(&s, topic->channel, &topic->outbox, message, &iov, deadline);
	return r < 0 ? r : call_send(&s, message, ret);
}

/* ---- Its replies ----------------------------------------------------------------------------- */

static void count_reply(struct beam_channel *channel, const struct beam_message *message)
{
	atomic_fetch_add_explicit(&channel->replies_taken, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&channel->reply_bytes_taken, message->size, memory_order_relaxed);
	atomic_fetch_add_explicit(&channel->reply_attachments_taken, message->n_fds, memory_order_relaxed);
}

int beam_call_receive(beam_call *call, beam_message **ret, unsigned flags, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct owed owed = {0};
	struct inbox *inbox;
	int r;

	if (!call || !ret || flags)
		return -EINVAL;
	inbox = &call->inbox;
	if (channel_foreign(inbox->channel))
		return -ECHILD;
	pthread_mutex_lock(&inbox->lock);
	r = inbox_wait(inbox, deadline);
	if (r == 1) {
		beam_message *message = inbox_take(inbox, &owed);

		count_reply(inbox->channel, message);
		if (message->failed)
			call->failure = message;
		else
			*ret = message;
	}
	inbox_show(inbox);
	if (r >= 0 && call->failure)
		r = -EREMOTEIO;
	pthread_mutex_unlock(&inbox->lock);
	inbox_settle(inbox->channel, &owed);
	return r;
}

/* Reads the code with which a failure's payload begins. Returns a reader of the rest. */
static struct reader failure_read(const struct beam_message *failure, uint32_t *ret_code)
{
	struct reader reader = reader_over(failure->data, failure->size);
	uint32_t code = reader_u32(&reader);

	if (ret_code)
		*ret_code = code;
	return reader;
}

int beam_call_failure(beam_call *call, uint32_t *ret_code, const void **ret_data, size_t *ret_size)
{
	WITHOUT_CANCELLATION;
	const beam_message *failure;
	struct reader reader;

	if (!call)
		return -EINVAL;
	if (channel_foreign(call->inbox.channel))
		return -ECHILD;
	pthread_mutex_lock(&call->inbox.lock);
	failure = call->failure;
	pthread_mutex_unlock(&call->inbox.lock);
	if (!failure)
		return -ENOENT;
	reader = failure_read(failure, ret_code);
	if (ret_data)
		*ret_data = reader.at;
	if (ret_size)
		*ret_size = reader.left;
	return 0;
}

/* ---- Request and reply in one function ------------------------------------------------------- */

/* Waits for the reply to a call of which nobody else has a handle, and releases the call. */
static int call_finish(beam_call *call, beam_message **ret, uint32_t *ret_failure, beam_deadline deadline)
{
	int r = beam_call_receive(call, ret, 0, deadline);

	if (r == -EREMOTEIO) {
		struct beam_message *failure = call->failure;
		struct reader text = failure_read(failure, ret_failure);

		failure->data = text.at;
		failure->size = text.left;
		call->failure = NULL;
		*ret = failure;
	}
	beam_call_unref(call);
	return r;
}

int beam_topic_callv(beam_topic *topic, const struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds,
		     beam_message **ret, uint32_t *ret_failure, unsigned flags, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	beam_call *call = NULL;
	int r;

	if (!ret)
		return -EINVAL;
	r = beam_call_begin(&call, topic, iov, n_iov, fds, n_fds, flags, deadline);
	return r < 0 ? r : call_finish(call, ret, ret_failure, deadline);
}

int beam_topic_call(beam_topic *topic, const void *data, size_t size, beam_message **ret, unsigned flags,
		    beam_deadline deadline)
{
	struct iovec iov = {(void *)(uintptr_t)data, size};
	beam_message *answer = NULL;
	int r;

	if (!ret || flags)
		return -EINVAL;
	r = beam_topic_callv(topic, &iov, 1, NULL, 0, &answer, NULL, flags, deadline);
	if (r == 1)
		*ret = answer;
	else
		beam_message_free(answer);
	return r;
}

int beam_topic_call_message(beam_topic *topic, beam_message **message, beam_message **ret, uint32_t *ret_failure,
			    unsigned flags, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	beam_call *call = NULL;
	int r;

	if (!message || !ret)
		return -EINVAL;
	r = beam_call_begin_message(&call, topic, *message, flags, deadline);
	if (r < 0)
		return r;
	*message = NULL;
	return call_finish(call, ret, ret_failure, deadline);
}

int beam_call_cancel(beam_call *call)
{
	WITHOUT_CANCELLATION;

	if (!call)
		return -EINVAL;
	if (channel_foreign(call->inbox.channel))
		return -ECHILD;
	cancel(call);
	return 0;
}

beam_call *beam_call_ref(beam_call *call)
{
	if (call && !channel_foreign(call->inbox.channel)) {
		pthread_mutex_lock(&call->inbox.lock);
		call->handles++;
		pthread_mutex_unlock(&call->inbox.lock);
	}
	return call;
}

beam_call *beam_call_unref(beam_call *call)
{
	WITHOUT_CANCELLATION;
	bool last;

	if (!call || channel_foreign(call->inbox.channel))
		return NULL;
	pthread_mutex_lock(&call->inbox.lock);
	last = --call->handles == 0;
	pthread_mutex_unlock(&call->inbox.lock);
	if (last) {
		cancel(call);
		inbox_close_fd(&call->inbox);
		call_unref(call);
	}
	return NULL;
}
