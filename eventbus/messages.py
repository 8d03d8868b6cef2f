"""Control messages between the processes: JSON, validated, versioned; see docs/wire.md.

Every body carries `v`, the major version. An unknown version, kind or field, or a malformed body, is answered with a
`Failure`, never with silence. Durations are seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

VERSION: Literal[1] = 1

T = TypeVar("T")

ShardId = Annotated[int, Field(ge=0, lt=100_000)]
ShardCount = Annotated[int, Field(ge=1, le=100_000)]
FencingToken = Annotated[int, Field(ge=0, lt=2**63)]
PERMIT_VALID_S = 0.5
MAX_PERMIT_VALID_S = 3.0
PermitLength = Annotated[float, Field(ge=PERMIT_VALID_S, le=MAX_PERMIT_VALID_S)]
ProcessId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class ErrorCode(StrEnum):
    """What a `Failure` is about; stable, for programs."""

    BAD_REQUEST = "bad_request"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_WORKER = "unknown_worker"
    STALE_LEASE = "stale_lease"
    OUT_OF_RANGE = "out_of_range"
    NOT_READY = "not_ready"
    NO_HOLDER = "no_holder"
    RATE_LIMITED = "rate_limited"
    TIMED_OUT = "timed_out"
    INTERNAL = "internal"


class Message(BaseModel):
    """What every control message has in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = VERSION


class Part(BaseModel):
    """A piece of a message."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Session(Part):
    """A Discord gateway session, as far as another worker needs it to resume: `seq` is the last confirmed one.

    `intents`: those that it was opened with, and keeps; None if nobody knows.
    """

    session_id: Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]  # with `:seq`, it fits into a message_id
    resume_url: Annotated[str, Field(max_length=2048)]
    seq: Annotated[int, Field(ge=0, lt=2**63)]
    shard_count: ShardCount
    intents: Annotated[int, Field(ge=0)] | None = None


class HeldLease(Part):
    """A lease as its holder sees it; `session` is its newest checkpoint."""

    shard: ShardId
    fencing_token: FencingToken
    session: Session | None = None
    state: Annotated[str, Field(max_length=32)] = "unknown"
    latency_s: float | None = None


class Lease(Part):
    """A lease as the coordinator grants it; `session` is where to resume, None for an identify."""

    shard: ShardId
    fencing_token: FencingToken
    session: Session | None = None


class BotConfig(Part):
    """What every process of a bot must agree on; `gateway_url` is Discord's general URL."""

    shard_count: ShardCount
    intents: Annotated[int, Field(ge=0)]
    gateway_url: str
    max_concurrency: Annotated[int, Field(ge=1)]


# Requests to the coordinator


class Register(Message):
    """A worker enters: `shards` is a shard range or `auto`, `capacity` the most shards that it runs.

    `draining` repeats what the last `leases` said, so that a coordinator that takes over knows it.
    """

    kind: Literal["register"] = "register"
    worker_id: ProcessId
    shards: Annotated[str, Field(max_length=4096)]
    capacity: Annotated[int, Field(ge=1)] | None = None
    held: tuple[HeldLease, ...] = ()
    draining: bool = False


class Renew(Message):
    """A worker renews all that it holds and learns what it should hold."""

    kind: Literal["renew"] = "renew"
    worker_id: ProcessId
    held: tuple[HeldLease, ...] = ()


class Release(Message):
    """A worker gives a lease back; everything up to `session.seq` is confirmed by the broker."""

    kind: Literal["release"] = "release"
    worker_id: ProcessId
    shard: ShardId
    fencing_token: FencingToken
    session: Session | None = None


class Leave(Message):
    """A worker drains: it keeps what it holds until it releases it and gets nothing new."""

    kind: Literal["leave"] = "leave"
    worker_id: ProcessId


class Drain(Message):
    """An operator takes a worker out of placement and moves its shards to others; again, to hear how far it is."""

    kind: Literal["drain"] = "drain"
    worker_id: ProcessId


