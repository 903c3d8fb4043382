#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What an ordinary user can do to the daemon, for `cargo xtask arena --cost`.

usage: strangers.py UID churn REGISTRY PROCESSES MILLISECONDS
       strangers.py UID mappings MIB PROCESSES

Started by root, it goes on as user UID, also where that user has no Python.
`churn` registers all of its processes, withdraws all of them after so many
milliseconds, and so on. `mappings` has its processes share memory in tens of
thousands of mappings each, which makes `smaps` slow. Both print `ready`, and end
with what they started when standard input does.
"""

import ctypes
import mmap
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1
MOST_MAPPINGS = 32_000  # below vm.max_map_count, each change splits one in two

libc = ctypes.CDLL(None, use_errno=True)


def child(work):
    pid = os.fork()
    if pid == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        work()
        while True:
            signal.pause()
    return pid


def over_within(seconds):
    """Whether standard input has ended."""
    return bool(select.select([0], [], [], seconds)[0])


def churn(registry, processes, seconds):
    entries = [f"{registry}/{child(lambda: None)}" for _ in range(processes)]
    print("ready", flush=True)
    while True:
        for entry in entries:
            with open(entry, "wb", buffering=0) as file:
                file.write(b"5\n")
        over = over_within(seconds)
        for entry in entries:
            try:
                os.unlink(entry)
            except FileNotFoundError:
                pass  # the daemon has removed it
        if over or over_within(seconds):
            return


def split(shared, address):
    for offset in range(0, min(len(shared), MOST_MAPPINGS * 2 * mmap.PAGESIZE), 2 * mmap.PAGESIZE):
        page = ctypes.c_void_p(address + offset)
        if libc.mprotect(page, ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")


def mappings(mib, processes):
    told, tell = os.pipe()

    def work():
        address = ctypes.addressof(ctypes.c_char.from_buffer(shared))
        split(shared, address)
        os.write(tell, b".")

    shared = mmap.mmap(-1, mib << 20)
    shared.write(b"x" * (mib << 20))
    for _ in range(processes):
        child(work)
    for _ in range(processes):
        os.read(told, 1)
    print("ready", flush=True)
    over_within(None)


def main():
    uid, words = int(sys.argv[1]), sys.argv[2:]
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    if words[0] == "churn":
        churn(words[1], int(words[2]), int(words[3]) / 1000)
    else:
        mappings(int(words[1]), int(words[2]))


if __name__ == "__main__":
    main()
