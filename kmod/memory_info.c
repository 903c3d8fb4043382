// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tells user space how much memory and swap is left, and asks it before the
 * kernel kills.
 *
 * A worker looks at memory every sample_ms and wakes whoever polls
 * /proc/oom_notifier when the level changes.  A callback on the kernel's
 * chain of OOM notifiers turns "the kernel is about to kill" into a question
 * to the listener, and waits a bounded time for its answer.  What user space
 * sees of this is described in memory_info_uapi.h.
 *
 * The module chooses nobody and kills nobody.
 */
#include <linux/atomic.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/pid.h>
#include <linux/poll.h>
#include <linux/proc_fs.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/swap.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "memory_info_uapi.h"

#define PROC_NAME (MEMORY_INFO_PATH + sizeof("/proc/") - 1)

enum {
	/*
	 * Blocks of the reserve are one order above what the allocator keeps
	 * in its per-CPU lists, so that every CPU has a freed one at once.
	 */
	BLOCK_ORDER = PAGE_ALLOC_COSTLY_ORDER + 1,
	BLOCK_PAGES = 1 << BLOCK_ORDER,
	/* The reserve is given back in so many steps. */
	RELEASE_STEPS = 4,
	/* Taken back at most, a sample. */
	REFILL_BLOCKS = SZ_1M / PAGE_SIZE / BLOCK_PAGES,
	/* Between two looks at free memory during a last call. */
	SLICE_MS = 10,
	/* So much more free memory, and the kernel can go on. */
	BACK_PAGES = SZ_1M / PAGE_SIZE,
	/* Calls in a row that were answered although nothing came back. */
	FRUITLESS_MAX = 3,
};

/*
 * Parameters
 */

struct threshold {
	unsigned int memory_percent;
	unsigned int swap_percent;
};

static struct threshold warn = { 10, 10 };
static struct threshold kill = { 5, 5 };

/*
 * Whether kill is held against warn.  At load the two are set one after the
 * other and checked when both are known; guarded by kernel_param_lock().
 */
static bool loaded;

static bool thresholds_agree(const struct threshold *low, const struct threshold *high)
{
	return low->memory_percent <= high->memory_percent &&
	       low->swap_percent <= high->swap_percent;
}

static int parse_threshold(const char *text, struct threshold *threshold)
{
	char end;
	int numbers = sscanf(text, "%u,%u %c", &threshold->memory_percent,
			     &threshold->swap_percent, &end);

	if (numbers != 2) {
		if (kstrtouint(text, 10, &threshold->memory_percent))
			return -EINVAL;
		threshold->swap_percent = threshold->memory_percent;
	}
	if (threshold->memory_percent > 100 || threshold->swap_percent > 100)
		return -EINVAL;
	return 0;
}

static int set_threshold(const char *text, const struct kernel_param *param)
{
	struct threshold *threshold = param->arg;
	struct threshold new;
	int err;

	err = parse_threshold(text, &new);
	if (err)
		return err;
	if (loaded && !(threshold == &kill ? thresholds_agree(&new, &warn) :
					     thresholds_agree(&kill, &new)))
		return -EINVAL;
	/* A sample in between sees one number of each: the next is right. */
	WRITE_ONCE(threshold->memory_percent, new.memory_percent);
	WRITE_ONCE(threshold->swap_percent, new.swap_percent);
	return 0;
}

static int get_threshold(char *text, const struct kernel_param *param)
{
	const struct threshold *threshold = param->arg;

	return sysfs_emit(text, "%u,%u\n", threshold->memory_percent,
			  threshold->swap_percent);
}

static const struct kernel_param_ops threshold_ops = {
	.set = set_threshold,
	.get = get_threshold,
};

module_param_cb(warn_percent, &threshold_ops, &warn, 0644);
MODULE_PARM_DESC(warn_percent,
		 "available memory and free swap, in percent, at or below which the level is warn (default: 10,10)");
module_param_cb(kill_percent, &threshold_ops, &kill, 0644);
MODULE_PARM_DESC(kill_percent,
		 "available memory and free swap, in percent, at or below which the level is kill (default: 5,5)");

