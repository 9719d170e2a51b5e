/* SPDX-License-Identifier: MIT */
#include <base/annotate.h>
#include <base/sys.h>
#include <base/thread.h>
#include <link/lending.h>
#include <stdatomic.h>

enum {
	/* One in this many descriptors of the process is for attachments. */
	PART = 5,
	/* A link can have at most this many times what is left. */
	TIMES_LEFT = 3,
	/* One in this many is kept free, however much is lent. */
	PART_FREE = 16,
	MOST = 512,
	/* The usual size of the table. */
	USUAL_TABLE = 1024,
};

/*
 * How many attachments are lent, and how many of these are open. The upper half is the number of
 * the process, because a forked child has lent nothing.
 */
static _Atomic uint64_t lent, opened;

static uint32_t value_of(uint64_t counter)
{
	return counter >> 32 == process_id() ? (uint32_t)counter : 0;
}

/* Adds `n` modulo 2^32. A negated number is subtracted. */
static void change(_Atomic uint64_t *counter, uint32_t n)
{
	uint64_t old = atomic_load_explicit(counter, memory_order_relaxed), changed;

	do
		changed = (uint64_t)process_id() << 32 | (uint32_t)(value_of(old) + n);
	while (!atomic_compare_exchange_weak(counter, &old, changed)); /* GCOVR_EXCL_BR_LINE: a race */
}

static uint32_t table_size(void)
{
	struct rlimit limit = {0};

	if (sys_getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return USUAL_TABLE;
	/* The kernel allows no limit of descriptors above 2^31. */
	return (uint32_t)limit.rlim_cur;
}

uint32_t lending_most(void)
{
	uint32_t most = table_size() / PART * TIMES_LEFT / (TIMES_LEFT + 1);

	return most < MOST ? most : MOST;
}

/*
 * Returns how many descriptors are free and not promised. The kernel uses the lowest free number,
 * so all numbers below it are in use, and those above it mostly are not. The standard numbers are
 * not tried: if one were free, what the program prints would go into the socket for a moment.
 */
static uint32_t free_in_table(int fd, uint32_t size, uint32_t is_lent)
{
	int lowest = fd_duplicate_above_standard(fd);
	uint32_t taken;

	if (lowest < 0)
		return 0;
	close(lowest);
	taken = (uint32_t)lowest + size / PART_FREE + is_lent - value_of(atomic_load(&opened));
	return taken < size ? size - taken : 0;
}

/* Returns how many more may be lent to a link that has `has`, if `left` are left. */
static uint32_t share(uint32_t left, uint32_t has)
{
	uint32_t most = TIMES_LEFT * left;

	return has < most ? (most - has) / (TIMES_LEFT + 1) : 0;
}

uint32_t lending_take(int fd, uint32_t has, uint32_t n)
{
	uint32_t size = table_size(), budget = size / PART, is_lent, lends, left;
	uint64_t old = atomic_load(&lent), changed;

	do {
		is_lent = value_of(old);
		left = is_lent < budget ? budget - is_lent : 0;
		lends = share(left, has);
		if (lends > n)
			lends = n;
		left = free_in_table(fd, size, is_lent);
		if (lends > left)
			lends = left;
		if (!lends)
			return 0;
		changed = (uint64_t)process_id() << 32 | (is_lent + lends);
	} while (!atomic_compare_exchange_weak(&lent, &old, changed)); /* GCOVR_EXCL_BR_LINE: a race */
	return lends;
}

void lending_reserve(uint32_t n)
{
	change(&lent, n);
}

void lending_return(uint32_t n)
{
	change(&lent, (uint32_t)-n);
}

void lending_opened(uint32_t n)
{
	change(&opened, n);
}

void lending_closed(uint32_t n)
{
	change(&opened, (uint32_t)-n);
}
