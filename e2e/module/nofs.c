// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Takes memory as a filesystem does in the middle of a transaction, for which
 * the kernel kills nothing: write how many pages to the parameter `take`. What
 * was taken is freed by the next write, and on unload.
 */
#include <linux/gfp.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

static LIST_HEAD(taken);
static DEFINE_MUTEX(taken_lock);

static void free_all(void)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &taken, lru) {
		list_del(&page->lru);
		__free_page(page);
	}
}

static int take(const char *text, const struct kernel_param *param)
{
	unsigned int scope;
	unsigned long pages;
	int err;

	err = kstrtoul(text, 10, &pages);
	if (err)
		return err;
	mutex_lock(&taken_lock);
	free_all();
	scope = memalloc_nofs_save();
	while (pages-- && !fatal_signal_pending(current)) {
		struct page *page = alloc_page(GFP_KERNEL | __GFP_NOWARN);

		if (!page) {
			err = -ENOMEM;
			break;
		}
		list_add(&page->lru, &taken);
	}
	memalloc_nofs_restore(scope);
	mutex_unlock(&taken_lock);
	return err;
}

static const struct kernel_param_ops take_ops = {
	.set = take,
};

module_param_cb(take, &take_ops, NULL, 0200);
MODULE_PARM_DESC(take, "pages to take");

static int __init nofs_init(void)
{
	return 0;
}

static void __exit nofs_exit(void)
{
	free_all();
}

module_init(nofs_init);
module_exit(nofs_exit);

MODULE_DESCRIPTION("Takes memory as a filesystem does in a transaction");
MODULE_LICENSE("GPL");
