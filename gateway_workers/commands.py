"""Which gateway commands a shard may send: their shapes, and the limit on asking for all members. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventbus import gateway_payloads
from eventbus.messages import ErrorCode, Failure

if TYPE_CHECKING:
    from eventbus.messages import BotConfig

ALL_MEMBERS_INTERVAL_S = 30.0
"""For each guild. Source: https://docs.discord.com/developers/events/gateway-events#request-guild-members"""
MARGIN_S = 0.5
"""The network may bring requests closer together than they were sent."""


class ShardCommands:
    """Of one shard under one lease; `now` is monotonic, in seconds."""

    def __init__(self, shard: int, config: BotConfig) -> None:
        self._shard = shard
        self._config = config
        self._all_members_at: dict[int, float] = {}

    def prepare(self, op: int, d: dict[str, Any], now: float) -> bytes | Failure:
        """The bytes to send, or why they are not sent. If they cannot be sent after all, say `on_unsent`."""
        try:
            gateway_payloads.check_command(
                op, d, shard=self._shard, shard_count=self._config.shard_count, intents=self._config.intents
            )
            payload = gateway_payloads.payload(op, d)
        except gateway_payloads.InvalidPayloadError as error:
            return Failure(code=ErrorCode.BAD_REQUEST, message=str(error))
        wait_s = self._all_members_wait_s(op, d, now)
        if wait_s > 0:
            message = f"all members of guild {d['guild_id']} were asked for: Discord allows that once in 30 s"
            return Failure(code=ErrorCode.RATE_LIMITED, message=message, retry_after_s=wait_s)
        if _asks_for_all(op, d):
            self._all_members_at[int(d["guild_id"])] = now
        return payload

    def on_unsent(self, op: int, d: dict[str, Any]) -> None:
        """A command that was prepared was not sent."""
        if _asks_for_all(op, d):
            self._all_members_at.pop(int(d["guild_id"]), None)

    def _all_members_wait_s(self, op: int, d: dict[str, Any], now: float) -> float:
        if not _asks_for_all(op, d):
            return 0.0
        window_s = ALL_MEMBERS_INTERVAL_S + MARGIN_S
        self._all_members_at = {guild: at for guild, at in self._all_members_at.items() if at + window_s > now}
        at = self._all_members_at.get(int(d["guild_id"]))
        return 0.0 if at is None else at + window_s - now


def _asks_for_all(op: int, d: dict[str, Any]) -> bool:
    return op == gateway_payloads.REQUEST_GUILD_MEMBERS and gateway_payloads.asks_for_all_members(d)
