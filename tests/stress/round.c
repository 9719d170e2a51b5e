/* SPDX-License-Identifier: MIT */
/* A round: two sides and their threads, from the beginning to the end. */
#include "leave.h"
#include "stress.h"
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>

struct journal *journal_new(const struct plan *plan)
{
	struct journal *journal =
	    mmap(NULL, sizeof *journal, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	require(journal != MAP_FAILED);
	journal->plan = *plan;
	for (unsigned i = 0; i < SIDES; i++) {
		journal->sides[i].left = (int64_t)plan->messages[i];
		journal->sides[i].senders_working = plan->senders[i];
	}
	return journal;
}

void journal_free(struct journal *journal)
{
	munmap(journal, sizeof *journal);
}

bool side_failed_at(const struct side *side, const char *file, int line, const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (!atomic_exchange(&side->journal->broken, true)) {
		const char *breach = beam_channel_breach(side->channel);

		harness_check(false, file, line, false, "%s%s%s", text, breach ? "; breach: " : "",
			      breach ? breach : "");
	}
	return false;
}

/* ---- What threads do to their side ---- */

/* Waits until the other side has opened its topics. */
static void wait_for_other(const struct side *side)
{
	check_within(20000, atomic_load(&side->theirs->opened));
}

void side_close_topic(struct side *side, unsigned topic)
{
	wait_for_other(side);
	atomic_store(&side->mine->topic_closed[topic], true);
	side_check(side, beam_topic_close_send(side->topics[topic]) == 0, "topic_close failed");
}

static void kill_side(struct journal *journal, unsigned index)
{
	atomic_store(&journal->sides[index].killed, true);
	kill(atomic_load(&journal->pids[index]), SIGKILL);
}

static void act(struct side *side, const struct action *action)
{
	switch (action->kind) {
	case ACTION_CLOSE_TOPIC: side_close_topic(side, action->topic); break;
	case ACTION_RESET_TOPIC:
		atomic_store(&side->mine->topic_reset[action->topic], true);
		side_check(side, beam_topic_close_receive(side->topics[action->topic]) == 0, "topic_reset failed");
		atomic_store(&side->mine->topic_reset_done[action->topic], true);
		break;
	case ACTION_CLOSE_CHANNEL:
		atomic_store(&side->mine->channel_closed, true);
		atomic_store(&side->mine->action_close_result,
			     beam_channel_close(side->channel, beam_in_ms(stretch(10000))));
		atomic_store(&side->mine->action_closed, true);
		break;
	case ACTION_DIE: kill_side(side->journal, side->index); break;
	case ACTION_KILL_OTHER: kill_side(side->journal, !side->index); break;
	case ACTION_NONE: break;
	}
}

void side_turn(struct side *side, uint64_t n)
{
	uint64_t before = atomic_fetch_add(&side->mine->turns, n);

	for (unsigned i = 0; i < ACTIONS_MAX; i++) {
		const struct action *action = &side->journal->plan.actions[side->index][i];
		if (action->kind != ACTION_NONE && action->at >= before && action->at < before + n)
			act(side, action);
	}
}

/* ---- The loop of a side ---- */

void *loop_run(void *argument)
{
	const struct side *side = argument;
	struct pollfd items[2] = {{.fd = beam_channel_loop_fd(side->channel)},
				  {.fd = beam_channel_loop_nudge_fd(side->channel), .events = POLLIN}};
	beam_deadline deadline;

	require(items[0].fd >= 0 && items[1].fd >= 0);
	do {
		struct timespec timeout = {0, 0};
		int64_t left;

		items[0].events = (short)beam_channel_loop_events(side->channel);
		require_int(beam_channel_loop_deadline(side->channel, &deadline), 0);
		left = deadline.ns - now_ns();
		if (left > 0)
			timeout = (struct timespec){left / 1000000000, (long)(left % 1000000000)};
		items[0].revents = 0;
		ppoll(items, 2, deadline.ns == BEAM_FOREVER.ns ? NULL : &timeout, NULL);
	} while (beam_channel_dispatch(side->channel, items[0].revents) == 1);
	return NULL;
}

/* ---- A side from its beginning to its end ---- */

static struct beam_channel_options options_of(const struct plan *plan, unsigned side)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	if (plan->small_limits) {
		options.topics = 64;
		options.message_bytes = options.pool_bytes = 1 << 20;
		options.message_attachments = options.topic_window_attachments = 16;
		options.topic_window_bytes = 64 << 10;
		options.attachments = 64;
		options.buffer_bytes = 16 << 10;
		options.socket_buffer_bytes = 0;
	}
	if (plan->reading[side] == READ_SLEEPING)
		options.busy_poll_us = 0;
	options.dedicated_reader = plan->reading[side] == READ_DEDICATED;
	options.loop = plan->reading[side] == READ_LOOP;
	return options;
}

