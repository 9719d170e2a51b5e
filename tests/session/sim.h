/* SPDX-License-Identifier: MIT */
/*
 * The world of the simulator: two sides, each with both halves of a session; a model socket between
 * them, which does what the kernel may do; and threads that send and receive. One random sequence
 * decides what happens next. Descriptors are numbers that are never used twice.
 */
#ifndef SESSION_SIM_H
#define SESSION_SIM_H

#include <harness/harness.h>
#include <session/rx.h>
#include <session/sim_tape.h>
#include <session/tx.h>

enum {
	SIM_SENDERS = 6,
	SIM_NAMES = 5,
	SIM_RUN = 8,
	/* Who holds the writing right: a sender's number, the channel's thread, or nobody. */
	SIM_THREAD = SIM_SENDERS,
	SIM_NOBODY = -1,
	SIM_PATTERN = 1 << 20,
};

/* ---- Events ---------------------------------------------------------------------------------- */

/* Each event is counted, and printed when a schedule is told. */
#define SIM_EVENTS(X)                                                                                                  \
	X(OPENS, "topics opened")                                                                                      \
	X(CLOSES, "topics closed")                                                                                     \
	X(RESETS, "topics reset by their reader")                                                                      \
	X(REFUSES, "topics refused at once")                                                                           \
	X(RELEASED, "ids given back")                                                                                  \
	X(BEGINS, "messages begun")                                                                                    \
	X(WAITS, "waits for credit or an id")                                                                          \
	X(OVERDRAFT, "messages paid from the pool")                                                                    \
	X(APPENDS, "frames put into the buffer")                                                                       \
	X(RUNS, "runs of several messages in one write")                                                               \
	X(FRAGMENTS, "messages in several frames")                                                                     \
	X(ACCEPTED, "messages accepted")                                                                               \
	X(ABORTED, "messages aborted")                                                                                 \
	X(NOT_SENT, "messages not sent")                                                                               \
	X(CALLS, "calls accepted")                                                                                     \
	X(REPLIES, "replies accepted")                                                                                 \
	X(ENDS_CALL, "calls ended without a last reply")                                                               \
	X(CANCELS, "calls cancelled")                                                                                  \
	X(CANCELS_EARLY, "calls cancelled before they were heard of")                                                  \
	X(CALL_OVER, "calls over")                                                                                     \
	X(WRITES, "writes")                                                                                            \
	X(WRITES_PART, "writes cut short")                                                                             \
	X(FULL, "writes refused: EAGAIN")                                                                              \
	X(TOO_MANY, "writes refused: ETOOMANYREFS")                                                                    \
	X(NO_BUFFERS, "writes refused: ENOBUFS")                                                                       \
	X(BAD_FD, "writes refused: EBADF")                                                                             \
	X(BROKEN_PIPE, "writes refused: EPIPE")                                                                        \
	X(SPLIT, "writes that arrive in several segments")                                                             \
	X(HELD, "buffers held for their descriptors")                                                                  \
	X(DROPPED, "accepted messages dropped for their descriptors")                                                  \
	X(READS, "reads")                                                                                              \
	X(READS_MERGED, "reads of several segments")                                                                   \
	X(READS_PART, "reads of a part of a segment")                                                                  \
	X(READS_STOPPED, "reads stopped behind descriptors")                                                           \
	X(READS_FDS, "reads with descriptors")                                                                         \
	X(LOST, "reads with descriptors lost: EMFILE, EACCES")                                                         \
	X(LOST_ALL, "reads with all descriptors lost")                                                                 \
	X(ARRIVES, "messages arrived")                                                                                 \
	X(GIVEN_UP, "aborted messages that arrived in part")                                                           \
	X(TAKES, "messages taken")                                                                                     \
	X(DISCARDS, "messages thrown away")                                                                            \
	X(CREDIT, "credit for a topic")                                                                                \
	X(CREDIT_CALL, "credit for replies")                                                                           \
	X(CREDIT_ALL, "credit for the pool and attachments")                                                           \
	X(CREDIT_OVERDRAFT, "overdraft of a topic or call returned")                                                   \
	X(NEGLECTS, "topics and calls that nobody drains")                                                             \
	X(KEEPS, "descriptors that are kept for long")                                                                 \
	X(STUCK, "descriptors whose close does not end")                                                               \
	X(WANTS, "attachments wanted")                                                                                 \
	X(LENDS, "attachments lent")                                                                                   \
	X(GIVES_BACK, "attachments given back")                                                                        \
	X(PINGS, "questions whether anybody is there")                                                                 \
	X(PONGS, "answers to that")                                                                                    \
	X(RESTS, "times that all came to rest")                                                                        \
	X(WAITS_RIGHTLY, "senders that wait then, as they must")                                                       \
	X(TRIMS, "readers trimmed")                                                                                    \
	X(GOODBYE, "goodbyes")                                                                                         \
	X(FORGES, "frames forged by a hostile side")                                                                   \
	X(SPOILS, "bytes spoiled by it")                                                                               \
	X(CUTS, "segments cut out by it")                                                                              \
	X(ROBS, "descriptors added or taken away by it")                                                               \
	X(BREACH, "breaches found")                                                                                    \
	X(DIES, "sides killed")                                                                                        \
	X(STOPS, "schedules stopped in the middle")                                                                    \
	X(ENDS, "schedules ended in order")

