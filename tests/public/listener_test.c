/* SPDX-License-Identifier: MIT */
/*
 * Listening and connecting, as a program uses them.
 */
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <public/listening.h>
#include <signal.h>
#include <stdatomic.h>

static struct spot spot;

/* ---- Addresses ----------------------------------------------------------------------------------------------------------------- */

static void exchange_at(const char *address)
{
	beam_listener *listener = listen_at(address, NULL);
	beam_channel *channels[2];

	meet(listener, address, channels);
	expect_connected(channels);
	check_int(counts(listener).accepted, 1);
	check_int(counts(listener).connections, 1);
	part(channels);
	check_within(20000, counts(listener).connections == 0);
	beam_listener_unref(listener);
}

static void test_channels_are_accepted_at_a_path_and_nothing_is_left_of_it(void)
{
	spot_make(&spot);
	exchange_at(spot.path);
	exchange_at(spot.path);
	spot_end(&spot);
}

static void test_channels_are_accepted_at_an_abstract_name_which_is_free_after_closing(void)
{
	for (int i = 0; i < 20; i++)
		exchange_at(abstract_address());
}

static void expect_taken(const char *address)
{
	beam_listener *second = NULL;

	check_int(beam_listener_new(&second, address, NULL), -EADDRINUSE);
	check(second == NULL);
}

static void test_a_second_server_on_an_address_is_told_that_it_is_in_use(void)
{
	const char *addresses[] = {abstract_address(), spot.path};
	beam_channel *channels[2];

	spot_make(&spot);
	for (int i = 0; i < 2; i++) {
		beam_listener *listener = listen_at(addresses[i], NULL);

		expect_taken(addresses[i]);
		meet(listener, addresses[i], channels);
		part(channels);
		beam_listener_unref(listener);
	}
	spot_end(&spot);
}

static void test_the_permissions_are_those_asked_for_whatever_the_umask(void)
{
	static const mode_t modes[] = {0600, 0666, 0660, 0777, 0}, umasks[] = {0, 022, 077, 0777};
	mode_t before = umask(0);

	spot_make(&spot);
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		for (size_t j = 0; j < sizeof umasks / sizeof *umasks; j++) {
			struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
			beam_listener *listener;

			options.mode = modes[i];
			umask(umasks[j]);
			listener = listen_at(spot.path, &options);
			check_int(umask(umasks[j]), umasks[j]);
			check_int(mode_of(spot.path), modes[i]);
			beam_listener_unref(listener);
		}
	}
	umask(before);
	spot_end(&spot);
}

static void test_bad_input_is_refused(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS, bad;
	struct beam_channel_options channel = BEAM_CHANNEL_OPTIONS;
	struct {
		struct beam_listener_options known;
		uint64_t more;
	} newer = {options, 1};
	struct beam_listener_counters statistics;
	beam_listener *listener = NULL;
	beam_channel *accepted;
	char longer[110];

	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	check_int(beam_listener_new(NULL, "@x", NULL), -EINVAL);
	check_int(beam_listener_new(&listener, NULL, NULL), -EINVAL);
	check_int(beam_listener_new(&listener, "", NULL), -EINVAL);
	check_int(beam_listener_new(&listener, longer, NULL), -ENAMETOOLONG);
	check_int(beam_listener_new(&listener, "/nowhere/at/all", NULL), -ENOENT);
#define REFUSED(field, value)                                                                                                  \
	bad = options;                                                                                                         \
	bad.field = value;                                                                                                     \
	check_int(beam_listener_new(&listener, abstract_address(), &bad), -EINVAL);
	REFUSED(size, 0)
	REFUSED(mode, 01000)
	REFUSED(backlog, 0)
	REFUSED(backlog, UINT32_C(1) << 31)
	REFUSED(connections, 0)
	REFUSED(connections_per_uid, 0)
	REFUSED(refuse_fds, 2)
	channel.topics = 1;
	REFUSED(channel, &channel)
	newer.known.size = sizeof newer;
	check_int(beam_listener_new(&listener, abstract_address(), &newer.known), -E2BIG);
	check_int(beam_listener_from_fd(NULL, 0, NULL), -EINVAL);
	check_int(beam_listener_from_environment(NULL, NULL, NULL), -EINVAL);
	check_int(beam_listener_accept(NULL, &accepted, BEAM_NOWAIT), -EINVAL);
	check_int(beam_listener_accept_fd(NULL), -EINVAL);
	check_int(beam_listener_close(NULL), -EINVAL);
	check_int(beam_listener_statistics(NULL, &statistics, sizeof statistics), -EINVAL);
	check(beam_listener_ref(NULL) == NULL && beam_listener_unref(NULL) == NULL);
	check(listener == NULL);

	listener = listen_at(abstract_address(), NULL);
	check_int(beam_listener_accept(listener, NULL, BEAM_NOWAIT), -EINVAL);
	check_int(beam_listener_statistics(listener, NULL, sizeof statistics), -EINVAL);
	beam_listener_unref(listener);
}

