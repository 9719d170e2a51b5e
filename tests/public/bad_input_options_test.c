/* SPDX-License-Identifier: MIT */
/*
 * Bad input, continued: options that are out of range, that contradict each other, or that come
 * from another version of the header, and addresses where nobody listens.
 */
#include <beam/beam.h>
#include <harness/harness.h>
#include <public/ends.h>
#include <sys/stat.h>
#include <sys/un.h>

/* Results are initialized to this before a call that must not write to them. */
#define UNTOUCHED(type) ((type)(uintptr_t)0xbea3)

/* ---- Options --------------------------------------------------------------------------------- */

/* An option and its range. */
struct option_row {
	const char *name;
	size_t offset;
	uint32_t least, most;
	/* Other fields that must be changed with it. */
	uint32_t message_bytes, message_attachments;
};

#define FIELD(name) #name, offsetof(struct beam_channel_options, name)

static const struct option_row option_rows[] = {
    {FIELD(topics), 64, 65535, 0, 0},
    {FIELD(calls), 64, 65535, 0, 0},
    {FIELD(message_bytes), 1 << 20, 1 << 30, 0, 0},
    {FIELD(message_attachments), 0, 253, 0, 0},
    {FIELD(topic_window_bytes), 64 << 10, 1 << 30, 0, 0},
    {FIELD(topic_window_attachments), 16, 65535, 0, 16},
    {FIELD(pool_bytes), 1 << 20, 1 << 30, 1 << 20, 0},
    {FIELD(attachments), 16, 65535, 0, 16},
    {FIELD(buffer_bytes), 16 << 10, 64 << 20, 0, 0},
};

/* Makes a channel with these options, and releases it. */
static int with_options(const struct beam_channel_options *options)
{
	beam_channel *channel = UNTOUCHED(beam_channel *);
	int ends[2], r;

	require_int(beam_socket_pair(SOCK_STREAM, ends), 0);
	r = beam_channel_from_fd(&channel, ends[0], options);
	check_int(beam_channel_options_check(options, &(const char *){NULL}), r);
	if (r < 0) {
		check(channel == UNTOUCHED(beam_channel *));
		check(fd_open(ends[0]));
		close(ends[0]);
	} else {
		beam_channel_unref(channel);
	}
	close(ends[1]);
	return r;
}

static int with_option(const struct option_row *row, uint32_t value)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.pool_bytes = options.topic_window_bytes = 1 << 30;
	options.topic_window_attachments = 253;
	if (row->message_bytes)
		options.message_bytes = row->message_bytes;
	if (row->message_attachments)
		options.message_attachments = row->message_attachments;
	memcpy((char *)&options + row->offset, &value, sizeof value);
	harness_context("%s = %u", row->name, value);
	return with_options(&options);
}

static void test_an_option_out_of_its_range_is_refused_and_its_ends_are_not(void)
{
	for (size_t i = 0; i < sizeof option_rows / sizeof option_rows[0]; i++) {
		const struct option_row *row = &option_rows[i];

		check_int(with_option(row, row->least), 0);
		check_int(with_option(row, row->most), 0);
		if (row->least)
			check_int(with_option(row, row->least - 1), -EINVAL);
		check_int(with_option(row, row->most + 1), -EINVAL);
		check_int(with_option(row, UINT32_MAX), -EINVAL);
		check_int(with_option(row, 1), row->least ? -EINVAL : 0);
	}
}

static void test_zero_means_what_the_header_says_where_it_is_allowed(void)
{
	for (size_t i = 0; i < sizeof option_rows / sizeof option_rows[0]; i++) {
		bool allowed = strcmp(option_rows[i].name, "message_attachments") == 0 ||
			       strcmp(option_rows[i].name, "attachments") == 0;

		check_int(with_option(&option_rows[i], 0), allowed ? 0 : -EINVAL);
	}
}