static int set_sample_ms(const char *text, const struct kernel_param *param)
{
	return param_set_uint_minmax(text, param, 10, 10 * MSEC_PER_SEC);
}

static const struct kernel_param_ops sample_ms_ops = {
	.set = set_sample_ms,
	.get = param_get_uint,
};

static unsigned int sample_ms = 200;
module_param_cb(sample_ms, &sample_ms_ops, &sample_ms, 0644);
MODULE_PARM_DESC(sample_ms, "milliseconds between two looks at memory, 10 to 10000 (default: 200)");

static int set_report_ms(const char *text, const struct kernel_param *param)
{
	return param_set_uint_minmax(text, param, 0, 3600 * MSEC_PER_SEC);
}

static const struct kernel_param_ops report_ms_ops = {
	.set = set_report_ms,
	.get = param_get_uint,
};

static unsigned int report_ms;
module_param_cb(report_ms, &report_ms_ops, &report_ms, 0644);
MODULE_PARM_DESC(report_ms,
		 "milliseconds between two lines in the kernel log, up to 3600000; 0: never (default: 0)");

static unsigned int most_reserve_kib(void)
{
	return min_t(unsigned long, totalram_pages() / 8 * (PAGE_SIZE / SZ_1K), INT_MAX);
}

static int set_reserve_kib(const char *text, const struct kernel_param *param)
{
	return param_set_uint_minmax(text, param, 0, most_reserve_kib());
}

static const struct kernel_param_ops reserve_kib_ops = {
	.set = set_reserve_kib,
	.get = param_get_uint,
};

static unsigned int reserve_kib = UINT_MAX; /* Not given: see choose_reserve(). */
module_param_cb(reserve_kib, &reserve_kib_ops, &reserve_kib, 0644);
MODULE_PARM_DESC(reserve_kib,
		 "KiB set aside for a last call, up to an eighth of memory (default: 8192, and 1024 for each CPU)");

static int set_grace_ms(const char *text, const struct kernel_param *param)
{
	return param_set_uint_minmax(text, param, 0, 10 * MSEC_PER_SEC);
}

static const struct kernel_param_ops grace_ms_ops = {
	.set = set_grace_ms,
	.get = param_get_uint,
};

static unsigned int grace_ms = 500;
module_param_cb(grace_ms, &grace_ms_ops, &grace_ms, 0644);
MODULE_PARM_DESC(grace_ms,
		 "milliseconds that a last call waits at most, up to 10000; 0: never (default: 500)");

/*
 * How much memory there is
 */

/*
 * In pages.  Written at load and by the worker, read by anyone: each number
 * stands for itself.
 */
static struct {
	unsigned long memory;
	unsigned long hugetlb;
	unsigned long swap;
} totals;

/* The numbers of one moment, in pages. */
struct memory {
	unsigned long total;
	unsigned long available;
	unsigned long swap_total;
	unsigned long swap_free;
};

/*
 * /proc/meminfo, open from load to unload: neither si_swapinfo() nor the size
 * of the huge page pools is exported.  Read at load and by the worker.
 */
static struct file *meminfo;

static unsigned long meminfo_pages(const char *text, const char *key)
{
	const char *found = strstr(text, key);
	char *end;

	if (!found)
		return 0;
	return memparse(skip_spaces(found + strlen(key)), &end) / (PAGE_SIZE / SZ_1K);
}

static int read_totals(void)
{
	static char text[SZ_4K];
	loff_t start = 0;
	ssize_t len;

	len = kernel_read(meminfo, text, sizeof(text) - 1, &start);
	if (len < 0)
		return len;
	text[len] = '\0';
	WRITE_ONCE(totals.memory, totalram_pages());
	WRITE_ONCE(totals.hugetlb, meminfo_pages(text, "\nHugetlb:"));
	WRITE_ONCE(totals.swap, meminfo_pages(text, "\nSwapTotal:"));
	return 0;
}

