/* SPDX-License-Identifier: MIT */
/*
 * The simulator's world: two sides, each with both halves of a session, a model socket between them that does what the
 * kernel may do, and threads that send and receive, all of them turns of one random sequence. Descriptors are numbers
 * that are never used twice.
 */
#ifndef SESSION_SIM_H
#define SESSION_SIM_H

#include <harness/harness.h>
#include <session/rx.h>
#include <session/tx.h>

enum {
	SIM_SENDERS = 6,
	SIM_NAMES = 5,
	/* The holder of the writing right: a sender's number, the channel's thread, or nobody. */
	SIM_THREAD = SIM_SENDERS,
	SIM_NOBODY = -1,
	SIM_PATTERN = 1 << 18,
};

/* ---- Descriptors ------------------------------------------------------------------------------------------------- */

/* An open file, as an attachment of one message. */
struct sim_file {
	struct sim_message *message;
	unsigned references;
	/* The kernel refuses to pass it. */
	bool refused;
};

struct sim_fd {
	int file;
	uint8_t side;
	bool open;
};

/* ---- Messages ---------------------------------------------------------------------------------------------------- */

enum sim_fate {
	SIM_WAITS,    /* not in the stream yet */
	SIM_GOES,     /* charged, on its way */
	SIM_ACCEPTED, /* must arrive */
	SIM_ABORTED,  /* begun, then given up */
	SIM_GONE,     /* nothing of it must arrive */
};

struct sim_message {
	struct sim_stream *stream;
	size_t size, pattern;
	unsigned n_fds;
	int first_file;
	enum sim_fate fate;
	/* It is a call; it is the last reply to one, a failure. */
	struct sim_call *call;
	bool last, failed;
};

/* One life of a topic, from its OPEN to the end of its id; or the replies to one call. Seen from both sides. */
struct sim_stream {
	struct sim_stream *next;
	struct sim_call *replies_to;
	struct outlet outlet;
	char name[16];
	uint64_t number;
	/* Those that were charged, in order; how far the reader has come. */
	struct sim_message **sent;
	size_t n_sent, capacity_sent, arrived;
	bool opened, closed, released, ended;
	/* The reader's: what waits to be taken. */
	struct message_queue queue;
	struct inlet *inlet;
	uint64_t queued_cost;
};

/* A call: the caller's inlet, the callee's replies once its request has begun to come. */
struct sim_call {
	struct sim_call *next;
	struct sim_side *caller;
	struct inlet inlet;
	struct message_call handle;
	struct sim_stream *replies;
	/* The callee has taken the request and may answer; somebody is answering; END has come, or never will. */
	bool open, answering, over;
};

/* ---- The socket -------------------------------------------------------------------------------------------------- */

struct sim_segment {
	unsigned char *bytes;
	size_t size, at;
	int files[FRAME_CARRIED_MAX];
	unsigned n_files;
	struct sim_segment *next;
};

/* One direction. */
struct sim_pipe {
	struct sim_segment *first, **last;
	size_t queued, capacity;
};

/* ---- Threads ----------------------------------------------------------------------------------------------------- */

struct sim_sender {
	struct sim_message *message;
	struct tx_claim claim;
	/* It waits for credit, and is woken by the session alone. */
	bool asleep, charged, listed, begun;
	size_t left;
	/* How many messages of its topic were before it when it got into a batch. */
	size_t position;
	/* The largest part of its payload in a frame. */
	size_t part;
	uint32_t overdraft;
	struct tx_own own;
	int fds[FRAME_CARRIED_MAX];
};

enum sim_phase { SIM_MAKE, SIM_WRITE, SIM_WRITTEN };

struct sim_side {
	struct sim *sim;
	unsigned index;
	struct limits limits;
	struct tx tx;
	struct rx rx;
	bool said_goodbye, heard_goodbye, hello_came;

	struct sim_stream *streams;
	struct sim_stream *names[SIM_NAMES];
	size_t n_streams;
	struct sim_call *calls;
	size_t n_calls;
	struct sim_sender senders[SIM_SENDERS];

	int writer;
	enum sim_phase phase;
	ssize_t result;

	/* Of the other side's streams. */
	bool hoards;
	uint64_t queued_overdraft, queued_fds;
};

