/* SPDX-License-Identifier: MIT */
/* A socket that was passed in and is shut down by another holder. */
#include <harness/fault.h>
#include <public/listening.h>
#include <sys/socket.h>

static void test_a_socket_that_was_shut_down_is_told_and_keeps_nobody_busy(void)
{
	beam_channel *channel = NULL;
	beam_listener *listener = NULL;
	struct spot spot;
	int fd, copy;

	spot_make(&spot);
	fd = raw_listen(spot.path, 1);
	copy = dup(fd);
	require_int(beam_listener_from_fd(&listener, fd, NULL), 0);
	check_int(beam_listener_accept(listener, &channel, BEAM_NOWAIT), -EAGAIN);
	check_int(shutdown(copy, SHUT_RDWR), 0);
	fault_only(FAULT(SYS_ACCEPT4));
	fault_at(0, 0, false);
	check_int(beam_listener_accept(listener, &channel, BEAM_NOWAIT), -EINVAL);
	check_int(beam_listener_accept(listener, &channel, soon()), -EINVAL);
	check_int(beam_listener_accept(listener, &channel, BEAM_FOREVER), -EINVAL);
	check_int(fault_calls(), 3);
	fault_off();
	check_int(beam_listener_close(listener), 0);
	check_int(beam_listener_accept(listener, &channel, soon()), 0);
	beam_listener_unref(listener);
	close(copy);
	unlink(spot.path);
	spot_end(&spot);
}

static const struct test tests[] = {
    TEST(test_a_socket_that_was_shut_down_is_told_and_keeps_nobody_busy),
};
HARNESS_MAIN("listener-shut", tests)
