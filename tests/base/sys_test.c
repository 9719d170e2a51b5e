/* SPDX-License-Identifier: MIT */
/* The seam: that what fails on purpose fails as the call itself does. */
#include <harness/fault.h>
#include <harness/harness.h>

/* Looked at where the compiler cannot see that nobody uses it: it would leave the call out. */
static bool none(void *volatile memory)
{
	bool is_none = !memory;

	free(memory);
	return is_none;
}

static void test_memory_that_there_is_not_is_null_with_and_without_a_fault(void)
{
	/* Not known to the compiler, which would warn. A quarter of 32 bits may be had; Valgrind minds what looks negative. */
	volatile size_t size = sizeof(size_t) == 8 ? SIZE_MAX / 4 : SIZE_MAX / 4 * 3;

	if (under_sanitizer())
		skip("a sanitizer ends the program instead");
	for (int fails = 0; fails < 2; fails++) {
		if (fails) {
			fault_at(1, 0, true);
			size = 1;
		}
		check(none(sys_malloc(size)));
		check(none(sys_calloc(1, size)));
		check(none(sys_realloc(NULL, size)));
		check(none(sys_aligned_alloc(4096, size)));
	}
}

static void test_aligned_memory_may_be_of_any_size(void)
{
	for (size_t size = 1; size < 10000; size += 333) {
		unsigned char *memory = sys_aligned_alloc(4096, size);

		require(memory != NULL);
		check_int((uintptr_t)memory % 4096, 0);
		memset(memory, 'x', size);
		free(memory);
	}
}

static const struct test tests[] = {
    TEST(test_memory_that_there_is_not_is_null_with_and_without_a_fault),
    TEST(test_aligned_memory_may_be_of_any_size),
};
HARNESS_MAIN("sys", tests)
