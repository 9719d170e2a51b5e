/* SPDX-License-Identifier: MIT */
/*
 * The reader of a side, and those who take messages: each message must be the next that the other side's stream sent,
 * byte for byte and descriptor for descriptor.
 */
#include <session/sim.h>

static int on_hello(void *owner, const struct hello *hello)
{
	struct sim_side *side = owner;

	check(!side->hello_came);
	side->hello_came = true;
	check_bytes(&hello->limits, &sim_other(side)->limits, sizeof hello->limits);
	return tx_hello(&side->tx, &hello->limits);
}

static int on_opened(void *owner, struct inlet *inlet)
{
	struct sim_side *side = owner;
	struct sim_stream *stream = sim_other(side)->streams;

	/* An id has one life at a time. */
	while (stream && (stream->opened || stream->outlet.id != inlet->id))
		stream = stream->next;
	require(stream != NULL);
	check_string(inlet->name, stream->name);
	stream->opened = true;
	stream->inlet = inlet;
	inlet->owner = stream;
	inlet->queued = 0;
	inlet->withheld_bytes = inlet->withheld_attachments = 0;
	inlet->closed = inlet->discard = false;
	if (!side->sim->calm && sim_chance(side->sim, 5)) {
		inlet->discard = true;
		tx_reset_inlet(&side->tx, inlet, RESET_REFUSED);
	}
	return 0;
}

/* What the stream must bring next: what was given up is passed over. */
static struct sim_message *next_of(struct sim_stream *stream)
{
	while (stream->arrived < stream->n_sent && stream->sent[stream->arrived]->fate == SIM_GONE)
		stream->arrived++;
	return stream->arrived < stream->n_sent ? stream->sent[stream->arrived] : NULL;
}

static void check_payload(const struct sim_message *expected, const struct beam_message *message)
{
	if (memcmp(message->data, sim_pattern + expected->pattern, expected->size) != 0)
		fail("%zu bytes are not those that were sent", expected->size);
}

static void check_message(struct sim_side *side, struct sim_stream *stream, struct beam_message *message)
{
	struct sim_message *expected = next_of(stream);

	require(expected != NULL);
	check(expected->fate == SIM_ACCEPTED || expected->fate == SIM_GOES);
	stream->arrived++;
	require_int(message->size, expected->size);
	check_payload(expected, message);
	check_int(message->cost, expected->size + MESSAGE_COST);
	check(message->call == (expected->call ? &expected->call->handle : NULL));
	check_int(message->last, expected->last);
	check_int(message->failed, expected->failed);
	require_int(message->n_fds, expected->n_fds);
	for (unsigned i = 0; i < message->n_fds; i++) {
		if (message->fds[i] >= 0)
			check_int(sim_fd_file(side, message->fds[i]), expected->first_file + (int)i);
		else
			check(message->fds[i] == -EMFILE || message->fds[i] == -EACCES);
	}
	side->sim->delivered++;
	side->sim->bytes += message->size;
}

static void free_message(struct sim_side *side, struct beam_message *message)
{
	for (unsigned i = 0; i < message->n_fds; i++) {
		if (message->fds[i] >= 0)
			sim_fd_close(side, message->fds[i]);
	}
	message_free_shell(message);
}

static void throw_away(struct sim_side *side, struct beam_message *message)
{
	tx_return_shared(&side->tx, message->overdraft, message->n_fds);
	free_message(side, message);
}

/* A request has come: it is answered when it is taken, unless its topic was reset. */
static void ask(struct sim_side *side, struct sim_stream *stream, const struct beam_message *message)
{
	struct sim_call *call = list_entry(message->call, struct sim_call, handle);

	tx_asked(&side->tx, &call->replies->outlet);
	if (stream->inlet->discard)
		sim_end_call(side, call, REPLY_CLOSED);
}

