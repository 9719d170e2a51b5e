/* SPDX-License-Identifier: MIT */
/* Shared buffers in a thread that is cancelled, after a fork, and while calls fail. */
#include <base/thread.h>
#include <buffer/content.h>
#include <harness/fault.h>
#include <kernel/raw.h>

/* ---- Cancellation ---------------------------------------------------------------------------- */

struct cancelled {
	beam_message *message;
	int made, added, taken;
};

/* A thread that has already been cancelled can do everything with a buffer. */
static void *live_cancelled(void *argument)
{
	struct cancelled *cancelled = argument;
	beam_buffer *buffer = NULL, *taken = NULL;

	pthread_cancel(pthread_self());
	cancelled->made = beam_buffer_new(&buffer, PAGE);
	cancelled->added = beam_message_add_buffer(cancelled->message, buffer);
	cancelled->taken = beam_message_take_buffer(cancelled->message, 0, PAGE, &taken);
	beam_buffer_free(taken);
	beam_buffer_free(buffer);
	pthread_testcancel();
	return NULL;
}

static void test_a_thread_that_is_cancelled_leaves_no_buffer_behind(void)
{
	struct cancelled cancelled = {new_message(), 1, 1, 1};
	pthread_t thread;
	void *result;

	require_int(pthread_create(&thread, NULL, live_cancelled, &cancelled), 0);
	require_int(pthread_join(thread, &result), 0);
	check(result == PTHREAD_CANCELED);
	check_int(cancelled.made, 0);
	check_int(cancelled.added, 0);
	check_int(cancelled.taken, 0);
	check_int(count_mappings(NULL), 0);
	free_message(cancelled.message);
}

/* ---- Fork ------------------------------------------------------------------------------------ */

struct inherited {
	beam_buffer *filled, *sealed;
	int go[2];
};

/* In the child the parent's buffer has no data, but can be released. The sealed one is complete. */
static int look_at(void *argument)
{
	struct inherited *inherited = argument;
	beam_buffer *own;
	char go;

	check_int(count_mappings(NULL), 1);
	check(beam_buffer_data(inherited->filled) == NULL);
	check(beam_buffer_writable(inherited->filled) == NULL);
	check_int(beam_buffer_seal(inherited->filled), -ECHILD);
	check_int(beam_buffer_size(inherited->filled), PAGE);
	check(fd_open(beam_buffer_seal(inherited->sealed)));
	check_filled(beam_buffer_data(inherited->sealed), PAGE);
	own = new_buffer(PAGE);
	strcpy(beam_buffer_writable(own), "the child's own");
	check(beam_buffer_seal(own) >= 0);
	check(beam_buffer_data(inherited->filled) == NULL);
	check_int(write(inherited->go[1], "r", 1), 1);
	check_int(read(inherited->go[1], &go, 1), 1);
	/* Another mapping may have got its addresses by now. */
	beam_buffer_free(inherited->filled);
	check_string((const char *)beam_buffer_data(own), "the child's own");
	beam_buffer_free(own);
	beam_buffer_free(inherited->sealed);
	check_int(count_mappings(NULL), 0);
	return 0;
}

static void test_a_child_keeps_no_buffer_from_being_sealed_and_has_only_what_was_sealed(void)
{
	struct inherited inherited = {.filled = new_buffer(PAGE), .sealed = new_buffer(PAGE)};
	pid_t child;
	char ready;

	fill(beam_buffer_writable(inherited.sealed), PAGE);
	check(beam_buffer_seal(inherited.sealed) >= 0);
	strcpy(beam_buffer_writable(inherited.filled), "the parent's");
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, inherited.go), 0);
	child = process_spawn(look_at, &inherited);
	check_int(read(inherited.go[0], &ready, 1), 1);
	check(beam_buffer_seal(inherited.filled) >= 0);
	check_string((const char *)beam_buffer_data(inherited.filled), "the parent's");
	check_int(write(inherited.go[0], "g", 1), 1);
	check_int(process_wait(child), 0);
	beam_buffer_free(inherited.filled);
	beam_buffer_free(inherited.sealed);
	close(inherited.go[0]);
	close(inherited.go[1]);
}

/* ---- Faults ---------------------------------------------------------------------------------- */

