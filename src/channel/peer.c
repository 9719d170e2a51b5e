/* SPDX-License-Identifier: MIT */
/*
 * The identity of the peer. The credentials are stored when the channel is made. The rest is
 * longer, and is read from the kernel when it is asked for, so that an idle channel does not keep
 * it. The socket exists until the channel is finished, which the writer's lock guards. None of
 * these system calls blocks.
 */
#include <channel/internal.h>
#include <socket/peer.h>

int beam_channel_peer(beam_channel *channel, struct beam_peer *ret)
{
	WITHOUT_CANCELLATION;

	if (!channel || !ret)
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	if (channel->credentials_error)
		return channel->credentials_error;
	*ret = (struct beam_peer){.pid = channel->credentials.pid,
				  .uid = channel->credentials.uid,
				  .gid = channel->credentials.gid,
				  .has_pid = channel->credentials.pid != SOCKET_NO_PID};
	return 0;
}

enum question { GROUPS, PIDFD, LABEL };

static int channel_answer(int fd, enum question question, void *ret, size_t size)
{
	switch (question) {
	case GROUPS: return socket_peer_groups(fd, ret, size);
	case PIDFD: return socket_peer_pidfd(fd);
	default: return socket_peer_label(fd, ret, size);
	}
}

static int channel_ask(beam_channel *channel, enum question question, void *ret, size_t size)
{
	WITHOUT_CANCELLATION;
	int r;

	if (!channel || (size > 0 && !ret))
		return -EINVAL;
	if (channel_foreign(channel))
		return -ECHILD;
	if (channel->credentials_error)
		return channel->credentials_error;
	pthread_mutex_lock(&channel->link.writer.lock);
	r = channel->link.writer.finished ? -ENODATA
					  : channel_answer(transport_fd(&channel->link.transport), question, ret, size);
	pthread_mutex_unlock(&channel->link.writer.lock);
	return r;
}

int beam_channel_peer_groups(beam_channel *channel, gid_t *ret, size_t size)
{
	return channel_ask(channel, GROUPS, ret, size);
}

int beam_channel_peer_pidfd(beam_channel *channel)
{
	return channel_ask(channel, PIDFD, NULL, 0);
}

int beam_channel_peer_label(beam_channel *channel, char *ret, size_t size)
{
	return channel_ask(channel, LABEL, ret, size);
}
