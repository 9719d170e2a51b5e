/* SPDX-License-Identifier: MIT */
/*
 * Who is at the other end. The security module that assigns labels is simulated, because most
 * machines have none.
 */
#include <harness/fault.h>
#include <harness/harness.h>
#include <socket/peer.h>
#include <socket/socket.h>

#include <grp.h>

/* No answer is larger. */
enum { BYTES_MAX = 1 << 20 };

static union {
	gid_t groups[BYTES_MAX / sizeof(gid_t)];
	char label[BYTES_MAX];
} answer;

/* The label that the module assigns; NULL: there is no module. */
static const char *module_label;
static size_t module_size;

/* Replaces the C library's function, and answers for the module as the kernel does. */
int getsockopt(int fd, int level, int option, void *restrict value, socklen_t *restrict size)
{
	bool fits = *size >= module_size;

	if (option != SO_PEERSEC || !module_label)
		return (int)syscall(SYS_getsockopt, fd, level, option, value, size);
	*size = (socklen_t)module_size;
	if (fits && module_size)
		memcpy(value, module_label, module_size);
	errno = ERANGE;
	return fits ? 0 : -1;
}

static int new_socket(void)
{
	int pair[2];

	require_int(socket_pair(SOCK_STREAM, pair), 0);
	close(pair[1]);
	return pair[0];
}

static void check_label(int counts_nul)
{
	char label[8];
	int fd = new_socket();

	harness_context("the NUL is counted: %d", counts_nul);
	module_label = "label";
	module_size = 5 + (size_t)counts_nul;
	check_int(socket_peer_label(fd, NULL, 0), module_size);
	for (size_t size = 1; size <= sizeof label; size++) {
		memset(label, 'x', sizeof label);
		check_int(socket_peer_label(fd, label, size), size < 6 ? -ERANGE : 5);
		if (size >= 6)
			check_string(label, "label");
	}
	check_int(socket_peer_label(fd, answer.label, SIZE_MAX), 5);
	module_label = NULL;
	close(fd);
}

static void test_a_label_ends_with_a_nul_whether_the_module_counts_it_or_not(void)
{
	check_label(0);
	check_label(1);
}

static void test_an_empty_label_is_none_and_without_a_module_there_is_none(void)
{
	char label[8];
	int fd = new_socket();

	module_label = "";
	module_size = 0;
	check_int(socket_peer_label(fd, label, sizeof label), -ENODATA);
	check_int(socket_peer_label(fd, NULL, 0), -ENODATA);
	module_label = NULL;
	fault_only(FAULT(SYS_GETSOCKOPT));
	fault_at(1, ENOPROTOOPT, false);
	check_int(socket_peer_label(fd, label, sizeof label), -ENODATA);
	fault_at(1, EACCES, false);
	check_int(socket_peer_label(fd, label, sizeof label), -EACCES);
	close(fd);
}

static void test_a_pair_has_the_groups_of_who_made_it(void)
{
	int n = getgroups(0, NULL), fd = new_socket();
	gid_t *groups = calloc((size_t)n + 1, sizeof *groups);

	require(groups != NULL);
	check_int(getgroups(n, groups), n);
	check_int(socket_peer_groups(fd, NULL, 0), n);
	/* The caller may say that it has any amount of room. */
	check_int(socket_peer_groups(fd, answer.groups, BYTES_MAX / sizeof(gid_t)), n);
	check_int(socket_peer_groups(fd, answer.groups, SIZE_MAX), n);
	check_bytes(answer.groups, groups, (size_t)n * sizeof *groups);
	free(groups);
	close(fd);
}

static void test_where_the_kernel_knows_no_process_there_is_no_pidfd(void)
{
	/* The kernel does not know the option; the process has ended; there never was one. */
	static const int none[] = {ENOPROTOOPT, ESRCH, EINVAL};
	int fd = new_socket();

	fault_only(FAULT(SYS_GETSOCKOPT));
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		fault_at(1, none[i], false);
		check_int(socket_peer_pidfd(fd), -ENODATA);
	}
	fault_at(1, EMFILE, false);
	check_int(socket_peer_pidfd(fd), -EMFILE);
	close(fd);
}

static const struct test tests[] = {
    TEST(test_a_label_ends_with_a_nul_whether_the_module_counts_it_or_not),
    TEST(test_an_empty_label_is_none_and_without_a_module_there_is_none),
    TEST(test_a_pair_has_the_groups_of_who_made_it),
    TEST(test_where_the_kernel_knows_no_process_there_is_no_pidfd),
};
HARNESS_MAIN("peer", tests)
