/* SPDX-License-Identifier: MIT */
/* The life of a listener: creation, handles, closing; and what can be queried. */
#include <base/level.h>
#include <base/options.h>
#include <channel/hook.h>
#include <listener/internal.h>
#include <socket/reaper.h>
#include <socket/socket.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* ---- Making ---------------------------------------------------------------------------------- */

static int take_options(struct beam_listener *listener, const struct beam_listener_options *given)
{
	const struct beam_listener_options defaults = BEAM_LISTENER_OPTIONS;
	struct beam_listener_options *options = &listener->options;
	int r = 0;

	*options = defaults;
	if (given)
		r = options_take(options, sizeof *options, given, offsetof(struct beam_listener_options, backlog));
	if (r == 0)
		r = channel_take_options(&listener->channel, options->channel);
	if (r < 0)
		return r;
	if (options->mode > 0777 || options->backlog < 1 || options->backlog > INT32_MAX || options->connections < 1 ||
	    options->connections_per_uid < 1 || options->refuse_fds > 1)
		return -EINVAL;
	options->channel = &listener->channel;
	if (options->refuse_fds)
		listener->channel.message_attachments = 0;
	return 0;
}

static void close_fds(struct beam_listener *listener)
{
	close_fd(listener->kick);
	close_fd(listener->reserve);
	close_fd(listener->epoll);
	listener->kick = listener->reserve = listener->epoll = -1;
}

static void destroy(struct beam_listener *listener)
{
	close_fds(listener);
	pthread_mutex_destroy(&listener->lock);
	condition_end(&listener->left);
	free(listener);
}

/* Makes a listener without a socket. */
static int listener_make(beam_listener **ret, const struct beam_listener_options *options)
{
	struct beam_listener *listener;
	int r = process_prepare();

	if (r < 0)
		return r;
	listener = sys_calloc(1, sizeof *listener);
	if (!listener)
		return -ENOMEM;
	listener->process = process_id();
	listener->fd = listener->epoll = listener->reserve = listener->kick = -1;
	listener->handles = 1;
	listener->memory = 1;
	list_init(&listener->of_process);
	list_init(&listener->uids);
	place_none(&listener->place);
	pthread_mutex_init(&listener->lock, NULL);
	condition_init(&listener->left);
	r = take_options(listener, options);
	if (r == 0)
		listener->kick = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r == 0 && listener->kick < 0)
		r = -errno;
	if (r == 0)
		listener->reserve = sys_eventfd(0, EFD_CLOEXEC);
	if (r == 0 && listener->reserve < 0)
		r = -errno;
	if (r < 0) {
		destroy(listener);
		return r;
	}
	*ret = listener;
	return 0;
}

/*
 * If the socket were blocking, a thread would block in the kernel when another one has accepted the
 * connection first.
 */
static int set_nonblocking(int fd)
{
	int flags = sys_fcntl(fd, F_GETFL, 0);

	return flags < 0 || sys_fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/*
 * Connections have inherited this option even before they are accepted. If the kernel does not know
 * the option, only the limits of the channels apply.
 */
static void refuse_fds(int fd)
{
	int off = 0;

	sys_setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof off);
}

/* Begins to listen. From here on clients can connect. */
static int listener_begin(struct beam_listener *listener, int fd)
{
	if (listener->options.refuse_fds)
		refuse_fds(fd);
	if (sys_listen(fd, (int)listener->options.backlog) < 0)
		return -errno;
	listener->fd = fd;
	listener_process_add(listener);
	return 0;
}

int beam_listener_new(beam_listener **ret, const char *address, const struct beam_listener_options *options)
{
	WITHOUT_CANCELLATION;
	struct beam_listener *listener;
	int fd, r;

	if (!ret || !address)
		return -EINVAL;
	r = listener_make(&listener, options);
	if (r < 0)
		return r;
	fd = place_bind(&listener->place, address, (mode_t)listener->options.mode);
	r = fd < 0 ? fd : listener_begin(listener, fd);
	if (r < 0) {
		place_leave(&listener->place);
		close_fd(fd);
		destroy(listener);
		return r;
	}
	*ret = listener;
	return 0;
}

