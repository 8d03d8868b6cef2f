"""A deploy under load: `python -m benchmarks.deploy [--in-place] [SECONDS] [INTERACTIONS/S MESSAGES/S]`.

Real processes and gw-sim. All consumers are replaced, one by one: a new one is started, and when it consumes, the old
one gets SIGTERM; with `--in-place`, one `gw-consume --processes 2` does that itself, on SIGUSR1. Discord
sends 525 interactions and 1,050 messages a second all the while, and for the rest of SECONDS (60). Handlers answer each
interaction over REST. Last line: one JSON object, with CPU by role in `cores`; exit code 0 only if its bounds hold.
AMQP_URL names a broker that runs already; the processes' log is `.run/benchmarks/processes.log`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.busy_stage import BusyStage, Reconnects, open_stage
from benchmarks.conclusion import conclude
from benchmarks.cpu_meter import CpuMeter
from benchmarks.running_broker import RunningBroker, open_broker
from ops.chaos.reliability.bounds import Bound
from ops.supervisor import send_signal

if TYPE_CHECKING:
    from collections.abc import Mapping

CONSUMER_COUNT = 2
INTERACTIONS, MESSAGES = 525.0, 1050.0
"""A second, over all shards: gw-sim keeps about 96 % of them, and 500 and 1,000 are asked for."""
WARM_UP_S = 5.0
CORRECT = (
    Bound("unanswered", most=0),
    Bound("answered_twice", most=0),
    Bound("lost", most=0),
    Bound("handled_twice", most=0),
    Bound("identifies", most=0),
    Bound("resumes", most=0),
    Bound("violations", most=0),
)
IN_TIME = (
    Bound("answered_late", most=0),
    Bound("answer_p99_ms", most=300),
    Bound("answer_max_ms", most=3000),
    Bound("offered_share", least=0.95),
)


async def measure(
    broker: RunningBroker,
    *,
    seconds: float,
    interactions: float,
    messages: float,
    in_place: bool = False,
    changes: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Stream, replace all consumers, stream on until `seconds` have passed, and compare."""
    counts = (1, CONSUMER_COUNT) if in_place else (CONSUMER_COUNT, 1)
    async with open_stage(broker, consumer_count=counts[0], process_count=counts[1], changes=changes) as stage:
        await stage.start_traffic(messages=messages, interactions=interactions)
        await asyncio.sleep(min(WARM_UP_S, seconds / 4))
        before = await Reconnects.until_now(stage.simulator)
        began_at = time.time()
        meter = CpuMeter(stage.pids)
        if in_place:
            steps = [await _replace_in_place(stage, meter)]
        else:
            steps = [await _replace(stage, number, meter) for number in range(CONSUMER_COUNT)]
        deploy_s = time.time() - began_at
        await asyncio.sleep(max(seconds - deploy_s, 1.0))
        ended_at = time.time()
        meter.look()
        await stage.simulator.stop_traffic()
        traffic = await stage.until_settled()
        since = (await Reconnects.until_now(stage.simulator)).since(before)
    per_second = traffic.per_second("INTERACTION_CREATE", began_at, ended_at)
    return {
        "consumers_replaced": CONSUMER_COUNT,
        "deploy_s": round(deploy_s, 1),
        "steps": steps,
        "interactions_per_s": round(per_second),
        "messages_per_s": round(traffic.per_second("MESSAGE_CREATE", began_at, ended_at)),
        "offered_share": round(per_second / interactions, 3),
        **traffic.answer_figures(began_at),
        "answer_p99_ms_in_the_deploy": traffic.answer_figures(began_at, began_at + deploy_s)["answer_p99_ms"],
        "sent": len(traffic.sent),
        "lost": traffic.lost,
        "handled_twice": traffic.handled_twice,
        **since,
        "cores": meter.cores(ended_at - began_at),
    }


async def _replace(stage: BusyStage, number: int, meter: CpuMeter) -> dict[str, float]:
    """A new consumer for an old one; how long the start took, and the old one's end."""
    began_at = time.monotonic()
    await stage.until_consuming(stage.add_consumer())
    started_at = time.monotonic()
    meter.look()
    await stage.cast.terminate(stage.cast.consumers[number])
    return {"start_s": round(started_at - began_at, 2), "end_s": round(time.monotonic() - started_at, 2)}


async def _replace_in_place(stage: BusyStage, meter: CpuMeter) -> dict[str, float]:
    """All of a supervisor's processes; how long that took."""
    began_at = time.monotonic()
    (supervisor,) = stage.cast.consumers
    if supervisor.child is not None:
        send_signal(supervisor.child, signal.SIGUSR1)
    for count in range(1, CONSUMER_COUNT + 1):
        await stage.until_said("child_up", CONSUMER_COUNT + count)
        meter.look()
    await stage.until_said("replaced", 1)
    return {"all_s": round(time.monotonic() - began_at, 2)}


async def _main(*load: float, in_place: bool) -> None:
    seconds, interactions, messages = load
    async with open_broker() as broker:
        figures = await measure(
            broker, seconds=seconds, interactions=interactions, messages=messages, in_place=in_place
        )
    conclude(figures, (*CORRECT, *IN_TIME))


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--in-place"]
    given = [float(word) for word in words]
    asyncio.run(_main(*given, *(60.0, INTERACTIONS, MESSAGES)[len(given) :], in_place=len(words) < len(sys.argv) - 1))
