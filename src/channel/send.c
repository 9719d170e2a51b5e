/* SPDX-License-Identifier: MIT */
/*
 * Sending: credit first, then the writing right or a place in the buffer, frame by frame.
 */
#include <base/sys.h>
#include <channel/internal.h>
#include <limits.h>
#include <string.h>

enum { BURST_SENDS = 16, BURST_GAP_NS = 1000 };

/* A message on its way out. */
struct sending {
	struct beam_channel *channel;
	struct beam_topic *topic;
	beam_deadline deadline;
	/* The payload, and how far it has been put into frames. */
	const struct iovec *iov;
	size_t n_iov, at_iov, at_byte, size, left;
	const int *fds;
	unsigned n_fds;
	/* The descriptors are the message's, to be taken rather than duplicated; taken. */
	bool given, taken;
	/* It may take several frames. */
	bool large;
	uint32_t overdraft;
	struct tx_own own;
};

/* Why nothing can be sent on a topic; 0: it can. */
static int send_state(struct beam_channel *channel, struct outlet *outlet)
{
	int error = outlet->lost_error;

	if (channel->send_error)
		return channel->send_error;
	outlet->lost_error = 0;
	if (error)
		return error;
	if (outlet->reset)
		return outlet->reset_reason == RESET_REFUSED ? -ECONNREFUSED : -EPIPE;
	return outlet->close_wanted ? -EPIPE : 0;
}

/* Looks without telling: what was lost is told once. */
static bool is_sendable(const struct beam_channel *channel, const struct outlet *outlet)
{
	return !channel->send_error && !outlet->lost_error && !outlet->reset && !outlet->close_wanted;
}

/* ---- Credit -------------------------------------------------------------------------------------------------------------- */

/* Waits until something that senders on this topic wait for has changed. */
static int wait_for_credit(struct beam_topic *topic, beam_deadline deadline)
{
	int r;

	if (!topic->outbox.senders++)
		list_append(&topic->channel->blocked, &topic->outbox.blocked);
	r = baton_wait(topic->channel, &topic->channel->tx_lock, &topic->outbox.sendable, deadline);
	if (!--topic->outbox.senders)
		list_remove(&topic->outbox.blocked);
	return r;
}

static struct tx_claim claim_for(struct sending *s)
{
	s->large = s->size > FRAME_BODY_MAX - FRAME_SIZED_PREFIX || s->n_iov > TX_OWN_PARTS;
	return (struct tx_claim){.size = s->size, .n_fds = s->n_fds, .large = s->large};
}

/* Charges the message, once there is credit for it. */
static int charge(struct sending *s)
{
	struct tx *tx = &s->channel->tx;
	struct outlet *outlet = &s->topic->outbox.outlet;
	struct tx_claim claim = claim_for(s);
	int r, waited = 0;

	list_init(&claim.link);
	for (;;) {
		r = send_state(s->channel, outlet);
		if (r < 0)
			break;
		r = tx_fits(tx, s->size, s->n_fds);
		if (!r)
			r = tx_charge(tx, outlet, &claim, &s->overdraft);
		if (r != -EAGAIN)
			break;
		r = waited;
		if (r < 0)
			break;
		waited = wait_for_credit(s->topic, s->deadline);
	}
	tx_unclaim(tx, outlet, &claim);
	return r;
}

/* ---- Frames ------------------------------------------------------------------------------------------------------------------ */

/* Puts the next `most` bytes of the payload, or as many as lie in few enough pieces, into the frame. */
static void take_payload(struct sending *s, size_t most)
{
	struct tx_own *own = &s->own;

	own->n_parts = 0;
	own->payload = 0;
	while (s->left && own->payload < most && own->n_parts < TX_OWN_PARTS) {
		const struct iovec *iov = &s->iov[s->at_iov];
		size_t size = iov->iov_len - s->at_byte, room = most - own->payload;

		if (!size) {
			s->at_iov++;
			s->at_byte = 0;
			continue;
		}
		if (size > room)
			size = room;
		own->parts[own->n_parts++] = (struct iovec){(unsigned char *)iov->iov_base + s->at_byte, size};
		own->payload += size;
		s->at_byte += size;
		s->left -= size;
	}
}

