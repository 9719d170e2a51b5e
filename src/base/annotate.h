/* SPDX-License-Identifier: MIT */
/*
 * What race checkers cannot see: hand-overs by C11 atomics. Helgrind knows of no atomics; it is
 * told in builds with BEAM_HELGRIND.
 *
 * TSan knows those that are compiled for it. It does not see the atomics of a library that is not,
 * as this one usually is in a program that is. But it sees the calls that the library makes into
 * the C library, such as recvmsg() into memory that another thread has read. So it would report
 * races that are none. If TSan is in the program, it is told of the hand-overs: its functions are
 * weak here, and are NULL in all other programs.
 */
#ifndef BASE_ANNOTATE_H
#define BASE_ANNOTATE_H

/* gcc says it in one way, clang in another. */
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define BEAM_BUILT_FOR_TSAN
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define BEAM_BUILT_FOR_TSAN
#endif

#ifdef BEAM_HELGRIND
#include <valgrind/helgrind.h>
/* The memory at `what` is written last before this, and read first after the other. */
#define annotate_release(what) ANNOTATE_HAPPENS_BEFORE(what)
#define annotate_acquire(what) ANNOTATE_HAPPENS_AFTER(what)
/* An atomic object: its own loads and stores do not race. */
#define annotate_atomic(object) VALGRIND_HG_DISABLE_CHECKING(object, sizeof *(object))
#elif defined BEAM_BUILT_FOR_TSAN
#define annotate_release(what) ((void)(what))
#define annotate_acquire(what) ((void)(what))
#define annotate_atomic(object) ((void)(object))
#else
__attribute__((weak, visibility("default"))) void
__tsan_acquire(void *address); /* NOLINT(bugprone-reserved-identifier) */
__attribute__((weak, visibility("default"))) void
__tsan_release(void *address); /* NOLINT(bugprone-reserved-identifier) */

static inline void annotate_release(void *what)
{
	if (__tsan_release)           /* GCOVR_EXCL_BR_LINE: in a program with TSan (tests/tsan) */
		__tsan_release(what); /* GCOVR_EXCL_LINE */
}

static inline void annotate_acquire(void *what)
{
	if (__tsan_acquire)           /* GCOVR_EXCL_BR_LINE: in a program with TSan (tests/tsan) */
		__tsan_acquire(what); /* GCOVR_EXCL_LINE */
}

#define annotate_atomic(object) ((void)(object))
#endif

#endif