static void test_statistics_are_given_to_older_and_newer_programs(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	struct beam_listener_counters older;
	struct {
		struct beam_listener_counters known;
		uint64_t more;
	} newer;

	memset(&older, 0xff, sizeof older);
	memset(&newer, 0xff, sizeof newer);
	check_int(beam_listener_statistics(listener, &older, sizeof older.accepted), 0);
	check_int((int64_t)older.accepted, 0);
	check_int((int64_t)older.refused, -1);
	check_int(beam_listener_statistics(listener, &newer.known, sizeof newer), 0);
	check_int((int64_t)newer.known.refused, 0);
	check_int((int64_t)newer.more, 0);
	beam_listener_unref(listener);
}

/* ---- Accepting ------------------------------------------------------------------------------------------------------------------- */

static void test_accepting_waits_until_its_deadline(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	beam_channel *channel = NULL;
	int64_t begin = now_ns();

	check_int(beam_listener_accept(listener, &channel, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_listener_accept(listener, &channel, beam_in_ms(30)), -ETIMEDOUT);
	check(now_ns() - begin >= 30 * 1000000);
	check(channel == NULL);
	beam_listener_unref(listener);
}

struct acceptor {
	beam_listener *listener;
	pthread_t thread;
	atomic_int number;
	int taken, result;
};

static void *accept_all(void *argument)
{
	struct acceptor *acceptor = argument;
	beam_channel *channel;

	atomic_store(&acceptor->number, thread_number());
	while ((acceptor->result = beam_listener_accept(acceptor->listener, &channel, BEAM_FOREVER)) == 1) {
		acceptor->taken++;
		beam_channel_unref(channel);
	}
	return NULL;
}

static void test_several_threads_accept_each_connection_once_and_closing_wakes_them_all(void)
{
	enum { THREADS = 4, CONNECTIONS = 40 };
	struct acceptor acceptors[THREADS] = {0};
	beam_listener *listener = listen_at(abstract_address(), NULL);
	beam_channel *channel;
	int taken = 0;

	for (int i = 0; i < THREADS; i++) {
		acceptors[i].listener = listener;
		acceptors[i].thread = thread_spawn(accept_all, &acceptors[i]);
	}
	for (int i = 0; i < CONNECTIONS; i++) {
		require_int(beam_channel_connect(&channel, abstract_address(), NULL, soon()), 0);
		beam_channel_unref(channel);
	}
	check_within(20000, counts(listener).accepted == CONNECTIONS);
	for (int i = 0; i < THREADS; i++)
		check_within(20000, thread_asleep(atomic_load(&acceptors[i].number)));
	check_int(beam_listener_close(listener), 0);
	for (int i = 0; i < THREADS; i++) {
		thread_wait(acceptors[i].thread);
		check_int(acceptors[i].result, 0);
		taken += acceptors[i].taken;
	}
	check_int(taken, CONNECTIONS);
	check_int(beam_listener_accept(listener, &channel, BEAM_FOREVER), 0);
	check_int(beam_listener_close(listener), 0);
	beam_listener_unref(listener);
}

static bool readable(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};

	return poll(&poller, 1, 0) == 1;
}