enum sim_event {
#define SIM_EVENT(name, text) SIM_##name,
	SIM_EVENTS(SIM_EVENT)
#undef SIM_EVENT
	    SIM_N_EVENTS
};

/* Rules that the model can be told to break now and then, to see that the checks notice it. */
#define SIM_RULES(X)                                                                                                   \
	X(SEGMENT, "segment", "the socket loses a segment")                                                            \
	X(CREDIT, "credit", "CREDIT is not heard")                                                                     \
	X(GRANT, "grant", "more credit is returned than was used")                                                     \
	X(TWICE, "twice", "a message arrives twice")                                                                   \
	X(ORDER, "order", "two messages of a topic change places")                                                     \
	X(MERGE, "merge", "a read goes on behind descriptors")                                                         \
	X(SILENT, "silent", "descriptors are lost without a word")                                                     \
	X(LEAK, "leak", "a descriptor is not closed")                                                                  \
	X(WITHHOLD, "withhold", "credit is withheld though the other side is short of it")

enum sim_rule {
	SIM_NO_RULE,
#define SIM_RULE(name, word, text) SIM_BREAK_##name,
	SIM_RULES(SIM_RULE)
#undef SIM_RULE
	    SIM_N_RULES
};

/* ---- Descriptors ----------------------------------------------------------------------------- */

/* An open file, as an attachment of one message. */
struct sim_file {
	struct sim_message *message;
	unsigned references;
	/* The kernel refuses to send it. */
	bool refused;
};

struct sim_fd {
	int file;
	uint8_t side;
	bool open;
};

/* ---- Messages -------------------------------------------------------------------------------- */

enum sim_fate {
	FATE_WAITS,   /* not in the stream yet */
	FATE_GOES,    /* charged and on its way */
	FATE_COMES,   /* must arrive */
	FATE_ABORTED, /* begun and then aborted */
	FATE_GONE,    /* nothing of it may arrive */
};

struct sim_message {
	struct sim_stream *stream;
	size_t size, pattern;
	unsigned n_fds;
	int first_file;
	enum sim_fate fate;
	/* The call, if it is one or a reply to one. A reply can be the last, and an error. */
	struct sim_call *call;
	bool last, failed;
};

/* A topic from its OPEN to the end of its id, or the replies to a call, as both sides see it. */
struct sim_stream {
	struct sim_stream *next;
	struct sim_call *replies_to;
	struct outlet outlet;
	char name[16];
	uint64_t number;
	/* The messages that were charged, in order, and how many of them have arrived. */
	struct sim_message **sent;
	size_t n_sent, capacity_sent, arrived;
	bool opened, closed, released, ended;
	/* Its reader takes no messages from it. */
	bool neglected;
	/* The reader's: messages that wait to be taken. */
	struct message_queue queue;
	struct inlet *inlet;
	/*
	 * Of the window and the attachments: what the waiting messages cost, and what can be
	 * granted again because messages have been taken.
	 */
	uint64_t queued_cost, gone_cost, gone_fds;
};

/* A call: the caller's inlet, and the callee's replies once the request has begun to arrive. */
struct sim_call {
	struct sim_call *next;
	struct sim_side *caller;
	struct inlet inlet;
	struct message_call handle;
	struct sim_stream *replies;
	/*
	 * The callee has taken the request and may answer; a sender is answering; END has arrived,
	 * or never will.
	 */
	bool open, answering, over;
	/* The request was accepted; the caller has cancelled the call. */
	bool asked, cancelled;
};

/* ---- The socket ------------------------------------------------------------------------------ */

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

/* ---- Threads --------------------------------------------------------------------------------- */

