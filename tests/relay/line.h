/* SPDX-License-Identifier: MIT */
/* Two channels in a line, and the messages that are moved along it. */
#ifndef RELAY_LINE_H
#define RELAY_LINE_H

#include <hostile/attack.h>

/*
 * A source, something in the middle, and a target: what is sent on source.topic[0] and forwarded
 * from source.topic[1] to target.topic[0] arrives at target.topic[1].
 */
struct line {
	struct ends source, target;
	beam_message *held;
};

static inline void line_open(struct line *line, const struct beam_channel_options *source,
			     const struct beam_channel_options *target)
{
	ends_open(&line->source, source);
	ends_open(&line->target, target);
	line->held = NULL;
}

static inline void line_close(struct line *line)
{
	beam_message_free(line->held);
	ends_close(&line->source);
	ends_close(&line->target);
}

static inline int move(struct line *line, size_t n, size_t *ret_n, beam_deadline deadline)
{
	return beam_topic_forward(line->source.topic[1], line->target.topic[0], &line->held, n, ret_n, 0, deadline);
}

/* Moves `n` messages, after which nothing is held. */
static inline void expect_moved(struct line *line, size_t n)
{
	size_t moved = 0;

	check_int(move(line, n, &moved, soon()), 1);
	check_int(moved, n);
	check(line->held == NULL);
}

static inline void send_numbers(beam_topic *topic, uint64_t from, uint64_t n)
{
	for (uint64_t i = from; i < from + n; i++)
		send_number(topic, i);
}

static inline void expect_numbers(beam_topic *topic, uint64_t from, uint64_t n)
{
	for (uint64_t i = from; i < from + n && !harness_failures(); i++)
		expect_number(topic, i);
}

enum { MANY = 10000, FILES = 7 };

#endif
