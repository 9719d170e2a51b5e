/* SPDX-License-Identifier: MIT */
/*
 * Accepting. A connection is taken from the socket, and checked against the limits and the policy.
 * It becomes a channel, or it is closed and counted, and the next one is taken. No peer can end
 * this, nor keep it busy: if no descriptor is free, a connection is taken by means of the reserve,
 * and if even that fails there is a pause.
 */
#include <channel/hook.h>
#include <listener/internal.h>
#include <socket/peer.h>
#include <socket/reaper.h>
#include <socket/socket.h>

enum { PAUSE_MS = 10, LABEL_MAX = 1024 };

/* ---- Refusing -------------------------------------------------------------------------------- */

static void listener_count(struct beam_listener *listener, uint64_t *counter)
{
	pthread_mutex_lock(&listener->lock);
	++*counter;
	pthread_mutex_unlock(&listener->lock);
}

static void refuse(struct beam_listener *listener, int fd, uint64_t *counter)
{
	listener_count(listener, counter);
	/* What the peer has already sent can make the close block. */
	reaper_close(&fd, 1);
}

/* ---- Taking from the socket ------------------------------------------------------------------ */

/* A thread is about to use the socket. Returns false if the listener is closed. */
static bool listener_enter(struct beam_listener *listener)
{
	bool open;

	pthread_mutex_lock(&listener->lock);
	open = !listener->closed;
	if (open)
		listener->users++;
	pthread_mutex_unlock(&listener->lock);
	return open;
}

static void listener_leave(struct beam_listener *listener)
{
	pthread_mutex_lock(&listener->lock);
	if (--listener->users == 0)
		pthread_cond_broadcast(&listener->left);
	pthread_mutex_unlock(&listener->lock);
}

/*
 * The reserve is a file of its own, so that it also helps if the system's table is full. The lock
 * is held.
 */
static void refill_reserve(struct beam_listener *listener)
{
	if (listener->reserve < 0)
		listener->reserve = sys_eventfd(0, EFD_CLOEXEC);
}

static int accept_one(const struct beam_listener *listener)
{
	int fd = sys_accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC), error = errno;

	if (fd >= 0)
		return fd;
	/*
	 * For a non-blocking socket the kernel also reports EAGAIN if the socket was shut down, so
	 * that nobody can ever connect. Then it stays readable.
	 */
	return error == EAGAIN && socket_hung_up(listener->fd) ? -EINVAL : -error;
}

/*
 * Called if no descriptor is free, which the kernel reports whether or not a client waits to be
 * accepted. If one waits, it is accepted by means of the reserve, and disconnected. Returns 0 if
 * that was done, otherwise -errno. -EMFILE can mean that another thread uses the reserve.
 */
static int shed(struct beam_listener *listener)
{
	int fd = -EMFILE, reserve;

	pthread_mutex_lock(&listener->lock);
	refill_reserve(listener);
	reserve = listener->reserve;
	if (reserve >= 0) {
		listener->reserve = -1;
		close(reserve);
		fd = accept_one(listener);
	}
	if (fd < 0)
		refill_reserve(listener);
	pthread_mutex_unlock(&listener->lock);
	if (fd < 0)
		return fd;
	refuse(listener, fd, &listener->statistics.over_descriptors);
	reaper_drain_prompt(beam_in_ms(PAUSE_MS));
	pthread_mutex_lock(&listener->lock);
	refill_reserve(listener);
	pthread_mutex_unlock(&listener->lock);
	return 0;
}

/*
 * Waits until a client may be there to be accepted. Returns 1, 0 if the listener is closed, or
 * deadline_error().
 */
static int wait_for_someone(struct beam_listener *listener, int reason, beam_deadline deadline)
{
	int r;

	if (reason == -EAGAIN)
		return socket_wait_more(listener->fd, POLLIN, listener->kick, deadline);
	/* No event announces that there are descriptors or memory again. */
	r = socket_wait(listener->kick, POLLIN, -1, beam_in_ms(PAUSE_MS));
	if (r != -ETIMEDOUT)
		return r < 0 ? r : 0;
	return deadline_passed(deadline) ? deadline_error(deadline) : 1;
}