struct sim_sender {
	struct sim_message *message;
	/* Further messages that go in the same write, and the frames of all of them. */
	struct sim_message *more[SIM_RUN];
	unsigned n_more;
	unsigned char *run;
	struct tx_claim claim;
	/*
	 * When it began to wait, as a number among all waits of its side. While it is asleep, only
	 * tx wakes it.
	 */
	uint64_t since;
	bool asleep, charged, listed, begun;
	size_t left;
	/* How many messages of its topic came before it when it got into a batch. */
	size_t position;
	/* How much of its payload goes into one frame at most. */
	size_t part;
	uint32_t overdraft;
	struct tx_own own;
	int fds[FRAME_CARRIED_MAX];
	unsigned n_fds;
};

enum sim_phase { SIM_MAKE, SIM_WRITE, SIM_WRITTEN };

struct sim_side {
	struct sim *sim;
	unsigned index;
	struct limits limits;
	struct tx tx;
	struct rx rx;
	bool said_goodbye, heard_goodbye, hello_came;
	/*
	 * The process is dead; the side ignores what arrives and sends what it likes; it can no
	 * longer write; it no longer reads, because the other side broke a rule.
	 */
	bool dead, hostile, broken, over;

	struct sim_stream *streams;
	struct sim_stream *names[SIM_NAMES];
	size_t n_streams;
	struct sim_call *calls;
	size_t n_calls;
	struct sim_sender senders[SIM_SENDERS];

	/* A sender that gets no turn for a while, or SIM_NOBODY. */
	int slow;
	int writer;
	enum sim_phase phase;
	ssize_t result;

	/* How many waits have begun. */
	uint64_t n_waits;

	/*
	 * Of the other side's streams: overdraft of messages that wait to be taken, overdraft that
	 * can be granted again, and attachments that were settled.
	 */
	uint64_t queued_overdraft, gone_overdraft, gone_fds;
	/*
	 * The program keeps some descriptors for long; some closes never end. How many attachments
	 * are not settled, and how many are never closed.
	 */
	bool keeps, sticky;
	uint64_t charged, n_stuck;
	int *kept;
	size_t n_kept, capacity_kept;
	/*
	 * Attachments that were lent beyond those of HELLO, and those that were given back; the
	 * most that can be granted; whether all of these are lent when nothing else can go on.
	 */
	uint64_t lent, returned;
	uint32_t most;
	bool generous;
	/*
	 * How many PINGs it has sent, and how many answers arrived; the last PING has not been
	 * answered.
	 */
	unsigned n_asked, n_answers;
	bool unanswered;
	/* How many descriptors are open. */
	uint64_t n_fds;
};

struct sim {
	struct tape *tape;
	enum sim_rule broken;
	struct sim_side sides[2];
	struct sim_pipe pipes[2];
	struct sim_file *files;
	size_t n_files, capacity_files;
	struct sim_fd *fds;
	size_t n_fds, capacity_fds;
	/*
	 * The kind of the world: messages are large, or have many descriptors, or are taken slowly,
	 * so that credit runs out; side B turns hostile.
	 */
	bool bulky, laden, lazy, wicked;
	/*
	 * There are few attachments; nobody drains some of the topics and calls, until everything
	 * is drained at the end.
	 */
	bool tight, neglect, drains;
	/* The kernel refuses nothing. */
	bool calm;
	/* Something has happened since this was last cleared. */
	bool moved;
	/* The sessions are being freed, whatever they were doing. */
	bool ending;
	uint64_t steps, bytes, counts[SIM_N_EVENTS];
};

/* Payloads are parts of this. */
extern unsigned char sim_pattern[2 * SIM_PATTERN];

/* Events are printed, one a line. */
extern bool sim_told;
/*
 * Counts an event of a side, and prints the text if events are printed. NULL: it is only counted.
 */