static unsigned long pages_or_none(long pages)
{
	return pages > 0 ? pages : 0;
}

static struct memory look(void)
{
	return (struct memory) {
		.total = READ_ONCE(totals.memory) - READ_ONCE(totals.hugetlb),
		.available = pages_or_none(si_mem_available()),
		.swap_total = READ_ONCE(totals.swap),
		.swap_free = pages_or_none(get_nr_swap_pages()),
	};
}

static bool is_at_or_below(unsigned long part, unsigned long whole, unsigned int percent)
{
	return (u64)part * 100 <= (u64)whole * percent;
}

static bool memory_is_below(const struct memory *memory, const struct threshold *threshold)
{
	return is_at_or_below(memory->available, memory->total,
			      READ_ONCE(threshold->memory_percent));
}

static bool is_below(const struct memory *memory, const struct threshold *threshold)
{
	return memory_is_below(memory, threshold) &&
	       is_at_or_below(memory->swap_free, memory->swap_total,
			      READ_ONCE(threshold->swap_percent));
}

static enum memory_info_level level_of(const struct memory *memory)
{
	if (is_below(memory, &kill))
		return MEMORY_INFO_KILL;
	if (is_below(memory, &warn))
		return MEMORY_INFO_WARN;
	return MEMORY_INFO_OK;
}

struct percent {
	unsigned int whole;
	unsigned int hundredths;
};

static struct percent share(unsigned long part, unsigned long whole)
{
	unsigned int hundredths = whole ? div64_ul((u64)part * 10000, whole) : 0;

	return (struct percent) { hundredths / 100, hundredths % 100 };
}

static const char *const level_names[] = {
	[MEMORY_INFO_OK] = "ok",
	[MEMORY_INFO_WARN] = "warn",
	[MEMORY_INFO_KILL] = "kill",
	[MEMORY_INFO_LAST_CALL] = "last call",
};

static void log_memory(const char *what, const struct memory *memory)
{
	struct percent available = share(memory->available, memory->total);
	struct percent swap_free = share(memory->swap_free, memory->swap_total);

	pr_info("%s: available memory %u.%02u %% of %lu MiB, free swap %u.%02u %% of %lu MiB\n",
		what, available.whole, available.hundredths, memory->total / (SZ_1M / PAGE_SIZE),
		swap_free.whole, swap_free.hundredths, memory->swap_total / (SZ_1M / PAGE_SIZE));
}

/*
 * The reserve
 */

/* Blocks of BLOCK_PAGES, by page->lru, and how many; guarded by the lock. */
static LIST_HEAD(reserve);
static unsigned long reserve_blocks;
static DEFINE_SPINLOCK(reserve_lock);

static unsigned long wanted_blocks(void)
{
	return READ_ONCE(reserve_kib) / (BLOCK_PAGES * (PAGE_SIZE / SZ_1K));
}

/* Takes one block from what is free, without pushing anyone into reclaim. */
static bool take_block(void)
{
	struct page *block = alloc_pages((GFP_KERNEL & ~__GFP_RECLAIM) | __GFP_NOWARN,
					 BLOCK_ORDER);

	if (!block)
		return false;
	spin_lock(&reserve_lock);
	list_add(&block->lru, &reserve);
	reserve_blocks++;
	spin_unlock(&reserve_lock);
	return true;
}

/* Gives one block back to the kernel. */
static bool release_block(void)
{
	struct page *block;

	spin_lock(&reserve_lock);
	block = list_first_entry_or_null(&reserve, struct page, lru);
	if (block) {
		list_del(&block->lru);
		reserve_blocks--;
	}
	spin_unlock(&reserve_lock);
	if (!block)
		return false;
	__free_pages(block, BLOCK_ORDER);
	return true;
}

/* Gives blocks back, at most this many; returns how many pages that were. */
static unsigned long release_blocks(unsigned long most)
{
	unsigned long released = 0;

	while (released < most && release_block())
		released++;
	return released * BLOCK_PAGES;
}

/*
 * Whether memory stays above the warn level when so many pages are taken.
 */
