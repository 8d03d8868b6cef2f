"""Settings that `gw-consume` has, and `gw-run` too, which hands them on."""

from __future__ import annotations

from typing import Any

from eventbus.settings import setting


def group_setting() -> Any:  # noqa: ANN401 - as `setting`
    """Whose work a consumer process shares."""
    return setting(
        "main", help="consumer group: the processes of one group share the work", flags=["--group"], env=["GW_GROUP"]
    )


def entrypoint_dir_setting() -> Any:  # noqa: ANN401 - as `setting`
    """Where the user's module is."""
    return setting(
        None,
        help="folder put first on sys.path; the current one if not given",
        flags=["--entrypoint-dir"],
        env=["GW_ENTRYPOINT_DIR", "ORCHESTRATOR_ENTRYPOINT_DIR"],
    )


def reload_setting() -> Any:  # noqa: ANN401 - as `setting`
    """Whether changed files restart the handlers."""
    return setting(
        False,
        help="for development: drain and start the handlers anew when a Python file below their folder changes",
        flags=["--reload"],
        env=["GW_RELOAD"],
    )


def drain_timeout_setting() -> Any:  # noqa: ANN401 - as `setting`
    """How long handlers may go on after the process was told to stop."""
    return setting(
        30.0,
        help="seconds that running handlers get to end when the process stops",
        flags=["--drain-timeout"],
        env=["GW_DRAIN_TIMEOUT"],
        ge=0,
        le=3600,
    )
