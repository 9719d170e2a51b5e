/* SPDX-License-Identifier: MIT */
/* Takes frames that carry no message. */
#include <base/annotate.h>
#include <base/sys.h>
#include <session/rx_parse.h>
#include <string.h>
#include <wire/breach.h>

/* The tree holds the names of the open inlets. */
static int inlet_by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

int rx_take_hello(struct rx *rx, const unsigned char *body)
{
	struct hello hello;
	const char *rule = hello_decode(&hello, body, frame_payload(&rx->frame));

	if (rule)
		return rx_breach(rx, rule);
	return rx->events->hello(rx->owner, &hello) < 0 ? rx_out_of_memory(rx) : 0;
}

int rx_take_open(struct rx *rx, const unsigned char *body)
{
	size_t size = frame_payload(&rx->frame);
	uint32_t id = rx->frame.id;
	struct inlet *inlet = rx_find_inlet(rx, id);
	void *found, *inlets;

	/* judge_header() has checked that it is not too long. */
	if (!size || memchr(body, 0, size))
		return rx_breach(rx, BREACH_NAME);
	if (!id || id > rx->limits->topics)
		return rx_breach(rx, BREACH_TOPIC_ID);
	inlets = table_grow(rx->inlets, &rx->capacity_inlets, id, rx->limits->topics);
	if (!inlets)
		return rx_out_of_memory(rx);
	rx->inlets = inlets;
	if (!inlet) {
		inlet = sys_calloc(1, sizeof *inlet + NAME_MAX_BYTES + 1);
		if (!inlet)
			return rx_out_of_memory(rx);
		inlet_init(inlet, id);
		inlet->name = (char *)(inlet + 1);
		rx->inlets[id] = inlet;
	}
	if (inlet->state == INLET_OPEN ||
	    (inlet->state == INLET_CLOSED && !atomic_load_explicit(&inlet->reset_sent, memory_order_acquire)))
		return rx_breach(rx, BREACH_TOPIC_ID);
	memcpy(inlet->name, body, size);
	inlet->name[size] = 0;
	found = sys_tsearch(inlet->name, &rx->names, inlet_by_name);
	if (!found)
		return rx_out_of_memory(rx);
	if (*(char **)found != inlet->name)
		return rx_breach(rx, BREACH_NAME);
	inlet_open(inlet, rx->limits->topic_bytes, rx->limits->topic_attachments);
	if (rx->events->opened(rx->owner, inlet) < 0)
		return rx_out_of_memory(rx);
	return 0;
}

int rx_take_close(struct rx *rx)
{
	struct inlet *inlet = rx_open_inlet(rx, rx->frame.id);

	if (!inlet)
		return rx->error;
	if (inlet->building)
		return rx_breach(rx, BREACH_FRAGMENT);
	rx_flush(rx, inlet);
	tdelete(inlet->name, &rx->names, inlet_by_name);
	inlet->state = INLET_CLOSED;
	rx->events->closed(rx->owner, inlet);
	return 0;
}

int rx_take_credit(struct rx *rx, const unsigned char *body)
{
	struct reader reader = reader_over(body, FRAME_CREDIT_BODY);
	uint32_t bytes = reader_u32(&reader), attachments = reader_u32(&reader);
	bool overdraft = rx->frame.flags & FRAME_OVERDRAFT;
	const char *rule;

	if (!bytes && !attachments)
		return rx_breach(rx, BREACH_GRANT);
	if ((rx->frame.id && rx->frame.argument) ||
	    (overdraft && (attachments || (!rx->frame.id && !rx->frame.argument))))
		return rx_breach(rx, BREACH_UNUSED);
	if (rx->frame.argument > rx->limits->calls)
		return rx_breach(rx, BREACH_CALL_ID);
	rule = rx->events->credit(rx->owner, rx->frame.id, rx->frame.argument, bytes, attachments, overdraft);
	return rule ? rx_breach(rx, rule) : 0;
}

/*
 * The other side gives back credit for attachments. It can give back only what was granted and not
 * used.
 */
int rx_take_return(struct rx *rx)
{
	uint32_t n = rx->frame.argument;

	if (!n || n > atomic_load_explicit(rx->granted_attachments, memory_order_acquire) - rx->used_attachments)
		return rx_breach(rx, BREACH_GRANT);
	rx->events->returned(rx->owner, n);
	return 0;
}

int rx_take_reset(struct rx *rx)
{
	const char *rule;

	if (!rx->frame.id && (!rx->frame.argument || rx->frame.argument > rx->limits->calls))
		return rx_breach(rx, BREACH_CALL_ID);
	rule = rx->events->reset(rx->owner, rx->frame.id, rx->frame.argument);
	return rule ? rx_breach(rx, rule) : 0;
}

int rx_take_goodbye(struct rx *rx)
{
	if (rx->n_building)
		return rx_breach(rx, BREACH_GOODBYE);
	rx->goodbye_seen = true;
	while (!list_empty(&rx->touched))
		rx_flush(rx, list_entry(rx->touched.next, struct inlet, touched));
	rx->events->goodbye(rx->owner);
	return 0;
}
