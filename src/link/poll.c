/* SPDX-License-Identifier: MIT */
/*
 * Polling before sleeping. To be woken costs more than all the rest of a short round trip. Polling
 * is bounded, and lets other threads run between two reads. It is given up for a while when it does
 * not pay, because nothing arrives in time or because the other threads keep the core.
 */
#include <link/link.h>
#include <link/tuning.h>
#include <sched.h>

/*
 * Lets other threads run. Returns false if that took so long that one of them has worked meanwhile.
 * Then polling does not pay.
 */
static bool yield_shortly(int64_t *now)
{
	int64_t before = *now;

	sched_yield();
	*now = clock_now();
	return *now - before < YIELD_MOST_NS;
}

/* Doubles the number of waits that do not poll until the next trial. */
static void rarer(struct busy_poll *poll, unsigned *interval)
{
	if (*interval < POLL_RAREST)
		*interval = *interval ? *interval * 2 : 1;
	poll->skip = *interval;
}

static void poll_failed(struct busy_poll *poll)
{
	poll->patient = 0;
	if (poll->fails < POLL_FAILS)
		poll->fails++;
	rarer(poll, &poll->interval);
}

/*
 * A yield took long, because another thread has worked meanwhile. That may happen once by chance,
 * but a thread that shares the core does it again.
 */
static void poll_was_captured(struct busy_poll *poll)
{
	poll->patient = poll->worth = 0;
	poll->fails = POLL_FAILS;
	rarer(poll, &poll->penalty);
}

static void poll_paid(struct busy_poll *poll, bool at_once)
{
	poll->fails = poll->interval = 0;
	poll->patient = at_once ? 0 : poll->patient ? poll->patient - 1 : POLL_PATIENT;
	if (++poll->worth == POLL_WORTH) {
		poll->worth = 0;
		poll->penalty /= 2;
	}
}

bool poll_busily(struct link *link)
{
	struct busy_poll *poll = &link->reader.busy_poll;
	int64_t budget = (int64_t)link->options.busy_poll_us * 1000, begun, now;
	bool came, at_once = !poll->patient, shortly = true;

	if (!budget)
		return read_some(link);
	if (poll->fails >= POLL_FAILS && poll->skip) {
		poll->skip--;
		return read_some(link);
	}
	now = begun = clock_now();
	/* If recent waits found nothing at once, this one probably will not either. */
	if (poll->patient)
		shortly = yield_shortly(&now);
	while (!(came = read_some(link)) && shortly && now - begun < budget) {
		at_once = false;
		shortly = yield_shortly(&now);
	}
	if (!shortly)
		poll_was_captured(poll);
	else if (came)
		poll_paid(poll, at_once);
	else
		poll_failed(poll);
	return came;
}
