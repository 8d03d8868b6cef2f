"""Interactions beside a flood: `python -m benchmarks.interaction_lane [SECONDS] [MESSAGES/S]`, real processes.

Discord sends 5,000 messages a second for SECONDS (60), more than the one consumer can handle, and 20 interactions a
second. Measured is the time from gw-sim to the handler of each interaction. Last line: one JSON object; exit code 0
only if its bounds hold, and the default lane really was overloaded. AMQP_URL names a broker that runs already; the
processes' log is `.run/benchmarks/processes.log`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from benchmarks.busy_stage import open_stage
from benchmarks.conclusion import conclude
from benchmarks.cpu_meter import CpuMeter
from benchmarks.running_broker import RunningBroker, open_broker
from ops.chaos.reliability.bounds import Bound, spread

MESSAGES, INTERACTIONS = 5000.0, 20.0
"""A second, over all shards."""
OVERLOAD_S = 2.0
"""Then the consumer's prefetch is full, and a backlog lies in the queue."""
BOUNDS = (
    Bound("to_handler_p99_ms", most=100),
    Bound("offered_share", least=0.95),
    Bound("messages_waiting_at_the_end", least=1000),
    Bound("lost", most=0),
    Bound("unanswered", most=0),
)


async def measure(broker: RunningBroker, *, seconds: float, messages: float) -> dict[str, Any]:
    """Flood, and compare."""
    async with open_stage(broker, consumer_count=1) as stage:
        await stage.start_traffic(messages=messages, interactions=INTERACTIONS)
        await asyncio.sleep(OVERLOAD_S)
        began_at, meter = time.time(), CpuMeter(stage.pids)
        await asyncio.sleep(seconds)
        ended_at = time.time()
        meter.look()
        await stage.simulator.stop_traffic()
        traffic = await stage.until_settled()
    per_second = traffic.per_second("MESSAGE_CREATE", began_at, ended_at)
    handled = sum(began_at <= at < ended_at for at in traffic.handled_at.values())
    return {
        "seconds": round(ended_at - began_at, 1),
        "messages_per_s": round(per_second),
        "offered_share": round(per_second / messages, 3),
        "handled_per_s": round(handled / (ended_at - began_at)),
        "messages_waiting_at_the_end": traffic.waiting_at("MESSAGE_CREATE", ended_at),
        **spread(
            traffic.delays_ms("INTERACTION_CREATE", began_at, ended_at, to_worker=True), "to_worker", "ms", digits=1
        ),
        **spread(traffic.delays_ms("INTERACTION_CREATE", began_at, ended_at), "to_handler", "ms", digits=1),
        **traffic.answer_figures(began_at, ended_at),
        "sent": len(traffic.sent),
        "lost": traffic.lost,
        "cores": meter.cores(ended_at - began_at),
    }


async def _main(seconds: float, messages: float) -> None:
    async with open_broker() as broker:
        figures = await measure(broker, seconds=seconds, messages=messages)
    conclude(figures, BOUNDS)


if __name__ == "__main__":
    given = [float(word) for word in sys.argv[1:]]
    asyncio.run(_main(*given, *(60.0, MESSAGES)[len(given) :]))
