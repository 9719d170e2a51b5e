/* SPDX-License-Identifier: MIT */
/*
 * The reader of a side: each message must be the next one that was sent on the other side's stream,
 * with the same bytes and the same descriptors.
 */
#include <session/sim_messages.h>

/* What arrives need not be what the other side's session wrote. */
static bool betrayed(const struct sim_side *side)
{
	return sim_other(side)->hostile;
}

/* A stream that the other side's session does not know. */
static struct sim_stream *forged_stream(struct sim_side *side)
{
	struct sim_stream *stream = sim_stream_new(sim_other(side));

	snprintf(stream->name, sizeof stream->name, "f%llu", (unsigned long long)stream->number);
	stream->closed = stream->released = true;
	return stream;
}

static int on_hello(void *owner, const struct hello *hello)
{
	struct sim_side *side = owner;

	check(!side->hello_came);
	side->hello_came = true;
	if (!betrayed(side))
		check_bytes(&hello->limits, &sim_other(side)->limits, sizeof hello->limits);
	return tx_hello(&side->tx, hello);
}

/* Decides whether nobody will take messages from this stream. */
static void neglect(struct sim_side *side, struct sim_stream *stream)
{
	stream->neglected = side->sim->neglect && sim_chance(side->sim, 35);
	if (stream->neglected)
		sim_event(side, SIM_NEGLECTS, "will take nothing of %s", stream->name);
}

static int on_opened(void *owner, struct inlet *inlet)
{
	struct sim_side *side = owner;
	struct sim_stream *stream = sim_other(side)->streams;

	/* Of several streams with an id only one is in use at a time. */
	while (stream && (stream->opened || stream->outlet.id != inlet->id))
		stream = stream->next;
	if (betrayed(side) && !stream)
		stream = forged_stream(side);
	require(stream != NULL);
	if (!betrayed(side))
		check_string(inlet->name, stream->name);
	stream->opened = true;
	stream->inlet = inlet;
	neglect(side, stream);
	inlet->owner = stream;
	inlet->queued = 0;
	inlet_withhold(inlet, side->limits.topic_bytes, side->limits.topic_attachments,
		       side->limits.message_attachments);
	inlet->closed = inlet->discard = false;
	if (!side->sim->calm && sim_chance(side->sim, 5)) {
		sim_event(side, SIM_REFUSES, "refuses %s, id %u", stream->name, inlet->id);
		inlet->discard = true;
		tx_reset_inlet(&side->tx, inlet, RESET_REFUSED);
	}
	return 0;
}

/* The next message that must arrive on this stream. Those that were given up are skipped. */
static struct sim_message *next_of(struct sim_stream *stream)
{
	while (stream->arrived < stream->n_sent && stream->sent[stream->arrived]->fate == FATE_GONE)
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

	sim_event(side, SIM_ARRIVES, "hears %zu bytes and %u descriptors on %s", message->size, message->n_fds,
		  stream->name);
	side->sim->bytes += message->size;
	if (betrayed(side))
		return;
	harness_check(expected != NULL, __FILE__, __LINE__, true, "nothing more is to come on %s", stream->name);
	check(expected->fate == FATE_COMES || expected->fate == FATE_GOES);
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
}

/* A request has arrived. It is answered when it is taken, unless its topic was reset. */
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
	if (queue->n > 1 && sim_breaks(side->sim, SIM_BREAK_ORDER))
		message_queue_append(queue, message_queue_take(queue));
	while ((message = message_queue_take(queue))) {
		check(message->origin == inlet);
		/* An END without a reply is no message of a sender. */
		if (message->failed && !message->cost) {
			check(inlet->replies && message->last && message->size == 4);
			free_message(side, message);
			continue;
		}
		check_message(side, stream, message);
		if (sim_breaks(side->sim, SIM_BREAK_TWICE))
			check_message(side, stream, message);
		if (message->call)
			ask(side, stream, message);
		if (inlet->discard) {
			sim_event(side, SIM_DISCARDS, NULL);
			throw_away(side, message);
			continue;
		}
		inlet->queued++;
		stream->queued_cost += message->cost - message->overdraft;
		side->queued_overdraft += message->overdraft;
		message_queue_append(&stream->queue, message);
	}
	check(stream->queued_cost <= (inlet->replies ? limits_base.topic_bytes : side->limits.topic_bytes));
	check(side->queued_overdraft <= side->limits.pool_bytes);
}

