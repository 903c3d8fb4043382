// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Takes memory for a task that has been killed: one that writes to the
 * parameter `take` how many pages waits there until it is killed, and takes
 * them then.  They are freed at once.  With `share` set, a kernel thread uses
 * the task's memory meanwhile, as a process from vfork(2) or clone(2) would.
 */
#include <linux/completion.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

static bool share;
module_param(share, bool, 0600);
MODULE_PARM_DESC(share, "whether a kernel thread shares the task's memory");

struct sharer {
	struct mm_struct *mm;
	struct completion shares;
	struct completion stop;
	struct completion ended;
};

static int share_memory(void *data)
{
	struct sharer *sharer = data;

	kthread_use_mm(sharer->mm);
	complete(&sharer->shares);
	wait_for_completion(&sharer->stop);
	kthread_unuse_mm(sharer->mm);
	kthread_complete_and_exit(&sharer->ended, 0);
}

static void take_pages(unsigned long pages)
{
	struct page *page, *next;
	LIST_HEAD(taken);

	while (pages--) {
		page = alloc_page(GFP_KERNEL | __GFP_NOWARN);
		if (!page)
			break;
		list_add(&page->lru, &taken);
	}
	list_for_each_entry_safe(page, next, &taken, lru) {
		list_del(&page->lru);
		__free_page(page);
	}
}

static int take(const char *text, const struct kernel_param *param)
{
	struct sharer sharer = { .mm = current->mm };
	bool shared = share;
	unsigned long pages;
	int err;

	err = kstrtoul(text, 10, &pages);
	if (err)
		return err;
	if (shared) {
		struct task_struct *thread;

		mmget(sharer.mm);
		init_completion(&sharer.shares);
		init_completion(&sharer.stop);
		init_completion(&sharer.ended);
		thread = kthread_run(share_memory, &sharer, "sharer");
		if (IS_ERR(thread)) {
			mmput(sharer.mm);
			return PTR_ERR(thread);
		}
		wait_for_completion(&sharer.shares);
	}
	while (!fatal_signal_pending(current))
		schedule_timeout_killable(MAX_SCHEDULE_TIMEOUT);
	take_pages(pages);
	if (shared) {
		complete(&sharer.stop);
		wait_for_completion(&sharer.ended);
		mmput(sharer.mm);
	}
	return 0;
}

static const struct kernel_param_ops take_ops = {
	.set = take,
};

module_param_cb(take, &take_ops, NULL, 0200);
MODULE_PARM_DESC(take, "pages to take once the writer is killed");

static int __init killed_init(void)
{
	return 0;
}

static void __exit killed_exit(void)
{
}

module_init(killed_init);
module_exit(killed_exit);

MODULE_DESCRIPTION("Takes memory for a task that has been killed");
MODULE_LICENSE("GPL");
