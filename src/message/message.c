/* SPDX-License-Identifier: MIT */
/* Messages: payload, attachments, and queues of them. */
#include <base/sys.h>
#include <errno.h>
#include <message/message.h>
#include <socket/reaper.h>
#include <socket/socket.h>
#include <string.h>

void message_queue_init(struct message_queue *queue)
{
	queue->first = NULL;
	queue->last = &queue->first;
	queue->n = 0;
}

void message_queue_append(struct message_queue *queue, struct beam_message *message)
{
	message->next = NULL;
	*queue->last = message;
	queue->last = &message->next;
	queue->n++;
}

void message_queue_splice(struct message_queue *queue, struct message_queue *from)
{
	if (from->n == 0)
		return;
	*queue->last = from->first;
	queue->last = from->last;
	queue->n += from->n;
	message_queue_init(from);
}

struct beam_message *message_queue_take(struct message_queue *queue)
{
	struct beam_message *message = queue->first;

	if (!message)
		return NULL;
	queue->first = message->next;
	if (!queue->first)
		queue->last = &queue->first;
	queue->n--;
	message->next = NULL;
	return message;
}

void message_init(struct beam_message *message, size_t size)
{
	*message = (struct beam_message){
	    .data = (unsigned char *)(message + 1),
	    .size = size,
	    .fds = message->inline_fds,
	    .capacity_fds = sizeof message->inline_fds / sizeof *message->inline_fds,
	};
}

struct beam_message *message_allocate(size_t size)
{
	struct beam_message *message;

	if (size > SIZE_MAX - sizeof *message)
		return NULL;
	message = sys_malloc(sizeof *message + size);
	if (message)
		message_init(message, size);
	return message;
}

int message_reserve_fds(struct beam_message *message, size_t n)
{
	size_t capacity = message->capacity_fds;
	bool is_inline = message->fds == message->inline_fds;
	int *fds;

	if (n <= capacity)
		return 0;
	while (capacity < n)
		capacity *= 2;
	fds = sys_realloc(is_inline ? NULL : message->fds, capacity * sizeof *fds);
	if (!fds)
		return -ENOMEM;
	if (is_inline)
		memcpy(fds, message->inline_fds, sizeof message->inline_fds);
	message->fds = fds;
	message->capacity_fds = (uint16_t)capacity;
	return 0;
}

void message_put_fd(struct beam_message *message, int fd)
{
	message->fds[message->n_fds++] = fd;
}

void message_free_shell(struct beam_message *message)
{
	if (message->fds != message->inline_fds)
		free(message->fds);
	if (message->chunk) {
		chunk_leave(message->chunk);
		return;
	}
	if (message->block) {
		block_return(message->block);
		return;
	}
	free(message->owned);
	free(message);
}

int beam_message_new(beam_message **ret, const void *data, size_t size)
{
	struct beam_message *message;

	if (!ret)
		return -EINVAL;
	if (size > INT32_MAX)
		return -EMSGSIZE;
	message = message_allocate(size);
	if (!message)
		return -ENOMEM;
	message->writable = true;
	if (data)
		memcpy(message_room(message), data, size);
	else
		memset(message_room(message), 0, size);
	*ret = message;
	return 0;
}

static void close_attachments(struct beam_message *message)
{
	size_t n = message->account ? message->n_charged : 0;

	if (n)
		reaper_close_for(message->account, message->fds, n);
	reaper_close(message->fds + n, message->n_fds - n);
}

void message_disown_fds(struct beam_message *message)
{
	size_t n = 0;

	for (unsigned i = 0; message->account && i < message->n_charged; i++)
		n += message->fds[i] >= 0;
	message->n_fds = message->n_charged = 0;
	if (n)
		message->account->settled(message->account, n);
}

void beam_message_free(beam_message *message)
{
	if (!message)
		return;
	if (message->call)
		message->call->dropped(message->call);
	if (message->n_fds)
		close_attachments(message);
	message_free_shell(message);
}

const void *beam_message_data(const beam_message *message)
{
	return message ? message->data : NULL;
}

size_t beam_message_size(const beam_message *message)
{
	return message ? message->size : 0;
}

void *beam_message_writable(beam_message *message)
{
	return message && message->writable ? message_room(message) : NULL;
}

/* Makes room for one more attachment, which comes from the caller. */
static int message_make_room(struct beam_message *message)
{
	if (!message)
		return -EINVAL;
	if (message->n_fds >= BEAM_MESSAGE_ATTACHMENTS_MAX)
		return -E2BIG;
	return message_reserve_fds(message, message->n_fds + 1u);
}

int beam_message_add_fd(beam_message *message, int fd)
{
	int duplicate, r = message_make_room(message);

	if (r < 0)
		return r;
	duplicate = socket_duplicate(fd);
	if (duplicate < 0)
		return duplicate;
	message_put_fd(message, duplicate);
	return 0;
}

int beam_message_give_fd(beam_message *message, int fd)
{
	int r = message_make_room(message);

	if (r < 0)
		return r;
	/*
	 * Every descriptor that Beam holds is close-on-exec. This also fails if the descriptor is
	 * not open.
	 */
	r = socket_close_on_exec(fd);
	if (r < 0)
		return r;
	message_put_fd(message, fd);
	return 0;
}

size_t beam_message_attachments(const beam_message *message)
{
	return message ? message->n_fds : 0;
}

int beam_message_peek_fd(const beam_message *message, size_t index)
{
	if (!message)
		return -EINVAL;
	return index < message->n_fds ? message->fds[index] : -ENOENT;
}

int beam_message_take_fd(beam_message *message, size_t index)
{
	int fd = beam_message_peek_fd(message, index);

	if (fd < 0)
		return fd;
	message->fds[index] = -ENOENT;
	if (message->account && index < message->n_charged)
		message->account->settled(message->account, 1);
	return fd;
}
