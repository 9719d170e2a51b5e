/* SPDX-License-Identifier: MIT */
/*
 * What helgrind cannot see: hand-overs by C11 atomics. These say in test builds what the atomics say by themselves to TSan
 * and to the reader. Nothing in other builds.
 */
#ifndef BASE_ANNOTATE_H
#define BASE_ANNOTATE_H

#ifdef BEAM_HELGRIND
#include <valgrind/helgrind.h>
/* The memory at `what` is written last before this, and read first after the other. */
#define annotate_release(what) ANNOTATE_HAPPENS_BEFORE(what)
#define annotate_acquire(what) ANNOTATE_HAPPENS_AFTER(what)
/* An atomic object: its own loads and stores do not race. */
#define annotate_atomic(object) VALGRIND_HG_DISABLE_CHECKING(object, sizeof *(object))
#else
#define annotate_release(what) ((void)(what))
#define annotate_acquire(what) ((void)(what))
#define annotate_atomic(object) ((void)(object))
#endif

#endif