static bool passes(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

enum taken { TAKEN_NONE = 0, TAKEN_ONE = 1, TAKEN_SHED = 2 };

/* Returns one of enum taken, or -errno. TAKEN_NONE means that the listener is closed. */
static int listener_take(struct beam_listener *listener, int *ret, beam_deadline deadline)
{
	int fd, r = TAKEN_ONE;

	if (!listener_enter(listener))
		return TAKEN_NONE;
	while (r == TAKEN_ONE) {
		fd = accept_one(listener);
		if (fd >= 0) {
			*ret = fd;
			break;
		}
		if (fd == -EMFILE || fd == -ENFILE)
			fd = shed(listener);
		if (fd == 0)
			r = TAKEN_SHED;
		else if (fd == -EAGAIN || passes(fd))
			r = wait_for_someone(listener, fd, deadline);
		else if (fd != -EINTR && fd != -ECONNABORTED)
			r = fd;
	}
	listener_leave(listener);
	return r;
}

/* ---- Counting by user ------------------------------------------------------------------------ */

static struct uid_count *find_uid(struct beam_listener *listener, uid_t uid)
{
	for (struct list *link = listener->uids.next; link != &listener->uids; link = link->next) {
		struct uid_count *found = list_entry(link, struct uid_count, link);

		if (found->uid == uid)
			return found;
	}
	return NULL;
}

static struct uid_count *add_uid(struct beam_listener *listener, uid_t uid)
{
	struct uid_count *added = sys_calloc(1, sizeof *added);

	if (!added)
		return NULL;
	added->listener = listener;
	added->uid = uid;
	list_append(&listener->uids, &added->link);
	return added;
}

/*
 * Counts one more connection of this user. Returns 0, -EUSERS if that would be too many, or
 * -ENOMEM.
 */
static int count_in(struct beam_listener *listener, uid_t uid, struct uid_count **ret)
{
	const struct beam_listener_options *options = &listener->options;
	struct uid_count *of_uid;
	int r = 0;

	pthread_mutex_lock(&listener->lock);
	of_uid = find_uid(listener, uid);
	if (listener->statistics.connections >= options->connections ||
	    (of_uid && of_uid->connections >= options->connections_per_uid))
		r = -EUSERS;
	else if (!of_uid && !(of_uid = add_uid(listener, uid)))
		r = -ENOMEM;
	if (r == 0) {
		of_uid->connections++;
		listener->statistics.connections++;
		listener->memory++;
		*ret = of_uid;
	}
	pthread_mutex_unlock(&listener->lock);
	return r;
}

/* Counts one connection less: a channel has ended, or could not be made. */
static void count_out(void *argument)
{
	struct uid_count *of_uid = argument;
	struct beam_listener *listener = of_uid->listener;

	pthread_mutex_lock(&listener->lock);
	listener->statistics.connections--;
	if (--of_uid->connections == 0) {
		list_remove(&of_uid->link);
		free(of_uid);
	}
	pthread_mutex_unlock(&listener->lock);
	listener_memory_unref(listener);
}

/* ---- Judging --------------------------------------------------------------------------------- */

/*
 * Returns how many supplementary groups there are, and the groups in memory that the caller frees.
 */
static int find_groups(int fd, gid_t **ret)
{
	int n = socket_peer_groups(fd, NULL, 0);

	if (n <= 0)
		return n == -ENODATA ? 0 : n;
	*ret = sys_malloc((size_t)n * sizeof **ret);
	return *ret ? socket_peer_groups(fd, *ret, (size_t)n) : -ENOMEM;
}

/*
 * Finds out who a client is. What the kernel does not know is left out. Other failures are
 * returned, so that no client is judged by incomplete information.
 */
static int identify(int fd, const struct ucred *peer, struct beam_identity *ret, gid_t **groups, char label[LABEL_MAX])
{
	int n;

	*ret = (struct beam_identity){
	    .pid = peer->pid, .uid = peer->uid, .gid = peer->gid, .pidfd = -1, .has_pid = peer->pid != SOCKET_NO_PID};
	n = find_groups(fd, groups);
	if (n < 0)
		return n;
	ret->groups = *groups;
	ret->n_groups = (size_t)n;
	n = socket_peer_label(fd, label, LABEL_MAX);
	if (n < 0 && n != -ENODATA)
		return n;
	ret->label = n < 0 ? NULL : label;
	n = socket_peer_pidfd(fd);
	if (n < 0 && n != -ENODATA)
		return n;
	ret->pidfd = n < 0 ? -1 : n;
	return 0;
}

/* Asks the policy. Returns 0, or a negative errno, and which counter counts that refusal. */
static int listener_judge(struct beam_listener *listener, int fd, const struct ucred *peer, uint64_t **ret_counter)
{
	const struct beam_listener_options *options = &listener->options;
	struct beam_identity identity;
	char label[LABEL_MAX];
	gid_t *groups = NULL;
	int r;

	if (!options->accept)
		return 0;
	r = identify(fd, peer, &identity, &groups, label);
	if (r == 0) {
		*ret_counter = &listener->statistics.refused;
		r = options->accept(options->context, &identity);
	}
	if (identity.pidfd >= 0)
		close(identity.pidfd);
	free(groups);
	return r < 0 ? r : 0;
}

/* Makes a connection a channel. Returns 1, or 0 if the connection was closed and counted. */
static int admit(struct beam_listener *listener, int fd, beam_channel **ret)
{
	struct beam_listener_counters *statistics = &listener->statistics;
	struct uid_count *of_uid = NULL;
	uint64_t *counter = &statistics->failed;
	struct ucred peer;
	int r = socket_credentials(fd, &peer);

	if (r == 0)
		r = count_in(listener, peer.uid, &of_uid);
	if (r == -EUSERS)
		counter = &statistics->over_limit;
	if (r == 0)
		r = listener_judge(listener, fd, &peer, &counter);
	if (r == 0) {
		counter = &statistics->failed;
		r = channel_new_with_hook(ret, fd, &listener->channel, (struct channel_hook){count_out, of_uid});
	}
	if (r < 0) {
		refuse(listener, fd, counter);
		if (of_uid)
			count_out(of_uid);
		return 0;
	}
	listener_count(listener, &statistics->accepted);
	return 1;
}

int beam_listener_accept(beam_listener *listener, beam_channel **ret, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	int fd = -1, r;

	if (!listener || !ret)
		return -EINVAL;
	if (listener_foreign(listener))
		return -ECHILD;
	for (;;) {
		r = listener_take(listener, &fd, deadline);
		if (r == TAKEN_ONE && admit(listener, fd, ret))
			return 1;
		if (r <= 0)
			return r;
		/*
		 * Even if one client after the other is refused, the function ends at its deadline.
		 */
		if (deadline_passed(deadline))
			return deadline_error(deadline);
	}
}
