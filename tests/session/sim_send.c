/* SPDX-License-Identifier: MIT */
/*
 * What senders and the holder of the writing right do, one turn at a time, as in the channel.
 * Between two turns anything may happen that the writer's lock would allow.
 */
#include <session/sim.h>

/* ---- Topics ---------------------------------------------------------------------------------- */

static struct sim_stream *stream_of(struct outlet *outlet)
{
	return list_entry(outlet, struct sim_stream, outlet);
}

static void on_wake(void *owner, struct tx_claim *claim)
{
	(void)owner;
	list_entry(claim, struct sim_sender, claim)->asleep = false;
}

void sim_wake_all(struct sim_side *side)
{
	tx_wake_outlet(&side->tx, NULL);
}

static void on_changed(void *owner, struct outlet *outlet)
{
	(void)owner;
	(void)outlet;
}

static void on_room(void *owner)
{
	(void)owner;
}

static void on_released(void *owner, struct outlet *outlet)
{
	struct sim_stream *stream = stream_of(outlet);

	sim_event(owner, SIM_RELEASED, "%s, id %u, is over", stream->name, outlet->id);
	check(((struct sim_side *)owner)->sim->ending ||
	      (outlet->close_sent && (outlet->kind == FRAME_REPLY || outlet->reset)));
	check(!stream->released);
	check(!list_linked(&outlet->due));
	stream->released = true;
	stream->closed = true;
}

const struct tx_events sim_tx_events = {
    .wake = on_wake,
    .changed = on_changed,
    .room = on_room,
    .released = on_released,
};

struct sim_stream *sim_stream_new(struct sim_side *side)
{
	struct sim_stream *stream = calloc(1, sizeof *stream), **last = &side->streams;

	require(stream != NULL);
	message_queue_init(&stream->queue);
	stream->number = side->n_streams++;
	while (*last)
		last = &(*last)->next;
	*last = stream;
	return stream;
}

struct sim_stream *sim_open(struct sim_side *side, unsigned name)
{
	struct sim_stream *stream = sim_stream_new(side);

	if (name < SIM_NAMES)
		snprintf(stream->name, sizeof stream->name, "t%u", name);
	else
		snprintf(stream->name, sizeof stream->name, "x%llu", (unsigned long long)stream->number);
	if (name < SIM_NAMES)
		side->names[name] = stream;
	tx_open(&side->tx, &stream->outlet, stream->name, strlen(stream->name));
	sim_event(side, SIM_OPENS, "opens %s, id %u", stream->name, stream->outlet.id);
	return stream;
}

static void close_stream(struct sim_side *side, struct sim_stream *stream)
{
	sim_event(side, SIM_CLOSES, "closes %s, id %u", stream->name, stream->outlet.id);
	stream->closed = true;
	if (tx_close(&side->tx, &stream->outlet))
		stream->released = true;
}

void sim_close(struct sim_side *side, unsigned name)
{
	close_stream(side, side->names[name]);
	side->names[name] = NULL;
}

void sim_end_stream(struct sim_side *side, struct sim_stream *stream)
{
	if (!stream->closed && !stream->replies_to)
		close_stream(side, stream);
	for (int i = 0; i < SIM_NAMES; i++) {
		if (side->names[i] == stream)
			side->names[i] = NULL;
	}
}

/* ---- Messages -------------------------------------------------------------------------------- */

/* A size that can be sent sooner or later. */
static size_t choose_size(struct sim_side *side, const struct sim_stream *stream)
{
	const struct limits *window = stream->replies_to ? &limits_base : &sim_other(side)->limits;
	uint32_t most = sim_other(side)->limits.message_bytes, topic = window->topic_bytes;

	if (sim_chance(side->sim, 3))
		return most < SIM_PATTERN ? most : SIM_PATTERN;
	if (sim_chance(side->sim, 5))
		return topic - MESSAGE_COST + 1 - sim_choose(side->sim, 3);
	if (side->sim->bulky && sim_chance(side->sim, 70))
		return SIM_PATTERN - sim_choose(side->sim, SIM_PATTERN / 2);
	return sim_size(side->sim, sim_chance(side->sim, 70) ? 8192 : SIM_PATTERN / 4);
}

