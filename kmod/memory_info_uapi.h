/* SPDX-License-Identifier: GPL-2.0-or-later WITH Linux-syscall-note */
/*
 * What memory_info.ko says to user space, and how user space answers.
 *
 * There is one file, /proc/oom_notifier (mode 0600, owner root), and one
 * directory of parameters, /sys/module/memory_info/parameters.  This header
 * describes both in full; a reader needs nothing else.
 *
 * To open the file, also only to read, takes root's uid (else EACCES) and
 * CAP_SYS_RESOURCE in the initial user namespace (else EPERM), which the root
 * of a container does not have by default.
 *
 * Reading
 * -------
 * The first line is the level, a decimal number that "%d" reads (enum
 * memory_info_level).  Every further line is "Key: value", one blank after
 * the colon.  Each key below is there exactly once, in the order given here;
 * but "HugetlbBytes", "MemAvailablePercent", "SwapTotalBytes" and
 * "SwapFreePercent" are left out until the module has been able to read
 * /proc/meminfo.  A later version may add keys anywhere after the first line, so
 * a reader skips keys that it does not know; it neither drops nor renames one.
 *
 *	1
 *	MemTotalBytes: 501006336
 *	HugetlbBytes: 0
 *	MemAvailableBytes: 48177152
 *	MemAvailablePercent: 9.61
 *	SwapTotalBytes: 0
 *	SwapFreeBytes: 0
 *	SwapFreePercent: 0.00
 *	ReserveBytes: 10485760
 *	Sequence: 0
 *	LastCalls: 0
 *	LastCallsAsked: 0
 *	LastCallsAnswered: 0
 *	AnswerMicroseconds: 0
 *	BackMicroseconds: 0
 *	LongestHoldMicroseconds: 0
 *	ListenerPid: 0
 *
 * The whole text is shorter than MEMORY_INFO_TEXT_MAX bytes and comes with
 * one read(2).  A descriptor can be read again and again: pread(2) at offset
 * 0.  After open(2) this allocates nothing, in user space or in the kernel.
 * Available memory and free swap are those of the moment of reading; the
 * level (but for MEMORY_INFO_LAST_CALL, which is always of the moment) is of the
 * last look at memory, and totals of one up to 5 s before that.  There is a look
 * every sample_ms, but a processor that is idle is not woken for it: while the
 * one that is to look is idle, the level may be older.
 *
 * Waiting
 * -------
 * poll(2) with POLLPRI: reported from any change of level (and from any new
 * last call) until this descriptor is next read from offset 0.  A freshly
 * opened descriptor starts without a change.  POLLIN is never reported.
 *
 * Answering a last call
 * ---------------------
 * The *listener* is the process that has the file open for writing.  Only one
 * descriptor at a time: a second open for writing fails with EBUSY, and
 * "ListenerPid" says which process has the first.  It opens with
 * O_RDWR | O_CLOEXEC.  Readers and pollers without write access are never
 * waited for.
 *
 * When the kernel is out of memory and may kill, the level becomes
 * MEMORY_INFO_LAST_CALL and "Sequence" has a new number.  The listener writes
 * that number, as decimal text with or without a newline, in one write(2):
 *
 *	"17 claim"	before it kills anything: it is about to
 *	"17"		after that: memory will come
 *	"17 none"	instead: it can kill nothing, and need not be waited
 *			for
 *
 *	EINVAL	none of these
 *	ESTALE	not the latest call's number
 *	ETIME	that call is over: memory is back, or the kernel's turn has
 *		come.  A listener told so for its claim kills nothing.
 *
 * Each step has grace_ms: from the call to the claim, from there to the
 * answer, from there to memory.  A claim may be left out, but then what is
 * killed for a call may be killed for one that is over.  After the answer the
 * level is what memory says again (mostly MEMORY_INFO_KILL), and the kernel
 * goes on as soon as memory comes back.  Where none comes, it asks again, each
 * call with a number of its own, and kills after four calls in a row that have
 * not helped, or after 2 s of such (or one grace_ms, where that is longer).
 * Memory that comes back without an answer ends a call, too, and counts as one
 * that has not helped.  Where that is why a claim is told ETIME, eight such calls
 * count as one.  At level ok all of that is forgotten.
 *
 * What frees memory must follow at once: process_mrelease(2), from another
 * thread than the one that answers.  A listener that has left a call unread for
 * grace_ms is not asked again before it reads.  The number to answer is read
 * from the file at each last call, never guessed: other lines change meanwhile.
 *
 * Not every allocation that fails is a last call.  None is where the kernel
 * kills nothing (an allocation in a filesystem's transaction, or of a process
 * that is dying), where it waits for a victim that it has chosen itself, where
 * the process may not use all of the machine's memory (cpuset, mempolicy; but it
 * waits for a call that another process's allocation has opened, from the claim
 * on), where the machine is not short of memory, for SysRq-f, for kswapd (MGLRU's
 * min_ttl_ms), and while user space is frozen for suspend.  What the kernel
 * does not tell is not considered: an allocation that is GFP_NOFS or GFP_NOIO
 * by itself, for which the kernel kills nothing, and a mapping bound to a node
 * by mbind(2), are calls like others.  panic_on_oom=2 and
 * oom_kill_allocating_task come after the call.
 *
 * From the change of level to the answer the listener must not depend on
 * memory or on any task that waits for memory: no open(2), no pidfd_open(2), no
 * page fault, no file that takes a process's mmap lock (cmdline, environ,
 * maps, smaps) or cgroup_mutex (/proc/<pid>/cgroup, cgroup.kill), no
 * process_mrelease(2).  poll, pread and write of this file and
 * pidfd_send_signal(2) are safe.
 *
 * Parameters
 * ----------
 * Decimal numbers; writing one that makes no sense fails with EINVAL (at
 * load: the module is not loaded).  A change holds from the next sample on.
 *
 *	warn_percent	"memory,swap" or one number for both, each 0 to 100:
 *			level MEMORY_INFO_WARN where the available percentage
 *			of memory and the free one of swap are both at or
 *			below it (default 10,10)
 *	kill_percent	the same for MEMORY_INFO_KILL (default 5,5); neither
 *			number may be above that of warn_percent.  To set
 *			both, write kill_percent 0, then warn_percent, then
 *			kill_percent.
 *	sample_ms	milliseconds between two looks, 10 to 10000 (default
 *			200)
 *	report_ms	milliseconds between two lines in the kernel log, one
 *			a sample at most, up to 3600000; 0 (the default) is
 *			never
 *	reserve_kib	KiB set aside for a last call, and freed when it
 *			is answered: 0 (none) to an eighth of memory (default:
 *			8192, and 1024 for each CPU)
 *	grace_ms	milliseconds for each step of a last call, 0 (none is
 *			asked) to 10000 (default 500)
 */
