"""docs/parity.md: hikari's GatewayBot and `consumers.Bot`, member by member. `make parity` writes it.

The names come from both classes, the verdicts are here; test_parity.py holds the two together.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hikari

from consumers import Bot
from consumers.refusals import CONSTRUCTOR, START
from consumers.start_request import StartRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parent.parent / "docs" / "parity.md"

SAME, DIFFERENT, REFUSED = "same", "different", "refused"

_INTRODUCTION = """\
# hikari's GatewayBot and `consumers.Bot`

`consumers.Bot(amqp_url, token, …)` has every public member of `hikari.GatewayBot`, with every parameter. *Same* means
that it does the same; *different*, that it does something else, which is said; *refused*, that another value than the
usual one raises ConfigurationError with the sentence that stands there. Parameters in the row of their member are the
same. `make parity` writes this page; a test compares it with the oldest and the newest supported hikari.

"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a member or parameter; `how` is one sentence, empty if nothing is to be said."""

    kind: str
    how: str = ""
    sample: Any = None
    """A value that is refused."""


def _same(how: str = "") -> Verdict:
    return Verdict(SAME, how)


def _different(how: str) -> Verdict:
    return Verdict(DIFFERENT, how)


_REFUSED_SAMPLES: dict[str, Any] = {
    "capabilities": hikari.GatewayCapabilities.CHANNEL_OBFUSCATION,
    "ignore_session_start_limit": True,
    "large_threshold": 50,
    "shard_ids": [0],
    "shard_count": 1,
    "startup_window_delay": 6,
}

_CONSTRUCTOR: dict[str, Verdict] = {
    "token": _different("it is the second argument, after the broker's URL"),
    "allow_color": _different("it concerns the banner; logs are plain"),
    "banner": _different("the default is None: a group has many processes, and none prints a banner unless told to"),
    "suppress_optimization_warning": _different("the warning does not exist here"),
    "executor": _same(),
    "force_color": _different("it concerns the banner; logs are plain"),
    "cache_settings": _different(
        "the default caches the own user only: each process of a group sees a part of the events"
    ),
    "auto_chunk_members": _different(
        "members are asked for when the cache holds them, by one process for the whole fleet, a guild a second for each"
        " shard; listeners of MemberChunkEvent alone ask for none: call request_guild_members() or request_members()"
    ),
    "http_settings": _same("of REST; the gateway connection is the worker's"),
    "dumps": _different("REST only: gateway commands are written with orjson"),
    "loads": _different("REST only: dispatches are read with orjson"),
    "intents": _different(
        "the coordinator's --intents count; a warning names those that the bot asks for and the fleet lacks"
    ),
    "logs": _different(
        "a level gives our format on standard error, with secrets hidden; without it, log_level counts and run() sets"
        " logs up"
    ),
    "max_rate_limit": _same(),
    "max_retries": _same(),
    "proxy_settings": _same("of REST; the gateway connection is the worker's"),
    "rest_url": _same(),
}

_START: dict[str, Verdict] = {
    "activity": _different(
        "the fleet remembers it once the bot consumes: every session begins with it, until update_presence; a process"
        " that is restarted does not undo that"
    ),
    "afk": _different("as activity"),
    "check_for_updates": _different("no process asks PyPI, whatever it says"),
    "idle_since": _different("as activity"),
    "status": _different("as activity"),
}

_RUN: dict[str, Verdict] = {
    "asyncio_debug": _same(),
    "close_loop": _same(),
    "close_passed_executor": _same(),
    "coroutine_tracking_depth": _same(),
    "enable_signal_handlers": _different("the first signal drains, a second one ends the process at once"),
    "propagate_interrupts": _same(),
}

_WAITING = (
    "the process gets copies of the event's dispatches, whichever process of the group gets them for its listeners; so"
    " each that waits for an interaction gets it, beside the listener: let one of them answer it. The first wait for a"
    " type binds it, a round trip to the broker, and misses what comes meanwhile; it stays bound for 30 s"
)

_TRAVELS = "travels to the shard's holder; a failure, the send limit too, is a typed CommandError"
_LISTENING = (
    "binds the group to the event's dispatches, too. ShardReadyEvent, ShardResumedEvent, ShardConnectedEvent and"
    " ShardDisconnectedEvent reach each process that runs"
)