/* Side 0 opens the topics. Their names are numbers. Side 1 either opens or accepts them. */
static void open_topics(struct side *side)
{
	char name[16];
	beam_topic *topic;

	for (unsigned i = 0; i < TOPICS; i++) {
		if (side->index == 1 && side->journal->plan.accept_topics) {
			require_int(beam_channel_accept(side->channel, &topic, beam_in_ms(stretch(10000))), 1);
			unsigned long index = strtoul(beam_topic_name(topic), NULL, 10);
			require(index < TOPICS && !side->topics[index]);
			side->topics[index] = topic;
		} else {
			snprintf(name, sizeof name, "%u", i);
			require_int(beam_topic_open(&side->topics[i], side->channel, name), 0);
		}
	}
}

static void work(struct side *side)
{
	const struct plan *plan = &side->journal->plan;
	unsigned senders = plan->senders[side->index], receivers = plan->receivers[side->index];
	struct worker workers[2 * THREADS];

	for (unsigned i = 0; i < senders + receivers; i++) {
		workers[i] = (struct worker){.side = side, .index = i < senders ? i : i - senders};
		workers[i].thread = thread_spawn(i < senders ? sender_run : receiver_run, &workers[i]);
	}
	for (unsigned topic = 0; senders == 0 && topic < TOPICS; topic++)
		side_close_topic(side, topic);
	for (unsigned i = 0; i < senders + receivers; i++)
		thread_wait(workers[i].thread);
}

/* If the peer is dead, either the send or the following flush must report it. */
static void check_loss_is_told(struct side *side, beam_topic *topic)
{
	int sent = beam_topic_send(topic, "x", 1, 0, beam_in_ms(stretch(10000)));
	int flushed = beam_channel_flush(side->channel, beam_in_ms(stretch(10000)));

	side_check(side, sent == -ECONNRESET || flushed == -ECONNRESET,
		   "the peer is dead, but send says %d and flush %d", sent, flushed);
	sent = beam_topic_send(topic, "x", 1, 0, beam_in_ms(stretch(10000)));
	side_check(side, sent == -ECONNRESET, "the peer is dead, but send says %d", sent);
}

static bool any_reset(const struct side *side)
{
	for (unsigned topic = 0; topic < TOPICS; topic++)
		if (atomic_load(&side->mine->topic_reset[topic]) || atomic_load(&side->theirs->topic_reset[topic]))
			return true;
	return false;
}

static bool ended_early(const struct side *side)
{
	for (unsigned i = 0; i < SIDES; i++)
		if (atomic_load(&side->journal->sides[i].channel_closed) ||
		    atomic_load(&side->journal->sides[i].killed))
			return true;
	return false;
}

static void check_statistics(struct side *side)
{
	struct beam_statistics s;

	require_int(beam_channel_statistics(side->channel, &s, sizeof s), 0);
	check_int(s.messages_sent, atomic_load(&side->mine->sent));
	check_int(s.bytes_sent, atomic_load(&side->mine->sent_bytes));
	check_int(s.attachments_sent, atomic_load(&side->mine->sent_attachments));
	check_int(s.messages_received, atomic_load(&side->mine->received));
	check_int(s.bytes_received, atomic_load(&side->mine->received_bytes));
	check_int(s.attachments_received, atomic_load(&side->mine->received_attachments));
	check_int(s.messages_lost, 0);
	check_int(s.attachments_lost, 0);
	check_int(s.messages_discarded, 0);
	check_int(s.messages_queued, 0);
}

