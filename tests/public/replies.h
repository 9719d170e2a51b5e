/* SPDX-License-Identifier: MIT */
/* Calls on any topic: functions that call, receive, reply and check the results. */
#ifndef PUBLIC_REPLIES_H
#define PUBLIC_REPLIES_H

#include <public/ends.h>

enum { CODE = BEAM_FAILURE_APPLICATION + 7 };

static inline beam_call *call_on_topic(beam_topic *topic, const void *data, size_t size)
{
	struct iovec iov = {(void *)(uintptr_t)data, size};
	beam_call *call = NULL;

	require_int(beam_call_begin(&call, topic, &iov, 1, NULL, 0, 0, soon()), 0);
	return call;
}

static inline beam_message *take_request_of(beam_topic *topic)
{
	beam_message *request = NULL;

	require_int(beam_topic_receive(topic, &request, 0, soon()), 1);
	check(beam_message_is_call(request));
	return request;
}

static inline void reply_text(beam_message *request, const char *text, unsigned flags)
{
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};

	check_int(beam_message_replyv(request, &iov, 1, NULL, 0, flags, soon()), 0);
}

static inline void expect_reply(beam_call *call, const char *text)
{
	beam_message *reply = NULL;

	if (!check_int(beam_call_receive(call, &reply, 0, soon()), 1))
		return;
	check(!beam_message_is_call(reply));
	if (check_int(beam_message_size(reply), strlen(text)))
		check_bytes(beam_message_data(reply), text, strlen(text));
	beam_message_free(reply);
}

static inline void expect_end(beam_call *call, int result)
{
	beam_message *reply = NULL;

	check_int(beam_call_receive(call, &reply, 0, soon()), result);
	check(reply == NULL);
}

static inline void expect_failed(beam_call *call, uint32_t code, const void *text, size_t n)
{
	const void *data = NULL;
	size_t size = SIZE_MAX;
	uint32_t told = 0;

	expect_end(call, -EREMOTEIO);
	check_int(beam_call_failure(call, NULL, NULL, NULL), 0);
	check_int(beam_call_failure(call, &told, &data, &size), 0);
	check_int(told, code);
	if (check_int(size, n))
		check_bytes(data, text, n);
}

#endif
