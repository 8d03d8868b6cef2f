"""Settings of `gw-worker`."""

from __future__ import annotations

import os
import re
import secrets
import socket

from pydantic import field_validator

from eventbus.settings import BotSettings, check_choice, check_name, setting
from eventbus.shard_ranges import parse_shard_range
from gateway_workers.inflate import Compression

_COMPRESSIONS = {"none": Compression.NONE, "zlib": Compression.ZLIB, "zstd": Compression.ZSTD}


class WorkerSettings(BotSettings):
    """Which shards, how many, and the bounds of the way to the broker."""

    shards: str = setting(
        "auto",
        help="shards to run: 0-15, 0,3,7-9, or auto for whatever is free",
        flags=["--shards", "-s"],
        env=["GW_SHARDS"],
    )
    capacity: int | None = setting(
        None,
        help="the most shards to run at once; all of --shards if not given",
        flags=["--capacity"],
        env=["GW_CAPACITY"],
        ge=1,
        le=100_000,
    )
    worker_id: str | None = setting(
        None,
        help="name of this worker in the fleet; made from the host name if not given",
        flags=["--worker-id"],
        env=["GW_WORKER_ID"],
    )
    compression: str = setting(
        "zstd",
        help="transport compression: zstd, zlib or none",
        flags=["--compression"],
        env=["GW_COMPRESSION"],
    )
    window_count: int = setting(
        10_000,
        help="unconfirmed dispatches after which a worker stops reading",
        flags=["--window-count"],
        env=["GW_WINDOW_COUNT"],
        ge=1,
    )
    window_bytes: int = setting(
        64 << 20,
        help="bytes of unconfirmed dispatches, 400 more for each, after which a worker stops reading",
        flags=["--window-bytes"],
        env=["GW_WINDOW_BYTES"],
        ge=1024,
    )

    @field_validator("shards")
    @classmethod
    def _shards_are_a_range(cls, value: str) -> str:
        parse_shard_range(value)
        return value

    @field_validator("worker_id")
    @classmethod
    def _worker_id_is_a_name(cls, value: str | None) -> str | None:
        return None if value is None else check_name(value)

    @field_validator("compression")
    @classmethod
    def _compression_is_known(cls, value: str) -> str:
        return check_choice(value.lower(), tuple(_COMPRESSIONS))

    @property
    def transport_compression(self) -> Compression:
        """What to ask Discord for."""
        return _COMPRESSIONS[self.compression]


def make_worker_id(given: str | None) -> str:
    """`given`, or the host's name with the process id; always with a random end, so that no two runs share one."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:32] or "worker"
    return f"{(given or f'{host}-{os.getpid()}')[:57]}-{secrets.token_hex(3)}"
