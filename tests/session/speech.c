/* SPDX-License-Identifier: MIT */
#include <session/speech.h>

void speech_init(struct speech *speech)
{
	*speech = (struct speech){.next_fd = SPEECH_FIRST_FD + 1};
	speech_send(speech);
}

void speech_end(struct speech *speech)
{
	free(speech->bytes);
	free(speech->sayings);
	*speech = (struct speech){0};
}

void speech_send(struct speech *speech)
{
	speech_send_fds(speech, 0, 0);
}

void speech_send_fds(struct speech *speech, unsigned n, unsigned lost)
{
	if (speech->n_sayings == speech->capacity_sayings) {
		speech->capacity_sayings = speech->capacity_sayings ? 2 * speech->capacity_sayings : 16;
		speech->sayings = realloc(speech->sayings, speech->capacity_sayings * sizeof *speech->sayings);
		require(speech->sayings != NULL);
	}
	speech->sayings[speech->n_sayings++] =
	    (struct saying){.at = speech->size, .n_fds = n, .lost = lost, .first_fd = speech->next_fd};
	speech->next_fd += (int)n;
}

size_t speech_put(struct speech *speech, const void *bytes, size_t size)
{
	size_t at = speech->size;

	if (at + size > speech->capacity) {
		speech->capacity = 2 * (at + size) + 1024;
		speech->bytes = realloc(speech->bytes, speech->capacity);
		require(speech->bytes != NULL);
	}
	if (size)
		memcpy(speech->bytes + at, bytes, size);
	speech->size += size;
	return at;
}

static size_t put_frame(struct speech *speech, uint8_t kind, uint8_t flags, uint8_t claimed, uint32_t id,
			uint32_t argument, size_t payload)
{
	static const unsigned char zero[8];
	const struct saying *saying = &speech->sayings[speech->n_sayings - 1];
	unsigned char header[FRAME_HEADER];
	size_t at;

	frame_encode(header, kind, flags, claimed, id, argument, payload);
	if (saying->n_fds && saying->at == speech->size)
		frame_set_carried(header, (uint8_t)saying->n_fds);
	at = speech_put(speech, header, sizeof header);
	for (size_t left = payload; left;) {
		size_t some = left < sizeof zero ? left : sizeof zero;

		speech_put(speech, zero, some);
		left -= some;
	}
	speech_put(speech, zero, frame_padding(payload));
	return at;
}

size_t speech_frame(struct speech *speech, uint8_t kind, uint8_t flags, uint8_t claimed, uint32_t id, uint32_t argument,
		    const void *payload, size_t size)
{
	size_t at = put_frame(speech, kind, flags, claimed, id, argument, size);

	if (size)
		memcpy(speech->bytes + at + FRAME_HEADER, payload, size);
	return at;
}

size_t speech_hello(struct speech *speech, const struct limits *limits)
{
	unsigned char frame[HELLO_FRAME];

	hello_encode(frame, &(struct hello){.version = PROTOCOL_VERSION, .limits = *limits});
	return speech_put(speech, frame, sizeof frame);
}

size_t speech_open(struct speech *speech, uint32_t id, const char *name)
{
	return speech_frame(speech, FRAME_OPEN, 0, 0, id, 0, name, strlen(name));
}

size_t speech_data(struct speech *speech, uint32_t id, const char *text)
{
	return speech_frame(speech, FRAME_DATA, 0, 0, id, 0, text, strlen(text));
}

size_t speech_bulk(struct speech *speech, uint32_t id, uint8_t flags, size_t size)
{
	size_t at = put_frame(speech, FRAME_DATA, flags, 0, id, 0, size);

	for (size_t i = 0; i < size; i++)
		speech->bytes[at + FRAME_HEADER + i] = (unsigned char)(i % 251);
	return at;
}

