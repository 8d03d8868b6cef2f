"""Arguments of hikari's GatewayBot that cannot mean the same here, each with the sentence that refuses it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from eventbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONSTRUCTOR: Mapping[str, str] = MappingProxyType(
    {
        "capabilities": "the gateway workers identify, and they declare no capabilities: leave it out",
    }
)

START: Mapping[str, str] = MappingProxyType(
    {
        "ignore_session_start_limit": "the coordinator keeps the identify budget for the whole fleet:"
        " lower gw-coordinator's --identify-reserve instead",
        "large_threshold": "the gateway workers identify, always with 250: leave it out",
        "shard_ids": "leases decide which worker runs which shard, and a consumer sees every shard:"
        " leave it out, or give gw-worker --shards",
        "shard_count": "the coordinator decides it for the whole fleet: give gw-coordinator --shard-count",
        "startup_window_delay": "the coordinator spaces the Identifies of the whole fleet: leave it out",
    }
)


def refuse(sentences: Mapping[str, str], given: Mapping[str, object], usual: Mapping[str, object]) -> None:
    """Raise ConfigurationError with a sentence for each of `sentences`' arguments whose value is not the usual one."""
    problems = [f"{name}: {sentence}" for name, sentence in sentences.items() if given[name] != usual[name]]
    if problems:
        raise ConfigurationError(problems)
