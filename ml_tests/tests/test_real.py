# SPDX-License-Identifier: GPL-2.0-or-later
"""The two real jobs, where their packages are installed: they learn, and resume."""

import importlib.machinery
import importlib.util
import io
import os
import unittest

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


def program(name):
    """A program as a module: its name has no ending, so Python has to be told how."""
    loader = importlib.machinery.SourceFileLoader(name, os.path.join(FOLDER, name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


ML_TEST1 = program("ml_test1")
ML_TEST2 = program("ml_test2")


def steps(work, first, last):
    """The measures of these steps of the first epoch, where one was taken."""
    measures = [work.step(0, step) for step in range(first, last)]
    return [measure for measure in measures if measure is not None]


class Real(unittest.TestCase):
    def check(self, make_work, mebibytes, half):
        """Resumed after `half` of its steps, it goes on just as it would have."""
        work = make_work()
        count = work.load(mebibytes)
        before = steps(work, 0, half)
        file = io.BytesIO()
        work.save(file, 0, half)
        after = steps(work, half, count)

        work = make_work()
        self.assertEqual(work.load(mebibytes), count)
        file.seek(0)
        self.assertEqual(work.restore(file), (0, half))
        self.assertEqual(steps(work, half, count), after)

        mean = [sum(measures) / len(measures) for measures in (before, after)]
        self.assertLess(mean[1], mean[0])

        with self.assertRaises(Exception):
            make_work().restore(io.BytesIO(file.getvalue()[: len(file.getvalue()) // 2]))

    @unittest.skipUnless(ML_TEST1.PYTORCH.is_installed(), ML_TEST1.PYTORCH.advice())
    def test_a_training_learns_and_resumes(self):
        self.check(ML_TEST1.Training, mebibytes=4, half=32)

    @unittest.skipUnless(ML_TEST2.OPENCV.is_installed(), ML_TEST2.OPENCV.advice())
    def test_a_tracking_finds_the_disc_and_resumes(self):
        self.check(ML_TEST2.Tracking, mebibytes=32, half=16)


if __name__ == "__main__":
    unittest.main()
