/* SPDX-License-Identifier: MIT */
/*
 * One side of a channel, with both halves of its session. The input plays the other side: it
 * provides the bytes that arrive, how they are cut into reads, and descriptors (plain numbers here)
 * that come with some of them. It also makes this side open topics, send, call, reply, close and
 * write, and decides how much the socket accepts or refuses. The session must check everything that
 * arrives. What it writes must be frames in an order that docs/protocol.md allows, which carry the
 * descriptors that were written with them. Each descriptor must be returned exactly once.
 *
 * The input consists of steps: a byte that says what to do, and one that says how. Up to MOST, it
 * is a read of that number of bytes plus one, which follow. WHOLE is a read of as many bytes as
 * there is room for. For reads, the second byte gives the number of descriptors, from FDS_FROM on.
 * The other values are actions of this side (`enum deed`).
 */
#include <base/annotate.h>
#include <errno.h>
#include <fuzz/fuzz.h>
#include <fuzz/session/said.h>
#include <session/rx.h>
#include <session/tx.h>
#include <string.h>

enum { MOST = 199, WHOLE = 200, DEEDS_FROM = 210, LOSS = 191, FDS_FROM = 192 };

enum deed {
	OPEN,
	CLOSE,
	SEND,
	CALL,
	REPLY,
	END_CALL,
	RESET,
	WRITE,
	RELEASE,
	GOODBYE,
	CLAIM,
	GIVE_BACK,
	LEND,
	ASK,
	SETTLE,
	DEEDS
};

/* How a message is sent, besides its size, and how writing goes. */
enum { BY_BUFFER = 1, LAST = 2, GIVES_UP = 64, REFUSED_FROM = 240 };

enum { TOPICS = 4, CALLS = 4, REQUESTS = 96, WAITERS = 4, PAYLOAD = 12 << 10, TURNS = 6 };

static struct rx rx;
static struct tx tx;
static bool mute;

/*
 * Topics, this side's calls and the other side's calls. Each has its own memory, until the session
 * releases it.
 */
static struct topic {
	struct outlet outlet;
	unsigned place;
} * topics[TOPICS];

static struct call {
	struct inlet inlet;
	unsigned place;
} * calls[CALLS];

static struct request {
	struct message_call handle;
	struct outlet outlet;
	unsigned place;
} * requests[REQUESTS];

/* Claims that wait for credit, and the number of descriptors that the program still holds. */
static struct waiter {
	struct tx_claim claim;
	bool stands;
} waiters[WAITERS];
static uint32_t n_unsettled;

static void *zeros(size_t size)
{
	void *memory = calloc(1, size);

	must(memory);
	return memory;
}

static void stop_waiting(struct waiter *waiter)
{
	tx_unclaim(&tx, waiter->claim.outlet, &waiter->claim);
	waiter->stands = false;
}

static void topic_free(struct topic *topic)
{
	must(topics[topic->place] == topic);
	for (unsigned i = 0; i < WAITERS; i++) {
		if (waiters[i].stands && waiters[i].claim.outlet == &topic->outlet)
			stop_waiting(&waiters[i]);
	}
	topics[topic->place] = NULL;
	free(topic);
}

static void call_free(struct call *call)
{
	must(calls[call->place] == call);
	calls[call->place] = NULL;
	free(call);
}

static void request_free(struct request *request)
{
	must(requests[request->place] == request);
	requests[request->place] = NULL;
	free(request);
}

/* ---- Events of the sending half -------------------------------------------------------------- */

static void on_wake(void *owner, struct tx_claim *claim)
{
	(void)owner;
	must(claim->woken && list_entry(claim, struct waiter, claim)->stands);
}

static void on_changed(void *owner, struct outlet *outlet)
{
	(void)owner;
	(void)outlet;
}

static void on_nothing(void *owner)
{
	(void)owner;
}

static void on_released(void *owner, struct outlet *outlet)
{
	(void)owner;
	if (outlet->kind == FRAME_REPLY)
		request_free(list_entry(outlet, struct request, outlet));
	else
		topic_free(list_entry(outlet, struct topic, outlet));
}

static const struct tx_events tx_events = {
    .wake = on_wake,
    .changed = on_changed,
    .room = on_nothing,
    .released = on_released,
};

/* ---- Events of the receiving half ------------------------------------------------------------ */

/* Descriptors that were charged are closed now, and settled in some later step. */
static void close_charged(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		n_unsettled += fds[i] >= 0;
	fds_close(fds, n);
}

static void on_discard(void *owner, const int *fds, size_t n, bool charged)
{
	(void)owner;
	if (charged)
		close_charged(fds, n);
	else
		fds_close(fds, n);
}

