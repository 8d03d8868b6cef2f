"""What must hold at every step, judged by what the broker took and by who could send it more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus import messages
from gateway_workers.shard import ShardState

if TYPE_CHECKING:
    from eventbus.messages import Checkpoint, Lease, Session
    from gateway_workers.shard import Shard
    from gateway_workers.worker import Worker
    from tests.lease_protocol.memory_broker import Letter
    from tests.lease_protocol.process import Process
    from tests.lease_protocol.wire import Wire
    from tests.lease_protocol.world import World


class ViolationError(AssertionError):
    """The protocol broke a promise."""


class Judge:
    """One run's."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._names = world.names
        self._accepted_token: dict[int, int] = {}
        self._granted_tokens: dict[int, list[int]] = {}
        self._whole_up_to: dict[str, int] = {}
        self._taken_beyond: dict[str, set[int]] = {}
        self._streamed: dict[int, Checkpoint] = {}

    def whole_up_to(self, session_id: str) -> int:
        """The seq up to which the broker took every dispatch of a session."""
        return self._whole_up_to.get(session_id, 0)

    # What the broker took

    def on_taken(self, wire: Wire, exchange: str, key: str, letter: Letter) -> None:
        """One message, in the order in which the broker takes them."""
        if exchange.startswith(self._names.event("")):
            self._on_dispatch(wire.process, int(key), letter)
        elif exchange == "" and wire.kind == "publishing" and key == self._names.sessions:
            self._on_checkpoints(letter)
        elif exchange == "" and b'"kind":"leases"' in letter.body:
            reply = messages.decode(messages.coordinator_reply, letter.body)
            assert isinstance(reply, messages.Leases)
            for lease in reply.leases:
                self._on_lease(lease)

    def _on_dispatch(self, process: Process, shard: int, letter: Letter) -> None:
        token = letter.headers["fencing_token"]
        session_id, _, number = str(letter.message_id).rpartition(":")
        newest = self._accepted_token.get(shard, 0)
        if token < newest:
            raise ViolationError(
                f"{process.name} published {letter.message_id} of shard {shard} under fencing token {token},"
                f" after the broker had taken one under {newest}"
            )
        self._accepted_token[shard] = token
        seq, whole = int(number), self.whole_up_to(session_id)
        beyond = self._taken_beyond.setdefault(session_id, set())
        missing = [one for one in range(whole + 1, seq) if one not in beyond and self._are_alike(session_id, one, seq)]
        if missing:
            raise ViolationError(f"{process.name} published {letter.message_id}, but not {missing} before it")
        beyond.add(seq)
        while whole + 1 in beyond:
            whole += 1
            beyond.remove(whole)
        beyond.difference_update(range(whole + 1))
        self._whole_up_to[session_id] = whole

    def _are_alike(self, session_id: str, one: int, other: int) -> bool:
        """Whether both are interactions, or neither: only these have an order."""
        session = self._world.discord.find(session_id)
        assert session is not None, f"nobody was ever given {session_id}"
        return session.is_interaction(one) == session.is_interaction(other)

    def _on_checkpoints(self, letter: Letter) -> None:
        record = messages.decode(messages.session_record, letter.body)
        assert isinstance(record, messages.Checkpoints)
        for checkpoint in record.checkpoints:
            self._must_be_confirmed(checkpoint.session, f"the stream has shard {checkpoint.shard}")
            if not self._is_outdated(checkpoint):
                self._streamed[checkpoint.shard] = checkpoint

    def _is_outdated(self, checkpoint: Checkpoint) -> bool:
        """Whether it is of an older lease, or an earlier one of its session that a coordinator wrote again."""
        known = self._streamed.get(checkpoint.shard)
        if known is None or checkpoint.fencing_token != known.fencing_token:
            return known is not None and checkpoint.fencing_token < known.fencing_token
        now, before = checkpoint.session, known.session
        return bool(now and before and now.session_id == before.session_id and now.seq < before.seq)

    def _on_lease(self, lease: Lease) -> None:
        self._must_be_confirmed(lease.session, f"shard {lease.shard} is leased")
        tokens = self._granted_tokens.setdefault(lease.shard, [])
        if lease.fencing_token in tokens:
            return
        if tokens and lease.fencing_token < tokens[-1]:
            raise ViolationError(
                f"shard {lease.shard} was granted under fencing token {lease.fencing_token}, after {tokens[-1]}"
            )
        tokens.append(lease.fencing_token)
        self._must_go_on(lease)

    def _must_be_confirmed(self, session: Session | None, what: str) -> None:
        if session is not None and session.seq > self.whole_up_to(session.session_id):
            raise ViolationError(
                f"{what} at {session.session_id}:{session.seq}, but the broker took only up to"
                f" {self.whole_up_to(session.session_id)}: what lies between would be lost"
            )

    def _must_go_on(self, lease: Lease) -> None:
        """A new lease resumes what the stream says, or what is newer."""
        streamed = self._streamed.get(lease.shard)
        if streamed is None or streamed.session is None:
            return
        last, given = streamed.session, lease.session
        what = f"shard {lease.shard} is leased under {lease.fencing_token}"
        if given is None or self._number(given) < self._number(last):
            raise ViolationError(f"{what} with {given}, but the stream knows {last.session_id}:{last.seq}")
        if given.session_id == last.session_id and given.seq < last.seq:
            raise ViolationError(f"{what} at seq {given.seq}, but the stream knows {last.session_id}:{last.seq}")

    def _number(self, session: Session) -> int:
        known = self._world.discord.find(session.session_id)
        assert known is not None, f"nobody was ever given {session.session_id}"
        return known.number

    # Who could send the broker more

    def check_holders(self) -> None:
        """Never two that can both publish for a shard, frozen ones included: they may wake."""
        for shard in range(self._world.shard_count):
            able = [process.name for process in self._world.processes if can_publish(process, shard)]
            if len(able) > 1:
                raise ViolationError(f"{' and '.join(able)} can both publish for shard {shard}")

    # When the faults are over

    def is_at_rest(self) -> bool:
        """Whether each shard is held by exactly one live worker that publishes all that happens."""
        return all(self._is_served(shard) for shard in range(self._world.shard_count))

    def complaints(self) -> list[str]:
        """What is missing, for people."""
        found = []
        for shard in range(self._world.shard_count):
            able = [process.name for process in self._world.processes if can_publish(process, shard)]
            session = self._world.discord.newest(shard)
            where = f"{self.whole_up_to(session.session_id)} of {len(session.log)}" if session else "no session"
            if not self._is_served(shard):
                found.append(f"shard {shard}: {able or 'nobody'} can publish, {where}")
        return found

    def _is_served(self, shard: int) -> bool:
        able = [process for process in self._world.processes if can_publish(process, shard)]
        if len(able) != 1 or able[0].is_frozen:
            return False
        binding = (self._names.holder, str(shard), self._names.worker(able[0].worker_id))
        session = self._world.discord.newest(shard)
        return (
            binding in self._world.broker.bindings
            and session is not None
            and self.whole_up_to(session.session_id) == len(session.log)
            and session.socket is not None
            and session.socket.process is able[0]
        )


def can_publish(process: Process, shard: int) -> bool:
    """Whether a byte of the shard could still leave the process and be taken, now or when it wakes."""
    worker = process.worker
    return process.is_alive and worker is not None and _may_write(worker) and _has_more(worker._shards.get(shard))


def _may_write(worker: Worker) -> bool:
    connection = worker._publisher._connection
    if connection is None or not worker._publisher._is_valid or connection.closed.done():
        return False
    wire: Wire = connection._transport.wire  # type: ignore[union-attr]
    return wire.is_open_there


def _has_more(shard: Shard | None) -> bool:
    if shard is None or shard._session._is_mute:
        return False
    return not (shard.state is ShardState.CLOSED and shard._session.outlet.is_drained)
