/* SPDX-License-Identifier: MIT */
/* Messages: payload, attachments, and queues of them. */
#include <base/thread.h>
#include <harness/fault.h>
#include <harness/harness.h>
#include <kernel/raw.h>
#include <message/message.h>
#include <socket/reaper.h>

#include <poll.h>

static struct beam_message *message_of(const char *text)
{
	struct beam_message *message = NULL;

	require_int(beam_message_new(&message, text, strlen(text)), 0);
	return message;
}

/* Payload */

static void test_a_message_copies_its_payload(void)
{
	char data[] = "hello";
	beam_message *message;

	require_int(beam_message_new(&message, data, 5), 0);
	data[0] = 'x';
	check_int(beam_message_size(message), 5);
	check_bytes(beam_message_data(message), "hello", 5);
	check_int((uintptr_t)beam_message_data(message) % 8, 0);
	check_int(beam_message_attachments(message), 0);
	beam_message_free(message);
}

static void test_a_message_without_data_is_zero_and_can_be_filled_in(void)
{
	static const char zeroes[100];
	beam_message *message;

	require_int(beam_message_new(&message, NULL, sizeof zeroes), 0);
	check_bytes(beam_message_data(message), zeroes, sizeof zeroes);
	memcpy(beam_message_writable(message), "hello", 5);
	check_bytes(beam_message_data(message), "hello\0", 6);
	beam_message_free(message);
}

static void test_an_empty_message_has_data(void)
{
	beam_message *message;

	require_int(beam_message_new(&message, NULL, 0), 0);
	check(beam_message_data(message) != NULL);
	check(beam_message_writable(message) != NULL);
	check_int(beam_message_size(message), 0);
	beam_message_free(message);
}

static void test_a_message_that_was_received_cannot_be_written_to(void)
{
	struct beam_message *message = message_allocate(5);

	check(message != NULL);
	if (!message)
		return;
	memcpy(message_room(message), "hello", 5);
	check_bytes(beam_message_data(message), "hello", 5);
	check(beam_message_writable(message) == NULL);
	beam_message_free(message);
}

static void test_impossible_sizes_are_refused(void)
{
	beam_message *message = NULL;

	check_int(beam_message_new(&message, "x", (size_t)INT32_MAX + 1), -EMSGSIZE);
	check_int(beam_message_new(&message, "x", SIZE_MAX), -EMSGSIZE);
	check(message == NULL);
	check(message_allocate(SIZE_MAX) == NULL);
}

static void test_no_message_is_an_error_or_nothing_but_never_a_crash(void)
{
	check_int(beam_message_new(NULL, "x", 1), -EINVAL);
	beam_message_free(NULL);
	check(beam_message_data(NULL) == NULL);
	check_int(beam_message_size(NULL), 0);
	check(beam_message_writable(NULL) == NULL);
	check_int(beam_message_add_fd(NULL, 0), -EINVAL);
	check_int(beam_message_give_fd(NULL, 0), -EINVAL);
	check_int(beam_message_attachments(NULL), 0);
	check_int(beam_message_peek_fd(NULL, 0), -EINVAL);
	check_int(beam_message_take_fd(NULL, 0), -EINVAL);
}

/* Attachments */

static void test_an_added_descriptor_stays_the_callers(void)
{
	beam_message *message = message_of("");
	int file = raw_file(), fd;

	check_int(beam_message_add_fd(message, file), 0);
	fd = beam_message_peek_fd(message, 0);
	check(fd >= 0 && fd != file);
	check(raw_inode(fd) == raw_inode(file));
	check_int(fcntl(fd, F_GETFD), FD_CLOEXEC);
	beam_message_free(message);
	check(reaper_drain(BEAM_FOREVER));
	check(fd_open(file));
	check(!fd_open(fd));
	close(file);
}

static void test_a_given_descriptor_becomes_the_messages_and_close_on_exec(void)
{
	beam_message *message = message_of("");
	int file = memfd_create("beam-test", 0);

	check_int(beam_message_give_fd(message, file), 0);
	check_int(beam_message_peek_fd(message, 0), file);
	check_int(fcntl(file, F_GETFD), FD_CLOEXEC);
	beam_message_free(message);
	check(reaper_drain(BEAM_FOREVER));
	check(!fd_open(file));
}

