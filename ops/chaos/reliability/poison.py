"""One dispatch in a hundred makes its handler raise: the others keep their rate, it becomes a dead letter."""

from __future__ import annotations

import asyncio
import time
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eventbus.amqp.broker import Broker
from eventbus.amqp.dead_letters import DeadLetterReader
from eventbus.amqp.link import Link
from eventbus.names import Names
from ops.chaos.reliability.bounds import Bound
from ops.chaos.schedule import Size
from ops.chaos.stage import GROUP

if TYPE_CHECKING:
    from eventbus.dead_letter import DeadLetter
    from ops.chaos.reliability.scene import Scene
    from ops.chaos.settings import ChaosSettings

FULL_COUNT = 120
PERCENT = 1.0
LETTERS_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 30.0


def is_poison(message_id: str, percent: float = PERCENT) -> bool:
    """The same choice as `examples/recording_bot.py` makes."""
    return zlib.crc32(message_id.encode()) % 10_000 < percent * 100


class Poison:
    """Two rounds of so many seconds: without poison, and with it."""

    bounds = (
        Bound("rate_with_poison", least=0.97),
        Bound("poisoned", least=1),
        Bound("poison_without_letter", most=0),
        Bound("letters_without_poison", most=0),
        Bound("letters_without_reason", most=0),
    )

    def __init__(self, count: int, fleet: ChaosSettings) -> None:
        size = Size(shards=8, workers=2, consumers=2, coordinators=1, standbys=0)
        self.settings = replace(fleet, size=size)
        self._seconds = count
        self._phases: list[dict[str, Any]] = []
        self._letters: list[DeadLetter] = []
        self._poisoned: set[str] = set()
        self._expected: set[str] | None = None

    @property
    def is_done(self) -> bool:
        """Whether both phases are over."""
        return len(self._phases) >= 2

    async def begin(self, scene: Scene) -> None:
        """Poison is nobody's to handle from now on, in the handlers' group."""
        scene.judge.handlers.is_exempt = self._is_exempt

    def _is_exempt(self, message_id: str) -> bool:
        """Called for every row of the ledger."""
        is_chosen = is_poison(message_id)
        if is_chosen and self._expected is not None:
            self._expected.add(message_id)
        return is_chosen

    async def round(self, scene: Scene) -> dict[str, Any]:
        """One phase: how many dispatches that are no poison were handled in a second, and how late."""
        if self._phases:
            await self._poison_consumers(scene)
        await scene.settle()
        if self._phases:
            self._expected = set()  # of all that is sent from now on, by bots that raise
        began_at, before = time.time(), len(scene.judge.handlers.latencies_ms)
        await scene.pause(self._seconds)
        ended_at = time.time()
        await scene.settle()
        latencies = sorted(scene.judge.handlers.latencies_ms[before:])
        handled_count = scene.handlers.handled_count(began_at, ended_at)
        sent_count = scene.handlers.sent_count(range(self.settings.size.shards), began_at, ended_at)
        phase = {
            "rate": round(handled_count / (ended_at - began_at), 1),
            "share": round(handled_count / sent_count, 4) if sent_count else None,
            "latency_p50_ms": round(latencies[len(latencies) // 2], 1) if latencies else None,
            "latency_p99_ms": round(latencies[int(len(latencies) * 0.99)], 1) if latencies else None,
        }
        self._phases.append(phase)
        return phase

    async def _poison_consumers(self, scene: Scene) -> None:
        for place in scene.cast.consumers:
            place.environment = {**place.environment, "RECORD_POISON_PERCENT": f"{PERCENT:g}"}
            await scene.cast.terminate(place)
            scene.cast.fill(place)
            await scene.until_ready([place])

    async def end(self, scene: Scene) -> None:
        """Read the dead letters, once there is one for each dispatch whose handler raised."""
        for path in scene.stage.handlers_directory.glob("*.poison"):
            self._poisoned |= set(path.read_text(encoding="ascii").split())
        link = Link(Broker(scene.stage.amqp_url), name="chaos letters")
        await link.open(timeout_s=CONNECT_TIMEOUT_S)
        give_up_at = time.monotonic() + LETTERS_TIMEOUT_S
        try:
            while True:
                async with DeadLetterReader(link, Names(scene.stage.namespace), GROUP) as reader:
                    self._letters = [held.letter async for held in reader]
                if self._poisoned <= {letter.message_id for letter in self._letters} or time.monotonic() > give_up_at:
                    return
                await asyncio.sleep(1.0)
        finally:
            await link.close()

    def figures(self, _: Scene) -> dict[str, Any]:
        """All but the letters is of what is no poison.

        `rate_with_poison`: what was handled of what was sent meanwhile, over the same without poison, so that a
        simulator that sends less does not count.
        """
        rates = [phase["share"] for phase in self._phases]
        letters = {letter.message_id or "" for letter in self._letters}
        poison = self._poisoned | (self._expected or set())
        return {
            "phases": self._phases,
            "rate_with_poison": round(rates[1] / rates[0], 3) if len(rates) == 2 and all(rates) else None,
            "poisoned": len(poison),
            "letters": len(self._letters),
            "poison_without_letter": len(poison - letters),
            "letters_without_poison": len(letters - poison),
            "letters_without_reason": sum(not letter.headers.get("reason") for letter in self._letters),
            "reasons": sorted({str(letter.headers.get("reason"))[:80] for letter in self._letters})[:3],
        }