static int on_hello(void *owner, const struct hello *hello)
{
	(void)owner;
	said_lends(hello->features & FEATURE_LENDS);
	return tx_hello(&tx, hello);
}

static int on_opened(void *owner, struct inlet *inlet)
{
	(void)owner;
	must(*inlet->name && strlen(inlet->name) <= NAME_MAX_BYTES);
	inlet_withhold(inlet, limits_base.topic_bytes, limits_base.topic_attachments,
		       limits_base.message_attachments / 2);
	return 0;
}

/* The message was received and dropped. Its credit is returned, or withheld for a while. */
static void return_credit(struct inlet *inlet, const struct beam_message *message)
{
	if (inlet_took(inlet, message))
		tx_return_withheld(&tx, inlet);
}

static void on_messages(void *owner, struct inlet *inlet, struct message_queue *queue)
{
	struct beam_message *message;
	volatile unsigned char sum = 0;

	inlet->calls_arrived = false;
	while ((message = message_queue_take(queue))) {
		must(message->origin == inlet && message->size <= limits_base.message_bytes);
		/* Exceeding the credit is a breach. Messages from before it are still delivered. */
		must(rx.error || (inlet->used_bytes <= inlet->granted_bytes &&
				  inlet->used_attachments <= inlet->granted_attachments));
		/* All bytes can be read. */
		for (size_t i = 0; i < message->size; i++)
			sum = (unsigned char)(sum + message->data[i]);
		if (message->call)
			tx_asked(&tx, &list_entry(message->call, struct request, handle)->outlet);
		return_credit(inlet, message);
		on_discard(owner, message->fds, message->n_fds, true);
		message_free_shell(message);
	}
}

static void on_closed(void *owner, struct inlet *inlet)
{
	(void)owner;
	must(!inlet->building && !inlet->arrived.n);
	tx_reset_inlet(&tx, inlet, RESET_DONE);
}

static void on_aborted(void *owner, struct inlet *inlet, const struct beam_message *message)
{
	(void)owner;
	return_credit(inlet, message);
}

static void on_dropped(struct message_call *handle)
{
	struct outlet *outlet = &list_entry(handle, struct request, handle)->outlet;

	tx_asked(&tx, outlet);
	tx_end_call(&tx, outlet, REPLY_DROPPED);
}

static int on_called(void *owner, uint32_t id, struct message_call **ret)
{
	struct request *request = zeros(sizeof *request);
	int r;

	(void)owner;
	while (request->place < REQUESTS && requests[request->place])
		request->place++;
	r = request->place < REQUESTS ? tx_open_replies(&tx, &request->outlet, id) : -ENOMEM;
	if (r < 0) {
		free(request);
		return r;
	}
	requests[request->place] = request;
	request->handle.dropped = on_dropped;
	said_asked(id);
	*ret = &request->handle;
	return 0;
}

static struct inlet *on_reply(void *owner, uint32_t id)
{
	(void)owner;
	return tx_find_call(&tx, id);
}

static void on_ended(void *owner, struct inlet *inlet, struct message_queue *queue)
{
	on_messages(owner, inlet, queue);
	tx_call_over(&tx, inlet);
	call_free(list_entry(inlet, struct call, inlet));
}

static const char *on_credit(void *owner, uint32_t id, uint32_t call, uint32_t bytes, uint32_t attachments,
			     bool overdraft)
{
	(void)owner;
	must((bytes || attachments) && !(id && call) && (!overdraft || ((id || call) && !attachments)));
	return call ? tx_credit_call(&tx, call, bytes, attachments, overdraft)
		    : tx_credit(&tx, id, bytes, attachments, overdraft);
}

static void on_want(void *owner, uint32_t until)
{
	(void)owner;
	tx_wanted(&tx, until);
}

static void on_returned(void *owner, uint32_t attachments)
{
	(void)owner;
	must(attachments && attachments <= tx.granted_attachments - rx.used_attachments);
	tx_given_back(&tx, attachments);
}

static void on_ping(void *owner, bool asks)
{
	(void)owner;
	if (!asks)
		return;
	said_pinged();
	tx.pong_due = true;
}

static void on_charged(void *owner, size_t n)
{
	(void)owner;
	must(n <= FRAME_CARRIED_MAX && rx.used_attachments <= tx.granted_attachments);
}

static const char *on_reset(void *owner, uint32_t id, uint32_t argument)
{
	(void)owner;
	if (id)
		return tx_reset(&tx, id, argument);
	tx_reset_call(&tx, argument);
	return NULL;
}

