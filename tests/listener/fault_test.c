/* SPDX-License-Identifier: MIT */
/*
 * Listening, accepting and connecting while all calls that can fail do so in turn, and accepting
 * while there are no descriptors for a long time.
 */
#include <base/thread.h>
#include <harness/fault.h>
#include <public/listening.h>
#include <socket/reaper.h>
#include <stdatomic.h>

static struct spot spot;
static const char *address;
static struct beam_channel_options short_lived = BEAM_CHANNEL_OPTIONS;

/* ---- Sweeps ---------------------------------------------------------------------------------- */

static beam_deadline shortly(void)
{
	return beam_in_ms(stretch(5));
}

/* For Valgrind, a thread that exists at the end of some runs only looks like leaked memory. */
static void settle(void)
{
	/* No thread of a channel is left that could free memory later. */
	check_within(20000, !thread_named("beam"));
	check(reaper_drain(BEAM_FOREVER));
	if (under_valgrind())
		check(thread_end_all(BEAM_FOREVER));
}

static int admit_all(void *context, const struct beam_identity *identity)
{
	(void)context;
	check_int(identity->uid, geteuid());
	check_int(identity->pid, getpid());
	return 0;
}

static int error_of(int r)
{
	static const int documented[] = {-EADDRINUSE, -EACCES,  -ENOENT,    -EROFS,        -ENOLCK,
					 -EIO,        -EMFILE,  -ENFILE,    -ENOMEM,       -EAGAIN,
					 -ENOTCONN,   -ENOBUFS, -ETIMEDOUT, -ECONNREFUSED, -EOPNOTSUPP};

	for (size_t i = 0; i < sizeof documented / sizeof *documented; i++) {
		if (r == documented[i])
			return r;
	}
	fail("%s is not an error to be expected", strerror(-r));
	return r;
}

static void connect_and_accept(beam_listener *listener)
{
	struct beam_connect_options options = BEAM_CONNECT_OPTIONS;
	beam_channel *client = NULL, *server = NULL;
	gid_t groups[64];
	int r, fd;

	options.channel = &short_lived;
	options.wait_for_server = 1;
	options.server_uid = geteuid();
	r = beam_channel_connect(&client, address, &options, shortly());
	check((r == 0) == (client != NULL));
	if (r < 0)
		error_of(r);
	r = beam_listener_accept(listener, &server, client ? shortly() : BEAM_NOWAIT);
	check((r == 1) == (server != NULL));
	if (r != 1)
		error_of(r);
	if (server) {
		r = beam_channel_peer_groups(server, groups, 64);
		check(r >= 0 || r == -ENOBUFS || r == -ENOTCONN || r == -ENODATA);
		r = beam_channel_peer_label(server, NULL, 0);
		check(r >= 0 || r == -ENOBUFS || r == -ENOTCONN || r == -ENODATA);
		fd = beam_channel_peer_pidfd(server);
		check(fd >= 0 || fd == -ENOBUFS || fd == -ENOTCONN || fd == -ENODATA);
		if (fd >= 0)
			close(fd);
	}
	beam_channel_unref(client);
	beam_channel_unref(server);
}

static void listen_and_accept(void)
{
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;
	struct beam_listener_counters statistics;
	beam_listener *listener = NULL;
	int r, fd;

	options.mode = 0622; /* the umask clears some of these */
	options.refuse_fds = 1;
	options.channel = &short_lived;
	options.accept = admit_all;
	r = beam_listener_new(&listener, address, &options);
	check((r == 0) == (listener != NULL));
	if (r < 0) {
		error_of(r);
		settle();
		return;
	}
	fd = beam_listener_accept_fd(listener);
	check(fd >= 0 || fd == -EMFILE || fd == -ENOMEM);
	connect_and_accept(listener);
	statistics = counts(listener);
	check(statistics.accepted + statistics.failed + statistics.over_descriptors <= 1 && statistics.refused == 0);
	check_int(beam_listener_close(listener), 0);
	beam_listener_unref(listener);
	settle();
}