static void test_the_descriptor_for_loops_shows_who_waits_for_as_long_as_he_does(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	beam_channel *clients[2], *servers[2];
	int fd = beam_listener_accept_fd(listener);

	require(fd >= 0);
	check_int(fcntl(fd, F_GETFD), FD_CLOEXEC);
	check_int(beam_listener_accept_fd(listener), fd);
	check(!readable(fd));
	for (int i = 0; i < 2; i++)
		require_int(beam_channel_connect(&clients[i], abstract_address(), NULL, soon()), 0);
	for (int i = 0; i < 2; i++) {
		check(readable(fd) && readable(fd));
		check_int(beam_listener_accept(listener, &servers[i], BEAM_NOWAIT), 1);
	}
	check(!readable(fd));
	check_int(beam_listener_accept(listener, &servers[0], BEAM_NOWAIT), -EAGAIN);
	part(clients);
	part(servers);
	check_int(beam_listener_close(listener), 0);
	check(readable(fd) && readable(fd));
	beam_listener_unref(listener);
}

static void test_a_descriptor_for_loops_that_is_first_asked_for_after_closing_is_readable(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);

	check_int(beam_listener_close(listener), 0);
	check(readable(beam_listener_accept_fd(listener)));
	beam_listener_unref(listener);
}

static void test_accepted_channels_can_be_run_by_a_loop(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	struct beam_channel_options channel = BEAM_CHANNEL_OPTIONS;
	struct pollfd poller = {.events = POLLIN};
	beam_listener *listener;
	beam_channel *client, *server;
	beam_topic *topic;
	int r;

	channel.loop = 1;
	options.channel = &channel;
	listener = listen_at(abstract_address(), &options);
	require_int(beam_channel_connect(&client, abstract_address(), NULL, soon()), 0);
	poller.fd = beam_listener_accept_fd(listener);
	check_int(poll(&poller, 1, stretch(20000)), 1);
	require_int(beam_listener_accept(listener, &server, BEAM_NOWAIT), 1);
	require_int(beam_topic_open(&topic, client, "topic"), 0);
	send_text(topic, "a word");
	check_int(beam_channel_close(client, soon()), 0);
	beam_topic_unref(topic);
	require_int(beam_topic_open(&topic, server, "topic"), 0);
	poller.fd = beam_channel_loop_fd(server);
	do {
		poller.events = (short)beam_channel_loop_events(server);
		check_int(poll(&poller, 1, stretch(20000)), 1);
	} while ((r = beam_channel_dispatch(server, poller.revents)) == 1);
	check_int(r, 0);
	/* It has ended, though it is held still. */
	check_int(counts(listener).connections, 0);
	expect_text(topic, "a word");
	beam_topic_unref(topic);
	beam_channel_unref(server);
	beam_channel_unref(client);
	beam_listener_unref(listener);
}

static void test_channels_outlive_the_listener(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	beam_channel *channels[2];

	check(beam_listener_ref(listener) == listener);
	check(beam_listener_unref(listener) == NULL);
	meet(listener, abstract_address(), channels);
	beam_listener_unref(listener);
	expect_connected(channels);
	part(channels);
}

static void test_whoever_waits_in_the_backlog_is_disconnected_by_closing(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	int fd = raw_connect(abstract_address());

	require(fd >= 0);
	beam_listener_unref(listener);
	expect_disconnected(fd);
	close(fd);
	check_int(raw_connect(abstract_address()), -ECONNREFUSED);
}

