// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Takes memory for a task that its memory policy binds to the second node, as
 * set_mempolicy(2) would: write how many pages to the parameter `take`.  They
 * are freed at once.  With `mapping=1` the allocation alone is bound, and the
 * task says nothing of it, as for a mapping that mbind(2) binds.
 */
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>

enum { SECOND = 1 };

#define TAKEN (GFP_KERNEL | __GFP_NOWARN)

static bool mapping;
module_param(mapping, bool, 0400);
MODULE_PARM_DESC(mapping, "bind the allocation, not the task");

static int take(const char *text, const struct kernel_param *param)
{
	struct mempolicy bound = {
		.refcnt = ATOMIC_INIT(1),
		.mode = MPOL_BIND,
		.nodes = nodemask_of_node(SECOND),
	};
	struct mempolicy *before = current->mempolicy;
	struct page *page, *next;
	unsigned long pages;
	LIST_HEAD(taken);
	int err;

	err = kstrtoul(text, 10, &pages);
	if (err)
		return err;
	if (!mapping) {
		task_lock(current);
		current->mempolicy = &bound;
		task_unlock(current);
	}
	while (pages-- && !fatal_signal_pending(current)) {
		page = mapping ? __alloc_pages(TAKEN, 0, SECOND, &bound.nodes) :
				 alloc_page(TAKEN);
		if (!page) {
			err = -ENOMEM;
			break;
		}
		list_add(&page->lru, &taken);
	}
	task_lock(current);
	current->mempolicy = before;
	task_unlock(current);
	list_for_each_entry_safe(page, next, &taken, lru) {
		list_del(&page->lru);
		__free_page(page);
	}
	return err;
}

static const struct kernel_param_ops take_ops = {
	.set = take,
};

module_param_cb(take, &take_ops, NULL, 0200);
MODULE_PARM_DESC(take, "pages to take");

static int __init bound_init(void)
{
	return 0;
}

static void __exit bound_exit(void)
{
}

module_init(bound_init);
module_exit(bound_exit);

MODULE_DESCRIPTION("Takes memory for a task that is bound to a node");
MODULE_LICENSE("GPL");
