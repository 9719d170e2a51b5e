/* SPDX-License-Identifier: MIT */
/* The frame header: each rule by itself, over all values of the small fields. */
#include <harness/harness.h>
#include <wire/breach.h>
#include <wire/frame.h>

enum { KINDS = FRAME_PING, ALL_FLAGS = FRAME_FLAGS + 1 };

/* 9 to 14 are reserved. */
static unsigned next_kind(unsigned kind)
{
	return kind == FRAME_GOODBYE ? FRAME_WANT : kind + 1;
}

/* The fields of a header. */
struct fields {
	uint32_t word;
	uint8_t kind, flags, claimed, carried;
	uint32_t id, argument;
};

/* The smallest payload that a kind of frame has. */
static const uint32_t smallest[KINDS + 1] = {
    [FRAME_HELLO] = 44,
    [FRAME_CREDIT] = 8,
};

/* A frame of this kind that breaks no rule that a header can show. */
static struct fields good(uint8_t kind)
{
	uint32_t payload = smallest[kind], padding = -payload & 7;

	return (struct fields){.word = 12 + payload + padding, .kind = kind, .flags = (uint8_t)(padding << 5)};
}

static const char *decode(const struct fields *fields, struct frame *ret)
{
	unsigned char header[FRAME_HEADER];

	put_u32(header, fields->word);
	header[4] = fields->kind;
	header[5] = fields->flags;
	header[6] = fields->claimed;
	header[7] = fields->carried;
	put_u32(header + 8, fields->id);
	put_u32(header + 12, fields->argument);
	return frame_decode(ret, header);
}

static const char *rule_of(const struct fields *fields)
{
	struct frame frame;

	return decode(fields, &frame);
}

/* Faster than check_string(), where there are very many. */
static bool is_rule(const char *rule, const char *expected)
{
	return rule && expected ? strcmp(rule, expected) == 0 : rule == expected;
}

/* Sets the length of the payload, and the padding that it needs. */
static void set_payload(struct fields *fields, uint32_t payload)
{
	uint32_t padding = -payload & 7;

	fields->word = (fields->word & FRAME_CARRIES) | (12 + payload + padding);
	fields->flags = (uint8_t)((fields->flags & 0x1f) | padding << 5);
}

static void test_every_kind_of_frame_is_understood(void)
{
	for (uint8_t kind = 1; kind <= KINDS; kind = (uint8_t)next_kind(kind)) {
		struct fields fields = good(kind);
		struct frame frame;

		harness_context("kind %d", kind);
		check_string(decode(&fields, &frame), NULL);
		check_int(frame.kind, kind);
		check_int(frame_payload(&frame), smallest[kind]);
		check_int(frame_body(&frame) % 8, 0);
	}
}

static void test_each_field_stands_where_the_protocol_says(void)
{
	static const unsigned char header[FRAME_HEADER] = {0x80, 0x00, 0x01, 0x0c, 3,    0x42, 0x11, 0x22,
							   0x01, 0x02, 0x03, 0x04, 0xa1, 0xa2, 0xa3, 0xa4};
	struct frame frame;

	check_string(frame_decode(&frame, header), NULL);
	check_int(frame.length, 0x10c);
	check_int(frame.kind, FRAME_DATA);
	check_int(frame.flags, FRAME_SIZED);
	check_int(frame.padding, 2);
	check_int(frame.claimed, 0x11);
	check_int(frame.carried, 0x22);
	check_int(frame.id, 0x01020304);
	check_int(frame.argument, 0xa1a2a3a4);
	check_int(frame_body(&frame), 0x100);
	check_int(frame_payload(&frame), 0x100 - 2);
}

static void test_kinds_that_nobody_knows_are_a_breach(void)
{
	for (unsigned kind = 0; kind < 256; kind++) {
		struct fields fields = good(FRAME_DATA);
		const char *rule;

		if ((kind >= 1 && kind <= FRAME_GOODBYE) || (kind >= FRAME_WANT && kind <= KINDS))
			continue;
		fields.kind = (uint8_t)kind;
		rule = rule_of(&fields);
		harness_context("kind %u", kind);
		check_string(rule, BREACH_KIND);
	}
}