static void test_options_that_do_not_fit_together_are_refused(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.topic_window_attachments = options.message_attachments - 1;
	check_int(with_options(&options), -EINVAL);
	options = (struct beam_channel_options)BEAM_CHANNEL_OPTIONS;
	options.pool_bytes = options.message_bytes - 1;
	check_int(with_options(&options), -EINVAL);
	options = (struct beam_channel_options)BEAM_CHANNEL_OPTIONS;
	options.message_attachments = options.topic_window_attachments = 253;
	options.attachments = 252;
	check_int(with_options(&options), -EINVAL);
	options.attachments = 0;
	check_int(with_options(&options), 0);
	options = (struct beam_channel_options)BEAM_CHANNEL_OPTIONS;
	options.unknown_topics = BEAM_TOPICS_REFUSE + 1;
	check_int(with_options(&options), -EINVAL);
	options = (struct beam_channel_options)BEAM_CHANNEL_OPTIONS;
	options.socket_buffer_bytes = UINT32_MAX;
	check_int(with_options(&options), -EINVAL);
	options.socket_buffer_bytes = 0;
	check_int(with_options(&options), 0);
	options = (struct beam_channel_options)BEAM_CHANNEL_OPTIONS;
	options.busy_poll_us = 10001;
	check_int(with_options(&options), -EINVAL);
	options.busy_poll_us = 10000;
	options.dedicated_reader = 2;
	check_int(with_options(&options), -EINVAL);
	options.dedicated_reader = 1;
	options.loop = 2;
	check_int(with_options(&options), -EINVAL);
	options.loop = 1;
	check_int(with_options(&options), 0);
}

static void test_an_option_left_at_its_default_fits_one_that_was_raised(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	struct beam_limits limits;
	struct ends ends;

	options.message_bytes = options.pool_bytes + 1;
	options.message_attachments = options.topic_window_attachments + 1;
	ends_open(&ends, &options);
	check_int(beam_channel_limits(ends.channel[0], &limits, sizeof limits, soon()), 0);
	check_int(limits.message_bytes, options.message_bytes);
	check_int(limits.pool_bytes, options.message_bytes);
	check_int(limits.topic_window_attachments, options.message_attachments);
	ends_close(&ends);
}

static void expect_wrong(const struct beam_channel_options *options, int error, const char *name)
{
	const char *told = NULL;

	check_int(beam_channel_options_check(options, &told), error);
	check_string(told, name);
}

static void test_an_option_out_of_its_range_is_named(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	const char *untouched = NULL;

	expect_wrong(&options, 0, NULL);
	options.pool_bytes = options.message_bytes - 1;
	expect_wrong(&options, -EINVAL, "pool_bytes");
	options.calls = 0;
	expect_wrong(&options, -EINVAL, "calls");
	options.size = 0;
	expect_wrong(&options, -EINVAL, "size");
	check_int(beam_channel_options_check(NULL, &untouched), -EINVAL);
	check_int(beam_channel_options_check(&options, NULL), -EINVAL);
	check_string(untouched, NULL);
}

static void test_options_of_an_older_or_newer_header_are_understood_or_refused(void)
{
	struct {
		struct beam_channel_options options;
		char later[64];
	} newer = {.options = BEAM_CHANNEL_OPTIONS};
	struct beam_channel_options older = BEAM_CHANNEL_OPTIONS;

	newer.options.size = sizeof newer;
	check_int(with_options(&newer.options), 0);
	newer.later[sizeof newer.later - 1] = 1;
	check_int(with_options(&newer.options), -E2BIG);

	/* A program that was built with fewer fields. The fields behind them are not read. */
	older.size = offsetof(struct beam_channel_options, topic_window_bytes);
	older.buffer_bytes = 1;
	check_int(with_options(&older), 0);
	older.size = 0;
	check_int(with_options(&older), -EINVAL);
	older.size = sizeof older.size - 1;
	check_int(with_options(&older), -EINVAL);
}

/* ---- Connecting ------------------------------------------------------------------------------ */

static int connect_to(const char *address, const struct beam_channel_options *options, beam_deadline deadline)
{
	struct beam_connect_options with = BEAM_CONNECT_OPTIONS;
	beam_channel *channel = UNTOUCHED(beam_channel *);
	int r;

	with.channel = options;
	r = beam_channel_connect(&channel, address, &with, deadline);
	if (check(r < 0 && channel == UNTOUCHED(beam_channel *)))
		return r;
	beam_channel_unref(channel);
	return r;
}