/* More frames, as long as they are full or the last, and their payload lies in one piece. */
static void make_more(struct sending *s)
{
	struct tx_own *own = &s->own;

	while (s->left && own->n_more < TX_OWN_MORE) {
		const struct iovec *iov = &s->iov[s->at_iov];
		size_t size = s->left < FRAME_BODY_MAX ? s->left : FRAME_BODY_MAX;
		struct tx_more *more = &own->more[own->n_more];

		if (iov->iov_len - s->at_byte < size)
			return;
		more->part = (struct iovec){(unsigned char *)iov->iov_base + s->at_byte, size};
		more->padding = frame_padding(size);
		s->at_byte += size;
		s->left -= size;
		frame_encode(more->head, FRAME_DATA, s->left ? FRAME_MORE : 0, 0, s->topic->outbox.outlet.id, 0, size);
		own->n_more++;
	}
}

/* The next frame of the message, and of a large one several. */
static void make_frame(struct sending *s)
{
	struct tx_own *own = &s->own;
	bool first = s->left == s->size && !own->done;
	size_t prefix = 0, at_iov = s->at_iov, at_byte = s->at_byte;
	uint8_t flags = 0;

	if (first && s->overdraft)
		prefix = FRAME_SIZED_PREFIX;
	take_payload(s, FRAME_BODY_MAX - prefix);
	if (first && s->left && !prefix) {
		/* It takes several frames: once more, with room for the sizes. */
		prefix = FRAME_SIZED_PREFIX;
		s->at_iov = at_iov;
		s->at_byte = at_byte;
		s->left = s->size;
		take_payload(s, FRAME_BODY_MAX - prefix);
	}
	if (prefix) {
		flags |= FRAME_SIZED;
		put_u32(own->head + FRAME_HEADER, (uint32_t)s->size);
		put_u32(own->head + FRAME_HEADER + 4, s->overdraft);
	}
	if (s->left)
		flags |= FRAME_MORE;
	own->head_size = FRAME_HEADER + prefix;
	own->padding = frame_padding(prefix + own->payload);
	own->fds = first ? s->fds : NULL;
	own->n_fds = first ? s->n_fds : 0;
	frame_encode(own->head, FRAME_DATA, flags, (uint8_t)own->n_fds, s->topic->outbox.outlet.id, 0, prefix + own->payload);
	own->n_more = 0;
	/* Only a frame alone can go into the buffer. */
	if (prefix + own->payload == FRAME_BODY_MAX && s->deadline != BEAM_NOWAIT)
		make_more(s);
	own->n_messages = !s->left;
	own->batched = own->begun = own->done = own->sent_some = false;
}

/* Puts the frame into the buffer; there is room. */
static int append(struct sending *s)
{
	struct tx_own *own = &s->own;
	int duplicates[FRAME_CARRIED_MAX];

	if (s->given || !own->n_fds) {
		tx_append(&s->channel->tx, own, own->fds);
		s->taken = s->given && own->n_fds;
		return 0;
	}
	for (unsigned i = 0; i < own->n_fds; i++) {
		duplicates[i] = socket_duplicate(own->fds[i]);
		if (duplicates[i] < 0) {
			int error = duplicates[i];

			while (i--)
				close(duplicates[i]);
			return error;
		}
	}
	tx_append(&s->channel->tx, own, duplicates);
	return 0;
}

/* True if the frame may go into the buffer, and fits. Large ones go past it, but for those that must not wait. */
static bool may_append(const struct sending *s)
{
	const struct tx *tx = &s->channel->tx;

	/* A message with descriptors may have to be dropped alone, if the kernel refuses them: it must be one frame. */
	if (s->own.n_more || s->own.n_messages > 1 || (s->own.n_fds && s->left))
		return false;
	if (tx->held && (s->own.n_fds || s->own.outlet->buffered > tx->drained) && s->deadline != BEAM_NOWAIT)
		return false;
	return (tx_own_size(&s->own) <= TX_LARGE || s->deadline == BEAM_NOWAIT) && tx_append_fits(tx, &s->own);
}

