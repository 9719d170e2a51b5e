/* SPDX-License-Identifier: MIT */
/*
 * A selector is an epoll instance over the descriptors by which its members show their state. The
 * kernel keeps track of what is ready, wakes threads that wait, and reports members in turn: it
 * moves a level-triggered one that was reported to the end of its list.
 *
 * Members are found by descriptor number. A thread may look up a member that was reported to it
 * after the member was removed and its number was given to another. A generation tells the two
 * apart.
 *
 * No handle of a message is held, because messages have none. When a message is freed its
 * descriptors are closed, and so the kernel removes them here. If a forked child still has copies,
 * these are not readable. The slot is left as it is until the number is used again.
 */
#include <base/clock.h>
#include <base/sys.h>
#include <base/thread.h>
#include <beam/call.h>
#include <beam/event.h>
#include <beam/listener.h>
#include <beam/select.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

/* The most events that are taken from the kernel at once, and the smallest number of slots. */
enum { EVENTS = 64, SLOTS_MIN = 16 };

/*
 * What a listener is internally, to tell it from a channel. It is reported as BEAM_SELECT_ACCEPT.
 */
enum { MEMBER_LISTENER = 1 << 30 };

struct slot {
	/*
	 * What the member is, or 0 if there is none; and its topic, channel, listener or call, of
	 * which a handle is held. `object` is NULL for a message and for a plain descriptor.
	 */
	unsigned what;
	uint32_t generation;
	void *object, *tag;
};

struct beam_select {
	uint32_t process;
	int epoll;
	pthread_mutex_t lock;
	unsigned handles;
	struct slot *slots; /* by descriptor */
	size_t n_slots;
};

static int selector_check(const struct beam_select *select)
{
	return !select ? -EINVAL : select->process != process_id() ? -ECHILD : 0;
}

static void *hold(unsigned what, void *object)
{
	if (what == BEAM_SELECT_ACCEPT)
		return beam_channel_ref(object);
	if (what == MEMBER_LISTENER)
		return beam_listener_ref(object);
	if (what == BEAM_SELECT_REPLY)
		return beam_call_ref(object);
	return what == BEAM_SELECT_FD ? NULL : beam_topic_ref(object);
}

static void release(const struct slot *slot)
{
	if (slot->what == BEAM_SELECT_ACCEPT)
		beam_channel_unref(slot->object);
	else if (slot->what == MEMBER_LISTENER)
		beam_listener_unref(slot->object);
	else if (slot->what == BEAM_SELECT_REPLY)
		beam_call_unref(slot->object);
	else if (slot->what & (BEAM_SELECT_RECEIVE | BEAM_SELECT_SEND))
		beam_topic_unref(slot->object);
}

/* ---- Handles --------------------------------------------------------------------------------- */

int beam_select_new(beam_select **ret)
{
	struct beam_select *select;
	int r;

	if (!ret)
		return -EINVAL;
	r = process_prepare();
	if (r < 0)
		return r;
	select = sys_calloc(1, sizeof *select);
	if (!select)
		return -ENOMEM;
	select->epoll = sys_epoll_create1(EPOLL_CLOEXEC);
	if (select->epoll < 0) {
		r = -errno;
		free(select);
		return r;
	}
	select->process = process_id();
	select->handles = 1;
	pthread_mutex_init(&select->lock, NULL);
	*ret = select;
	return 0;
}

beam_select *beam_select_ref(beam_select *select)
{
	if (selector_check(select) == 0) {
		pthread_mutex_lock(&select->lock);
		select->handles++;
		pthread_mutex_unlock(&select->lock);
	}
	return select;
}

