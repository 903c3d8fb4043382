/* SPDX-License-Identifier: GPL-2.0-or-later WITH Linux-syscall-note */
/*
 * What memory_info.ko says to user space, and how user space answers.
 *
 * There is one file, /proc/oom_notifier (mode 0644, owner root), and one
 * directory of parameters, /sys/module/memory_info/parameters.  This header
 * describes both in full; a reader needs nothing else.
 *
 * Reading
 * -------
 * The first line is the level, a decimal number that "%d" reads (enum
 * memory_info_level).  Every further line is "Key: value", one blank after
 * the colon.  Each key below is there exactly once, in the order given here.
 * A later version may add keys anywhere after the first line, so a reader
 * skips keys that it does not know; it neither drops nor renames one.
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
 *
 * The whole text is shorter than MEMORY_INFO_TEXT_MAX bytes and comes with
 * one read(2).  A descriptor can be read again and again: pread(2) at offset
 * 0.  After open(2) this allocates nothing, in user space or in the kernel.
 * Available memory and free swap are those of the moment of reading; totals
 * and level (but for MEMORY_INFO_LAST_CALL, which is always of the moment)
 * are at most sample_ms old.
 *
 * Waiting
 * -------
 * poll(2) with POLLPRI: reported from any change of level (and from any new
 * last call) until this descriptor is next read from offset 0.  A freshly
 * opened descriptor starts without a change.  POLLIN is never reported.
 *
 * Answering a last call
 * ---------------------
 * The *listener* is whoever has the file open for writing: root alone may,
 * and only one descriptor at a time; a second open for writing fails with
 * EBUSY.  It opens with O_RDWR | O_CLOEXEC.  Readers and pollers without
 * write access are never waited for.
 *
 * When the kernel is about to kill, the level becomes MEMORY_INFO_LAST_CALL,
 * "Sequence" has a new number, and the kernel waits for the listener, at most
 * grace_ms.  The listener ends whom it chooses, then writes the number, as
 * decimal text with or without a newline, in one write(2):
 *
 *	write(fd, "17\n", 3)
 *
 *	EINVAL	not a decimal number
 *	ESTALE	not the latest call's number
 *
 * A number that is the latest call's, but comes when that call is over, is
 * taken without an error: memory may have come back first, or the task that
 * the kernel was about to kill for may be the one chosen.  After the answer
 * the level is what memory says again (mostly MEMORY_INFO_KILL), and the
 * kernel goes on as soon as memory comes back.  Where none comes, it asks
 * again a few times, each call with a number of its own, and then kills.
 *
 * The write promises that memory will come.  A listener that can give up
 * nobody does not answer.  After one call that was not answered the kernel
 * waits for nobody until the listener has read the file again.  The number
 * to answer is read from the file at each last call, never guessed: other
 * lines change meanwhile.
 *
 * From the change of level to the answer the listener must not depend on
 * memory or on anyone who waits for memory: no open(2), no pidfd_open(2), no
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
 *			number may be above that of warn_percent.  Who sets
 *			both writes kill_percent 0, then warn_percent, then
 *			kill_percent.
 *	sample_ms	milliseconds between two looks, 10 to 10000 (default
 *			200)
 *	report_ms	milliseconds between two lines in the kernel log, one
 *			a sample at most, up to 3600000; 0 (the default) is
 *			never
 *	reserve_kib	KiB set aside for a last call, 0 (none) to an eighth
 *			of memory (default: 8192, and 1024 for each CPU)
 *	grace_ms	milliseconds that a last call waits at most, 0 (never)
 *			to 10000 (default 500)
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
	/* The kernel is about to kill, and waits for the listener's answer. */
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

/* SwapTotal of proc_meminfo(5), in bytes; 0 where there is no swap. */
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
 * How often the kernel was about to kill since the module was loaded, be it
 * that a listener was asked or not.
 */
#define MEMORY_INFO_LAST_CALLS "LastCalls"

/* Of these, how many were put to a listener ... */
#define MEMORY_INFO_ASKED "LastCallsAsked"

/* ... and how many of them it answered, be it in time or late. */
#define MEMORY_INFO_ANSWERED "LastCallsAnswered"

/*
 * From the kernel's call to the answer, in microseconds, of the latest call
 * that was answered; 0 before the first.
 */
#define MEMORY_INFO_ANSWER_TIME "AnswerMicroseconds"

#endif /* MEMORY_INFO_UAPI_H */