/* The right is ours: writes the frame. 0: it is accepted. -EINPROGRESS: try again later. */
static int write_own(struct sending *s)
{
	struct beam_channel *channel = s->channel;
	struct tx_own *own = &s->own;
	int error = 0, r;

	for (;;) {
		switch (write_batch(channel, own, &error)) {
		case WRITTEN_REFUSED: return error;
		case WRITTEN_BROKEN: return channel->broken;
		case WRITTEN_LATER:
		case WRITTEN_NOTHING: tx_leave(&channel->tx, own); return own->done ? 0 : -EINPROGRESS;
		case WRITTEN:
			if (own->done)
				return 0;
			/* It was not among what went. The lock was given up meanwhile. */
			r = send_state(channel, own->outlet);
			if (r < 0)
				return r;
			continue;
		case WRITTEN_FULL: break;
		}
		/* A run can be sent one by one. */
		if (!own->begun && own->n_messages > 1) {
			tx_leave(&channel->tx, own);
			return -EAGAIN;
		}
		if (!own->begun && may_append(s)) {
			tx_leave(&channel->tx, own);
			return append(s);
		}
		r = deadline_passed(s->deadline) ? deadline_error(s->deadline)
						 : write_poll(channel, baton_kick(channel), s->deadline);
		if (r == 1 || (r == 0 && !channel->send_error))
			continue;
		/* The deadline, or a close. What has begun will be completed from the reserve: it counts as sent. */
		tx_leave(&channel->tx, own);
		if (own->done)
			return 0;
		return r < 0 ? r : channel->send_error ? channel->send_error : -EPIPE;
	}
}

/* A sender with nobody else writing: true if it has been quick for so long that it leaves the writing to the channel's thread. */
static bool enters_burst(struct sending *s)
{
	struct beam_channel *channel = s->channel;

	if (tx_own_size(&s->own) > TX_LARGE || channel->options.loop)
		return false;
	channel->in_a_row = clock_now() - channel->sent_at < BURST_GAP_NS ? channel->in_a_row + 1 : 0;
	if (channel->in_a_row < BURST_SENDS)
		return false;
	channel->burst = true;
	return true;
}

/* Sends one frame: 0 when it is accepted. */
static int send_frame(struct sending *s)
{
	struct beam_channel *channel = s->channel;
	beam_deadline until;
	int r;

	for (;;) {
		r = send_state(channel, &s->topic->outbox.outlet);
		if (r < 0)
			return r;
		/* A socket that is known to be full is left to whoever watches it. */
		if ((channel->writing || channel->full || channel->burst || enters_burst(s)) && may_append(s)) {
			r = append(s);
			/* A writer takes it along, or whoever watches for room; in a burst, the channel's thread. */
			if (!channel->writing && !channel->full)
				write_nudge(channel);
			return r;
		}
		if (channel->writing) {
			r = write_wait(channel, tx_own_size(&s->own) <= TX_LARGE, s->deadline);
			if (r < 0)
				return r;
			if (!r)
				continue;
		}
		channel->writing = true;
		r = write_own(s);
		write_release(channel);
		channel->sent_at = clock_now();
		if (r != -EINPROGRESS)
			return r;
		until =
		    deadline_earlier(s->deadline, clock_now() + (channel->retry_after ? channel->retry_after : 1000 * 1000));
		r = write_wait(channel, false, until);
		if (r == 1)
			write_release(channel);
		write_try_again(channel);
		if (r < 0 && deadline_passed(s->deadline))
			return deadline_error(s->deadline);
	}
}

/* ---- Messages ------------------------------------------------------------------------------------------------------------------ */

static void count_sent(struct sending *s)
{
	struct outlet *outlet = &s->topic->outbox.outlet;

	outlet->messages++;
	outlet->bytes += s->size;
	outlet->attachments += s->n_fds;
}

