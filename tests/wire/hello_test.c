/* SPDX-License-Identifier: MIT */
/* HELLO: each rule by itself, and each value in its place. */
#include <harness/harness.h>
#include <wire/breach.h>
#include <wire/frame.h>

enum { LIMITS = 8 };

static const uint32_t base[LIMITS] = {64, 64, 1 << 20, 16, 64 << 10, 16, 1 << 20, 64};

/* A payload as in docs/protocol.md: its first 44 bytes, and more bytes as in a later version. */
static void hello_payload(unsigned char to[HELLO_PAYLOAD_MAX], const uint32_t limits[LIMITS])
{
	memset(to, 0xaa, HELLO_PAYLOAD_MAX);
	memcpy(to, "Beam\1\0\0\0\0\0\0\0", 12);
	for (int i = 0; i < LIMITS; i++)
		put_u32(to + 12 + 4 * i, limits[i]);
}

static const char *decode_limits(const uint32_t limits[LIMITS], struct hello *ret)
{
	unsigned char payload[HELLO_PAYLOAD_MAX];

	hello_payload(payload, limits);
	return hello_decode(ret, payload, HELLO_PAYLOAD);
}

static void test_hello_of_the_base_values_is_that_of_the_protocols_example(void)
{
	static const unsigned char example[HELLO_FRAME] = {
	    0x00, 0x00, 0x00, 0x3c, 0x01, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	    0x42, 0x65, 0x61, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40,
	    0x00, 0x00, 0x00, 0x40, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00, 0x00,
	    0x00, 0x00, 0x00, 0x10, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00,
	};
	unsigned char frame[HELLO_FRAME];

	memset(frame, 0xff, sizeof frame);
	hello_encode(frame, &(struct hello){.version = 1, .limits = limits_base});
	check_bytes(frame, example, sizeof frame);
}

static void test_each_value_of_hello_comes_back_in_its_own_place(void)
{
	const struct hello hello = {.version = 200,
				    .features = 0x80000001,
				    .limits = {101, 102, (1 << 20) + 3, 104, (64 << 10) + 5, 106, (1 << 20) + 7, 108}};
	unsigned char frame[HELLO_FRAME];
	struct hello back;

	hello_encode(frame, &hello);
	check_string(hello_decode(&back, frame + FRAME_HEADER, HELLO_PAYLOAD), NULL);
	check_int(back.version, 200);
	check_int(back.features, 0x80000001);
	check_bytes(&back.limits, &hello.limits, sizeof back.limits);
}

static void test_limits_from_their_minimum_or_0_for_attachments_to_2_to_the_30_are_accepted(void)
{
	for (int i = 0; i < LIMITS; i++) {
		const uint32_t values[] = {
		    0, 1, base[i] - 1, base[i], base[i] + 1, 1 << 30, (1 << 30) + 1, 0x80000000, 0xffffffff};

		for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
			bool attachments = i == 3 || i == 5 || i == 7;
			bool right = (values[k] >= base[i] || attachments) && values[k] <= 1 << 30;
			uint32_t limits[LIMITS];
			struct hello hello;

			memcpy(limits, base, sizeof limits);
			limits[i] = values[k];
			harness_context("limit %d is %u", i, values[k]);
			check_string(decode_limits(limits, &hello), right ? NULL : BREACH_HELLO);
		}
	}
}

static void test_every_version_but_0_and_all_features_are_accepted(void)
{
	for (unsigned version = 0; version < 256; version++) {
		unsigned char payload[HELLO_PAYLOAD_MAX];
		struct hello hello;
		const char *rule;

		hello_payload(payload, base);
		payload[4] = (unsigned char)version;
		payload[8 + version % 4] = (unsigned char)version;
		rule = hello_decode(&hello, payload, HELLO_PAYLOAD);
		harness_context("version %u", version);
		check_string(rule, version ? NULL : BREACH_HELLO);
		if (!rule)
			check_int(hello.version, version);
	}
}

static void test_a_byte_that_is_not_as_it_must_be_is_a_breach(void)
{
	for (size_t at = 0; at < 8; at++) {
		for (unsigned flip = 1; flip < 256; flip++) {
			unsigned char payload[HELLO_PAYLOAD_MAX];
			struct hello hello;
			const char *rule;

			if (at == 4)
				continue;
			hello_payload(payload, base);
			payload[at] ^= (unsigned char)flip;
			rule = hello_decode(&hello, payload, HELLO_PAYLOAD);
			harness_context("byte %zu, %02x", at, flip);
			check_string(rule, at < 4 ? BREACH_HELLO : BREACH_UNUSED);
		}
	}
}

static void test_what_a_later_version_adds_is_ignored(void)
{
	for (size_t size = HELLO_PAYLOAD; size <= HELLO_PAYLOAD_MAX; size++) {
		unsigned char payload[HELLO_PAYLOAD_MAX];
		struct hello hello;

		hello_payload(payload, base);
		check_string(hello_decode(&hello, payload, size), NULL);
		check_int(hello.limits.attachments, 64);
	}
}

static void test_a_hello_that_is_cut_off_is_a_breach(void)
{
	for (size_t size = 0; size < HELLO_PAYLOAD; size++) {
		unsigned char payload[HELLO_PAYLOAD_MAX], *cut = malloc(size + 1);
		struct hello hello;

		/* In memory of its own, so that a checker notices a read beyond the end. */
		require(cut != NULL);
		hello_payload(payload, base);
		memcpy(cut + 1, payload, size);
		harness_context("%zu bytes", size);
		check(hello_decode(&hello, cut + 1, size) != NULL);
		free(cut);
	}
}

static const struct test tests[] = {
    TEST(test_hello_of_the_base_values_is_that_of_the_protocols_example),
    TEST(test_each_value_of_hello_comes_back_in_its_own_place),
    TEST(test_limits_from_their_minimum_or_0_for_attachments_to_2_to_the_30_are_accepted),
    TEST(test_every_version_but_0_and_all_features_are_accepted),
    TEST(test_a_byte_that_is_not_as_it_must_be_is_a_breach),
    TEST(test_what_a_later_version_adds_is_ignored),
    TEST(test_a_hello_that_is_cut_off_is_a_breach),
};
HARNESS_MAIN("wire/hello", tests)
