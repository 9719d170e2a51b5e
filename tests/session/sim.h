/* SPDX-License-Identifier: MIT */
/*
 * The simulator's world: two sides, each with both halves of a session, a model socket between them
 * that does what the kernel may do, and threads that send and receive, all of them turns of one
 * random sequence. Descriptors are numbers that are never used twice.
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
	/* The holder of the writing right: a sender's number, the channel's thread, or nobody. */
	SIM_THREAD = SIM_SENDERS,
	SIM_NOBODY = -1,
	SIM_PATTERN = 1 << 20,
};

/* ---- What happens ---------------------------------------------------------------------------- */

/* Each is counted, and told in a story. */
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

/* Rules that the world can be told to break now and then, to see that it is found. */
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
	/* The kernel refuses to pass it. */
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
	FATE_GOES,    /* charged, on its way */
	FATE_COMES,   /* must arrive */
	FATE_ABORTED, /* begun, then given up */
	FATE_GONE,    /* nothing of it must arrive */
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

/*
 * One life of a topic, from its OPEN to the end of its id; or the replies to one
 * call. Seen from both sides.
 */
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
	/* Its reader takes nothing of it. */
	bool neglected;
	/* The reader's: what waits to be taken. */
	struct message_queue queue;
	struct inlet *inlet;
	/* What waits, and what has left it and may be granted again: of its window, of the pool. */
	uint64_t queued_cost, gone_cost, gone_fds;
};

/* A call: the caller's inlet, the callee's replies once its request has begun to come. */
struct sim_call {
	struct sim_call *next;
	struct sim_side *caller;
	struct inlet inlet;
	struct message_call handle;
	struct sim_stream *replies;
	/*
	 * The callee has taken the request and may answer; somebody is answering;
	 * END has come, or never will.
	 */
	bool open, answering, over;
	/* Its request was accepted; the caller wants no more of it. */
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
	/* More that go in the same write, and the frames of all of them. */
	struct sim_message *more[SIM_RUN];
	unsigned n_more;
	unsigned char *run;
	struct tx_claim claim;
	/*
	 * It waits for credit, and is woken by the session alone. Its number
	 * among those who began to wait.
	 */
	uint64_t since;
	bool asleep, charged, listed, begun;
	size_t left;
	/* How many messages of its topic were before it when it got into a batch. */
	size_t position;
	/* The largest part of its payload in a frame. */
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
	 * Its process is gone; it hears nothing more and says what it likes; nothing can be written
	 * any more; nothing is read any more, for the other side broke a rule.
	 */
	bool dead, hostile, broken, over;

	struct sim_stream *streams;
	struct sim_stream *names[SIM_NAMES];
	size_t n_streams;
	struct sim_call *calls;
	size_t n_calls;
	struct sim_sender senders[SIM_SENDERS];

	/* A sender that gets no turn for a while, or nobody. */
	int slow;
	int writer;
	enum sim_phase phase;
	ssize_t result;

	/* How many have begun to wait. */
	uint64_t n_waits;

	/* Of the other side's streams: what of the pool waits to be taken, and what has left them;
	 * attachments that were settled. */
	uint64_t queued_overdraft, gone_overdraft, gone_fds;
	/*
	 * Attachments that came and are not settled. Its program keeps some for long; some are
	 * closed, and that never ends.
	 */
	bool keeps, sticky;
	uint64_t charged, n_stuck;
	int *kept;
	size_t n_kept, capacity_kept;
	/*
	 * Of attachments: lent besides what HELLO granted; given back; the most that it can lend;
	 * it lends all that it can when there is nothing else to do.
	 */
	uint64_t lent, returned;
	uint32_t most;
	bool generous;
	/* How often it has asked whether anybody is there, and was answered; the last is not
	 * answered yet. */
	unsigned n_asked, n_answers;
	bool unanswered;
	/* Descriptors that are open. */
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
	 * What kind of a world it is: messages are large, have many descriptors, or are taken
	 * slowly, so that credit runs out; side B turns hostile.
	 */
	bool bulky, laden, lazy, wicked;
	/* There are few attachments; some topics and calls are drained by nobody, until all must
	 * come to its end. */
	bool tight, neglect, drains;
	/* The kernel behaves. */
	bool calm;
	/* Something moved since it was last cleared. */
	bool moved;
	/* The sessions end, whatever they were at. */
	bool ending;
	uint64_t steps, bytes, counts[SIM_N_EVENTS];
};

/* The payloads are taken from here. */
extern unsigned char sim_pattern[2 * SIM_PATTERN];