/* The message is charged: all its frames. */
static int send_frames(struct sending *s)
{
	struct tx *tx = &s->channel->tx;
	struct outlet *outlet = &s->topic->outbox.outlet;
	bool begun = false;
	int r;

	s->own.outlet = outlet;
	s->own.done = false;
	do {
		make_frame(s);
		r = send_frame(s);
		if (r < 0)
			break;
		begun = begun || s->left;
	} while (s->left);
	if (r < 0 && (begun || s->own.sent_some)) {
		tx_abort(tx, outlet);
		write_pending(s->channel);
		return r;
	}
	if (r < 0)
		tx_uncharge(tx, outlet, s->size, s->n_fds, s->overdraft);
	else
		count_sent(s);
	tx_complete(tx, outlet, s->large);
	return r;
}

static int send_message(struct sending *s)
{
	int r;

	pthread_mutex_lock(&s->channel->tx_lock);
	r = charge(s);
	if (!r)
		r = send_frames(s);
	rooms_show(s->channel);
	pthread_mutex_unlock(&s->channel->tx_lock);
	return r;
}

/* Checks what does not depend on the other side, and adds up the payload. */
static int prepare(struct sending *s, struct beam_topic *topic, const struct iovec *iov, size_t n_iov, const int *fds,
		   size_t n_fds, beam_deadline deadline)
{
	if (!topic || (n_iov && !iov) || n_iov > IOV_MAX || (n_fds && !fds))
		return -EINVAL;
	if (channel_foreign(topic->channel))
		return -ECHILD;
	if (n_fds > FRAME_CARRIED_MAX)
		return -E2BIG;
	s->channel = topic->channel;
	s->topic = topic;
	s->deadline = deadline;
	s->iov = iov;
	s->n_iov = n_iov;
	s->at_iov = s->at_byte = s->size = 0;
	for (size_t i = 0; i < n_iov; i++) {
		if (iov[i].iov_len && !iov[i].iov_base)
			return -EINVAL;
		if (iov[i].iov_len > (size_t)INT32_MAX - s->size)
			return -EMSGSIZE;
		s->size += iov[i].iov_len;
	}
	for (size_t i = 0; i < n_fds; i++) {
		if (fds[i] < 0)
			return -EBADF;
	}
	s->left = s->size;
	s->fds = fds;
	s->n_fds = (unsigned)n_fds;
	s->given = s->taken = false;
	s->overdraft = 0;
	return 0;
}

int beam_topic_sendv(beam_topic *topic, const struct iovec *iov, size_t n_iov, const int *fds, size_t n_fds,
		     beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct sending s;
	int r = prepare(&s, topic, iov, n_iov, fds, n_fds, deadline);

	return r < 0 ? r : send_message(&s);
}

int beam_topic_send(beam_topic *topic, const void *data, size_t size, beam_deadline deadline)
{
	struct iovec iov = {(void *)(uintptr_t)data, size};

	return beam_topic_sendv(topic, &iov, 1, NULL, 0, deadline);
}

int beam_topic_send_message(beam_topic *topic, beam_message *message, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct iovec iov;
	struct sending s;
	int r;

	if (!message)
		return -EINVAL;
	/* Its replies would find no way back. */
	if (message->call)
		return -EOPNOTSUPP;
	for (unsigned i = 0; i < message->n_fds; i++) {
		if (message->fds[i] < 0)
			return -ENOENT;
	}
	iov = (struct iovec){(void *)(uintptr_t)message->data, message->size};
	r = prepare(&s, topic, &iov, 1, message->fds, message->n_fds, deadline);
	if (r < 0)
		return r;
	s.given = true;
	r = send_message(&s);
	if (r < 0)
		return r;
	if (!s.taken) {
		/* They went with the message: what is left here are ours, and their last close is the receiver's. */
		for (unsigned i = 0; i < message->n_fds; i++)
			close(message->fds[i]);
	}
	message->n_fds = 0;
	beam_message_free(message);
	return 0;
}

