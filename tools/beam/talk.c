/* SPDX-License-Identifier: MIT */
/*
 * beam connect and beam listen: received messages are printed, and the lines of standard input are
 * sent, at the same time.
 *
 * Each topic has a thread that prints it, one thread waits for topics that the peer opens, and one
 * reads standard input. The thread that started them waits until it is over: when the channel has
 * ended, or when standard input has ended and the peer has closed the topics too. All topics are
 * opened before any is closed. So if both sides are such commands, at most one of them can miss
 * that an empty topic was closed, and the other one ends both.
 */
#include "command.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { AT_ONCE = 64 };

/* The topic of standard input, if none was named. */
static char standard[] = "stdin";
static char *const unnamed[] = {standard};

struct talk {
	beam_channel *channel;
	beam_topic **topics; /* those that were named; NULL: not opened, because the channel had ended */
	size_t n_topics;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under the lock: */
	unsigned printing;
	pthread_t printer; /* the last that has ended */
	bool printed;      /* there is one */
	bool accepting, reading, over;
	int code, flaw;
	/* The reader's: */
	struct input input;
};

/* Something has ended, perhaps with an error. The first error is reported. The lock is held. */
static void note_end(struct talk *talk, int error)
{
	if (error < 0 && talk->code == CODE_DONE && !talk->over)
		talk->code = input_say(&talk->input, error, options.address);
	pthread_cond_signal(&talk->changed);
}

static void ended(struct talk *talk, bool *what, int error)
{
	pthread_mutex_lock(&talk->lock);
	*what = false;
	note_end(talk, error);
	pthread_mutex_unlock(&talk->lock);
}

/*
 * Each printer that ends joins the one that ended before it, because a peer may open and close any
 * number of topics.
 */
static void printer_ended(struct talk *talk, int error)
{
	pthread_mutex_lock(&talk->lock);
	pthread_t before = talk->printer;
	bool is_first = !talk->printed;
	talk->printer = pthread_self();
	talk->printed = true;
	talk->printing--;
	note_end(talk, error);
	pthread_mutex_unlock(&talk->lock);
	if (!is_first)
		pthread_join(before, NULL);
}

struct printer {
	struct talk *talk;
	beam_topic *topic;
};

static void *print_topic(void *argument)
{
	struct printer printer = *(struct printer *)argument;
	struct talk *talk = printer.talk;
	beam_message *messages[AT_ONCE];
	ssize_t n;

	free(argument);
	while ((n = beam_topic_receive_many(printer.topic, messages, AT_ONCE, 0, options.deadline)) > 0) {
		int code = output_messages(printer.topic, options.n_arguments != 1, messages, (size_t)n);
		pthread_mutex_lock(&talk->lock);
		/* An attachment that could not be saved is no reason to stop receiving. */
		int *noted = output_failed() ? &talk->code : &talk->flaw;
		if (*noted == CODE_DONE)
			*noted = code;
		pthread_cond_signal(&talk->changed);
		pthread_mutex_unlock(&talk->lock);
	}
	beam_topic_unref(printer.topic);
	printer_ended(talk, (int)n);
	return NULL;
}

/* Starts to print a topic. @return 0 or a negative errno */
static int print(struct talk *talk, beam_topic *topic)
{
	struct printer *printer = malloc(sizeof *printer);
	pthread_t thread;

	if (!printer)
		return -ENOMEM;
	*printer = (struct printer){.talk = talk, .topic = beam_topic_ref(topic)};
	pthread_mutex_lock(&talk->lock);
	int r = -pthread_create(&thread, NULL, print_topic, printer);
	if (r == 0)
		talk->printing++;
	pthread_mutex_unlock(&talk->lock);
	if (r < 0) {
		beam_topic_unref(topic);
		free(printer);
	}
	return r;
}

/* Topics that the peer opens are printed if the command names no topics, and closed otherwise. */
static void *talk_topics(void *argument)
{
	struct talk *talk = argument;
	beam_topic *topic;
	int r;

	while ((r = beam_channel_accept(talk->channel, &topic, options.deadline)) > 0) {
		beam_topic_close_send(topic);
		r = options.n_arguments > 0 ? 0 : print(talk, topic);
		beam_topic_unref(topic);
		if (r < 0)
			break;
	}
	ended(talk, &talk->accepting, r);
	return NULL;
}

static void *talk_lines(void *argument)
{
	struct talk *talk = argument;
	const char *line = NULL;
	size_t size = 0;
	int r;

	while ((r = input_line(&talk->input, &line, &size)) > 0)
		if ((r = beam_topic_send(talk->topics[0], line, size, 0, options.deadline)) < 0)
			break;
	beam_topic_close_send(talk->topics[0]);
	ended(talk, &talk->reading, r);
	return NULL;
}

/*
 * Opens the topics and starts to print them. On a channel that has already ended, only topics that
 * have something to print can be opened. How the channel ended is reported by the thread that
 * accepts topics.
 */
static int open_topics(struct talk *talk, char *const *names, size_t n)
{
	talk->n_topics = n;
	talk->topics = calloc(talk->n_topics, sizeof(beam_topic *));
	if (!talk->topics)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		int r = beam_topic_open(&talk->topics[i], talk->channel, names[i]);
		if (r == -EPIPE || r == -ECONNRESET || r == -EPROTO)
			continue;
		if (r < 0 || (r = print(talk, talk->topics[i])) < 0)
			return r;
	}
	return 0;
}

