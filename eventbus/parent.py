"""A process that ends with the one that started it: asked of the kernel, so that even SIGKILL leaves nobody behind.

The signal is SIGHUP, because the kernel sends it once for each thread of the parent, and a second SIGTERM would force
the end. Source: prctl(2), PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PARENT_GONE = signal.SIGHUP
PARENT_PID = "GW_CHILD_PARENT_PID"  # the environment's name for the parent's process id
SUPERVISED = "GW_SUPERVISED"  # and for "who started this process tells it to stop, once, and kills what does not"

_PR_SET_PDEATHSIG = 1


def tie_to_parent(name: str) -> bool:
    """Have PARENT_GONE sent to this process when its parent ends; False if no parent asked for it.

    `name`: the command's, for its last words if the parent is gone already.
    """
    parent_pid = os.environ.pop(PARENT_PID, None)
    if parent_pid is None:
        return False
    os.environ[SUPERVISED] = "1"
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, PARENT_GONE, 0, 0, 0)
    if os.getppid() != int(parent_pid):
        sys.exit(f"{name}: the process that started it is gone")  # it ended before the line above took hold
    return True


def take_supervision() -> bool:
    """Whether the one who started this process sees to its end, so that another SIGTERM says nothing new.

    A service manager sends SIGTERM to each process of a service, and the supervisor among them passes it on. What this
    process starts itself has no part in it: the environment says so no longer.
    """
    return os.environ.pop(SUPERVISED, None) is not None
