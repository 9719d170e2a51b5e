/* SPDX-License-Identifier: MIT */
#include <channel/scene.h>
#include <dirent.h>

struct raw_peer peer;
struct raw_out out;
beam_channel *channel;
beam_topic *topics[TOPICS];

struct beam_channel_options looped(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.loop = 1;
	return options;
}

void begin(const struct beam_channel_options *options)
{
	int pair[2];

	out.size = 0;
	require_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	raw_peer_init(&peer, pair[1]);
	require_int(beam_channel_from_fd(&channel, pair[0], options), 0);
	raw_hello(&out);
	for (unsigned i = 0; i < TOPICS; i++) {
		char name[] = {(char)('a' + i), 0};

		require_int(beam_topic_open(&topics[i], channel, name), 0);
		raw_open(&out, i + 1, name);
	}
	raw_peer_send(&peer, &out);
	require_int(beam_channel_limits(channel, &(struct beam_limits){0}, sizeof(struct beam_limits), soon()), 0);
}

unsigned writers(void)
{
	unsigned n = 0;

	pthread_mutex_lock(&channel->link.writer.lock);
	for (struct list *link = channel->link.writer.waiting.next; link != &channel->link.writer.waiting;
	     link = link->next)
		n++;
	pthread_mutex_unlock(&channel->link.writer.lock);
	return n;
}

bool is_written_to(beam_channel *of)
{
	bool writing;

	pthread_mutex_lock(&of->link.writer.lock);
	writing = of->link.writer.taken || tx_pending(&of->link.writer.tx);
	pthread_mutex_unlock(&of->link.writer.lock);
	return writing;
}

void begin_settled(const struct beam_channel_options *options)
{
	begin(options);
	require_int(beam_channel_flush(channel, soon()), 0);
	check_within(20000, !is_written_to(channel));
}

void begin_narrow(const struct beam_channel_options *options)
{
	struct beam_channel_options narrow = BEAM_CHANNEL_OPTIONS;

	if (options)
		narrow = *options;
	narrow.socket_buffer_bytes = 4096;
	narrow.buffer_bytes = 16 << 10;
	begin_settled(&narrow);
}

void end(void)
{
	for (unsigned i = 0; i < TOPICS; i++)
		topics[i] = beam_topic_unref(topics[i]);
	channel = beam_channel_unref(channel);
	raw_peer_close(&peer);
}

void say(unsigned topic, const char *text)
{
	raw_text(&out, topic + 1, text);
	raw_peer_send(&peer, &out);
}

int send_words(unsigned topic, const char *text, beam_deadline deadline)
{
	return beam_topic_send(topics[topic], text, strlen(text), 0, deadline);
}

void expect_of_peer(unsigned topic, const char *text, unsigned n_fds)
{
	struct raw_frame frame = raw_peer_expect(&peer, RAW_DATA);

	check_int(frame.id, topic + 1);
	check_int(frame.size, strlen(text));
	check_bytes(frame.payload, text, frame.size);
	check_int(frame.claimed, n_fds);
	while (n_fds--)
		close(raw_peer_take_fd(&peer));
}

int send_stdin(unsigned topic, const char *text, beam_deadline deadline)
{
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};

	return beam_topic_sendv(topics[topic], &iov, 1, (int[]){STDIN_FILENO}, 1, 0, deadline);
}

unsigned fill(void)
{
	static const char bulk[3000];
	unsigned n = 0;
	int r;

	while ((r = beam_topic_send(topics[0], bulk, sizeof bulk, 0, BEAM_NOWAIT)) == 0)
		n++;
	check_int(r, -EAGAIN);
	return n;
}

/* ---- The state of the reading right ---------------------------------------------------------- */

struct view view(void)
{
	struct baton *baton = &channel->link.reader.baton;
	struct view result;

	pthread_mutex_lock(&baton->lock);
	result = (struct view){.mode = baton->mode, .taken = baton->taken, .led = baton->led};
	for (struct list *link = baton->waiters.next; link != &baton->waiters; link = link->next)
		result.waiters++;
	pthread_mutex_unlock(&baton->lock);
	return result;
}

bool is(enum standby mode, bool taken)
{
	struct view now = view();

	return now.mode == mode && now.taken == taken;
}

void rely(unsigned returns, unsigned relied_from)
{
	struct baton *baton = &channel->link.reader.baton;

	pthread_mutex_lock(&baton->lock);
	baton->returns = returns;
	baton->relied_from = relied_from;
	baton->left_at = clock_now() + INT64_C(3600) * 1000 * 1000 * 1000;
	pthread_mutex_unlock(&baton->lock);
}

unsigned relied_from(void)
{
	unsigned result;

	pthread_mutex_lock(&channel->link.reader.baton.lock);
	result = channel->link.reader.baton.relied_from;
	pthread_mutex_unlock(&channel->link.reader.baton.lock);
	return result;
}

/* How often the library's threads have gone to sleep. */
static unsigned long switches(void)
{
	DIR *folder = opendir("/proc/self/task");
	char path[64], line[128];
	struct dirent *task;
	unsigned long sum = 0, n;

	require(folder != NULL);
	while ((task = readdir(folder))) {
		bool ours = false;
		FILE *file;

		snprintf(path, sizeof path, "/proc/self/task/%.20s/status", task->d_name);
		file = fopen(path, "re");
		while (file && fgets(line, sizeof line, file)) {
			ours = ours || strcmp(line, "Name:\tbeam\n") == 0;
			if (ours && sscanf(line, "voluntary_ctxt_switches: %lu", &n) == 1)
				sum += n;
		}
		if (file)
			fclose(file);
	}
	closedir(folder);
	return sum;
}

bool is_silent(void)
{
	unsigned long before = switches();
	struct pollfd nothing = {.fd = -1};

	poll(&nothing, 1, 100);
	return switches() == before;
}

uint64_t queued(beam_topic *topic)
{
	struct beam_statistics statistics = {0};

	check_int(beam_topic_statistics(topic, &statistics, sizeof statistics), 0);
	return statistics.messages_queued;
}

void expect_nothing(beam_topic *topic)
{
	beam_message *message = NULL;

	check_int(beam_topic_receive(topic, &message, 0, BEAM_NOWAIT), -EAGAIN);
}

bool is_readable(int fd)
{
	struct pollfd item = {.fd = fd, .events = POLLIN};

	return poll(&item, 1, 0) == 1;
}

static void *receive_one(void *argument)
{
	struct receiver *receiver = argument;
	beam_message *message = NULL;

	receiver->result = beam_topic_receive(topics[receiver->topic], &message, 0, receiver->deadline);
	beam_message_free(message);
	atomic_store(&receiver->done, true);
	return NULL;
}

void start(struct receiver *receiver, unsigned topic, beam_deadline deadline)
{
	*receiver = (struct receiver){.topic = topic, .deadline = deadline};
	receiver->thread = thread_spawn(receive_one, receiver);
}

void finish(struct receiver *receiver, int result)
{
	thread_wait(receiver->thread);
	check_int(receiver->result, result);
}

void make_it_tick(void)
{
	/* A slow machine may need several tries, because this must happen often within one tick. */
	check_within(20000, (expect_nothing(topics[0]), expect_nothing(topics[0]), expect_nothing(topics[0]),
			     expect_nothing(topics[0]), view().mode == STANDBY_TICK));
}
