/* SPDX-License-Identifier: MIT */
/*
 * Sixty-four threads of a server use both ends of eight channels. They call, reply, select, send,
 * receive, dispatch and close at random. A thread that closes a channel replaces it by another.
 * What is received is what was sent, each reply belongs to its own request, no call returns after
 * its deadline, and nothing is left at the end. BEAM_SERVER_SECONDS sets how long this goes on. The
 * default is a minute under ThreadSanitizer, and a few seconds otherwise.
 */
#include <beam/beam.h>
#include <fcntl.h>
#include <harness/harness.h>
#include <poll.h>
#include <public/ends.h>
#include <stdatomic.h>
#include <sys/socket.h>

enum { THREADS = 64, LINKS = 8, SIDES = 2, WAIT_MS = 5, STREAM = 5, SELECTED = 4, PAYLOAD_MAX = 20000, FAILURE = 300 };

/* Both ends of a channel, until a thread closes it. */
struct link {
	pthread_mutex_t lock;
	beam_channel *channels[SIDES];
	beam_topic *calls[SIDES], *messages[SIDES];
};

/* One end, with its own handles. */
struct end {
	beam_channel *channel;
	beam_topic *calls, *messages;
};

static struct link links[LINKS];
static atomic_bool enough;
static atomic_ullong counted[8];
enum count { CALLS, ANSWERED, SERVED, SENT, RECEIVED, SELECTS, DISPATCHED, CLOSED };
static int attached;

static void count(enum count what)
{
	atomic_fetch_add_explicit(&counted[what], 1, memory_order_relaxed);
}

/* ---- Links ----------------------------------------------------------------------------------- */

static void link_open(struct link *link, struct rng *rng)
{
	int fds[SIDES];

	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	for (int i = 0; i < SIDES; i++) {
		struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

		options.loop = rng_chance(rng, 30);
		options.dedicated_reader = rng_chance(rng, 20);
		options.linger_ms = 1000;
		require_int(beam_channel_from_fd(&link->channels[i], fds[i], &options), 0);
		require_int(beam_topic_open(&link->calls[i], link->channels[i], "calls"), 0);
		require_int(beam_topic_open(&link->messages[i], link->channels[i], "messages"), 0);
	}
}

static struct end end_take(struct rng *rng)
{
	struct link *link = &links[rng_below(rng, LINKS)];
	unsigned side = (unsigned)rng_below(rng, SIDES);
	struct end end;

	pthread_mutex_lock(&link->lock);
	end.channel = beam_channel_ref(link->channels[side]);
	end.calls = beam_topic_ref(link->calls[side]);
	end.messages = beam_topic_ref(link->messages[side]);
	pthread_mutex_unlock(&link->lock);
	return end;
}

static void end_give_back(struct end *end)
{
	beam_topic_unref(end->calls);
	beam_topic_unref(end->messages);
	beam_channel_unref(end->channel);
}

/* Releases both ends. One of them may be closed before. */
static void link_release(const struct link *old, struct rng *rng)
{
	unsigned first = (unsigned)rng_below(rng, SIDES);

	if (rng_chance(rng, 50)) {
		int r = beam_channel_close(old->channels[first], beam_in_ms((int64_t)rng_below(rng, WAIT_MS)));

		check(r == 0 || r == -ETIMEDOUT || r == -EPIPE || r == -ECONNRESET);
	}
	for (unsigned i = 0; i < SIDES; i++) {
		unsigned side = (first + i) % SIDES;

		beam_topic_unref(old->calls[side]);
		beam_topic_unref(old->messages[side]);
		beam_channel_unref(old->channels[side]);
	}
}

static void link_replace(struct rng *rng)
{
	struct link *link = &links[rng_below(rng, LINKS)], old;

	pthread_mutex_lock(&link->lock);
	old = *link;
	link_open(link, rng);
	pthread_mutex_unlock(&link->lock);
	link_release(&old, rng);
	count(CLOSED);
}

/* ---- Payloads: bytes that follow from their length ------------------------------------------- */

static size_t make(struct rng *rng, unsigned char *payload)
{
	size_t size = rng_chance(rng, 90) ? rng_below(rng, 300) : rng_below(rng, PAYLOAD_MAX);

	memset(payload, (int)(size % 251), size);
	return size;
}

static void check_payload(const beam_message *message)
{
	const unsigned char *data = beam_message_data(message);
	size_t size = beam_message_size(message);

	for (size_t i = 0; i < size; i += 97)
		check_int(data[i], size % 251);
}