/* The flags that docs/protocol.md allows. */
static bool flags_allowed(uint8_t kind, unsigned flags)
{
	unsigned allowed = kind == FRAME_DATA     ? FRAME_MORE | FRAME_SIZED | FRAME_ABORT
			   : kind == FRAME_REPLY  ? FRAME_MORE | FRAME_SIZED | FRAME_ABORT | FRAME_END | FRAME_ERROR
			   : kind == FRAME_CREDIT ? FRAME_OVERDRAFT
						  : 0;

	return !(flags & ~allowed) && (!(flags & FRAME_ABORT) || flags == FRAME_ABORT) &&
	       (!(flags & FRAME_ERROR) || (flags & FRAME_END));
}

static void test_every_set_of_flags_with_every_kind(void)
{
	for (uint8_t kind = 1; kind <= KINDS; kind = (uint8_t)next_kind(kind)) {
		for (unsigned flags = 0; flags < ALL_FLAGS; flags++) {
			struct fields fields = good(kind);
			struct frame frame;
			const char *rule;

			if ((kind == FRAME_DATA || kind == FRAME_REPLY) && !(flags & FRAME_ABORT))
				set_payload(&fields, 16);
			fields.flags = (uint8_t)(fields.flags | flags);
			rule = decode(&fields, &frame);
			harness_context("kind %d flags %02x", kind, flags);
			check_string(rule, flags_allowed(kind, flags) ? NULL : BREACH_FLAGS);
			check_int(frame.flags, flags);
		}
	}
}

static void test_every_length_up_to_the_largest_and_beyond(void)
{
	for (uint32_t length = 0; length < 70000; length++) {
		bool right = length >= 12 && length <= 65548 && (length + 4) % 8 == 0;
		struct fields fields = good(FRAME_DATA);
		const char *rule;

		fields.word = length;
		rule = rule_of(&fields);
		if (!is_rule(rule, right ? NULL : BREACH_LENGTH))
			fail("length %u: %s", length, rule ? rule : "none");
	}
}

static void test_lengths_of_gigabytes_are_a_breach(void)
{
	for (unsigned bit = 17; bit < 31; bit++) {
		for (uint32_t low = 0; low < 64; low++) {
			struct fields fields = good(FRAME_DATA);

			fields.word = 1u << bit | low;
			harness_context("length %u", fields.word);
			check_string(rule_of(&fields), BREACH_LENGTH);
			fields.word = 0x7fffffff - low;
			check_string(rule_of(&fields), BREACH_LENGTH);
		}
	}
}

static void test_every_padding_with_every_small_payload(void)
{
	for (unsigned padding = 0; padding < 8; padding++) {
		for (uint32_t body = 0; body <= 32; body += 8) {
			struct fields fields = good(FRAME_DATA);
			struct frame frame;
			const char *rule;

			fields.word = 12 + body;
			fields.flags = (uint8_t)(padding << 5);
			rule = decode(&fields, &frame);
			harness_context("padding %u body %u", padding, body);
			check_string(rule, padding > body ? BREACH_PADDING : NULL);
			if (!rule)
				check_int(frame_payload(&frame), body - padding);
		}
	}
}

static void test_every_number_of_descriptors_carried(void)
{
	for (uint8_t kind = 1; kind <= KINDS; kind = (uint8_t)next_kind(kind)) {
		for (unsigned carried = 0; carried < 256; carried++) {
			for (unsigned bit = 0; bit < 2; bit++) {
				struct fields fields = good(kind);
				bool right = bit ? carried >= 1 && carried <= 253 && kind != FRAME_HELLO : carried == 0;
				struct frame frame;
				const char *rule;

				fields.word |= bit ? FRAME_CARRIES : 0;
				fields.carried = (uint8_t)carried;
				rule = decode(&fields, &frame);
				harness_context("kind %d carried %u bit 31 %u", kind, carried, bit);
				check_string(rule, right ? NULL : BREACH_CARRIER);
				check_int(frame.carried, carried);
			}
		}
	}
}

