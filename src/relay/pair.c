/* SPDX-License-Identifier: MIT */
/*
 * Channels whose other end is sent in a message. Each function does everything that can fail before
 * it gives anything away, so that a failure changes nothing.
 */
#include <base/thread.h>
#include <beam/core.h>
#include <beam/pair.h>
#include <beam/topic.h>
#include <errno.h>
#include <relay/pair.h>
#include <unistd.h>

int pair_make(beam_channel **ret, int *ret_fd, const struct beam_channel_options *options)
{
	int fds[2], r = beam_socket_pair(SOCK_STREAM, fds);

	if (r < 0)
		return r;
	r = beam_channel_from_fd(ret, fds[0], options);
	if (r < 0) {
		close(fds[0]);
		close(fds[1]);
		return r;
	}
	*ret_fd = fds[1];
	return 0;
}

int pair_give_up(beam_channel *channel, int fd, int error)
{
	close(fd);
	beam_channel_unref(channel);
	return error;
}

int beam_channel_pair(beam_channel **ret_a, beam_channel **ret_b, const struct beam_channel_options *options)
{
	WITHOUT_CANCELLATION;
	beam_channel *a, *b;
	int fd, r;

	if (!ret_a || !ret_b)
		return -EINVAL;
	r = pair_make(&a, &fd, options);
	if (r < 0)
		return r;
	r = beam_channel_from_fd(&b, fd, options);
	if (r < 0)
		return pair_give_up(a, fd, r);
	*ret_a = a;
	*ret_b = b;
	return 0;
}

int beam_message_add_channel(beam_message *message, beam_channel **ret, const struct beam_channel_options *options)
{
	WITHOUT_CANCELLATION;
	beam_channel *channel;
	int fd, r;

	if (!message || !ret)
		return -EINVAL;
	r = pair_make(&channel, &fd, options);
	if (r < 0)
		return r;
	r = beam_message_give_fd(message, fd);
	if (r < 0)
		return pair_give_up(channel, fd, r);
	*ret = channel;
	return 0;
}

int beam_message_take_channel(beam_message *message, size_t index, beam_channel **ret,
			      const struct beam_channel_options *options)
{
	WITHOUT_CANCELLATION;
	int fd = beam_message_peek_fd(message, index), r;

	if (fd < 0)
		return fd;
	r = beam_channel_from_fd(ret, fd, options);
	if (r < 0)
		return r;
	/* The descriptor belongs to the channel, so the message only forgets it. */
	r = beam_message_take_fd(message, index);
	return r < 0 ? r : 0;
}

int beam_topic_send_channel(beam_topic *topic, const void *data, size_t size, beam_channel **ret,
			    const struct beam_channel_options *options, unsigned flags, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct iovec iov = {(void *)(uintptr_t)data, size};
	beam_channel *channel;
	int fd, r;

	if (!topic || !ret || flags)
		return -EINVAL;
	r = pair_make(&channel, &fd, options);
	if (r < 0)
		return r;
	r = beam_topic_sendv(topic, &iov, 1, &fd, 1, BEAM_SEND_GIVE_FDS, deadline);
	if (r < 0)
		return pair_give_up(channel, fd, r);
	*ret = channel;
	return 0;
}