_MEMBERS: dict[str, Verdict] = {
    "GatewayBot": _different("the broker's URL comes first; group, namespace, prefetch and the like are arguments too"),
    "cache": _different("see cache_settings"),
    "capabilities": _same("always NONE"),
    "close": _different(
        "waits for running handlers first; inside a handler it returns at once; handlers of StoppingEvent and"
        " StoppedEvent get 10 s each; ends this process, and a supervisor does not start it again"
    ),
    "dispatch": _same(
        "the event reaches the listeners of this process; those that a handler sets going belong to its dispatch"
    ),
    "entity_factory": _same(),
    "event_factory": _same(),
    "event_manager": _same("a subclass of hikari's"),
    "executor": _same(),
    "get_listeners": _same(),
    "get_me": _same(),
    "heartbeat_latencies": _different("what the workers told last: every 5 s, and forgotten after 16 s without a word"),
    "heartbeat_latency": _different("what the workers told last: every 5 s, and forgotten after 16 s without a word"),
    "http_settings": _same(),
    "intents": _different("what was given until the start, then the coordinator's"),
    "is_alive": _same(),
    "join": _different("raises the error that ended the bot; after the end it returns at once"),
    "listen": _different(_LISTENING),
    "print_banner": _same(),
    "proxy_settings": _same(),
    "request_channel_info": _different(_TRAVELS + "; the answer comes to any process of the group"),
    "request_guild_members": _different(
        "as request_channel_info, and each chunk may come to another process: request_members() collects them"
    ),
    "rest": _same(),
    "run": _different(
        "a failure of broker, coordinator or settings is a sentence on standard error and an exit code, not a traceback"
    ),
    "shard_count": _same("the coordinator's"),
    "shards": _different(
        "all of the fleet's, as proxies: they take commands, and cannot be started or closed from here"
    ),
    "start": _different(
        "returns when deliveries are being consumed, whether the shards are up or not:"
        " so StartedEvent says nothing of them"
    ),
    "stream": _different(_WAITING),
    "subscribe": _different(_LISTENING),
    "token_id": _different("a token without an id raises ValueError when it is read, not when the bot is made"),
    "unsubscribe": _different(
        "what no listener wants any more is unbound by a process that has been alone in its group for ten minutes"
    ),
    "update_presence": _different(
        "the fleet remembers it, over restarts too; what is left out stays as any process set it last; shards that"
        " are not connected show it from their next session on, the failures of others come together as"
        " SomeShardsFailedError"
    ),
    "update_voice_state": _different(
        "travels to the shard's holder; a failure, the send limit too, is a typed CommandError"
    ),
    "voice": _different(
        "the connection lives in the process that made it, which gets copies of all voice events meanwhile"
    ),
    "wait_for": _different(_WAITING),
}


def _refused(sentences: Any) -> dict[str, Verdict]:
    return {name: Verdict(REFUSED, sentence, _REFUSED_SAMPLES[name]) for name, sentence in sentences.items()}


PARAMETERS: dict[str, dict[str, Verdict]] = {
    "GatewayBot": _CONSTRUCTOR | _refused(CONSTRUCTOR),
    "start": _START | _refused(START),
    "run": _RUN | _START | _refused(START),
}
"""Of these members each parameter has a verdict of its own; of the others, all are the same."""


def hikari_members() -> dict[str, inspect.Signature | None]:
    """Every public member of GatewayBot, the constructor as `GatewayBot`; None for what is no method."""
    cls = hikari.GatewayBot
    members: dict[str, inspect.Signature | None] = {"GatewayBot": _without_self(inspect.signature(cls.__init__))}
    for name in dir(cls) + list(cls.__annotations__):
        if not name.startswith("_"):
            member = inspect.getattr_static(cls, name)
            members[name] = _signature(cls, name) if callable(getattr(member, "__func__", member)) else None
    return members


def our_parameters(name: str) -> dict[str, Any]:
    """Our parameters of a member, with their defaults; those of `start()` come with `**start`."""
    method = Bot.__init__ if name == "GatewayBot" else getattr(Bot, name)
    found = {key: parameter.default for key, parameter in inspect.signature(method).parameters.items()}
    if name in {"start", "run"}:
        found |= {key: one.default for key, one in inspect.signature(StartRequest).parameters.items()}
    if name == "GatewayBot":
        found |= {"rest_url": None}  # a setting of ours
    return {key: default for key, default in found.items() if key not in {"self", "options"}}


def _signature(cls: type, name: str) -> inspect.Signature:
    is_static = isinstance(inspect.getattr_static(cls, name), staticmethod)
    signature = inspect.signature(getattr(cls, name))
    return signature if is_static else _without_self(signature)


def _without_self(signature: inspect.Signature) -> inspect.Signature:
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def verdicts() -> Iterator[tuple[str, str, Verdict]]:
    """Member, parameter (empty for the member itself), verdict."""
    for member, verdict in sorted(_MEMBERS.items(), key=lambda item: item[0].lower()):
        yield member, "", verdict
        for parameter, one in sorted(PARAMETERS.get(member, {}).items()):
            yield member, parameter, one


def page() -> str:
    """The page."""
    lines = ["| member | parameter | | how, or what to do instead |", "|---|---|---|---|"]
    members = hikari_members()
    for member, parameter, verdict in verdicts():
        name = "" if parameter else f"`{member}`"
        signature = None if member in PARAMETERS else members[member]
        names = [parameter] if parameter else list(signature.parameters) if signature else []
        cell = ", ".join(f"`{one}`" for one in names)
        lines.append(f"| {name} | {cell} | {verdict.kind} | {verdict.how} |")
    return _INTRODUCTION + "\n".join(line.replace("|  |", "| |") for line in lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
