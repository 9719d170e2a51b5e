/* SPDX-License-Identifier: MIT */
/*
 * A fuzz target is a function that uses any bytes as the input of a part of Beam, and checks what
 * must hold. libFuzzer and AFL++ call it with inputs that they generate, corpus.c with inputs that
 * were generated before.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <base/reader.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Checks a condition that must hold for every input. Otherwise the program is aborted, and the
 * engine keeps the input.
 */
#define must(condition) ((condition) ? (void)0 : fuzz_fail(#condition, __FILE__, __LINE__))

static inline _Noreturn void fuzz_fail(const char *condition, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
	abort();
}

#endif