/* After a fault, a stale socket or lock may be left, which the next listener replaces. */
static void listen_at_path(void)
{
	listen_and_accept();
	if (!fault_hit())
		check(!exists(spot.path) && !exists(spot.lock));
}

static void replace_and_accept(void)
{
	unlink(spot.path);
	close(raw_listen(spot.path, 0));
	listen_at_path();
}

static void run_plain(void *argument)
{
	void (*const *scenario)(void) = argument;

	(*scenario)();
}

static void sweep(void (*scenario)(void), unsigned long at_least)
{
	unsigned long n;

	short_lived.linger_ms = 5;
	n = fault_sweep_with(&(struct fault_sweep){
	    .scenario = run_plain, .argument = &scenario, .only = FAULT_ALL & ~FAULT(SYS_EPOLL_WAIT)});
	check(n >= at_least);
}

static void test_all_that_can_fail_at_an_abstract_name(void)
{
	address = abstract_address();
	sweep(listen_and_accept, 50);
}

static void test_all_that_can_fail_at_a_path(void)
{
	spot_make(&spot);
	address = spot.path;
	sweep(listen_at_path, 60);
	unlink(spot.path);
	unlink(spot.lock);
	spot_end(&spot);
}

static void test_all_that_can_fail_where_a_socket_is_to_be_replaced(void)
{
	spot_make(&spot);
	address = spot.path;
	sweep(replace_and_accept, 60);
	unlink(spot.path);
	unlink(spot.lock);
	spot_end(&spot);
}

static void take_what_was_handed_in(void)
{
	beam_listener *listener = NULL;
	int r, fd = raw_listen(spot.path, 1);

	r = beam_listener_from_fd(&listener, fd, NULL);
	check((r == 0) == (listener != NULL));
	if (r < 0) {
		error_of(r);
		close(fd);
	}
	beam_listener_unref(listener);
	unlink(spot.path);
	settle();
}

static void test_a_socket_that_cannot_be_taken_stays_the_callers(void)
{
	spot_make(&spot);
	sweep(take_what_was_handed_in, 8);
	spot_end(&spot);
}

/* ---- Faults that last ------------------------------------------------------------------------ */

/* No descriptor can be created, not even for the reserve. */
static void starve(int error)
{
	fault_only(FAULT(SYS_ACCEPT4) | FAULT(SYS_EVENTFD));
	fault_at(1, error, true);
}

static void expect_patience(int error)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	int64_t begin = now_ns();
	beam_channel *channel = NULL;
	int fd = raw_connect(abstract_address());

	require(fd >= 0);
	starve(error);
	for (int i = 0; i < 5; i++)
		check_int(beam_listener_accept(listener, &channel, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_listener_accept(listener, &channel, beam_in_ms(50)), -ETIMEDOUT);
	/*
	 * Each round takes 10 ms. It makes at most two attempts to accept, and two to get the
	 * reserve back.
	 */
	check(fault_calls() <= 4 * (6 + (unsigned long)((now_ns() - begin) / 10000000)));
	fault_off();
	check_int(beam_listener_accept(listener, &channel, soon()), 1);
	close(fd);
	beam_channel_unref(channel);
	beam_listener_unref(listener);
}

static void test_without_descriptors_or_memory_accepting_is_patient_and_not_busy(void)
{
	static const int errors[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS};

	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		expect_patience(errors[i]);
}

struct acceptor {
	beam_listener *listener;
	atomic_bool begun;
	int result;
};

static void *accept_one(void *argument)
{
	struct acceptor *acceptor = argument;
	beam_channel *channel;

	atomic_store(&acceptor->begun, true);
	acceptor->result = beam_listener_accept(acceptor->listener, &channel, BEAM_FOREVER);
	return NULL;
}