static void on_closed(void *owner, struct inlet *inlet)
{
	struct sim_side *side = owner;
	struct sim_stream *stream = inlet->owner;

	/* No message may be missing. */
	check(betrayed(side) || next_of(stream) == NULL);
	stream->ended = true;
	inlet->closed = true;
	if (!inlet->discard && !inlet->queued)
		inlet_done(side, inlet);
	inlet->owner = NULL;
}

static void check_aborted(struct sim_stream *stream, const struct inlet *inlet, const struct beam_message *message)
{
	size_t i = stream->arrived, before = inlet->arrived.n;

	/* Earlier messages that are whole may not have been delivered yet. */
	while (i < stream->n_sent && (stream->sent[i]->fate == FATE_GONE || before)) {
		before -= stream->sent[i]->fate != FATE_GONE;
		i++;
	}
	require(i < stream->n_sent);
	check_int(stream->sent[i]->fate, FATE_ABORTED);
	check_int(stream->sent[i]->size, message->size);
	stream->sent[i]->fate = FATE_GONE;
}

static void on_aborted(void *owner, struct inlet *inlet, const struct beam_message *message)
{
	struct sim_side *side = owner;
	struct sim_stream *stream = inlet->owner;

	sim_event(side, SIM_GIVEN_UP, "hears that a message of %zu bytes on %s is given up", message->size,
		  stream->name);
	if (!betrayed(side))
		check_aborted(stream, inlet, message);
	if (inlet->discard)
		tx_return_pool(&side->tx, message->overdraft);
	else
		tx_return(&side->tx, inlet, message->cost - message->overdraft, message->n_fds, message->overdraft);
	stream->gone_cost += message->cost - message->overdraft;
	stream->gone_fds += message->n_fds;
	side->gone_overdraft += message->overdraft;
}

/* The request was aborted, or dropped by rx. */
static void on_dropped(struct message_call *handle)
{
	struct sim_call *call = list_entry(handle, struct sim_call, handle);
	struct sim_side *side = sim_other(call->caller);

	tx_asked(&side->tx, &call->replies->outlet);
	sim_end_call(side, call, REPLY_DROPPED);
}

/* Connects the replies to a call with its inlet. */
static void open_replies(struct sim_stream *stream, struct sim_call *call)
{
	stream->replies_to = call;
	stream->opened = true;
	stream->inlet = &call->inlet;
	call->inlet.owner = stream;
	call->replies = stream;
}

static int on_called(void *owner, uint32_t id, struct message_call **ret)
{
	struct sim_side *side = owner, *caller = sim_other(side);
	struct sim_stream *stream = sim_stream_new(side);
	struct sim_call *call;

	if (betrayed(side)) {
		call = sim_call_new(caller);
	} else {
		require(caller->tx.calls[id] != NULL);
		call = list_entry(caller->tx.calls[id], struct sim_call, inlet);
		require(!call->replies);
	}
	snprintf(stream->name, sizeof stream->name, "c%u", id);
	open_replies(stream, call);
	call->handle.dropped = on_dropped;
	neglect(caller, stream);
	*ret = &call->handle;
	return tx_open_replies(&side->tx, &stream->outlet, id);
}

static struct inlet *on_reply(void *owner, uint32_t id)
{
	struct sim_side *side = owner;
	struct inlet *inlet = tx_find_call(&side->tx, id);

	/* A reply to a request that the other side's session has not received. */
	if (inlet && !inlet->owner) {
		check(betrayed(side));
		open_replies(forged_stream(side), list_entry(inlet, struct sim_call, inlet));
	}
	return inlet;
}

static void on_ended(void *owner, struct inlet *inlet, struct message_queue *queue)
{
	struct sim_side *side = owner;
	struct sim_call *call = list_entry(inlet, struct sim_call, inlet);

	sim_event(side, SIM_CALL_OVER, "call %u is over", inlet->id);
	inlet->closed = true;
	on_messages(owner, inlet, queue);
	check(betrayed(side) || next_of(inlet->owner) == NULL);
	call->replies->ended = true;
	call->over = true;
	tx_call_over(&side->tx, inlet);
}

