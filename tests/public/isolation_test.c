/* SPDX-License-Identifier: MIT */
/*
 * Sixteen topics or calls that nobody drains leave one more its share of what all of them have in
 * common, the channel's attachments and the pool. The share is 3/64, as long as none of the sixteen
 * was sent a message that needs more than a quarter. The test uses two processes, because each
 * process has its own descriptor table, which the limits of a channel depend on.
 */
#include <poll.h>
#include <public/sharing.h>
#include <public/table.h>
#include <stdatomic.h>
#include <stress/leave.h>

/* What the slow lanes are filled with. */
enum fill { FILL_SINGLE = 1, FILL_MANY = 2, FILL_LARGE = 4, FILL_ALL = 7 };

static struct situation {
	const char *name;
	/* The size of the descriptor table in each process that receives; 0: unchanged. */
	rlim_t table;
	struct beam_channel_options options;
	unsigned fill;
	/* How many of the slow lanes are calls, and whether the quick one is. */
	unsigned slow_calls;
	bool quick_call;
	/* Each slow lane is filled by a thread, which keeps trying while the quick one sends. */
	bool at_once;
	/* Both processes send and receive. */
	bool both;
	/* The receiver does not open the slow topics. */
	bool unopened;
} now;

/*
 * One of the seventeen lanes, a topic or a call. A call has `call` on the side that receives, and
 * `request` on the side that replies.
 */
struct lane {
	beam_topic *topic;
	beam_call *call;
	beam_message *request;
};

static struct side {
	beam_channel *channel;
	beam_topic *calls;
	struct lane lanes[LANES];
	struct beam_limits limits;
	int file, fds[FDS_MAX];
	atomic_bool done;
	unsigned rounds;
} side;

static bool is_call(unsigned i)
{
	return i == QUICK ? now.quick_call : i < now.slow_calls;
}

/* ---- Lanes ----------------------------------------------------------------------------------- */

static int lane_send(struct lane *lane, size_t size, size_t n_fds, beam_deadline deadline)
{
	struct iovec iov = {payload, size};

	if (lane->request)
		return beam_message_replyv(lane->request, &iov, 1, side.fds, n_fds, BEAM_REPLY_MORE, deadline);
	return beam_topic_sendv(lane->topic, &iov, 1, side.fds, n_fds, 0, deadline);
}

static void lane_close(struct lane *lane)
{
	if (lane->request)
		check_int(beam_message_reply(lane->request, "", 0, 0, in_time()), 0);
	else
		check_int(beam_topic_close_send(lane->topic), 0);
}

static int lane_receive(struct lane *lane, beam_message **ret)
{
	return lane->call ? beam_call_receive(lane->call, ret, 0, soon())
			  : beam_topic_receive(lane->topic, ret, 0, soon());
}

/* The credit of a lane's own window. */
static size_t window_bytes(unsigned i)
{
	return is_call(i) ? 64 << 10 : side.limits.topic_window_bytes;
}

static size_t most_fds(unsigned i)
{
	size_t most = side.limits.message_attachments;

	return is_call(i) && most > BEAM_REPLY_ATTACHMENTS_MAX ? BEAM_REPLY_ATTACHMENTS_MAX : most;
}

/* No message may need more than a quarter of the pool, because otherwise no share is guaranteed. */
static size_t most_bytes(unsigned i)
{
	size_t most = window_bytes(i) + side.limits.pool_bytes / 4 - COST;

	return most < side.limits.message_bytes ? most : side.limits.message_bytes;
}

/* ---- Sending --------------------------------------------------------------------------------- */

/* Sends until there is no more credit. Returns false if the channel has ended. */
static bool fill_with(struct lane *lane, size_t size, size_t n_fds)
{
	int r;

	if (n_fds > side.limits.message_attachments)
		return true;
	do
		r = lane_send(lane, size, n_fds, beam_in_ms(stretch(10)));
	while (r == 0);
	/*
	 * Duplicates of queued attachments use descriptors of this process. If lanes are filled at
	 * once, the other side may be finished and gone before its GOODBYE has been read.
	 */
	if (r != -EMFILE && r != -EPIPE && !(now.at_once && r == -ECONNRESET))
		check_int(r, -ETIMEDOUT);
	return r == -ETIMEDOUT || r == -EMFILE;
}

