/* SPDX-License-Identifier: MIT */
/* What the parts of the harness share. */
#ifndef HARNESS_INTERNAL_H
#define HARNESS_INTERNAL_H

#include <harness/harness.h>
#include <harness/sanitizer.h>

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define HAVE_VALGRIND_H 1
#endif
#endif
#ifndef HAVE_VALGRIND_H
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_COUNT_ERRORS 0
#endif

/*
 * harness.c: whether a check has failed, without a lock, for the end of a process; and clears the
 * failures in a new child.
 */
bool harness_failed(void);
void harness_begin_in_child(void);

/* process.c: this process was spawned by process_spawn(). */
bool process_spawned(void);

#endif