static struct sim_message *message_new(struct sim_side *side, struct sim_stream *stream)
{
	struct sim *sim = side->sim;
	struct sim_message *message = calloc(1, sizeof *message);
	uint32_t attachments = sim_other(side)->limits.message_attachments;

	require(message != NULL);
	if (stream->replies_to && attachments > limits_base.topic_attachments)
		attachments = limits_base.topic_attachments;
	message->stream = stream;
	message->size = choose_size(side, stream);
	if (message->size > SIM_PATTERN)
		message->size = SIM_PATTERN;
	message->pattern = sim_choose(sim, SIM_PATTERN);
	if (attachments && sim_chance(sim, sim->tight ? 70 : 40))
		message->n_fds =
		    1 + (unsigned)(sim->laden ? sim_choose(sim, attachments) : sim_size(sim, attachments - 1));
	return message;
}

/*
 * Opens the attachments of a message, which belong to the sender until it is done. Sometimes the
 * kernel will refuse one of them.
 */
static void open_files(struct sim_side *side, struct sim_sender *sender, struct sim_message *message)
{
	unsigned refused = sim_chance(side->sim, 5) ? (unsigned)sim_choose(side->sim, message->n_fds) : message->n_fds;

	for (unsigned i = 0; i < message->n_fds; i++) {
		int file = sim_file_new(side->sim, message, i == refused);

		if (!i)
			message->first_file = file;
		sender->fds[sender->n_fds++] = sim_fd_new(side, file);
	}
}

static void begin(struct sim_side *side, struct sim_sender *sender, struct sim_message *message)
{
	struct sim *sim = side->sim;

	require(!sender->message);
	*sender = (struct sim_sender){.message = message,
				      .left = message->size,
				      .part = sim_chance(sim, 70) ? 1 + sim_size(sim, FRAME_BODY_MAX) : FRAME_BODY_MAX};
	/*
	 * Thousands of tiny frames would test nothing more, and the code of an error must be in the
	 * first frame.
	 */
	if (sender->part < message->size / 20 + 4)
		sender->part = message->size / 20 + 4;
	sender->claim = (struct tx_claim){.size = message->size,
					  .n_fds = message->n_fds,
					  .large = message->size > sender->part ||
						   message->size > FRAME_BODY_MAX - FRAME_SIZED_PREFIX,
					  .call = message->call ? &message->call->inlet : NULL};
	list_init(&sender->claim.link);
	open_files(side, sender, message);
	sim_event(side, SIM_BEGINS, "sender %td: %zu bytes and %u descriptors on %s%s", sender - side->senders,
		  message->size, message->n_fds, message->stream->name,
		  message->call   ? ", a call"
		  : message->last ? ", the last"
				  : "");
}

struct sim_call *sim_call_new(struct sim_side *side)
{
	struct sim_call *call = calloc(1, sizeof *call), **last = &side->calls;

	require(call != NULL);
	list_init(&call->inlet.due);
	call->caller = side;
	while (*last)
		last = &(*last)->next;
	*last = call;
	side->n_calls++;
	return call;
}

void sim_begin(struct sim_side *side, struct sim_sender *sender, unsigned name)
{
	struct sim_message *message = message_new(side, side->names[name]);

	if (sim_chance(side->sim, 30))
		message->call = sim_call_new(side);
	begin(side, sender, message);
}

void sim_begin_reply(struct sim_side *side, struct sim_sender *sender, struct sim_call *call)
{
	struct sim_message *message = message_new(side, call->replies);

	call->answering = true;
	message->last = sim_chance(side->sim, 50);
	message->failed = message->last && message->size > 4 && sim_chance(side->sim, 30);
	begin(side, sender, message);
}

void sim_end_call(struct sim_side *side, struct sim_call *call, uint32_t error)
{
	sim_event(side, SIM_ENDS_CALL, "ends %s", call->replies->name);
	call->open = false;
	side->sim->moved = true;
	if (!call->replies->released)
		tx_end_call(&side->tx, &call->replies->outlet, error);
}

static void finish_message(struct sim_side *side, const struct sim_sender *sender, struct sim_message *message,
			   enum sim_fate fate)
{
	struct sim_call *answered = message->stream->replies_to;