static void test_only_data_and_replies_claim(void)
{
	for (uint8_t kind = 1; kind <= KINDS; kind = (uint8_t)next_kind(kind)) {
		for (unsigned claimed = 0; claimed < 256; claimed++) {
			struct fields fields = good(kind);
			bool right = claimed == 0 || kind == FRAME_DATA || kind == FRAME_REPLY;
			struct frame frame;
			const char *rule;

			fields.claimed = (uint8_t)claimed;
			rule = decode(&fields, &frame);
			harness_context("kind %d claimed %u", kind, claimed);
			check_string(rule, right ? NULL : BREACH_UNUSED);
			check_int(frame.claimed, claimed);
		}
	}
}

static void test_ids_and_arguments_stand_only_where_there_are_any(void)
{
	static const bool has_id[KINDS + 1] = {[FRAME_OPEN] = true,
					       [FRAME_DATA] = true,
					       [FRAME_CREDIT] = true,
					       [FRAME_CLOSE] = true,
					       [FRAME_RESET] = true};
	static const bool has_argument[KINDS + 1] = {
	    [FRAME_DATA] = true, [FRAME_REPLY] = true,  [FRAME_CREDIT] = true, [FRAME_RESET] = true,
	    [FRAME_WANT] = true, [FRAME_RETURN] = true, [FRAME_PING] = true};

	for (uint8_t kind = 1; kind <= KINDS; kind = (uint8_t)next_kind(kind)) {
		for (unsigned bit = 0; bit < 32; bit++) {
			struct fields fields = good(kind);

			harness_context("kind %d bit %u", kind, bit);
			fields.id = 1u << bit;
			check_string(rule_of(&fields), has_id[kind] ? NULL : BREACH_UNUSED);
			fields.id = 0;
			fields.argument = 1u << bit;
			check_string(rule_of(&fields), has_argument[kind] ? NULL : BREACH_UNUSED);
		}
	}
}

/* True if this kind of frame may have such a payload, as far as a header shows. */
static bool payload_allowed(uint8_t kind, uint32_t size)
{
	switch (kind) {
	case FRAME_HELLO: return size >= 44 && size <= 256;
	case FRAME_CREDIT: return size == 8;
	case FRAME_OPEN:
	case FRAME_DATA:
	case FRAME_REPLY: return true;
	}
	return size == 0;
}

static void test_every_size_of_payload_with_every_kind(void)
{
	for (uint8_t kind = 1; kind <= KINDS; kind = (uint8_t)next_kind(kind)) {
		for (uint32_t size = 0; size <= 65536; size += size < 600 ? 1 : 61) {
			struct fields fields = good(kind);
			const char *rule;

			set_payload(&fields, size);
			rule = rule_of(&fields);
			if (!is_rule(rule, payload_allowed(kind, size) ? NULL : BREACH_PAYLOAD))
				fail("kind %d, %u bytes: %s", kind, size, rule ? rule : "none");
		}
	}
}

static void test_flags_that_promise_something_need_a_payload_that_has_it(void)
{
	for (unsigned flags = 0; flags < ALL_FLAGS; flags++) {
		uint32_t least = (flags & FRAME_SIZED ? 8 : 0) + (flags & FRAME_ERROR ? 4 : 0);

		if (!flags_allowed(FRAME_REPLY, flags))
			continue;
		for (uint32_t size = 0; size < 24; size++) {
			bool right = size >= least && (!(flags & FRAME_ABORT) || size == 0);
			struct fields fields = good(FRAME_REPLY);
			const char *rule;

			fields.flags = (uint8_t)flags;
			set_payload(&fields, size);
			rule = rule_of(&fields);
			harness_context("flags %02x, %u bytes", flags, size);
			check_string(rule, right ? NULL : BREACH_PAYLOAD);
			if (!flags_allowed(FRAME_DATA, flags))
				continue;
			fields.kind = FRAME_DATA;
			rule = rule_of(&fields);
			check_string(rule, right ? NULL : BREACH_PAYLOAD);
		}
	}
}

static void test_what_is_encoded_is_decoded_the_same(void)
{
	for (size_t size = 0; size <= FRAME_BODY_MAX; size++) {
		unsigned char header[FRAME_HEADER];
		struct frame frame;
		size_t whole = frame_encode(header, FRAME_DATA, 0, 0, 7, 9, size);
		const char *rule = frame_decode(&frame, header);

		if (rule || whole % 8 || whole != FRAME_HEADER + size + frame_padding(size) ||
		    whole != 4 + (size_t)frame.length || frame_payload(&frame) != size ||
		    frame.padding != frame_padding(size) || frame.id != 7 || frame.argument != 9)
			fail("%zu bytes: %s", size, rule ? rule : "not the same");
	}
}

