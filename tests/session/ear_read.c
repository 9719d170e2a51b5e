/* SPDX-License-Identifier: MIT */
/* What an ear reads, and the text of its events. */
#include <session/ear.h>

int ear_read(struct ear *ear, struct hearing *hearing, size_t most)
{
	struct iovec iov[RX_IOV];
	struct rx_group group;
	struct heard heard;
	int n_iov, r;

	if (hearing->at == hearing->speech->size)
		return 1;
	n_iov = rx_offer(&ear->rx, iov);
	if (n_iov < 0)
		return n_iov;
	check(n_iov == 1 || n_iov == 2);
	heard = hear(hearing, iov, n_iov, most);
	if (!check(heard.n > 0))
		return -EIO;
	group = (struct rx_group){.n = heard.n_fds, .fds = heard.fds, .loss = heard.truncated ? -EMFILE : 0};
	ear->came += heard.n_fds;
	r = rx_took(&ear->rx, heard.n, &group);
	check_int(r, ear->rx.error);
	check_int(r == -EPROTO, ear->rx.breach != NULL);
	return r;
}

int ear_listen(struct ear *ear, const struct speech *speech, size_t most)
{
	struct hearing hearing = {.speech = speech};
	int r;

	do
		r = ear_read(ear, &hearing, most);
	while (!r);
	return r == 1 ? 0 : r;
}

const char *ear_text(const struct ear *ear)
{
	return ear->text;
}

void ear_forget(struct ear *ear)
{
	ear->size = 0;
	*ear->text = 0;
}

const char *ear_rule(const struct ear *ear)
{
	static char name[32];

	snprintf(name, sizeof name, "%.*s", ear->rx.breach ? (int)strcspn(ear->rx.breach, ":") : 0,
		 ear->rx.breach ? ear->rx.breach : "");
	return name;
}

/*
 * The class of an event: its topic or call, or else its kind. Events of a class keep their order.
 */
static int class_of(const char *line, char to[32])
{
	static const char *const of_topics[] = {"open", "message", "discard", "closed"};
	static const char *const of_calls[] = {"reply", "abort-reply", "discard-reply"};
	char kind[16] = "", id[16] = "";

	sscanf(line, "%15s %15s", kind, id);
	for (size_t i = 0; i < sizeof of_topics / sizeof *of_topics; i++) {
		if (strcmp(kind, of_topics[i]) == 0)
			return snprintf(to, 32, "topic %s", id);
	}
	for (size_t i = 0; i < sizeof of_calls / sizeof *of_calls; i++) {
		if (strcmp(kind, of_calls[i]) == 0)
			return snprintf(to, 32, "call %s", id);
	}
	return snprintf(to, 32, "%s", kind);
}

struct line {
	char class[32];
	const char *text;
	size_t size;
};

static int by_class(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	int order = strcmp(x->class, y->class);

	return order ? order : (x->text > y->text) - (x->text < y->text);
}

const char *events_sorted(const char *text)
{
	enum { LINES = 4096 };
	static struct line lines[LINES];
	static char sorted[2][1 << 17];
	static int turn;
	size_t n = 0, size = 0;
	char *to = sorted[turn ^= 1];

	for (; *text; text += lines[n++].size) {
		require(n < LINES);
		lines[n].text = text;
		lines[n].size = strcspn(text, "\n") + 1;
		class_of(text, lines[n].class);
	}
	qsort(lines, n, sizeof *lines, by_class);
	for (size_t i = 0; i < n; i++) {
		require(size + lines[i].size < sizeof sorted[0]);
		memcpy(to + size, lines[i].text, lines[i].size);
		size += lines[i].size;
	}
	to[size] = 0;
	return to;
}
