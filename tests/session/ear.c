/* SPDX-License-Identifier: MIT */
#include <session/ear.h>
#include <stdarg.h>

__attribute__((format(printf, 2, 3))) static void note(struct ear *ear, const char *format, ...)
{
	va_list arguments;
	int n;

	if (ear->capacity - ear->size < 8192) {
		ear->capacity = 2 * ear->capacity + 16384;
		ear->text = realloc(ear->text, ear->capacity);
		require(ear->text != NULL);
	}
	va_start(arguments, format);
	n = vsnprintf(ear->text + ear->size, 8192, format, arguments);
	va_end(arguments);
	require(n >= 0 && n < 8192);
	ear->size += (size_t)n;
}

void payload_text(char to[80], const void *payload, size_t size)
{
	const unsigned char *bytes = payload;
	uint32_t hash = 0x811c9dc5;

	strcpy(to, "-");
	if (size > 32) {
		for (size_t i = 0; i < size; i++)
			hash = (hash ^ bytes[i]) * 0x01000193;
		sprintf(to, "fnv1a:%08x", hash);
		return;
	}
	for (size_t i = 0; i < size; i++)
		sprintf(to + 2 * i, "%02x", bytes[i]);
}

/* Notes that descriptors were delivered or discarded. This must happen once for each. */
static void see_fds(struct ear *ear, const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t number;

		if (fds[i] < 0)
			continue;
		number = (size_t)(fds[i] - SPEECH_FIRST_FD);
		require(fds[i] > SPEECH_FIRST_FD && number < 1 << 20);
		if (number >= ear->capacity_fds) {
			size_t capacity = 2 * number + 64;

			ear->seen_fds = realloc(ear->seen_fds, capacity);
			require(ear->seen_fds != NULL);
			memset(ear->seen_fds + ear->capacity_fds, 0, capacity - ear->capacity_fds);
			ear->capacity_fds = capacity;
		}
		check_int(ear->seen_fds[number]++, 0);
	}
}

/* The same for descriptors that were charged to the channel, which are settled by this. */
static void settle(struct ear *ear, const int *fds, size_t n)
{
	uint32_t open = 0;

	for (size_t i = 0; i < n; i++)
		open += fds[i] >= 0;
	see_fds(ear, fds, n);
	check(ear->charged >= open);
	ear->charged -= open;
	if (ear->tx)
		tx_settled(ear->tx, open);
}

static int on_hello(void *owner, const struct hello *hello)
{
	struct ear *ear = owner;
	const struct limits *l = &hello->limits;

	note(ear, "hello %u %u %u %u %u %u %u %u %u %u\n", hello->version, hello->features, l->topics, l->calls,
	     l->message_bytes, l->message_attachments, l->topic_bytes, l->topic_attachments, l->pool_bytes,
	     l->attachments);
	return ear->tx ? tx_hello(ear->tx, hello) : 0;
}

static int on_opened(void *owner, struct inlet *inlet)
{
	struct ear *ear = owner;

	note(ear, "open %u ", inlet->id);
	for (const char *c = inlet->name; *c; c++)
		note(ear, *c >= 0x21 && *c <= 0x7e && *c != '%' ? "%c" : "%%%02x", (unsigned char)*c);
	note(ear, "\n");
	inlet->discard = inlet->closed = false;
	inlet->queued = 0;
	return 0;
}

/* A call was dropped. */
static void on_call_dropped(struct message_call *handle)
{
	struct ear_call *call = (struct ear_call *)handle;

	if (call->ear->tx) {
		tx_asked(call->ear->tx, &call->outlet);
		tx_end_call(call->ear->tx, &call->outlet, REPLY_DROPPED);
	}
}

static uint32_t call_id(const struct beam_message *message)
{
	if (!message->call)
		return 0;
	check(message->call->dropped == on_call_dropped);
	return ((const struct ear_call *)(const void *)message->call)->id;
}

/* Writes the rest of an event's line: the size, the attachments and the payload. */
static void note_content(struct ear *ear, const struct beam_message *message, size_t from)
{
	char payload[80];

	payload_text(payload, message->data + from, message->size - from);
	note(ear, "%zu ", message->size - from);
	for (unsigned i = 0; i < message->n_fds; i++) {
		note(ear, i ? "," : "%s", "");
		if (message->fds[i] < 0)
			note(ear, "lost");
		else
			note(ear, "%d", message->fds[i] - SPEECH_FIRST_FD);
	}
	note(ear, "%s %s\n", message->n_fds ? "" : "-", payload);
}

static void note_reply(struct ear *ear, uint32_t id, const struct beam_message *message)
{
	struct reader reader = reader_over(message->data, message->size);

	if (message->failed)
		note(ear, "reply %u error %u ", id, reader_u32(&reader));
	else
		note(ear, "reply %u %s 0 ", id, message->last ? "end" : "more");
	note_content(ear, message, message->failed ? 4 : 0);
}