	if (fate == FATE_COMES)
		sim_event(side, SIM_ACCEPTED, "sender %td: accepted", sender - side->senders);
	else if (fate == FATE_ABORTED)
		sim_event(side, SIM_ABORTED, "sender %td: aborted", sender - side->senders);
	else
		sim_event(side, SIM_NOT_SENT, "sender %td: not sent", sender - side->senders);
	if (fate == FATE_COMES && message->call) {
		sim_event(side, SIM_CALLS, NULL);
		message->call->asked = true;
	}
	if (answered) {
		answered->answering = false;
		answered->open &= !(message->last && fate == FATE_COMES);
		if (fate == FATE_COMES)
			sim_event(side, SIM_REPLIES, NULL);
	}
	/* The call may have ended before the sender knows that its request was sent. */
	if (message->call)
		message->call->over |= fate == FATE_GONE;
	message->fate = fate;
	if (!sender->listed)
		free(message);
}

/* The sender is done with its messages. */
static void finish(struct sim_side *side, struct sim_sender *sender, enum sim_fate fate)
{
	finish_message(side, sender, sender->message, fate);
	for (unsigned i = 0; i < sender->n_more; i++)
		finish_message(side, sender, sender->more[i], fate);
	for (unsigned i = 0; i < sender->n_fds; i++)
		sim_fd_close(side, sender->fds[i]);
	free(sender->run);
	memset(sender, 0, sizeof *sender);
}

static void uncharge(struct sim_side *side, struct sim_sender *sender, const struct sim_message *message,
		     uint32_t overdraft)
{
	struct outlet *outlet = &message->stream->outlet;

	tx_uncharge(&side->tx, outlet, message->size, message->n_fds, overdraft);
	if (message->call)
		check(tx_call_undone(&side->tx, &message->call->inlet));
	tx_complete(&side->tx, outlet, sender->claim.large);
}

/* Gives up the rest of the message. Its frame is in no batch. */
static void abandon(struct sim_side *side, struct sim_sender *sender)
{
	struct sim_message *message = sender->message;
	struct outlet *outlet = &message->stream->outlet;

	check(side->broken || !sender->own.batched || sender->own.done);
	if (!sender->charged) {
		tx_unclaim(&side->tx, outlet, &sender->claim);
		finish(side, sender, FATE_GONE);
	} else if (sender->begun || sender->own.sent_some) {
		tx_abort(&side->tx, outlet);
		finish(side, sender, FATE_ABORTED);
	} else {
		uncharge(side, sender, message, sender->overdraft);
		for (unsigned i = 0; i < sender->n_more; i++)
			uncharge(side, sender, sender->more[i], 0);
		finish(side, sender, FATE_GONE);
	}
}

/* Like sending_state() in the channel. */
static bool may_send(const struct sim_side *side, const struct outlet *outlet)
{
	return !side->said_goodbye && !side->broken && !outlet->reset && !outlet->close_wanted;
}

/* Like sending_begin() in the channel. */
static bool may_begin(const struct sim_side *side, struct outlet *outlet)
{
	bool told = !outlet->losses.untold;

	outlet->losses.untold = false;
	return told && may_send(side, outlet);
}

/* Lists a message in its stream, before those that are there from `position` on. */
static void list_message(struct sim_message *message, size_t position)
{
	struct sim_stream *stream = message->stream;

	if (stream->n_sent == stream->capacity_sent) {
		stream->capacity_sent = 2 * stream->capacity_sent + 16;
		stream->sent = realloc(stream->sent, stream->capacity_sent * sizeof(struct sim_message *));
		require(stream->sent != NULL);
	}
	memmove(stream->sent + position + 1, stream->sent + position,
		(stream->n_sent++ - position) * sizeof(struct sim_message *));
	stream->sent[position] = message;
	message->fate = FATE_GOES;
}

static void list_messages(struct sim_sender *sender, size_t position)
{
	if (sender->listed)
		return;
	sender->listed = true;
	list_message(sender->message, position);
	for (unsigned i = 0; i < sender->n_more; i++)
		list_message(sender->more[i], position + 1 + i);
}

/* ---- Frames ---------------------------------------------------------------------------------- */

/* Divides the payload into a few parts. */
static void set_parts(struct sim *sim, struct tx_own *own, const unsigned char *from, size_t size)
{
	own->n_parts = 0;
	own->payload = size;
	while (size) {
		size_t some = own->n_parts < 4 && sim_chance(sim, 40) ? 1 + sim_choose(sim, size) : size;

		own->parts[own->n_parts++] = (struct iovec){(void *)(uintptr_t)from, some};
		from += some;
		size -= some;
	}
}

