"""What can be made to happen from outside: traffic, single dispatches, interactions, faults; for control and script."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson

from gateway_sim.command_check import check_command
from gateway_sim.dispatch import Dispatch
from gateway_sim.faults import parse_fault
from gateway_sim.interactions import make_interaction
from gateway_sim.messages import bare_message
from gateway_sim.opcodes import GUILD_MESSAGES
from gateway_sim.traffic_plan import parse_traffic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway_sim.fault_injector import FaultInjector
    from gateway_sim.gateway_state import GatewayState
    from gateway_sim.json_value import Json
    from gateway_sim.traffic_pump import TrafficPump
    from gateway_sim.world import World

_MESSAGE_KEYS = frozenset({"content", "guild_id", "channel_id", "user_id"})
_DISPATCH_KEYS = frozenset({"type", "guild_id", "shard", "data", "intents"})


class Actions:
    """Every method takes a JSON object and returns one; ValueError says what to change."""

    def __init__(self, state: GatewayState, pump: TrafficPump, injector: FaultInjector) -> None:
        self._state = state
        self._pump = pump
        self._injector = injector

    def traffic(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Start traffic in place of what runs."""
        settings = self._state.settings
        self._pump.set_plan(parse_traffic(body, default_mix=settings.mix, default_seed=settings.seed))
        return self._pump.summary()

    def stop_traffic(self) -> dict[str, Any]:
        """Stop the traffic and return how far it got."""
        summary = self._pump.summary()
        self._pump.set_plan(None)
        return summary | {"running": False}

    def dispatch(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send one dispatch to the sessions of a guild, or of a shard."""
        if unknown := sorted(body.keys() - _DISPATCH_KEYS):
            msg = f"unknown dispatch option {', '.join(unknown)}: use {', '.join(sorted(_DISPATCH_KEYS))}"
            raise ValueError(msg)
        event_type, shard, intents = body.get("type"), body.get("shard"), body.get("intents", 0)
        if not isinstance(event_type, str) or not event_type or "data" not in body:
            msg = "a dispatch needs 'type' (text) and 'data' (any JSON)"
            raise ValueError(msg)
        if not isinstance(intents, int) or not isinstance(shard, int | None):
            msg = "'intents' and 'shard' must be whole numbers"
            raise ValueError(msg)  # noqa: TRY004 - every problem of a request is a ValueError
        data, guild_id = body["data"], _snowflake(body.get("guild_id"))
        entity_id = str(data["id"]) if isinstance(data, dict) and "id" in data else self._state.world.next_id()
        dispatch = Dispatch(event_type, guild_id, entity_id, orjson.dumps(data), intents)
        return {"id": entity_id, "delivered": self._deliver(dispatch, shard)}

    def interaction(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send an interaction; its token is then good for REST."""
        options = dict(body)
        kind = options.pop("kind", None)
        if not isinstance(kind, str):
            msg = "an interaction needs 'kind' (slash, button, …)"
            raise ValueError(msg)  # noqa: TRY004 - every problem of a request is a ValueError
        try:
            check_command(self._state.world, kind, options)
            dispatch = make_interaction(self._state.world, kind, **options)
        except (TypeError, KeyError, AttributeError) as error:
            msg = f"the interaction's options do not fit: {error}"
            raise ValueError(msg) from error
        delivered = self._deliver(dispatch, None)
        token = orjson.loads(dispatch.data)["token"]
        return {"id": dispatch.entity_id, "token": token, "delivered": delivered}

    def message(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a MESSAGE_CREATE by a member of a guild."""
        if unknown := sorted(body.keys() - _MESSAGE_KEYS):
            msg = f"unknown message option {', '.join(unknown)}: use {', '.join(sorted(_MESSAGE_KEYS))}"
            raise ValueError(msg)
        dispatch, channel_id = _message(self._state.world, body)
        return {"id": dispatch.entity_id, "channel_id": channel_id, "delivered": self._deliver(dispatch, None)}

    def commands(self) -> list[dict[str, Any]]:
        """Return the application commands that the bot has registered."""
        return [command for scope in self._state.world.commands.values() for command in scope.values()]

    async def fault(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Put a fault into effect."""
        return {"touched": await self._injector.apply(parse_fault(body))}

    async def clear_faults(self) -> dict[str, Any]:
        """Lift every fault that lasts."""
        await self._injector.clear()
        return {}

    def publish(self, dispatch: Dispatch) -> None:
        """Send a dispatch that a REST call caused."""
        self._deliver(dispatch, None)

    def _deliver(self, dispatch: Dispatch, shard: int | None) -> int:
        at = time.time()
        if shard is None:
            return self._state.sessions.publish(dispatch, at)
        sessions = [session for session in self._state.sessions.alive() if session.shard_id == shard]
        for session in sessions:
            session.tell(dispatch, at)
        return len(sessions)


def _snowflake(value: Json) -> int:
    if value is None:
        return 0
    if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
        return int(value)
    msg = f"an id must be a snowflake, not {value!r}"
    raise ValueError(msg)


def _message(world: World, body: Mapping[str, Any]) -> tuple[Dispatch, str]:
    """The dispatch, and the channel it is in."""
    content = body.get("content")
    if not isinstance(content, str):
        msg = f"a message needs 'content' (text), not {content!r}"
        raise ValueError(msg)  # noqa: TRY004 - every problem of a request is a ValueError
    guild_id = _snowflake(body.get("guild_id")) or next(iter(world.guild_ids), 0)
    if not world.has_guild(guild_id):
        some = ", ".join(map(str, world.guild_ids[:3])) or "it has none"
        msg = f"the bot is in no guild {guild_id}: give the id of one of its guilds ({some}, …)"
        raise ValueError(msg)
    user_id = _snowflake(body.get("user_id")) or world.member_ids(guild_id)[1]
    channel_id = _snowflake(body.get("channel_id")) or world.text_channel_ids(guild_id)[0]
    if world.guild_of_channel(channel_id) != guild_id:
        some = ", ".join(map(str, world.text_channel_ids(guild_id)[:3]))
        msg = f"guild {guild_id} has no channel {channel_id}: give the id of one of its channels ({some}, …)"
        raise ValueError(msg)
    member = world.member(guild_id, user_id)
    user = member.pop("user")
    message = bare_message(world.next_id(), channel_id, user, content, world.now_iso())
    message |= {"guild_id": str(guild_id), "member": member}
    return Dispatch("MESSAGE_CREATE", guild_id, message["id"], orjson.dumps(message), GUILD_MESSAGES), str(channel_id)