static bool fill_lane(unsigned i)
{
	struct lane *lane = &side.lanes[i];

	size_t quarter = side.limits.attachments / 4, many = most_fds(i) < quarter ? most_fds(i) : quarter;

	if (now.fill & FILL_MANY && !fill_with(lane, 1, many))
		return false;
	if (now.fill & FILL_LARGE && (!fill_with(lane, most_bytes(i), 0) || !fill_with(lane, 1 << 20, 0)))
		return false;
	return !(now.fill & FILL_SINGLE) || fill_with(lane, 1, 1);
}

static void *keep_filling(void *argument)
{
	while (fill_lane((unsigned)(uintptr_t)argument) && !atomic_load(&side.done))
		;
	return NULL;
}

static unsigned n_messages(size_t size)
{
	return (unsigned)scale(size > 4096 ? 20 : 100);
}

/* Many messages are sent, and none of them waits for long. */
static void send_quick(size_t size, size_t n_fds)
{
	for (unsigned i = 0; i < n_messages(size); i++) {
		int r = lane_send(&side.lanes[QUICK], size, n_fds, in_time());

		if (r < 0) {
			fail("message %u of %zu bytes with %zu attachments: %s", i, size, n_fds, errno_name(-r));
			return;
		}
	}
}

/* The share of attachments that each lane keeps. */
static size_t quick_fds(void)
{
	size_t total = now.options.attachments ? now.options.attachments : lent_at_most(now.table);
	size_t most = most_fds(QUICK);
	size_t n = little_of(total);

	return n < most ? n : most;
}

/* The share of bytes that each lane keeps, in the pool and in its own window. */
static size_t quick_bytes(void)
{
	/* Half of the window's credit may be withheld. */
	return window_bytes(QUICK) / 2 + little_of(side.limits.pool_bytes) - COST;
}

static void send_all(void)
{
	pthread_t threads[SLOW];

	for (unsigned i = 0; i < SLOW; i++) {
		if (now.at_once)
			threads[i] = thread_spawn(keep_filling, (void *)(uintptr_t)i);
		else
			fill_lane(i);
	}
	/* Every other time, unused lent credit has been returned before. */
	poll(NULL, 0, side.rounds++ % 2 ? 50 : 0);
	send_quick(100, quick_fds() ? 1 : 0);
	send_quick(100, quick_fds());
	send_quick(quick_bytes(), 0);
	send_quick(quick_bytes(), quick_fds());
	lane_close(&side.lanes[QUICK]);
	atomic_store(&side.done, true);
	for (unsigned i = 0; i < SLOW && now.at_once; i++)
		thread_wait(threads[i]);
}

/* ---- Receiving ------------------------------------------------------------------------------- */

static void *receive_quick(void *unused)
{
	beam_message *message = NULL;
	unsigned n = 0, lost = 0;
	int r;

	while ((r = lane_receive(&side.lanes[QUICK], &message)) == 1) {
		size_t size = beam_message_size(message);

		n += size > 0;
		for (size_t i = 0; i < beam_message_attachments(message); i++)
			lost += beam_message_peek_fd(message, i) < 0;
		beam_message_free(message);
		/* The last reply of a call is empty. */
		if (size == 0)
			break;
	}
	check(r == 0 || (r == 1 && now.quick_call));
	check_int(lost, 0);
	check_int(n, 2 * n_messages(100) + 2 * n_messages(1 << 20));
	return unused;
}

/* ---- A process ------------------------------------------------------------------------------- */

static void open_topics(bool receives)
{
	char name[24];

	require_int(beam_topic_open(&side.calls, side.channel, "calls"), 0);
	for (unsigned i = 0; i < LANES; i++) {
		snprintf(name, sizeof name, "topic %u", i);
		if (!is_call(i) && (i == QUICK || !receives || !now.unopened))
			require_int(beam_topic_open(&side.lanes[i].topic, side.channel, name), 0);
	}
}