class Undrain(Message):
    """An operator lets a worker take shards again."""

    kind: Literal["undrain"] = "undrain"
    worker_id: ProcessId


class Rebalance(Message):
    """An operator has the shards spread evenly now; again, to hear what is left to move."""

    kind: Literal["rebalance"] = "rebalance"


class IdentifyRequest(Message):
    """A worker asks for leave to send one Identify; `recovery` may use the reserve of the daily budget.

    `valid_s`: how long the leave must last, because answers take so long to come.
    """

    kind: Literal["identify"] = "identify"
    worker_id: ProcessId
    shard: ShardId
    fencing_token: FencingToken
    recovery: bool = False
    valid_s: PermitLength = PERMIT_VALID_S


class ConfigRequest(Message):
    """Anyone asks for the bot's configuration."""

    kind: Literal["config"] = "config"


class StateRequest(Message):
    """Anyone asks what the fleet is doing."""

    kind: Literal["state"] = "state"


CoordinatorRequest = Annotated[
    Register | Renew | Release | Leave | Drain | Undrain | Rebalance | IdentifyRequest | ConfigRequest | StateRequest,
    Field(discriminator="kind"),
]

# Replies of the coordinator


class RefusedLease(Part):
    """A lease that a worker said it holds, and does not: what it says of its session changes nothing."""

    shard: ShardId
    fencing_token: FencingToken
    code: ErrorCode = ErrorCode.STALE_LEASE


class Leases(Message):
    """What a worker should hold from now on: the answer to `register` and `renew`. Anything else it must drop.

    `refused` are those that it named and must drop; `hand_over` those of `leases` that it is asked to hand over now;
    `draining`: it gets nothing new.
    """

    kind: Literal["leases"] = "leases"
    leases: tuple[Lease, ...]
    refused: tuple[RefusedLease, ...] = ()
    config: BotConfig
    renew_interval_s: float
    lease_duration_s: float
    hand_over: tuple[ShardId, ...] = ()
    draining: bool = False


class Done(Message):
    """The request was carried out."""

    kind: Literal["done"] = "done"


class DrainProgress(Message):
    """What a draining worker holds still; nobody else takes the `stuck` ones of these now."""

    kind: Literal["drain_progress"] = "drain_progress"
    worker_id: ProcessId
    held: tuple[ShardId, ...]
    stuck: tuple[ShardId, ...]


class PlannedMove(Part):
    """A hand-over that is under way (`begun`) or to come."""

    shard: ShardId
    giver: ProcessId
    receiver: ProcessId
    begun: bool


class Moves(Message):
    """What is left to move until the shards are spread evenly."""

    kind: Literal["moves"] = "moves"
    moves: tuple[PlannedMove, ...]


class IdentifyPermit(Message):
    """Leave to send one Identify within `valid_s`, or the time after which to ask again, and why."""

    kind: Literal["permit"] = "permit"
    granted: bool
    valid_s: float = 0.0
    retry_after_s: float = 0.0
    reason: str = ""


class ConfigReply(Message):
    """The bot's configuration."""

    kind: Literal["config"] = "config"
    config: BotConfig


class ShardStatus(Part):
    """One shard in the fleet state; `worker_id` is None while nobody holds it."""

    shard: ShardId
    worker_id: str | None
    fencing_token: int
    state: str
    session_id: str | None
    seq: int | None
    latency_s: float | None


class WorkerStatus(Part):
    """One worker in the fleet state; `renewed_s` is the time since it last renewed."""

    worker_id: str
    shards: str
    capacity: int | None
    held: tuple[ShardId, ...]
    draining: bool
    renewed_s: float


class FleetState(Message):
    """What the fleet is doing, as the leading coordinator knows it."""

    kind: Literal["state"] = "state"
    coordinator_id: str
    config: BotConfig
    identifies_remaining: int
    identifies_total: int
    identifies_reset_after_s: float
    shards: tuple[ShardStatus, ...]
    workers: tuple[WorkerStatus, ...]


