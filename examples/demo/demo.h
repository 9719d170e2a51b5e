/* SPDX-License-Identifier: MIT */
/*
 * The demo: two processes, with one channel between them. One process sends a tree of files from
 * several threads on several topics, as payloads and as open descriptors. The other one receives in
 * several threads. Both count what they send or receive, add up checksums, and compare the results
 * at the end. The receiver of one topic is slow on purpose. The times at which the topics finish
 * show that no other topic waits for it.
 */
#ifndef DEMO_H
#define DEMO_H

#include <beam/beam.h>
#include <stdatomic.h>
#include <stdbool.h>

/* ---- What is sent on which topic (plan.c) ---- */

enum { TOPIC_FILES, TOPIC_BUNDLES, TOPIC_DESCRIPTORS, TOPIC_SLOW, TOPICS };

/* The topic on which both sides exchange their tallies. */
#define TOPIC_SUMMARY "summary"

struct plan {
	const char *name, *what;
	unsigned senders, receivers; /* threads */
	size_t parcel_bytes; /* contents are collected until a message has this many bytes; 0: one file in each */
	unsigned parcel_fds; /* this many open files are sent in each message; 0: contents are sent */
	bool sample;         /* only some files: SLOW_MESSAGES, or up to twice as many */
	unsigned pause_ms;   /* how long the receiver pauses after each message */
};

enum { SLOW_MESSAGES = 400 };

extern const struct plan plans[TOPICS];

/* Prints a description of the topics. */
void plans_describe(void);

/* What was sent or received on a topic. */
struct tally {
	_Atomic uint64_t messages, files, bytes, descriptors, sum;
};

/* The same as plain numbers, for the wire and for comparing. */
struct totals {
	uint64_t messages, files, bytes, descriptors, sum;
};

struct totals tally_read(const struct tally *tally);

/* ---- The tree (tree.c) ---- */

struct tree {
	char **paths; /* the regular files in it that can be read, by name */
	size_t n;
	uint64_t bytes;    /* what they contain */
	size_t unreadable; /* files and folders that cannot be read */
};

/* Prints what it has found. Exits with a message if there is no such folder. */
void tree_walk(struct tree *tree, const char *folder);
void tree_free(struct tree *tree);

/* ---- Parcels: messages made of files (parcel.c) ---- */

enum { PARCEL_FDS = 8 };

struct parcel {
	unsigned char *bytes;
	size_t size, capacity;
	int fds[PARCEL_FDS];
	unsigned n_fds;
	uint64_t files, content, sum;
};

/*
 * Adds the content of a file, or the open file as an attachment. Contents of more than `limit`
 * bytes are always attached. Returns false if the file cannot be read.
 */
bool parcel_add(struct parcel *parcel, const char *path, bool attach, size_t limit);

/* Sends what was collected, counts it and empties the parcel. */
void parcel_send(struct parcel *parcel, beam_topic *topic, struct tally *tally);
void parcel_free(struct parcel *parcel);

/* Checks and counts a received message. */
void parcel_receive(const beam_message *message, struct tally *tally);

/* ---- The two processes (send.c, receive.c); both return the exit code ---- */

int demo_send(const char *path, const struct tree *tree);
int demo_receive(int socket);

/* ---- What they print (report.c) ---- */

/* From now on, must() prints which rule the peer of this channel broke. */
void report_breaches_of(beam_channel *channel);

/* Prints "what: why" and exits, if `result` is an error of Beam's (a negative errno). */
void must(int result, const char *what);
/* The same for a system call, with errno. */
void must_sys(int result, const char *what);

double seconds(void);
void report_totals(const char *who, const struct totals totals[TOPICS], const double *finished);
bool report_comparison(const struct totals mine[TOPICS], const struct totals theirs[TOPICS]);

/* A progress line that is overwritten again and again, on a terminal only. */
void report_progress(const struct tally tallies[TOPICS], double since);
void report_progress_end(void);

#endif