void sim_event(struct sim_side *side, enum sim_event event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static inline struct sim_side *sim_other(const struct sim_side *side)
{
	return &side->sim->sides[1 - side->index];
}

/* Its reader takes no messages from it now. */
static inline bool sim_neglected(const struct sim *sim, const struct sim_stream *stream)
{
	return stream->neglected && !sim->drains;
}

/* How many attachments a side grants, including those in use. */
static inline uint64_t sim_granted(const struct sim_side *side)
{
	return side->limits.attachments + side->lent - side->returned;
}

/* Chooses from 0 to n - 1, where 0 is the simplest choice. */
static inline size_t sim_choose(struct sim *sim, size_t n)
{
	return tape_choose(sim->tape, n);
}

static inline bool sim_chance(struct sim *sim, unsigned percent)
{
	return sim_choose(sim, 100) >= 100 - percent;
}

/* True now and then, if this is the rule to break. */
static inline bool sim_breaks(struct sim *sim, enum sim_rule rule)
{
	return sim->broken == rule && sim_chance(sim, 30);
}

/* Chooses from 0 to `most`, small numbers as often as large ones. */
size_t sim_size(struct sim *sim, size_t most);

/*
 * sim.c: a world begins as its tape chooses; it can end at any time, and all its descriptors must
 * have been closed then.
 */
void sim_init(struct sim *sim, struct tape *tape, enum sim_rule broken);
void sim_end(struct sim *sim);

/* sim_rest.c: when nothing can happen any more, checks that each sender that waits has a reason. */
void sim_check_rest(struct sim_side *side);

/* sim_check.c: what must be true of a side after each turn. */
void sim_check_side(struct sim_side *side);

/*
 * sim_play.c: plays a schedule from its beginning to its end, and adds what it counted to `sums`.
 */
void sim_play(struct tape *tape, enum sim_rule broken, struct sim *sums);

/* sim_socket.c */
int sim_file_new(struct sim *sim, struct sim_message *message, bool refused);
int sim_fd_new(struct sim_side *side, int file);
/* Fails the test if the descriptor is not open, or is the other side's. */
int sim_fd_file(const struct sim_side *side, int fd);
void sim_fd_close(struct sim_side *side, int fd);
void sim_pipe_init(struct sim_pipe *pipe, size_t capacity);
/* Loses everything that is on its way. */
void sim_pipe_empty(struct sim *sim, struct sim_pipe *pipe);
/* Appends a segment, whose bytes are to be filled in. The descriptors belong to `from`. */
struct sim_segment *sim_segment_new(struct sim_side *from, size_t size, const int *fds, unsigned n_fds);
/* Removes a segment. */
void sim_segment_cut(struct sim *sim, struct sim_pipe *pipe, struct sim_segment **at);
/*
 * Like socket_write() and socket_read(). `ret_fds` receives new descriptors of the reader. -EAGAIN:
 * there is nothing to read, or no room.
 */
ssize_t sim_pipe_write(struct sim_side *from, const struct iovec *iov, size_t n_iov, const int *fds, unsigned n_fds);
ssize_t sim_pipe_read(struct sim_side *to, const struct iovec *iov, size_t n_iov, int ret_fds[FRAME_CARRIED_MAX],
		      struct rx_group *ret);

/* sim_hostile.c: changes the stream in a way that a session never would. */
void sim_harm(struct sim_side *side);

/* sim_send.c */
extern const struct tx_events sim_tx_events;
struct sim_stream *sim_stream_new(struct sim_side *side);
struct sim_call *sim_call_new(struct sim_side *side);
/* The side can no longer write. */
void sim_break(struct sim_side *side);
struct sim_stream *sim_open(struct sim_side *side, unsigned name);
void sim_close(struct sim_side *side, unsigned name);
/* Gives a new message to a sender that has none. */
void sim_begin(struct sim_side *side, struct sim_sender *sender, unsigned name);
/* The same for a reply to a call. */
void sim_begin_reply(struct sim_side *side, struct sim_sender *sender, struct sim_call *call);
/* Ends a call of the other side without further replies. */
void sim_end_call(struct sim_side *side, struct sim_call *call, uint32_t error);
/* Gives a sender several new messages that go in one write, or none. */
void sim_begin_run(struct sim_side *side, struct sim_sender *sender, unsigned name);
/* A turn of a sender, which charges, appends and writes. */
void sim_send(struct sim_side *side, unsigned sender);
/* A sender has waited long enough, and gives up. */
void sim_give_up(struct sim_side *side, unsigned sender);
/* A turn of the holder of the writing right, or of the channel's thread. */
void sim_write(struct sim_side *side);
void sim_goodbye(struct sim_side *side);
/* Descriptors that were held are tried again. */
void sim_unhold(struct sim_side *side);
void sim_wake_all(struct sim_side *side);
/* Gives back the attachments that are not in use. */
void sim_give_back(struct sim_side *side);

/* sim_receive.c */
extern const struct rx_events sim_rx_events;
/* Reads once. Returns false if there was nothing to read. */
bool sim_read(struct sim_side *side);

/* sim_take.c */
/* Takes one message from a stream of the other side. */
void sim_take(struct sim_side *side, struct sim_stream *stream);
/* Lends attachments that are wanted, as far as possible: none, some, or all. */
void sim_lend(struct sim_side *side);
/* Closes `n` of the descriptors that the program kept. */
void sim_close_kept(struct sim_side *side, size_t n);
/* Ends the closes that had not ended. */
void sim_unstick(struct sim_side *side);
/* Resets a topic, or cancels a call. */
void sim_reset(struct sim_side *side, struct sim_stream *stream);
/* Cancels a call of this side, perhaps before the other side has received it. */
void sim_cancel(struct sim_side *side, struct sim_call *call);
void sim_end_stream(struct sim_side *side, struct sim_stream *stream);

#endif