static bool can_spare(unsigned long pages)
{
	struct memory memory = look();

	memory.available -= min(memory.available, pages);
	return !memory_is_below(&memory, &warn);
}

/* Brings the reserve nearer to its size, by at most this many blocks. */
static void adjust_reserve(unsigned long most)
{
	unsigned long wanted = wanted_blocks();
	unsigned long held = READ_ONCE(reserve_blocks);

	if (held > wanted) {
		release_blocks(held - wanted);
		return;
	}
	most = min(most, wanted - held);
	if (!can_spare((wanted - held) * BLOCK_PAGES))
		return;
	while (most-- && take_block())
		;
}

static void choose_reserve(void)
{
	unsigned int automatic = 8 * SZ_1K + num_online_cpus() * SZ_1K;

	if (reserve_kib == UINT_MAX)
		reserve_kib = min(automatic, most_reserve_kib());
}

/*
 * The last call: what is known of it, and who listens
 */

/* One open descriptor of the file. */
struct reader {
	u64 seen; /* The change that was the latest when it last read. */
	bool listens;
};

enum call_state {
	CALL_NONE,
	CALL_ASKED,
	CALL_ANSWERED,
};

/* Written under call_lock, which is never held while anything is allocated. */
static struct {
	enum call_state state;
	u64 sequence;
	u64 answered_sequence;
	u64 asked;
	u64 answered;
	u64 answer_us;
	ktime_t since;
	struct pid *listener; /* The process that listens, or NULL. */
	bool deaf; /* It left a call without an answer, and has not read since. */
} call;
static DEFINE_SPINLOCK(call_lock);

static atomic64_t last_calls; /* Written by the callback alone. */

static enum memory_info_level sampled_level; /* Written at load and by the worker. */

/* Counts the changes that poll() reports. */
static atomic64_t changes;
static DECLARE_WAIT_QUEUE_HEAD(pollers);

/* Where a last call waits for its answer. */
static DECLARE_WAIT_QUEUE_HEAD(callers);

static void announce(void)
{
	/* Whoever sees the new number sees what changed: show(). */
	atomic64_inc_return_release(&changes);
	wake_up_interruptible_poll(&pollers, EPOLLPRI);
}

/* Whether an answer can still come. */
static bool is_open(void)
{
	return READ_ONCE(call.state) == CALL_ASKED && READ_ONCE(call.listener);
}

static enum memory_info_level current_level(void)
{
	if (is_open())
		return MEMORY_INFO_LAST_CALL;
	return READ_ONCE(sampled_level);
}

static bool is_dying(void)
{
	return fatal_signal_pending(current) || (current->flags & PF_EXITING) ||
	       tsk_is_oom_victim(current);
}

/*
 * Whether SysRq-f has brought us here.  Its worker ignores what we free and
 * kills in any case.  Other workers are in the same need as everyone.
 */
static bool is_sysrq(void)
{
	struct work_struct *work = current_work();
	char name[sizeof("moom_callback") + 1];

	if (!work)
		return false;
	snprintf(name, sizeof(name), "%ps", work->func);
	return !strcmp(name, "moom_callback");
}

/*
 * The chain also runs for allocations bound to a node or a cpuset, and for
 * several pages in a row, while there is memory enough.  What has yet to reach
 * a disk is none: available memory counts it, and the kernel has just looked
 * through it in vain.
 */
static bool machine_is_short(void)
{
	struct memory memory = look();
	unsigned long unwritten = global_node_page_state(NR_FILE_DIRTY) +
				  global_node_page_state(NR_WRITEBACK);

	memory.available -= min(memory.available, unwritten);
	return memory_is_below(&memory, &kill);
}

/* Why there is nothing to wait for, or NULL. */
static const char *why_not_ask(unsigned long freed)
{
	if (freed)
		return "another notifier has freed memory";
	if (current_is_kswapd())
		return "kswapd must not sleep";
	if (is_dying())
		return "the task is dying";
	if (is_sysrq())
		return "SysRq was pressed";
	if (!machine_is_short())
		return "the machine is not short of memory";
	if (!READ_ONCE(grace_ms))
		return "grace_ms is 0";
	return NULL;
}