static uint32_t call_of(const struct sim_message *message)
{
	return message->call ? message->call->inlet.id : 0;
}

/* Adds further frames that go in the same write. */
static void add_more(struct sim_side *side, struct sim_sender *sender)
{
	struct sim_message *message = sender->message;
	struct tx_own *own = &sender->own;

	while (sender->left && own->n_more < TX_OWN_MORE && sim_chance(side->sim, 50)) {
		struct tx_more *more = &own->more[own->n_more++];
		size_t size = sender->left < sender->part ? sender->left : sender->part;

		if (size > FRAME_BODY_MAX)
			size = FRAME_BODY_MAX;
		more->part = (struct iovec){
		    (void *)(uintptr_t)(sim_pattern + message->pattern + (message->size - sender->left)), size};
		more->padding = frame_padding(size);
		sender->left -= size;
		tx_frame(own->outlet, more->head, sender->left ? FRAME_MORE : 0, 0, call_of(message), size);
	}
}

static void make_frame(struct sim_side *side, struct sim_sender *sender)
{
	struct sim_message *message = sender->message;
	struct tx_own *own = &sender->own;
	bool first = !sender->begun,
	     sized = first && (sender->overdraft || sender->left > sender->part || sender->left > FRAME_BODY_MAX);
	size_t prefix = sized ? FRAME_SIZED_PREFIX : 0, size = sender->left;
	uint8_t flags = sized ? FRAME_SIZED : 0;

	if (first && message->last)
		flags |= FRAME_END;
	if (first && message->failed)
		flags |= FRAME_ERROR;

	if (size > sender->part)
		size = sender->part;
	if (size > FRAME_BODY_MAX - prefix)
		size = FRAME_BODY_MAX - prefix;
	set_parts(side->sim, own, sim_pattern + message->pattern + (message->size - sender->left), size);
	sender->left -= size;
	if (sender->left)
		flags |= FRAME_MORE;
	own->outlet = &message->stream->outlet;
	own->head_size = FRAME_HEADER + prefix;
	own->padding = frame_padding(prefix + size);
	own->fds = first ? sender->fds : NULL;
	own->n_fds = first ? message->n_fds : 0;
	own->n_more = 0;
	own->undivided = own->made_way = false;
	own->batched = own->begun = own->done = own->sent_some = false;
	if (sized) {
		put_u32(own->head + FRAME_HEADER, (uint32_t)message->size);
		put_u32(own->head + FRAME_HEADER + 4, sender->overdraft);
	}
	own->call = message->call ? &message->call->inlet : NULL;
	own->is_last = message->last;
	tx_frame(own->outlet, own->head, flags, (uint8_t)own->n_fds, call_of(message), prefix + size);
	add_more(side, sender);
	own->n_messages = !sender->left;
}

/* The frame was accepted. */
static void frame_done(struct sim_side *side, struct sim_sender *sender)
{
	if (sender->left) {
		if (!sender->begun)
			sim_event(side, SIM_FRAGMENTS, NULL);
		sender->begun = true;
		make_frame(side, sender);
		return;
	}
	if (sender->message->last)
		tx_ended(&sender->message->stream->outlet);
	for (unsigned i = 0; i < 1 + sender->n_more; i++)
		tx_complete(&side->tx, &sender->message->stream->outlet, sender->claim.large);
	finish(side, sender, FATE_COMES);
}

static bool may_append(const struct sim_side *side, const struct sim_sender *sender)
{
	const struct tx *tx = &side->tx;
	const struct tx_own *own = &sender->own;

	if (sender->n_more || own->n_more || (own->n_fds && sender->left))
		return false;
	if (tx->held && (own->n_fds || own->outlet->buffered > tx->drained) && sim_chance(side->sim, 80))
		return false;
	return (tx_own_size(own) <= TX_LARGE || sim_chance(side->sim, 20)) && tx_append_fits(tx, own);
}

