/* SPDX-License-Identifier: MIT */
/*
 * Parcels. The payload of a message is a sequence of records: a header, the file's path, and its
 * content, unless that is to be read from the message's next attachment. A checksum covers path and
 * content. The sum of all checksums does not depend on the order of arrival.
 */
#include "demo.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

struct header {
	uint64_t size; /* of the content */
	uint32_t path; /* length */
	uint32_t attached;
};

/*
 * Adds at most `size` bytes of a file to a checksum, and returns how many there were. It reads with
 * pread(), because both processes and all their threads share the offset of an open file.
 */
static uint64_t checksum_of_file(uint32_t *sum, int fd, uint64_t size)
{
	unsigned char block[64 * 1024];
	uint64_t at = 0;

	while (at < size) {
		ssize_t n = pread(fd, block, size - at < sizeof block ? size - at : sizeof block, (off_t)at);
		if (n <= 0)
			break;
		*sum = (uint32_t)crc32(*sum, block, (uInt)n);
		at += (uint64_t)n;
	}
	return at;
}

static uint32_t checksum(uint32_t sum, const void *bytes, size_t size)
{
	return (uint32_t)crc32_z(sum, bytes, size);
}

static void reserve(struct parcel *parcel, size_t more)
{
	if (parcel->size + more <= parcel->capacity)
		return;
	parcel->capacity = 2 * (parcel->size + more);
	parcel->bytes = realloc(parcel->bytes, parcel->capacity);
	if (!parcel->bytes)
		must(-ENOMEM, "parcel");
}

static void append(struct parcel *parcel, const void *bytes, size_t size)
{
	reserve(parcel, size);
	memcpy(parcel->bytes + parcel->size, bytes, size);
	parcel->size += size;
}

static void count(struct parcel *parcel, uint64_t content, uint32_t sum)
{
	parcel->files++;
	parcel->content += content;
	parcel->sum += sum;
}

/* Appends at most `size` bytes of a file to the parcel. Returns how many there were. */
static size_t append_content(struct parcel *parcel, int fd, size_t size)
{
	size_t n = 0;

	reserve(parcel, size);
	while (n < size) {
		ssize_t r = pread(fd, parcel->bytes + parcel->size + n, size - n, (off_t)n);
		if (r <= 0)
			break;
		n += (size_t)r;
	}
	parcel->size += n;
	return n;
}

bool parcel_add(struct parcel *parcel, const char *path, bool attach, size_t limit)
{
	struct stat status;
	size_t length = strlen(path);
	uint32_t sum = checksum(0, path, length);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || fstat(fd, &status) < 0) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	attach = attach || (uint64_t)status.st_size > limit;
	struct header header = {(uint64_t)status.st_size, (uint32_t)length, attach};
	size_t at = parcel->size;

	append(parcel, &header, sizeof header);
	append(parcel, path, length);
	if (attach) {
		header.size = checksum_of_file(&sum, fd, header.size);
		parcel->fds[parcel->n_fds++] = fd;
	} else {
		size_t start = parcel->size;
		header.size = append_content(parcel, fd, header.size);
		sum = checksum(sum, parcel->bytes + start, header.size);
		close(fd);
	}
	memcpy(parcel->bytes + at, &header, sizeof header);
	count(parcel, header.size, sum);
	return true;
}

static void tally_add(struct tally *tally, uint64_t files, uint64_t content, uint64_t descriptors, uint64_t sum)
{
	tally->messages++;
	tally->files += files;
	tally->bytes += content;
	tally->descriptors += descriptors;
	tally->sum += sum;
}

void parcel_send(struct parcel *parcel, beam_topic *topic, struct tally *tally)
{
	struct iovec payload = {parcel->bytes, parcel->size};

	if (!parcel->files)
		return;
	must(beam_topic_sendv(topic, &payload, 1, parcel->fds, parcel->n_fds, BEAM_SEND_GIVE_FDS, BEAM_FOREVER),
	     beam_topic_name(topic));
	tally_add(tally, parcel->files, parcel->content, parcel->n_fds, parcel->sum);
	*parcel = (struct parcel){.bytes = parcel->bytes, .capacity = parcel->capacity};
}

void parcel_free(struct parcel *parcel)
{
	free(parcel->bytes);
}

static void broken(const char *why)
{
	fprintf(stderr, "a broken message arrived: %s\n", why);
	exit(1);
}

void parcel_receive(const beam_message *message, struct tally *tally)
{
	const unsigned char *at = beam_message_data(message), *end = at + beam_message_size(message);
	struct header header;
	uint64_t files = 0, content = 0, sum = 0;
	size_t descriptors = 0;

	for (; at < end; files++) {
		if ((size_t)(end - at) < sizeof header)
			broken("half a header");
		memcpy(&header, at, sizeof header);
		at += sizeof header;
		size_t left = (size_t)(end - at), inside = header.attached ? 0 : header.size;
		if (left < header.path || left - header.path < inside)
			broken("a record longer than its message");
		uint32_t crc = checksum(0, at, header.path);
		if (header.attached) {
			int fd = beam_message_peek_fd(message, descriptors++);
			must(fd < 0 ? fd : 0, "attachment");
			checksum_of_file(&crc, fd, header.size);
		} else {
			crc = checksum(crc, at + header.path, header.size);
		}
		at += header.path + inside;
		content += header.size;
		sum += crc;
	}
	if (descriptors != beam_message_attachments(message))
		broken("attachments without a record");
	tally_add(tally, files, content, descriptors, sum);
}