int beam_listener_from_fd(beam_listener **ret, int fd, const struct beam_listener_options *options)
{
	WITHOUT_CANCELLATION;
	struct beam_listener *listener;
	int type, r;

	if (!ret)
		return -EINVAL;
	type = socket_type(fd);
	if (type != SOCK_STREAM)
		return type < 0 ? type : -EPROTOTYPE;
	r = listener_make(&listener, options);
	if (r < 0)
		return r;
	r = socket_prepare(fd, type);
	if (r == 0)
		r = set_nonblocking(fd);
	if (r == 0)
		r = listener_begin(listener, fd);
	if (r < 0) {
		destroy(listener);
		return r;
	}
	*ret = listener;
	return 0;
}

/* ---- Holding --------------------------------------------------------------------------------- */

void listener_memory_unref(struct beam_listener *listener)
{
	bool last;

	pthread_mutex_lock(&listener->lock);
	last = --listener->memory == 0;
	pthread_mutex_unlock(&listener->lock);
	if (last)
		destroy(listener);
}

beam_listener *beam_listener_ref(beam_listener *listener)
{
	if (listener && !listener_foreign(listener)) {
		pthread_mutex_lock(&listener->lock);
		listener->handles++;
		pthread_mutex_unlock(&listener->lock);
	}
	return listener;
}

beam_listener *beam_listener_unref(beam_listener *listener)
{
	WITHOUT_CANCELLATION;
	bool last;

	if (!listener || listener_foreign(listener))
		return NULL;
	pthread_mutex_lock(&listener->lock);
	last = --listener->handles == 0;
	pthread_mutex_unlock(&listener->lock);
	if (last) {
		listener_close(listener, beam_in_ms(CLOSE_MS));
		listener_process_remove(listener);
		close_fds(listener);
		listener_memory_unref(listener);
	}
	return NULL;
}

/* ---- Closing --------------------------------------------------------------------------------- */

void listener_close(struct beam_listener *listener, beam_deadline deadline)
{
	struct place place;
	int fd;

	pthread_mutex_lock(&listener->lock);
	if (!listener->closed)
		event_set(listener->kick);
	listener->closed = true;
	/* These threads leave at once, because none of them runs the user's code. */
	while (listener->users > 0)
		condition_wait(&listener->left, &listener->lock, BEAM_FOREVER);
	fd = listener->fd;
	listener->fd = -1;
	place = listener->place;
	place_none(&listener->place);
	/*
	 * If another process has a copy of the socket, closing it would not remove it from the
	 * epoll set.
	 */
	if (fd >= 0 && listener->epoll >= 0)
		sys_epoll_ctl(listener->epoll, EPOLL_CTL_DEL, fd, NULL);
	pthread_mutex_unlock(&listener->lock);
	if (fd < 0)
		return;
	place_leave(&place);
	/* Clients in its backlog may have sent something that makes the close block. */
	reaper_close(&fd, 1);
	reaper_drain_prompt(deadline);
}

int beam_listener_close(beam_listener *listener)
{
	WITHOUT_CANCELLATION;

	if (!listener)
		return -EINVAL;
	if (listener_foreign(listener))
		return -ECHILD;
	listener_close(listener, beam_in_ms(CLOSE_MS));
	return 0;
}

/* ---- Asking ---------------------------------------------------------------------------------- */

/*
 * Watches both things that make the descriptor readable: a client that waits, and the close of the
 * listener.
 */
static int listener_watch(int epoll, int kick, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	if (sys_epoll_ctl(epoll, EPOLL_CTL_ADD, kick, &event) < 0)
		return -errno;
	return fd >= 0 && sys_epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int make_epoll(struct beam_listener *listener)
{
	int r, epoll = sys_epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0)
		return -errno;
	r = listener_watch(epoll, listener->kick, listener->fd);
	if (r < 0) {
		close(epoll);
		return r;
	}
	listener->epoll = epoll;
	return 0;
}

int beam_listener_accept_fd(beam_listener *listener)
{
	WITHOUT_CANCELLATION;
	int r;

	if (!listener)
		return -EINVAL;
	if (listener_foreign(listener))
		return -ECHILD;
	pthread_mutex_lock(&listener->lock);
	r = listener->epoll < 0 ? make_epoll(listener) : 0;
	if (r == 0)
		r = listener->epoll;
	pthread_mutex_unlock(&listener->lock);
	return r;
}

int beam_listener_statistics(beam_listener *listener, struct beam_listener_counters *ret, size_t size)
{
	struct beam_listener_counters now;

	if (!listener || !ret)
		return -EINVAL;
	if (listener_foreign(listener))
		return -ECHILD;
	pthread_mutex_lock(&listener->lock);
	now = listener->statistics;
	pthread_mutex_unlock(&listener->lock);
	options_give(ret, size, &now, sizeof now);
	return 0;
}