static void append(struct sim_side *side, struct sim_sender *sender)
{
	int duplicates[FRAME_CARRIED_MAX];

	for (unsigned i = 0; i < sender->own.n_fds; i++)
		duplicates[i] = sim_fd_new(side, sim_fd_file(side, sender->own.fds[i]));
	sim_event(side, SIM_APPENDS, "sender %td: puts a frame into the buffer", sender - side->senders);
	list_messages(sender, sender->message->stream->n_sent);
	tx_append(&side->tx, &sender->own, duplicates);
	require(side->tx.fill->size <= side->tx.capacity);
	frame_done(side, sender);
}

/* ---- Senders --------------------------------------------------------------------------------- */

/* Returns true once the message is charged. */
static bool charge(struct sim_side *side, struct sim_sender *sender)
{
	struct sim_message *message = sender->message;
	struct outlet *outlet = &message->stream->outlet;
	int r = may_begin(side, outlet) ? 0 : -EPIPE;

	if (!r)
		r = tx_fits(&side->tx, outlet, message->size, message->n_fds);
	if (!r)
		r = tx_charge(&side->tx, outlet, &sender->claim, &sender->overdraft);
	else if (r == -EAGAIN)
		tx_wait(&side->tx, outlet, &sender->claim);
	if (r == -EAGAIN) {
		if (!sender->since)
			sender->since = ++side->n_waits;
		sim_event(side, SIM_WAITS, "sender %u: waits", (unsigned)(sender - side->senders));
		sender->asleep = !sender->claim.woken;
		return false;
	}
	if (r < 0) {
		abandon(side, sender);
		return false;
	}
	tx_unclaim(&side->tx, outlet, &sender->claim);
	sender->charged = true;
	if (sender->overdraft)
		sim_event(side, SIM_OVERDRAFT, "sender %td: %u bytes from the pool", sender - side->senders,
			  sender->overdraft);
	make_frame(side, sender);
	return true;
}

void sim_send(struct sim_side *side, unsigned number)
{
	struct sim_sender *sender = &side->senders[number];

	if (!sender->message || sender->asleep || side->writer == (int)number || side->slow == (int)number)
		return;
	side->sim->moved = true;
	if (!sender->charged && !charge(side, sender))
		return;
	if (!may_send(side, sender->own.outlet)) {
		abandon(side, sender);
		return;
	}
	if ((side->writer != SIM_NOBODY || sim_chance(side->sim, 30)) && may_append(side, sender)) {
		append(side, sender);
	} else if (side->writer == SIM_NOBODY) {
		side->writer = (int)number;
		side->phase = SIM_MAKE;
	}
}

/* Adds a message to a run if it can be charged without waiting and without the pool. */
static bool add_to_run(struct sim_side *side, struct sim_sender *sender, struct sim_message *message)
{
	struct outlet *outlet = &message->stream->outlet;
	struct tx_claim claim = {.size = message->size, .n_fds = message->n_fds};
	struct tx_own one = {.outlet = outlet,
			     .head_size = FRAME_HEADER,
			     .payload = message->size,
			     .padding = frame_padding(message->size)};
	uint32_t overdraft;
	int r;

	list_init(&claim.link);
	r = tx_fits(&side->tx, outlet, message->size, message->n_fds);
	if (!r)
		r = tx_charge(&side->tx, outlet, &claim, &overdraft);
	tx_unclaim(&side->tx, outlet, &claim);
	if (!r && overdraft)
		uncharge(side, sender, message, overdraft);
	if (r < 0 || overdraft)
		return false;
	one.parts[one.n_parts++] = (struct iovec){sim_pattern + message->pattern, message->size};
	tx_frame(outlet, one.head, 0, (uint8_t)message->n_fds, 0, message->size);
	sender->own.payload = (size_t)(tx_own_put(&one, sender->run + sender->own.payload) - sender->run);
	open_files(side, sender, message);
	return true;
}

