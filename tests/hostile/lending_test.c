/* SPDX-License-Identifier: MIT */
/*
 * Peers that want everything that a process lends: they use all their credit for descriptors and
 * ask for more, in one channel or in two hundred. What they get is bounded, so that the rest of the
 * process can always open files and other channels work. When the peers leave, or a well-behaved
 * peer is idle, it is lent to others.
 *
 * The victim is a process with a table of 1,024 descriptors. The attacker is another process.
 */
#include <hostile/creditor.h>
#include <hostile/lent.h>
#include <poll.h>
#include <stdatomic.h>
#include <stress/leave.h>
#include <sys/mman.h>

enum { CHANNELS_MAX = 200, HELD_MAX = 200, LINGERING = 3 };

/* What the peers do with their credit. */
enum conduct {
	/* They send as many messages as possible. */
	SENDS,
	/* They do nothing. */
	HOARDS,
	/* They carry descriptors that no message claims. */
	CARRIES,
	/* They send sockets whose close takes a second. */
	LINGERS,
};

/* What the victim does with the messages. If it leaves them, they stay in the queue. */
enum use { FREES, HOLDS, LEAVES };

static struct situation {
	unsigned n;
	enum conduct conduct;
	enum use use;
} now;

static int sockets[CHANNELS_MAX][2];

/* Shared by both processes. */
static struct shared {
	atomic_bool stop;
	/* How many rounds the attacker has made, and how many attachments its peers were granted
	 * and have sent. */
	atomic_uint turns, granted, sent;
} * shared;

/* ---- The attacker ---------------------------------------------------------------------------- */

static struct creditor peers[CHANNELS_MAX];
static struct lingering lingering[CHANNELS_MAX][LINGERING];
static unsigned used[CHANNELS_MAX];
static int files[RAW_FDS_MAX];

static void carry(struct creditor *peer)
{
	int64_t n = peer->channel < RAW_FDS_MAX ? peer->channel : RAW_FDS_MAX;
	size_t at = raw_credit(&peer->out, 0, 1, 0);

	raw_carry(&peer->out, at, (unsigned)n);
	peer->channel -= n;
	creditor_flush(peer, files, (size_t)n);
	atomic_fetch_add(&shared->sent, (unsigned)n);
}

/*
 * The frame is completed only after the descriptor has been closed here. Otherwise this close might
 * be the last one.
 */
static void send_lingering(struct creditor *peer, struct lingering *bites)
{
	enum { PART = 8 };

	raw_text_with_fds(&peer->out, 1, "bites", 1);
	if (raw_send(peer->peer.socket, peer->out.bytes, PART, &bites->fd, 1, 0) != PART)
		peer->ended = true;
	close(bites->fd);
	memmove(peer->out.bytes, peer->out.bytes + PART, peer->out.size -= PART);
	creditor_flush(peer, NULL, 0);
	peer->topic_bytes -= RAW_MESSAGE_COST + 5;
	peer->topic--;
	peer->channel--;
	atomic_fetch_add(&shared->sent, 1);
}

static void attack_with(unsigned i)
{
	struct creditor *peer = &peers[i];
	size_t room;

	if (!creditor_read(peer, 0) || !peer->hello)
		return;
	room = creditor_room(peer);
	if (now.conduct == SENDS && room) {
		creditor_send(peer, files, room);
		atomic_fetch_add(&shared->sent, (unsigned)room);
	} else if (now.conduct == CARRIES && !used[i] && peer->channel > 0) {
		used[i]++;
		carry(peer);
	} else if (now.conduct == LINGERS && used[i] < LINGERING && room) {
		send_lingering(peer, &lingering[i][used[i]++]);
	} else {
		creditor_want(peer, 1000);
	}
}

static void open_lingering(unsigned i)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 1};

	for (int k = 0; k < LINGERING; k++) {
		lingering[i][k] = lingering_open();
		setsockopt(lingering[i][k].fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	}
}

static int attacker(void *unused)
{
	int file = raw_file();

	(void)unused;
	for (size_t i = 0; i < RAW_FDS_MAX; i++)
		files[i] = file;
	for (unsigned i = 0; i < now.n; i++) {
		close(sockets[i][0]);
		creditor_begin(&peers[i], sockets[i][1], SAYS_ANSWERS);
		if (now.conduct == LINGERS)
			open_lingering(i);
	}
	while (!atomic_load(&shared->stop)) {
		unsigned granted = 0;

		for (unsigned i = 0; i < now.n; i++) {
			attack_with(i);
			granted += peers[i].begin_attachments;
		}
		atomic_store(&shared->granted, granted);
		atomic_fetch_add(&shared->turns, 1);
		poll(NULL, 0, 1);
	}
	return 0;
}

/* ---- The victim ------------------------------------------------------------------------------ */

struct victim {
	beam_channel *channel;
	beam_topic *topic;
	beam_message *held[HELD_MAX];
	size_t n;
	pthread_t thread;
};

static struct victim victims[CHANNELS_MAX];

static void *receive_all(void *argument)
{
	struct victim *victim = argument;
	beam_message *message = NULL;
	int r;

	/* If the messages stay in the queue, wait for the end of the channel. */
	while (now.use == LEAVES && beam_channel_flush(victim->channel, soon()) == 0 && !atomic_load(&shared->stop))
		poll(NULL, 0, 10);
	while ((r = beam_topic_receive(victim->topic, &message, 0, BEAM_FOREVER)) == 1) {
		if (now.use == HOLDS && victim->n < HELD_MAX)
			victim->held[victim->n++] = message;
		else
			beam_message_free(message);
	}
	/*
	 * A peer that leaves with unclaimed descriptors has broken no rule, unless they were
	 * unclaimed for too long.
	 */
	check(r == -ECONNRESET || r == -EPROTO);
	return NULL;
}