static void on_messages(void *owner, struct inlet *inlet, struct message_queue *queue)
{
	struct sim_side *side = owner;
	struct sim_stream *stream = inlet->owner;
	struct beam_message *message;

	check(queue->n > 0);
	while ((message = message_queue_take(queue))) {
		check(message->origin == inlet);
		/* An end without a reply is nobody's message. */
		if (message->failed && !message->cost) {
			check(inlet->replies && message->last && message->size == 4);
			free_message(side, message);
			continue;
		}
		check_message(side, stream, message);
		if (message->call)
			ask(side, stream, message);
		if (inlet->discard) {
			throw_away(side, message);
			continue;
		}
		inlet->queued++;
		stream->queued_cost += message->cost - message->overdraft;
		side->queued_overdraft += message->overdraft;
		side->queued_fds += message->n_fds;
		message_queue_append(&stream->queue, message);
	}
	check(stream->queued_cost <= (inlet->replies ? limits_base.topic_bytes : side->limits.topic_bytes));
	check(side->queued_overdraft <= side->limits.pool_bytes);
	check(side->queued_fds <= side->limits.attachments);
}

static void inlet_done(struct sim_side *side, struct inlet *inlet)
{
	tx_reset_inlet(&side->tx, inlet, RESET_DONE);
}

static void on_closed(void *owner, struct inlet *inlet)
{
	struct sim_side *side = owner;
	struct sim_stream *stream = inlet->owner;

	/* Nothing is to come any more. */
	check(next_of(stream) == NULL);
	stream->ended = true;
	inlet->closed = true;
	if (!inlet->discard && !inlet->queued)
		inlet_done(side, inlet);
	inlet->owner = NULL;
}

static void on_aborted(void *owner, struct inlet *inlet, const struct beam_message *message)
{
	struct sim_side *side = owner;
	struct sim_stream *stream = inlet->owner;
	size_t i = stream->arrived, before = inlet->arrived.n;

	/* Whole messages of before may still be on their way to the owner. */
	while (i < stream->n_sent && (stream->sent[i]->fate == SIM_GONE || before)) {
		before -= stream->sent[i]->fate != SIM_GONE;
		i++;
	}
	require(i < stream->n_sent);
	check_int(stream->sent[i]->fate, SIM_ABORTED);
	check_int(stream->sent[i]->size, message->size);
	stream->sent[i]->fate = SIM_GONE;
	if (!inlet->discard)
		tx_return(&side->tx, inlet, message->cost - message->overdraft, message->n_fds);
	tx_return_shared(&side->tx, message->overdraft, message->n_fds);
	side->sim->aborted++;
}

/* Its request was given up, or thrown away by rx itself. */
static void on_dropped(struct message_call *handle)
{
	struct sim_call *call = list_entry(handle, struct sim_call, handle);
	struct sim_side *side = sim_other(call->caller);

	tx_asked(&side->tx, &call->replies->outlet);
	sim_end_call(side, call, REPLY_DROPPED);
}

static int on_called(void *owner, uint32_t id, struct message_call **ret)
{
	struct sim_side *side = owner, *caller = sim_other(side);
	struct sim_stream *stream = calloc(1, sizeof *stream), **last = &side->streams;
	struct sim_call *call = list_entry(caller->tx.calls[id], struct sim_call, inlet);

	require(stream != NULL && caller->tx.calls[id] != NULL && !call->replies);
	message_queue_init(&stream->queue);
	stream->number = side->n_streams++;
	snprintf(stream->name, sizeof stream->name, "c%u", id);
	while (*last)
		last = &(*last)->next;
	*last = stream;
	stream->replies_to = call;
	stream->opened = true;
	stream->inlet = &call->inlet;
	call->inlet.owner = stream;
	call->replies = stream;
	call->handle.dropped = on_dropped;
	*ret = &call->handle;
	return tx_open_replies(&side->tx, &stream->outlet, id);
}

static struct inlet *on_reply(void *owner, uint32_t id)
{
	return tx_find_call(&((struct sim_side *)owner)->tx, id);
}

static void on_ended(void *owner, struct inlet *inlet, struct message_queue *queue)
{
	struct sim_side *side = owner;
	struct sim_call *call = list_entry(inlet, struct sim_call, inlet);

	sim_trace(side, "call %u is over", inlet->id);
	inlet->closed = true;
	on_messages(owner, inlet, queue);
	check(next_of(inlet->owner) == NULL);
	call->replies->ended = true;
	call->over = true;
	tx_call_over(&side->tx, inlet);
}