static void test_a_taken_descriptor_is_the_callers(void)
{
	beam_message *message = message_of("");
	int file = raw_file();

	check_int(beam_message_give_fd(message, file), 0);
	check_int(beam_message_take_fd(message, 0), file);
	check_int(beam_message_take_fd(message, 0), -ENOENT);
	check_int(beam_message_peek_fd(message, 0), -ENOENT);
	check_int(beam_message_attachments(message), 1);
	beam_message_free(message);
	check(reaper_drain(BEAM_FOREVER));
	check(fd_open(file));
	close(file);
}

static void test_there_is_no_attachment_past_the_last(void)
{
	beam_message *message = message_of("");

	check_int(beam_message_peek_fd(message, 0), -ENOENT);
	check_int(beam_message_take_fd(message, SIZE_MAX), -ENOENT);
	beam_message_free(message);
}

static void test_a_lost_attachment_tells_why(void)
{
	struct beam_message *message = message_of("");
	int file = raw_file();

	check_int(message_reserve_fds(message, 3), 0);
	message_put_fd(message, -EMFILE);
	message_put_fd(message, file);
	message_put_fd(message, -EACCES);
	check_int(beam_message_attachments(message), 3);
	check_int(beam_message_take_fd(message, 0), -EMFILE);
	check_int(beam_message_take_fd(message, 0), -EMFILE);
	check_int(beam_message_peek_fd(message, 1), file);
	check_int(beam_message_peek_fd(message, 2), -EACCES);
	beam_message_free(message);
	check(reaper_drain(BEAM_FOREVER));
	check(!fd_open(file));
}

static void test_a_message_takes_as_many_attachments_as_the_kernel_does_and_keeps_their_order(void)
{
	beam_message *message = message_of("");
	int fds[BEAM_MESSAGE_ATTACHMENTS_MAX];

	for (size_t i = 0; i < BEAM_MESSAGE_ATTACHMENTS_MAX; i++) {
		fds[i] = fcntl(0, F_DUPFD_CLOEXEC, 0);
		require_int(beam_message_give_fd(message, fds[i]), 0);
	}
	check_int(beam_message_add_fd(message, 0), -E2BIG);
	check_int(beam_message_give_fd(message, 0), -E2BIG);
	check_int(beam_message_attachments(message), BEAM_MESSAGE_ATTACHMENTS_MAX);
	for (size_t i = 0; i < BEAM_MESSAGE_ATTACHMENTS_MAX; i++)
		check_int(beam_message_peek_fd(message, i), fds[i]);
	beam_message_free(message);
	check(reaper_drain(BEAM_FOREVER));
}

static void test_what_is_not_open_cannot_be_attached(void)
{
	beam_message *message = message_of("");

	check_int(beam_message_add_fd(message, -1), -EBADF);
	check_int(beam_message_give_fd(message, -1), -EBADF);
	check_int(beam_message_give_fd(message, 1 << 20), -EBADF);
	check_int(beam_message_attachments(message), 0);
	beam_message_free(message);
}

static void test_the_shell_is_freed_without_the_attachments(void)
{
	struct beam_message *message = message_of("");
	int fds[5];

	for (size_t i = 0; i < 5; i++) {
		fds[i] = raw_file();
		require_int(beam_message_give_fd(message, fds[i]), 0);
	}
	message_free_shell(message);
	check(reaper_drain(BEAM_FOREVER));
	for (size_t i = 0; i < 5; i++) {
		check(fd_open(fds[i]));
		close(fds[i]);
	}
}

struct test_call {
	struct message_call call;
	int dropped;
};

static void count_drop(struct message_call *call)
{
	((struct test_call *)call)->dropped++;
}

static void test_a_call_that_is_freed_is_dropped_once_and_its_shell_is_not(void)
{
	struct test_call call = {.call = {.dropped = count_drop}};
	struct beam_message *message = message_of("");

	message->call = &call.call;
	beam_message_free(message);
	check_int(call.dropped, 1);

	message = message_of("");
	message->call = &call.call;
	message_free_shell(message);
	check_int(call.dropped, 1);
}

/* Queues */

static void test_a_queue_gives_messages_in_order(void)
{
	struct beam_message *messages[3] = {message_of("a"), message_of("b"), message_of("c")};
	struct message_queue queue;

	message_queue_init(&queue);
	check(message_queue_take(&queue) == NULL);
	for (int turn = 0; turn < 2; turn++) {
		for (size_t i = 0; i < 3; i++)
			message_queue_append(&queue, messages[i]);
		check_int(queue.n, 3);
		for (size_t i = 0; i < 3; i++)
			check(message_queue_take(&queue) == messages[i]);
		check(message_queue_take(&queue) == NULL);
		check_int(queue.n, 0);
	}
	for (size_t i = 0; i < 3; i++)
		beam_message_free(messages[i]);
}

