/* SPDX-License-Identifier: MIT */
#include <base/annotate.h>
#include <base/sys.h>
#include <session/inlet.h>
#include <string.h>

enum { TABLE_FEW = 16 };

void inlet_init(struct inlet *inlet, uint32_t id)
{
	inlet->id = id;
	annotate_atomic(&inlet->granted_bytes);
	annotate_atomic(&inlet->granted_attachments);
	annotate_atomic(&inlet->reset_sent);
	list_init(&inlet->touched);
	list_init(&inlet->due);
	list_init(&inlet->of_topic);
	message_queue_init(&inlet->arrived);
}

void inlet_open(struct inlet *inlet, uint32_t bytes, uint32_t attachments)
{
	inlet->state = INLET_OPEN;
	inlet->used_bytes = inlet->used_attachments = 0;
	atomic_store_explicit(&inlet->granted_bytes, bytes, memory_order_relaxed);
	atomic_store_explicit(&inlet->granted_attachments, attachments, memory_order_relaxed);
	atomic_store_explicit(&inlet->reset_sent, false, memory_order_relaxed);
}

void inlet_withhold(struct inlet *inlet, uint32_t bytes, uint32_t attachments, uint32_t message_attachments)
{
	uint32_t spare = attachments - message_attachments;

	inlet->withheld_bytes = inlet->withheld_attachments = inlet->withheld_pool = 0;
	inlet->withhold_bytes = bytes / 2;
	inlet->withhold_attachments = attachments / 2 < spare ? attachments / 2 : spare;
}

void *table_grow(void *table, uint32_t *capacity, uint32_t id, uint32_t most)
{
	uint32_t more = id < TABLE_FEW ? TABLE_FEW : id > most / 2 ? most : 2 * id;
	void **grown;

	if (id <= *capacity)
		return table;
	grown = sys_realloc(table, ((size_t)more + 1) * sizeof *grown);
	if (!grown)
		return NULL;
	memset(grown + *capacity + 1, 0, (more - *capacity) * sizeof *grown);
	grown[0] = NULL;
	*capacity = more;
	return grown;
}