static void side_run(struct journal *journal, unsigned index, int socket, pid_t other)
{
	struct side side = {journal, &journal->sides[index], &journal->sides[!index], index, NULL, {NULL}};
	struct beam_channel_options options = options_of(&journal->plan, index);
	beam_topic *probe = NULL;
	pthread_t loop = 0;

	require_int(beam_channel_from_fd(&side.channel, socket, &options), 0);
	if (options.loop)
		loop = thread_spawn(loop_run, &side);
	open_topics(&side);
	if (other)
		require_int(beam_topic_open(&probe, side.channel, "probe"), 0);
	atomic_store(&side.mine->opened, true);
	if (journal->plan.meet_first)
		wait_for_other(&side);
	work(&side);
	if (other) {
		int code = process_wait(other);
		side_check(&side, code == 0 || (code == 128 + SIGKILL && atomic_load(&side.theirs->killed)),
			   "side 1 ended with %d", code);
		if (code == 128 + SIGKILL)
			check_loss_is_told(&side, probe);
	}
	atomic_store(&side.mine->close_result, beam_channel_close(side.channel, beam_in_ms(stretch(10000))));
	if (!any_reset(&side) && !ended_early(&side) && !atomic_load(&journal->broken))
		check_statistics(&side);
	for (unsigned topic = 0; topic < TOPICS; topic++)
		beam_topic_unref(side.topics[topic]);
	beam_topic_unref(probe);
	if (options.loop)
		thread_wait(loop);
	check(beam_channel_unref(side.channel) == NULL);
}

/* ---- In one process, or in two ---- */

struct start {
	struct journal *journal;
	unsigned index;
	int pair[2];
};

static void *side_in_thread(void *argument)
{
	struct start *start = argument;

	side_run(start->journal, start->index, start->pair[start->index], 0);
	return NULL;
}

static void run_in_this_process(struct journal *journal)
{
	struct start starts[SIDES];
	struct fd_snapshot *before = malloc(sizeof *before);
	pthread_t threads[SIDES];
	int pair[2];

	require(before != NULL);
	fd_snapshot_take(before);
	require_int(beam_socket_pair(SOCK_STREAM, pair), 0);
	for (unsigned i = 0; i < SIDES; i++) {
		starts[i] = (struct start){journal, i, {pair[0], pair[1]}};
		threads[i] = thread_spawn(side_in_thread, &starts[i]);
	}
	for (unsigned i = 0; i < SIDES; i++)
		thread_wait(threads[i]);
	check_fds(before);
	free(before);
}

static int side_in_process(void *argument)
{
	struct start *start = argument;
	struct fd_snapshot *before = malloc(sizeof *before);
	pid_t other = 0;

	require(before != NULL);
	atomic_store(&start->journal->pids[start->index], getpid());
	if (start->index == 0) {
		fd_snapshot_take(before);
		require_int(beam_socket_pair(SOCK_STREAM, start->pair), 0);
		struct start second = {start->journal, 1, {start->pair[0], start->pair[1]}};
		other = process_spawn(side_in_process, &second);
		atomic_store(&start->journal->pids[1], other);
		close(start->pair[1]);
	} else {
		close(start->pair[0]);
		fd_snapshot_take(before);
	}
	side_run(start->journal, start->index, start->pair[start->index], other);
	if (start->index == 0)
		check_fds(before);
	free(before);
	leave_process();
}

void round_run(struct journal *journal)
{
	struct start start = {.journal = journal, .index = 0};

	if (journal->plan.two_processes)
		check_int(process_wait(process_spawn(side_in_process, &start)), 0);
	else
		run_in_this_process(journal);
}
