/* SPDX-License-Identifier: MIT */
/* Calls on one channel. The first end calls on its topic, and the second one answers. */
#ifndef PUBLIC_CALLS_H
#define PUBLIC_CALLS_H

#include <public/replies.h>

static struct ends ends;

static inline beam_call *call_text(const char *text)
{
	return call_on_topic(ends.topic[0], text, strlen(text));
}

static inline beam_message *take_request(void)
{
	return take_request_of(ends.topic[1]);
}

static inline void expect_failure(beam_call *call, uint32_t code, const char *text)
{
	expect_failed(call, code, text, strlen(text));
}

#endif
