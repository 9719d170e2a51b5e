/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that are held in something incomplete: carried and never claimed, or part of a
 * message that never ends. They use credit from the moment they are read, and they are closed in
 * time, both while the peer does nothing more and after the channel has ended. One of them may be
 * the peer's own end of the channel, with which the peer would keep the channel alive.
 */
#include <beam/listener.h>
#include <hostile/attack.h>
#include <hostile/creditor.h>
#include <poll.h>
#include <public/listening.h>
#include <public/table.h>
#include <stdatomic.h>
#include <stress/leave.h>

static struct attack attack;
static int files[RAW_FDS_MAX];

static void files_open(void)
{
	int file = raw_file();

	for (size_t i = 0; i < RAW_FDS_MAX; i++)
		files[i] = file;
}

/* A frame that carries descriptors and claims none. */
static void put_carrier(struct raw_out *out, unsigned n)
{
	raw_carry(out, raw_credit(out, 0, 1, 0), n);
}

/* The first frame of a message that carries and claims descriptors. */
static void put_beginning(struct raw_out *out, uint32_t id, unsigned n)
{
	size_t at = raw_begin(out, id, 100, 0, "begun", 5);

	out->bytes[at + 6] = (unsigned char)n;
	raw_carry(out, at, n);
}

/* ---- Without credit -------------------------------------------------------------------------- */

static void expect_no_credit_to_carry(uint32_t attachments, unsigned n)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	size_t before;

	options.message_attachments = options.attachments = attachments;
	options.topic_window_attachments = 253;
	files_open();
	attack_begin(&attack, &options);
	before = open_fds();
	put_carrier(&attack.out, n);
	raw_peer_send_fds(&attack.peer, &attack.out, files, n);
	check_int(expect_breach_untaken(&attack, "credit"), 0);
	/* The descriptors are closed while all handles still exist. */
	check_within(20000, open_fds() <= before);
	attack_end(&attack);
	close(files[0]);
}

static void test_descriptors_that_are_carried_cost_credit_whether_or_not_they_are_claimed(void)
{
	expect_no_credit_to_carry(0, 253);
	expect_no_credit_to_carry(0, 1);
	expect_no_credit_to_carry(16, 17);
	expect_no_credit_to_carry(252, 253);
}

static void test_what_is_carried_with_credit_and_not_claimed_is_closed_when_the_channel_ends(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	size_t alone, before;

	needs_descriptors(1024);
	options.message_attachments = options.attachments = options.topic_window_attachments = 253;
	files_open();
	alone = open_fds();
	for (int turn = 0; turn < 2; turn++) {
		/* The previous round may have left descriptors to the reaper. */
		check_within(20000, open_fds() == alone);
		attack_begin(&attack, &options);
		before = open_fds();
		if (turn)
			put_beginning(&attack.out, 1, 253);
		else
			put_carrier(&attack.out, 253);
		raw_peer_send_fds(&attack.peer, &attack.out, files, 253);
		check_within(20000, open_fds() == before + 253);
		raw_peer_close(&attack.peer);
		check_int(beam_topic_receive(attack.topic, &(beam_message *){NULL}, 0, soon()), -ECONNRESET);
		/* The handles still exist, and the peer's end is closed. */
		check_within(20000, open_fds() < before);
		attack_end(&attack);
	}
	close(files[0]);
}

/* ---- In time --------------------------------------------------------------------------------- */

static struct beam_channel_options impatient(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.message_attachments = options.attachments = 64;
	options.frame_timeout_ms = (uint32_t)stretch(100);
	return options;
}

static void test_what_is_carried_and_not_claimed_in_time_is_a_breach(void)
{
	struct beam_channel_options options = impatient();

	files_open();
	attack_begin(&attack, &options);
	put_carrier(&attack.out, 3);
	raw_peer_send_fds(&attack.peer, &attack.out, files, 3);
	check_int(expect_breach_untaken(&attack, "timeout"), 0);
	attack_end(&attack);
	close(files[0]);
}

static void test_a_message_with_attachments_that_does_not_go_on_in_time_is_a_breach(void)
{
	struct beam_channel_options options = impatient();

	files_open();
	attack_begin(&attack, &options);
	put_beginning(&attack.out, 1, 3);
	raw_peer_send_fds(&attack.peer, &attack.out, files, 3);
	check_int(expect_breach_untaken(&attack, "timeout"), 0);
	attack_end(&attack);
	close(files[0]);
}