class Failure(Message):
    """A request was refused; `message` says what to change."""

    kind: Literal["error"] = "error"
    code: ErrorCode
    message: str
    retry_after_s: float | None = None


CoordinatorReply = Annotated[
    Leases | Done | DrainProgress | Moves | IdentifyPermit | ConfigReply | FleetState | Failure,
    Field(discriminator="kind"),
]

# In the session stream


class Checkpoint(Part):
    """Where a shard's session stands: the broker confirmed everything up to `session.seq`; None: it has ended."""

    shard: ShardId
    fencing_token: FencingToken
    session: Session | None


class Checkpoints(Message):
    """A worker's checkpoints that changed, or were not written for a while."""

    kind: Literal["checkpoints"] = "checkpoints"
    worker_id: ProcessId
    checkpoints: tuple[Checkpoint, ...]


class Leading(Message):
    """A coordinator begins to lead: what another term writes behind this record is void."""

    kind: Literal["leading"] = "leading"
    coordinator_id: ProcessId
    term: ProcessId


class Grant(Part):
    """One lease as it is granted."""

    shard: ShardId
    fencing_token: FencingToken
    worker_id: ProcessId


class Grants(Message):
    """Leases that are granted; written before anybody is told."""

    kind: Literal["grants"] = "grants"
    term: ProcessId
    grants: tuple[Grant, ...]


class PermitRecord(Message):
    """An identify permit; written before its asker is told. `granted_at` is in seconds since the epoch.

    It lasts for `valid_s`. The budget is as of then: `remaining` of `total`, refilled after `reset_after_s`.
    """

    kind: Literal["permit"] = "permit"
    term: ProcessId
    shard: ShardId
    max_concurrency: Annotated[int, Field(ge=1, lt=100_000)]
    granted_at: Annotated[float, Field(ge=0, lt=1e12)]
    remaining: Annotated[int, Field(ge=0)]
    total: Annotated[int, Field(ge=0)]
    reset_after_s: Annotated[float, Field(ge=0, lt=1e9)]
    valid_s: PermitLength = PERMIT_VALID_S


class Marker(Message):
    """Written by a reader that wants to know when it has read everything before."""

    kind: Literal["marker"] = "marker"
    marker_id: ProcessId


SessionRecord = Annotated[Checkpoints | Leading | Grants | PermitRecord | Marker, Field(discriminator="kind")]

# To a worker's inbox


class Poke(Message):
    """The coordinator asks a worker to renew now: something about its leases changed."""

    kind: Literal["poke"] = "poke"


ROLL_CALL_KEY = "coordinator.roll_call"
"""Routing key of a RollCall on the control exchange."""


class RollCall(Message):
    """A coordinator that took over asks who is there: workers register again with all that they hold."""

    kind: Literal["roll_call"] = "roll_call"
    coordinator_id: ProcessId


class GatewayCommand(Message):
    """A payload to send to Discord over `shard`: op 3, 4, 8, 31 or 43."""

    kind: Literal["command"] = "command"
    shard: ShardId
    op: Literal[3, 4, 8, 31, 43]
    d: dict[str, Any]


class ApplyPresence(Message):
    """The holder of `shard` shows Discord what the presence stream says, up to and with the record `record_id`."""

    kind: Literal["apply_presence"] = "apply_presence"
    shard: ShardId
    record_id: ProcessId


InboxMessage = Annotated[Poke | RollCall | GatewayCommand | ApplyPresence, Field(discriminator="kind")]

# In the presence stream


class PresenceRecord(Message):
    """Some fields of the presence of `shards`, or of all shards (None); the newest record of a field counts.

    `is_first`: what bots begin with; one that equals the `is_first` before it changes nothing.
    `as_of`: a copy of what the stream said up to that offset, which is about to be forgotten.
    """

    kind: Literal["presence"] = "presence"
    shards: Annotated[tuple[ShardId, ...], Field(max_length=1000)] | None = None
    d: dict[str, Any]
    is_first: bool = False
    as_of: Annotated[int, Field(ge=0, lt=2**63)] | None = None


