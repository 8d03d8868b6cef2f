"""The hypothesis state machine: faults at any step, the judge at every step, and rest when the faults are over."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, Phase, currently_in_test_context, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.lease_protocol.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lease_protocol.process import Process

WORKERS = ("w0", "w1", "w2")
COORDINATORS = ("c0", "c1", "c2")
REST_WITHIN_S = 60.0

picks = st.sampled_from((0, 0, 0, 1, 1, 2))  # the leader and who holds most come first
moments = st.sampled_from((0.0, 0.002, 0.01, 0.03, 0.1, 0.3, 1.0, 1.0, 2.5, 2.5, 6.0, 16.0))
worker_labels = st.sampled_from(
    (
        "sent register", "sent renew", "sent release", "sent leave", "sent identify",
        "got leases", "got done", "got permit", "got poke", "got roll_call",
        "sent Queue.Declare", "got Queue.DeclareOk", "sent Queue.Bind", "got Queue.BindOk",
        "sent Queue.Unbind", "got Queue.UnbindOk", "sent Basic.Publish", "got Basic.Ack",
    )
)  # fmt: skip
coordinator_labels = st.sampled_from(
    (
        "got register", "got renew", "got release", "got identify", "got state", "got checkpoints",
        "got leading", "got grants", "sent leading", "sent grants", "sent permit", "sent leases", "sent done",
        "sent poke", "sent roll_call", "sent lease.granted", "sent ping",
    )
)  # fmt: skip

ACTIONS: dict[str, Callable[[World, Process], None]] = {
    "freeze": World.freeze,
    "kill": World.kill,
    "lose machine": World.lose_machine,
    "part": World.part,
    "cut publishing": lambda world, process: world.cut(process, "publishing"),
    "cut control": lambda world, process: world.cut(process, "control"),
    "stall publishing": lambda world, process: world.stall(process, "publishing"),
    "stall control": lambda world, process: world.stall(process, "control"),
    "slow publishing": lambda world, process: world.slow(process, "publishing", 3.0),
    "slow control": lambda world, process: world.slow(process, "control", 3.0),
}
actions = st.sampled_from((*ACTIONS, "freeze", "freeze", "freeze", "kill", "kill"))


class LeaseProtocol(RuleBasedStateMachine):
    """Workers and coordinators of one bot with two shards."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self.generation = 0
        self.has_failed = False
        self.may_invalidate = True

    @property
    def here(self) -> World:
        assert self.world is not None
        return self.world

    def _run(self, duration_s: float) -> None:
        try:
            self.here.run(duration_s)
        except BaseException:
            self.has_failed = True
            raise

    @initialize(
        seed=st.integers(0, 2**16),
        worker_count=st.integers(1, 3),
        coordinator_count=st.integers(1, 3),
        requeues_behind=st.booleans(),
        confirm_delay_s=st.sampled_from((0.0, 0.0, 0.05, 1.0)),
        running_s=st.sampled_from((0.0, 1.2, 4.0)),
    )
    def begin(
        self,
        seed: int,
        worker_count: int,
        coordinator_count: int,
        requeues_behind: bool,
        confirm_delay_s: float,
        running_s: float,
    ) -> None:
        self.world = World(seed=seed).__enter__()
        self.world.broker.requeues_behind = requeues_behind
        self.world.broker.confirm_delay_s = confirm_delay_s
        for name in COORDINATORS[:coordinator_count]:
            self.world.start_coordinator(name)
        for name in WORKERS[:worker_count]:
            self.world.start_worker(name)
        self._run(running_s)

    def _pick(self, which: int, names: tuple[str, ...], *, is_running: bool) -> Process | None:
        found = [one for name in names if (one := self.here.find(name)) is not None and one.is_running is is_running]
        found.sort(key=self.here.weight, reverse=True)
        return found[which % len(found)] if found else None

    @rule(duration_s=moments)
    def pass_time(self, duration_s: float) -> None:
        self._run(duration_s)

    @rule(which=picks, action=actions, then_s=moments)
    def strike_worker(self, which: int, action: str, then_s: float) -> None:
        self._strike(WORKERS, which, action, then_s)

    @rule(which=picks, action=actions, then_s=moments, is_replaced=st.booleans())
    def strike_coordinator(self, which: int, action: str, then_s: float, is_replaced: bool) -> None:
        if is_replaced:
            self.start_coordinator(0, 0.0)
        self._strike(COORDINATORS, which, action, then_s)

    @rule(
        which=picks,
        action=actions,
        leader_action=st.sampled_from(("kill", "kill", "cut control", "freeze")),
        then_s=st.sampled_from((0.1, 1.5, 3.0, 6.0)),
    )
    def strike_both(self, which: int, action: str, leader_action: str, then_s: float) -> None:
        """A worker, and the leader while another coordinator stands by."""
        self._strike(WORKERS, which, action, 0.0)
        self.start_coordinator(0, 0.0)
        self._strike(COORDINATORS, 0, leader_action, then_s)

    def _strike(self, names: tuple[str, ...], which: int, action: str, then_s: float) -> None:
        process = self._pick(which, names, is_running=True)
        if process is not None:
            ACTIONS[action](self.here, process)
        self._run(then_s)

    @rule(which=picks, label=worker_labels, action=actions, then_s=moments)
    def trap_worker(self, which: int, label: str, action: str, then_s: float) -> None:
        self._trap(WORKERS, which, label, action)
        self._run(then_s)

    @rule(which=picks, label=coordinator_labels, action=actions, then_s=moments)
    def trap_coordinator(self, which: int, label: str, action: str, then_s: float) -> None:
        self._trap(COORDINATORS, which, label, action)
        self._run(then_s)

    def _trap(self, names: tuple[str, ...], which: int, label: str, action: str) -> None:
        name = names[which % len(names)]
        self.here.traps.append((name, label, lambda process: ACTIONS[action](self.here, process)))

    @rule(which=picks, is_same_id=st.booleans(), then_s=moments)
    def start_worker(self, which: int, is_same_id: bool, then_s: float) -> None:
        missing = [name for name in WORKERS if self.here.find(name) is None]
        if missing:
            name = missing[which % len(missing)]
            self.generation += 1
            self.here.tell(f"{name} starts")
            self.here.start_worker(name, worker_id=name if is_same_id else f"{name}-{self.generation}")
        self._run(then_s)

    @rule(which=picks, then_s=moments)
    def start_coordinator(self, which: int, then_s: float) -> None:
        missing = [name for name in COORDINATORS if self.here.find(name) is None]
        if missing:
            self.here.tell(f"{missing[which % len(missing)]} starts")
            self.here.start_coordinator(missing[which % len(missing)])
        self._run(then_s)

    @rule(which=picks, then_s=moments)
    def terminate(self, which: int, then_s: float) -> None:
        process = self._pick(which, WORKERS, is_running=True)
        if process is not None and not process.stop.is_set():
            self.here.terminate(process)
        self._run(then_s)

    @rule(which=picks, then_s=moments)
    def wake(self, which: int, then_s: float) -> None:
        process = self._pick(which, WORKERS + COORDINATORS, is_running=False)
        if process is not None:
            self.here.wake(process)
        self._run(then_s)

    @rule(which=picks, then_s=moments)
    def mend(self, which: int, then_s: float) -> None:
        ill = [one for one in self.here.processes if one.is_isolated or any(wire.is_ill for wire in one.wires)]
        if ill:
            self.here.mend(ill[which % len(ill)])
        self._run(then_s)

    @rule(down_s=st.sampled_from((0.0, 0.5, 3.0, 12.0)), then_s=moments)
    def restart_broker(self, down_s: float, then_s: float) -> None:
        if self.here.broker.is_up:
            self.here.restart_broker(down_s)
        self._run(then_s)

    @rule(which=st.integers(0, 7), then_s=moments)
    def double_request(self, which: int, then_s: float) -> None:
        self.here.double(which)
        self._run(then_s)

    @precondition(lambda self: self.may_invalidate)
    @rule(shard=st.integers(0, 1), then_s=moments)
    def invalidate(self, shard: int, then_s: float) -> None:
        self.may_invalidate = False
        self.here.tell(f"Discord ends the session of shard {shard}")
        self.here.discord.invalidate(shard)
        self._run(then_s)

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            if not self.has_failed:
                self._come_to_rest()
        finally:
            tell = note if currently_in_test_context() else print
            tell("\n" + "\n".join(self.world.trace[-200:]))
            self.world.__exit__()

    def _stays(self) -> bool:
        """Whether there is a worker that nobody told to stop: it has to come to hold every shard by itself."""
        return any(one.worker_id and not one.stop.is_set() for one in self.here.processes if one.is_alive)

    def _come_to_rest(self) -> None:
        world = self.here
        world.heal()
        if not any(process.service for process in world.processes if process.is_alive):
            world.start_coordinator("last-coordinator")
        came = world.run_until(lambda: world.judge.is_at_rest() or not self._stays(), within_s=REST_WITHIN_S)
        if came and not world.judge.is_at_rest():
            world.start_worker("last-worker")
            came = world.run_until(world.judge.is_at_rest, within_s=REST_WITHIN_S)
        assert came, f"not every shard is served {REST_WITHIN_S:g} s after the last fault: {world.judge.complaints()}"
        for shard in range(world.shard_count):
            world.discord.happen(shard)
        assert world.run_until(world.judge.is_at_rest, within_s=10.0), "what happens at rest is not published"


def asked_example_count() -> int:
    """GW_LEASE_EXAMPLES: how many new examples to examine instead of the fixed ones; 0 if it is not set."""
    return int(os.environ.get("GW_LEASE_EXAMPLES", "0"))


def short_profile() -> settings:
    """The same examples each time."""
    return profile(example_count=70, step_count=25, is_fixed=True)


def long_profile(example_count: int) -> settings:
    """New examples each time; a failing one is made smaller."""
    return profile(example_count=example_count, step_count=40, is_fixed=False)


def profile(*, example_count: int, step_count: int, is_fixed: bool) -> settings:
    """How much to examine."""
    return settings(
        max_examples=example_count,
        stateful_step_count=step_count,
        derandomize=is_fixed,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate] if is_fixed else [Phase.generate, Phase.shrink],
        print_blob=False,
    )