static void call_for_replies(void)
{
	for (unsigned i = 0; i < LANES; i++) {
		struct iovec iov = {&i, sizeof i};

		if (is_call(i))
			require_int(beam_call_begin(&side.lanes[i].call, side.calls, &iov, 1, NULL, 0, 0, in_time()),
				    0);
	}
}

static void take_calls(void)
{
	for (unsigned i = 0; i < LANES; i++) {
		beam_message *request = NULL;
		unsigned which;

		if (!is_call(i))
			continue;
		require_int(beam_topic_receive(side.calls, &request, 0, in_time()), 1);
		memcpy(&which, beam_message_data(request), sizeof which);
		require(which < LANES && is_call(which));
		side.lanes[which].request = request;
	}
}

static void close_side(void)
{
	for (unsigned i = 0; i < LANES; i++) {
		beam_topic_unref(side.lanes[i].topic);
		beam_call_unref(side.lanes[i].call);
		beam_message_free(side.lanes[i].request);
	}
	beam_topic_unref(side.calls);
	beam_channel_unref(side.channel);
	close(side.file);
}

__attribute__((noreturn)) static void process(int socket, bool sends, bool receives)
{
	pthread_t receiver = 0;

	if (now.table)
		table_limit(receives ? now.table : table_at_most(1024));
	side.file = raw_file();
	for (unsigned i = 0; i < FDS_MAX; i++)
		side.fds[i] = side.file;
	require_int(beam_channel_from_fd(&side.channel, socket, receives ? &now.options : NULL), 0);
	open_topics(receives);
	if (receives) {
		call_for_replies();
		receiver = thread_spawn(receive_quick, NULL);
	}
	if (sends) {
		require_int(beam_channel_limits(side.channel, &side.limits, sizeof side.limits, in_time()), 0);
		take_calls();
		send_all();
	}
	if (receives)
		thread_wait(receiver);
	/* Send everything to the other side, which receives it and then ends. */
	check_int(beam_channel_close(side.channel, in_time()), 0);
	close_side();
	leave_process();
}

static int sender(void *argument)
{
	int *fds = argument;

	close(fds[0]);
	process(fds[1], true, now.both);
}

static int receiver(void *argument)
{
	int *fds = argument;

	close(fds[1]);
	process(fds[0], now.both, true);
}

static void run(struct situation situation)
{
	int fds[2];
	pid_t processes[2];

	now = situation;
	if (!table_may_be(now.table))
		return;
	harness_context("%s, a table of %u, filled with %u%s%s", now.name, (unsigned)now.table, now.fill,
			now.at_once ? ", at once" : "", now.both ? ", both ways" : "");
	require_int(beam_socket_pair(SOCK_STREAM, fds), 0);
	processes[0] = process_spawn(sender, fds);
	processes[1] = process_spawn(receiver, fds);
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		check_int(process_wait(processes[i]), 0);
	}
	side.rounds++;
}

/* ---- With the defaults ----------------------------------------------------------------------- */

static bool is_slow(void)
{
	return under_valgrind() || under_sanitizer();
}

static void run_at(rlim_t table)
{
	static const unsigned fills[] = {FILL_SINGLE, FILL_MANY, FILL_LARGE, FILL_ALL};
	struct situation situation = {.table = table, .options = BEAM_CHANNEL_OPTIONS};

	for (unsigned i = 0; i < 8 && !harness_failures(); i++) {
		situation.name = "topics";
		situation.fill = fills[i / 2];
		situation.at_once = i % 2;
		situation.unopened = i % 4 == 2;
		if (!is_slow() || situation.fill == FILL_ALL)
			run(situation);
	}
}

static void test_sixteen_undrained_topics_leave_a_seventeenth_its_share_where_the_table_is_of_64(void)
{
	run_at(64);
}