/*
 * True for the documented results of a call that may time out, or whose channel may have been
 * closed meanwhile.
 */
static bool is_usual(long r)
{
	return r >= 0 || r == -EAGAIN || r == -ETIMEDOUT || r == -EPIPE || r == -ECONNRESET;
}

#define check_usual(call)                                                                                              \
	__extension__({                                                                                                \
		long r_ = (call);                                                                                      \
		if (!is_usual(r_))                                                                                     \
			fail("%s is %ld", #call, r_);                                                                  \
		r_;                                                                                                    \
	})

static beam_deadline shortly(struct rng *rng)
{
	return rng_chance(rng, 30) ? BEAM_NOWAIT : beam_in_ms((int64_t)rng_below(rng, WAIT_MS));
}

/* ---- What threads do ------------------------------------------------------------------------- */

/* The replies to a request are copies of it. */
static void await_replies(struct rng *rng, beam_call *call, size_t size)
{
	beam_message *reply;
	uint32_t code;
	long r;

	while ((r = beam_call_receive(call, &reply, 0, shortly(rng))) == 1) {
		check_int(beam_message_size(reply), size);
		check_payload(reply);
		beam_message_free(reply);
		count(ANSWERED);
	}
	if (r == -EREMOTEIO) {
		check_int(beam_call_failure(call, &code, NULL, NULL), 0);
		check(code == FAILURE || code == BEAM_FAILURE_DROPPED || code == BEAM_FAILURE_CLOSED);
	} else {
		check(is_usual(r));
	}
}

static void ask(struct rng *rng, const struct end *end)
{
	unsigned char payload[PAYLOAD_MAX];
	struct iovec iov = {payload, make(rng, payload)};
	beam_call *call;
	beam_message *reply;
	int r;

	if (rng_chance(rng, 30)) {
		if (beam_topic_call(end->calls, payload, iov.iov_len, &reply, 0, shortly(rng)) == 1) {
			check_int(beam_message_size(reply), iov.iov_len);
			beam_message_free(reply);
			count(ANSWERED);
		}
		return;
	}
	if (check_usual(beam_call_begin(&call, end->calls, &iov, 1, &attached, rng_chance(rng, 20), 0, shortly(rng))) <
	    0)
		return;
	count(CALLS);
	await_replies(rng, call, iov.iov_len);
	if (rng_chance(rng, 20)) {
		check_int(beam_call_cancel(call), 0);
		/*
		 * The call may have ended before it was cancelled, and then keeps its result. In
		 * both cases nothing blocks any more.
		 */
		while ((r = beam_call_receive(call, &reply, 0, BEAM_NOWAIT)) == 1)
			beam_message_free(reply);
		check(r != -EAGAIN);
	}
	beam_call_unref(call);
}

static bool is_answered(long r)
{
	return is_usual(r) || r == -ECANCELED;
}

static void answer(struct rng *rng, beam_message *request)
{
	const struct iovec iov = {(void *)(uintptr_t)beam_message_data(request), beam_message_size(request)};
	long r = 0;

	check_payload(request);
	if (!beam_message_is_call(request)) {
		fail("a message among the calls");
		return;
	}
	switch (rng_below(rng, 4)) {
	case 0: break; /* dropped */
	case 1: r = beam_message_reply_failure(request, FAILURE, NULL, 0, 0, shortly(rng)); break;
	case 2:
		for (unsigned i = 0; i < STREAM && r == 0; i++)
			r = beam_message_replyv(request, &iov, 1, &attached, rng_chance(rng, 20), BEAM_REPLY_MORE,
						shortly(rng));
		/* fall through */
	case 3:
		if (r == 0)
			r = beam_message_reply(request, iov.iov_base, iov.iov_len, 0, shortly(rng));
		break;
	}
	if (!is_answered(r))
		fail("an answer is %ld", r);
	count(SERVED);
}

static void serve(struct rng *rng, const struct end *end)
{
	beam_message *request;

	if (check_usual(beam_topic_receive(end->calls, &request, 0, shortly(rng))) != 1)
		return;
	answer(rng, request);
	beam_message_free(request);
}

static void post(struct rng *rng, const struct end *end)
{
	unsigned char payload[PAYLOAD_MAX];
	struct iovec iov = {payload, make(rng, payload)};

	if (check_usual(beam_topic_sendv(end->messages, &iov, 1, &attached, rng_chance(rng, 20), 0, shortly(rng))) == 0)
		count(SENT);
}

static void fetch(struct rng *rng, const struct end *end)
{
	beam_message *message;

	while (check_usual(beam_topic_receive(end->messages, &message, 0, shortly(rng))) == 1) {
		check_payload(message);
		beam_message_free(message);
		count(RECEIVED);
	}
}

/* Selects among topics of several channels, any of which may be closed meanwhile. */
static void choose(struct rng *rng, const struct end *first)
{
	struct end ends[SELECTED];
	struct beam_select_ready ready;
	beam_select *select;

	(void)first;
	require_int(beam_select_new(&select), 0);
	for (unsigned i = 0; i < SELECTED; i++) {
		ends[i] = end_take(rng);
		long r = beam_select_add_topic(select, ends[i].messages, BEAM_SELECT_RECEIVE, &ends[i]);

		check(r == 0 || r == -EEXIST);
		r = beam_select_add_channel(select, ends[i].channel, &ends[i]);
		check(r == 0 || r == -EEXIST);
	}
	if (beam_select_wait(select, &ready, 1, shortly(rng)) == 1 && ready.what == BEAM_SELECT_RECEIVE)
		fetch(rng, ready.tag);
	count(SELECTS);
	beam_select_unref(select);
	for (unsigned i = 0; i < SELECTED; i++)
		end_give_back(&ends[i]);
}

static void dispatch(struct rng *rng, const struct end *end)
{
	struct pollfd item = {.fd = beam_channel_loop_fd(end->channel)};

	(void)rng;
	if (item.fd < 0)
		return;
	item.events = (short)beam_channel_loop_events(end->channel);
	poll(&item, 1, 0);
	(void)!beam_channel_dispatch(end->channel, item.revents);
	count(DISPATCHED);
}

static void *serve_at_random(void *argument)
{
	static void (*const deeds[])(struct rng *, const struct end *) = {ask,  ask,   serve,  serve,
									  post, fetch, choose, dispatch};
	struct rng rng = rng_new((uintptr_t)argument);

	while (!atomic_load_explicit(&enough, memory_order_relaxed)) {
		struct end end = end_take(&rng);

		deeds[rng_below(&rng, sizeof deeds / sizeof *deeds)](&rng, &end);
		end_give_back(&end);
		if (rng_below(&rng, 200) == 0)
			link_replace(&rng);
	}
	return NULL;
}

static unsigned seconds(void)
{
	const char *text = getenv("BEAM_SERVER_SECONDS");

#ifdef UNDER_THREAD_SANITIZER
	return text ? (unsigned)strtoul(text, NULL, 10) : 60;
#else
	return text ? (unsigned)strtoul(text, NULL, 10) : 3;
#endif
}

/* Waits until `until`, as long as the threads make progress. */
static void watch(int64_t until)
{
	unsigned long long before = 0;

	while (now_ns() < until && !harness_failures()) {
		unsigned long long all = 0;

		for (unsigned i = 0; i < sizeof counted / sizeof *counted; i++)
			all += counted[i];
		if (all != before)
			harness_progress();
		before = all;
		usleep(10000);
	}
}

static void test_sixty_four_threads_do_everything_at_once(void)
{
	static const char *const names[] = {"calls",    "replies received", "calls answered",      "messages sent",
					    "received", "selects",          "dispatches of loops", "channels closed"};
	struct rng rng = rng_new(1000);
	pthread_t threads[THREADS];

	attached = open("/dev/null", O_RDONLY | O_CLOEXEC);
	enough = false;
	for (unsigned i = 0; i < LINKS; i++) {
		pthread_mutex_init(&links[i].lock, NULL);
		link_open(&links[i], &rng);
	}
	for (uintptr_t i = 0; i < THREADS; i++)
		threads[i] = thread_spawn(serve_at_random, (void *)i);
	watch(now_ns() + seconds() * INT64_C(1000000000));
	enough = true;
	for (unsigned i = 0; i < THREADS; i++)
		thread_wait(threads[i]);
	for (unsigned i = 0; i < LINKS; i++) {
		link_release(&links[i], &rng);
		pthread_mutex_destroy(&links[i].lock);
	}
	close(attached);
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
		printf("%llu %s%s", (unsigned long long)counted[i], names[i],
		       i + 1 < sizeof names / sizeof *names ? ", " : "\n");
		check(counted[i] > 0);
	}
}

static const struct test tests[] = {
    TEST(test_sixty_four_threads_do_everything_at_once),
};

HARNESS_MAIN("stress/server", tests)