static void note_message(struct ear *ear, const struct inlet *inlet, const struct beam_message *message)
{
	note(ear, "message %u %u ", inlet->id, call_id(message));
	note_content(ear, message, 0);
}

/*
 * Returns the credit of a message: the pool's part always, the topic's part while the topic is
 * open.
 */
static void give_back(struct ear *ear, const struct inlet *inlet, const struct beam_message *message)
{
	if (!ear->tx)
		return;
	if (inlet->discard)
		tx_return_pool(ear->tx, message->overdraft);
	else if (inlet->closed)
		tx_return(ear->tx, message->origin, 0, 0, message->overdraft);
	else
		tx_return(ear->tx, message->origin, message->cost - message->overdraft, message->n_fds,
			  message->overdraft);
}

static void on_messages(void *owner, struct inlet *inlet, struct message_queue *queue)
{
	struct ear *ear = owner;
	struct beam_message *message;

	check(queue->n > 0);
	while ((message = message_queue_take(queue))) {
		check(message->origin == inlet);
		if (ear->tx && message->call)
			tx_asked(ear->tx, &((struct ear_call *)message->call)->outlet);
		if (inlet->discard) {
			note(ear, inlet->replies ? "discard-reply %u\n" : "discard %u\n", inlet->id);
			if (ear->tx && message->call)
				tx_end_call(ear->tx, &((struct ear_call *)message->call)->outlet, REPLY_CLOSED);
			give_back(ear, inlet, message);
			settle(ear, message->fds, message->n_fds);
			message_free_shell(message);
			continue;
		}
		if (inlet->replies) {
			note_reply(ear, inlet->id, message);
			give_back(ear, inlet, message);
			settle(ear, message->fds, message->n_fds);
			message_free_shell(message);
			continue;
		}
		note_message(ear, inlet, message);
		inlet->queued++;
		message_queue_append(&ear->taken, message);
		if (!ear->keep)
			ear_drop(ear, message_queue_take(&ear->taken));
	}
}

void ear_drop(struct ear *ear, struct beam_message *message)
{
	struct inlet *inlet = message->origin;

	inlet->queued--;
	settle(ear, message->fds, message->n_fds);
	give_back(ear, inlet, message);
	if (ear->tx && inlet->closed && !inlet->queued)
		tx_reset_inlet(ear->tx, inlet, RESET_DONE);
	message_free_shell(message);
}

struct inlet *ear_inlet(struct ear *ear, uint32_t id)
{
	struct inlet *inlet = id <= ear->rx.capacity_inlets ? ear->rx.inlets[id] : NULL;

	require(inlet != NULL);
	return inlet;
}

void ear_discard(struct ear *ear, uint32_t id)
{
	ear_inlet(ear, id)->discard = true;
}

static void on_closed(void *owner, struct inlet *inlet)
{
	struct ear *ear = owner;

	note(ear, "closed %u\n", inlet->id);
	inlet->closed = true;
	if (ear->tx && !inlet->discard && !inlet->queued)
		tx_reset_inlet(ear->tx, inlet, RESET_DONE);
}

static void on_aborted(void *owner, struct inlet *inlet, const struct beam_message *message)
{
	struct ear *ear = owner;

	if (inlet->replies)
		note(ear, "abort-reply %u\n", inlet->id);
	else
		note(ear, "abort %u %u\n", inlet->id, call_id(message));
	give_back(ear, inlet, message);
}

static int on_called(void *owner, uint32_t id, struct message_call **ret)
{
	struct ear *ear = owner;
	struct ear_call *call;

	require(id >= 1 && id <= EAR_CALLS);
	if (ear->calls[id] && (!ear->tx || !ear->calls[id]->outlet.close_sent))
		return -EALREADY;
	if (!ear->calls[id])
		ear->calls[id] = calloc(1, sizeof *call);
	call = ear->calls[id];
	require(call != NULL);
	*call = (struct ear_call){.handle.dropped = on_call_dropped, .ear = ear, .id = id};
	*ret = &call->handle;
	return ear->tx ? tx_open_replies(ear->tx, &call->outlet, id) : 0;
}

void ear_forget_call(struct ear *ear, uint32_t id)
{
	free(ear->calls[id]);
	ear->calls[id] = NULL;
}

void ear_ask(struct ear *ear, struct inlet *inlet, uint32_t id)
{
	memset(inlet, 0, sizeof *inlet);
	inlet_init(inlet, id);
	inlet_open(inlet, limits_base.topic_bytes, limits_base.topic_attachments);
	inlet->replies = true;
	ear->asked[id] = inlet;
}

static struct inlet *on_reply(void *owner, uint32_t id)
{
	struct ear *ear = owner;

	if (ear->tx)
		return tx_find_call(ear->tx, id);
	return id <= EAR_CALLS ? ear->asked[id] : NULL;
}

static void on_ended(void *owner, struct inlet *inlet, struct message_queue *queue)
{
	struct ear *ear = owner;

	inlet->closed = true;
	on_messages(owner, inlet, queue);
	if (ear->tx)
		tx_call_over(ear->tx, inlet);
	else
		ear->asked[inlet->id] = NULL;
}

