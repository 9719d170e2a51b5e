/* SPDX-License-Identifier: MIT */
/*
 * Prints a message as a line of JSON. Bytes that are UTF-8 are text, others are base64 under
 * another key.
 */
#include "command.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static char *base64(const unsigned char *bytes, size_t size)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *text = malloc((size + 2) / 3 * 4 + 1), *at = text;

	if (!text)
		return NULL;
	for (size_t i = 0; i < size; i += 3) {
		size_t n = size - i < 3 ? size - i : 3;
		unsigned bits =
		    (unsigned)bytes[i] << 16 | (n > 1 ? (unsigned)bytes[i + 1] << 8 : 0) | (n > 2 ? bytes[i + 2] : 0);
		*at++ = digits[bits >> 18];
		*at++ = digits[bits >> 12 & 63];
		*at++ = n > 1 ? digits[bits >> 6 & 63] : '=';
		*at++ = n > 2 ? digits[bits & 63] : '=';
	}
	*at = 0;
	return text;
}

static int put_bytes(json_t *object, const char *key, const char *base64_key, const void *bytes, size_t size)
{
	json_t *text = json_stringn(bytes, size);

	if (text)
		return json_object_set_new(object, key, text);
	char *encoded = base64(bytes, size);
	int r = encoded ? json_object_set_new(object, base64_key, json_string(encoded)) : -1;
	free(encoded);
	return r;
}

static int put_attachment(json_t *array, const struct attachment *attachment)
{
	json_t *object = json_pack("{ss}", "type", attachment->type);
	int r = json_array_append_new(array, object);

	if (r == 0 && attachment->sized)
		r = json_object_set_new(object, "size", json_integer(attachment->size));
	if (r == 0 && attachment->saved)
		r = put_bytes(object, "saved", "saved_base64", attachment->saved, strlen(attachment->saved));
	if (r == 0 && attachment->error < 0)
		r = json_object_set_new(object, "error", json_string(strerror(-attachment->error)));
	return r;
}

/*
 * For a terminal. Of the characters that control it, jansson escapes all but DEL, which can occur
 * only inside a string.
 */
static int print_without_del(const char *text, size_t size, void *out)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] == 0x7f)
			fputs("\\u007f", out);
		else
			putc(text[i], out);
	return 0;
}

int json_message(FILE *out, const char *topic, const beam_message *message, const struct attachment *attachments,
		 bool terminal)
{
	size_t n = beam_message_attachments(message), size = beam_message_size(message);
	json_t *object = json_object(), *array = n ? json_array() : NULL;
	int r = put_bytes(object, "topic", "topic_base64", topic, strlen(topic));

	r |= json_object_set_new(object, "size", json_integer((json_int_t)size));
	r |= put_bytes(object, "payload", "payload_base64", beam_message_data(message), size);
	if (n)
		r |= json_object_set_new(object, "attachments", array);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = put_attachment(array, &attachments[i]);
	if (r == 0)
		r = terminal ? json_dump_callback(object, print_without_del, out, JSON_COMPACT | JSON_ENSURE_ASCII)
			     : json_dumpf(object, out, JSON_COMPACT);
	json_decref(object);
	putc('\n', out);
	/* Failures of standard output are reported where it is flushed. */
	return r == 0 || output_failed() ? 0 : -ENOMEM;
}
