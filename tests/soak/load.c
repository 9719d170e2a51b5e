/* SPDX-License-Identifier: MIT */
/*
 * What both ends of every channel do at random. Both sides do the same, so that everything that is
 * sent is received.
 */
#include "soak.h"

enum {
	WAIT_MS = 5,
	PAYLOAD_MAX = 300000,
	STREAM = 5,
	FAILURE = 300,
	BUFFER_BYTES = 65536,
	ATTACHMENTS = 4,
	EXTRA_TOPICS = 8
};

/* Open in every process. */
static const int attached[ATTACHMENTS] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, STDIN_FILENO};

struct load {
	struct soak *soak;
	beam_channel *channel;
	beam_topic *calls, *messages;
	atomic_bool over;
	unsigned turns;
	_Atomic uint64_t salt;
};

static beam_deadline shortly(struct rng *rng)
{
	return rng_chance(rng, 30) ? BEAM_NOWAIT : beam_in_ms((int64_t)rng_below(rng, WAIT_MS));
}

/* Checks that a result is documented. If the channel has ended, so has the load. */
static long usual(struct load *load, long r)
{
	if (r < 0 && r != -EAGAIN && r != -ETIMEDOUT && r != -EPIPE && r != -ECONNRESET && r != -ECONNREFUSED &&
	    r != -ECANCELED)
		fail("a call gives %ld (%s)", r, errno_name((int)-r));
	if (r == -ECONNRESET && !atomic_exchange(&load->over, true))
		count(load->soak, BROKEN);
	return r;
}

/* ---- Messages: bytes that follow from their length ------------------------------------------- */

static beam_message *make(struct rng *rng)
{
	size_t size = rng_below(rng, rng_chance(rng, 90) ? 300 : rng_chance(rng, 90) ? 20000 : PAYLOAD_MAX);
	beam_message *message;

	require_int(beam_message_new(&message, NULL, size), 0);
	if (size)
		memset(beam_message_writable(message), (int)(size % 251), size);
	for (size_t n = rng_chance(rng, 20) ? 1 + rng_below(rng, ATTACHMENTS) : 0; n; n--)
		require_int(beam_message_add_fd(message, attached[n - 1]), 0);
	return message;
}

static void check_payload(const beam_message *message)
{
	const unsigned char *data = beam_message_data(message);
	size_t size = beam_message_size(message);

	for (size_t i = 0; i < size; i += 97)
		check_int(data[i], size % 251);
}

/* Checks a message, sometimes takes an attachment or a buffer, and frees it. */
static void finish(struct load *load, struct rng *rng, beam_message *message)
{
	beam_buffer *buffer;
	int fd;

	check_payload(message);
	if (beam_message_attachments(message))
		count(load->soak, ATTACHED);
	if (rng_chance(rng, 50) && (fd = beam_message_take_fd(message, 1)) >= 0)
		close(fd);
	if (rng_chance(rng, 50) && beam_message_take_buffer(message, 0, BUFFER_BYTES, &buffer) == 0) {
		check_int(beam_buffer_size(buffer), BUFFER_BYTES);
		count(load->soak, BUFFERS);
		beam_buffer_free(buffer);
	}
	beam_message_free(message);
}

/* ---- What threads do ------------------------------------------------------------------------- */

static void give(struct load *load, struct rng *rng, beam_topic *topic, beam_message *message)
{
	if (usual(load, beam_topic_send_message(topic, message, 0, shortly(rng))) == 0)
		count(load->soak, SENT);
	else
		beam_message_free(message);
}

static void post(struct load *load, struct rng *rng)
{
	give(load, rng, load->messages, make(rng));
}

static void share(struct load *load, struct rng *rng)
{
	beam_message *message;
	beam_buffer *buffer;

	if (!rng_chance(rng, 10))
		return;
	require_int(beam_buffer_new(&buffer, BUFFER_BYTES), 0);
	memset(beam_buffer_writable(buffer), 1, BUFFER_BYTES);
	require_int(beam_message_new(&message, NULL, 0), 0);
	check_int(beam_message_add_buffer(message, buffer), 0);
	beam_buffer_free(buffer);
	give(load, rng, load->messages, message);
}

static void fetch(struct load *load, struct rng *rng)
{
	beam_message *message;
	long r;

	while ((r = usual(load, beam_topic_receive(load->messages, &message, 0, shortly(rng)))) == 1) {
		count(load->soak, RECEIVED);
		finish(load, rng, message);
	}
	/* The other side has closed the channel, so nothing can be sent. */
	if (r == 0)
		atomic_store(&load->over, true);
}

