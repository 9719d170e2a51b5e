/* SPDX-License-Identifier: MIT */
/* The parser of all bytes that come from outside. */
#include <base/reader.h>
#include <harness/harness.h>

static void test_numbers_are_big_endian(void)
{
	static const unsigned char bytes[] = {0x81, 0x02, 0x03, 0x04, 0xff};
	struct reader reader = reader_over(bytes, sizeof bytes);
	unsigned char back[4];

	check_int(reader_u32(&reader), 0x81020304u);
	check_int(reader_u8(&reader), 0xff);
	check(!reader.failed);
	put_u32(back, 0x81020304u);
	check_bytes(back, bytes, sizeof back);
}

static void test_a_read_past_the_end_gives_nothing_and_is_remembered(void)
{
	static const unsigned char bytes[] = {1, 2, 3};
	struct reader reader = reader_over(bytes, sizeof bytes);

	check_int(reader_u32(&reader), 0);
	check(reader.failed);
	check_int(reader_u8(&reader), 0);
	check(reader_bytes(&reader, 1) == NULL);
	check(reader.failed);
}

static void test_all_bytes_can_be_read_and_none_more(void)
{
	static const unsigned char bytes[] = {1, 2, 3};
	struct reader reader = reader_over(bytes, sizeof bytes);

	check(reader_bytes(&reader, 3) == bytes);
	check(reader_bytes(&reader, 0) != NULL);
	check(!reader.failed);
	check(reader_bytes(&reader, SIZE_MAX) == NULL);
	check(reader.failed);
}

static const struct test tests[] = {
    TEST(test_numbers_are_big_endian),
    TEST(test_a_read_past_the_end_gives_nothing_and_is_remembered),
    TEST(test_all_bytes_can_be_read_and_none_more),
};
HARNESS_MAIN("reader", tests)
