/* SPDX-License-Identifier: MIT */
#include <session/mouth.h>
#include <stdarg.h>

static void on_wake(void *owner, struct tx_claim *claim)
{
	struct mouth *mouth = owner;

	check(claim->woken && list_linked(&claim->link));
	if (mouth->wakes < sizeof mouth->woken / sizeof *mouth->woken)
		mouth->woken[mouth->wakes] = claim;
	mouth->wakes++;
}

static void on_changed(void *owner, struct outlet *outlet)
{
	(void)outlet;
	((struct mouth *)owner)->changes++;
}

static void on_room(void *owner)
{
	((struct mouth *)owner)->rooms++;
}

static void on_released(void *owner, struct outlet *outlet)
{
	struct mouth *mouth = owner;

	require(mouth->n_released < 128);
	mouth->released[mouth->n_released++] = outlet;
}

const struct tx_events mouth_events = {
    .wake = on_wake,
    .changed = on_changed,
    .room = on_room,
    .released = on_released,
};

void mouth_init_with(struct mouth *mouth, const struct limits *limits)
{
	memset(mouth, 0, sizeof *mouth);
	speech_init(&mouth->said);
	require_int(tx_init(&mouth->tx, limits, MOUTH_BUFFER, &mouth_events, mouth), 0);
}

void mouth_init(struct mouth *mouth)
{
	mouth_init_with(mouth, &limits_base);
}

void mouth_init_after_hello(struct mouth *mouth)
{
	mouth_init(mouth);
	mouth_write_all(mouth, NULL);
	mouth_forget(mouth);
}

void mouth_end(struct mouth *mouth)
{
	tx_end(&mouth->tx);
	speech_end(&mouth->said);
	free(mouth->fds);
}

int mouth_hear_hello(struct mouth *mouth, const struct limits *limits)
{
	return tx_hello(&mouth->tx, &(struct hello){.version = PROTOCOL_VERSION, .limits = *limits});
}

void mouth_open(struct mouth *mouth, struct outlet *outlet, const char *name)
{
	tx_open(&mouth->tx, outlet, name, strlen(name));
	mouth_write_all(mouth, NULL);
	mouth_forget(mouth);
}

static void make_frame(struct tx_own *own, struct outlet *outlet, uint8_t flags, size_t prefix, const void *payload,
		       size_t size, const int *fds, unsigned n_fds)
{
	own->outlet = outlet;
	own->head_size = FRAME_HEADER + prefix;
	own->n_parts = 0;
	own->payload = size;
	if (size)
		own->parts[own->n_parts++] = (struct iovec){(void *)(uintptr_t)payload, size};
	own->padding = frame_padding(prefix + size);
	own->fds = fds;
	own->n_fds = n_fds;
	own->n_more = 0;
	own->n_messages = !(flags & FRAME_MORE);
	own->undivided = own->made_way = false;
	own->batched = own->begun = own->done = own->sent_some = false;
	own->call = NULL;
	own->is_last = flags & FRAME_END;
	tx_frame(outlet, own->head, flags, (uint8_t)n_fds, 0, prefix + size);
}

void mouth_frame(struct tx_own *own, struct outlet *outlet, uint8_t flags, const void *payload, size_t size,
		 const int *fds, unsigned n_fds)
{
	make_frame(own, outlet, flags, 0, payload, size, fds, n_fds);
}

void mouth_first_frame(struct tx_own *own, struct outlet *outlet, uint8_t flags, uint32_t total, uint32_t overdraft,
		       const void *payload, size_t size, const int *fds, unsigned n_fds)
{
	make_frame(own, outlet, (uint8_t)(flags | FRAME_SIZED), FRAME_SIZED_PREFIX, payload, size, fds, n_fds);
	put_u32(own->head + FRAME_HEADER, total);
	put_u32(own->head + FRAME_HEADER + 4, overdraft);
}

void mouth_call(struct tx_own *own, struct inlet *call)
{
	own->call = call;
	put_u32(own->head + 12, call->id);
}

uint32_t mouth_charge(struct mouth *mouth, struct outlet *outlet, size_t size, size_t n_fds)
{
	struct tx_claim claim = {.size = size, .n_fds = n_fds};
	uint32_t overdraft = 0;

	list_init(&claim.link);
	check_int(tx_charge(&mouth->tx, outlet, &claim, &overdraft), 0);
	tx_unclaim(&mouth->tx, outlet, &claim);
	return overdraft;
}

uint32_t mouth_charge_large(struct mouth *mouth, struct outlet *outlet, size_t size, size_t n_fds)
{
	struct tx_claim claim = {.size = size, .n_fds = n_fds, .large = true};
	uint32_t overdraft = 0;

	list_init(&claim.link);
	check_int(tx_charge(&mouth->tx, outlet, &claim, &overdraft), 0);
	tx_unclaim(&mouth->tx, outlet, &claim);
	return overdraft;
}

void mouth_append(struct mouth *mouth, struct outlet *outlet, const char *text, const int *fds, unsigned n_fds)
{
	struct tx_own own;

	check_int(mouth_charge(mouth, outlet, strlen(text), n_fds), 0);
	mouth_frame(&own, outlet, 0, text, strlen(text), fds, n_fds);
	require(tx_append_fits(&mouth->tx, &own));
	tx_append(&mouth->tx, &own, fds);
	tx_complete(&mouth->tx, outlet, false);
	check(own.done);
}