static void test_closing_wakes_who_waits_for_descriptors(void)
{
	struct acceptor acceptor = {.listener = listen_at(abstract_address(), NULL), .result = 77};
	int fd = raw_connect(abstract_address());
	pthread_t thread;

	require(fd >= 0);
	starve(EMFILE);
	thread = thread_spawn(accept_one, &acceptor);
	check_within(20000, atomic_load(&acceptor.begun) && fault_calls() > 4);
	check_int(beam_listener_close(acceptor.listener), 0);
	thread_wait(thread);
	fault_off();
	check_int(acceptor.result, 0);
	close(fd);
	beam_listener_unref(acceptor.listener);
}

static void test_what_passes_is_not_noticed_by_who_accepts(void)
{
	static const int errors[] = {EINTR, ECONNABORTED, EAGAIN, ENOMEM, ENOBUFS};
	beam_listener *listener = listen_at(abstract_address(), NULL);
	beam_channel *channels[2];

	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		fault_only(FAULT(SYS_ACCEPT4));
		fault_times(3);
		fault_at(1, errors[i], false);
		meet(listener, abstract_address(), channels);
		check_int(fault_calls(), 4);
		fault_off();
		part(channels);
	}
	check_int(counts(listener).accepted, sizeof errors / sizeof *errors);
	beam_listener_unref(listener);
}

static void test_an_error_that_does_not_pass_is_told(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	beam_channel *channel;

	fault_only(FAULT(SYS_ACCEPT4));
	fault_at(1, EINVAL, true);
	check_int(beam_listener_accept(listener, &channel, BEAM_FOREVER), -EINVAL);
	fault_off();
	beam_listener_unref(listener);
}

/* Another process that shares the socket may always accept the client first. */
static void test_a_deadline_holds_though_somebody_seems_to_wait(void)
{
	beam_listener *listener = listen_at(abstract_address(), NULL);
	int fd = raw_connect(abstract_address());
	beam_channel *channel;

	require(fd >= 0);
	fault_only(FAULT(SYS_ACCEPT4));
	fault_at(1, EAGAIN, true);
	check_int(beam_listener_accept(listener, &channel, BEAM_NOWAIT), -EAGAIN);
	check_int(beam_listener_accept(listener, &channel, beam_in_ms(5)), -ETIMEDOUT);
	fault_off();
	close(fd);
	beam_listener_unref(listener);
}

static void test_a_signal_does_not_keep_a_listener_from_its_place(void)
{
	static const enum sys_call calls[] = {SYS_OPENAT, SYS_FLOCK, SYS_CONNECT};
	const mode_t before = umask(0077);
	struct beam_listener_options options = BEAM_LISTENER_OPTIONS;

	spot_make(&spot);
	/* If there is a socket to replace and a mode to set, all of these calls are made. */
	options.mode = 0622;
	for (size_t i = 0; i < 3; i++)
		for (unsigned long n = 1; n <= (calls[i] == SYS_OPENAT ? 4 : 1); n++) {
			close(raw_listen(spot.path, 0));
			fault_only(FAULT(calls[i]));
			fault_at(n, EINTR, false);
			beam_listener_unref(listen_at(spot.path, &options));
			check(fault_hit());
			fault_off();
		}
	umask(before);
	spot_end(&spot);
}

static const struct test tests[] = {
    TEST(test_all_that_can_fail_at_an_abstract_name),
    TEST(test_all_that_can_fail_at_a_path),
    TEST(test_all_that_can_fail_where_a_socket_is_to_be_replaced),
    TEST(test_a_socket_that_cannot_be_taken_stays_the_callers),
    TEST(test_without_descriptors_or_memory_accepting_is_patient_and_not_busy),
    TEST(test_closing_wakes_who_waits_for_descriptors),
    TEST(test_what_passes_is_not_noticed_by_who_accepts),
    TEST(test_an_error_that_does_not_pass_is_told),
    TEST(test_a_deadline_holds_though_somebody_seems_to_wait),
    TEST(test_a_signal_does_not_keep_a_listener_from_its_place),
};

HARNESS_MAIN("listener/fault", tests)