/* Puts the call to the listener; says why not, or returns NULL. */
static const char *ask(void)
{
	const char *why_not = NULL;

	spin_lock(&call_lock);
	if (!call.listener) {
		why_not = "no process listens";
	} else if (call.listener == task_tgid(current)) {
		why_not = "the listener itself allocates";
	} else if (call.deaf) {
		why_not = "the listener did not answer the last one";
	} else {
		call.state = CALL_ASKED;
		call.sequence++;
		call.asked++;
		call.since = ktime_get();
	}
	spin_unlock(&call_lock);
	return why_not;
}

/*
 * Takes the listener's answer.  The call may be over by now: whoever allocated
 * has been chosen, or memory came back first.
 */
static int answer(u64 sequence)
{
	bool in_time;

	spin_lock(&call_lock);
	if (!sequence || sequence != call.sequence) {
		spin_unlock(&call_lock);
		return -ESTALE;
	}
	if (call.answered_sequence != sequence) {
		call.answered_sequence = sequence;
		call.answered++;
		call.answer_us = ktime_us_delta(ktime_get(), call.since);
	}
	in_time = call.state == CALL_ASKED;
	if (in_time)
		call.state = CALL_ANSWERED;
	call.deaf = false;
	spin_unlock(&call_lock);
	if (in_time) {
		wake_up_all(&callers);
		announce();
	}
	return 0;
}

struct wait {
	unsigned long back; /* Pages that came back. */
	bool answered;
};

/* Ends the call: one that nobody answered, and that had to, makes deaf. */
static void hang_up(struct wait *wait)
{
	bool was_open;

	spin_lock(&call_lock);
	was_open = call.state == CALL_ASKED;
	wait->answered = call.state == CALL_ANSWERED;
	if (was_open && call.listener && wait->back < BACK_PAGES && !is_dying())
		call.deaf = true;
	call.state = CALL_NONE;
	spin_unlock(&call_lock);
	if (was_open)
		announce();
}

/*
 * Sleeps until the answer comes, the listener goes, the current task is killed
 * (it may be the one chosen) or the slice is over.
 */
static void sleep_slice(void)
{
	unsigned long slice = msecs_to_jiffies(SLICE_MS);

	if (is_open())
		wait_event_killable_timeout(callers, !is_open(), slice);
	else
		schedule_timeout_killable(slice);
}

static bool is_worth_waiting(void)
{
	enum call_state state = READ_ONCE(call.state);

	/* Once it has answered, it may go: its victims are dying. */
	return !is_dying() && (state == CALL_ANSWERED || is_open());
}

/*
 * Waits until memory is back, for at most grace_ms, and gives the reserve back
 * meanwhile.  The reserve itself is no memory that came back.
 */
static struct wait wait_for_memory(void)
{
	unsigned long deadline = jiffies + msecs_to_jiffies(READ_ONCE(grace_ms));
	unsigned long step = READ_ONCE(reserve_blocks) / RELEASE_STEPS + 1;
	unsigned long expected = global_zone_page_state(NR_FREE_PAGES);
	struct wait wait = {};

	do {
		unsigned long free;

		expected += release_blocks(step);
		sleep_slice();
		free = global_zone_page_state(NR_FREE_PAGES);
		wait.back = free - min(free, expected);
	} while (wait.back < BACK_PAGES && is_worth_waiting() &&
		 time_before(jiffies, deadline));
	hang_up(&wait);
	return wait;
}

/*
 * How many pages the kernel is told of; 0 lets it kill.  Told of some, it
 * allocates again and calls again, so there is a limit to saying so where
 * nothing comes back.
 */
static unsigned long judge(const struct wait *wait)
{
	static unsigned int fruitless; /* The callback's alone. */

	/* The kernel lets it into the reserves, and kills nobody for it. */
	if (is_dying())
		return 0;
	if (wait->back >= BACK_PAGES) {
		fruitless = 0;
		return wait->back;
	}
	if (wait->answered && ++fruitless <= FRUITLESS_MAX)
		return 1;
	fruitless = 0;
	return 0;
}