static void test_as_long_as_frames_come_nothing_is_too_late(void)
{
	struct beam_channel_options options = impatient();
	int64_t begin;

	options.frame_timeout_ms = (uint32_t)stretch(500);
	files_open();
	attack_begin(&attack, &options);
	raw_open(&attack.out, 2, "words");
	attack_send(&attack);
	put_beginning(&attack.out, 1, 3);
	raw_peer_send_fds(&attack.peer, &attack.out, files, 3);
	/* For twice the time that may pass without a frame. */
	for (begin = now_ns(); now_ns() < begin + 2 * options.frame_timeout_ms * INT64_C(1000000);) {
		raw_text(&attack.out, 2, "word");
		attack_send_and_wait(&attack);
		poll(NULL, 0, 20);
	}
	check(beam_channel_breach(attack.channel) == NULL);
	raw_frame(&attack.out, RAW_DATA, RAW_ABORT, 0, 1, 0, NULL, 0);
	attack_send(&attack);
	expect_going_on(&attack);
	attack_end(&attack);
	close(files[0]);
}

static void test_a_message_without_attachments_may_take_its_time(void)
{
	struct beam_channel_options options = impatient();
	beam_message *message = NULL;

	attack_begin(&attack, &options);
	raw_begin(&attack.out, 1, 100, 0, "begun", 5);
	attack_send(&attack);
	check_int(beam_topic_receive(attack.topic, &message, 0, beam_in_ms(3 * options.frame_timeout_ms)), -ETIMEDOUT);
	check(beam_channel_breach(attack.channel) == NULL);
	raw_frame(&attack.out, RAW_DATA, RAW_ABORT, 0, 1, 0, NULL, 0);
	attack_send(&attack);
	expect_going_on(&attack);
	attack_end(&attack);
}

/* ---- Peers that hold themselves -------------------------------------------------------------- */

enum { PEERS = 260, WITHIN_MS = 8000, IDLE_TIMEOUT_MS = 2000 };

/* Where the peer leaves its own end on the other side. */
enum way { BEGUN, CARRIED, WHOLE, EACH_OTHERS, WAYS };

