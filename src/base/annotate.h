/* SPDX-License-Identifier: MIT */
/*
 * Annotations for race checkers, which cannot see all hand-overs of memory by C11 atomics. Helgrind
 * does not know atomics at all. It is told of hand-overs in builds with BEAM_HELGRIND.
 *
 * TSan knows the atomics in code that is compiled for it. This library usually is not compiled for
 * TSan, even if the program is. Then TSan does not see the library's atomics, but it sees the calls
 * that the library makes into the C library, such as recvmsg() into memory that another thread has
 * read. So it would report races that do not exist. Therefore the library calls functions of TSan
 * at the hand-overs. They are weak symbols, which are NULL in programs without TSan.
 */
#ifndef BASE_ANNOTATE_H
#define BASE_ANNOTATE_H

/* gcc and clang have different ways to show that they compile for TSan. */
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
/*
 * The memory at `what` is last written before annotate_release(), and first read after
 * annotate_acquire().
 */
#define annotate_release(what) ANNOTATE_HAPPENS_BEFORE(what)
#define annotate_acquire(what) ANNOTATE_HAPPENS_AFTER(what)
/* An atomic object, whose own loads and stores do not race. */
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
