/* SPDX-License-Identifier: MIT */
/*
 * A fuzz target: one function that makes of any bytes an input for a part of Beam, and knows
 * what must hold. libFuzzer and AFL++ call it with what they think of, corpus.c with what
 * they have thought of before.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <base/reader.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * What must hold whatever the input is: else the program is aborted, and the engine keeps the
 * input.
 */
#define must(condition) ((condition) ? (void)0 : fuzz_fail(#condition, __FILE__, __LINE__))

static inline _Noreturn void fuzz_fail(const char *condition, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
	abort();
}

#endif