/* ---- Many ------------------------------------------------------------------------------------------------------------------------ */

/* Accepts a message into the buffer if that needs no waiting: 0, or -EAGAIN: send it the long way. */
static int send_buffered(struct sending *s)
{
	struct tx *tx = &s->channel->tx;
	struct outlet *outlet = &s->topic->outbox.outlet;
	struct tx_claim claim = claim_for(s);
	int r = send_state(s->channel, outlet);

	if (r < 0)
		return r;
	if (s->size > TX_LARGE - FRAME_HEADER - 16)
		return -EAGAIN;
	r = tx_fits(tx, s->size, s->n_fds);
	if (r < 0)
		return r;
	list_init(&claim.link);
	r = tx_charge(tx, outlet, &claim, &s->overdraft);
	tx_unclaim(tx, outlet, &claim);
	if (r < 0)
		return r;
	s->own.outlet = outlet;
	s->own.done = false;
	make_frame(s);
	r = s->left || !may_append(s) ? -EAGAIN : append(s);
	if (r < 0)
		tx_uncharge(tx, outlet, s->size, s->n_fds, s->overdraft);
	else
		count_sent(s);
	tx_complete(tx, outlet, s->large);
	return r;
}

/* Messages with descriptors that go in one write, from the caller's descriptors: none has to be duplicated. */
struct run {
	unsigned char *bytes;
	size_t size;
	int fds[TX_FDS];
	unsigned n_fds, n;
};

/* Adds an item to the run, charged, if it fits and needs neither waiting nor the pool. */
static bool add_to_run(struct run *run, beam_topic *topic, const struct beam_item *item, beam_deadline deadline)
{
	struct iovec iov = {(void *)(uintptr_t)item->data, item->size};
	struct sending s;
	struct outlet *outlet = &topic->outbox.outlet;
	struct tx *tx = &topic->channel->tx;
	struct tx_claim claim;
	bool fits;

	if (prepare(&s, topic, &iov, 1, item->fds, item->n_fds, deadline) < 0 ||
	    run->size + FRAME_HEADER + FRAME_SIZED_PREFIX + s.size + 8 > TX_RUN || run->n_fds + s.n_fds > TX_FDS ||
	    !is_sendable(s.channel, outlet) || tx_fits(tx, s.size, s.n_fds) < 0)
		return false;
	claim = claim_for(&s);
	list_init(&claim.link);
	fits = tx_charge(tx, outlet, &claim, &s.overdraft) == 0;
	tx_unclaim(tx, outlet, &claim);
	if (!fits)
		return false;
	if (s.overdraft) {
		tx_uncharge(tx, outlet, s.size, s.n_fds, s.overdraft);
		tx_complete(tx, outlet, false);
		return false;
	}
	s.own.outlet = outlet;
	s.own.done = false;
	make_frame(&s);
	run->size = (size_t)(tx_own_put(&s.own, run->bytes + run->size) - run->bytes);
	for (unsigned i = 0; i < s.n_fds; i++)
		run->fds[run->n_fds++] = item->fds[i];
	run->n++;
	return true;
}

/* Whole frames among the first bytes of a run. */
static size_t count_frames(const unsigned char *bytes, size_t size)
{
	struct frame frame;
	size_t n = 0;

	while (size >= FRAME_HEADER && !frame_decode(&frame, bytes) && FRAME_HEADER + frame_body(&frame) <= size) {
		bytes += FRAME_HEADER + frame_body(&frame);
		size -= FRAME_HEADER + frame_body(&frame);
		n++;
	}
	return n;
}

