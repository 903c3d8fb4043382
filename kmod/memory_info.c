// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tells user space how much memory and swap is left, and asks it before the
 * kernel kills.
 *
 * A worker looks at memory every sample_ms and wakes every process that polls
 * /proc/oom_notifier when the level changes.  A callback on the kernel's
 * chain of OOM notifiers turns "the kernel is out of memory" into a question
 * to the listener, and has the kernel try again for a bounded time meanwhile.
 * What user space sees of this is described in memory_info_uapi.h.
 *
 * The module chooses no victim and kills nothing.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/capability.h>
#include <linux/cpuset.h>
#include <linux/crash_dump.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/gfp.h>
#include <linux/hrtimer.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/kfifo.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/math64.h>
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/notifier.h>
#include <linux/oom.h>
#include <linux/pid.h>
#include <linux/poll.h>
#include <linux/proc_fs.h>
#include <linux/psi.h>
#include <linux/ratelimit.h>
#include <linux/rcupdate.h>
#include <linux/sched/coredump.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/suspend.h>
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
	/* Freed at most at once, with oom_lock held. */
	RELEASE_BLOCKS = SZ_4M / PAGE_SIZE / BLOCK_PAGES,
	/* Taken back at most, a sample. */
	REFILL_BLOCKS = 1 + SZ_1M / PAGE_SIZE / BLOCK_PAGES,
	/* As long as the callback sleeps at most. */
	SLICE_US = 4 * USEC_PER_MSEC,
	/* Between the worker's looks at an open call. */
	LOOK_MS = 8,
	/* So much above its high watermark, and a zone has memory again. */
	BACK_PAGES = SZ_1M / PAGE_SIZE,
	/* Calls that did not help: so many in a row, then the kernel's turn ... */
	UNHELPED_MAX = 3,
	/* ... or for so long, or one grace_ms where that is longer. */
	UNHELPED_MS = 2 * MSEC_PER_SEC,
	/* Calls that were over when they were claimed: so many count as one of these. */
	REFUSED_AS_ONE = 8,
	/* A call that no allocation waits for any more is over after this. */
	LAPSE_MS = 100,
	/* Between two looks at what is seldom changed. */
	TOTALS_MS = 5 * MSEC_PER_SEC,
	/* The longest that is written to the file: a number and a word. */
	WRITTEN_MAX = 32,
};

/*
 * Parameters
 */

struct threshold {
	unsigned int memory_percent;
	unsigned int swap_percent;
};

static struct threshold warn_at = { 10, 10 };
static struct threshold kill_at = { 5, 5 };

/*
 * Between load and unload.  Before, kill_at is not held against warn_at: the two are
 * set one after the other and checked when both are known.  Guarded by
 * kernel_param_lock(), under which parameters are set.
 */
static bool loaded;

static bool thresholds_agree(const struct threshold *low, const struct threshold *high)
{
	return low->memory_percent <= high->memory_percent &&
	       low->swap_percent <= high->swap_percent;
}