static const char *on_credit(void *owner, uint32_t id, uint32_t call, uint32_t bytes, uint32_t attachments,
			     bool overdraft)
{
	struct ear *ear = owner;
	const char *rule = ear->answer;

	if (ear->tx)
		rule = call ? tx_credit_call(ear->tx, call, bytes, attachments, overdraft)
			    : tx_credit(ear->tx, id, bytes, attachments, overdraft);
	if (!rule && overdraft)
		note(ear, "overdraft %u %u %u\n", id, call, bytes);
	else if (!rule)
		note(ear, "credit %u %u %u %u\n", id, call, bytes, attachments);
	return rule;
}

/* RESET of a call. If the call is over, there is no event. */
static void on_reset_call(struct ear *ear, uint32_t id)
{
	if (!ear->calls[id] || (ear->tx && ear->calls[id]->outlet.close_sent))
		return;
	note(ear, "reset-call %u\n", id);
	/* The program ends the call, as the transcripts say. */
	if (ear->tx)
		ear->calls[id]->outlet.reset = true;
}

static const char *on_reset(void *owner, uint32_t id, uint32_t reason)
{
	struct ear *ear = owner;
	const char *rule = ear->answer;

	if (!id) {
		on_reset_call(ear, reason);
		return NULL;
	}
	if (ear->tx)
		rule = tx_reset(ear->tx, id, reason);
	if (!rule)
		note(ear, "reset %u %u\n", id, reason > RESET_REFUSED ? RESET_UNWANTED : reason);
	return rule;
}

static void on_goodbye(void *owner)
{
	struct ear *ear = owner;

	ear->goodbye = true;
	note(ear, "goodbye\n");
}

static void on_want(void *owner, uint32_t until)
{
	struct ear *ear = owner;

	note(ear, "want %u\n", until);
	ear->wanted = until;
	if (ear->tx)
		tx_wanted(ear->tx, until);
}

static void on_returned(void *owner, uint32_t attachments)
{
	struct ear *ear = owner;

	note(ear, "return %u\n", attachments);
	ear->returned = attachments;
	if (ear->tx)
		tx_given_back(ear->tx, attachments);
	else
		atomic_fetch_sub(&ear->granted_attachments, attachments);
}

static void on_ping(void *owner, bool asks)
{
	struct ear *ear = owner;

	note(ear, "ping %s\n", asks ? "ask" : "answer");
	ear->asked_whether_there += asks;
	if (ear->tx && asks)
		ear->tx->pong_due = true;
}

static void on_charged(void *owner, size_t n)
{
	((struct ear *)owner)->charged += n;
}

static void on_discard(void *owner, const int *fds, size_t n, bool charged)
{
	if (charged)
		settle(owner, fds, n);
	else
		see_fds(owner, fds, n);
}

static void on_lost(void *owner, size_t n)
{
	struct ear *ear = owner;

	check(n > 0);
	ear->lost += n;
	if (ear->tx)
		tx_settled(ear->tx, (uint32_t)n);
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
    .goodbye = on_goodbye,
    .want = on_want,
    .returned = on_returned,
    .ping = on_ping,
    .charged = on_charged,
    .discard = on_discard,
    .lost = on_lost,
};

int ear_init_with(struct ear *ear, const struct limits *limits, struct tx *tx)
{
	memset(ear, 0, sizeof *ear);
	ear->tx = tx;
	message_queue_init(&ear->taken);
	atomic_init(&ear->granted_pool, limits->pool_bytes);
	atomic_init(&ear->granted_attachments, limits->attachments);
	note(ear, "%s", "");
	ear->limits = *limits;
	return rx_init(&ear->rx, &ear->limits, &events, ear, tx ? &tx->granted_pool : &ear->granted_pool,
		       tx ? &tx->granted_attachments : &ear->granted_attachments);
}

int ear_init(struct ear *ear, const struct limits *limits)
{
	return ear_init_with(ear, limits, NULL);
}

void ear_end(struct ear *ear)
{
	struct beam_message *message;
	size_t seen = 0;

	while ((message = message_queue_take(&ear->taken))) {
		settle(ear, message->fds, message->n_fds);
		message_free_shell(message);
	}
	for (size_t i = 0; i <= EAR_CALLS; i++) {
		struct inlet *inlet = ear->asked[i];

		if (inlet && inlet->building) {
			settle(ear, inlet->building->fds, inlet->building->n_fds);
			message_free_shell(inlet->building);
		}
	}
	if (ear->rx.pool) {
		rx_finish(&ear->rx);
		rx_end(&ear->rx);
	}
	check_int(ear->charged, 0);
	for (size_t i = 0; i < ear->capacity_fds; i++)
		seen += ear->seen_fds[i] > 0;
	check_int(seen, ear->came);
	if (ear->tx)
		tx_end(ear->tx);
	for (uint32_t i = 0; i <= EAR_CALLS; i++)
		free(ear->calls[i]);
	free(ear->seen_fds);
	free(ear->text);
}
