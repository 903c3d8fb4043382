"""Runs the jobs of a contest as tasks of Ray, each in a worker of its own.

    driver.py WORKERS REGISTRY PROGRESS

Prints `ready` once so many workers wait. Then each line of standard input is a task, as
JSON: entry, start_mib, growth_mib_s, max_mib, touching. What is printed for it is the pid
of its worker.
"""

import json
import os
import random
import signal
import struct
import sys
import time

import ray

MIB = 1 << 20
PAGE = 4096
# Between two rounds, and the longest that one counts for: what was paused does not catch up.
PAUSE_S = 0.1
LONGEST_S = 1.0
STARTS_WITHIN_S = 240


@ray.remote(max_retries=0)
def wait(seconds):
    """Keeps a worker busy, so that the next task is given another."""
    time.sleep(seconds)
    return os.getpid()


@ray.remote(num_returns="streaming", max_retries=0)
def work(task, registry, progress):
    """One job: says its pid, and then holds memory until it is killed."""
    pid = str(os.getpid())
    if task["entry"] is not None:
        with open(os.path.join(registry, pid), "w") as file:
            file.write(task["entry"])
    os.makedirs(os.path.join(progress, pid), exist_ok=True)
    tell = os.open(os.path.join(progress, pid, pid), os.O_WRONLY | os.O_CREAT)
    yield pid
    held, passes, worked_kib = [], 0, 0
    wanted, last = float(task["start_mib"]), time.monotonic()
    most = max(task["max_mib"] or float("inf"), task["start_mib"])
    while True:
        while len(held) + 1 <= wanted:
            # Noise, which does not compress.
            held.append(bytearray(random.randbytes(MIB)))
            worked_kib += MIB >> 10
        if task["touching"]:
            for part in held:
                part[::PAGE] = bytes(MIB // PAGE)
            passes += 1
            worked_kib += len(held) * (MIB >> 10)
        os.pwrite(tell, struct.pack("<3Q", passes, 0, worked_kib), 0)
        time.sleep(PAUSE_S)
        now = time.monotonic()
        wanted = min(wanted + task["growth_mib_s"] * min(now - last, LONGEST_S), most)
        last = now


def main():
    workers, registry, progress = sys.argv[1:]
    workers = int(workers)
    # If one of Ray's processes gives up on another, the rest never come up.
    signal.alarm(STARTS_WITHIN_S)
    ray.init(
        num_cpus=workers,
        include_dashboard=False,
        object_store_memory=80 * MIB,
        log_to_driver=False,
    )
    # All are there once as many different ones have answered.
    known = set()
    while len(known) < workers:
        known.update(ray.get([wait.remote(2) for _ in range(workers)]))
    signal.alarm(0)
    print("ready", flush=True)
    tasks = []
    for line in sys.stdin:
        task = json.loads(line)
        said = work.remote(task, registry, progress)
        # Kept, or the task would be cancelled.
        tasks.append(said)
        try:
            pid = ray.get(next(said))
        except ray.exceptions.RayError:
            # Killed before it began.
            pid = 0
        print(pid, flush=True)


main()