beam_select *beam_select_unref(beam_select *select)
{
	WITHOUT_CANCELLATION;
	bool last;

	if (selector_check(select) < 0)
		return NULL;
	pthread_mutex_lock(&select->lock);
	last = --select->handles == 0;
	pthread_mutex_unlock(&select->lock);
	if (!last)
		return NULL;
	close(select->epoll);
	for (size_t fd = 0; fd < select->n_slots; fd++)
		release(&select->slots[fd]);
	pthread_mutex_destroy(&select->lock);
	free(select->slots);
	free(select);
	return NULL;
}

/* ---- Members --------------------------------------------------------------------------------- */

/* Makes room for a descriptor among the slots. The lock is held, as below. */
static int reserve(struct beam_select *select, int fd)
{
	size_t n = select->n_slots ? select->n_slots : SLOTS_MIN;
	struct slot *slots;

	if ((size_t)fd < select->n_slots)
		return 0;
	while (n <= (size_t)fd)
		n *= 2;
	slots = sys_realloc(select->slots, n * sizeof *slots);
	if (!slots)
		return -ENOMEM;
	memset(slots + select->n_slots, 0, (n - select->n_slots) * sizeof *slots);
	select->slots = slots;
	select->n_slots = n;
	return 0;
}

static int add_locked(struct beam_select *select, int fd, uint32_t events, const struct slot *member)
{
	struct epoll_event event = {.events = events};
	struct slot *slot;
	int r = reserve(select, fd);

	if (r < 0)
		return r;
	slot = &select->slots[fd];
	event.data.u64 = (uint64_t)(slot->generation + 1) << 32 | (uint32_t)fd;
	/*
	 * A descriptor that was closed without being removed is no longer a member, whatever the
	 * slot says.
	 */
	if (sys_epoll_ctl(select->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		return -errno;
	*slot = (struct slot){.what = member->what,
			      .generation = slot->generation + 1,
			      .object = hold(member->what, member->object),
			      .tag = member->tag};
	return 0;
}

/* `fd` is the descriptor by which the member shows its state, or a negative errno. */
static int selector_add(struct beam_select *select, int fd, uint32_t events, struct slot member)
{
	int r;

	if (fd < 0)
		return fd;
	pthread_mutex_lock(&select->lock);
	r = add_locked(select, fd, events, &member);
	pthread_mutex_unlock(&select->lock);
	return r;
}

static int remove_fd(struct beam_select *select, int fd, unsigned what)
{
	struct slot removed = {0};

	if (fd < 0)
		return fd;
	pthread_mutex_lock(&select->lock);
	if ((size_t)fd < select->n_slots && select->slots[fd].what == what) {
		removed = select->slots[fd];
		select->slots[fd] = (struct slot){.generation = removed.generation};
		/*
		 * It fails only if the descriptor was closed, which removed it already. If the
		 * number belongs to another descriptor now (ENOENT), that one is not a member.
		 */
		if (sys_epoll_ctl(select->epoll, EPOLL_CTL_DEL, fd, &(struct epoll_event){0}) < 0 && errno == ENOENT)
			removed = (struct slot){0};
	}
	pthread_mutex_unlock(&select->lock);
	release(&removed);
	return removed.what ? 0 : -ENOENT;
}

/* Whether `what` contains something, and nothing but `of`. */
static bool some_of(unsigned what, unsigned of)
{
	return what && !(what & ~of);
}

/*
 * The two descriptors by which an object shows its state. If one was not asked for, its member's
 * `what` is 0.
 */
struct shown {
	int fd[2];
	struct slot member[2];
};

static struct shown shown_of_topic(beam_topic *topic, unsigned what, void *tag)
{
	unsigned receive = what & BEAM_SELECT_RECEIVE, send = what & BEAM_SELECT_SEND;

	return (struct shown){
	    {receive ? beam_topic_receive_fd(topic) : -1, send ? beam_topic_send_fd(topic) : -1},
	    {{.what = receive, .object = topic, .tag = tag}, {.what = send, .object = topic, .tag = tag}},
	};
}

static struct shown shown_of_message(beam_message *request, unsigned what, void *tag)
{
	unsigned cancelled = what & BEAM_SELECT_CANCELLED, send = what & BEAM_SELECT_SEND;

	return (struct shown){
	    {cancelled ? beam_message_cancelled_fd(request) : -1, send ? beam_message_reply_fd(request) : -1},
	    {{.what = cancelled, .tag = tag}, {.what = send, .tag = tag}},
	};
}

/* Adds all that was asked for, or nothing. */
static int add_shown(struct beam_select *select, const struct shown *shown)
{
	const struct slot *first = &shown->member[0], *second = &shown->member[1];
	int r = first->what ? selector_add(select, shown->fd[0], EPOLLIN, *first) : 0;

	if (r < 0 || !second->what)
		return r;
	r = selector_add(select, shown->fd[1], EPOLLIN, *second);
	if (r < 0 && first->what)
		remove_fd(select, shown->fd[0], first->what);
	return r;
}

static int remove_shown(struct beam_select *select, const struct shown *shown)
{
	int result = 0;

	for (int i = 1; i >= 0; i--) {
		int r = shown->member[i].what ? remove_fd(select, shown->fd[i], shown->member[i].what) : 0;

		if (r < 0)
			result = r;
	}
	return result;
}

int beam_select_add_topic(beam_select *select, beam_topic *topic, unsigned what, void *tag)
{
	WITHOUT_CANCELLATION;
	struct shown shown;
	int r = selector_check(select);

	if (r < 0 || !topic || !some_of(what, BEAM_SELECT_RECEIVE | BEAM_SELECT_SEND))
		return r < 0 ? r : -EINVAL;
	shown = shown_of_topic(topic, what, tag);
	return add_shown(select, &shown);
}

int beam_select_add_message(beam_select *select, beam_message *request, unsigned what, void *tag)
{
	WITHOUT_CANCELLATION;
	struct shown shown;
	int r = selector_check(select);

	if (r < 0 || !some_of(what, BEAM_SELECT_CANCELLED | BEAM_SELECT_SEND))
		return r < 0 ? r : -EINVAL;
	shown = shown_of_message(request, what, tag);
	return add_shown(select, &shown);
}

int beam_select_add_channel(beam_select *select, beam_channel *channel, void *tag)
{
	WITHOUT_CANCELLATION;
	int r = selector_check(select);

	if (r < 0 || !channel)
		return r < 0 ? r : -EINVAL;
	return selector_add(select, beam_channel_accept_fd(channel), EPOLLIN,
			    (struct slot){.what = BEAM_SELECT_ACCEPT, .object = channel, .tag = tag});
}

int beam_select_add_listener(beam_select *select, beam_listener *listener, void *tag)
{
	WITHOUT_CANCELLATION;
	int r = selector_check(select);

	if (r < 0 || !listener)
		return r < 0 ? r : -EINVAL;
	return selector_add(select, beam_listener_accept_fd(listener), EPOLLIN,
			    (struct slot){.what = MEMBER_LISTENER, .object = listener, .tag = tag});
}

int beam_select_add_call(beam_select *select, beam_call *call, void *tag)
{
	WITHOUT_CANCELLATION;
	int r = selector_check(select);

	if (r < 0 || !call)
		return r < 0 ? r : -EINVAL;
	return selector_add(select, beam_call_receive_fd(call), EPOLLIN,
			    (struct slot){.what = BEAM_SELECT_REPLY, .object = call, .tag = tag});
}

int beam_select_add_fd(beam_select *select, int fd, short events, void *tag)
{
	WITHOUT_CANCELLATION;
	int r = selector_check(select);

	if (r < 0)
		return r;
	/* poll(2) and epoll number events alike. */
	return selector_add(select, fd < 0 ? -EBADF : fd, (uint16_t)events,
			    (struct slot){.what = BEAM_SELECT_FD, .tag = tag});
}

int beam_select_remove_topic(beam_select *select, beam_topic *topic, unsigned what)
{
	WITHOUT_CANCELLATION;
	struct shown shown;
	int r = selector_check(select);

	if (r < 0 || !topic || !some_of(what, BEAM_SELECT_RECEIVE | BEAM_SELECT_SEND))
		return r < 0 ? r : -EINVAL;
	shown = shown_of_topic(topic, what, NULL);
	return remove_shown(select, &shown);
}

int beam_select_remove_message(beam_select *select, beam_message *request, unsigned what)
{
	WITHOUT_CANCELLATION;
	struct shown shown;
	int r = selector_check(select);

	if (r < 0 || !some_of(what, BEAM_SELECT_CANCELLED | BEAM_SELECT_SEND))
		return r < 0 ? r : -EINVAL;
	shown = shown_of_message(request, what, NULL);
	return remove_shown(select, &shown);
}

int beam_select_remove_channel(beam_select *select, beam_channel *channel)
{
	WITHOUT_CANCELLATION;
	int r = selector_check(select);

	if (r < 0 || !channel)
		return r < 0 ? r : -EINVAL;
	return remove_fd(select, beam_channel_accept_fd(channel), BEAM_SELECT_ACCEPT);
}

int beam_select_remove_listener(beam_select *select, beam_listener *listener)
{
	WITHOUT_CANCELLATION;
	int r = selector_check(select);

	if (r < 0 || !listener)
		return r < 0 ? r : -EINVAL;
	return remove_fd(select, beam_listener_accept_fd(listener), MEMBER_LISTENER);
}

int beam_select_remove_call(beam_select *select, beam_call *call)
{
	WITHOUT_CANCELLATION;
	int r = selector_check(select);

	if (r < 0 || !call)
		return r < 0 ? r : -EINVAL;
	return remove_fd(select, beam_call_receive_fd(call), BEAM_SELECT_REPLY);
}

int beam_select_remove_fd(beam_select *select, int fd)
{
	WITHOUT_CANCELLATION;
	int r = selector_check(select);

	return r < 0 ? r : remove_fd(select, fd < 0 ? -EINVAL : fd, BEAM_SELECT_FD);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

/* Stores those of the events whose members are still there. Returns how many. */
static size_t selector_tell(struct beam_select *select, const struct epoll_event *events, size_t n,
			    struct beam_select_ready *ret)
{
	size_t told = 0;

	pthread_mutex_lock(&select->lock);
	for (size_t i = 0; i < n; i++) {
		const struct slot *slot = &select->slots[(uint32_t)events[i].data.u64];

		if (!slot->what || slot->generation != events[i].data.u64 >> 32)
			continue;
		ret[told++] = (struct beam_select_ready){
		    .tag = slot->tag,
		    .what = slot->what == MEMBER_LISTENER ? BEAM_SELECT_ACCEPT : slot->what,
		    .events = slot->what == BEAM_SELECT_FD ? (short)events[i].events : 0,
		};
	}
	pthread_mutex_unlock(&select->lock);
	return told;
}

ssize_t beam_select_wait(beam_select *select, struct beam_select_ready *ret, size_t n, beam_deadline deadline)
{
	WITHOUT_CANCELLATION;
	struct epoll_event events[EVENTS];
	int r = selector_check(select);

	if (r < 0 || !ret || !n)
		return r < 0 ? r : -EINVAL;
	for (;;) {
		bool last = deadline_passed(deadline);
		int got = sys_epoll_wait(select->epoll, events, n < EVENTS ? (int)n : EVENTS,
					 beam_deadline_poll_ms(deadline));
		size_t told = got > 0 ? selector_tell(select, events, (size_t)got, ret) : 0;

		if (told)
			return (ssize_t)told;
		if (last)
			return deadline_error(deadline);
	}
}

int beam_select_fd(beam_select *select)
{
	int r = selector_check(select);

	return r < 0 ? r : select->epoll;
}
