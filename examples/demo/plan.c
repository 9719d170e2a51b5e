/* SPDX-License-Identifier: MIT */
/* Which topics there are, and how many threads serve each. */
#include "demo.h"
#include <stdio.h>

const struct plan plans[TOPICS] = {
    [TOPIC_FILES] = {.name = "files",
		     .what = "the content of each file, one file per message",
		     .senders = 3,
		     .receivers = 3},
    [TOPIC_BUNDLES] = {.name = "bundles",
		       .what = "the same contents, many files per message of about 8 MiB",
		       .senders = 2,
		       .receivers = 2,
		       .parcel_bytes = 8 << 20},
    [TOPIC_DESCRIPTORS] = {.name = "descriptors",
			   .what = "each file, opened by the sender and read by the receiver, 8 open files per message",
			   .senders = 1,
			   .receivers = 2,
			   .parcel_fds = PARCEL_FDS},
    [TOPIC_SLOW] = {.name = "slow",
		    .what = "up to 800 of the files; the receiver pauses for 5 ms after each",
		    .senders = 1,
		    .receivers = 1,
		    .sample = true,
		    .pause_ms = 5},
};

void plans_describe(void)
{
	puts("It uses four topics at once:");
	for (int i = 0; i < TOPICS; i++)
		printf("  %-12s %s (threads: %u send, %u receive)\n", plans[i].name, plans[i].what, plans[i].senders,
		       plans[i].receivers);
	puts("A file that is too large for a message is sent as an open file on every topic.");
}

struct totals tally_read(const struct tally *tally)
{
	return (struct totals){tally->messages, tally->files, tally->bytes, tally->descriptors, tally->sum};
}