static const char *on_credit(void *owner, uint32_t id, uint32_t call, uint32_t bytes, uint32_t attachments,
			     bool overdraft)
{
	struct sim_side *side = owner;

	sim_event(side,
		  overdraft ? SIM_CREDIT_OVERDRAFT
		  : call    ? SIM_CREDIT_CALL
		  : id      ? SIM_CREDIT
			    : SIM_CREDIT_ALL,
		  "gets credit for %u bytes%s, %u descriptors, %s %u", bytes, overdraft ? " of the pool" : "",
		  attachments, call ? "call" : "topic", call ? call : id);
	if (sim_breaks(side->sim, SIM_BREAK_CREDIT))
		return NULL;
	if (call)
		return tx_credit_call(&side->tx, call, bytes, attachments, overdraft);
	return tx_credit(&side->tx, id, bytes, attachments, overdraft);
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

static void on_want(void *owner, uint32_t until)
{
	struct sim_side *side = owner;

	sim_event(side, SIM_WANTS, "hears that attachments are wanted, until %u are granted", until);
	if (!sim_breaks(side->sim, SIM_BREAK_WITHHOLD))
		tx_wanted(&side->tx, until);
}

static void on_returned(void *owner, uint32_t attachments)
{
	struct sim_side *side = owner;

	check(betrayed(side) || side->tx.features & FEATURE_LENDS);
	side->returned += attachments;
	tx_given_back(&side->tx, attachments);
}

static void on_ping(void *owner, bool asks)
{
	struct sim_side *side = owner;

	if (asks) {
		check(betrayed(side) || side->tx.features & FEATURE_ANSWERS);
		sim_event(side, SIM_PINGS, "is asked whether it is there");
		side->tx.pong_due = true;
		return;
	}
	sim_event(side, SIM_PONGS, "hears that the other side is there");
	check(betrayed(side) || ++side->n_answers <= side->n_asked);
	side->unanswered = false;
}

static void on_charged(void *owner, size_t n)
{
	struct sim_side *side = owner;

	side->charged += n;
	check(side->charged <= sim_granted(side));
}

static void on_discard(void *owner, const int *fds, size_t n, bool charged)
{
	if (charged) {
		close_all_charged(owner, fds, n);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (fds[i] >= 0)
			sim_fd_close(owner, fds[i]);
	}
}

static void on_lost(void *owner, size_t n)
{
	struct sim_side *side = owner;

	check(n > 0);
	side->gone_fds += n;
	tx_settled(&side->tx, (uint32_t)n);
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
    .want = on_want,
    .returned = on_returned,
    .ping = on_ping,
    .charged = on_charged,
    .discard = on_discard,
    .lost = on_lost,
};

bool sim_read(struct sim_side *side)
{
	int fds[FRAME_CARRIED_MAX];
	struct iovec iov[RX_IOV];
	struct rx_group group;
	ssize_t n;
	int n_iov;

	if (side->over)
		return false;
	n_iov = rx_offer(&side->rx, iov);

	require(n_iov == 1 || n_iov == 2);
	if (side->hostile)
		sim_pipe_empty(side->sim, &side->sim->pipes[1 - side->index]);
	n = sim_pipe_read(side, iov, (size_t)n_iov, fds, &group);
	if (n == -EAGAIN) {
		/* The end of the stream. Whoever is writing will notice it. */
		if (sim_other(side)->dead && side->writer == SIM_NOBODY && !side->broken)
			sim_break(side);
		return false;
	}
	require(n > 0);
	sim_event(side, SIM_READS, "reads %zd bytes, %zu descriptors%s", n, group.n,
		  group.loss ? " and some were lost" : "");
	side->sim->moved = true;
	if (rx_took(&side->rx, (size_t)n, &group) < 0) {
		const char *rule = side->rx.breach ? side->rx.breach : "no memory";

		sim_event(side, SIM_BREACH, "finds a rule broken: %s", rule);
		side->over = true;
		if (!betrayed(side) || !side->rx.breach)
			fail("%s", rule);
	}
	return !side->over;
}
