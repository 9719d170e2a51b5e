/* SPDX-License-Identifier: MIT */
/*
 * What the policy is told about a client on kernels that provide more or less than the running one.
 * This program's own getsockopt() answers in their place.
 */
#include <fcntl.h>
#include <harness/fault.h>
#include <public/listening.h>
#include <signal.h>
#include <sys/syscall.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* The kernel's answer to a query: bytes or an error. */
struct answer {
	int error;
	const void *bytes;
	socklen_t size;
};

static const struct answer unknown = {.error = ENOPROTOOPT};
static const gid_t two_groups[] = {1234, 5678};
static struct answer groups, label, pidfd;
/* For a process outside of the pid namespace the kernel reports the process id 0. */
static bool outside;

static const struct answer *answer_to(int option)
{
	return option == SO_PEERGROUPS  ? &groups
	       : option == SO_PEERSEC   ? &label
	       : option == SO_PEERPIDFD ? &pidfd
					: NULL;
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *size)
{
	const struct answer *answer = answer_to(option);
	bool fits;

	if (!answer) {
		int r = (int)syscall(SYS_getsockopt, fd, level, option, value, size);

		if (outside && option == SO_PEERCRED)
			((struct ucred *)value)->pid = 0;
		return r;
	}
	fits = *size >= answer->size;
	*size = answer->size;
	if (!answer->error && fits && answer->size > 0)
		memcpy(value, answer->bytes, answer->size);
	errno = answer->error ? answer->error : ERANGE;
	return answer->error || !fits ? -1 : 0;
}

/* ---- What the policy sees -------------------------------------------------------------------- */

struct seen {
	int asked, pidfd;
	size_t n_groups;
	gid_t groups[4];
	bool labelled;
	char label[32];
};

/* Neither a process nor a process group has this id. */
static void expect_no_process(pid_t pid)
{
	check(pid > 0);
	check(kill(pid, 0) < 0 && errno == ESRCH);
	check(kill(-pid, 0) < 0 && errno == ESRCH);
}

static int note(void *context, const struct beam_identity *identity)
{
	struct seen *seen = context;

	*seen = (struct seen){.asked = seen->asked + 1, .pidfd = identity->pidfd, .n_groups = identity->n_groups};
	check_int(identity->has_pid, !outside);
	if (outside)
		expect_no_process(identity->pid);
	else
		check_int(identity->pid, getpid());
	check_int(identity->uid, geteuid());
	require(identity->n_groups <= 4);
	for (size_t i = 0; i < identity->n_groups; i++)
		seen->groups[i] = identity->groups[i];
	seen->labelled = identity->label;
	if (identity->label)
		snprintf(seen->label, sizeof seen->label, "%s", identity->label);
	return 0;
}

/* A client connects. It is accepted, or disconnected before the policy is called. */
static struct seen connect_and_see(bool accepted)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	struct seen seen = {.pidfd = -2};
	beam_listener *listener;
	beam_channel *channel = NULL;
	int fd;

	options.accept = note;
	options.context = &seen;
	listener = listen_at(abstract_address(), &options);
	fd = raw_connect(abstract_address());
	require(fd >= 0);
	check_int(beam_listener_accept(listener, &channel, beam_in_ms(0)), accepted ? 1 : -ETIMEDOUT);
	check_int(seen.asked, accepted);
	check_int(counts(listener).failed, !accepted);
	if (accepted) {
		struct beam_peer peer;

		check_int(beam_channel_peer(channel, &peer), 0);
		check_int(peer.has_pid, !outside);
		check_int(peer.uid, geteuid());
		if (outside)
			expect_no_process(peer.pid);
	}
	close(fd);
	beam_channel_unref(channel);
	beam_listener_unref(listener);
	return seen;
}

/* The library must close the descriptor, because the test does not. */
static struct answer some_pidfd(int *storage)
{
	*storage = fcntl(0, F_DUPFD_CLOEXEC, 0);
	return (struct answer){.bytes = storage, .size = sizeof *storage};
}

static void test_what_the_kernel_knows_is_told(void)
{
	struct seen seen;
	int fd;

	groups = (struct answer){.bytes = two_groups, .size = sizeof two_groups};
	label = (struct answer){.bytes = "system_u:beam", .size = 13};
	pidfd = some_pidfd(&fd);
	seen = connect_and_see(true);
	check_int(seen.n_groups, 2);
	check_int(seen.groups[0], 1234);
	check_int(seen.groups[1], 5678);
	check_string(seen.label, "system_u:beam");
	check_int(seen.pidfd, fd);
}

static void test_what_the_kernel_does_not_know_is_left_out(void)
{
	static const int no_pidfd[] = {ENOPROTOOPT, ESRCH, EINVAL};
	struct seen seen;

	for (size_t i = 0; i < sizeof no_pidfd / sizeof *no_pidfd; i++) {
		groups = label = unknown;
		pidfd = (struct answer){.error = no_pidfd[i]};
		seen = connect_and_see(true);
		check_int(seen.n_groups, 0);
		check(!seen.labelled);
		check_int(seen.pidfd, -1);
	}
}

static void test_who_is_in_no_group_and_has_no_label_is_judged_all_the_same(void)
{
	struct seen seen;

	groups = label = (struct answer){.bytes = "", .size = 0};
	pidfd = unknown;
	seen = connect_and_see(true);
	check_int(seen.n_groups, 0);
	check(!seen.labelled);
}

static void test_nobody_is_judged_by_half_of_what_there_is_to_know(void)
{
	struct answer *const questions[] = {&groups, &label, &pidfd};

	for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
		groups = label = pidfd = unknown;
		*questions[i] = (struct answer){.error = ENOBUFS};
		connect_and_see(false);
	}
	/* The same if there is no memory. */
	groups = (struct answer){.bytes = two_groups, .size = sizeof two_groups};
	label = pidfd = unknown;
	fault_only(FAULT(SYS_MALLOC));
	fault_at(1, ENOMEM, FAULT_ONCE);
	connect_and_see(false);
	check(fault_hit());
	fault_off();
}

static void test_a_process_outside_of_the_pid_namespace_has_no_pid(void)
{
	groups = label = pidfd = unknown;
	outside = true;
	connect_and_see(true);
	outside = false;
}

static const struct test tests[] = {
    TEST(test_what_the_kernel_knows_is_told),
    TEST(test_what_the_kernel_does_not_know_is_left_out),
    TEST(test_who_is_in_no_group_and_has_no_label_is_judged_all_the_same),
    TEST(test_nobody_is_judged_by_half_of_what_there_is_to_know),
    TEST(test_a_process_outside_of_the_pid_namespace_has_no_pid),
};

HARNESS_MAIN("listener/identity", tests)
