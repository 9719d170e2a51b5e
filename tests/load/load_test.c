/* SPDX-License-Identifier: MIT */
/*
 * The library was loaded when there was no memory for the page that it detects forks with. Objects
 * that must detect forks cannot be made, neither now nor later. Everything else works.
 */
#include <base/thread.h>
#include <beam/buffer.h>
#include <beam/core.h>
#include <beam/router.h>
#include <harness/fault.h>
#include <public/listening.h>

/*
 * Runs before the library's constructor, which has the same priority and comes later in the
 * program.
 */
__attribute__((constructor(101))) static void loading_begins(void)
{
	fault_only(FAULT(SYS_MMAP));
	fault_at(1, ENOMEM, FAULT_ONCE);
}

__attribute__((constructor)) static void loading_ends(void)
{
	fault_off();
}

static void test_the_library_was_loaded_without_memory(void)
{
	check(fault_hit());
	check_int(process_id(), 0);
	check_int(process_prepare(), -ENOMEM);
}

static void test_no_channel_is_made_and_its_socket_stays_the_callers(void)
{
	beam_channel *channel = NULL, *other = NULL;
	int pair[2];

	require_int(beam_socket_pair(SOCK_STREAM, pair), 0);
	check_int(beam_channel_from_fd(&channel, pair[0], NULL), -ENOMEM);
	check_int(beam_channel_pair(&channel, &other, NULL), -ENOMEM);
	check(!channel && !other);
	close(pair[0]);
	close(pair[1]);
}

static void test_no_listener_is_made_and_nothing_is_left_in_its_place(void)
{
	beam_listener *listener = NULL;
	struct spot spot;
	int fd;

	spot_make(&spot);
	check_int(beam_listener_new(&listener, spot.path, NULL), -ENOMEM);
	check(!exists(spot.path) && !exists(spot.lock));
	fd = raw_listen(spot.path, 1);
	check_int(beam_listener_from_fd(&listener, fd, NULL), -ENOMEM);
	check(listener == NULL);
	close(fd);
	unlink(spot.path);
	spot_end(&spot);
}

static void test_neither_buffer_nor_selector_nor_router_is_made(void)
{
	beam_buffer *buffer = NULL;
	beam_select *select = NULL;
	beam_router *router = NULL;

	check_int(beam_buffer_new(&buffer, 1), -ENOMEM);
	check_int(beam_select_new(&select), -ENOMEM);
	check_int(beam_router_new(&router), -ENOMEM);
	check(!buffer && !select && !router);
}

/* They need not detect forks. Without the reaper, their attachments are closed directly. */
static void test_single_messages_come_and_go(void)
{
	beam_message *message = NULL;
	int pair[2];

	require_int(beam_socket_pair(SOCK_STREAM, pair), 0);
	check_int(beam_send(pair[0], "word", 4, pair[0], soon()), 0);
	require_int(beam_receive(pair[1], &message, 4, soon()), 1);
	check_bytes(beam_message_data(message), "word", 4);
	check_int(beam_message_attachments(message), 1);
	beam_message_free(message);
	close(pair[0]);
	close(pair[1]);
}

static const struct test tests[] = {
    TEST(test_the_library_was_loaded_without_memory),
    TEST(test_no_channel_is_made_and_its_socket_stays_the_callers),
    TEST(test_no_listener_is_made_and_nothing_is_left_in_its_place),
    TEST(test_neither_buffer_nor_selector_nor_router_is_made),
    TEST(test_single_messages_come_and_go),
};

HARNESS_MAIN("load/load", tests)