static void test_as_many_wait_as_the_backlog_has_room_for_and_one_more(void)
{
	enum { BACKLOG = 3 };
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	beam_channel *waiting[BACKLOG + 1], *accepted, *none = NULL;
	beam_listener *listener;

	options.backlog = BACKLOG;
	listener = listen_at(abstract_address(), &options);
	/* listen(2) counts so. */
	for (int i = 0; i < BACKLOG + 1; i++)
		require_int(beam_channel_connect(&waiting[i], abstract_address(), NULL, BEAM_NOWAIT), 0);
	check_int(beam_channel_connect(&none, abstract_address(), NULL, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_channel_connect(&none, abstract_address(), NULL, beam_in_ms(20)), -ETIMEDOUT);
	check_int(beam_listener_accept(listener, &accepted, BEAM_NOWAIT), 1);
	beam_channel_unref(accepted);
	check_int(beam_channel_connect(&none, abstract_address(), NULL, BEAM_NOWAIT), 0);
	beam_channel_unref(none);
	for (int i = 0; i < BACKLOG + 1; i++)
		beam_channel_unref(waiting[i]);
	beam_listener_unref(listener);
}

/* ---- Limits and policy --------------------------------------------------------------------------------------------------------------- */

static void expect_refusal(beam_listener *listener, const char *address)
{
	beam_channel *channel = NULL;
	int fd = raw_connect(address);

	require(fd >= 0);
	check_int(beam_listener_accept(listener, &channel, BEAM_NOWAIT), -EAGAIN);
	check(channel == NULL);
	expect_disconnected(fd);
	close(fd);
}

static void expect_limit(const struct beam_listener_options *options, uint32_t limit)
{
	beam_listener *listener = listen_at(abstract_address(), options);
	beam_channel *channels[8][2];

	for (uint32_t i = 0; i < limit; i++)
		meet(listener, abstract_address(), channels[i]);
	expect_refusal(listener, abstract_address());
	check_int(counts(listener).over_limit, 1);
	check_int(counts(listener).connections, limit);
	/* There is room again when a channel has ended, not before. */
	check_int(beam_channel_close(channels[0][0], soon()), 0);
	check_int(beam_channel_close(channels[0][1], soon()), 0);
	check_within(20000, counts(listener).connections == limit - 1);
	part(channels[0]);
	meet(listener, abstract_address(), channels[0]);
	expect_refusal(listener, abstract_address());
	for (uint32_t i = 0; i < limit; i++)
		part(channels[i]);
	beam_listener_unref(listener);
}

static void test_one_more_than_the_most_connections_is_refused(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;

	options.connections = 3;
	expect_limit(&options, 3);
}

static void test_one_more_than_the_most_connections_of_a_user_is_refused(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;

	options.connections_per_uid = 2;
	expect_limit(&options, 2);
}

static int child_connects_as_another(void *argument)
{
	int fd;

	if (setgroups(2, (gid_t[]){1234, 5678}) < 0 || setresgid(65533, 65533, 65533) < 0 || setresuid(65534, 65534, 65534) < 0)
		return 77;
	fd = raw_connect(argument);
	require(fd >= 0);
	expect_disconnected(fd);
	close(fd);
	return 0;
}

static void needs_root(void)
{
	if (geteuid() != 0)
		skip("only root can be another user");
}

/* That the other side never says goodbye is not waited for. */
static const struct beam_channel_options *without_lingering(void)
{
	static struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.linger_ms = 0;
	return &options;
}

static void test_the_limit_of_one_user_leaves_others_their_connections(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	char address[64];
	beam_listener *listener;
	beam_channel *channels[2], *other;
	pid_t child;

	needs_root();
	snprintf(address, sizeof address, "%s", abstract_address());
	options.connections_per_uid = 1;
	options.channel = without_lingering();
	listener = listen_at(address, &options);
	meet(listener, address, channels);
	expect_refusal(listener, address);
	child = process_spawn(child_connects_as_another, address);
	check_int(beam_listener_accept(listener, &other, soon()), 1);
	beam_channel_unref(other);
	check_int(process_wait(child), 0);
	part(channels);
	beam_listener_unref(listener);
}

struct policy {
	int answer, asked;
	struct beam_identity seen;
	gid_t groups[8];
	beam_listener *listener;
};

static int note_identity(void *context, const struct beam_identity *identity)
{
	struct policy *policy = context;

	policy->asked++;
	policy->seen = *identity;
	for (size_t i = 0; i < identity->n_groups && i < 8; i++)
		policy->groups[i] = identity->groups[i];
	/* It is there, and has not ended. */
	if (identity->pidfd >= 0)
		check_int(poll(&(struct pollfd){.fd = identity->pidfd, .events = POLLIN}, 1, 0), 0);
	/* No lock is held. */
	check_int(beam_listener_accept_fd(policy->listener) >= 0, 1);
	return policy->answer;
}

static void test_the_policy_sees_who_connects_and_refuses_or_takes_him(void)
{
	struct policy policy = {.answer = -EACCES};
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	beam_channel *channels[2];

	options.accept = note_identity;
	options.context = &policy;
	policy.listener = listen_at(abstract_address(), &options);
	expect_refusal(policy.listener, abstract_address());
	check_int(policy.asked, 1);
	check_int(counts(policy.listener).refused, 1);
	policy.answer = 0;
	meet(policy.listener, abstract_address(), channels);
	check_int(policy.asked, 2);
	check_int(policy.seen.pid, getpid());
	check_int(policy.seen.uid, geteuid());
	check_int(policy.seen.gid, getegid());
	check_int(policy.seen.n_groups, getgroups(0, NULL));
	part(channels);
	beam_listener_unref(policy.listener);
}

static int close_in_policy(void *context, const struct beam_identity *identity)
{
	struct policy *policy = context;

	(void)identity;
	check_int(beam_listener_close(policy->listener), 0);
	return -ECONNABORTED;
}

static void test_the_policy_may_close_the_listener(void)
{
	struct policy policy = {0};
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	beam_channel *channel;
	int fd;

	options.accept = close_in_policy;
	options.context = &policy;
	policy.listener = listen_at(abstract_address(), &options);
	fd = raw_connect(abstract_address());
	require(fd >= 0);
	check_int(beam_listener_accept(policy.listener, &channel, soon()), 0);
	expect_disconnected(fd);
	close(fd);
	beam_listener_unref(policy.listener);
}

static void test_the_groups_of_another_user_are_seen_by_policy_and_channel(void)
{
	struct policy policy = {.answer = 0};
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	gid_t groups[2] = {0};
	beam_channel *channel;
	char address[64];
	pid_t child;
	int pidfd;

	needs_root();
	snprintf(address, sizeof address, "%s", abstract_address());
	options.channel = without_lingering();
	options.accept = note_identity;
	options.context = &policy;
	policy.listener = listen_at(address, &options);
	child = process_spawn(child_connects_as_another, address);
	check_int(beam_listener_accept(policy.listener, &channel, soon()), 1);
	check_int(policy.seen.pid, child);
	check_int(policy.seen.uid, 65534);
	check_int(policy.seen.gid, 65533);
	check_int(policy.seen.n_groups, 2);
	check_int(policy.groups[0], 1234);
	check_int(policy.groups[1], 5678);

	check_int(beam_channel_peer_groups(channel, NULL, 0), 2);
	check_int(beam_channel_peer_groups(channel, groups, 1), -ERANGE);
	check_int(beam_channel_peer_groups(channel, groups, 2), 2);
	check_int(groups[0], 1234);
	check_int(groups[1], 5678);
	pidfd = beam_channel_peer_pidfd(channel);
	if (pidfd != -ENODATA) {
		struct pollfd gone = {.fd = pidfd, .events = POLLIN};

		require(pidfd >= 0);
		check_int(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
		check_int(poll(&gone, 1, 0), 0);
		beam_channel_unref(channel);
		check_int(poll(&gone, 1, stretch(20000)), 1);
		close(pidfd);
	} else {
		beam_channel_unref(channel);
	}
	check_int(process_wait(child), 0);
	beam_listener_unref(policy.listener);
}

/* ---- Asking the channel ---------------------------------------------------------------------------------------------------------------- */

static void test_of_a_socket_pair_no_more_is_told_than_by_its_credentials(void)
{
	struct ends ends;
	gid_t groups[1] = {77};
	char label[8] = "before";

	ends_open(&ends, NULL);
	check_int(beam_channel_peer_groups(ends.channel[0], groups, 1), -ENODATA);
	check_int(beam_channel_peer_pidfd(ends.channel[0]), -ENODATA);
	check_int(beam_channel_peer_label(ends.channel[0], label, sizeof label), -ENODATA);
	check_int(groups[0], 77);
	check_string(label, "before");
	check_int(beam_channel_peer_groups(NULL, groups, 1), -EINVAL);
	check_int(beam_channel_peer_groups(ends.channel[0], NULL, 1), -EINVAL);
	check_int(beam_channel_peer_pidfd(NULL), -EINVAL);
	check_int(beam_channel_peer_label(NULL, label, sizeof label), -EINVAL);
	check_int(beam_channel_peer_label(ends.channel[0], NULL, 1), -EINVAL);
	ends_close(&ends);
}

static void test_the_security_label_is_the_kernels_or_not_known(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	beam_channel *channels[2];
	char label[256], tight[256];
	int length;

	meet(listener, abstract_address(), channels);
	length = beam_channel_peer_label(channels[1], label, sizeof label);
	if (length != -ENODATA) {
		check(length > 0);
		check_int(strlen(label), length);
		check_int(beam_channel_peer_label(channels[1], tight, (size_t)length), -ERANGE);
		check_int(beam_channel_peer_label(channels[1], tight, (size_t)length + 1), length);
		check_string(tight, label);
	}
	check(length != 0 && beam_channel_peer_label(channels[1], NULL, 0) != 0);
	part(channels);
	beam_listener_unref(listener);
}

static void test_of_a_channel_that_has_ended_the_peer_is_not_known_any_more(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	struct beam_peer peer;
	beam_channel *channels[2];

	meet(listener, abstract_address(), channels);
	check_int(beam_channel_peer_groups(channels[1], NULL, 0), getgroups(0, NULL));
	check_int(beam_channel_close(channels[0], soon()), 0);
	check_int(beam_channel_close(channels[1], soon()), 0);
	check_within(20000, beam_channel_peer_groups(channels[1], NULL, 0) == -ENODATA);
	check_int(beam_channel_peer_pidfd(channels[1]), -ENODATA);
	check_int(beam_channel_peer(channels[1], &peer), 0);
	part(channels);
	beam_listener_unref(listener);
}

/* ---- Connecting ------------------------------------------------------------------------------------------------------------------------- */

struct client {
	const char *address;
	beam_channel *channel;
	int result;
	atomic_bool done;
};

static void *connect_when_there(void *argument)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS;
	struct client *client = argument;

	options.wait_for_server = 1;
	client->result = beam_channel_connect(&client->channel, client->address, &options, soon());
	atomic_store(&client->done, true);
	return NULL;
}

static void expect_waiting_at(const char *address)
{
	struct client client = {.address = address};
	beam_channel *server;
	beam_listener *listener;
	pthread_t thread = thread_spawn(connect_when_there, &client);

	check(!atomic_load(&client.done));
	listener = listen_at(address, NULL);
	check_int(beam_listener_accept(listener, &server, soon()), 1);
	thread_wait(thread);
	check_int(client.result, 0);
	expect_connected((beam_channel *[]){client.channel, server});
	beam_channel_unref(client.channel);
	beam_channel_unref(server);
	beam_listener_unref(listener);
}

static void test_connecting_can_wait_for_a_server_that_is_not_there_yet(void)
{
	int stale;

	expect_waiting_at(abstract_address());
	spot_make(&spot);
	expect_waiting_at(spot.path);
	/* One that died has left its socket. */
	stale = raw_listen(spot.path, 1);
	close(stale);
	expect_waiting_at(spot.path);
	spot_end(&spot);
}

static void test_connecting_waits_for_a_server_no_longer_than_its_deadline(void)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS;
	beam_channel *channel = NULL;
	int64_t begin = now_ns();

	check_int(beam_channel_connect(&channel, abstract_address(), &options, beam_in_ms(50)), -ECONNREFUSED);
	check_int(beam_channel_connect(&channel, abstract_address(), NULL, beam_in_ms(50)), -ECONNREFUSED);
	check_int(beam_channel_connect(&channel, "/nowhere/at/all", &options, beam_in_ms(50)), -ENOENT);
	options.wait_for_server = 1;
	check_int(beam_channel_connect(&channel, abstract_address(), &options, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_channel_connect(&channel, abstract_address(), &options, beam_in_ms(50)), -ETIMEDOUT);
	check(now_ns() - begin >= 50 * 1000000);
	check_int(beam_channel_connect(&channel, "/nowhere/at/all", &options, beam_in_ms(50)), -ETIMEDOUT);
	/* What waiting does not mend is told at once. */
	check_int(beam_channel_connect(&channel, "/dev/null/socket", &options, BEAM_FOREVER), -ENOTDIR);
	check(channel == NULL);
}

static void test_connecting_refuses_bad_options(void)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS, bad;
	struct beam_channel_options channel = BEAM_CHANNEL_OPTIONS;
	struct {
		struct beam_connect_options known;
		uint64_t more;
	} newer = {options, 1};
	beam_channel *none = NULL;

	check_int(beam_channel_connect(NULL, "@x", &options, BEAM_NOWAIT), -EINVAL);
	check_int(beam_channel_connect(&none, NULL, &options, BEAM_NOWAIT), -EINVAL);
	bad = options;
	bad.size = 0;
	check_int(beam_channel_connect(&none, "@x", &bad, BEAM_NOWAIT), -EINVAL);
	bad = options;
	bad.wait_for_server = 2;
	check_int(beam_channel_connect(&none, "@x", &bad, BEAM_NOWAIT), -EINVAL);
	bad = options;
	channel.calls = 1;
	bad.channel = &channel;
	check_int(beam_channel_connect(&none, "@x", &bad, BEAM_NOWAIT), -EINVAL);
	newer.known.size = sizeof newer;
	check_int(beam_channel_connect(&none, "@x", &newer.known, BEAM_NOWAIT), -E2BIG);
	check(none == NULL);
}

