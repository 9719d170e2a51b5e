/* SPDX-License-Identifier: MIT */
/* What the processes do. */
#include "soak.h"
#include <dirent.h>

enum {
	/* How often a thread acts on a channel of a traveller or a mortal. */
	TURNS = 200,
	LINGER_MS = 1000,
	/* What the C library may keep allocated when a process is idle again. */
	SLACK_BYTES = 256 << 10,
};

static struct beam_channel_options options(void)
{
	struct beam_channel_options options = BEAM_CHANNEL_OPTIONS;

	options.linger_ms = LINGER_MS;
	return options;
}

/* ---- Servers --------------------------------------------------------------------------------- */

struct guest {
	struct soak *soak;
	beam_channel *channel;
	atomic_uint *here;
	uint64_t number;
};

static void *entertain(void *argument)
{
	struct guest *guest = argument;
	struct rng rng = rng_new(guest->number);

	load_run(guest->soak, guest->channel, &rng, UINT32_MAX);
	atomic_fetch_sub(guest->here, 1);
	free(guest);
	return NULL;
}

static void serve_at(struct soak *soak, const char *address)
{
	struct beam_channel_options channel_options = options();
	struct beam_listener_options listener_options = BEAM_LISTENER_OPTIONS;
	beam_listener *listener = NULL;
	beam_channel *channel;
	atomic_uint here = 0;
	int r;

	listener_options.channel = &channel_options;
	/* A server that was killed may still exist. */
	check_within(20000, (r = beam_listener_new(&listener, address, &listener_options)) != -EADDRINUSE);
	require_int(r, 0);
	while (!atomic_load(&soak->enough)) {
		struct guest *guest;

		if (soak->leak && dup(STDIN_FILENO) < 0)
			fail("no descriptor to be forgotten");
		r = beam_listener_accept(listener, &channel, beam_in_ms(10));
		if (r != 1) {
			check_int(r, -ETIMEDOUT);
			continue;
		}
		guest = malloc(sizeof *guest);
		require(guest != NULL);
		count(soak, CHANNELS);
		*guest = (struct guest){soak, channel, &here, soak->counts[CHANNELS]};
		atomic_fetch_add(&here, 1);
		pthread_detach(thread_spawn(entertain, guest));
	}
	check_int(beam_listener_close(listener), 0);
	beam_listener_unref(listener);
	check_within(20000, !atomic_load(&here));
}

/* ---- Clients --------------------------------------------------------------------------------- */

/* Connects once and works. Returns false if there was no server. */
static bool visit(struct soak *soak, const char *address, struct rng *rng, unsigned turns)
{
	struct beam_channel_options channel_options = options();
	struct beam_connect_options connect_options = BEAM_CONNECT_OPTIONS;
	beam_channel *channel;
	int r;

	connect_options.channel = &channel_options;
	connect_options.wait_for_server = 1;
	r = beam_channel_connect(&channel, address, &connect_options, beam_in_ms(100));
	if (r < 0) {
		check(r == -ETIMEDOUT || r == -ECONNREFUSED || r == -ECONNRESET);
		return false;
	}
	load_run(soak, channel, rng, turns);
	return true;
}

static void travel(struct soak *soak, const char *address, struct rng *rng)
{
	while (!atomic_load(&soak->enough))
		visit(soak, address, rng, 1 + (unsigned)rng_below(rng, TURNS));
}

static void reside(struct soak *soak, struct rng *rng)
{
	while (!visit(soak, soak->server, rng, UINT32_MAX) && !atomic_load(&soak->enough))
		;
	check(atomic_load(&soak->enough));
}

/* ---- Each process ---------------------------------------------------------------------------- */

static size_t threads(void)
{
	DIR *folder = opendir("/proc/self/task");
	const struct dirent *entry;
	size_t n = 0;

	require(folder != NULL);
	while ((entry = readdir(folder)))
		n += entry->d_name[0] != '.';
	closedir(folder);
	return n;
}

/*
 * Reports again and again how much this process has allocated, which cannot be seen from outside.
 */
static void *tell_allocated(void *argument)
{
	const struct life *life = argument;

	while (!atomic_load(&life->soak->enough)) {
		atomic_store(&life->soak->allocated[life->role], allocated_bytes());
		usleep(10000);
	}
	return NULL;
}

int life_run(void *argument)
{
	const struct life *life = argument;
	struct soak *soak = life->soak;
	struct fd_snapshot *before = malloc(sizeof *before);
	struct rng rng = rng_new(life->number);
	size_t allocated;
	ssize_t left;
	pthread_t teller = 0;

	require(before != NULL);
	harness_timeout(24 * 3600);
	fd_snapshot_take(before);
	allocated = allocated_bytes();
	if (life->role < OBSERVED)
		teller = thread_spawn(tell_allocated, argument);
	switch (life->role) {
	case SERVER: serve_at(soak, soak->server); break;
	case MORTAL_SERVER: serve_at(soak, soak->mortal_server); break;
	case RESIDENT: reside(soak, &rng); break;
	case TRAVELLER: travel(soak, soak->mortal_server, &rng); break;
	case MORTAL_CLIENT: travel(soak, soak->server, &rng); break;
	}
	if (life->role < OBSERVED)
		thread_wait(teller);
	/*
	 * The process is as it was at the beginning. A leaked descriptor must be detected by the
	 * test instead.
	 */
	check_within(20000, threads() == 1);
	if (!soak->leak)
		check_fds(before);
	left = (ssize_t)(allocated_bytes() - allocated);
	if (left > SLACK_BYTES)
		fail("%zd bytes more are allocated than at the beginning", left);
	if (life->role < OBSERVED)
		atomic_store(&soak->allocated[life->role], (uint64_t)left);
	free(before);
	return 0;
}
