/* SPDX-License-Identifier: MIT */
/* Lists whose links are in their members. */
#include <base/list.h>
#include <harness/harness.h>

struct member {
	int value;
	struct list link;
};

static int take(struct list *list)
{
	struct list *link = list_take_first(list);

	return link ? list_entry(link, struct member, link)->value : -1;
}

static void test_members_come_out_in_the_order_they_went_in(void)
{
	struct member members[3] = {{.value = 1}, {.value = 2}, {.value = 3}};
	struct list list;

	list_init(&list);
	check(list_empty(&list));
	list_append(&list, &members[1].link);
	list_append(&list, &members[2].link);
	list_prepend(&list, &members[0].link);
	check(!list_empty(&list));
	for (int i = 1; i <= 3; i++)
		check_int(take(&list), i);
	check_int(take(&list), -1);
	check(list_empty(&list));
}

static void test_a_member_can_be_removed_twice(void)
{
	struct member members[2] = {{.value = 1}, {.value = 2}};
	struct list list;

	list_init(&list);
	list_append(&list, &members[0].link);
	list_append(&list, &members[1].link);
	check(list_linked(&members[0].link));
	list_remove(&members[0].link);
	check(!list_linked(&members[0].link));
	list_remove(&members[0].link);
	check_int(take(&list), 2);
	check(list_empty(&list));
}

static void test_all_of_a_list_goes_to_the_end_of_another_in_its_order(void)
{
	struct member members[4] = {{.value = 1}, {.value = 2}, {.value = 3}, {.value = 4}};
	struct list list, from;

	list_init(&list);
	list_init(&from);
	list_splice(&list, &from);
	check(list_empty(&list) && list_empty(&from));
	list_append(&from, &members[0].link);
	list_splice(&list, &from);
	check(list_empty(&from));
	list_append(&from, &members[1].link);
	list_append(&from, &members[2].link);
	list_splice(&list, &from);
	check(list_empty(&from));
	list_splice(&list, &from);
	list_append(&list, &members[3].link);
	/* The links backwards are right, too. */
	check(list.previous->previous == &members[2].link && members[0].link.previous == &list);
	for (int i = 1; i <= 4; i++)
		check_int(take(&list), i);
	check(list_empty(&list));
}

static const struct test tests[] = {
    TEST(test_members_come_out_in_the_order_they_went_in),
    TEST(test_a_member_can_be_removed_twice),
    TEST(test_all_of_a_list_goes_to_the_end_of_another_in_its_order),
};
HARNESS_MAIN("list", tests)