/*
 * The callback on the kernel's chain of OOM notifiers, called by
 * out_of_memory() before it picks a victim, for every OOM but a memory
 * cgroup's.
 *
 * Held when it runs:
 *  - oom_lock, a mutex.  Nobody sleeps on it for memory's sake: an allocation
 *    that fails meanwhile finds it taken (mutex_trylock), sleeps for a tick and
 *    tries again.  Only SysRq-f's worker and a memory cgroup's OOM wait for it.
 *  - the chain's rwsem, for reading.  rmmod waits for it in
 *    unregister_oom_notifier(), and so outlives a call in progress.
 *  - whatever the current task held when it began to allocate: most often its
 *    own mmap lock (a page fault for reading; fork, brk, mmap and mprotect for
 *    writing), now and then a filesystem's locks or somebody else's mmap lock.
 *    No spinlock and no RCU section: the allocation was allowed to sleep.
 *
 * Sleeping here is bounded: by grace_ms, by the answer and the return of
 * memory, by the current task's own death, by the listener's.  It is safe as
 * long as the listener gets by without what is held, which is why it must not
 * touch any process's mmap lock, any filesystem, cgroup_mutex, or an allocation
 * (see memory_info_uapi.h).  One that does so nonetheless waits for us while we
 * wait for it, which the grace ends: then the kernel kills, as it always did.
 * So does a victim that cannot die because the current task holds its mmap
 * lock.
 *
 * The callback allocates nothing.  It runs for one task at a time (oom_lock).
 */
static int on_oom(struct notifier_block *notifier, unsigned long unused, void *data)
{
	unsigned long *freed = data;
	ktime_t start = ktime_get();
	s64 number = atomic64_inc_return(&last_calls);
	const char *why_not = why_not_ask(*freed);
	const char *what_now = "it allocates again";
	struct wait wait;

	if (!why_not)
		why_not = ask();
	if (why_not) {
		pr_info_ratelimited("last call %lld of %s: not waited for: %s\n",
				    number, current->comm, why_not);
		return NOTIFY_DONE;
	}
	announce();
	wait = wait_for_memory();
	*freed += judge(&wait);
	if (!*freed)
		what_now = is_dying() ? "it is dying" : "the kernel kills";
	pr_info("last call %lld of %s: %s, %lu KiB back after %lld us: %s\n", number,
		current->comm, wait.answered ? "answered" : "not answered",
		wait.back * (PAGE_SIZE / SZ_1K), ktime_us_delta(ktime_get(), start), what_now);
	return NOTIFY_OK;
}

/* After all others: virtio_balloon's priority is 80. */
static struct notifier_block oom_notifier = {
	.notifier_call = on_oom,
	.priority = -100,
};

/*
 * The worker
 */

static struct workqueue_struct *workqueue;

static void sample(struct work_struct *work);
static DECLARE_DELAYED_WORK(sample_work, sample);

static void sample_later(void)
{
	queue_delayed_work(workqueue, &sample_work, msecs_to_jiffies(READ_ONCE(sample_ms)));
}

static void report(const struct memory *memory)
{
	static unsigned long reported; /* In jiffies; the worker's alone. */
	unsigned int period = READ_ONCE(report_ms);

	if (!period || time_before(jiffies, reported + msecs_to_jiffies(period)))
		return;
	reported = jiffies;
	log_memory(level_names[sampled_level], memory);
}

static void sample(struct work_struct *work)
{
	enum memory_info_level level;
	struct memory memory;

	/* Else the totals stay what they were. */
	if (read_totals())
		pr_warn_once("cannot read /proc/meminfo\n");
	memory = look();
	level = level_of(&memory);
	if (level != sampled_level) {
		WRITE_ONCE(sampled_level, level);
		announce();
		log_memory(level_names[level], &memory);
	}
	report(&memory);
	if (level == MEMORY_INFO_OK)
		adjust_reserve(REFILL_BLOCKS);
	sample_later();
}