static void test_a_queue_is_put_behind_another(void)
{
	struct beam_message *messages[4] = {message_of("a"), message_of("b"), message_of("c"), message_of("d")};
	struct message_queue queue, other;

	message_queue_init(&queue);
	message_queue_init(&other);
	message_queue_splice(&queue, &other);
	check_int(queue.n, 0);
	message_queue_append(&other, messages[0]);
	message_queue_splice(&queue, &other);
	message_queue_append(&other, messages[1]);
	message_queue_append(&other, messages[2]);
	message_queue_splice(&queue, &other);
	message_queue_splice(&queue, &other);
	message_queue_append(&queue, messages[3]);
	check_int(queue.n, 4);
	check(other.n == 0 && message_queue_take(&other) == NULL);
	for (size_t i = 0; i < 4; i++) {
		check(message_queue_take(&queue) == messages[i]);
		beam_message_free(messages[i]);
	}
}

/* Faults */

static void make_a_message(void)
{
	beam_message *message = NULL;
	int file = raw_file();

	if (beam_message_new(&message, "hello", 5) == 0) {
		for (size_t i = 0, n = 0; i < 5; i++) {
			int r = beam_message_add_fd(message, file);

			check(r == 0 || r == -ENOMEM || r == -EMFILE);
			n += r == 0;
			check_int(beam_message_attachments(message), n);
		}
		if (beam_message_give_fd(message, file) == 0)
			file = -1;
		beam_message_free(message);
		check(reaper_drain(BEAM_FOREVER));
		/*
		 * Valgrind would report a thread that exists at the end of one run and not of
		 * another as lost memory.
		 */
		if (under_valgrind())
			check(thread_end_all(BEAM_FOREVER));
	} else {
		check(message == NULL);
	}
	if (file >= 0)
		close(file);
}

static void test_no_fault_leaves_memory_or_a_descriptor(void)
{
	check(fault_sweep(make_a_message) >= 8);
}

static size_t n_settled;

static void on_settled(struct reaper_account *account, size_t n)
{
	(void)account;
	n_settled += n;
}

static void test_of_attachments_that_are_given_away_those_that_were_lost_or_taken_do_not_count_again(void)
{
	struct beam_message *message = message_allocate(0);
	struct reaper_account account;

	require(message != NULL);
	reaper_account_init(&account, on_settled);
	n_settled = 0;
	message->account = &account;
	message->n_charged = 3;
	message_put_fd(message, -EMFILE);
	message_put_fd(message, STDIN_FILENO);
	message_put_fd(message, STDOUT_FILENO);
	check_int(beam_message_take_fd(message, 1), STDIN_FILENO);
	check_int(n_settled, 1);
	message_disown_fds(message);
	check_int(n_settled, 2);
	beam_message_free(message);
	reaper_account_end(&account);
}

static const struct test tests[] = {
    TEST(test_a_message_copies_its_payload),
    TEST(test_a_message_without_data_is_zero_and_can_be_filled_in),
    TEST(test_an_empty_message_has_data),
    TEST(test_a_message_that_was_received_cannot_be_written_to),
    TEST(test_impossible_sizes_are_refused),
    TEST(test_no_message_is_an_error_or_nothing_but_never_a_crash),
    TEST(test_an_added_descriptor_stays_the_callers),
    TEST(test_a_given_descriptor_becomes_the_messages_and_close_on_exec),
    TEST(test_a_taken_descriptor_is_the_callers),
    TEST(test_there_is_no_attachment_past_the_last),
    TEST(test_a_lost_attachment_tells_why),
    TEST(test_a_message_takes_as_many_attachments_as_the_kernel_does_and_keeps_their_order),
    TEST(test_what_is_not_open_cannot_be_attached),
    TEST(test_the_shell_is_freed_without_the_attachments),
    TEST(test_a_call_that_is_freed_is_dropped_once_and_its_shell_is_not),
    TEST(test_a_queue_gives_messages_in_order),
    TEST(test_a_queue_is_put_behind_another),
    TEST(test_no_fault_leaves_memory_or_a_descriptor),
    TEST(test_of_attachments_that_are_given_away_those_that_were_lost_or_taken_do_not_count_again),
};
HARNESS_MAIN("message", tests)
