/* SPDX-License-Identifier: MIT */
/* Which topics there are, and how many threads serve each. */
#include "demo.h"

const struct plan plans[TOPICS] = {
    [TOPIC_FILES] = {.name = "files", .senders = 3, .receivers = 3},
    [TOPIC_BUNDLES] = {.name = "bundles", .senders = 2, .receivers = 2, .parcel_bytes = 8 << 20},
    [TOPIC_DESCRIPTORS] = {.name = "descriptors", .senders = 1, .receivers = 2, .parcel_fds = PARCEL_FDS},
    [TOPIC_SLOW] = {.name = "slow", .senders = 1, .receivers = 1, .sample = true, .pause_ms = 5},
};

struct totals tally_read(const struct tally *tally)
{
	return (struct totals){tally->messages, tally->files, tally->bytes, tally->descriptors, tally->sum};
}
