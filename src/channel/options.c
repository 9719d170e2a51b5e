/* SPDX-License-Identifier: MIT */
/* The options of a channel: the range of each, and how they depend on each other. */
#include <base/options.h>
#include <channel/internal.h>
#include <session/fragment.h>

/* The range of one option. */
struct bounds {
	const char *name;
	size_t option; /* its offset */
	uint32_t least, most;
};

static bool is_within(const struct beam_channel_options *options, const struct bounds *bounds)
{
	uint32_t value;

	memcpy(&value, (const char *)options + bounds->option, sizeof value);
	return value >= bounds->least && value <= bounds->most;
}

#define BOUNDS(option, least, most)                                                                                    \
	{                                                                                                              \
#option, offsetof(struct beam_channel_options, option), least, most                                    \
	}

/* Returns -EINVAL if an option is out of its range, and its name in `ret_name`. */
static int check_options(const struct beam_channel_options *options, const char **ret_name)
{
	const struct bounds table[] = {
	    BOUNDS(topics, limits_base.topics, 65535),
	    BOUNDS(calls, limits_base.calls, 65535),
	    BOUNDS(message_bytes, limits_base.message_bytes, CREDIT_MAX),
	    BOUNDS(message_attachments, 0, TX_ATTACHMENTS_MAX),
	    BOUNDS(topic_window_bytes, limits_base.topic_bytes, CREDIT_MAX),
	    BOUNDS(topic_window_attachments, options->message_attachments, 65535),
	    BOUNDS(pool_bytes, limits_base.pool_bytes, CREDIT_MAX),
	    BOUNDS(pool_bytes, options->message_bytes, CREDIT_MAX),
	    BOUNDS(attachments, options->attachments ? options->message_attachments : 0, 65535),
	    BOUNDS(buffer_bytes, 16 << 10, 64 << 20),
	    BOUNDS(socket_buffer_bytes, 0, INT32_MAX),
	    BOUNDS(unknown_topics, 0, BEAM_TOPICS_REFUSE),
	    BOUNDS(busy_poll_us, 0, 10000),
	    BOUNDS(dedicated_reader, 0, 1),
	    BOUNDS(loop, 0, 1),
	};

	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (!is_within(options, &table[i])) {
			*ret_name = table[i].name;
			return -EINVAL;
		}
	return 0;
}

/*
 * Raises options that have their default value, if the messages that are allowed would not fit
 * otherwise.
 */
static void fit(struct beam_channel_options *options, const struct beam_channel_options *defaults)
{
	if (options->pool_bytes == defaults->pool_bytes && options->pool_bytes < options->message_bytes)
		options->pool_bytes = options->message_bytes;
	if (options->topic_window_attachments == defaults->topic_window_attachments &&
	    options->topic_window_attachments < options->message_attachments)
		options->topic_window_attachments = options->message_attachments;
}

static int take_named(struct beam_channel_options *ret, const struct beam_channel_options *options,
		      const char **ret_name)
{
	const struct beam_channel_options defaults = BEAM_CHANNEL_OPTIONS;
	int r;

	*ret = defaults;
	*ret_name = "size";
	r = options ? options_take(ret, sizeof *ret, options, offsetof(struct beam_channel_options, calls)) : 0;
	if (r < 0)
		return r;
	fit(ret, &defaults);
	return check_options(ret, ret_name);
}

int channel_take_options(struct beam_channel_options *ret, const struct beam_channel_options *options)
{
	const char *name;

	return take_named(ret, options, &name);
}

int beam_channel_options_check(const struct beam_channel_options *options, const char **ret_name)
{
	struct beam_channel_options taken;
	const char *name;
	int r;

	if (!options || !ret_name)
		return -EINVAL;
	r = take_named(&taken, options, &name);
	if (r < 0)
		*ret_name = name;
	return r;
}
