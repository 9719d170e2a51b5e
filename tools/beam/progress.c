/* SPDX-License-Identifier: MIT */
/*
 * A line on stderr that is written over, if that is a terminal and some MiB have passed; and nothing otherwise. The stream's own lock guards it, so
 * that what is said from other threads finds a clean line.
 */
#include "command.h"
#include <unistd.h>

enum { LARGE = 4 << 20, PERIOD_NS = 100000000 };

static struct {
	const char *what;
	uint64_t total, done;
	beam_deadline begun, next;
	bool active, shown;
} progress;

void progress_begin(const char *what, uint64_t total)
{
	flockfile(stderr);
	progress.what = what;
	progress.total = total;
	progress.done = 0;
	progress.begun = progress.next = beam_in_ms(0);
	progress.active = isatty(STDERR_FILENO);
	progress.shown = false;
	funlockfile(stderr);
}

static double mebibytes(uint64_t bytes)
{
	return (double)bytes / (1 << 20);
}

static void show(beam_deadline now)
{
	fprintf(stderr, "\r%s: %.1f MiB", progress.what, mebibytes(progress.done));
	if (progress.total >= progress.done)
		fprintf(stderr, " of %.1f, %d%%", mebibytes(progress.total),
			(int)((double)progress.done * 100 / (double)progress.total));
	if (now > progress.begun)
		fprintf(stderr, ", %.1f MiB/s", mebibytes(progress.done) / ((double)(now - progress.begun) / 1e9));
	fputs("\033[K", stderr);
	fflush(stderr);
}

void progress_add(size_t bytes)
{
	beam_deadline now;

	flockfile(stderr);
	progress.done += bytes;
	if (progress.active && progress.done >= LARGE && (now = beam_in_ms(0)) >= progress.next) {
		progress.next = now + PERIOD_NS;
		progress.shown = true;
		show(now);
	}
	funlockfile(stderr);
}

void progress_end(void)
{
	flockfile(stderr);
	if (progress.shown)
		fputs("\r\033[K", stderr);
	progress.active = progress.shown = false;
	funlockfile(stderr);
}