/*
 * The file
 */

static struct reader *reader_of(struct file *file)
{
	return ((struct seq_file *)file->private_data)->private;
}

static void show_share(struct seq_file *seq, const char *key, unsigned long part,
		       unsigned long whole)
{
	struct percent percent = share(part, whole);

	seq_printf(seq, "%s: %u.%02u\n", key, percent.whole, percent.hundredths);
}

static void show_bytes(struct seq_file *seq, const char *key, unsigned long pages)
{
	seq_printf(seq, "%s: %llu\n", key, (u64)pages << PAGE_SHIFT);
}

static void show_memory(struct seq_file *seq)
{
	struct memory memory = look();

	show_bytes(seq, MEMORY_INFO_MEM_TOTAL, READ_ONCE(totals.memory));
	show_bytes(seq, MEMORY_INFO_HUGETLB, READ_ONCE(totals.hugetlb));
	show_bytes(seq, MEMORY_INFO_MEM_AVAILABLE, memory.available);
	show_share(seq, MEMORY_INFO_MEM_PERCENT, memory.available, memory.total);
	show_bytes(seq, MEMORY_INFO_SWAP_TOTAL, memory.swap_total);
	show_bytes(seq, MEMORY_INFO_SWAP_FREE, memory.swap_free);
	show_share(seq, MEMORY_INFO_SWAP_PERCENT, memory.swap_free, memory.swap_total);
	show_bytes(seq, MEMORY_INFO_RESERVE, READ_ONCE(reserve_blocks) * BLOCK_PAGES);
}

static int show(struct seq_file *seq, void *unused)
{
	struct reader *reader = seq->private;

	/* First, so that a change that comes while we write is reported. */
	WRITE_ONCE(reader->seen, atomic64_read_acquire(&changes));

	spin_lock(&call_lock);
	if (reader->listens)
		call.deaf = false;
	seq_printf(seq, "%d\n", current_level());
	show_memory(seq);
	seq_printf(seq, "%s: %llu\n", MEMORY_INFO_SEQUENCE, call.sequence);
	seq_printf(seq, "%s: %lld\n", MEMORY_INFO_LAST_CALLS,
		   (long long)atomic64_read(&last_calls));
	seq_printf(seq, "%s: %llu\n", MEMORY_INFO_ASKED, call.asked);
	seq_printf(seq, "%s: %llu\n", MEMORY_INFO_ANSWERED, call.answered);
	seq_printf(seq, "%s: %llu\n", MEMORY_INFO_ANSWER_TIME, call.answer_us);
	spin_unlock(&call_lock);
	return 0;
}

static int begin_to_listen(struct reader *reader)
{
	int err = 0;

	spin_lock(&call_lock);
	if (call.listener) {
		err = -EBUSY;
	} else {
		call.listener = get_pid(task_tgid(current));
		call.deaf = false;
		reader->listens = true;
	}
	spin_unlock(&call_lock);
	return err;
}

static void end_to_listen(void)
{
	struct pid *listener;

	spin_lock(&call_lock);
	listener = call.listener;
	call.listener = NULL;
	spin_unlock(&call_lock);
	put_pid(listener);
	wake_up_all(&callers);
}

static int open_file(struct inode *inode, struct file *file)
{
	struct reader *reader;
	int err;

	/*
	 * Who sleeps in poll() is in our wait queue until it wakes, and nothing
	 * else would keep the module until then.
	 */
	if (!try_module_get(THIS_MODULE))
		return -ENODEV;
	reader = kzalloc(sizeof(*reader), GFP_KERNEL);
	if (!reader) {
		err = -ENOMEM;
		goto put_module;
	}
	reader->seen = atomic64_read(&changes);
	err = single_open_size(file, show, reader, MEMORY_INFO_TEXT_MAX);
	if (err)
		goto free_reader;
	if (file->f_mode & FMODE_WRITE) {
		err = begin_to_listen(reader);
		if (err)
			goto release_seq;
	}
	return 0;

release_seq:
	single_release(inode, file);
free_reader:
	kfree(reader);
put_module:
	module_put(THIS_MODULE);
	return err;
}