/* The rest of a buffer's life. What was filled in stays. */
static void seal_and_pass(beam_buffer *buffer)
{
	beam_message *message = NULL;
	beam_buffer *taken = NULL;
	int r = beam_buffer_seal(buffer);

	check(r >= 0 || r == -ENOMEM || r == -EMFILE);
	check(r < 0 || beam_buffer_writable(buffer) == NULL);
	check_string((const char *)beam_buffer_data(buffer), "filled");
	/* What failed once can be done again. */
	if (r < 0 && beam_buffer_writable(buffer))
		strcpy(beam_buffer_writable(buffer), "filled");
	if (beam_message_new(&message, "", 0) < 0)
		return;
	r = beam_message_add_buffer(message, buffer);
	check(r == 0 || r == -ENOMEM || r == -EMFILE);
	if (r == 0) {
		r = beam_message_take_buffer(message, 0, PAGE, &taken);
		/* If the kernel does not say what the file is, it is not accepted. */
		check(r == 0 || r == -ENOMEM || r == -EBADMSG);
		check((r == 0) == (taken != NULL));
		check_int(beam_message_peek_fd(message, 0) == -ENOENT, r == 0);
		if (taken)
			check_string((const char *)beam_buffer_data(taken), "filled");
		beam_buffer_free(taken);
	}
	beam_message_free(message);
}

static void live(void)
{
	beam_buffer *buffer = NULL;
	int r = beam_buffer_new(&buffer, PAGE);

	check(r == 0 || r == -ENOMEM || r == -EMFILE || r == -ENOSPC);
	check((r == 0) == (buffer != NULL));
	if (r == 0) {
		strcpy(beam_buffer_writable(buffer), "filled");
		seal_and_pass(buffer);
		beam_buffer_free(buffer);
	}
	check(reaper_drain(BEAM_FOREVER));
	/*
	 * Valgrind would report a thread that exists at the end of one run and not of another as
	 * lost memory.
	 */
	if (under_valgrind())
		check(thread_end_all(BEAM_FOREVER));
	check_int(count_mappings(NULL), 0);
}

static void test_no_fault_leaves_memory_a_mapping_or_a_descriptor(void)
{
	check(fault_sweep(live) >= 14);
}

static void test_signals_and_old_kernels_are_no_reason_to_fail(void)
{
	const struct {
		enum sys_call call;
		int error;
	} passing[] = {{SYS_FALLOCATE, EINTR}, {SYS_MEMFD_CREATE, EINVAL}};

	for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) {
		beam_buffer *buffer = NULL;

		fault_only(FAULT(passing[i].call));
		fault_at(1, passing[i].error, false);
		check_int(beam_buffer_new(&buffer, 2 << 20), 0);
		check(fault_hit());
		fault_off();
		fill(beam_buffer_writable(buffer), 2 << 20);
		check(beam_buffer_seal(buffer) >= 0);
		beam_buffer_free(buffer);
	}
}

static void test_a_buffer_that_could_neither_be_sealed_nor_mapped_back_is_sealed_later(void)
{
	const enum sys_call way_back[] = {SYS_MMAP, SYS_MADVISE};

	for (size_t i = 0; i < 2; i++) {
		beam_buffer *buffer = new_buffer(PAGE);

		strcpy(beam_buffer_writable(buffer), "filled");
		/* Sealing fails, and so does what comes next. */
		fault_only(FAULT(SYS_FCNTL) | FAULT(way_back[i]));
		fault_at(way_back[i] == SYS_MMAP ? 2 : 1, ENOMEM, true);
		check_int(beam_buffer_seal(buffer), -ENOMEM);
		fault_off();
		check(beam_buffer_writable(buffer) == NULL);
		check_string((const char *)beam_buffer_data(buffer), "filled");
		check(beam_buffer_seal(buffer) >= 0);
		check_string((const char *)beam_buffer_data(buffer), "filled");
		beam_buffer_free(buffer);
	}
}

static const struct test tests[] = {
    TEST(test_a_thread_that_is_cancelled_leaves_no_buffer_behind),
    TEST(test_a_child_keeps_no_buffer_from_being_sealed_and_has_only_what_was_sealed),
    TEST(test_no_fault_leaves_memory_a_mapping_or_a_descriptor),
    TEST(test_signals_and_old_kernels_are_no_reason_to_fail),
    TEST(test_a_buffer_that_could_neither_be_sealed_nor_mapped_back_is_sealed_later),
};

HARNESS_MAIN("interference", tests)