static void victims_begin(void)
{
	for (unsigned i = 0; i < now.n; i++) {
		close(sockets[i][1]);
		require_int(beam_channel_from_fd(&victims[i].channel, sockets[i][0], NULL), 0);
		require_int(beam_topic_open(&victims[i].topic, victims[i].channel, "log"), 0);
		victims[i].thread = thread_spawn(receive_all, &victims[i]);
	}
}

static void victims_end(void)
{
	for (unsigned i = 0; i < now.n; i++) {
		thread_wait(victims[i].thread);
		for (size_t k = 0; k < victims[i].n; k++)
			beam_message_free(victims[i].held[k]);
		beam_topic_unref(victims[i].topic);
		beam_channel_unref(victims[i].channel);
	}
}

/*
 * The rest of the process works until each peer has had many turns. There is no bound on the total
 * time, only on the time between two turns.
 */
static void go_on(struct ends *honest, size_t before)
{
	int64_t end = now_ns() + stretch(20000) * (int64_t)1000000;
	size_t most = 0, refused = 0, table;
	unsigned rounds = 0, turns = 0;

	while ((turns < 100 || rounds < scale(500)) && now_ns() < end && !harness_failures()) {
		if (atomic_load(&shared->turns) != turns) {
			turns = atomic_load(&shared->turns);
			end = now_ns() + stretch(20000) * (int64_t)1000000;
		}
		send_number(honest->topic[0], rounds);
		expect_number(honest->topic[1], rounds);
		refused += !table_has_room();
		table = rounds % 16 ? 0 : open_fds();
		most = table > most ? table : most;
		rounds++;
	}
	check_int(refused, 0);
	check(turns >= 100);
	/* At most a fifth of the table is used for attachments. */
	if (most > before + TABLE / 5)
		fail("%zu were open, %zu before the peers began", most, before);
	/* The peers have used what they were granted. */
	check(now.conduct == HOARDS || atomic_load(&shared->sent) > 0);
	check(atomic_load(&shared->granted) > 0);
}

static int victim(void *unused)
{
	struct ends honest;
	struct beam_statistics statistics;
	uint32_t first;
	size_t before;

	(void)unused;
	table_limit(TABLE);
	first = granted_to_a_new_channel();
	check_int(first, lent_at_most(TABLE) / 2);
	ends_open(&honest, NULL);
	victims_begin();
	before = 2 * (size_t)now.n * 4 + 20;
	before = open_fds() < before ? open_fds() : before;
	go_on(&honest, before);
	check_int(beam_channel_statistics(honest.channel[1], &statistics, sizeof statistics), 0);
	check_int(statistics.messages_lost + statistics.attachments_lost, 0);
	atomic_store(&shared->stop, true);
	victims_end();
	ends_close(&honest);
	check_within(20000, granted_to_a_new_channel() == first);
	leave_process();
}

static void run(unsigned n, enum conduct conduct, enum use use)
{
	pid_t processes[2];

	now = (struct situation){.n = under_valgrind() && n > 20 ? 20 : n, .conduct = conduct, .use = use};
	harness_context("%u channels, conduct %d, use %d", n, (int)conduct, (int)use);
	harness_timeout(300);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	require(shared != MAP_FAILED);
	for (unsigned i = 0; i < now.n; i++)
		require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets[i]), 0);
	processes[0] = process_spawn(victim, NULL);
	processes[1] = process_spawn(attacker, NULL);
	for (unsigned i = 0; i < now.n; i++)
		for (int k = 0; k < 2; k++)
			close(sockets[i][k]);
	check_int(process_wait(processes[0]), 0);
	/* Ends the attacker if the victim has failed. */
	atomic_store(&shared->stop, true);
	check_int(process_wait(processes[1]), 0);
	munmap(shared, sizeof *shared);
}

static void run_in_every_way(unsigned n)
{
	for (enum use use = FREES; use <= LEAVES; use++)
		run(n, SENDS, use);
	run(n, HOARDS, FREES);
	run(n, CARRIES, FREES);
}

static void test_one_greedy_peer_leaves_the_process_what_it_needs(void)
{
	needs_descriptors(TABLE);
	run_in_every_way(1);
}

static void test_ten_greedy_peers_leave_the_process_what_it_needs(void)
{
	needs_descriptors(TABLE);
	run_in_every_way(10);
}

static void test_two_hundred_greedy_peers_leave_the_process_what_it_needs(void)
{
	needs_descriptors(TABLE);
	run_in_every_way(200);
}

static void test_peers_whose_descriptors_take_long_to_close_leave_the_process_what_it_needs(void)
{
	struct lingering probe;

	needs_descriptors(TABLE);
	probe = lingering_open();
	/*
	 * Skips the test if there is no loopback. Closing with unread data resets the connection.
	 */
	close(probe.peer);
	close(probe.fd);
	run(1, LINGERS, FREES);
	run(10, LINGERS, FREES);
	run(10, LINGERS, HOLDS);
}

static const struct test tests[] = {
    TEST(test_one_greedy_peer_leaves_the_process_what_it_needs),
    TEST(test_ten_greedy_peers_leave_the_process_what_it_needs),
    TEST(test_two_hundred_greedy_peers_leave_the_process_what_it_needs),
    TEST(test_peers_whose_descriptors_take_long_to_close_leave_the_process_what_it_needs),
};

HARNESS_MAIN("hostile/lending", tests)
