# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells user-oom what this process is worth. Copy this file into your project.

    import user_value

    user_value.register(9)               # or, 3 more for each hour of unsaved work:
    user_value.register(9, per_hour=3)
    ...
    user_value.saved()                   # after each checkpoint
"""

import atexit
import contextlib
import os


def register(value, directory="/tmp/user_processes", per_hour=0):
    """Registers `value`, 0 to 1000000, for this process until it exits, and what
    each hour adds until it has `saved`.

    Raises OSError if `directory` does not exist (user-oom makes it when it starts),
    or if a file in it that is not ours is in the way.
    """
    unregister(directory)  # left by an earlier process that had our PID
    # "x" makes a file and never follows a link that is there already.
    with open(os.path.join(directory, str(os.getpid())), "x", encoding="ascii") as entry:
        entry.write(f"{value} +{per_hour}/h\n" if per_hour else f"{value}\n")
    atexit.register(unregister, directory)


def saved(directory="/tmp/user_processes"):
    """Says that this process has saved its work: hours count from now. To be called
    after each checkpoint, registered or not."""
    with contextlib.suppress(OSError):
        os.utime(os.path.join(directory, str(os.getpid())), follow_symlinks=False)


def unregister(directory="/tmp/user_processes"):
    """Takes it back. Not needed before the end: Python does it, else user-oom."""
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(directory, str(os.getpid())))