/* Closes for sending the topics that standard input is not sent on. */
static void close_topics(struct talk *talk, bool with_input)
{
	for (size_t i = 0; talk->topics && i < talk->n_topics; i++)
		if (talk->topics[i] && (!with_input || talk->topics[i] != talk->topics[0]))
			beam_topic_close_send(talk->topics[i]);
}

static void free_topics(struct talk *talk)
{
	for (size_t i = 0; talk->topics && i < talk->n_topics; i++)
		beam_topic_unref(talk->topics[i]);
	free(talk->topics);
}

static int talk_start(struct talk *talk, pthread_t *thread, void *(*body)(void *), bool *what)
{
	pthread_mutex_lock(&talk->lock);
	int r = -pthread_create(thread, NULL, body, talk);
	*what = r == 0;
	pthread_mutex_unlock(&talk->lock);
	return r;
}

/* @return a code */
static int wait_until_over(struct talk *talk, int error)
{
	pthread_mutex_lock(&talk->lock);
	if (error < 0)
		talk->code = say_ended(talk->channel, error, options.address);
	while (talk->code == CODE_DONE && (talk->printing > 0 || (talk->accepting && talk->reading)))
		pthread_cond_wait(&talk->changed, &talk->lock);
	talk->over = true;
	pthread_mutex_unlock(&talk->lock);
	return talk->code;
}

static void wait_for_printers(struct talk *talk)
{
	pthread_mutex_lock(&talk->lock);
	while (talk->printing > 0)
		pthread_cond_wait(&talk->changed, &talk->lock);
	pthread_mutex_unlock(&talk->lock);
	if (talk->printed)
		pthread_join(talk->printer, NULL);
}

static int talk(beam_channel *channel, bool with_input)
{
	struct talk talk = {.channel = channel, .input = INPUT};

	pthread_t acceptor, reader;

	talk.input.channel = channel;
	talk.input.stop = eventfd(0, EFD_CLOEXEC);

	pthread_mutex_init(&talk.lock, NULL);
	pthread_cond_init(&talk.changed, NULL);
	int r = talk.input.stop < 0 ? -errno : 0;
	if (r == 0)
		r = options.n_arguments > 0 ? open_topics(&talk, options.arguments, options.n_arguments)
					    : open_topics(&talk, unnamed, 1);
	close_topics(&talk, with_input);
	bool accepts = r == 0 && (r = talk_start(&talk, &acceptor, talk_topics, &talk.accepting)) == 0;
	bool reads =
	    r == 0 && with_input && talk.topics[0] && (r = talk_start(&talk, &reader, talk_lines, &talk.reading)) == 0;
	int code = wait_until_over(&talk, r);
	/* The reader may be waiting for standard input. */
	if (reads)
		eventfd_write(talk.input.stop, 1);
	r = beam_channel_close(channel, options.deadline);
	if (r < 0 && code == CODE_DONE)
		code = say_ended(channel, r, options.address);
	if (reads)
		pthread_join(reader, NULL);
	if (accepts)
		pthread_join(acceptor, NULL);
	wait_for_printers(&talk);
	free_topics(&talk);
	input_free(&talk.input);
	if (talk.input.stop >= 0)
		close(talk.input.stop);
	pthread_cond_destroy(&talk.changed);
	pthread_mutex_destroy(&talk.lock);
	return code == CODE_DONE ? talk.flaw : code;
}

static int run_connect(void)
{
	__attribute__((cleanup(channel_release))) beam_channel *channel = NULL;
	int code = endpoint_open(&channel);

	return code == CODE_DONE ? talk(channel, true) : code;
}

const struct command command_connect = {
    .bit = CONNECT,
    .name = "connect",
    .arguments = "ADDRESS [TOPIC...]",
    .purpose = "Print received messages, and send the lines of standard input",
    .details = "Lines are sent on the first TOPIC, and the messages of each TOPIC are printed. Without a TOPIC, lines "
	       "are sent on \"stdin\", and the messages of every topic are printed.",
    .least = 1,
    .most = 1 + UINT16_MAX,
    .run = run_connect,
};

/* Serves one of many clients. */
static void *serve(void *argument)
{
	beam_channel *channel = argument;

	int code = talk(channel, false);
	beam_channel_unref(channel);
	if (output_failed())
		listening_stop(code);
	return NULL;
}

/*
 * Serves clients until a signal or the deadline ends the program. Nothing that a client does ends
 * it. It also ends if standard output fails, because then it has no purpose.
 */
static int keep(void)
{
	pthread_attr_t detached;
	beam_channel *channel;
	pthread_t thread;
	int code;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	while ((code = listening_accept(&channel)) == CODE_DONE) {
		int r = pthread_create(&thread, &detached, serve, channel);
		if (r != 0) {
			say_error(-r, "cannot serve a client");
			beam_channel_unref(channel);
		}
	}
	pthread_attr_destroy(&detached);
	return code;
}

static int run_listen(void)
{
	if (!options.keep) {
		options.listen = true;
		return run_connect();
	}
	int code = listening_begin(NULL);
	if (code == CODE_DONE) {
		code = keep();
		listening_end();
	}
	return code;
}

const struct command command_listen = {
    .bit = LISTEN,
    .name = "listen",
    .arguments = "ADDRESS [TOPIC...]",
    .purpose = "Wait for a client, and then do the same as connect",
    .details = "The command ends when its client has left. With --keep it serves any number of clients, until a signal "
	       "or the deadline ends it.",
    .least = 1,
    .most = 1 + UINT16_MAX,
    .run = run_listen,
};