/* Sends as many of the items as can go in one write: how many, or 0: send them one by one, which tells why. */
static size_t send_run(beam_topic *topic, const struct beam_item *items, size_t n, beam_deadline deadline, unsigned char *bytes)
{
	struct beam_channel *channel = topic->channel;
	struct run run = {.bytes = bytes};
	struct sending s = {.channel = channel, .topic = topic, .deadline = deadline};
	size_t sent = 0;

	if (channel->writing || channel->full || channel->broken)
		return 0;
	while (run.n < n && add_to_run(&run, topic, &items[run.n], deadline))
		;
	if (run.n > 1) {
		s.own = (struct tx_own){
		    .outlet = &topic->outbox.outlet,
		    .parts = {{bytes, run.size}},
		    .n_parts = 1,
		    .payload = run.size,
		    .fds = run.fds,
		    .n_fds = run.n_fds,
		    .n_messages = run.n,
		};
		channel->writing = true;
		if (write_own(&s) == 0)
			sent = run.n;
		else if (s.own.begun) /* the connection broke in the middle */
			sent = count_frames(bytes, run.size - channel->tx.batch.own_left);
		write_release(channel);
	}
	for (unsigned i = 0; i < run.n; i++) {
		s.size = items[i].size;
		s.n_fds = (unsigned)items[i].n_fds;
		if (i < sent)
			count_sent(&s);
		else
			tx_uncharge(&channel->tx, &topic->outbox.outlet, s.size, s.n_fds, 0);
		tx_complete(&channel->tx, &topic->outbox.outlet, false);
	}
	return sent;
}

/* Writes what stands in the buffer, as far as the socket takes it. */
static void write_buffered(struct beam_channel *channel)
{
	if (channel->writing || channel->broken)
		return;
	channel->writing = true;
	while (write_batch(channel, NULL, NULL) == WRITTEN)
		;
	write_release(channel);
}

ssize_t beam_topic_send_many(beam_topic *topic, const struct beam_item *items, size_t n, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	unsigned char *bytes = NULL;
	struct sending s;
	size_t sent = 0, run;
	int r = 0;

	if (!topic || (n && !items))
		return -EINVAL;
	if (channel_foreign(topic->channel))
		return -ECHILD;
	/* Without memory they go one by one. */
	if (n > 1 && items[0].n_fds)
		bytes = sys_malloc(TX_RUN);
	pthread_mutex_lock(&topic->channel->tx_lock);
	while (bytes && sent < n && (run = send_run(topic, items + sent, n - sent, deadline, bytes)))
		sent += run;
	while (sent < n) {
		const struct beam_item *item = &items[sent];
		struct iovec iov = {(void *)(uintptr_t)item->data, item->size};

		r = prepare(&s, topic, &iov, 1, item->fds, item->n_fds, deadline);
		if (!r)
			r = send_buffered(&s);
		if (r == -EAGAIN) {
			write_buffered(topic->channel);
			s.at_iov = s.at_byte = 0;
			s.left = s.size;
			r = charge(&s);
			if (!r)
				r = send_frames(&s);
		}
		if (r < 0)
			break;
		sent++;
	}
	write_buffered(topic->channel);
	rooms_show(topic->channel);
	pthread_mutex_unlock(&topic->channel->tx_lock);
	free(bytes);
	return sent ? (ssize_t)sent : r;
}

/* ---- Flush -------------------------------------------------------------------------------------------------------------------------- */

struct flushed {
	uint64_t generation, batch;
};

static bool is_flushed(struct beam_channel *channel, const void *argument)
{
	const struct flushed *flushed = argument;
	const struct tx *tx = &channel->tx;

	return tx->drained >= flushed->generation && !(tx->batch.active && tx->batch.number <= flushed->batch);
}

int beam_channel_flush(beam_channel *channel, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct flushed flushed;
	struct tx *tx;
	int r;

	if (!channel)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	tx = &channel->tx;
	pthread_mutex_lock(&channel->tx_lock);
	flushed.generation = tx->fill->size ? tx->fill->generation : tx->fill->generation - 1;
	flushed.batch = tx->batch.number;
	r = write_until(channel, is_flushed, &flushed, deadline);
	if (!r && tx->lost_error) {
		r = tx->lost_error;
		tx->lost_error = 0;
	}
	pthread_mutex_unlock(&channel->tx_lock);
	return r;
}
