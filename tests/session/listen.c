/* SPDX-License-Identifier: MIT */
#include <session/listen.h>

struct speech speech;
struct ear ear;
struct hearing hearing;

void listen_begin_with(const struct limits *limits)
{
	speech_init(&speech);
	speech_begin(&speech);
	hearing = (struct hearing){.speech = &speech};
	require_int(ear_init(&ear, limits), 0);
}

void listen_begin(void)
{
	listen_begin_with(&limits_base);
}

int listen_on(void)
{
	int r;

	do
		r = ear_read(&ear, &hearing, SIZE_MAX);
	while (!r);
	return r == 1 ? 0 : r;
}

const char *news(void)
{
	static char text[1 << 16];

	listen_on();
	snprintf(text, sizeof text, "%s%s", ear_text(&ear), ear_rule(&ear));
	ear_forget(&ear);
	return text;
}

void listen_end(void)
{
	ear_end(&ear);
	speech_end(&speech);
}