/* The schedule is told, an event a line. */
extern bool sim_told;
/* Counts an event of a side's, and tells it: the text may be NULL, if it is no story of its own. */
void sim_event(struct sim_side *side, enum sim_event event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static inline struct sim_side *sim_other(const struct sim_side *side)
{
	return &side->sim->sides[1 - side->index];
}

/* Its reader leaves what it brings where it is. */
static inline bool sim_neglected(const struct sim *sim, const struct sim_stream *stream)
{
	return stream->neglected && !sim->drains;
}

/* How many attachments a side has granted in all, of which some are in use. */
static inline uint64_t sim_granted(const struct sim_side *side)
{
	return side->limits.attachments + side->lent - side->returned;
}

/* From 0 to n - 1, where 0 is the least that can be. */
static inline size_t sim_choose(struct sim *sim, size_t n)
{
	return tape_choose(sim->tape, n);
}

static inline bool sim_chance(struct sim *sim, unsigned percent)
{
	return sim_choose(sim, 100) >= 100 - percent;
}

/* Now and then, if this is the rule to break. */
static inline bool sim_breaks(struct sim *sim, enum sim_rule rule)
{
	return sim->broken == rule && sim_chance(sim, 30);
}

/* From 0 to `most`, small numbers as often as large ones. */
size_t sim_size(struct sim *sim, size_t most);

/*
 * sim.c: a world begins as its tape wants it; it ends whatever it was at, and must
 * have closed all descriptors.
 */
void sim_init(struct sim *sim, struct tape *tape, enum sim_rule broken);
void sim_end(struct sim *sim);

/* sim_rest.c: when nothing moves any more those who wait must have a reason. */
void sim_check_rest(struct sim_side *side);

/* sim_check.c: what holds of a side after each turn. */
void sim_check_side(struct sim_side *side);

/* sim_play.c: a schedule from its beginning to its end. What it counted is added to `sums`. */
void sim_play(struct tape *tape, enum sim_rule broken, struct sim *sums);

/* sim_socket.c */
int sim_file_new(struct sim *sim, struct sim_message *message, bool refused);
int sim_fd_new(struct sim_side *side, int file);
/* Fails if it is not open, or another side's. */
int sim_fd_file(const struct sim_side *side, int fd);
void sim_fd_close(struct sim_side *side, int fd);
void sim_pipe_init(struct sim_pipe *pipe, size_t capacity);
/* What is on its way is lost. */
void sim_pipe_empty(struct sim *sim, struct sim_pipe *pipe);
/* A new segment at its end, to be filled; the descriptors are of `from`. */
struct sim_segment *sim_segment_new(struct sim_side *from, size_t size, const int *fds, unsigned n_fds);
/* Takes one out. */
void sim_segment_cut(struct sim *sim, struct sim_pipe *pipe, struct sim_segment **at);
/*
 * As socket_write() and socket_read(); `ret_files` are new descriptors of the
 * reader's. -EAGAIN: nothing.
 */
ssize_t sim_pipe_write(struct sim_side *from, const struct iovec *iov, size_t n_iov, const int *fds, unsigned n_fds);
ssize_t sim_pipe_read(struct sim_side *to, const struct iovec *iov, size_t n_iov, int ret_fds[FRAME_CARRIED_MAX],
		      struct rx_group *ret);

/* sim_hostile.c: something is done to the stream that its session never wrote. */
void sim_harm(struct sim_side *side);

/* sim_send.c */
extern const struct tx_events sim_tx_events;
struct sim_stream *sim_stream_new(struct sim_side *side);
struct sim_call *sim_call_new(struct sim_side *side);
/* Nothing can be written any more. */
void sim_break(struct sim_side *side);
struct sim_stream *sim_open(struct sim_side *side, unsigned name);
void sim_close(struct sim_side *side, unsigned name);
/* A new message for a sender that has none. */
void sim_begin(struct sim_side *side, struct sim_sender *sender, unsigned name);
/* The same, to answer a call. */
void sim_begin_reply(struct sim_side *side, struct sim_sender *sender, struct sim_call *call);
/* A call of the other side's gets no (more) replies. */
void sim_end_call(struct sim_side *side, struct sim_call *call, uint32_t error);
/* Several new messages for it, which go in one write, or none of them. */
void sim_begin_run(struct sim_side *side, struct sim_sender *sender, unsigned name);
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
/* What is not in use is given back. */
void sim_give_back(struct sim_side *side);

/* sim_receive.c */
extern const struct rx_events sim_rx_events;
/* One read: false if there was nothing to read. */
bool sim_read(struct sim_side *side);

/* sim_take.c */
/* Takes one message of a stream of the other side's. */
void sim_take(struct sim_side *side, struct sim_stream *stream);
/* So much of what it was asked for is lent, and of what can be lent: nothing, some, or all. */
void sim_lend(struct sim_side *side);
/* So many of the descriptors that its program kept are closed. */
void sim_close_kept(struct sim_side *side, size_t n);
/* Closes that never ended have ended. */
void sim_unstick(struct sim_side *side);
/* No more of a stream is wanted: a topic is reset, a call cancelled. */
void sim_reset(struct sim_side *side, struct sim_stream *stream);
/* A call of this side's is cancelled, perhaps before the other side has heard of it. */
void sim_cancel(struct sim_side *side, struct sim_call *call);
void sim_end_stream(struct sim_side *side, struct sim_stream *stream);

#endif
