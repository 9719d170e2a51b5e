/* SPDX-License-Identifier: MIT */
#include <session/talk.h>

struct mouth mouth;
struct outlet a, b;
const int fds[FRAME_CARRIED_MAX] = {10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29};

void talk_begin(void)
{
	mouth_init_after_hello(&mouth);
	mouth_open(&mouth, &a, "a");
	mouth_open(&mouth, &b, "b");
	check_int(a.id, 1);
	check_int(b.id, 2);
}

void talk_end(void)
{
	mouth_end(&mouth);
}

const char *heard(void)
{
	static char text[65536];
	struct speech whole;
	struct ear ear;

	speech_init(&whole);
	speech_hello(&whole, &limits_base);
	speech_open(&whole, 1, "a");
	speech_open(&whole, 2, "b");
	for (size_t i = 0; i < mouth.said.n_sayings; i++) {
		const struct saying *saying = &mouth.said.sayings[i];
		size_t to = i + 1 < mouth.said.n_sayings ? saying[1].at : mouth.said.size;

		speech_send_fds(&whole, saying->n_fds, 0);
		speech_put(&whole, mouth.said.bytes + saying->at, to - saying->at);
	}
	require_int(ear_init(&ear, &limits_base), 0);
	ear_listen(&ear, &whole, SIZE_MAX);
	/* Without the three lines of the beginning. */
	snprintf(text, sizeof text, "%s%s", strstr(ear_text(&ear), "open 2 b\n") + 9, ear_rule(&ear));
	ear_end(&ear);
	speech_end(&whole);
	return text;
}

struct tx_own *own_frame(struct outlet *outlet, const char *text, unsigned n_fds)
{
	static struct tx_own owns[4];
	static unsigned turn;
	struct tx_own *own = &owns[turn++ % 4];

	check_int(mouth_charge(&mouth, outlet, strlen(text), n_fds), 0);
	mouth_frame(own, outlet, 0, text, strlen(text), fds, n_fds);
	return own;
}

int try_claim(struct outlet *outlet, struct tx_claim *claim)
{
	uint32_t overdraft = 0;

	return tx_charge(&mouth.tx, outlet, claim, &overdraft);
}

struct tx_claim claim_of(size_t size, size_t n_fds, bool large)
{
	return (struct tx_claim){.size = size, .n_fds = n_fds, .large = large};
}

int try_charge(struct outlet *outlet, size_t size, size_t n_fds, uint32_t *ret_overdraft)
{
	struct tx_claim claim = claim_of(size, n_fds, false);
	int r;

	list_init(&claim.link);
	r = tx_charge(&mouth.tx, outlet, &claim, ret_overdraft);
	tx_unclaim(&mouth.tx, outlet, &claim);
	if (!r)
		tx_complete(&mouth.tx, outlet, false);
	return r;
}
