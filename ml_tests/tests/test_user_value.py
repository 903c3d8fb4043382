# SPDX-License-Identifier: GPL-2.0-or-later
"""user_value.py, which users may copy."""

import os
import subprocess
import sys
import tempfile
import time
import unittest

import user_value


class UserValue(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.entry = os.path.join(self.directory, str(os.getpid()))

    def read(self):
        with open(self.entry, encoding="ascii") as entry:
            return entry.read()

    def test_an_entry_is_named_like_the_process_and_holds_its_value(self):
        user_value.register(9, self.directory)
        self.assertEqual(self.read(), "9\n")

    def test_a_value_can_be_given_anew(self):
        user_value.register(9, self.directory)
        user_value.register(4, self.directory)
        self.assertEqual(self.read(), "4\n")

    def test_it_says_what_unsaved_work_adds_and_when_that_was_saved(self):
        user_value.register(9, self.directory, per_hour=3)
        self.assertEqual(self.read(), "9 +3/h\n")
        os.utime(self.entry, (0, 0))
        user_value.saved(self.directory)
        self.assertLess(abs(os.stat(self.entry).st_mtime - time.time()), 3600)
        self.assertEqual(self.read(), "9 +3/h\n")

    def test_saved_makes_no_entry_and_touches_nothing_behind_a_link(self):
        user_value.saved(self.directory)
        self.assertEqual(os.listdir(self.directory), [])
        treasure = os.path.join(self.directory, "treasure")
        with open(treasure, "w", encoding="ascii"):
            os.utime(treasure, (0, 0))
        os.symlink(treasure, self.entry)
        user_value.saved(self.directory)
        self.assertEqual(os.stat(treasure).st_mtime, 0)

    def test_a_link_that_stands_there_is_replaced_and_not_followed(self):
        treasure = os.path.join(self.directory, "treasure")
        with open(treasure, "w", encoding="ascii") as file:
            file.write("gold")
        os.symlink(treasure, self.entry)
        user_value.register(9, self.directory)
        self.assertFalse(os.path.islink(self.entry))
        with open(treasure, encoding="ascii") as file:
            self.assertEqual(file.read(), "gold")

    def test_where_nobody_made_the_directory_it_raises(self):
        with self.assertRaises(OSError):
            user_value.register(9, os.path.join(self.directory, "absent"))

    def test_it_can_be_taken_back_more_than_once(self):
        user_value.register(9, self.directory)
        user_value.unregister(self.directory)
        user_value.unregister(self.directory)
        self.assertFalse(os.path.exists(self.entry))

    def test_the_entry_goes_with_the_process_but_not_with_a_child_of_it(self):
        script = (
            "import os, sys, user_value\n"
            "user_value.register(9, sys.argv[1])\n"
            "child = os.fork()\n"
            "if not child: sys.exit()\n"
            "os.waitpid(child, 0)\n"
            "print(os.listdir(sys.argv[1]) == [str(os.getpid())])\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", script, self.directory],
            cwd=os.path.dirname(user_value.__file__),
            stdout=subprocess.PIPE,
            check=True,
        )
        self.assertEqual(ran.stdout, b"True\n")
        self.assertEqual(os.listdir(self.directory), [])