size_t speech_sized(struct speech *speech, uint8_t flags, uint8_t claimed, uint32_t id, uint32_t argument,
		    uint32_t total, uint32_t overdraft, const char *text)
{
	size_t size = strlen(text);
	size_t at = put_frame(speech, FRAME_DATA, (uint8_t)(flags | FRAME_SIZED), claimed, id, argument,
			      FRAME_SIZED_PREFIX + size);
	unsigned char *payload = speech->bytes + at + FRAME_HEADER;

	put_u32(payload, total);
	put_u32(payload + 4, overdraft);
	if (size)
		memcpy(payload + FRAME_SIZED_PREFIX, text, size);
	return at;
}

size_t speech_abort(struct speech *speech, uint32_t id, uint32_t argument)
{
	return put_frame(speech, FRAME_DATA, FRAME_ABORT, 0, id, argument, 0);
}

size_t speech_credit(struct speech *speech, uint32_t id, uint32_t argument, uint32_t bytes, uint32_t attachments)
{
	unsigned char payload[FRAME_CREDIT_BODY];

	put_u32(payload, bytes);
	put_u32(payload + 4, attachments);
	return speech_frame(speech, FRAME_CREDIT, 0, 0, id, argument, payload, sizeof payload);
}

size_t speech_close(struct speech *speech, uint32_t id)
{
	return put_frame(speech, FRAME_CLOSE, 0, 0, id, 0, 0);
}

size_t speech_reset(struct speech *speech, uint32_t id, uint32_t argument)
{
	return put_frame(speech, FRAME_RESET, 0, 0, id, argument, 0);
}

size_t speech_goodbye(struct speech *speech)
{
	return put_frame(speech, FRAME_GOODBYE, 0, 0, 0, 0, 0);
}

void speech_begin(struct speech *speech)
{
	speech_hello(speech, &limits_base);
	speech_open(speech, 1, "log");
}

/* Where the sendmsg with this number ends. */
static size_t saying_end(const struct speech *speech, size_t i)
{
	return i + 1 < speech->n_sayings ? speech->sayings[i + 1].at : speech->size;
}

/*
 * How far a read from `at` may go, and whose descriptors it receives: the number of a sendmsg, or
 * n_sayings for none.
 */
static size_t reach(const struct speech *speech, size_t at, size_t most, size_t *ret_saying)
{
	size_t end = speech->size - at < most ? speech->size : at + most;

	*ret_saying = speech->n_sayings;
	for (size_t i = 0; i < speech->n_sayings; i++) {
		const struct saying *saying = &speech->sayings[i];

		/* A sendmsg without bytes sends no descriptors. */
		if (saying->at < at || !saying->n_fds || saying_end(speech, i) == saying->at)
			continue;
		if (saying->at < end)
			*ret_saying = i;
		break;
	}
	if (*ret_saying < speech->n_sayings && saying_end(speech, *ret_saying) < end)
		end = saying_end(speech, *ret_saying);
	return end - at;
}

struct heard hear(struct hearing *hearing, const struct iovec *iov, int n_iov, size_t most)
{
	const struct speech *speech = hearing->speech;
	struct heard heard = {0};
	size_t room = 0, i, left;

	for (int k = 0; k < n_iov; k++)
		room += iov[k].iov_len;
	heard.n = reach(speech, hearing->at, room < most ? room : most, &i);
	if (i < speech->n_sayings) {
		const struct saying *saying = &speech->sayings[i];

		heard.n_fds = saying->n_fds - saying->lost;
		heard.truncated = saying->lost > 0;
		for (unsigned k = 0; k < heard.n_fds; k++)
			heard.fds[k] = saying->first_fd + (int)k;
	}
	left = heard.n;
	for (int k = 0; left; k++) {
		size_t some = left < iov[k].iov_len ? left : iov[k].iov_len;

		memcpy(iov[k].iov_base, speech->bytes + hearing->at, some);
		hearing->at += some;
		left -= some;
	}
	return heard;
}