static int parse_threshold(const char *text, struct threshold *threshold)
{
	const char *comma = strchr(text, ',');
	const char *swap = comma ? comma + 1 : text;
	char memory[sizeof("100")];
	size_t len = comma ? comma - text : strlen(text);

	/* The number for memory is cut out, its end or the line's left aside. */
	if (!comma && len && text[len - 1] == '\n')
		len--;
	if (len >= sizeof(memory))
		return -EINVAL;
	memcpy(memory, text, len);
	memory[len] = '\0';
	if (kstrtouint(memory, 10, &threshold->memory_percent) ||
	    kstrtouint(swap, 10, &threshold->swap_percent))
		return -EINVAL;
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
	if (loaded && !(threshold == &kill_at ? thresholds_agree(&new, &warn_at) :
						thresholds_agree(&kill_at, &new)))
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

module_param_cb(warn_percent, &threshold_ops, &warn_at, 0644);
MODULE_PARM_DESC(warn_percent,
		 "available memory and free swap, in percent, at or below which the level is warn (default: 10,10)");
module_param_cb(kill_percent, &threshold_ops, &kill_at, 0644);
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

static void sample_now(void);
static void watch_call_later(void);

static int set_report_ms(const char *text, const struct kernel_param *param)
{
	int err = param_set_uint_minmax(text, param, 0, 3600 * MSEC_PER_SEC);

	if (!err && loaded)
		sample_now();
	return err;
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
	int err = param_set_uint_minmax(text, param, 0, most_reserve_kib());

	if (!err && loaded)
		sample_now();
	return err;
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
		 "milliseconds that a last call waits for each answer, and for memory, up to 10000; 0: never (default: 500)");

/*
 * How much memory there is
 */

/*
 * In pages.  Written by the worker, read by any task: each number stands for
 * itself.
 */
static struct totals {
	unsigned long memory;
	unsigned long hugetlb;
	unsigned long swap;
	bool known; /* Whether the last two have ever been read. */
} totals;

/* The numbers of one moment, in pages. */
struct memory {
	unsigned long total;
	unsigned long available;
	unsigned long swap_total;
	unsigned long swap_free;
};

/* Returns whether there is such a line. */
static bool meminfo_pages(const char *text, const char *key, unsigned long *pages)
{
	const char *found = strstr(text, key);
	char *end;

	if (!found)
		return false;
	*pages = memparse(skip_spaces(found + strlen(key)), &end) / (PAGE_SIZE / SZ_1K);
	return true;
}

/*
 * By the worker, whose root is that of process 1 whichever process opens our
 * file or loads the module.  Since Linux 7.3 a worker has to ask for that root.
 */
static struct file *open_meminfo(void)
{
	struct file *meminfo = ERR_PTR(-ENOENT);

#ifdef scoped_with_init_fs
	scoped_with_init_fs()
#endif
		meminfo = filp_open("/proc/meminfo", O_RDONLY, 0);
	return meminfo;
}

/* Not kept open, so that no mount is pinned.  Returns a negative error, or the length. */
static ssize_t read_meminfo(char *text, size_t size)
{
	struct file *meminfo = open_meminfo();
	loff_t start = 0;
	ssize_t len;

	if (IS_ERR(meminfo))
		return PTR_ERR(meminfo);
	len = kernel_read(meminfo, text, size - 1, &start);
	fput(meminfo);
	if (len >= 0)
		text[len] = '\0';
	return len;
}

/*
 * Neither si_swapinfo() nor the size of the huge page pools is exported, so
 * they come from /proc/meminfo.
 */
static void read_totals(struct work_struct *work)
{
	static char text[SZ_4K]; /* The worker's alone. */
	unsigned long hugetlb = 0; /* As in a kernel without huge pages. */
	unsigned long swap;
	ssize_t len;

	WRITE_ONCE(totals.memory, totalram_pages());
	len = read_meminfo(text, sizeof(text));
	if (len >= 0 && !meminfo_pages(text, "\nSwapTotal:", &swap))
		len = -ENODATA;
	if (len < 0) {
		/* They stay what they were, at first unknown. */
		pr_warn_once("cannot read /proc/meminfo (error %zd)\n", len);
		return;
	}
	meminfo_pages(text, "\nHugetlb:", &hugetlb);
	WRITE_ONCE(totals.hugetlb, hugetlb);
	WRITE_ONCE(totals.swap, swap);
	/* Pairs with show_memory(): what is known has been written. */
	smp_store_release(&totals.known, true);
}

static DECLARE_WORK(totals_work, read_totals);

static unsigned long pages_or_none(long pages)
{
	return pages > 0 ? pages : 0;
}

/* Where it is not known how much swap there is, or was before swapon: at least what is free. */
static struct memory look_at_memory(void)
{
	unsigned long swap_free = pages_or_none(get_nr_swap_pages());

	return (struct memory) {
		.total = READ_ONCE(totals.memory) - READ_ONCE(totals.hugetlb),
		.available = pages_or_none(si_mem_available()),
		.swap_total = max(READ_ONCE(totals.swap), swap_free),
		.swap_free = swap_free,
	};
}

/* A level is left half a percent above where it is entered. */
static bool is_at_or_below(unsigned long part, unsigned long whole, unsigned int percent,
			   bool leaving)
{
	return (u64)part * 200 <= (u64)whole * (2 * percent + leaving);
}

static bool memory_is_below(const struct memory *memory, const struct threshold *threshold)
{
	return is_at_or_below(memory->available, memory->total,
			      READ_ONCE(threshold->memory_percent), false);
}

static bool is_below(const struct memory *memory, const struct threshold *threshold,
		     bool leaving)
{
	return is_at_or_below(memory->available, memory->total,
			      READ_ONCE(threshold->memory_percent), leaving) &&
	       is_at_or_below(memory->swap_free, memory->swap_total,
			      READ_ONCE(threshold->swap_percent), leaving);
}

/* The level that follows on `before`. */
static enum memory_info_level level_of(const struct memory *memory,
				       enum memory_info_level before)
{
	if (is_below(memory, &kill_at, before >= MEMORY_INFO_KILL))
		return MEMORY_INFO_KILL;
	if (is_below(memory, &warn_at, before >= MEMORY_INFO_WARN))
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
 * Free memory as the allocator sees it
 */

/*
 * How many pages a zone has above what the allocator asks of it at its last
 * look before out_of_memory(): the high watermark, and what it keeps for
 * allocations that can be had from no other zone.  Counted with what each CPU
 * has not yet added up, which is more than the watermarks where there are many.
 */
static long spare_in(struct zone *zone)
{
	unsigned long free = zone_page_state_snapshot(zone, NR_FREE_PAGES);
	unsigned long cma = zone_page_state(zone, NR_FREE_CMA_PAGES);

	return (long)(free - min(free, cma)) - (long)high_wmark_pages(zone) -
	       zone->lowmem_reserve[ZONE_MOVABLE];
}

/*
 * The largest number of pages that any zone can spare for the current task.
 * What only movable pages or user space can use does not help all.
 */
static long most_spare(void)
{
	long most = LONG_MIN;
	int node;

	for_each_online_node(node) {
		int index;

		if (!node_isset(node, cpuset_current_mems_allowed))
			continue;
		for (index = 0; index <= ZONE_NORMAL; index++) {
			struct zone *zone = &NODE_DATA(node)->node_zones[index];

			if (populated_zone(zone))
				most = max(most, spare_in(zone));
		}
	}
	return most;
}

/* Whether there is memory again, beside so many pages of the reserve. */
static bool memory_is_back(unsigned long reserve_pages)
{
	return most_spare() >= (long)(BACK_PAGES + reserve_pages);
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

/* Takes one block from what is free, without pushing any task into reclaim. */
static bool take_block(void)
{
	struct page *block = alloc_pages((GFP_KERNEL & ~__GFP_RECLAIM) | __GFP_NOWARN,
					 BLOCK_ORDER);

	if (!block)
		return false;
	spin_lock(&reserve_lock);
	list_add(&block->lru, &reserve);
	WRITE_ONCE(reserve_blocks, reserve_blocks + 1);
	spin_unlock(&reserve_lock);
	return true;
}

/* Frees one block. */
static bool release_block(void)
{
	struct page *block;

	spin_lock(&reserve_lock);
	block = list_first_entry_or_null(&reserve, struct page, lru);
	if (block) {
		list_del(&block->lru);
		WRITE_ONCE(reserve_blocks, reserve_blocks - 1);
	}
	spin_unlock(&reserve_lock);
	if (!block)
		return false;
	__free_pages(block, BLOCK_ORDER);
	return true;
}

/* Frees blocks, at most this many; returns how many pages that were. */
static unsigned long release_blocks(unsigned long most)
{
	unsigned long released = 0;

	while (released < most && release_block())
		released++;
	return released * BLOCK_PAGES;
}

/* The same, where there is time and there may be many. */
static void release_leisurely(unsigned long most)
{
	while (most-- && release_block())
		cond_resched();
}

/*
 * Whether so many pages can be taken, these many now, with the level what it
 * is, below kill, and as many left free once more: no other allocation is to
 * reclaim for it.
 */
static bool can_spare(unsigned long pages, unsigned long now)
{
	struct memory memory = look_at_memory();
	enum memory_info_level level = level_of(&memory, MEMORY_INFO_OK);

	memory.available -= min(memory.available, pages);
	return level < MEMORY_INFO_KILL && level == level_of(&memory, MEMORY_INFO_OK) &&
	       most_spare() >= (long)(2 * now);
}

/* Brings the reserve nearer to its size, by at most this many blocks. */
static void adjust_reserve(unsigned long most)
{
	unsigned long wanted = wanted_blocks();
	unsigned long held = READ_ONCE(reserve_blocks);

	if (held > wanted) {
		release_leisurely(held - wanted);
		return;
	}
	most = min(most, wanted - held);
	if (!can_spare((wanted - held) * BLOCK_PAGES, most * BLOCK_PAGES))
		return;
	while (most-- && take_block())
		cond_resched();
}

static void __init choose_reserve(void)
{
	unsigned int automatic = 8 * SZ_1K + num_online_cpus() * SZ_1K;

	if (reserve_kib == UINT_MAX)
		reserve_kib = min(automatic, most_reserve_kib());
}

/*
 * The last call: what is known of it, and which process listens
 */

/* One open descriptor of the file. */
struct reader {
	u64 seen; /* The change that was the latest when it last read. */
	bool listens;
};

enum call_state {
	CALL_NONE,
	CALL_ASKED,
	CALL_CLAIMED, /* The listener is about to answer. */
	CALL_ANSWERED, /* Memory will come. */
	CALL_DECLINED, /* None will. */
};

/*
 * A call stays open from one run of the callback to the next, whichever
 * allocation that is for.  Written under call_lock, which is never held while
 * anything is allocated.
 */
static struct last_call {
	enum call_state state;
	u64 sequence;
	char caller[TASK_COMM_LEN]; /* Whose allocation opened it. */
	ktime_t since;
	unsigned long deadline; /* In jiffies, of its present state. */
	unsigned long reserve_pages; /* Of the reserve, freed for it and not used up. */
	bool was_read; /* By the listener. */
	struct pid *listener; /* The process that listens, or NULL. */
	bool deaf; /* It left a call unread until its deadline, and has not read since. */
	unsigned int unhelped; /* Calls in a row that did not help, ... */
	unsigned int refused; /* ... beside those that were over when they were claimed, ... */
	s64 unhelped_us; /* ... and how long all of these took. */
	/* Of all calls, to be read: */
	u64 asked;
	u64 answered;
	s64 answer_us;
	s64 back_us;
	s64 longest_hold_us;
} call;
static DEFINE_SPINLOCK(call_lock);

static atomic64_t last_calls; /* Written by the callback alone. */

static bool suspended; /* User space is frozen, or is about to be. */

static enum memory_info_level sampled_level; /* Written by the worker and open(). */

/* Counts the changes that poll() reports. */
static atomic64_t changes;
static DECLARE_WAIT_QUEUE_HEAD(pollers);

/* Where the callback waits for an answer. */
static DECLARE_WAIT_QUEUE_HEAD(callers);

static void announce(void)
{
	/* A reader that sees the new number sees what changed: show_text(). */
	atomic64_inc_return_release(&changes);
	wake_up_interruptible_poll(&pollers, EPOLLPRI);
}

static bool is_pending(enum call_state state)
{
	return state == CALL_ASKED || state == CALL_CLAIMED;
}

/* Whether an answer can still come. */
static bool is_awaited(void)
{
	return is_pending(READ_ONCE(call.state)) && READ_ONCE(call.listener) &&
	       !READ_ONCE(suspended);
}

static enum memory_info_level current_level(void)
{
	if (is_awaited() && time_before_eq(jiffies, READ_ONCE(call.deadline)))
		return MEMORY_INFO_LAST_CALL;
	return READ_ONCE(sampled_level);
}

static void set_deadline(void)
{
	WRITE_ONCE(call.deadline, jiffies + msecs_to_jiffies(READ_ONCE(grace_ms)));
}

/*
 * What is to be logged of a call.  The worker does that: the callback would hold
 * oom_lock while it waits for the console, and for all that others have left to
 * be written there.
 */
struct line {
	u64 sequence; /* 0: the call was not waited for. */
	char caller[TASK_COMM_LEN];
	const char *what;
	bool back;
	s64 us;
};

/* Guarded by call_lock.  Where it is full, the worker has not run for long. */
static DEFINE_KFIFO(lines, struct line, 16);

static const char *const answers[] = {
	[CALL_ASKED] = "not answered",
	[CALL_CLAIMED] = "claimed, not answered",
	[CALL_ANSWERED] = "answered",
	[CALL_DECLINED] = "declined",
};

static void log_lines(void)
{
	struct line line;

	for (;;) {
		bool any;

		spin_lock(&call_lock);
		any = kfifo_get(&lines, &line);
		spin_unlock(&call_lock);
		if (!any)
			break;
		if (line.sequence)
			pr_info("last call %llu of %s: %s, memory %s back after %lld us\n",
				line.sequence, line.caller, line.what, line.back ? "is" : "is not",
				line.us);
		else
			pr_info("last call of %s: not waited for: %s\n", line.caller, line.what);
	}
}

/* A call has helped, or it is the kernel's turn: what has not helped counts no more. */
static void forgive(void)
{
	call.unhelped = 0;
	call.refused = 0;
	call.unhelped_us = 0;
}

/*
 * Ends the open call; call_lock is held.  Memory that came back without an
 * answer may be any process's, and did not come of the call.
 */
static void end_call(bool back)
{
	s64 us = ktime_us_delta(ktime_get(), call.since);
	struct line line = {
		.sequence = call.sequence,
		.what = answers[call.state],
		.back = back,
		.us = us,
	};

	memcpy(line.caller, call.caller, sizeof(line.caller));
	kfifo_put(&lines, line);
	if (back && call.state == CALL_ANSWERED) {
		call.back_us = us;
		forgive();
	} else {
		call.unhelped++;
		call.unhelped_us += us;
	}
	/* One that was over before that may have been too short to be read. */
	if (call.listener && !call.was_read && time_after_eq(jiffies, call.deadline))
		call.deaf = true;
	WRITE_ONCE(call.state, CALL_NONE);
	wake_up_all(&callers);
	announce();
	sample_now(); /* The level may be another, and there is a line to log. */
}

/* Whether calls have kept the kernel from killing for long enough. */
static bool is_kernels_turn(void)
{
	s64 most_ms = max_t(s64, UNHELPED_MS, READ_ONCE(grace_ms));

	return call.unhelped > UNHELPED_MAX || call.unhelped_us >= most_ms * USEC_PER_MSEC;
}

/*
 * What the listener writes.  Each returns 0, -ESTALE where the number is not
 * the latest call's, or -ETIME where that call is over.
 */

static int check_call(u64 sequence)
{
	if (!sequence || sequence != call.sequence)
		return -ESTALE;
	if (!is_pending(call.state) || time_after(jiffies, call.deadline))
		return -ETIME;
	return 0;
}

/* The listener is about to end processes: the last moment to say that it need not. */
static int claim_call(u64 sequence)
{
	int err;

	spin_lock(&call_lock);
	err = check_call(sequence);
	if (!err && memory_is_back(0)) {
		end_call(true);
		/*
		 * It was there to help, so most of these do not count.  But where what
		 * is back is of no use to the caller (mbind, fragmented memory), one
		 * follows the other, each too short for the time to add up.
		 */
		if (++call.refused % REFUSED_AS_ONE)
			call.unhelped--;
		err = -ETIME;
	}
	if (!err && call.state == CALL_ASKED) {
		WRITE_ONCE(call.state, CALL_CLAIMED);
		set_deadline();
	}
	spin_unlock(&call_lock);
	return err;
}

static int answer_call(u64 sequence, enum call_state state)
{
	int err;

	spin_lock(&call_lock);
	err = check_call(sequence);
	if (!err) {
		WRITE_ONCE(call.state, state);
		set_deadline();
	}
	if (!err && state == CALL_ANSWERED) {
		call.answered++;
		call.answer_us = ktime_us_delta(ktime_get(), call.since);
	}
	spin_unlock(&call_lock);
	if (!err) {
		wake_up_all(&callers);
		announce();
	}
	return err;
}

/* Ends a call that nothing waits for any more. */
static void look_after_call(void)
{
	spin_lock(&call_lock);
	if (call.state == CALL_NONE)
		;
	else if (call.state != CALL_CLAIMED && memory_is_back(call.reserve_pages))
		end_call(true);
	else if (time_after(jiffies, call.deadline + msecs_to_jiffies(LAPSE_MS)))
		end_call(false);
	spin_unlock(&call_lock);
}

/* There is memory to spare: what did not help was about another shortage. */
static void forgive_if_ok(void)
{
	spin_lock(&call_lock);
	if (call.state == CALL_NONE && READ_ONCE(sampled_level) == MEMORY_INFO_OK)
		forgive();
	spin_unlock(&call_lock);
}

/*
 * The callback
 */

/* As mm_flags_test(), which Linux 6.18 has brought: what is tested has only changed its type. */
static bool is_skipped(struct mm_struct *mm)
{
	return test_bit(MMF_OOM_SKIP, (unsigned long *)&mm->flags);
}

static bool is_group_exiting(struct task_struct *task)
{
	struct signal_struct *signal = task->signal;

	if (READ_ONCE(signal->core_state))
		return false;
	return (READ_ONCE(signal->flags) & SIGNAL_GROUP_EXIT) ||
	       (thread_group_empty(task) && (task->flags & PF_EXITING));
}

static bool uses_mm(struct task_struct *process, struct mm_struct *mm)
{
	struct task_struct *thread;

	for_each_thread(process, thread) {
		struct mm_struct *its = READ_ONCE(thread->mm);

		if (its)
			return its == mm;
	}
	return false;
}

/*
 * Whether the kernel lets the current task into its reserves and kills nothing
 * for it: task_will_free_mem() says so, or it is the victim that the kernel
 * waits for.
 * A signal alone is not enough: where its memory is also another's that lives
 * (vfork, CLONE_VM), or another thread's exec ends it, the kernel goes on and
 * kills another.
 */
static bool is_let_go(void)
{
	struct mm_struct *mm = current->mm;
	struct task_struct *process;
	bool all_exit = true;

	if (tsk_is_oom_victim(current))
		return !is_skipped(current->signal->oom_mm);
	if (!mm || is_skipped(mm) || !is_group_exiting(current))
		return false;
	if (atomic_read(&mm->mm_users) <= 1)
		return true;
	rcu_read_lock();
	for_each_process(process) {
		if (same_thread_group(process, current) || !uses_mm(process, mm))
			continue;
		all_exit = is_group_exiting(process);
		if (!all_exit)
			break;
	}
	rcu_read_unlock();
	return all_exit;
}

/*
 * Whether a victim of the kernel's own is on its way out, or one that it has
 * let into its reserves: it kills no other until that has freed its memory.
 */
static bool kernel_awaits_victim(void)
{
	struct task_struct *process;
	bool found = false;

	rcu_read_lock();
	for_each_process(process) {
		struct mm_struct *mm = READ_ONCE(process->signal->oom_mm);

		found = mm && !is_skipped(mm);
		if (found)
			break;
	}
	rcu_read_unlock();
	return found;
}

/* Memory elsewhere is of no use to one that is bound to a part of the machine. */
static bool is_bound(void)
{
	if (!nodes_subset(node_states[N_MEMORY], cpuset_current_mems_allowed))
		return true;
#ifdef CONFIG_NUMA
	if (current->mempolicy && current->mempolicy->mode == MPOL_BIND)
		return !nodes_subset(node_states[N_MEMORY], current->mempolicy->nodes);
#endif
	return false;
}

/*
 * Whether SysRq-f has brought us here.  Its worker ignores what we free and
 * kills in any case.  Other workers are in the same need as any task.  Without
 * kallsyms it is not told from them, and its kill may come on top of ours.
 */
static bool is_sysrq(void)
{
	struct work_struct *work = current_work();
	char name[sizeof("moom_callback") + 1];

	if (!work)
		return false;
	/* Cut short: some compilers add to the names of static functions. */
	snprintf(name, sizeof("moom_callback"), "%ps", work->func);
	return !strcmp(name, "moom_callback");
}

/*
 * The chain also runs for several pages in a row, while there is memory
 * enough.  What has yet to reach a disk is none: available memory counts it,
 * and the kernel has just looked through it in vain.
 */
static bool machine_is_short(void)
{
	struct memory memory = look_at_memory();
	unsigned long unwritten = global_node_page_state(NR_FILE_DIRTY) +
				  global_node_page_state(NR_WRITEBACK);

	memory.available -= min(memory.available, unwritten);
	return memory_is_below(&memory, &kill_at);
}

/* Why the kernel is left alone with this allocation, or NULL. */
static const char *why_not_wait(unsigned long freed)
{
	if (freed)
		return "another notifier has freed memory";
	if (is_let_go())
		return "the task is dying";
	if (is_sysrq())
		return "SysRq was pressed";
	if ((current->flags & (PF_MEMALLOC_NOFS | PF_MEMALLOC_NOIO)) || current->journal_info)
		return "the kernel kills nothing for a filesystem";
	if (READ_ONCE(suspended))
		return "user space is being frozen";
	return NULL;
}

/* Why no call is opened, or NULL; call_lock is held. */
static const char *why_not_ask(void)
{
	if (current_is_kswapd())
		return "kswapd must not sleep";
	if (!READ_ONCE(grace_ms))
		return "grace_ms is 0";
	if (!call.listener)
		return "no process listens";
	if (call.listener == task_tgid(current))
		return "the listener itself allocates";
	if (call.deaf)
		return "the listener has not read the last one";
	if (is_kernels_turn()) {
		forgive();
		return "calls have not helped, and it is the kernel's turn";
	}
	return NULL;
}

/*
 * Has the current task wait for the open call, or opens one.  Says why not, or
 * returns NULL.
 */
static const char *enter_call(void)
{
	bool awaits_victim = kernel_awaits_victim();
	bool is_short = machine_is_short();
	const char *why_not = NULL;
	bool opened = false;

	spin_lock(&call_lock);
	if (call.state == CALL_ASKED && awaits_victim)
		end_call(false);
	if (call.state != CALL_NONE) {
		/* What was freed of the reserve is used up, or we would not be here. */
		if (!memory_is_back(0))
			call.reserve_pages = 0;
		if (is_pending(call.state) && call.listener == task_tgid(current))
			why_not = "the listener itself allocates";
	} else if (awaits_victim) {
		why_not = "the kernel waits for a victim already";
	} else if (!is_short) {
		why_not = "the machine is not short of memory";
	} else {
		why_not = why_not_ask();
		opened = !why_not;
	}
	if (opened) {
		WRITE_ONCE(call.state, CALL_ASKED);
		call.sequence++;
		call.asked++;
		get_task_comm(call.caller, current);
		call.since = ktime_get();
		call.reserve_pages = 0;
		call.was_read = false;
		set_deadline();
	}
	spin_unlock(&call_lock);
	if (opened) {
		atomic64_inc(&last_calls);
		announce();
		sample_now();
		watch_call_later();
	}
	return why_not;
}

/*
 * The same for a task that is bound to a part of the machine.  It opens no call,
 * ends none and is given nothing of the reserve, since memory elsewhere is of no
 * use to it.  But while a victim of the listener's is about to be killed or on its
 * way out, the kernel would kill a second one for it: so long it waits, too.
 */
static const char *join_call(void)
{
	const char *why_not = NULL;

	spin_lock(&call_lock);
	if ((call.state != CALL_CLAIMED && call.state != CALL_ANSWERED) ||
	    time_after_eq(jiffies, call.deadline))
		why_not = "the task may not use all memory";
	else if (is_pending(call.state) && call.listener == task_tgid(current))
		why_not = "the listener itself allocates";
	spin_unlock(&call_lock);
	return why_not;
}

/*
 * Sleeps until there is an answer, the current task is killed, or the slice is
 * over, which takes a high-resolution timer, not ticks.  Not once there is one:
 * then a victim may be in need of oom_lock, and the kernel does not sleep
 * either while it waits for a victim of its own.
 */
static void sleep_slice(void)
{
	ktime_t slice = ns_to_ktime(SLICE_US * NSEC_PER_USEC);
	unsigned int state = TASK_KILLABLE;
	unsigned long stall;
	DEFINE_WAIT(wait);

	if (!is_pending(READ_ONCE(call.state)) || current_is_kswapd())
		return;
	/* It is killed, and the kernel does not let it go: is_let_go(). */
	if (fatal_signal_pending(current))
		state = TASK_UNINTERRUPTIBLE;
	psi_memstall_enter(&stall);
	prepare_to_wait(&callers, &wait, state);
	if (is_awaited())
		schedule_hrtimeout(&slice, HRTIMER_MODE_REL);
	finish_wait(&callers, &wait);
	psi_memstall_leave(&stall);
}

/* How many pages the kernel is told of, for which it tries again; 0: it may kill. */
static unsigned long go_on(bool bound)
{
	unsigned long freed = 1;
	unsigned long release = 0;
	bool over;

	/* The kernel lets it into the reserves, and the call stays open. */
	if (is_let_go())
		return 0;
	/* Whether it still waits is looked at when the allocation has failed again. */
	if (bound)
		return freed;

	spin_lock(&call_lock);
	over = time_after_eq(jiffies, call.deadline);
	if (call.state == CALL_NONE) {
		; /* Memory is back. */
	} else if (call.state != CALL_CLAIMED && memory_is_back(call.reserve_pages)) {
		end_call(true);
	} else if (call.state == CALL_ANSWERED && !over) {
		/* Counted before it is free, lest the worker take it for a victim's. */
		release = min_t(unsigned long, READ_ONCE(reserve_blocks), RELEASE_BLOCKS);
		call.reserve_pages += release * BLOCK_PAGES;
	} else if (call.state == CALL_ANSWERED) {
		end_call(false);
		if (is_kernels_turn()) {
			forgive();
			freed = 0;
		}
	} else if (over || !is_awaited()) {
		end_call(false);
		forgive();
		freed = 0;
	}
	spin_unlock(&call_lock);

	return freed + release_blocks(release);
}

static void note_not_waited(const char *why_not)
{
	/* Which says nothing itself of what it has suppressed. */
	static struct ratelimit_state limit =
		RATELIMIT_STATE_INIT_FLAGS(limit, 5 * HZ, 10, RATELIMIT_MSG_ON_RELEASE);
	struct line line = { .what = why_not };

	atomic64_inc(&last_calls);
	if (!__ratelimit(&limit))
		return;
	get_task_comm(line.caller, current);
	spin_lock(&call_lock);
	kfifo_put(&lines, line);
	spin_unlock(&call_lock);
	sample_now();
}

static void note_hold(ktime_t since)
{
	s64 us = ktime_us_delta(ktime_get(), since);

	spin_lock(&call_lock);
	call.longest_hold_us = max(call.longest_hold_us, us);
	spin_unlock(&call_lock);
}

/*
 * The callback on the kernel's chain of OOM notifiers, called by
 * out_of_memory() for every OOM but a memory cgroup's, before it has decided
 * anything.  It may go on to kill, but also to let a dying task into its
 * reserves, to wait for a victim that it has chosen before, or to do nothing,
 * for an allocation without __GFP_FS.  It hands us neither the gfp mask, nor
 * the order, nor the nodes: what can be told of these from the current task is
 * (why_not_wait()); an allocation that says GFP_NOFS or GFP_NOIO itself, or a
 * mapping that is bound by mbind(2), is taken for any other.
 *
 * Told of a page that was freed, the kernel kills nothing, lets go of oom_lock,
 * tries the allocation again and, where it fails, calls again.  So a call is
 * waited for in slices: until the listener has answered, one run of the
 * callback sleeps for SLICE_US at most and says 1; after that it does not sleep.
 * The call and its deadline are kept from one run to the next, whichever task
 * that is of.
 *
 * Held when it runs, for one slice at a stretch (where the kernel has no
 * high-resolution timers: for a tick more), and for as long as other tasks
 * then keep the current one from a processor, as they may any that holds a lock:
 *  - oom_lock, a mutex.  An allocation that fails meanwhile finds it taken
 *    (mutex_trylock), sleeps for a tick and tries again.  A killed process that
 *    is in a page fault does the same, and gets into the kernel's reserves only
 *    with it: it is killed before the answer, from which on nothing sleeps with
 *    the lock.  Memory cgroups' OOM, SysRq-f's worker and the freezing of tasks
 *    for suspend sleep on it (mutex_lock) and are handed it at the end of the
 *    slice.  kswapd with MGLRU's min_ttl_ms only tries.
 *  - the chain's rwsem, for reading.  rmmod waits for it in
 *    unregister_oom_notifier(), and so do other modules that register here.
 *  - whatever the current task held when it began to allocate, and that for as
 *    long as its allocation takes, here or in a kernel without this module:
 *    most often its own mmap lock (a page fault for reading; fork, brk, mmap
 *    and mprotect for writing), now and then a filesystem's locks or another
 *    process's mmap lock.  No spinlock and no RCU section: the allocation was
 *    allowed to sleep.
 *
 * How long a call can keep the kernel from killing: grace_ms until it is
 * claimed, once more until it is answered, and once more until memory is back.
 * A call that is not answered ends with the kernel's turn.  One that is, in
 * vain, is followed by another, until they were UNHELPED_MAX + 1 in a row or
 * took UNHELPED_MS, without level ok in between.  Memory that comes back on its
 * own ends a call, and counts as one in vain; where that is seen when the call is
 * claimed, REFUSED_AS_ONE of these count as one.  A listener that leaves a call
 * unread until its deadline is not asked again before it reads.
 *
 * It is safe to wait as long as the listener gets by without what is held,
 * which is why it must not touch any process's mmap lock, any filesystem,
 * cgroup_mutex, or an allocation (see memory_info_uapi.h).  One that does so
 * nonetheless waits for us while we wait for it, which the deadline ends: then
 * the kernel kills, as it always did.  So does a victim that cannot die because
 * the current task holds its mmap lock.
 *
 * panic_on_oom=2 and oom_kill_allocating_task come after the chain, and so
 * after the call.
 *
 * The callback allocates nothing and logs nothing.  It runs for one task at a
 * time (oom_lock).  It wakes whatever polls the file, which only root can open.
 */
static int on_oom(struct notifier_block *notifier, unsigned long unused, void *data)
{
	unsigned long *freed = data;
	ktime_t since = ktime_get();
	const char *why_not = why_not_wait(*freed);
	bool bound = is_bound();

	if (!why_not)
		why_not = bound ? join_call() : enter_call();
	if (why_not) {
		note_not_waited(why_not);
	} else {
		sleep_slice();
		*freed += go_on(bound);
	}
	note_hold(since);
	return why_not ? NOTIFY_DONE : NOTIFY_OK;
}

/* After all others: virtio_balloon's priority is 80. */
static struct notifier_block oom_notifier = {
	.notifier_call = on_oom,
	.priority = -100,
};

/*
 * Suspend and hibernation freeze the listener, which then cannot answer.
 */
static int on_suspend(struct notifier_block *notifier, unsigned long event, void *unused)
{
	switch (event) {
	case PM_HIBERNATION_PREPARE:
	case PM_SUSPEND_PREPARE:
	case PM_RESTORE_PREPARE:
		WRITE_ONCE(suspended, true);
		wake_up_all(&callers);
		break;
	case PM_POST_HIBERNATION:
	case PM_POST_SUSPEND:
	case PM_POST_RESTORE:
		WRITE_ONCE(suspended, false);
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block suspend_notifier = {
	.notifier_call = on_suspend,
};

/*
 * The worker
 */

static struct workqueue_struct *workqueue;

static atomic_t readers; /* Open descriptors of the file. */

/* An idle processor is not woken to sample ... */
static void sample(struct work_struct *work);
static DECLARE_DEFERRABLE_WORK(sample_work, sample);

/* ... but to see that memory is back. */
static void watch_call(struct work_struct *work);
static DECLARE_DELAYED_WORK(call_work, watch_call);

static void sample_now(void)
{
	mod_delayed_work(workqueue, &sample_work, 0);
}

static void sample_later(void)
{
	if (atomic_read(&readers) || READ_ONCE(report_ms) ||
	    READ_ONCE(reserve_blocks) != wanted_blocks())
		queue_delayed_work(workqueue, &sample_work,
				   msecs_to_jiffies(READ_ONCE(sample_ms)));
}

static void watch_call_later(void)
{
	queue_delayed_work(workqueue, &call_work, msecs_to_jiffies(LOOK_MS));
}

static void watch_call(struct work_struct *work)
{
	look_after_call();
	if (READ_ONCE(call.state) != CALL_NONE)
		watch_call_later();
}

static void report_memory(const struct memory *memory)
{
	static unsigned long next; /* The worker's alone; 0 before the first. */
	unsigned int period = READ_ONCE(report_ms);

	if (!period || (next && time_before(jiffies, next)))
		return;
	next = (jiffies + msecs_to_jiffies(period)) | 1;
	log_memory(level_names[READ_ONCE(sampled_level)], memory);
}

/* Returns whether the level has changed. */
static bool sample_level(const struct memory *memory)
{
	enum memory_info_level before = READ_ONCE(sampled_level);
	enum memory_info_level level = level_of(memory, before);

	if (level == before)
		return false;
	WRITE_ONCE(sampled_level, level);
	announce();
	return true;
}

static void sample(struct work_struct *work)
{
	static DEFINE_RATELIMIT_STATE(limit, 5 * HZ, 5);
	static unsigned long next_totals; /* The worker's alone; 0 before the first. */
	struct memory memory;

	log_lines();
	/* It allocates, so it is not done by this one, nor by its rescuer. */
	if (!next_totals || time_after_eq(jiffies, next_totals)) {
		next_totals = (jiffies + msecs_to_jiffies(TOTALS_MS)) | 1;
		schedule_work(&totals_work);
	}
	memory = look_at_memory();
	if (sample_level(&memory) && __ratelimit(&limit))
		log_memory(level_names[READ_ONCE(sampled_level)], &memory);
	forgive_if_ok();
	report_memory(&memory);
	if (READ_ONCE(call.state) == CALL_NONE)
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
	/* Pairs with read_totals(). */
	bool known = smp_load_acquire(&totals.known);
	struct memory memory = look_at_memory();

	show_bytes(seq, MEMORY_INFO_MEM_TOTAL, READ_ONCE(totals.memory));
	if (known)
		show_bytes(seq, MEMORY_INFO_HUGETLB, READ_ONCE(totals.hugetlb));
	show_bytes(seq, MEMORY_INFO_MEM_AVAILABLE, memory.available);
	if (known) {
		show_share(seq, MEMORY_INFO_MEM_PERCENT, memory.available, memory.total);
		show_bytes(seq, MEMORY_INFO_SWAP_TOTAL, memory.swap_total);
	}
	show_bytes(seq, MEMORY_INFO_SWAP_FREE, memory.swap_free);
	if (known)
		show_share(seq, MEMORY_INFO_SWAP_PERCENT, memory.swap_free, memory.swap_total);
	show_bytes(seq, MEMORY_INFO_RESERVE, READ_ONCE(reserve_blocks) * BLOCK_PAGES);
}

static int show_text(struct seq_file *seq, void *unused)
{
	struct reader *reader = seq->private;

	/* First, so that a change that comes while we write is reported. */
	WRITE_ONCE(reader->seen, atomic64_read_acquire(&changes));

	spin_lock(&call_lock);
	if (reader->listens) {
		call.deaf = false;
		call.was_read = true;
	}
	seq_printf(seq, "%d\n", current_level());
	show_memory(seq);
	seq_printf(seq, "%s: %llu\n", MEMORY_INFO_SEQUENCE, call.sequence);
	seq_printf(seq, "%s: %lld\n", MEMORY_INFO_LAST_CALLS,
		   (long long)atomic64_read(&last_calls));
	seq_printf(seq, "%s: %llu\n", MEMORY_INFO_ASKED, call.asked);
	seq_printf(seq, "%s: %llu\n", MEMORY_INFO_ANSWERED, call.answered);
	seq_printf(seq, "%s: %lld\n", MEMORY_INFO_ANSWER_TIME, call.answer_us);
	seq_printf(seq, "%s: %lld\n", MEMORY_INFO_BACK_TIME, call.back_us);
	seq_printf(seq, "%s: %lld\n", MEMORY_INFO_LONGEST_HOLD, call.longest_hold_us);
	seq_printf(seq, "%s: %d\n", MEMORY_INFO_LISTENER, pid_vnr(call.listener));
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
		WRITE_ONCE(call.listener, get_pid(task_tgid(current)));
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
	WRITE_ONCE(call.listener, NULL);
	spin_unlock(&call_lock);
	put_pid(listener);
	wake_up_all(&callers);
}

/* Where memory is short, nothing waits for a worker that allocates. */
static void refresh_totals(void)
{
	struct memory memory = look_at_memory();

	schedule_work(&totals_work);
	if (!memory_is_below(&memory, &kill_at))
		flush_work(&totals_work);
}

static int open_file(struct inode *inode, struct file *file)
{
	struct reader *reader;
	struct memory memory;
	int err;

	/*
	 * The file's mode does not keep out the root of a container that has no
	 * user namespace: its procfs has this file, and its uid owns it.  Nor
	 * may that read: an open file keeps the module loaded and the worker busy.
	 */
	if (!capable(CAP_SYS_RESOURCE))
		return -EPERM;

	/*
	 * A task in poll() is in our wait queue until it wakes, and nothing
	 * else would keep the module until then.
	 */
	if (!try_module_get(THIS_MODULE))
		return -ENODEV;
	reader = kzalloc(sizeof(*reader), GFP_KERNEL_ACCOUNT);
	if (!reader) {
		err = -ENOMEM;
		goto put_module;
	}
	/* The worker may have rested while the file was not open. */
	if (atomic_inc_return(&readers) == 1) {
		refresh_totals();
		memory = look_at_memory();
		sample_level(&memory);
		sample_now();
	}
	reader->seen = atomic64_read(&changes);
	err = single_open_size(file, show_text, reader, MEMORY_INFO_TEXT_MAX);
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
	atomic_dec(&readers);
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
	atomic_dec(&readers);
	kfree(reader);
	/* remove_proc_entry() waits for our return, and so does exit. */
	module_put(THIS_MODULE);
	return 0;
}

static ssize_t write_file(struct file *file, const char __user *from, size_t len, loff_t *pos)
{
	char text[WRITTEN_MAX];
	char *word = text;
	u64 sequence;
	int err;

	if (len >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, from, len))
		return -EFAULT;
	text[len] = '\0';
	if (kstrtou64(strsep(&word, " "), 10, &sequence))
		return -EINVAL;
	if (!word)
		err = answer_call(sequence, CALL_ANSWERED);
	else if (sysfs_streq(word, MEMORY_INFO_CLAIM))
		err = claim_call(sequence);
	else if (sysfs_streq(word, MEMORY_INFO_NONE))
		err = answer_call(sequence, CALL_DECLINED);
	else
		err = -EINVAL;
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

static int __init begin_to_load(void)
{
	int err = 0;

	kernel_param_lock(THIS_MODULE);
	choose_reserve();
	if (thresholds_agree(&kill_at, &warn_at))
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
	unsigned long reserve_pages = READ_ONCE(reserve_blocks) * BLOCK_PAGES;

	log_memory("loaded", memory);
	pr_info("loaded: warn at %u %%, %u %%; kill at %u %%, %u %%; reserve %lu of %u KiB, grace %u ms\n",
		warn_at.memory_percent, warn_at.swap_percent, kill_at.memory_percent,
		kill_at.swap_percent, reserve_pages * (PAGE_SIZE / SZ_1K), reserve_kib, grace_ms);
}

static void stop_sampling(void)
{
	kernel_param_lock(THIS_MODULE);
	loaded = false;
	kernel_param_unlock(THIS_MODULE);
	cancel_delayed_work_sync(&call_work);
	cancel_delayed_work_sync(&sample_work);
	cancel_work_sync(&totals_work);
	log_lines();
	destroy_workqueue(workqueue);
	release_leisurely(ULONG_MAX);
}

static int __init memory_info_init(void)
{
	struct memory memory;
	int err;

	/* Memory there is little, and no daemon. */
	if (is_kdump_kernel())
		return -ENODEV;
	workqueue = alloc_workqueue("memory_info", WQ_UNBOUND | WQ_MEM_RECLAIM | WQ_FREEZABLE, 0);
	if (!workqueue)
		return -ENOMEM;
	err = begin_to_load();
	if (err)
		goto stop_sampling;
	schedule_work(&totals_work);
	flush_work(&totals_work);
	memory = look_at_memory();
	WRITE_ONCE(sampled_level, level_of(&memory, MEMORY_INFO_OK));
	adjust_reserve(ULONG_MAX);

	err = register_pm_notifier(&suspend_notifier);
	if (err)
		goto stop_sampling;
	err = register_oom_notifier(&oom_notifier);
	if (err)
		goto unregister_suspend;
	if (!proc_create(PROC_NAME, 0600, NULL, &file_ops)) {
		err = -ENOMEM;
		goto unregister_oom;
	}
	sample_now();
	log_load(&memory);
	return 0;

unregister_oom:
	unregister_oom_notifier(&oom_notifier);
unregister_suspend:
	unregister_pm_notifier(&suspend_notifier);
stop_sampling:
	stop_sampling();
	return err;
}

static void __exit memory_info_exit(void)
{
	remove_proc_entry(PROC_NAME, NULL);
	unregister_oom_notifier(&oom_notifier);
	unregister_pm_notifier(&suspend_notifier);
	stop_sampling();
	pr_info("unloaded\n");
}

module_init(memory_info_init);
module_exit(memory_info_exit);

MODULE_DESCRIPTION("Tells user space how much memory is left, and asks it before the kernel kills");
MODULE_AUTHOR("The user-oom developers");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.2.0");
