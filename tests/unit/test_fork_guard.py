"""A copy of the process that a handler forked does nothing that its event loop had to do."""

from __future__ import annotations

import subprocess
import sys

from consumers.fork_guard import EXIT_FORKED, SENTENCE

SCRIPT = """
import asyncio, os
from consumers.fork_guard import guard_forks

def fork():
    pid = os.fork()
    if pid:
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)

async def main():
    loop = asyncio.get_running_loop()
    guard_forks(loop)
    loop.call_soon(fork)
    loop.call_soon(os.write, 1, b"ready in the same turn\\n")
    await asyncio.sleep(0.1)

asyncio.run(main())
"""


def test_the_copy_leaves_before_anything_else_that_is_ready_runs() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.splitlines() == [str(EXIT_FORKED), "ready in the same turn"]
    assert ended.stderr == SENTENCE
