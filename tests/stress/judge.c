/* SPDX-License-Identifier: MIT */
/*
 * Checks what the threads have recorded against what the library promises:
 *
 *  - For each sender and topic, the received messages are a prefix of the accepted ones, without
 *    gaps, and each was received once.
 *  - All accepted messages were received, unless the receiver has reset the topic or closed the
 *    channel, or one of the two sides was killed.
 *  - A close succeeds if nothing prevents it.
 *
 * If a process is killed, the records are inexact. Its messages are recorded as accepted only after
 * the send has returned, and as received only after they have been checked. If several threads
 * receive, there may be gaps.
 */
#include "stress.h"

static unsigned bits_set(const struct stream *stream, uint64_t below)
{
	unsigned n = 0;

	for (uint64_t i = 0; i < STREAM_MAX; i++)
		n += i < below && (stream->seen[i / 64] >> i % 64 & 1);
	return n;
}

static void judge_stream(const struct journal *journal, unsigned from, unsigned sender, unsigned topic)
{
	const struct side_journal *side = &journal->sides[from], *other = &journal->sides[!from];
	const struct stream *stream = &side->streams[sender][topic];
	uint64_t accepted = stream->accepted, received = stream->received, started = stream->started;
	uint64_t most = side->killed ? started : accepted, gaps = 0;

	if (other->killed && !topic_is_solo(topic)) {
		/*
		 * Messages that a thread had received but not checked, or checked but not counted.
		 */
		gaps = (uint64_t)MANY * journal->plan.receivers[!from];
		received = bits_set(stream, STREAM_MAX);
	} else if (other->killed) {
		received = bits_set(stream, STREAM_MAX);
	}
	harness_check(received <= most, __FILE__, __LINE__, false, "side %u, sender %u, topic %u: %llu came of %llu",
		      from, sender, topic, (unsigned long long)received, (unsigned long long)most);
	uint64_t end = received + gaps < STREAM_MAX ? received + gaps : STREAM_MAX;
	harness_check(bits_set(stream, end) == received && bits_set(stream, STREAM_MAX) == received, __FILE__, __LINE__,
		      false, "side %u, sender %u, topic %u: the %llu that came are no prefix", from, sender, topic,
		      (unsigned long long)received);
	if (side->killed || other->killed || other->topic_reset[topic] || other->channel_closed)
		return;
	harness_check(received == accepted, __FILE__, __LINE__, false,
		      "side %u, sender %u, topic %u: only %llu came of %llu", from, sender, topic,
		      (unsigned long long)received, (unsigned long long)accepted);
}

/* If the other side has closed first, the result is -EPIPE. */
static void check_closed(int result, bool perhaps_second)
{
	if (result != -EPIPE || !perhaps_second)
		check_int(result, 0);
}

static void judge_closing(const struct journal *journal, unsigned index)
{
	const struct side_journal *side = &journal->sides[index], *other = &journal->sides[!index];

	if (side->killed)
		return;
	if (other->killed)
		check_int(side->close_result, -ECONNRESET);
	else
		check_closed(side->close_result, other->channel_closed || journal->plan.senders[!index] > 0);
	if (side->action_closed)
		check_closed(side->action_close_result, other->channel_closed);
}

void judge(const struct journal *journal)
{
	for (unsigned from = 0; from < SIDES; from++) {
		judge_closing(journal, from);
		for (unsigned sender = 0; sender < journal->plan.senders[from]; sender++)
			for (unsigned topic = 0; topic < TOPICS; topic++)
				judge_stream(journal, from, sender, topic);
	}
}
