# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of a job, tried with one that needs no packages."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import job

TOY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "toy.py")
LIMIT = 60  # seconds, for what takes one
ENDLESS = ["--working-set-mib", str(10**12)]
SHORT = ["--working-set-mib", "10", "--epochs", "3"]


class Life(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.registry = self.path("registry")
        os.mkdir(self.registry)
        self.checkpoint = self.path("state/toy.checkpoint")

    def path(self, name):
        return os.path.join(self.directory, name)

    def start(self, *arguments, registry=None, stdout=subprocess.PIPE, before=None, **environment):
        def prepare():
            signal.alarm(LIMIT)  # it outlasts exec: nothing here waits for ever
            if before:
                before()

        toy = subprocess.Popen(
            [sys.executable, "-B", TOY, "--registry", registry or self.registry]
            + ["--checkpoint", self.checkpoint, *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=prepare,
        )

        def end():
            toy.kill()
            toy.communicate()

        self.addCleanup(end)
        return toy

    def run_toy(self, *arguments, **environment):
        toy = self.start(*arguments, **environment)
        out, err = toy.communicate(timeout=LIMIT)
        return toy.returncode, out, err

    def line_with(self, toy, words):
        """The next line with `words`; fails where the output ends without one."""
        before = ""
        for line in toy.stdout:
            if words in line:
                return line
            before += line
        self.fail(f"no line with `{words}', but:\n{before}{toy.stderr.read()}")

    def saved(self):
        with open(self.checkpoint, encoding="ascii") as file:
            return json.load(file)

    def check_signal(self, number, before=None):
        toy = self.start(*ENDLESS, before=before)
        self.line_with(toy, "steps/s")
        self.assertEqual(os.listdir(self.registry), [str(toy.pid)])
        toy.send_signal(number)
        line = self.line_with(toy, number.name)
        self.assertIn(self.checkpoint, line)
        toy.communicate(timeout=LIMIT)
        self.assertEqual(toy.returncode, -number)
        self.assertIn(f"step {self.saved()['step']} in", line)
        self.assertEqual(os.listdir(os.path.dirname(self.checkpoint)), ["toy.checkpoint"])
        self.assertEqual(os.listdir(self.registry), [])

    def test_a_signal_has_the_checkpoint_written_and_then_ends_the_job(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(number.name):
                self.check_signal(number)

    def test_a_job_that_bash_started_in_the_background_heeds_sigint_too(self):
        self.check_signal(
            signal.SIGINT, before=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
        )

    def test_a_signal_while_the_data_is_loaded_ends_the_job_at_once(self):
        toy = self.start(TOY_LOADS_FOR_EVER="yes")
        self.line_with(toy, "loading")
        toy.terminate()
        toy.communicate(timeout=LIMIT)
        self.assertEqual(toy.returncode, -signal.SIGTERM)
        self.assertFalse(os.path.exists(self.checkpoint))
        self.assertEqual(os.listdir(self.registry), [])

    def test_what_was_interrupted_and_resumed_is_what_was_not_interrupted(self):
        toy = self.start(*ENDLESS)
        self.line_with(toy, "steps/s")
        toy.terminate()
        toy.communicate(timeout=LIMIT)
        stopped_at = self.saved()["step"]
        more = ["--working-set-mib", str(stopped_at + 1000), "--epochs", "1"]
        status, out, _ = self.run_toy(*more, "--resume")
        self.assertEqual(status, 0)
        self.assertIn(f"resumes in epoch 1 after step {stopped_at}\n", out)
        resumed = self.saved()
        self.run_toy(*more)
        self.assertEqual(resumed, self.saved())

    def test_each_epoch_leaves_a_checkpoint_for_who_is_killed(self):
        toy = self.start("--working-set-mib", "10", "--epochs", str(10**9))
        self.line_with(toy, "epoch 2/")
        toy.kill()
        toy.communicate(timeout=LIMIT)
        self.assertGreaterEqual(self.saved()["epoch"], 2)
        status, out, _ = self.run_toy("--resume", "--working-set-mib", "10", "--epochs", "1")
        self.assertEqual(status, 0)
        self.assertIn("resumes in epoch", out)

    def test_without_a_checkpoint_to_resume_from_it_says_so_and_starts_anew(self):
        status, out, _ = self.run_toy("--resume", *SHORT)
        self.assertEqual(status, 0)
        self.assertIn("there is no checkpoint", out)
        self.assertEqual(self.saved()["epoch"], 3)

    def test_a_checkpoint_that_is_none_is_refused_and_left_alone(self):
        os.mkdir(self.path("state"))
        for text in ("", '{"epoch": 1', "[]", "\0\1\2"):
            with self.subTest(text):
                with open(self.checkpoint, "w", encoding="ascii") as file:
                    file.write(text)
                status, _, err = self.run_toy("--resume", *SHORT)
                self.assertEqual(status, 1)
                self.assertIn(f"toy: cannot resume from `{self.checkpoint}'", err)
                self.assertEqual(err.count("\n"), 1)
                with open(self.checkpoint, encoding="ascii") as file:
                    self.assertEqual(file.read(), text)

    def test_a_checkpoint_that_fails_is_said_and_the_one_before_stays_whole(self):
        self.run_toy(*SHORT)
        before = self.saved()
        status, out, _ = self.run_toy(*SHORT, TOY_SAVES_HALF="yes")
        self.assertEqual(status, 0)
        self.assertIn("cannot write the checkpoint", out)
        self.assertEqual(self.saved(), before)
        self.assertEqual(os.listdir(self.path("state")), ["toy.checkpoint"])

    def test_without_a_daemon_it_runs_all_the_same(self):
        status, out, _ = self.run_toy(*SHORT, registry=self.path("absent"))
        self.assertEqual(status, 0)
        self.assertIn("value 3, not registered", out)
        self.assertIn("epoch 3/3 done", out)

    def test_a_daemon_that_is_started_later_still_learns_the_value(self):
        registry = self.path("later")
        toy = self.start(*ENDLESS, registry=registry)
        self.line_with(toy, "not registered")
        os.mkdir(registry)
        self.line_with(toy, "steps/s")
        self.line_with(toy, "steps/s")
        self.assertEqual(os.listdir(registry), [str(toy.pid)])

    def test_it_registers_the_value_it_was_given(self):
        toy = self.start(*ENDLESS, "--value", "1000000")
        self.line_with(toy, f"PID {toy.pid}, value 1000000, registered in {self.registry}")
        with open(os.path.join(self.registry, str(toy.pid)), encoding="ascii") as entry:
            self.assertEqual(entry.read(), "1000000\n")

    def test_each_checkpoint_says_that_the_work_is_saved(self):
        toy = self.start("--working-set-mib", "10", "--epochs", str(10**9), "--per-hour", "7")
        self.line_with(toy, "epoch 1/")
        entry = os.path.join(self.registry, str(toy.pid))
        with open(entry, encoding="ascii") as file:
            self.assertEqual(file.read(), "3 +7/h\n")
        os.utime(entry, (0, 0))
        end = time.monotonic() + LIMIT
        while os.stat(entry).st_mtime == 0:
            self.assertLess(time.monotonic(), end)
            self.line_with(toy, "epoch ")

    def test_a_checkpoint_that_fails_saves_nothing(self):
        toy = self.start(
            "--working-set-mib", "10", "--epochs", str(10**9), "--per-hour", "7",
            TOY_SAVES_HALF="yes",
        )
        self.line_with(toy, "cannot write the checkpoint")
        entry = os.path.join(self.registry, str(toy.pid))
        os.utime(entry, (0, 0))
        self.line_with(toy, "cannot write the checkpoint")
        self.line_with(toy, "cannot write the checkpoint")
        self.assertEqual(os.stat(entry).st_mtime, 0)

    def test_it_is_called_by_its_name(self):
        toy = self.start(*ENDLESS)
        self.line_with(toy, "steps/s")
        with open(f"/proc/{toy.pid}/comm", encoding="ascii") as comm:
            self.assertEqual(comm.read(), "toy\n")

    def test_it_is_ready_once_its_memory_stands_still_and_not_before(self):
        ready = self.path("ready")
        toy = self.start(*ENDLESS, "--ready", ready, TOY_LOADS_FOR_EVER="yes", TOY_STILL_SECONDS="0")
        self.line_with(toy, "loading")
        self.assertFalse(os.path.exists(ready))
        self.run_toy(*SHORT, "--ready", ready)
        self.assertFalse(os.path.exists(ready))
        self.run_toy(*SHORT, "--ready", ready, TOY_STILL_SECONDS="0")
        self.assertTrue(os.path.exists(ready))

    def test_a_missing_package_is_one_sentence_that_says_what_to_install(self):
        for arguments in ([], ["--check"]):
            status, out, err = self.run_toy(*arguments, TOY_PACKAGE="no_such_package")
            self.assertEqual((status, out), (1, ""))
            self.assertEqual(err.count("\n"), 1)
            self.assertIn("Toyland is not installed", err)
            self.assertIn("apt install python3-toys", err)
            self.assertIn("pip install toys", err)
        self.assertEqual(os.listdir(self.registry), [])

    def test_a_check_starts_nothing(self):
        self.assertEqual(self.run_toy("--check"), (0, "", ""))

    def test_nonsense_is_refused(self):
        for arguments in (
            ["--value", "-1"],
            ["--value", "1000001"],
            ["--value", "1e3"],
            ["--value", "٣"],
            ["--working-set-mib", "0"],
            ["--epochs", "0"],
            ["--valu", "3"],
            ["surplus"],
        ):
            with self.subTest(arguments):
                status, _, err = self.run_toy(*arguments)
                self.assertEqual(status, 2)
                self.assertIn("usage: toy", err)

    def test_on_a_terminal_there_is_a_bar_unless_lines_are_wanted(self):
        for arguments, want in (([], True), (["--lines"], False)):
            ours, theirs = pty.openpty()
            toy = self.start("--working-set-mib", str(10**9), *arguments, stdout=theirs, COLUMNS="160")
            os.close(theirs)
            shown = b""
            while b"steps/s" not in shown:
                shown += os.read(ours, 4096)
            toy.terminate()
            toy.stderr.read()
            toy.wait(timeout=LIMIT)
            os.close(ours)
            self.assertEqual(b"] [..." in shown, want)
            self.assertEqual(b"\r\033[K" in shown, want)

    def test_whoever_stops_reading_ends_it_quietly(self):
        toy = self.start(*ENDLESS)
        self.line_with(toy, "steps/s")
        toy.stdout.close()
        self.assertEqual(toy.stderr.read(), "")
        self.assertEqual(toy.wait(timeout=LIMIT), 0)
        self.assertEqual(os.listdir(self.registry), [])


class Parts(unittest.TestCase):
    def test_the_meter_tells_the_mean_and_the_rate_when_it_is_time(self):
        now = [0.0]
        meter = job.Meter(lambda: now[0], 2.0)
        now[0] = 1.0
        self.assertIsNone(meter.add(4.0))
        now[0] = 2.0
        self.assertEqual(meter.add(6.0), (5.0, 1.0))
        now[0] = 3.0
        self.assertIsNone(meter.add(1.0))
        now[0] = 6.0
        self.assertEqual(meter.add(None), (1.0, 0.5))

    def test_who_grows_is_not_ready_until_ten_seconds_after(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "ready")
            now, held = [0.0], [100.0]
            ready = job.Ready(path, lambda: now[0], lambda: held[0])
            for second, mebibytes, want in (
                (9.0, 100.0, False),
                (9.5, 200.0, False),
                (19.0, 200.9, False),
                (19.4, 100.0, False),
                (19.5, 200.0, True),
            ):
                now[0], held[0] = second, mebibytes
                ready.look()
                self.assertEqual(os.path.exists(path), want, second)
            os.unlink(path)
            now[0] = 60.0
            ready.look()
            self.assertFalse(os.path.exists(path))

    def test_what_is_held_is_what_was_taken(self):
        before = job.held_mib()
        taken = b"x" * (64 << 20)
        self.assertAlmostEqual(job.held_mib() - before, 64, delta=8)
        del taken

    def test_a_measure_that_nobody_took_is_a_dash(self):
        out = io.StringIO()
        voice = job.Voice("toy", out, lines=True)
        job.tell(voice, job.Work(), 3, 0, 10, 5, (None, 2.0))
        want = f"toy [{os.getpid()}] epoch 1/3, step 5/10, loss -, 2.0 steps/s\n"
        self.assertEqual(out.getvalue(), want)
