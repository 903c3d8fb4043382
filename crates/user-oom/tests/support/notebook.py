"""Runs a notebook's first cell in a kernel of Jupyter's, which then holds 200 MiB, and once
more in the kernel that Jupyter starts in its place when it has died. What the cell prints
is printed."""

import asyncio
import sys

from jupyter_client.ioloop import IOLoopKernelManager
from tornado.ioloop import IOLoop


def run(manager, cell):
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    reply = client.execute_interactive(cell, timeout=60)
    assert reply["content"]["status"] == "ok", reply
    client.stop_channels()
    print("ran in process", manager.provisioner.pid)


async def another(manager, killed):
    while manager.provisioner.pid in (None, killed):
        await asyncio.sleep(0.05)


def main():
    with open(sys.argv[1]) as file:
        cell = file.read()
    # As the server has it, which looks every 3 s.
    manager = IOLoopKernelManager(autorestart=True)
    manager.start_kernel()
    try:
        run(manager, cell + "\nwork = b'1' * (200 << 20)")
        killed = manager.provisioner.pid
        IOLoop.current().run_sync(lambda: another(manager, killed))
        run(manager, cell)
    finally:
        manager.shutdown_kernel(now=True)


main()
