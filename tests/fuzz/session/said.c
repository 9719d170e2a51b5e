/* SPDX-License-Identifier: MIT */
#include <fuzz/fuzz.h>
#include <fuzz/session/said.h>
#include <string.h>
#include <wire/frame.h>

/* ---- Descriptors ----------------------------------------------------------------------------- */

/* None of these is a real descriptor. */
enum { FD_FIRST = 100000, FDS = 4096 };
static bool given[FDS];
static int next_fd, n_out;

int fd_new(void)
{
	must(next_fd < FDS);
	given[next_fd] = true;
	n_out++;
	return FD_FIRST + next_fd++;
}

void fds_close(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (fds[i] < 0)
			continue;
		must(fds[i] >= FD_FIRST && fds[i] < FD_FIRST + next_fd && given[fds[i] - FD_FIRST]);
		given[fds[i] - FD_FIRST] = false;
		n_out--;
	}
}

int fds_out(void)
{
	return n_out;
}

int fds_left(void)
{
	return FDS - next_fd;
}

/* ---- Frames ---------------------------------------------------------------------------------- */

enum { IDS = 1024 };

/*
 * The part of a header that has arrived, the descriptors that came with its first byte, and how
 * much of its frame follows. Also, which topics are open, and how many calls of each id have not
 * ended.
 */
static struct {
	unsigned char header[FRAME_HEADER];
	size_t n_header, body;
	unsigned n_fds;
	bool hello, goodbye, open[IDS];
	unsigned asked[IDS];
	/* The other side has sent a PING, and may be told that this side lends. */
	bool pinged, lends;
} heard;

void said_begin(void)
{
	memset(given, 0, (size_t)next_fd * sizeof *given);
	next_fd = n_out = 0;
	memset(&heard, 0, sizeof heard);
}

void said_asked(uint32_t call)
{
	must(call < IDS);
	heard.asked[call]++;
}

void said_pinged(void)
{
	heard.pinged = true;
}

void said_lends(bool lends)
{
	heard.lends = lends;
}

/* Only in these frames the argument is not an id. */
static bool is_number(const struct frame *frame)
{
	return frame->kind == FRAME_CREDIT || frame->kind == FRAME_WANT || frame->kind == FRAME_RETURN;
}

static void judge(const struct frame *frame)
{
	must(frame->carried == heard.n_fds);
	must((frame->kind == FRAME_HELLO) == !heard.hello && !heard.goodbye);
	must(frame->id < IDS && (is_number(frame) || frame->argument < IDS));
	heard.hello = true;
	switch ((enum frame_kind)frame->kind) {
	case FRAME_OPEN:
		must(frame->id && !heard.open[frame->id]);
		heard.open[frame->id] = true;
		break;
	case FRAME_DATA: must(heard.open[frame->id]); break;
	case FRAME_CLOSE:
		must(heard.open[frame->id]);
		heard.open[frame->id] = false;
		break;
	case FRAME_REPLY:
		must(heard.asked[frame->argument]);
		heard.asked[frame->argument] -= (frame->flags & FRAME_END) != 0;
		break;
	case FRAME_GOODBYE: heard.goodbye = true; break;
	case FRAME_CREDIT:
		must(!frame->id || !frame->argument);
		must(!(frame->flags & FRAME_OVERDRAFT) || frame->id || frame->argument);
		break;
	case FRAME_RETURN: must(frame->argument && frame->argument <= CREDIT_MAX && heard.lends); break;
	case FRAME_PING:
		must(frame->argument <= PING_ANSWERS);
		must(frame->argument == PING_ASKS || heard.pinged);
		heard.pinged &= frame->argument == PING_ASKS;
		break;
	case FRAME_HELLO:
	case FRAME_WANT:
	case FRAME_RESET: break;
	}
}

static void hear_header(const unsigned char *bytes, size_t n)
{
	struct frame frame;

	memcpy(heard.header + heard.n_header, bytes, n);
	heard.n_header += n;
	if (heard.n_header < FRAME_HEADER)
		return;
	must(!frame_decode(&frame, heard.header));
	judge(&frame);
	heard.n_header = heard.n_fds = 0;
	heard.body = frame_body(&frame);
}

void said(const struct iovec *iov, size_t n, unsigned n_fds)
{
	must(!n_fds || (!heard.n_header && !heard.body));
	heard.n_fds += n_fds;
	for (; n > 0; iov++) {
		const unsigned char *at = iov->iov_base, *end = at + (iov->iov_len < n ? iov->iov_len : n);

		n -= (size_t)(end - at);
		while (at < end) {
			size_t wanted = heard.body ? heard.body : FRAME_HEADER - heard.n_header;
			size_t some = wanted < (size_t)(end - at) ? wanted : (size_t)(end - at);

			if (heard.body)
				heard.body -= some;
			else
				hear_header(at, some);
			at += some;
		}
	}
}
