/* SPDX-License-Identifier: MIT */
/*
 * Prints text of a peer to a terminal. Control characters, including those of eight bits,
 * characters that change the direction of text, and bytes that are not UTF-8 are printed as \xNN,
 * byte by byte.
 */
#include "command.h"
#include <langinfo.h>
#include <string.h>

/* Returns the size of the UTF-8 character that begins here, or 0 if none does. */
static size_t character(const unsigned char *at, size_t left)
{
	static const struct {
		unsigned char first, last, second_first, second_last, size;
	} forms[] = {
	    {0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
	    {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
	    {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		if (*at < forms[i].first || *at > forms[i].last)
			continue;
		if (forms[i].size > left ||
		    (forms[i].size > 1 && (at[1] < forms[i].second_first || at[1] > forms[i].second_last)))
			return 0;
		for (size_t k = 2; k < forms[i].size; k++)
			if ((at[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].size;
	}
	return 0;
}

static bool is_harmless(const unsigned char *at, size_t size, bool line)
{
	if (size == 1)
		return (*at >= 0x20 && *at < 0x7f) || (!line && (*at == '\n' || *at == '\t'));
	/* A terminal that does not use UTF-8 takes single bytes of it for control characters. */
	if (size == 0 || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		return false;
	if (size == 2)
		return at[0] != 0xc2 || at[1] >= 0xa0; /* U+0080 to U+009F */
	/*
	 * U+202A to U+202E and U+2066 to U+2069 change the direction of text, so that it reads
	 * differently from what it is.
	 */
	return memcmp(at, "\xe2\x80", 2) != 0 ? memcmp(at, "\xe2\x81", 2) != 0 || at[2] < 0xa6 || at[2] > 0xa9
					      : at[2] < 0xaa || at[2] > 0xae;
}

void print_quoted(FILE *out, const void *text, size_t size, bool line)
{
	const unsigned char *at = text, *end = at + size;

	while (at < end) {
		size_t n = character(at, (size_t)(end - at));
		if (is_harmless(at, n, line))
			fwrite(at, 1, n, out);
		else
			for (size_t i = 0; i < (n ? n : 1); i++)
				fprintf(out, "\\x%02x", at[i]);
		at += n ? n : 1;
	}
}
