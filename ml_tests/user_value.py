# SPDX-License-Identifier: GPL-2.0-or-later
"""Tells user-oom what this process is worth. Copy this file into your project.

    import user_value

    user_value.register(9)
"""

import atexit
import contextlib
import os


def register(value, directory="/tmp/user_processes"):
    """Says that this process is worth `value`, 0 to 1000000, until it ends.

    Raises OSError: nobody has made `directory` (user-oom does when it starts),
    or a file in it that is not ours stands in the way.
    """
    unregister(directory)  # left by an earlier process that had our PID
    # "x" makes a file and never follows a link that somebody put there.
    with open(os.path.join(directory, str(os.getpid())), "x", encoding="ascii") as entry:
        entry.write(f"{value}\n")
    atexit.register(unregister, directory)


def unregister(directory="/tmp/user_processes"):
    """Takes it back. Not needed before the end: Python does it, else user-oom."""
    with contextlib.suppress(OSError):
        os.unlink(os.path.join(directory, str(os.getpid())))