static void test_sixteen_undrained_topics_leave_a_seventeenth_its_share_where_the_table_is_of_256(void)
{
	run_at(256);
}

static void test_sixteen_undrained_topics_leave_a_seventeenth_its_share_where_the_table_is_of_1024(void)
{
	needs_descriptors(1024);
	run_at(1024);
}

static void test_sixteen_undrained_topics_leave_a_seventeenth_its_share_where_the_table_is_of_20000(void)
{
	needs_descriptors(20000);
	run_at(20000);
}

static void test_it_is_so_on_both_sides_at_once(void)
{
	static const rlim_t tables[] = {256, 1024, 20000};
	struct situation situation = {
	    .name = "topics", .options = BEAM_CHANNEL_OPTIONS, .fill = FILL_ALL, .both = true, .at_once = true};

	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
		situation.table = tables[i];
		if (!is_slow() || tables[i] == 1024)
			run(situation);
		situation.at_once = !situation.at_once;
	}
}

/* ---- With the smallest limits ---------------------------------------------------------------- */

static struct beam_channel_options smallest(uint32_t attachments)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.topics = options.calls = 64;
	options.message_bytes = options.pool_bytes = 1 << 20;
	options.topic_window_bytes = 64 << 10;
	options.message_attachments = options.topic_window_attachments = 1;
	options.attachments = attachments;
	return options;
}

static void test_it_is_so_with_the_smallest_limits(void)
{
	/* 3/64 of 22 attachments are one, and of fewer attachments none. */
	static const uint32_t attachments[] = {1, 21, 22, 43};
	struct situation situation = {.table = 1024, .fill = FILL_ALL};

	for (size_t i = 0; i < 4; i++) {
		situation.name = "the smallest limits";
		situation.options = smallest(attachments[i]);
		situation.both = i == 2;
		for (int turn = 0; turn < 2; turn++) {
			situation.at_once = turn;
			run(situation);
		}
	}
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static void test_sixteen_calls_whose_replies_nobody_takes_leave_a_seventeenth_its_share(void)
{
	struct situation situation = {
	    .name = "calls", .table = 1024, .options = BEAM_CHANNEL_OPTIONS, .slow_calls = SLOW, .quick_call = true};

	for (unsigned i = 0; i < 4; i++) {
		situation.fill = i < 2 ? FILL_ALL : FILL_SINGLE;
		situation.at_once = i % 2;
		situation.both = i == 1;
		run(situation);
	}
}

static void test_calls_whose_replies_nobody_takes_and_topics_that_nobody_drains_leave_both_their_share(void)
{
	struct situation situation = {
	    .name = "calls and topics", .table = 1024, .options = BEAM_CHANNEL_OPTIONS, .fill = FILL_ALL};

	for (unsigned i = 0; i < 8; i++) {
		situation.slow_calls = i < 4 ? SLOW / 2 : i < 6 ? SLOW : 0;
		situation.quick_call = i < 4 ? i % 2 : i >= 6;
		situation.at_once = i / 2 % 2;
		if (!is_slow() || i < 2)
			run(situation);
	}
}

static const struct test tests[] = {
    TEST(test_sixteen_undrained_topics_leave_a_seventeenth_its_share_where_the_table_is_of_64),
    TEST(test_sixteen_undrained_topics_leave_a_seventeenth_its_share_where_the_table_is_of_256),
    TEST(test_sixteen_undrained_topics_leave_a_seventeenth_its_share_where_the_table_is_of_1024),
    TEST(test_sixteen_undrained_topics_leave_a_seventeenth_its_share_where_the_table_is_of_20000),
    TEST(test_it_is_so_on_both_sides_at_once),
    TEST(test_it_is_so_with_the_smallest_limits),
    TEST(test_sixteen_calls_whose_replies_nobody_takes_leave_a_seventeenth_its_share),
    TEST(test_calls_whose_replies_nobody_takes_and_topics_that_nobody_drains_leave_both_their_share),
};

HARNESS_MAIN("public/isolation", tests)
