/* SPDX-License-Identifier: MIT */
/*
 * A doubly linked list whose links are in its members. An unlinked link points to itself, so that
 * unlinking twice is harmless, and list_linked() can tell whether it is linked.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *previous;
};

/* The object of `type` that holds `link` as its `member`. */
#define list_entry(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *list)
{
	list->next = list->previous = list;
}

static inline bool list_empty(const struct list *list)
{
	return list->next == list;
}

static inline bool list_linked(const struct list *link)
{
	return link->next != link;
}

static inline void list_append(struct list *list, struct list *link)
{
	link->previous = list->previous;
	link->next = list;
	list->previous->next = link;
	list->previous = link;
}

static inline void list_prepend(struct list *list, struct list *link)
{
	list_append(list->next, link);
}

static inline void list_remove(struct list *link)
{
	link->previous->next = link->next;
	link->next->previous = link->previous;
	list_init(link);
}

/* Moves all of `from` to the end of `list`. */
static inline void list_splice(struct list *list, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->previous = list->previous;
	from->previous->next = list;
	list->previous->next = from->next;
	list->previous = from->previous;
	list_init(from);
}

/* Removes the first link and returns it. NULL: the list is empty. */
static inline struct list *list_take_first(struct list *list)
{
	struct list *link = list->next;

	if (link == list)
		return NULL;
	list_remove(link);
	return link;
}

#endif
