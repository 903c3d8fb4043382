// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A program of GLib's as any may be: it holds memory that it can spare, listens to
 * GMemoryMonitor, and frees that memory at the first warning.
 *
 * GLib is found when it runs, in Debian on the machine's disk: building this takes
 * none.
 */

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { SPARE_BYTES = 200 << 20 };

static void *spare;

static void *find(void *library, const char *name)
{
	void *found = library ? dlsym(library, name) : NULL;

	if (!found)
		fprintf(stderr, "shrinks: %s\n", dlerror());
	return found;
}

/* The handler of GMemoryMonitor::low-memory-warning. */
static void shrink(void *monitor, int level, void *data)
{
	(void)monitor;
	(void)data;
	if (!spare)
		return;
	munmap(spare, SPARE_BYTES);
	spare = NULL;
	printf("freed at level %d\n", level);
	fflush(stdout);
}

int main(void)
{
	void *gio = dlopen("libgio-2.0.so.0", RTLD_NOW | RTLD_GLOBAL);
	void *(*monitor)(void) = find(gio, "g_memory_monitor_dup_default");
	unsigned long (*connect)(void *, const char *, void (*)(void *, int, void *),
				 void *, void *, int) =
		find(gio, "g_signal_connect_data");
	void *(*main_loop)(void *, int) = find(gio, "g_main_loop_new");
	void (*run)(void *) = find(gio, "g_main_loop_run");

	if (!monitor || !connect || !main_loop || !run)
		return 1;
	spare = mmap(NULL, SPARE_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (spare == MAP_FAILED) {
		perror("shrinks");
		return 1;
	}
	memset(spare, 1, SPARE_BYTES);
	connect(monitor(), "low-memory-warning", shrink, NULL, NULL, 0);
	printf("holding\n");
	fflush(stdout);
	run(main_loop(NULL, 0));
	return 0;
}
