/* SPDX-License-Identifier: MIT */
/*
 * Who depends on input that is read at once: each descriptor of a topic, a channel or a call, once,
 * from when it is first asked for until its object is released. And what it shows to them.
 */
#include <beam/call.h>
#include <beam/event.h>
#include <channel/scene.h>

static unsigned dependents(void)
{
	unsigned result;

	pthread_mutex_lock(&channel->baton.lock);
	result = channel->baton.dependents;
	pthread_mutex_unlock(&channel->baton.lock);
	return result;
}

static bool rooms_empty(void)
{
	bool result;

	pthread_mutex_lock(&channel->tx_lock);
	result = list_empty(&channel->rooms);
	pthread_mutex_unlock(&channel->tx_lock);
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
    TEST(test_a_topic_that_ends_before_it_was_accepted_shows_no_more),
};

HARNESS_MAIN("channel/depend", tests)