/*
 * A listening socket with a name of this process, which is written to `name` in the form that
 * beam_channel_connect() takes.
 */
static int listen_abstract(int backlog, char name[64])
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int size = snprintf(name, 64, "@beam-test-bad-input-%d", (int)getpid());

	memcpy(address.sun_path + 1, name + 1, (size_t)size - 1);
	require_int(bind(listener, (struct sockaddr *)&address, (socklen_t)(sizeof address.sun_family + (size_t)size)),
		    0);
	require_int(listen(listener, backlog), 0);
	return listener;
}

static void test_bad_addresses_to_connect(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_channel *channel = NULL;
	char name[64], text[200];
	int listener;

	check_int(beam_channel_connect(NULL, "/nowhere", NULL, soon()), -EINVAL);
	check_int(beam_channel_connect(&channel, NULL, NULL, soon()), -EINVAL);
	check_int(connect_to("", NULL, soon()), -EINVAL);
	memset(text, 'a', sizeof text);
	text[0] = '/';
	text[108] = 0;
	check_int(connect_to(text, NULL, soon()), -ENAMETOOLONG);
	text[0] = '@';
	check_int(connect_to(text, NULL, soon()), -ENAMETOOLONG);
	text[107] = 0;
	check_int(connect_to(text, NULL, soon()), -ECONNREFUSED);
	text[0] = '/';
	check_int(connect_to(text, NULL, soon()), -ENOENT);
	check_int(connect_to("/dev/null/socket", NULL, soon()), -ENOTDIR);
	check_int(connect_to("/dev/null", NULL, soon()), -ECONNREFUSED);

	listener = listen_abstract(1, name);
	options.topics = 1;
	check_int(connect_to(name, &options, soon()), -EINVAL);
	close(listener);
	check_int(connect_to(name, NULL, soon()), -ECONNREFUSED);
}

static void test_a_server_that_speaks_packets_or_is_gone_is_no_server(void)
{
	char folder[FOLDER_SIZE];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	folder_make(folder);
	snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", folder);
	check_int(connect_to(address.sun_path, NULL, soon()), -ENOENT);
	require_int(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	check_int(connect_to(address.sun_path, NULL, soon()), -EPROTOTYPE);
	close(listener);
	check_int(connect_to(address.sun_path, NULL, soon()), -ECONNREFUSED);
	unlink(address.sun_path);
	check_int(symlink("socket", address.sun_path), 0);
	check_int(connect_to(address.sun_path, NULL, soon()), -ELOOP);
	unlink(address.sun_path);
	rmdir(folder);
}

static void test_connecting_waits_for_room_in_the_backlog_and_no_longer_than_the_deadline(void)
{
	beam_channel *waiting[8];
	int listener, n = 0, r = 0;
	char name[64];

	listener = listen_abstract(0, name);
	while (n < 8 && (r = beam_channel_connect(&waiting[n], name, NULL, BEAM_NOWAIT)) == 0)
		n++;
	check_int(r, -EAGAIN);
	check(n > 0);
	check_int(connect_to(name, NULL, beam_in_ms(20)), -ETIMEDOUT);
	check_int(connect_to(name, NULL, beam_in_ms(-1)), -ETIMEDOUT);
	close(listener);
	while (n > 0)
		beam_channel_unref(waiting[--n]);
}

static const struct test tests[] = {
    TEST(test_an_option_out_of_its_range_is_refused_and_its_ends_are_not),
    TEST(test_zero_means_what_the_header_says_where_it_is_allowed),
    TEST(test_options_that_do_not_fit_together_are_refused),
    TEST(test_an_option_left_at_its_default_fits_one_that_was_raised),
    TEST(test_an_option_out_of_its_range_is_named),
    TEST(test_options_of_an_older_or_newer_header_are_understood_or_refused),
    TEST(test_bad_addresses_to_connect),
    TEST(test_a_server_that_speaks_packets_or_is_gone_is_no_server),
    TEST(test_connecting_waits_for_room_in_the_backlog_and_no_longer_than_the_deadline),
};

HARNESS_MAIN("public/bad-input-options", tests)
