/* SPDX-License-Identifier: MIT */
/*
 * Polling before sleeping: to be woken costs more than all the rest of a short round trip. It is
 * bounded, lets others run between two looks, and is given up for a while when it does not pay:
 * because nothing comes in time, or because those others keep the core.
 */
#include <link/link.h>
#include <link/tuning.h>
#include <sched.h>

/*
 * Lets others run. False if that took so long that somebody else has worked meanwhile:
 * polling does not pay then.
 */
static bool yield_shortly(int64_t *now)
{
	int64_t before = *now;

	sched_yield();
	*now = clock_now();
	return *now - before < YIELD_MOST_NS;
}

/* How many waits go without, until polling is tried again. */
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
 * Something came, but only after somebody else had worked. Once may be chance; those who share the
 * core with us do it again.
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
	/* What had to be waited for lately is not there at once this time. */
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
