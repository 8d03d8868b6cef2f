"""The supervisor's hold on a process that it did not fork itself."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from consumers.preloaded import ForkedProcess

if TYPE_CHECKING:
    import pytest


async def test_without_a_pidfd_a_process_is_told_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old kernels have none, and a process that has its files full gets none."""

    def refuse(_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    told_fd, tell_fd = os.pipe()
    with subprocess.Popen(["sleep", "60"]) as child:  # noqa: ASYNC220 - no child of the loop's
        forked = ForkedProcess(child.pid, told_fd)
        forked.send_signal(signal.SIGTERM)
        assert child.wait(30) == -signal.SIGTERM
    os.write(tell_fd, b"-15")
    os.close(tell_fd)
    assert await forked.wait() == -signal.SIGTERM