static void test_the_server_may_be_demanded_to_be_a_certain_user(void)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS;
	beam_listener *listener = listen_at(abstract_address(), NULL);
	beam_channel *client = NULL, *server;

	options.server_uid = geteuid() + 1;
	check_int(beam_channel_connect(&client, abstract_address(), &options, soon()), -EPERM);
	check(client == NULL);
	options.server_uid = geteuid();
	check_int(beam_channel_connect(&client, abstract_address(), &options, soon()), 0);
	/* The first is still in the backlog: it came, and left without a word. */
	for (int i = 0; i < 2; i++) {
		require_int(beam_listener_accept(listener, &server, soon()), 1);
		if (i == 1)
			expect_connected((beam_channel *[]){client, server});
		beam_channel_unref(server);
	}
	beam_channel_unref(client);
	beam_listener_unref(listener);
}

/* ---- Fork ---------------------------------------------------------------------------------------------------------------------------------- */

static int child_uses_listener(void *argument)
{
	beam_listener *listener = argument;
	struct beam_listener_counters statistics;
	beam_channel *channel;

	check_int(beam_listener_accept(listener, &channel, BEAM_FOREVER), -ECHILD);
	check_int(beam_listener_accept_fd(listener), -ECHILD);
	check_int(beam_listener_close(listener), -ECHILD);
	check_int(beam_listener_statistics(listener, &statistics, sizeof statistics), -ECHILD);
	check(beam_listener_ref(listener) == listener);
	check(beam_listener_unref(listener) == NULL);
	/* Standard input, output and error; what the harness may keep is not ours. */
	for (int fd = 3; fd < 64; fd++) {
		int listening = 0;
		socklen_t size = sizeof listening;

		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0)
			check_int(listening, 0);
	}
	return 0;
}

