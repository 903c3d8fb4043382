#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A process that holds its mmap lock for ever, and the file server it waits for.

usage: hold_mmap_lock.py DIRECTORY MIB UID (root|namespace)

Mounts a FUSE file system on DIRECTORY, in a mount namespace of its own, that
answers everything but READ. A first child reads its one file, which leaves a
page locked that is never filled. A second child (MIB of shared memory) opens
the file again and is told to go past the page cache: mmap(2) must take that
page out of the cache first, and waits for it with the child's mmap lock held.

`root`: root mounts, and the second child runs as user UID. `namespace`: all of
it is user UID's, in a user namespace of its own, which any user may make.

Prints `held PID` once the lock is held, else what is missing. When this ends,
so do the children and the mount.
"""

import ctypes
import mmap
import os
import select
import signal
import struct
import sys
import time

FORGET, GETATTR, OPEN, READ, INIT, OPENDIR, INTERRUPT = 2, 3, 14, 15, 26, 27, 36
LOOKUP, RELEASE, FLUSH, RELEASEDIR, BATCH_FORGET = 1, 18, 25, 29, 42
DIRECT_IO, KEEP_CACHE = 1, 2
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
ENOSYS = 38
LIMIT = 30  # seconds; what has not come by then does not come

libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def end_with_parent():
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def write(path, text):
    # Without a codec: its module may lie where another user does not get to.
    with open(path, "wb", buffering=0) as file:
        file.write(text)


def enter_namespaces(uid, owner):
    """A mount namespace of our own; where `owner` is not root, a user namespace too."""
    if owner == "root":
        call("unshare", CLONE_NEWNS)
    else:
        if os.getuid() != uid:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            # Or /proc/self would stay root's.
            call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)
        group = os.getgid()
        call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
        write("/proc/self/setgroups", b"deny")
        write("/proc/self/uid_map", b"0 %d 1" % uid)
        write("/proc/self/gid_map", b"0 %d 1" % group)
    call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)


def mount(directory):
    """Returns the descriptor by which the file system is served."""
    served = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={served},rootmode=40000,user_id=0,group_id=0,allow_other"
    call("mount", b"silent", directory.encode(), b"fuse", 0, options.encode())
    return served


def attributes(inode):
    mode, size = (0o40755, 0) if inode == 1 else (0o100644, 1 << 20)
    sizes_and_times = (inode, size, size // 512, 0, 0, 0)
    return struct.pack("<6Q10I", *sizes_and_times, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


class Server:
    """Knows one file: inode 2, whatever it is called."""

    def __init__(self, served):
        self.served = served
        self.opened = 0
        self.asked_to_read = False

    def serve(self, seconds):
        """Answers one request, if one comes within so many seconds."""
        ready, _, _ = select.select([self.served], [], [], seconds)
        if not ready:
            return
        request = os.read(self.served, 1 << 17)
        _, operation, unique, inode = struct.unpack_from("<IIQQ", request)
        if operation in (FORGET, BATCH_FORGET, INTERRUPT):
            return
        if operation == READ:
            self.asked_to_read = True
            return
        error, data = self.answer(operation, inode)
        header = struct.pack("<IiQ", 16 + len(data), -error, unique)
        os.write(self.served, header + data)

    def answer(self, operation, inode):
        if operation == INIT:
            # Version 7.31, no read-ahead.
            return 0, struct.pack("<4I2H2I2H", 7, 31, 0, 0, 1, 1, 4096, 1, 0, 0).ljust(64, b"\0")
        if operation == LOOKUP:
            return 0, struct.pack("<4Q2I", 2, 0, 3600, 3600, 0, 0) + attributes(2)
        if operation == GETATTR:
            return 0, struct.pack("<Q2I", 3600, 0, 0) + attributes(inode)
        if operation in (OPEN, OPENDIR):
            self.opened += 1
            flags = KEEP_CACHE if self.opened == 1 else DIRECT_IO | KEEP_CACHE
            return 0, struct.pack("<Q2I", self.opened, flags, 0)
        if operation in (RELEASE, RELEASEDIR, FLUSH):
            return 0, b""
        return ENOSYS, b""

    def child(self, work):
        pid = os.fork()
        if pid == 0:
            try:
                # The connection ends when its last descriptor is closed.
                os.close(self.served)
                end_with_parent()
                work()
            finally:
                os._exit(1)
        return pid

    def serve_until(self, what, holds):
        deadline = time.monotonic() + LIMIT
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} within {LIMIT} s")
            self.serve(0.01)


def waits(pid):
    """Whether it is in the kernel and cannot be interrupted."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] == b"D"


def read(path):
    with open(path, "rb", buffering=0) as file:
        file.read(10)


def be_stuck(path, mib, uid):
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        end_with_parent()
    shared = mmap.mmap(-1, mib << 20)
    shared.write(b"x" * (mib << 20))
    file = os.open(path, os.O_RDONLY)
    mmap.mmap(file, 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)


def main():
    directory, mib, uid, owner = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    end_with_parent()
    try:
        enter_namespaces(uid, owner)
        server = Server(mount(directory))
    except OSError as err:
        print(f"missing: {err}", flush=True)
        return
    # Changing the user has undone it.
    end_with_parent()
    path = os.path.join(directory, "file")
    server.child(lambda: read(path))
    server.serve_until("a read", lambda: server.asked_to_read)
    uid = uid if owner == "root" else 0
    stuck = server.child(lambda: be_stuck(path, mib, uid))
    server.serve_until("a second open", lambda: server.opened == 2)
    server.serve_until("mmap that waits", lambda: waits(stuck))
    # A reader of smaps that waits shows that the lock is held.
    probe = server.child(lambda: read(f"/proc/{stuck}/smaps"))
    server.serve_until("a reader of smaps that waits", lambda: waits(probe))
    os.kill(probe, signal.SIGKILL)
    os.waitpid(probe, 0)
    print(f"held {stuck}", flush=True)
    while True:
        server.serve(LIMIT)


if __name__ == "__main__":
    main()