void sim_begin_run(struct sim_side *side, struct sim_sender *sender, unsigned name)
{
	struct sim_stream *stream = side->names[name];

	if (side->writer != SIM_NOBODY || !may_begin(side, &stream->outlet))
		return;
	*sender = (struct sim_sender){.own.outlet = &stream->outlet, .charged = true, .run = malloc(TX_RUN)};
	require(sender->run != NULL);
	list_init(&sender->claim.link);
	for (size_t n = 2 + sim_choose(side->sim, SIM_RUN - 1); n; n--) {
		struct sim_message *message = message_new(side, stream);

		message->size = sim_size(side->sim, TX_RUN / SIM_RUN / 2);
		if (message->n_fds > TX_FDS / SIM_RUN)
			message->n_fds = TX_FDS / SIM_RUN;
		if (!add_to_run(side, sender, message)) {
			free(message);
			break;
		}
		if (!sender->message)
			sender->message = message;
		else
			sender->more[sender->n_more++] = message;
	}
	if (!sender->message) {
		free(sender->run);
		sender->run = NULL;
		return;
	}
	sender->own.parts[sender->own.n_parts++] = (struct iovec){sender->run, sender->own.payload};
	sender->own.fds = sender->fds;
	sender->own.n_fds = sender->n_fds;
	sender->own.n_messages = 1 + sender->n_more;
	sim_event(side, SIM_RUNS, "sender %td: %u messages in one write, with %u descriptors, on %s",
		  sender - side->senders, sender->own.n_messages, sender->n_fds, stream->name);
	side->writer = (int)(sender - side->senders);
	side->phase = SIM_MAKE;
}

