/* SPDX-License-Identifier: MIT */
/* Which topics there are, and how many threads serve each. */
#include "demo.h"
#include <stdio.h>

const struct plan plans[TOPICS] = {
    [TOPIC_FILES] = {.name = "files",
		     .what = "the content of each file, in a message of its own",
		     .senders = 3,
		     .receivers = 3},
    [TOPIC_BUNDLES] = {.name = "bundles",
		       .what = "the same contents, many files in a message of some 8 MiB",
		       .senders = 2,
		       .receivers = 2,
		       .parcel_bytes = 8 << 20},
    [TOPIC_DESCRIPTORS] = {.name = "descriptors",
			   .what = "each file, opened by the sender and read by the receiver, 8 open files in a message",
			   .senders = 1,
			   .receivers = 2,
			   .parcel_fds = PARCEL_FDS},
    [TOPIC_SLOW] = {.name = "slow",
		    .what = "some 400 of the files; its receiver pauses for 5 ms after each, and no other topic waits",
		    .senders = 1,
		    .receivers = 1,
		    .sample = true,
		    .pause_ms = 5},
};

void plans_describe(void)
{
	puts("topics, all at once over that channel:");
	for (int i = 0; i < TOPICS; i++)
		printf("  %-12s %s (%u thread%s to %u)\n", plans[i].name, plans[i].what, plans[i].senders,
		       plans[i].senders == 1 ? "" : "s", plans[i].receivers);
	puts("A file that is larger than a message may be is sent as an open file there, too.");
}

struct totals tally_read(const struct tally *tally)
{
	return (struct totals){tally->messages, tally->files, tally->bytes, tally->descriptors, tally->sum};
}
