/* SPDX-License-Identifier: MIT */
/* What the files of the benchmark share: the clock, ordered samples, errors. */
#ifndef BENCH_UTIL_H
#define BENCH_UTIL_H

#include <stddef.h>
#include <stdint.h>

uint64_t now_ns(void);

/* Sorts `n` > 0 samples, as percentile() and median() require. */
void samples_sort(double *samples, size_t n);
double percentile(const double *sorted, size_t n, double p);
double median(const double *sorted, size_t n);

/* Prints "bench: WHAT: reason" and ends the process with code 1. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

/*
 * Return the result, or die if it is negative. must_sys() is for system calls, whose error is in
 * errno, and must() for functions of Beam, which return a negative errno.
 */
long must_sys(long result, const char *what);
long must(long result, const char *what);

void *must_allocate(size_t size);

#endif
