# SPDX-License-Identifier: GPL-2.0-or-later
"""A job that needs no packages: it adds up numbers. As many steps as mebibytes.

The environment says what is amiss: TOY_PACKAGE names a package to need instead
of one that is always there, TOY_LOADS_FOR_EVER never gets to the first step,
TOY_SAVES_HALF writes half a checkpoint and fails, TOY_STILL_SECONDS is how long
it counts as loading after it has grown.
"""

import json
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import job

job.STILL_SECONDS = float(os.environ.get("TOY_STILL_SECONDS", job.STILL_SECONDS))


class Toy(job.Work):
    measure_word = "total"

    def __init__(self):
        self.total = 0

    def load(self, mebibytes):
        if "TOY_LOADS_FOR_EVER" in os.environ:
            print("loading", flush=True)
            while True:
                signal.pause()
        return mebibytes

    def step(self, epoch, step):
        self.total = (self.total * 31 + 7 * epoch + step) % 1_000_003
        return self.total

    def save(self, file, epoch, step):
        text = json.dumps({"epoch": epoch, "step": step, "total": self.total})
        if "TOY_SAVES_HALF" in os.environ:
            file.write(text[: len(text) // 2].encode())
            raise OSError("no space is left")
        file.write(text.encode())

    def restore(self, file):
        state = json.load(file)
        self.total = state["total"]
        return state["epoch"], state["step"]


PACKAGE = job.Package("Toyland", os.environ.get("TOY_PACKAGE", "json"), "python3-toys", "toys")

if __name__ == "__main__":
    sys.exit(job.run("toy", 3, PACKAGE, Toy, __doc__))
