/* SPDX-License-Identifier: MIT */
/*
 * Which clients a listener accepts, as a program uses it: limits and policy, and what a channel
 * knows about its peer.
 */
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <public/listening.h>

/* ---- Limits and policy ----------------------------------------------------------------------- */

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
	/* There is room again only after a channel has ended. */
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

	if (setgroups(2, (gid_t[]){1234, 5678}) < 0 || setresgid(65533, 65533, 65533) < 0 ||
	    setresuid(65534, 65534, 65534) < 0)
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

/* Ends without waiting for the other side's GOODBYE. */
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
	/* The process exists, and has not ended. */
	if (identity->pidfd >= 0)
		check_int(poll(&(struct pollfd){.fd = identity->pidfd, .events = POLLIN}, 1, 0), 0);
	/* No lock is held: the policy may use the listener. */
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

/* ---- What the channel reports ---------------------------------------------------------------- */

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

static const struct test tests[] = {
    TEST(test_one_more_than_the_most_connections_is_refused),
    TEST(test_one_more_than_the_most_connections_of_a_user_is_refused),
    TEST(test_the_limit_of_one_user_leaves_others_their_connections),
    TEST(test_the_policy_sees_who_connects_and_refuses_or_takes_him),
    TEST(test_the_policy_may_close_the_listener),
    TEST(test_the_groups_of_another_user_are_seen_by_policy_and_channel),
    TEST(test_of_a_socket_pair_no_more_is_told_than_by_its_credentials),
    TEST(test_the_security_label_is_the_kernels_or_not_known),
    TEST(test_of_a_channel_that_has_ended_the_peer_is_not_known_any_more),
};

HARNESS_MAIN("public/admission", tests)