static void ask(struct load *load, struct rng *rng)
{
	unsigned char payload[300];
	struct iovec iov = {payload, rng_below(rng, sizeof payload)};
	beam_message *reply;
	beam_call *call;
	long r;

	memset(payload, (int)(iov.iov_len % 251), iov.iov_len);
	if (usual(load, beam_call_begin(&call, load->calls, &iov, 1, attached, rng_below(rng, 3), 0, shortly(rng))) < 0)
		return;
	count(load->soak, CALLS);
	while ((r = beam_call_receive(call, &reply, 0, shortly(rng))) == 1) {
		count(load->soak, ANSWERED);
		finish(load, rng, reply);
	}
	if (r != -EREMOTEIO)
		usual(load, r);
	if (rng_chance(rng, 20))
		check_int(beam_call_cancel(call), 0);
	beam_call_unref(call);
}

/* Replies with the request itself, once or several times, fails the call, or drops it. */
static void serve(struct load *load, struct rng *rng)
{
	beam_message *request;
	struct iovec iov;
	long r = 0;

	if (usual(load, beam_topic_receive(load->calls, &request, 0, shortly(rng))) != 1)
		return;
	iov = (struct iovec){(void *)(uintptr_t)beam_message_data(request), beam_message_size(request)};
	if (rng_chance(rng, 20)) {
		usual(load, beam_message_reply_failure(request, FAILURE, NULL, 0, 0, shortly(rng)));
	} else if (rng_chance(rng, 80)) {
		for (size_t n = rng_below(rng, STREAM); n && r == 0; n--)
			r = usual(load, beam_message_replyv(request, &iov, 1, attached, rng_below(rng, 3),
							    BEAM_REPLY_MORE, shortly(rng)));
		if (r == 0)
			usual(load, beam_message_reply(request, iov.iov_base, iov.iov_len, 0, shortly(rng)));
	}
	finish(load, rng, request);
}

/* Opens another topic for a moment. */
static void visit(struct load *load, struct rng *rng)
{
	beam_topic *topic;
	char name[16];

	snprintf(name, sizeof name, "extra %zu", rng_below(rng, EXTRA_TOPICS));
	if (usual(load, beam_topic_open(&topic, load->channel, name)) < 0)
		return;
	give(load, rng, topic, make(rng));
	beam_topic_unref(topic);
}

/* Accepts a topic that the other side has opened, and receives a message or closes the topic. */
static void host(struct load *load, struct rng *rng)
{
	beam_message *message;
	beam_topic *topic;

	if (usual(load, beam_channel_accept(load->channel, &topic, shortly(rng))) != 1)
		return;
	count(load->soak, TOPICS);
	if (rng_chance(rng, 30))
		check_int(beam_topic_close_receive(topic), 0);
	else if (usual(load, beam_topic_receive(topic, &message, 0, shortly(rng))) == 1)
		finish(load, rng, message);
	beam_topic_unref(topic);
}

static void *work(void *argument)
{
	static void (*const deeds[])(struct load *, struct rng *) = {post,  post,  fetch, fetch, fetch, ask,
								     serve, serve, share, visit, host,  host};
	struct load *load = argument;
	struct rng rng = rng_new(atomic_fetch_add(&load->salt, 1));

	for (unsigned i = 0; i < load->turns && !atomic_load(&load->over) && !atomic_load(&load->soak->enough); i++)
		deeds[rng_below(&rng, sizeof deeds / sizeof *deeds)](load, &rng);
	return NULL;
}

void load_run(struct soak *soak, beam_channel *channel, struct rng *rng, unsigned turns)
{
	struct load load = {.soak = soak, .channel = channel, .turns = turns, .salt = rng_u64(rng)};
	pthread_t second;

	/* The other side may be gone already. */
	if (usual(&load, beam_topic_open(&load.calls, channel, "calls")) == 0 &&
	    usual(&load, beam_topic_open(&load.messages, channel, "messages")) == 0) {
		second = thread_spawn(work, &load);
		work(&load);
		thread_wait(second);
	}
	beam_topic_unref(load.calls);
	beam_topic_unref(load.messages);
	if (rng_chance(rng, 50))
		usual(&load, beam_channel_close(channel, beam_in_ms((int64_t)rng_below(rng, WAIT_MS))));
	beam_channel_unref(channel);
}