static int release_file(struct inode *inode, struct file *file)
{
	struct reader *reader = reader_of(file);

	if (reader->listens)
		end_to_listen();
	single_release(inode, file);
	kfree(reader);
	/* remove_proc_entry() waits for our return, and so does exit. */
	module_put(THIS_MODULE);
	return 0;
}

static ssize_t write_file(struct file *file, const char __user *text, size_t len, loff_t *pos)
{
	u64 sequence;
	int err;

	err = kstrtou64_from_user(text, len, 10, &sequence);
	if (err)
		return err == -EFAULT ? err : -EINVAL;
	err = answer(sequence);
	return err ? err : len;
}

static __poll_t poll_file(struct file *file, poll_table *wait)
{
	poll_wait(file, &pollers, wait);
	return READ_ONCE(reader_of(file)->seen) == atomic64_read(&changes) ? 0 : EPOLLPRI;
}

static const struct proc_ops file_ops = {
	.proc_open = open_file,
	.proc_release = release_file,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_write = write_file,
	.proc_poll = poll_file,
};

/*
 * Load and unload
 */

static int __init check_thresholds(void)
{
	int err = 0;

	kernel_param_lock(THIS_MODULE);
	if (thresholds_agree(&kill, &warn))
		loaded = true;
	else
		err = -EINVAL;
	kernel_param_unlock(THIS_MODULE);
	if (err)
		pr_err("kill_percent is above warn_percent\n");
	return err;
}

static void __init log_load(const struct memory *memory)
{
	log_memory("loaded", memory);
	pr_info("loaded: warn at %u %%, %u %%; kill at %u %%, %u %%; reserve %lu of %u KiB, grace %u ms\n",
		warn.memory_percent, warn.swap_percent, kill.memory_percent, kill.swap_percent,
		reserve_blocks * BLOCK_PAGES * (PAGE_SIZE / SZ_1K), reserve_kib, grace_ms);
}

static int __init memory_info_init(void)
{
	struct memory memory;
	int err;

	err = check_thresholds();
	if (err)
		return err;

	meminfo = filp_open("/proc/meminfo", O_RDONLY, 0);
	if (IS_ERR(meminfo))
		return PTR_ERR(meminfo);
	err = read_totals();
	if (err)
		goto close_meminfo;
	memory = look();
	sampled_level = level_of(&memory);

	workqueue = alloc_workqueue("memory_info", WQ_UNBOUND | WQ_MEM_RECLAIM | WQ_FREEZABLE, 1);
	if (!workqueue) {
		err = -ENOMEM;
		goto close_meminfo;
	}
	choose_reserve();
	adjust_reserve(ULONG_MAX);
	sample_later();

	err = register_oom_notifier(&oom_notifier);
	if (err)
		goto stop_sampling;
	if (!proc_create(PROC_NAME, 0644, NULL, &file_ops)) {
		err = -ENOMEM;
		goto unregister_notifier;
	}
	log_load(&memory);
	return 0;

unregister_notifier:
	unregister_oom_notifier(&oom_notifier);
stop_sampling:
	cancel_delayed_work_sync(&sample_work);
	release_blocks(ULONG_MAX);
	destroy_workqueue(workqueue);
close_meminfo:
	fput(meminfo);
	return err;
}

static void __exit memory_info_exit(void)
{
	remove_proc_entry(PROC_NAME, NULL);
	unregister_oom_notifier(&oom_notifier);
	cancel_delayed_work_sync(&sample_work);
	release_blocks(ULONG_MAX);
	destroy_workqueue(workqueue);
	fput(meminfo);
	pr_info("unloaded\n");
}

module_init(memory_info_init);
module_exit(memory_info_exit);

MODULE_DESCRIPTION("Tells user space how much memory is left, and asks it before the kernel kills");
MODULE_AUTHOR("The user-oom developers");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
