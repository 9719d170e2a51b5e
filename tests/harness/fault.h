/* SPDX-License-Identifier: MIT */
/*
 * Faults: makes the calls of the seam (src/base/sys.h) fail on purpose, in tests that are linked
 * with beam_testing, or with the library as it is shipped and with what stands between it and
 * the C library (preload.c).
 *
 * The calls of all threads are counted from 1 since fault_at(). A scenario is swept by failing its
 * first call, then its second, and so on:
 *
 *     static void send_and_receive(void) { … every result is 0 or an error that the documentation
 *     names … } fault_sweep(send_and_receive);
 */
#ifndef HARNESS_FAULT_H
#define HARNESS_FAULT_H

#include <base/sys.h>
#include <stdint.h>

/* Nothing fails, every call is of interest. As it is at the beginning. */
void fault_off(void);

enum fault_lasting {
	FAULT_ONCE = false,
	/*
	 * All calls after it fail too; but one whose likely error passes by itself (EINTR, EAGAIN)
	 * fails only once: for ever would be another machine, not a fault.
	 */
	FAULT_STICKY = true,
	/* From the first on every other call fails, whatever `n`. */
	FAULT_EACH_OTHER,
};

/*
 * The `n`th call from now on fails, with `error`, or 0: a likely one for that call, or ~k: the kth
 * of those that it can give.
 */
void fault_at(unsigned long n, int error, enum fault_lasting lasting);

/* The errors that a call can give: how many, and each of them, from 0 on; 0 past the last. */
unsigned fault_errors(enum sys_call call);
int fault_error(enum sys_call call, unsigned choice);
/* True if nobody who uses a channel may notice it, once. */
bool fault_unnoticed(enum sys_call call, unsigned choice);

/*
 * Counts and fails only calls of this set, an OR of FAULT(call)s, until the next fault_off().
 * Call it before fault_at().
 */
#define FAULT(call) (UINT64_C(1) << (call))
#define FAULT_ALL (FAULT(SYS_CALLS) - 1)
#define FAULT_MEMORY (FAULT(SYS_MALLOC) | FAULT(SYS_CALLOC) | FAULT(SYS_REALLOC) | FAULT(SYS_TSEARCH))
void fault_only(uint64_t calls);

/*
 * The `n`th such call from now on, of any thread, first runs something, there and then:
 * what another thread may do between two steps. It may call what it likes, and is run
 * once. NULL: nothing any more.
 */
void fault_meanwhile(enum sys_call call, unsigned long n, void (*run)(void *argument), void *argument);

/*
 * One that fails once fails so many times in a row instead, until the next fault_off().
 * Call it before fault_at().
 */
void fault_times(unsigned long times);

/*
 * True if a call has failed since fault_at(); which one came first; how many calls of interest were
 * made since; how many of this function; true if one has failed with this error.
 */
bool fault_hit(void);
enum sys_call fault_first(void);
unsigned long fault_calls(void);
unsigned long fault_calls_of(enum sys_call call);
bool fault_gave(int error);
/* The call's name without sys_; NULL if fault.c does not know it. */
const char *fault_name(enum sys_call call);

/*
 * Every other read or write of a stream takes at most so many bytes; 0: as many as it is given.
 * Only with preload.c, else NULL.
 */
void fault_short(size_t reads, size_t writes) __attribute__((weak));
/* The most bytes that one of them took since the last fault_short(). The same. */
size_t fault_longest(void) __attribute__((weak));

/*
 * Runs a scenario with each of its calls failing in turn, until it makes no so many calls, and
 * returns how many that were. A sweep has a time, so that a suite ends on a slow machine and under
 * a checker, too. The calls come in such an order that those of a sweep that ran out of time are
 * spread evenly over all of them: the first, the middle one, those between, and so on. The program
 * says at its end how many faults of how many there were, if it left any out. Environment:
 * BEAM_FAULT_SECONDS, the time of each sweep; 0: no end.
 *
 * After each run the descriptors must be as before, and no memory may have been left behind: asked
 * of LeakSanitizer or Valgrind where they are there, else by counting the blocks of malloc(), where
 * a run that left some is repeated, and is at fault if it leaves some every time. The first run is
 * without a fault, to warm up.
 */
struct fault_sweep {
	void (*scenario)(void *argument);
	void *argument;
	uint64_t only;       /* 0: all calls */
	int error;           /* 0: a likely one for each call */
	bool once, sticky;   /* which sweeps; neither: both */
	unsigned long times; /* how many in a row fail once; 0: 1 */
	unsigned long limit; /* the last N; 0: 100,000 */
	/*
	 * Its time, stretched; 0: 5,000, or 600 with a checker, which takes its time for each
	 * fault.
	 */
	int milliseconds;
	/*
	 * Called before each run with no fault, to bring about what a run may leave or not: a
	 * thread that lingers. NULL: nothing.
	 */
	void (*prepare)(void);
};
unsigned long fault_sweep_with(const struct fault_sweep *sweep);

/* All calls, likely errors, once and sticky. */
unsigned long fault_sweep(void (*scenario)(void));

/* Blocks of malloc() that are not free, or -1 where they cannot be counted. */
long allocated_blocks(void);
/* True if a checker that is there has found memory that was lost since the last time. */
bool fault_leaked(void);
/* True if a sweep can tell that memory was lost. The thread sanitizer cannot. */
bool fault_finds_leaks(void);

#endif
