/* SPDX-License-Identifier: MIT */
/*
 * The contents of messages. A message is a piece of one long random text. Its position and length
 * follow from the round's seed and the message's name. Its attachments are chosen in the same way
 * from some hundred files. So a message can be checked by comparing memory, and its attachments by
 * fstat(2).
 */
#include "stress.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum {
	SHIFT = 64 * 1024, /* places where a message can begin */
	MEMFDS = 160,
	PIPES = 32, /* both ends */
	OBJECTS = MEMFDS + 2 * PIPES,
};

static unsigned char text[PAYLOAD_MAX + SHIFT];

static struct object {
	int fd;
	dev_t device;
	ino_t inode;
	int access; /* O_ACCMODE of the flags: which end of a pipe */
} objects[OBJECTS];

static void object_set(struct object *object, int fd)
{
	struct stat status;

	require(fd >= 0 && fstat(fd, &status) == 0);
	*object = (struct object){fd, status.st_dev, status.st_ino, fcntl(fd, F_GETFL) & O_ACCMODE};
}

void content_open(void)
{
	struct rng rng = rng_new(0x74657874);
	int ends[2];

	for (size_t i = 0; i < sizeof text; i += 8) {
		uint64_t word = rng_u64(&rng);
		memcpy(text + i, &word, sizeof word);
	}
	for (int i = 0; i < MEMFDS; i++) {
		int fd = memfd_create("stress", MFD_CLOEXEC);
		require(write(fd, &i, sizeof i) == sizeof i);
		object_set(&objects[i], fd);
	}
	for (int i = 0; i < PIPES; i++) {
		require(pipe2(ends, O_CLOEXEC) == 0);
		object_set(&objects[MEMFDS + 2 * i], ends[0]);
		object_set(&objects[MEMFDS + 2 * i + 1], ends[1]);
	}
}

void content_close(void)
{
	for (int i = 0; i < OBJECTS; i++)
		close(objects[i].fd);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	struct rng rng = {.state = a ^ b * 0x9e3779b97f4a7c15ull};

	return rng_u64(&rng);
}

/* A number from 0 to PAYLOAD_MAX. All lengths in bits are equally likely. */
static size_t log_uniform(uint64_t random)
{
	unsigned bits = (unsigned)(random % 22);
	size_t least = bits ? (size_t)1 << (bits - 1) : 0;

	return bits > 20 ? PAYLOAD_MAX : least + (size_t)((random >> 16) % (least ? least : 1));
}

static unsigned n_attachments(uint64_t random)
{
	return random & 1 ? (unsigned)(random >> 8) % (ATTACHMENTS_MAX + 1) : 0;
}

static const struct object *attachment(uint64_t name, unsigned index)
{
	return &objects[mix(name, index) % OBJECTS];
}

static uint64_t name_of(unsigned side, unsigned sender, unsigned topic, uint64_t number)
{
	return (uint64_t)side << 62 | (uint64_t)sender << 56 | (uint64_t)topic << 48 | number;
}

/* Everything but the descriptors, which only senders need. */
static uint64_t content_bytes(struct content *ret, const struct plan *plan, uint64_t name, bool solo)
{
	uint64_t key = mix(plan->seed, name);
	size_t size = log_uniform(mix(key, 1));

	ret->head = name;
	ret->head_size = solo ? 0 : sizeof ret->head;
	ret->body = text + mix(key, 2) % SHIFT;
	ret->body_size = size > ret->head_size ? size - ret->head_size : 0;
	ret->n_fds = n_attachments(mix(key, 3));
	return key;
}

void content_of(struct content *ret, const struct plan *plan, unsigned side, unsigned sender, unsigned topic,
		uint64_t number)
{
	uint64_t key = content_bytes(ret, plan, name_of(side, sender, topic, number), topic_is_solo(topic));

	for (unsigned i = 0; i < ret->n_fds; i++)
		ret->fds[i] = attachment(key, i)->fd;
}

size_t content_size(const struct content *content)
{
	return content->head_size + content->body_size;
}

void content_copy(const struct content *content, void *to)
{
	memcpy(to, &content->head, content->head_size);
	memcpy((unsigned char *)to + content->head_size, content->body, content->body_size);
}

/*
 * Finds out who has sent a message. Either the message says so, or there is only one possible
 * sender.
 */
static bool identify(const struct side *side, unsigned topic, const struct arrival *arrival, unsigned *ret_sender,
		     uint64_t *ret_number)
{
	unsigned other = !side->index, senders = side->journal->plan.senders[other];
	uint64_t head;

	if (topic_is_solo(topic)) {
		if (!side_check(side, senders > 0, "topic %u: a message that nobody sends", topic))
			return false;
		*ret_sender = topic % senders;
		*ret_number = atomic_load(&side->theirs->streams[*ret_sender][topic].received);
		return true;
	}
	if (!side_check(side, arrival->size >= sizeof head, "topic %u: %zu bytes, too few", topic, arrival->size))
		return false;
	memcpy(&head, arrival->data, sizeof head);
	*ret_sender = (unsigned)(head >> 56) & 0x3f;
	*ret_number = head & 0xffffffffffff;
	return side_check(side,
			  *ret_sender < senders && *ret_number < STREAM_MAX &&
			      head == name_of(other, *ret_sender, topic, *ret_number),
			  "topic %u: head %016llx of no message", topic, (unsigned long long)head);
}

/* True if both are the same open file. For some files also compares the contents. */
static bool same_file(const struct object *object, int fd, uint64_t key)
{
	struct stat status;
	int index = (int)(object - objects), content;

	if (fd < 0 || fstat(fd, &status) < 0 || status.st_dev != object->device || status.st_ino != object->inode)
		return false;
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) != object->access || !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
		return false;
	if (index >= MEMFDS || key % 16)
		return true;
	return pread(fd, &content, sizeof content, 0) == sizeof content && content == index;
}

bool content_check(const struct side *side, unsigned topic, const struct arrival *arrival, unsigned *ret_sender,
		   uint64_t *ret_number)
{
	struct content content;

	if (!identify(side, topic, arrival, ret_sender, ret_number))
		return false;
	uint64_t name = name_of(!side->index, *ret_sender, topic, *ret_number);
	uint64_t key = content_bytes(&content, &side->journal->plan, name, topic_is_solo(topic));
	size_t size = content_size(&content);
	if (!side_check(side, arrival->size == size, "message %016llx: %zu bytes, not %zu", (unsigned long long)name,
			arrival->size, size))
		return false;
	if (!side_check(side, memcmp(arrival->data + content.head_size, content.body, content.body_size) == 0,
			"message %016llx of %zu bytes: other bytes", (unsigned long long)name, size))
		return false;
	if (!side_check(side, arrival->n_fds == content.n_fds, "message %016llx: %zu attachments, not %u",
			(unsigned long long)name, arrival->n_fds, content.n_fds))
		return false;
	for (unsigned i = 0; i < content.n_fds; i++)
		if (!side_check(side, same_file(attachment(key, i), arrival->fds[i], key),
				"message %016llx: attachment %u of %u (%d) is another file", (unsigned long long)name,
				i, content.n_fds, arrival->fds[i]))
			return false;
	return true;
}