static const char *on_credit(void *owner, uint32_t id, uint32_t call, uint32_t bytes, uint32_t attachments)
{
	if (call)
		return tx_credit_call(&((struct sim_side *)owner)->tx, call, bytes, attachments);
	return tx_credit(&((struct sim_side *)owner)->tx, id, bytes, attachments);
}

static const char *on_reset(void *owner, uint32_t id, uint32_t reason)
{
	if (!id) {
		tx_reset_call(&((struct sim_side *)owner)->tx, reason);
		return NULL;
	}
	return tx_reset(&((struct sim_side *)owner)->tx, id, reason);
}

static void on_goodbye(void *owner)
{
	struct sim_side *side = owner;

	side->heard_goodbye = true;
	sim_goodbye(side);
}

static void on_discard(void *owner, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (fds[i] >= 0)
			sim_fd_close(owner, fds[i]);
	}
}

static void on_lost(void *owner, size_t n)
{
	((struct sim_side *)owner)->sim->lost += n;
}

const struct rx_events sim_rx_events = {
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
    .goodbye = on_goodbye,
    .discard = on_discard,
    .lost = on_lost,
};

bool sim_read(struct sim_side *side)
{
	int fds[FRAME_CARRIED_MAX];
	struct iovec iov[RX_IOV];
	struct rx_group group;
	ssize_t n;
	int n_iov = rx_offer(&side->rx, iov);

	require(n_iov == 1 || n_iov == 2);
	n = sim_pipe_read(side, iov, (size_t)n_iov, fds, &group);
	if (n == -EAGAIN)
		return false;
	require(n > 0);
	sim_trace(side, "reads %zd bytes, %zu descriptors%s", n, group.n, group.loss ? " and some were lost" : "");
	side->sim->moved = true;
	if (rx_took(&side->rx, (size_t)n, &group) < 0)
		fail("%s", side->rx.breach ? side->rx.breach : "no memory");
	return true;
}

void sim_take(struct sim_side *side, struct sim_stream *stream)
{
	struct beam_message *message = message_queue_take(&stream->queue);
	struct inlet *inlet = stream->inlet;
	const struct limits *own = inlet && inlet->replies ? &limits_base : &side->limits;
	uint32_t spare = own->topic_attachments - own->message_attachments;
	uint32_t attachments = own->topic_attachments / 2 < spare ? own->topic_attachments / 2 : spare;

	if (!message)
		return;
	side->sim->moved = true;
	inlet->queued--;
	stream->queued_cost -= message->cost - message->overdraft;
	side->queued_overdraft -= message->overdraft;
	side->queued_fds -= message->n_fds;
	inlet->withheld_bytes += message->cost - message->overdraft;
	inlet->withheld_attachments += message->n_fds;
	if (inlet->closed) {
		if (!inlet->queued)
			inlet_done(side, inlet);
	} else if (!side->hoards || inlet->withheld_bytes >= own->topic_bytes / 2 ||
		   inlet->withheld_attachments > attachments) {
		tx_return(&side->tx, inlet, inlet->withheld_bytes, inlet->withheld_attachments);
		inlet->withheld_bytes = inlet->withheld_attachments = 0;
	}
	if (message->call)
		list_entry(message->call, struct sim_call, handle)->open = true;
	throw_away(side, message);
}

/* Requests that were not taken are ended. */
static void refuse(struct sim_side *side, const struct beam_message *message)
{
	if (message->call)
		sim_end_call(side, list_entry(message->call, struct sim_call, handle), REPLY_CLOSED);
}

void sim_reset(struct sim_side *side, struct sim_stream *stream)
{
	struct inlet *inlet = stream->inlet;
	struct beam_message *message;

	/* As long as the inlet is this stream's. */
	if (!stream->opened || (stream->ended && !stream->queue.n) || inlet->discard)
		return;
	sim_trace(side, "resets %s, id %u", stream->name, inlet->id);
	side->sim->cancelled += inlet->replies;
	side->sim->moved = true;
	inlet->discard = true;
	inlet->queued = 0;
	tx_reset_inlet(&side->tx, inlet, inlet->closed ? RESET_DONE : RESET_UNWANTED);
	stream->queued_cost = 0;
	while ((message = message_queue_take(&stream->queue))) {
		side->queued_overdraft -= message->overdraft;
		side->queued_fds -= message->n_fds;
		refuse(side, message);
		throw_away(side, message);
	}
}
