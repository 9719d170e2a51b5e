/* SPDX-License-Identifier: MIT */
/*
 * Dependents, which need input to be read at once: the descriptors of topics, channels, calls and
 * requests. Each counts once, from when it is first requested until its object is released. Also,
 * what the descriptors show.
 */
#include <beam/call.h>
#include <beam/event.h>
#include <channel/scene.h>

static unsigned dependents(void)
{
	unsigned result;

	pthread_mutex_lock(&channel->link.reader.baton.lock);
	result = channel->link.reader.baton.dependents;
	pthread_mutex_unlock(&channel->link.reader.baton.lock);
	return result;
}

static bool rooms_empty(void)
{
	bool result;

	pthread_mutex_lock(&channel->link.writer.lock);
	result = list_empty(&channel->link.writer.watchers);
	pthread_mutex_unlock(&channel->link.writer.lock);
	return result;
}

static void test_a_descriptor_depends_once_however_often_it_is_asked_for(void)
{
	beam_call *call = NULL;

	begin_settled(NULL);
	require_int(beam_call_begin(&call, topics[1], NULL, 0, NULL, 0, 0, soon()), 0);
	for (int i = 0; i < 2; i++) {
		check(beam_topic_receive_fd(topics[0]) >= 0);
		check(beam_topic_send_fd(topics[0]) >= 0);
		check(beam_channel_accept_fd(channel) >= 0);
		check(beam_call_receive_fd(call) >= 0);
		check_int(dependents(), 4);
	}
	beam_call_unref(call);
	check_int(dependents(), 3);
	end();
}

static void test_what_is_released_depends_no_more(void)
{
	begin_settled(NULL);
	check(beam_topic_receive_fd(topics[0]) >= 0);
	check(beam_topic_send_fd(topics[0]) >= 0);
	check(!rooms_empty());
	topics[0] = beam_topic_unref(topics[0]);
	check_int(dependents(), 0);
	check(rooms_empty());
	end();
}

static bool none_cancellable(void)
{
	bool result;

	pthread_mutex_lock(&channel->link.writer.lock);
	result = list_empty(&channel->cancellable);
	pthread_mutex_unlock(&channel->link.writer.lock);
	return result;
}

static beam_message *take_call(uint32_t id)
{
	beam_message *request = NULL;

	raw_frame(&out, RAW_DATA, 0, 0, 1, id, "call", 4);
	raw_peer_send(&peer, &out);
	require_int(beam_topic_receive(topics[0], &request, 0, soon()), 1);
	return request;
}

static void test_a_request_depends_until_its_message_is_freed(void)
{
	beam_message *request;

	begin_settled(NULL);
	request = take_call(1);
	check_int(dependents(), 0);
	for (int i = 0; i < 2; i++) {
		check(beam_message_cancelled_fd(request) >= 0);
		check(beam_message_reply_fd(request) >= 0);
		check_int(dependents(), 2);
	}
	check(!rooms_empty() && !none_cancellable());
	beam_message_free(request);
	check_int(dependents(), 0);
	check(rooms_empty() && none_cancellable());
	request = take_call(2);
	check(beam_message_cancelled_fd(request) >= 0);
	check_int(dependents(), 1);
	beam_message_free(request);
	check_int(dependents(), 0);
	end();
}

static void test_a_topic_that_ends_before_it_was_accepted_shows_no_more(void)
{
	int fd;

	begin_settled(NULL);
	fd = beam_channel_accept_fd(channel);
	raw_open(&out, 9, "new");
	raw_peer_send(&peer, &out);
	check_within(20000, is_readable(fd));
	raw_frame(&out, RAW_CLOSE, 0, 0, 9, 0, NULL, 0);
	raw_peer_send(&peer, &out);
	check_within(20000, !is_readable(fd));
	end();
}

static const struct test tests[] = {
    TEST(test_a_descriptor_depends_once_however_often_it_is_asked_for),
    TEST(test_what_is_released_depends_no_more),
    TEST(test_a_request_depends_until_its_message_is_freed),
    TEST(test_a_topic_that_ends_before_it_was_accepted_shows_no_more),
};

HARNESS_MAIN("channel/depend", tests)
