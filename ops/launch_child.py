"""Becomes another program that dies with its parent: `python launch_child.py PARENT_PID PROGRAM [ARGUMENT...]`.

A launcher of its own, because code between fork and exec (`preexec_fn`) can deadlock in a process that has threads.
Linux kills the program when the *thread* that started it ends: start it from the thread that runs the event loop.
Source: prctl(2), PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
OPEN_FILES = 65_536  # a limit of 1,024 leaves a broker with some 800 connections


def main() -> None:
    """Tie this process to its parent, then exec the program."""
    parent_pid, program, *arguments = sys.argv[1:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != int(parent_pid):
        sys.exit("The parent process is gone.")  # it died before the line above took hold
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    os.execvp(program, [program, *arguments])  # noqa: S606 - the program is the parent's choice, no shell involved


if __name__ == "__main__":
    main()