static void test_a_carrier_is_made_and_unmade(void)
{
	unsigned char plain[FRAME_HEADER], header[FRAME_HEADER];

	frame_encode(plain, FRAME_DATA, FRAME_MORE | FRAME_SIZED, 3, 0xfffffffe, 0xfffffffd, 33);
	memcpy(header, plain, sizeof header);
	for (unsigned n = 0; n <= FRAME_CARRIED_MAX; n++) {
		struct frame frame;

		frame_set_carried(header, (uint8_t)n);
		harness_context("%u", n);
		check_string(frame_decode(&frame, header), NULL);
		check_int(frame.carried, n);
		check_int(header[0] >> 7, n > 0);
		check_int(frame.id, 0xfffffffe);
		check_int(frame.argument, 0xfffffffd);
		check_int(frame.claimed, 3);
		check_int(frame_payload(&frame), 33);
	}
	frame_set_carried(header, 0);
	check_bytes(header, plain, sizeof header);
}

static void test_a_whole_message_tells_its_size_and_overdraft(void)
{
	unsigned char bytes[FRAME_HEADER + 16];
	uint32_t size = UINT32_MAX, overdraft = UINT32_MAX;

	frame_encode(bytes, FRAME_DATA, 0, 0, 1, 0, 11);
	frame_message(bytes, &size, &overdraft);
	check_int(size, 11);
	check_int(overdraft, 0);
	frame_encode(bytes, FRAME_DATA, FRAME_SIZED, 0, 1, 0, FRAME_SIZED_PREFIX + 5);
	put_u32(bytes + FRAME_HEADER, 5);
	put_u32(bytes + FRAME_HEADER + 4, 60);
	frame_message(bytes, &size, &overdraft);
	check_int(size, 5);
	check_int(overdraft, 60);
	/* The same in a carrier. */
	frame_set_carried(bytes, 3);
	frame_message(bytes, &size, &overdraft);
	check_int(size, 5);
	check_int(overdraft, 60);
}

static void test_any_header_at_all_is_judged_without_harm(void)
{
	struct rng rng = rng_new(1);

	for (size_t i = 0; i < scale(300000); i++) {
		unsigned char header[FRAME_HEADER];
		struct frame frame;

		rng_fill(&rng, header, sizeof header);
		/* So that more than the length is checked. */
		if (rng_chance(&rng, 90)) {
			header[0] &= 0x80;
			header[1] = 0;
			header[3] = (unsigned char)((header[3] & 0xf8) | 4);
			header[4] &= 0x0f;
		}
		if (rng_chance(&rng, 50))
			header[5] = header[6] = header[7] = 0;
		if (!frame_decode(&frame, header) &&
		    (frame_body(&frame) > FRAME_BODY_MAX || frame_payload(&frame) > frame_body(&frame)))
			fail("a body of %zu", frame_body(&frame));
	}
}

static const struct test tests[] = {
    TEST(test_every_kind_of_frame_is_understood),
    TEST(test_each_field_stands_where_the_protocol_says),
    TEST(test_kinds_that_nobody_knows_are_a_breach),
    TEST(test_every_set_of_flags_with_every_kind),
    TEST(test_every_length_up_to_the_largest_and_beyond),
    TEST(test_lengths_of_gigabytes_are_a_breach),
    TEST(test_every_padding_with_every_small_payload),
    TEST(test_every_number_of_descriptors_carried),
    TEST(test_only_data_and_replies_claim),
    TEST(test_ids_and_arguments_stand_only_where_there_are_any),
    TEST(test_every_size_of_payload_with_every_kind),
    TEST(test_flags_that_promise_something_need_a_payload_that_has_it),
    TEST(test_what_is_encoded_is_decoded_the_same),
    TEST(test_a_carrier_is_made_and_unmade),
    TEST(test_a_whole_message_tells_its_size_and_overdraft),
    TEST(test_any_header_at_all_is_judged_without_harm),
};
HARNESS_MAIN("wire/frame", tests)