PresenceStreamRecord = Annotated[PresenceRecord | Marker, Field(discriminator="kind")]


# From the coordinator to everyone, on the control exchange; the routing key is the kind


class LeaseGranted(Message):
    """A worker holds a shard from now on; `resumes` says that it got a session."""

    kind: Literal["lease.granted"] = "lease.granted"
    shard: ShardId
    worker_id: str
    fencing_token: FencingToken
    resumes: bool


class LeaseReleased(Message):
    """A worker holds a shard no longer: it gave it back, lost it, or is gone."""

    kind: Literal["lease.released"] = "lease.released"
    shard: ShardId
    worker_id: str
    fencing_token: FencingToken
    reason: str


class WorkerDead(Message):
    """A worker's connections are gone; `shards` are those that it held."""

    kind: Literal["worker.dead"] = "worker.dead"
    worker_id: str
    shards: tuple[ShardId, ...]


class ExchangeRestored(Message):
    """From a worker: the exchange of an event type was gone and is there again, without its bindings."""

    kind: Literal["exchange.restored"] = "exchange.restored"
    event_type: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]


class LiveShard(Part):
    """A shard as its holder sees it; `latency_s` is None before the first heartbeat was acknowledged.

    `connect_count`: how often it came to be connected under this lease, so that a short break is seen, too.
    """

    shard: ShardId
    fencing_token: FencingToken
    state: Annotated[str, Field(max_length=32)]
    latency_s: float | None = None
    connect_count: Annotated[int, Field(ge=0)] = 0


class ShardsStatus(Message):
    """From a worker: all shards that it runs, when one of them changes and every few seconds."""

    kind: Literal["shards.status"] = "shards.status"
    worker_id: ProcessId
    shards: tuple[LiveShard, ...]


ControlEvent = Annotated[
    LeaseGranted | LeaseReleased | WorkerDead | ExchangeRestored | ShardsStatus, Field(discriminator="kind")
]


class CommandSent(Message):
    """The gateway command was written to Discord's socket."""

    kind: Literal["sent"] = "sent"
    shard: ShardId


CommandReply = Annotated[CommandSent | Failure, Field(discriminator="kind")]

coordinator_request: TypeAdapter[CoordinatorRequest] = TypeAdapter(CoordinatorRequest)
coordinator_reply: TypeAdapter[CoordinatorReply] = TypeAdapter(CoordinatorReply)
inbox_message: TypeAdapter[InboxMessage] = TypeAdapter(InboxMessage)
session_record: TypeAdapter[SessionRecord] = TypeAdapter(SessionRecord)
command_reply: TypeAdapter[CommandReply] = TypeAdapter(CommandReply)
presence_stream_record: TypeAdapter[PresenceStreamRecord] = TypeAdapter(PresenceStreamRecord)
control_event: TypeAdapter[ControlEvent] = TypeAdapter(ControlEvent)


class MalformedMessageError(ValueError):
    """A control message could not be read; `failure` is the answer that its sender gets."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def encode(message: Message) -> bytes:
    """The message as JSON."""
    return orjson.dumps(message.model_dump(mode="json"))


def decode(adapter: TypeAdapter[T], body: bytes) -> T:
    """The message in `body`.

    Raises MalformedMessageError, whose `failure` names the first wrong field.
    """
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedMessageError(_failure(ErrorCode.BAD_REQUEST, f"the body is not JSON: {error}")) from error
    if isinstance(raw, dict) and raw.get("v", VERSION) != VERSION:
        message = f"version {raw['v']!r} of control messages is unknown here: send v={VERSION}"
        raise MalformedMessageError(_failure(ErrorCode.UNKNOWN_VERSION, message))
    try:
        return adapter.validate_python(raw, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise MalformedMessageError(_failure(ErrorCode.BAD_REQUEST, f"{where}: {first['msg']}")) from error


def _failure(code: ErrorCode, message: str) -> Failure:
    return Failure(code=code, message=message)
