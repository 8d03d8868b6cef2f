"""What tests of the wire share: a broker, never skipped, and a namespace of their own on it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from ops import launch_child

if TYPE_CHECKING:
    from collections.abc import Iterator

BROKER_STOP_TIMEOUT_S = 30

# A loaded machine is slow: that is no defect of a test.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """AMQP_URL if it is set, else the URL of a private node that lives as long as the session."""
    given = os.environ.get("AMQP_URL")
    if given:
        yield given
        return
    directory = tmp_path_factory.mktemp("broker")
    node = [sys.executable, "-m", "ops.broker_node", "--directory", str(directory)]
    tied = [sys.executable, launch_child.__file__, str(os.getpid()), *node]  # gone even if pytest is killed
    with subprocess.Popen(tied, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            pytest.exit("The private broker did not start: see the message above.", returncode=1)
        yield json.loads(line)["url"]
        process.terminate()
        process.wait(BROKER_STOP_TIMEOUT_S)


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses."""
    return f"test-{secrets.token_hex(6)}"