static int child_waits(void *argument)
{
	char byte;

	close(((int *)argument)[1]);
	return (int)read(((int *)argument)[0], &byte, 1);
}

static void test_in_a_forked_child_the_listener_is_of_no_use_and_the_address_is_not_kept(void)
{
	beam_listener *listener;
	beam_channel *channels[2];
	pid_t child;
	int ends[2];

	spot_make(&spot);
	listener = listen_at(spot.path, NULL);
	check(beam_listener_accept_fd(listener) >= 0);
	check_int(process_wait(process_spawn(child_uses_listener, listener)), 0);
	check(exists(spot.path) && exists(spot.lock));
	meet(listener, spot.path, channels);
	part(channels);
	/* A child that stays keeps neither the lock nor the socket. */
	require_int(pipe2(ends, O_CLOEXEC), 0);
	child = process_spawn(child_waits, ends);
	beam_listener_unref(listener);
	exchange_at(spot.path);
	close(ends[0]);
	close(ends[1]);
	check_int(process_wait(child), 0);
	spot_end(&spot);
}

static const struct test tests[] = {
    TEST(test_channels_are_accepted_at_a_path_and_nothing_is_left_of_it),
    TEST(test_channels_are_accepted_at_an_abstract_name_which_is_free_after_closing),
    TEST(test_a_second_server_on_an_address_is_told_that_it_is_in_use),
    TEST(test_the_permissions_are_those_asked_for_whatever_the_umask),
    TEST(test_bad_input_is_refused),
    TEST(test_statistics_are_given_to_older_and_newer_programs),
    TEST(test_accepting_waits_until_its_deadline),
    TEST(test_several_threads_accept_each_connection_once_and_closing_wakes_them_all),
    TEST(test_the_descriptor_for_loops_shows_who_waits_for_as_long_as_he_does),
    TEST(test_a_descriptor_for_loops_that_is_first_asked_for_after_closing_is_readable),
    TEST(test_accepted_channels_can_be_run_by_a_loop),
    TEST(test_channels_outlive_the_listener),
    TEST(test_whoever_waits_in_the_backlog_is_disconnected_by_closing),
    TEST(test_as_many_wait_as_the_backlog_has_room_for_and_one_more),
    TEST(test_one_more_than_the_most_connections_is_refused),
    TEST(test_one_more_than_the_most_connections_of_a_user_is_refused),
    TEST(test_the_limit_of_one_user_leaves_others_their_connections),
    TEST(test_the_policy_sees_who_connects_and_refuses_or_takes_him),
    TEST(test_the_policy_may_close_the_listener),
    TEST(test_the_groups_of_another_user_are_seen_by_policy_and_channel),
    TEST(test_of_a_socket_pair_no_more_is_told_than_by_its_credentials),
    TEST(test_the_security_label_is_the_kernels_or_not_known),
    TEST(test_of_a_channel_that_has_ended_the_peer_is_not_known_any_more),
    TEST(test_connecting_can_wait_for_a_server_that_is_not_there_yet),
    TEST(test_connecting_waits_for_a_server_no_longer_than_its_deadline),
    TEST(test_connecting_refuses_bad_options),
    TEST(test_the_server_may_be_demanded_to_be_a_certain_user),
    TEST(test_in_a_forked_child_the_listener_is_of_no_use_and_the_address_is_not_kept),
};

HARNESS_MAIN("public/listener", tests)