#ifndef MEMORY_INFO_UAPI_H
#define MEMORY_INFO_UAPI_H

#define MEMORY_INFO_PATH "/proc/oom_notifier"
#define MEMORY_INFO_PARAMETERS "/sys/module/memory_info/parameters"

/* The text is shorter than this, in bytes. */
#define MEMORY_INFO_TEXT_MAX 1024

enum memory_info_level {
	/* Memory or swap is above warn_percent. */
	MEMORY_INFO_OK = 0,
	/* Memory and swap are both at or below warn_percent. */
	MEMORY_INFO_WARN = 1,
	/* Memory and swap are both at or below kill_percent. */
	MEMORY_INFO_KILL = 2,
	/* The kernel may kill, and waits for the listener's answer. */
	MEMORY_INFO_LAST_CALL = 3,
};

/* MemTotal of proc_meminfo(5), in bytes. */
#define MEMORY_INFO_MEM_TOTAL "MemTotalBytes"

/* Of that, set aside for huge pages: Hugetlb of proc_meminfo(5), in bytes. */
#define MEMORY_INFO_HUGETLB "HugetlbBytes"

/* MemAvailable of proc_meminfo(5), in bytes. */
#define MEMORY_INFO_MEM_AVAILABLE "MemAvailableBytes"

/*
 * 100 * MemAvailable / (MemTotal - Hugetlb), with two decimals, cut off, not
 * rounded.  The level compares the exact numbers, not this one.
 */
#define MEMORY_INFO_MEM_PERCENT "MemAvailablePercent"

/*
 * SwapTotal of proc_meminfo(5), in bytes, or SwapFree while that is more, after
 * swapon(8); 0 where there is no swap.
 */
#define MEMORY_INFO_SWAP_TOTAL "SwapTotalBytes"

/* SwapFree of proc_meminfo(5), in bytes. */
#define MEMORY_INFO_SWAP_FREE "SwapFreeBytes"

/* 100 * SwapFree / SwapTotal, likewise; 0.00 where there is no swap. */
#define MEMORY_INFO_SWAP_PERCENT "SwapFreePercent"

/* What the module holds back for a last call at present, in bytes. */
#define MEMORY_INFO_RESERVE "ReserveBytes"

/* The latest last call that was put to a listener; 0 before the first. */
#define MEMORY_INFO_SEQUENCE "Sequence"

/*
 * How often an allocation was left with nothing but the OOM killer since the
 * module was loaded, be it that a listener was asked or not.  The kernel may
 * have killed then, waited for an earlier victim, or done nothing.  All that
 * wait for one call count as one.
 */
#define MEMORY_INFO_LAST_CALLS "LastCalls"

/* Of these, how many were put to a listener ... */
#define MEMORY_INFO_ASKED "LastCallsAsked"

/* ... and how many of them it answered: memory will come. */
#define MEMORY_INFO_ANSWERED "LastCallsAnswered"

/*
 * From the kernel's call to the answer, in microseconds, of the latest call
 * that was answered; 0 before the first.
 */
#define MEMORY_INFO_ANSWER_TIME "AnswerMicroseconds"

/*
 * From the kernel's call until memory was back, in microseconds, of the latest
 * call that was answered and that memory followed on; 0 before the first.
 */
#define MEMORY_INFO_BACK_TIME "BackMicroseconds"

/*
 * The longest that a last call has kept the kernel's OOM lock at a stretch, in
 * microseconds, since the module was loaded.
 */
#define MEMORY_INFO_LONGEST_HOLD "LongestHoldMicroseconds"

/* The listener's pid as the reader has it; 0 where there is none. */
#define MEMORY_INFO_LISTENER "ListenerPid"

/* What can follow the number of a last call. */
#define MEMORY_INFO_CLAIM "claim"
#define MEMORY_INFO_NONE "none"

#endif /* MEMORY_INFO_UAPI_H */
