/* SPDX-License-Identifier: MIT */
/*
 * Messages and shared buffers that are made by hand. Each step may fail, and then changes nothing.
 */
#include <beam/buffer.h>
#include <scenario/ledger.h>
#include <scenario/scenarios.h>

enum { SIZE = 3 << 12 };

void a_message_made_by_hand(void)
{
	beam_message *message = NULL;
	size_t n = 0;

	check(beam_version() == BEAM_VERSION && beam_version_string());
	if (!result_of(beam_message_new(&message, NULL, 100), 0, -ENOMEM)) {
		check(!message);
		return;
	}
	memset(beam_message_writable(message), 7, 100);
	check_int(beam_message_size(message), 100);
	check_int(*(const char *)beam_message_data(message), 7);
	/* More attachments than a message holds without allocating memory for them. */
	for (int i = 0; i < 20; i++)
		n += result_of(beam_message_add_fd(message, attached[i % ATTACHED]), 0, -EMFILE, -ENOMEM);
	check_int(beam_message_attachments(message), n);
	for (size_t i = 0; i < n; i += 2) {
		int fd = beam_message_take_fd(message, i);

		check(fd >= 0);
		check_int(beam_message_peek_fd(message, i), -ENOENT);
		close(fd);
	}
	beam_message_free(message);
}

/* A buffer whose first and last bytes are `byte`. Returns NULL on failure. */
static beam_buffer *make(unsigned char byte)
{
	beam_buffer *buffer = NULL;
	unsigned char *room;

	if (!result_of(beam_buffer_new(&buffer, SIZE), 0, -EFBIG, -ENOMEM, -ENOSPC, -EMFILE, -ENFILE, -ENOSYS)) {
		check(!buffer);
		return NULL;
	}
	room = beam_buffer_writable(buffer);
	require(room != NULL);
	room[0] = room[SIZE - 1] = byte;
	return buffer;
}

static void expect(const beam_buffer *buffer, unsigned char byte)
{
	const unsigned char *data = beam_buffer_data(buffer);

	check_int(beam_buffer_size(buffer), SIZE);
	check_int(data[0], byte);
	check_int(data[1], 0);
	check_int(data[SIZE - 1], byte);
}

void a_buffer_made_and_sealed(void)
{
	beam_buffer *buffer = make(1);

	if (!buffer)
		return;
	for (int i = 0; i < 3; i++) {
		int fd = beam_buffer_seal(buffer);

		expect(buffer, 1);
		if (result_of(fd >= 0 ? 0 : fd, 0, -EBUSY, -ENOMEM))
			check(!beam_buffer_writable(buffer));
	}
	beam_buffer_free(buffer);
}

static void take_and_look(beam_message *message)
{
	beam_buffer *buffer = NULL;
	int r = beam_message_take_buffer(message, 0, SIZE, &buffer);

	check((r == 0) == (buffer != NULL));
	if (result_of(r, 0, -EMFILE, -EACCES, -EBADMSG, -ENOMEM, -EAGAIN)) {
		expect(buffer, 2);
		check_int(beam_message_peek_fd(message, 0), -ENOENT);
		beam_buffer_free(buffer);
	}
}

void a_buffer_sent_and_taken(void)
{
	beam_buffer *buffer = make(2);
	beam_message *message = NULL, *received = NULL;
	struct ends *ends = buffer ? ends_make(NULL) : NULL;

	if (ends && result_of(beam_message_new(&message, "for you", 7), 0, -ENOMEM)) {
		bool sent = result_of(beam_message_add_buffer(message, buffer), 0, -EBUSY, -ENOMEM, -EMFILE) &&
			    result_of(beam_topic_send_message(ends->topic[0], message, 0, soon()), 0, -EAGAIN,
				      -ETIMEDOUT, -EPIPE, -ECONNRESET, -ENOMEM);

		if (!sent)
			beam_message_free(message);
		else if (result_of(beam_topic_receive(ends->topic[1], &received, 0, soon()), 1, -EAGAIN, -ETIMEDOUT,
				   -ECONNRESET, -ENOMEM))
			take_and_look(received);
		beam_message_free(received);
	}
	beam_buffer_free(buffer);
	if (ends)
		ends_release(ends, 0);
}
