/* SPDX-License-Identifier: MIT */
/*
 * Faults: makes the calls of the seam (src/base/sys.h) fail on purpose. The tests are linked with
 * beam_testing, or with the library as it is shipped and preload.c, which stands between the
 * library and the C library.
 *
 * The calls of all threads are counted from 1 since fault_at(). A sweep runs a scenario with its
 * first call failing, then with its second, and so on:
 *
 *     static void send_and_receive(void)
 *     {
 *             … every result is 0 or an error that the documentation names …
 *     }
 *     fault_sweep(send_and_receive);
 */
#ifndef HARNESS_FAULT_H
#define HARNESS_FAULT_H

#include <base/sys.h>
#include <stdint.h>

/* Ends all faults, and counts every call again, as at the beginning. */
void fault_off(void);

enum fault_lasting {
	FAULT_ONCE = false,
	/*
	 * All later calls fail as well. But a call whose likely error is temporary (EINTR, EAGAIN)
	 * fails only once: failing for ever would be another machine, not a fault.
	 */
	FAULT_STICKY = true,
	/* From the first on, every other call fails, whatever `n` is. */
	FAULT_EACH_OTHER,
};

/*
 * The `n`th call from now on fails with `error`. 0: with a likely error for that call; ~k: with the
 * kth error that it can have.
 */
void fault_at(unsigned long n, int error, enum fault_lasting lasting);

/* The errors that a call can have: their number, and each of them, from 0 on; 0 after the last. */
unsigned fault_errors(enum sys_call call);
int fault_error(enum sys_call call, unsigned choice);
/* True if no user of a channel may notice this error when it occurs once. */
bool fault_unnoticed(enum sys_call call, unsigned choice);

/*
 * Counts and fails only calls of this set, an OR of FAULT(call), until the next fault_off(). To be
 * called before fault_at().
 */
#define FAULT(call) (UINT64_C(1) << (call))
#define FAULT_ALL (FAULT(SYS_CALLS) - 1)
#define FAULT_MEMORY (FAULT(SYS_MALLOC) | FAULT(SYS_CALLOC) | FAULT(SYS_REALLOC) | FAULT(SYS_TSEARCH))
void fault_only(uint64_t calls);

/*
 * At the `n`th such call from now on, of any thread, a function is run first, in that thread: what
 * another thread may do between two steps. It can call anything, and is run once. NULL: nothing is
 * run any more.
 */
void fault_meanwhile(enum sys_call call, unsigned long n, void (*run)(void *argument), void *argument);

/*
 * A call that is to fail once fails this many times in a row, until the next fault_off(). To be
 * called before fault_at().
 */
void fault_times(unsigned long times);

/*
 * Since fault_at(): whether a call has failed; which call failed first; how many calls were
 * counted; how many calls of this function there were; whether one has failed with this error.
 */
bool fault_hit(void);
enum sys_call fault_first(void);
unsigned long fault_calls(void);
unsigned long fault_calls_of(enum sys_call call);
bool fault_gave(int error);
/* The name of a call without sys_, or NULL if fault.c does not know it. */
const char *fault_name(enum sys_call call);

/*
 * Every other read or write of a stream transfers at most this many bytes; 0: no limit. The
 * function is NULL without preload.c.
 */
void fault_short(size_t reads, size_t writes) __attribute__((weak));
/*
 * The most bytes that one of them transferred since the last fault_short(). NULL without preload.c.
 */
size_t fault_longest(void) __attribute__((weak));

/*
 * Runs a scenario with each of its calls failing in turn, until it makes no more calls. Returns how
 * many calls there were. The time of a sweep is limited, so that a suite ends on a slow machine and
 * with a checker, too. The calls are tried in such an order that those of a sweep that ran out of
 * time are spread evenly over all: the first, the middle one, those between, and so on. If faults
 * were left out, the program says at its end how many of how many it tried. Environment:
 * BEAM_FAULT_SECONDS, the time of each sweep; 0: no limit.
 *
 * After each run the descriptors must be as before, and no memory may have been lost. LeakSanitizer
 * or Valgrind reports that where it is there. Otherwise, the blocks of malloc() are counted: a run
 * that left some behind is repeated, and fails if it leaves some every time. The first run is
 * without a fault, to fill caches.
 */
struct fault_sweep {
	void (*scenario)(void *argument);
	void *argument;
	uint64_t only;       /* 0: all calls */
	int error;           /* 0: a likely one for each call */
	bool once, sticky;   /* which sweeps; neither: both */
	unsigned long times; /* how often in a row, for a call that fails once; 0: 1 */
	unsigned long limit; /* the last `n`; 0: 100,000 */
	/*
	 * The time limit, which is stretched; 0: 5,000, or 600 with a checker, which needs time for
	 * each fault.
	 */
	int milliseconds;
	/*
	 * Called before each run, when nothing fails, to bring about what a run may or may not
	 * leave behind, like a thread that stays for a while. NULL: nothing.
	 */
	void (*prepare)(void);
};
unsigned long fault_sweep_with(const struct fault_sweep *sweep);

/* Sweeps over all calls, with likely errors, once and sticky. */
unsigned long fault_sweep(void (*scenario)(void));

/* How many blocks of malloc() are in use, or -1 if they cannot be counted. */
long allocated_blocks(void);
/* True if there is a checker, and it has found lost memory since the last call. */
bool fault_leaked(void);
/* True if a sweep can detect lost memory. The thread sanitizer cannot. */
bool fault_finds_leaks(void);

#endif