size_t mouth_write(struct mouth *mouth, struct tx_own *own, size_t most)
{
	struct tx_batch *batch = &mouth->tx.batch;
	size_t n = 0;

	if (!tx_batch(&mouth->tx, own))
		return 0;
	require(batch->first < batch->n && batch->n <= TX_IOV);
	speech_send_fds(&mouth->said, batch->n_fds, 0);
	if (batch->n_fds) {
		size_t before = (size_t)(mouth->said.next_fd - SPEECH_FIRST_FD - 1) - batch->n_fds;

		mouth->capacity_fds = before + batch->n_fds;
		mouth->fds = realloc(mouth->fds, mouth->capacity_fds * sizeof *mouth->fds);
		require(mouth->fds != NULL);
		memcpy(mouth->fds + before, batch->fds, batch->n_fds * sizeof(int));
	}
	for (unsigned i = batch->first; i < batch->n && n < most; i++) {
		size_t some = batch->iov[i].iov_len < most - n ? batch->iov[i].iov_len : most - n;

		speech_put(&mouth->said, batch->iov[i].iov_base, some);
		n += some;
	}
	mouth->n_spent += tx_wrote(&mouth->tx, own, n, mouth->spent + mouth->n_spent);
	return n;
}

void mouth_write_all(struct mouth *mouth, struct tx_own *own)
{
	while (mouth_write(mouth, own, SIZE_MAX))
		;
}

void mouth_forget(struct mouth *mouth)
{
	speech_end(&mouth->said);
	speech_init(&mouth->said);
	mouth->n_spent = 0;
	free(mouth->fds);
	mouth->fds = NULL;
}

/* Appends to a text in a buffer of 512 bytes. */
__attribute__((format(printf, 2, 3))) static void add(char *text, const char *format, ...)
{
	size_t size = strlen(text);
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text + size, 512 - size, format, arguments);
	va_end(arguments);
}

/* Describes a frame, in a buffer of 512 bytes. */
static void frame_text(char *to, const unsigned char *bytes, const struct frame *frame)
{
	static const char *const names[FRAME_KIND_LAST + 1] = {"",
							       "hello",
							       "open",
							       "data",
							       "reply",
							       "credit",
							       "close",
							       "reset",
							       "goodbye",
							       [FRAME_WANT] = "want",
							       [FRAME_RETURN] = "return",
							       [FRAME_PING] = "ping"};
	bool overdraft = frame->kind == FRAME_CREDIT && frame->flags & FRAME_OVERDRAFT;
	static const char *const reasons[] = {"done", "unwanted", "refused"};
	struct reader payload = reader_over(bytes + FRAME_HEADER, frame_payload(frame));

	to[0] = 0;
	add(to, "%s %u", overdraft ? "overdraft" : names[frame->kind], frame->id ? frame->id : frame->argument);
	if (frame->kind == FRAME_RESET && frame->id)
		add(to, " %s", frame->argument <= RESET_REFUSED ? reasons[frame->argument] : "?");
	if (frame->flags & FRAME_MORE && frame->kind != FRAME_CREDIT)
		add(to, " more");
	if (frame->flags & FRAME_ABORT)
		add(to, " abort");
	if (frame->flags & FRAME_END)
		add(to, " end");
	if (frame->flags & FRAME_SIZED) {
		add(to, " %u", reader_u32(&payload));
		add(to, "/%u", reader_u32(&payload));
	}
	if (frame->kind == FRAME_CREDIT || (frame->kind == FRAME_REPLY && (frame->flags & FRAME_ERROR))) {
		while (payload.left >= 4)
			add(to, " %u", reader_u32(&payload));
	} else if (payload.left > 40) {
		add(to, " (%zu)", payload.left);
	} else if (payload.left) {
		add(to, " %.*s", (int)payload.left, (const char *)payload.at);
	}
	if (frame->claimed)
		add(to, " claims %u", frame->claimed);
	if (frame->carried)
		add(to, " carries %u", frame->carried);
	add(to, "\n");
}

static const char *bytes_text(const unsigned char *bytes, size_t size)
{
	static char text[65536];
	size_t at = 0, written = 0;

	text[0] = 0;
	while (at < size && written < sizeof text - 600) {
		struct frame frame;
		const char *rule = size - at < FRAME_HEADER ? "cut" : frame_decode(&frame, bytes + at);

		if (!rule && 4 + frame.length > size - at)
			rule = "cut";
		if (rule) {
			sprintf(text + written, "? %s\n", rule);
			break;
		}
		frame_text(text + written, bytes + at, &frame);
		written += strlen(text + written);
		at += 4 + frame.length;
	}
	return text;
}

const char *mouth_text(const struct mouth *mouth)
{
	return bytes_text(mouth->said.bytes, mouth->said.size);
}

const char *mouth_batch_text(const struct mouth *mouth)
{
	static unsigned char bytes[1 << 20];
	const struct tx_batch *batch = &mouth->tx.batch;
	size_t size = 0;

	for (unsigned i = batch->first; i < batch->n; i++) {
		require(size + batch->iov[i].iov_len <= sizeof bytes);
		memcpy(bytes + size, batch->iov[i].iov_base, batch->iov[i].iov_len);
		size += batch->iov[i].iov_len;
	}
	return bytes_text(bytes, size);
}