struct sim {
	uint64_t number;
	struct rng rng;
	struct sim_side sides[2];
	struct sim_pipe pipes[2];
	struct sim_file *files;
	size_t n_files, capacity_files;
	struct sim_fd *fds;
	size_t n_fds, capacity_fds;
	/* What kind of a world it is: messages are large, have many descriptors, or are taken slowly, so that credit runs out. */
	bool bulky, laden, lazy;
	/* The kernel behaves. */
	bool calm;
	/* Something moved since it was last cleared. */
	bool moved;
	/* The sessions end, whatever they were at. */
	bool ending;
	uint64_t steps, delivered, bytes, accepted, not_sent, aborted, refused, lost, held, calls, replies, cancelled;
};

/* The payloads are taken from here. */
extern unsigned char sim_pattern[2 * SIM_PATTERN];

/* True if BEAM_SIMULATION names one schedule: then it is told on standard error. */
extern bool sim_traced;
__attribute__((format(printf, 2, 3))) void sim_trace(const struct sim_side *side, const char *format, ...);

static inline struct sim_side *sim_other(const struct sim_side *side)
{
	return &side->sim->sides[1 - side->index];
}

static inline bool sim_chance(struct sim *sim, unsigned percent)
{
	return rng_chance(&sim->rng, percent);
}

/* From 0 to `most`, small numbers as often as large ones. */
size_t sim_size(struct sim *sim, size_t most);

/* sim.c: a world begins as its number wants it; it ends whatever it was at, and must have closed all descriptors. */
void sim_init(struct sim *sim, uint64_t number);
void sim_end(struct sim *sim);

/* sim_socket.c */
int sim_file_new(struct sim *sim, struct sim_message *message);
int sim_fd_new(struct sim_side *side, int file);
/* Fails if it is not open, or another side's. */
int sim_fd_file(const struct sim_side *side, int fd);
void sim_fd_close(struct sim_side *side, int fd);
void sim_pipe_init(struct sim_pipe *pipe, size_t capacity);
void sim_pipe_end(struct sim *sim, struct sim_pipe *pipe);
/* As socket_write() and socket_read(); `ret_files` are new descriptors of the reader's. -EAGAIN: nothing. */
ssize_t sim_pipe_write(struct sim_side *from, const struct iovec *iov, size_t n_iov, const int *fds, unsigned n_fds);
ssize_t sim_pipe_read(struct sim_side *to, const struct iovec *iov, size_t n_iov, int ret_fds[FRAME_CARRIED_MAX],
		      struct rx_group *ret);

/* sim_send.c */
extern const struct tx_events sim_tx_events;
struct sim_stream *sim_open(struct sim_side *side, unsigned name);
void sim_close(struct sim_side *side, unsigned name);
/* A new message for a sender that has none. */
void sim_begin(struct sim_side *side, struct sim_sender *sender, unsigned name);
/* The same, to answer a call. */
void sim_begin_reply(struct sim_side *side, struct sim_sender *sender, struct sim_call *call);
/* A call of the other side's gets no (more) replies. */
void sim_end_call(struct sim_side *side, struct sim_call *call, uint32_t error);
/* A turn of a sender: it charges, appends, writes. */
void sim_send(struct sim_side *side, unsigned sender);
/* It has waited long enough. */
void sim_give_up(struct sim_side *side, unsigned sender);
/* A turn of whoever holds the writing right, or of the channel's thread. */
void sim_write(struct sim_side *side);
void sim_goodbye(struct sim_side *side);
/* The held descriptors are tried again. */
void sim_unhold(struct sim_side *side);
void sim_wake_all(struct sim_side *side);

/* sim_receive.c */
extern const struct rx_events sim_rx_events;
/* One read: false if there was nothing to read. */
bool sim_read(struct sim_side *side);
/* Takes one message of a stream of the other side's. */
void sim_take(struct sim_side *side, struct sim_stream *stream);
/* No more of a stream is wanted: a topic is reset, a call cancelled. */
void sim_reset(struct sim_side *side, struct sim_stream *stream);
void sim_end_stream(struct sim_side *side, struct sim_stream *stream);

#endif
