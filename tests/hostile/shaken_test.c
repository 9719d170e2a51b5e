/* SPDX-License-Identifier: MIT */
/* This process is stopped in the middle of a frame, or gets signals all the time. */
#include <dirent.h>
#include <hostile/attack.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

static struct attack attack;

struct stopped {
	int socket;
	uint32_t timeout_ms;
};

/* Receives one message. */
static int child_receives(void *argument)
{
	struct stopped *stopped = argument;
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;
	beam_channel *channel = NULL;
	beam_topic *topic = NULL;

	options.frame_timeout_ms = stopped->timeout_ms;
	require_int(beam_channel_from_fd(&channel, stopped->socket, &options), 0);
	require_int(beam_topic_open(&topic, channel, "log"), 0);
	expect_text(topic, "in two parts");
	check_string(beam_channel_breach(channel), NULL);
	beam_topic_unref(topic);
	beam_channel_unref(channel);
	return 0;
}

static void test_a_process_that_was_stopped_in_the_middle_of_a_frame_does_not_punish_its_peer(void)
{
	struct stopped stopped = {.timeout_ms = (uint32_t)stretch(200)};
	struct raw_frame frame;
	int ends[2], status;
	pid_t child;

	needs_threads_in_children();
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	stopped.socket = ends[0];
	child = process_spawn(child_receives, &stopped);
	close(ends[0]);
	raw_peer_init(&attack.peer, ends[1]);
	attack.out.size = 0;
	raw_hello(&attack.out);
	raw_open(&attack.out, 1, "log");
	attack_send(&attack);
	raw_peer_expect(&attack.peer, RAW_OPEN);

	raw_text(&attack.out, 1, "in two parts");
	check_int(raw_send(attack.peer.socket, attack.out.bytes, 20, NULL, 0, 0), 20);
	check_within(20000, raw_peer_drained(&attack.peer));
	check_int(kill(child, SIGSTOP), 0);
	check_int(waitpid(child, &status, WUNTRACED), child);
	check(WIFSTOPPED(status));
	check_int(raw_send(attack.peer.socket, attack.out.bytes + 20, attack.out.size - 20, NULL, 0, 0),
		  (ssize_t)attack.out.size - 20);
	/* The timeout passes several times. */
	check_int(raw_peer_next_within(&attack.peer, &frame, 3 * (int)stopped.timeout_ms), -ETIMEDOUT);
	check_int(kill(child, SIGCONT), 0);
	check_int(process_wait(child), 0);
	raw_peer_close(&attack.peer);
}

static atomic_bool shaking;

static void on_signal(int signal)
{
	(void)signal;
}

struct shaken {
	pthread_t threads[2];
};

static void *shake(void *argument)
{
	struct shaken *shaken = argument;

	while (atomic_load(&shaking)) {
		for (int i = 0; i < 2; i++)
			pthread_kill(shaken->threads[i], SIGUSR1);
		kill(getpid(), SIGUSR2);
		sched_yield();
	}
	return NULL;
}

enum { SHAKEN_MESSAGES = 2000 };

static void *send_shaken(void *argument)
{
	struct iovec iov = {(void *)(uintptr_t) "message", 7};
	int file = raw_file();

	for (size_t i = 0; i < scale(SHAKEN_MESSAGES); i++)
		check_int(beam_topic_sendv(argument, &iov, 1, &file, 1, 0, BEAM_FOREVER), 0);
	close(file);
	return NULL;
}

static void test_a_storm_of_signals_interrupts_no_call(void)
{
	struct sigaction action = {.sa_handler = on_signal}, before[2];
	struct shaken shaken = {.threads = {pthread_self()}};
	beam_message *message = NULL;
	int64_t begin;
	pthread_t shaker;

	check_int(sigaction(SIGUSR1, &action, &before[0]), 0);
	check_int(sigaction(SIGUSR2, &action, &before[1]), 0);
	attack_begin(&attack, NULL);
	atomic_store(&shaking, true);
	shaken.threads[1] = thread_spawn(send_shaken, attack.honest.topic[0]);
	shaker = thread_spawn(shake, &shaken);
	for (size_t i = 0; i < scale(SHAKEN_MESSAGES); i++) {
		if (!check_int(beam_topic_receive(attack.honest.topic[1], &message, 0, BEAM_FOREVER), 1))
			break;
		check_int(beam_message_attachments(message), 1);
		beam_message_free(message);
	}
	begin = now_ns();
	check_int(beam_topic_receive(attack.honest.topic[1], &message, 0, beam_in_ms(50)), -ETIMEDOUT);
	check(now_ns() - begin >= 50 * 1000000);
	atomic_store(&shaking, false);
	thread_wait(shaker);
	thread_wait(shaken.threads[1]);
	attack_end(&attack);
	sigaction(SIGUSR1, &before[0], NULL);
	sigaction(SIGUSR2, &before[1], NULL);
}

/*
 * The signals that a thread blocks, of those that can be blocked. Returns false if the thread has
 * ended.
 */
static bool blocked_signals(const char *thread, unsigned long long *ret)
{
	char path[300], line[256];
	bool found = false;
	FILE *file;

	snprintf(path, sizeof path, "/proc/self/task/%s/status", thread);
	file = fopen(path, "re");
	while (file && !found && fgets(line, sizeof line, file))
		found = sscanf(line, "SigBlk: %llx", ret) == 1;
	if (file)
		fclose(file);
	return found;
}

static void test_no_signal_sent_to_the_process_is_handled_in_a_library_thread(void)
{
	static const int signals[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE,
				      SIGALRM, SIGTERM, SIGCHLD, SIGIO,   SIGPROF};
	struct dirent *task;
	unsigned n = 0;
	DIR *folder;

	attack_begin(&attack, NULL);
	folder = opendir("/proc/self/task");
	require(folder != NULL);
	while ((task = readdir(folder))) {
		unsigned long long blocked;

		if (task->d_name[0] == '.' || atoi(task->d_name) == getpid() ||
		    !blocked_signals(task->d_name, &blocked))
			continue;
		for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
			check(blocked & 1ull << (signals[i] - 1));
		n++;
	}
	closedir(folder);
	check(n >= 3);
	attack_end(&attack);
}

static const struct test tests[] = {
    TEST(test_a_process_that_was_stopped_in_the_middle_of_a_frame_does_not_punish_its_peer),
    TEST(test_a_storm_of_signals_interrupts_no_call),
    TEST(test_no_signal_sent_to_the_process_is_handled_in_a_library_thread),
};

HARNESS_MAIN("hostile/shaken", tests)