static struct server {
	beam_listener *listener;
	pthread_t accepts, looks;
	pthread_mutex_t lock;
	beam_channel *channels[PEERS];
	size_t n, gone;
	atomic_bool over;
	size_t honest;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *accept_all(void *unused)
{
	beam_channel *channel;
	int r;

	while ((r = beam_listener_accept(server.listener, &channel, BEAM_FOREVER)) == 1) {
		pthread_mutex_lock(&server.lock);
		require(server.n < PEERS);
		server.channels[server.n++] = channel;
		pthread_mutex_unlock(&server.lock);
	}
	check_int(r, 0);
	return unused;
}

/* Releases channels that have ended, as servers do. */
static void look_once(void)
{
	pthread_mutex_lock(&server.lock);
	for (size_t i = 0; i < server.n; i++) {
		int r = server.channels[i] ? beam_channel_flush(server.channels[i], BEAM_NOWAIT) : 0;

		if (r == 0 || r == -EAGAIN)
			continue;
		server.channels[i] = beam_channel_unref(server.channels[i]);
		server.gone++;
	}
	pthread_mutex_unlock(&server.lock);
}

static void *look_after(void *unused)
{
	while (!atomic_load(&server.over)) {
		look_once();
		poll(NULL, 0, 10);
	}
	return unused;
}

/* `n` clients have connected, and their channels have ended. */
static bool all_gone(size_t n)
{
	bool gone;

	pthread_mutex_lock(&server.lock);
	gone = server.n == n && server.gone == n;
	pthread_mutex_unlock(&server.lock);
	/* The well-behaved channel is still there. */
	return gone && counts(server.listener).connections == 1;
}

/* Sends HELLO, opens "log", and leaves descriptors on the other side. */
static void leave_held(struct raw_out *out, int socket, enum way way, const int *fds, unsigned n)
{
	out->size = 0;
	raw_hello(out);
	raw_open(out, 1, "log");
	if (way == CARRIED)
		put_carrier(out, n);
	else if (way == WHOLE)
		raw_text_with_fds(out, 1, "nobody opens this", n);
	else
		put_beginning(out, 1, n);
	/* The descriptors are sent with the frame that carries them. */
	size_t first = RAW_HELLO_FRAME + RAW_HEADER + 8;
	check_int(raw_send(socket, out->bytes, first, NULL, 0, 0), (ssize_t)first);
	check_int(raw_send(socket, out->bytes + first, out->size - first, fds, n, 0), (ssize_t)(out->size - first));
}

/*
 * Connects, leaves its own end on the other side, and disconnects. In EACH_OTHERS two connections
 * leave each other's end.
 */
static void come_and_go(const char *address, enum way way)
{
	static struct raw_out out;
	int ends[2];

	ends[0] = raw_connect(address);
	require(ends[0] >= 0);
	if (way == EACH_OTHERS) {
		ends[1] = raw_connect(address);
		require(ends[1] >= 0);
		leave_held(&out, ends[0], BEGUN, &ends[1], 1);
		leave_held(&out, ends[1], WHOLE, &ends[0], 1);
		close(ends[1]);
	} else {
		leave_held(&out, ends[0], way, ends, 1);
	}
	close(ends[0]);
}

struct crowd {
	size_t peers;
	uint32_t idle_timeout_ms;
};

static int held_by_themselves(void *argument)
{
	const struct crowd *crowd = argument;
	const char *address = abstract_address();
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	struct beam_channel_options channel = BEAM_CHANNEL_OPTIONS;
	beam_channel *honest[2];
	size_t fds, threads, n = 0, peers = crowd->peers;
	int64_t begin;

	/* Each channel uses four descriptors, and what it holds. */
	table_limit(peers * 6 + 200);
	options.connections = options.connections_per_uid = 2 * PEERS;
	options.channel = &channel;
	channel.idle_timeout_ms = crowd->idle_timeout_ms;
	server.listener = listen_at(address, &options);
	meet(server.listener, address, honest);
	server.accepts = thread_spawn(accept_all, NULL);
	server.looks = thread_spawn(look_after, NULL);
	fds = open_fds();
	threads = open_threads();

	begin = now_ns();
	while (n < peers) {
		enum way way = (enum way)(n / 2 % (crowd->idle_timeout_ms ? WAYS : WHOLE));

		come_and_go(address, way);
		n += way == EACH_OTHERS ? 2 : 1;
	}
	check_within(WITHIN_MS, all_gone(n));
	check_within(WITHIN_MS, open_fds() <= fds && open_threads() <= threads);
	check(now_ns() - begin < stretch(WITHIN_MS) * INT64_C(1000000));
	check_int(open_fds(), fds);
	/* The well-behaved channel still works. */
	expect_connected(honest);
	part(honest);
	beam_listener_close(server.listener);
	thread_wait(server.accepts);
	atomic_store(&server.over, true);
	thread_wait(server.looks);
	beam_listener_unref(server.listener);
	leave_process();
}

static void run_crowd(uint32_t idle_timeout_ms)
{
	struct crowd crowd = {.peers = under_valgrind()    ? 16
				       : under_sanitizer() ? 80
							   : PEERS - 2,
			      .idle_timeout_ms = idle_timeout_ms};

	needs_descriptors(crowd.peers * 6 + 200);
	check_int(process_wait(process_spawn(held_by_themselves, &crowd)), 0);
}

static void test_peers_that_leave_their_own_end_in_what_is_not_whole_leave_nothing_behind_in_time(void)
{
	run_crowd(0);
}

/*
 * The end may also be in a message that nobody receives. Without an idle timeout, such a peer
 * cannot be told from one that is alive and silent.
 */
static void test_with_an_idle_timeout_peers_that_leave_their_own_end_anywhere_leave_nothing_behind(void)
{
	run_crowd(IDLE_TIMEOUT_MS);
}

static const struct test tests[] = {
    /* First, while this process has no threads: ThreadSanitizer does not support threads in a child
     * whose parent had some. */
    TEST(test_peers_that_leave_their_own_end_in_what_is_not_whole_leave_nothing_behind_in_time),
    TEST(test_with_an_idle_timeout_peers_that_leave_their_own_end_anywhere_leave_nothing_behind),
    TEST(test_descriptors_that_are_carried_cost_credit_whether_or_not_they_are_claimed),
    TEST(test_what_is_carried_with_credit_and_not_claimed_is_closed_when_the_channel_ends),
    TEST(test_what_is_carried_and_not_claimed_in_time_is_a_breach),
    TEST(test_a_message_with_attachments_that_does_not_go_on_in_time_is_a_breach),
    TEST(test_as_long_as_frames_come_nothing_is_too_late),
    TEST(test_a_message_without_attachments_may_take_its_time),
};

HARNESS_MAIN("hostile/held", tests)