void sim_give_up(struct sim_side *side, unsigned number)
{
	struct sim_sender *sender = &side->senders[number];

	if (sender->message && side->writer != (int)number)
		abandon(side, sender);
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void release(struct sim_side *side)
{
	side->writer = SIM_NOBODY;
}

/*
 * The sender gives up the writing right. A frame that has begun counts as sent. Returns true if
 * that was the last one.
 */
static bool leave(struct sim_side *side, struct sim_sender *sender)
{
	tx_leave(&side->tx, &sender->own);
	release(side);
	if (!sender->own.done)
		return false;
	frame_done(side, sender);
	return true;
}

static void make(struct sim_side *side, struct sim_sender *sender)
{
	/* It may check again or not, because tx sends nothing on a topic that was closed. */
	bool looks = side->sim->calm || sim_chance(side->sim, 50);

	if (sender && !sender->own.batched && looks && !may_send(side, sender->own.outlet)) {
		release(side);
		abandon(side, sender);
	} else if (tx_batch(&side->tx, sender ? &sender->own : NULL)) {
		side->phase = SIM_WRITE;
		if (sender)
			sender->position = sender->message->stream->n_sent;
	} else if (sender) {
		leave(side, sender);
	} else {
		release(side);
	}
}

/* The socket took nothing more, or only a part. */
static void full(struct sim_side *side, struct sim_sender *sender)
{
	struct sim *sim = side->sim;

	side->phase = SIM_WRITE;
	if (sim_chance(sim, 50))
		return;
	if (!sender) {
		release(side);
	} else if (!sender->own.begun && !sender->own.outlet->close_sent && !side->tx.goodbye_sent &&
		   may_append(side, sender)) {
		tx_leave(&side->tx, &sender->own);
		release(side);
		append(side, sender);
	} else if (!leave(side, sender) && !sim->calm && sim_chance(sim, 20)) {
		/* The deadline has passed. */
		abandon(side, sender);
	}
}

/* A message in the buffer was dropped because one of its descriptors was refused. */
static void refused(struct sim_side *side, const int *spent, unsigned n)
{
	struct sim *sim = side->sim;
	struct sim_message *message = NULL;
	bool guilty = false;

	for (unsigned i = 0; i < n; i++) {
		const struct sim_file *file = &sim->files[sim_fd_file(side, spent[i])];

		check(!message || file->message == message);
		message = file->message;
		guilty |= file->refused;
		sim_fd_close(side, spent[i]);
	}
	if (!message)
		return;
	check(guilty);
	check_int(n, message->n_fds);
	check_int(message->fate, FATE_COMES);
	message->fate = FATE_GONE;
	sim_event(side, SIM_DROPPED, "%zu bytes of %s are dropped for their descriptors", message->size,
		  message->stream->name);
	if (message->call) {
		check(list_take_first(&side->tx.unasked) == &message->call->inlet.due);
		message->call->over = true;
	}
	check(list_empty(&side->tx.unasked));
}

void sim_break(struct sim_side *side)
{
	struct sim_sender *sender =
	    side->writer >= 0 && side->writer < SIM_SENDERS ? &side->senders[side->writer] : NULL;
	int spent[2 * TX_FDS];
	unsigned n;

	side->broken = true;
	release(side);
	n = tx_drop(&side->tx, -ECONNRESET, spent);
	for (unsigned i = 0; i < n; i++)
		sim_fd_close(side, spent[i]);
	if (sender) {
		tx_give_up(&side->tx, &sender->own);
		abandon(side, sender);
	}
	sim_wake_all(side);
}

/* The failure that an error of the pipe stands for. */
static enum tx_failure failure_of(ssize_t r)
{
	switch (r) {
	case -ETOOMANYREFS:
	case -ENOBUFS: return TX_PASSES;
	case -EBADF: return TX_REFUSED;
	case -EPIPE: return TX_DEAD;
	default: return TX_NO_ROOM;
	}
}

static void written(struct sim_side *side, struct sim_sender *sender)
{
	struct tx *tx = &side->tx;
	struct tx_own *own = sender ? &sender->own : NULL;
	int spent[TX_FDS];
	unsigned n = 0;
	ssize_t r = side->result;
	bool was_held = tx->held;
	enum written result;

	sim_event(side, SIM_WRITES, "%s wrote %zd%s", sender ? "a sender" : "the thread", r,
		  own && own->batched ? ", its own frame among it" : "");
	side->phase = SIM_MAKE;
	if (r >= 0) {
		n = tx_wrote(tx, own, (size_t)r, spent);
		result = tx_written(tx);
	} else {
		result = tx_failed(tx, own, (int)r, failure_of(r), spent, &n);
	}
	if (tx->held && !was_held)
		sim_event(side, SIM_HELD, "the buffer is held");
	if (r >= 0)
		for (unsigned i = 0; i < n; i++)
			sim_fd_close(side, spent[i]);
	switch (result) {
	case WRITTEN_BROKEN: sim_break(side); break;
	case WRITTEN_LATER:
		if (sender)
			leave(side, sender);
		else
			release(side);
		break;
	case WRITTEN_REFUSED:
		release(side);
		abandon(side, sender);
		break;
	default:
		if (r == -EBADF) {
			refused(side, spent, n);
		} else if (r >= 0 && own && own->done) {
			release(side);
			frame_done(side, sender);
		} else if (result == WRITTEN_FULL) {
			full(side, sender);
		}
	}
}

/* The writer's lock is released between two phases. */
static void write_phase(struct sim_side *side)
{
	struct sim_sender *sender = side->writer < SIM_SENDERS ? &side->senders[side->writer] : NULL;
	struct tx_batch *batch = &side->tx.batch;

	switch (side->phase) {
	case SIM_MAKE: make(side, sender); break;
	case SIM_WRITE:
		require(batch->active && batch->first < batch->n && batch->n <= TX_IOV);
		side->result =
		    sim_pipe_write(side, batch->iov + batch->first, batch->n - batch->first, batch->fds, batch->n_fds);
		/* The other side may read it before this side handles the result. */
		if (sender && sender->own.batched && side->result > 0 &&
		    (sender->own.n_fds || (size_t)side->result > batch->left))
			list_messages(sender, sender->position);
		side->phase = SIM_WRITTEN;
		break;
	case SIM_WRITTEN: written(side, sender); break;
	}
}

void sim_write(struct sim_side *side)
{
	if (side->writer == SIM_NOBODY) {
		if (side->broken || !tx_pending(&side->tx))
			return;
		side->writer = SIM_THREAD;
		side->phase = SIM_MAKE;
	}
	side->sim->moved = true;
	do
		write_phase(side);
	while (side->writer != SIM_NOBODY && !sim_chance(side->sim, 60));
}

void sim_unhold(struct sim_side *side)
{
	if (!side->tx.held)
		return;
	side->tx.held = false;
	sim_wake_all(side);
}

void sim_give_back(struct sim_side *side)
{
	uint32_t n = tx_give_back(&side->tx);

	if (n)
		sim_event(side, SIM_GIVES_BACK, "gives %u attachments back", n);
}

void sim_goodbye(struct sim_side *side)
{
	if (!side->said_goodbye)
		sim_event(side, SIM_GOODBYE, "says goodbye");
	side->said_goodbye = true;
	side->tx.goodbye_due = true;
	sim_wake_all(side);
}