static void on_goodbye(void *owner)
{
	(void)owner;
	must(!rx.n_building);
	mute = true;
}

static void on_lost(void *owner, size_t n)
{
	(void)owner;
	must(n > 0 && n <= FRAME_CARRIED_MAX);
	tx_settled(&tx, (uint32_t)n);
}

static const struct rx_events rx_events = {
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

/* ---- What this side does --------------------------------------------------------------------- */

/* Calls whose request was accepted and then refused by the kernel. */
static void take_unasked(void)
{
	struct list *link;

	while ((link = list_take_first(&tx.unasked)))
		call_free(list_entry(list_entry(link, struct inlet, due), struct call, inlet));
}

/*
 * Makes one write. A part is written, or it fails because of a descriptor or for now. Returns true
 * if the caller's own frame can still be sent.
 */
static bool write_some(struct tx_own *own, unsigned how)
{
	struct tx_batch *batch = &tx.batch;
	int spent[TX_FDS];
	unsigned n_spent = 0;
	bool goes_on = true;
	size_t size, n;

	if (!tx_batch(&tx, own))
		return false;
	size = batch->left + batch->own_left;
	must(batch->first < batch->n && batch->n <= TX_IOV && size > 0 && batch->n_fds <= FRAME_CARRIED_MAX);
	if (how >= REFUSED_FROM && batch->n_fds && how % 2) {
		goes_on = !tx_refused(&tx, own, -EBADF, spent, &n_spent);
	} else if (how >= REFUSED_FROM && batch->n_fds) {
		goes_on = tx_hold(&tx, own);
	} else {
		n = 1 + (size - 1) * (how < REFUSED_FROM ? how + 1 : REFUSED_FROM) / REFUSED_FROM;
		said(batch->iov + batch->first, n, batch->n_fds);
		n_spent = tx_wrote(&tx, own, n, spent);
	}
	fds_close(spent, n_spent);
	take_unasked();
	return goes_on;
}

/* The same condition as in the channel. */
static bool may_send(struct outlet *outlet)
{
	outlet->losses.untold = false;
	return !mute && !outlet->reset && !outlet->close_wanted && !outlet->asking;
}

/* A message of one frame. */
static void make_frame(struct tx_own *own, size_t size, uint32_t overdraft)
{
	static unsigned char payload[PAYLOAD];
	size_t prefix = overdraft ? FRAME_SIZED_PREFIX : 0;

	own->head_size = FRAME_HEADER + prefix;
	own->parts[0] = (struct iovec){payload, size};
	own->n_parts = size > 0;
	own->payload = size;
	own->padding = frame_padding(prefix + size);
	own->n_messages = 1;
	tx_frame(own->outlet, own->head, (uint8_t)((overdraft ? FRAME_SIZED : 0) | (own->is_last ? FRAME_END : 0)),
		 (uint8_t)own->n_fds, own->call ? own->call->id : 0, prefix + size);
	put_u32(own->head + FRAME_HEADER, (uint32_t)size);
	put_u32(own->head + FRAME_HEADER + 4, overdraft);
}

/* Appends the frame to the buffer, if there is room. */
static bool append(struct tx_own *own)
{
	int duplicates[3];

	if (!tx_append_fits(&tx, own))
		return false;
	for (unsigned i = 0; i < own->n_fds; i++)
		duplicates[i] = fd_new();
	tx_append(&tx, own, duplicates);
	return true;
}

/*
 * Sends the frame by the buffer, or by some writes and then by the buffer, or gives up. Returns
 * true if the frame was accepted.
 */
static bool send_frame(struct tx_own *own, unsigned how, struct reader *input)
{
	if (how & BY_BUFFER && append(own))
		return true;
	for (int i = 0; i < TURNS && !own->done; i++)
		if (!write_some(own, reader_u8(input)))
			break;
	tx_leave(&tx, own);
	return own->done || (!(how & GIVES_UP) && !own->outlet->close_sent && append(own));
}

/*
 * Sends a message with up to three descriptors, if there is room and credit. If `place` is not
 * negative, the message is the call at this place.
 */
static void send_message(struct outlet *outlet, int place, unsigned how, struct reader *input)
{
	size_t size = (size_t)reader_u8(input) * (PAYLOAD / 256);
	struct call *call = place < 0 ? NULL : zeros(sizeof *call);
	struct tx_claim claim = {.size = size, .n_fds = how >> 2 & 3, .call = call ? &call->inlet : NULL};
	struct tx_own own = {
	    .outlet = outlet, .call = claim.call, .is_last = outlet->kind == FRAME_REPLY && how & LAST};
	uint32_t overdraft;
	int fds[3], r = -EAGAIN;

	list_init(&claim.link);
	if (may_send(outlet) && tx_fits(&tx, outlet, size, claim.n_fds) == 0)
		r = tx_charge(&tx, outlet, &claim, &overdraft);
	tx_unclaim(&tx, outlet, &claim);
	if (r < 0) {
		free(call);
		return;
	}
	if (call) {
		call->place = (unsigned)place;
		calls[place] = call;
	}
	for (unsigned i = 0; i < claim.n_fds; i++)
		fds[i] = fd_new();
	own.fds = fds;
	own.n_fds = (unsigned)claim.n_fds;
	make_frame(&own, size, overdraft);
	if (send_frame(&own, how, input)) {
		if (own.is_last)
			tx_ended(outlet);
	} else {
		tx_uncharge(&tx, outlet, size, claim.n_fds, overdraft);
		must(!call || tx_call_undone(&tx, &call->inlet));
		if (call)
			call_free(call);
	}
	tx_complete(&tx, outlet, false);
	fds_close(fds, claim.n_fds);
}

/* A claim tries again, or a new one may have to wait. If it is charged, that is undone. */
static void look(struct waiter *waiter)
{
	uint32_t overdraft;
	int r = -EPIPE;

	if (may_send(waiter->claim.outlet))
		r = tx_fits(&tx, waiter->claim.outlet, waiter->claim.size, waiter->claim.n_fds);
	if (!r)
		r = tx_charge(&tx, waiter->claim.outlet, &waiter->claim, &overdraft);
	else if (r == -EAGAIN)
		tx_wait(&tx, waiter->claim.outlet, &waiter->claim);
	waiter->stands = true;
	if (r == -EAGAIN)
		return;
	stop_waiting(waiter);
	if (r)
		return;
	tx_uncharge(&tx, waiter->claim.outlet, waiter->claim.size, waiter->claim.n_fds, overdraft);
	tx_complete(&tx, waiter->claim.outlet, waiter->claim.large);
}

static void claim(struct topic *topic, unsigned how, struct reader *input)
{
	struct waiter *waiter = &waiters[how & 3];

	if (waiter->stands) {
		look(waiter);
	} else if (topic) {
		waiter->claim = (struct tx_claim){.outlet = &topic->outlet,
						  .size = (size_t)reader_u8(input) << (how >> 2 & 3) * 4,
						  .n_fds = reader_u8(input) % 32,
						  .large = how >> 6 & 1};
		list_init(&waiter->claim.link);
		look(waiter);
	}
}

/* No claim that has not been woken may be able to go on. */
static void check_waiters(void)
{
	for (unsigned i = 0; i < WAITERS; i++) {
		if (waiters[i].stands && !waiters[i].claim.woken && may_send(waiters[i].claim.outlet)) {
			look(&waiters[i]);
			must(waiters[i].stands);
		}
	}
}

/* The totals must be the sums over topics and calls. */
static void check_held(void)
{
	uint64_t pool = 0, attachments = 0;

	for (unsigned i = 0; i < TOPICS; i++) {
		pool += topics[i] ? topics[i]->outlet.held_pool : 0;
		attachments += topics[i] ? topics[i]->outlet.held_attachments : 0;
	}
	for (unsigned i = 0; i < REQUESTS; i++) {
		pool += requests[i] ? requests[i]->outlet.held_pool : 0;
		attachments += requests[i] ? requests[i]->outlet.held_attachments : 0;
	}
	must(pool == tx.pool.held && attachments == tx.attachments.held);
	must(pool <= tx.pool.used && attachments <= tx.attachments.used);
}

static void settle(uint32_t n)
{
	n = n < n_unsettled ? n : n_unsettled;
	n_unsettled -= n;
	tx_settled(&tx, n);
}

static void reset(unsigned how)
{
	uint32_t id = how / 2 % 8;
	struct call *call = calls[how / 2 % CALLS];

	if (how % 2 && call && call->inlet.asked)
		tx_reset_inlet(&tx, &call->inlet, RESET_DONE);
	else if (how % 2 == 0 && id && id <= rx.capacity_inlets && rx.inlets[id] && rx.inlets[id]->state == INLET_OPEN)
		tx_reset_inlet(&tx, rx.inlets[id], RESET_UNWANTED);
}

static void open_topic(unsigned place)
{
	static const char *const names[TOPICS] = {"log", "a", "b", "log"};
	struct topic *topic;

	if (topics[place])
		return;
	topics[place] = topic = zeros(sizeof *topic);
	topic->place = place;
	tx_open(&tx, &topic->outlet, names[place], strlen(names[place]));
}

static void act(enum deed deed, unsigned how, struct reader *input)
{
	struct topic *topic = topics[how >> 4 & 3];
	struct request *request = requests[how >> 4 & 3];
	int place = how >> 6 & 3;

	switch (deed) {
	case OPEN: open_topic(how >> 4 & 3); break;
	case CLOSE:
		if (topic && tx_close(&tx, &topic->outlet))
			topic_free(topic);
		break;
	case SEND:
		if (topic)
			send_message(&topic->outlet, -1, how, input);
		break;
	case CALL:
		if (topic && !calls[place])
			send_message(&topic->outlet, place, how, input);
		break;
	case REPLY:
		if (request)
			send_message(&request->outlet, -1, how, input);
		break;
	case END_CALL:
		if (request && !request->outlet.asking)
			tx_end_call(&tx, &request->outlet, how);
		break;
	case RESET: reset(how); break;
	case WRITE: write_some(NULL, how); break;
	case RELEASE: tx.held = false; break;
	case GOODBYE: mute = tx.goodbye_due = true; break;
	case CLAIM: claim(topic, how, input); break;
	case GIVE_BACK: tx_give_back(&tx); break;
	case LEND: tx_lend(&tx, how % 2 ? tx_short_of(&tx) : how / 2 % 8); break;
	case ASK: tx.ping_due = true; break;
	case SETTLE: settle(how); break;
	case DEEDS: break;
	}
}

/* ---- Input from the other side --------------------------------------------------------------- */

/*
 * Makes one read with as many of the next bytes as requested, if there is room for them. Returns
 * false if it was the last one.
 */
static bool read_once(size_t want, unsigned how, struct reader *input)
{
	struct iovec iov[RX_IOV];
	int n_iov = rx_offer(&rx, iov), fds[RX_SLOTS];
	struct rx_group group = {
	    .n = how >= FDS_FROM ? how - FDS_FROM : 0, .fds = fds, .loss = how == LOSS ? -EMFILE : 0};
	size_t n = 0;

	if (n_iov < 0 || !input->left)
		return false;
	for (int i = 0; i < n_iov && n < want && input->left; i++) {
		size_t part = iov[i].iov_len;

		part = part < want - n ? part : want - n;
		part = part < input->left ? part : input->left;
		memcpy(iov[i].iov_base, reader_bytes(input, part), part);
		n += part;
	}
	for (size_t i = 0; i < group.n; i++)
		fds[i] = fd_new();
	if (rx_took(&rx, n, &group) < 0)
		return false;
	must(rx.used_pool <= tx.granted_pool && rx.used_attachments <= tx.granted_attachments);
	return true;
}

static bool step(struct reader *input)
{
	unsigned what = reader_u8(input), how = reader_u8(input);

	if (input->failed || fds_left() < FRAME_CARRIED_MAX)
		return false;
	if (what < DEEDS_FROM)
		return read_once(what < WHOLE ? what + 1u : SIZE_MAX, how, input);
	act((enum deed)((what - DEEDS_FROM) % DEEDS), how, input);
	return true;
}

static void begin(void)
{
	said_begin();
	mute = false;
	n_unsettled = 0;
	must(tx_init(&tx, &limits_base, 16 << 10, &tx_events, NULL) == 0);
	must(rx_init(&rx, &limits_base, &rx_events, NULL, &tx.granted_pool, &tx.granted_attachments) == 0);
}

static void end(void)
{
	int spent[2 * TX_FDS];

	if (!rx.error) {
		check_held();
		check_waiters();
	}
	for (unsigned i = 0; i < WAITERS; i++) {
		if (waiters[i].stands)
			stop_waiting(&waiters[i]);
	}
	rx_finish(&rx);
	must(!rx_holds_descriptors(&rx) || rx.n_holding);
	rx_end(&rx);
	fds_close(spent, tx_drop(&tx, -ECONNRESET, spent));
	tx_end(&tx);
	for (unsigned i = 0; i < REQUESTS; i++)
		must(!requests[i]);
	for (unsigned i = 0; i < CALLS; i++) {
		struct beam_message *message = calls[i] ? calls[i]->inlet.building : NULL;

		if (message) {
			fds_close(message->fds, message->n_fds);
			message_free_shell(message);
		}
		if (calls[i])
			call_free(calls[i]);
	}
	for (unsigned i = 0; i < TOPICS; i++)
		if (topics[i])
			topic_free(topics[i]);
	must(fds_out() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reader input = reader_over(data, size);

	begin();
	while (step(&input))
		;
	end();
	return 0;
}
