"""What a gw-worker cannot run with: one sentence, the right exit code, nothing hanging."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops.errors import ChildRefusedError
from ops.fleet import Fleet, program
from ops.run_settings import SIMULATOR_TOKEN
from ops.supervisor import Supervisor
from tests.forge import launch

if TYPE_CHECKING:
    from pathlib import Path


async def refusal(
    broker_url: str,
    namespace: str,
    *worker_options: str,
    simulator: tuple[str, ...] = (),
    worker: dict[str, str] | None = None,
    coordinator: dict[str, str] | None = None,
) -> list[str]:
    """Run a worker that must refuse; its last words, without the log lines."""
    fleet_environment = {"AMQP_URL": broker_url, "DISCORD_TOKEN": SIMULATOR_TOKEN, "GW_NAMESPACE": namespace}
    lines: list[str] = []

    async def fleet_until_the_worker_ends() -> None:
        async with Supervisor(lambda name, line: lines.append(f"{name} | {line}"), lines.append, launch) as supervisor:
            fleet = Fleet(supervisor, fleet_environment | (coordinator or {}))
            await fleet.start_simulator("--shards", "2", "--max-concurrency", "2", *simulator)
            fleet.add_coordinator()
            fleet.environment |= {"DISCORD_TOKEN": SIMULATOR_TOKEN} | (worker or {})
            await fleet.add_worker(*worker_options).ended.wait()

    with pytest.raises(ChildRefusedError) as caught:
        await fleet_until_the_worker_ends()
    assert not any("Traceback" in line for line in lines)
    return [line for line in str(caught.value).splitlines() if line.startswith("gw-worker: ")]


async def test_a_bot_token_that_discord_refuses_with_4004(broker_url: str, namespace: str) -> None:
    (sentence,) = await refusal(broker_url, namespace, worker={"DISCORD_TOKEN": "MTk4.wrong.token"})

    assert "4004" in sentence
    assert "DISCORD_TOKEN" in sentence


async def test_intents_that_discord_disallows_with_4014(broker_url: str, namespace: str) -> None:
    (sentence,) = await refusal(
        broker_url,
        namespace,
        simulator=("--disallowed-intents", "32768"),
        coordinator={"GW_INTENTS": "GUILDS|MESSAGE_CONTENT"},
    )

    assert "4014" in sentence
    assert "GW_INTENTS" in sentence


async def test_a_shard_count_that_discord_refuses_with_4010(broker_url: str, namespace: str) -> None:
    (sentence,) = await refusal(
        broker_url, namespace, simulator=("--required-multiple", "4"), coordinator={"GW_SHARD_COUNT": "3"}
    )

    assert "4010" in sentence
    assert "GW_SHARD_COUNT" in sentence


async def test_a_range_beyond_the_shard_count(broker_url: str, namespace: str) -> None:
    (sentence,) = await refusal(broker_url, namespace, "--shards", "0-7")

    assert "--shards" in sentence
    assert "2" in sentence


@pytest.mark.parametrize("shards", ["5-3", "a", "1,,2", "0-", "-1", "1;2", ""])
async def test_a_malformed_range_before_anything_connects(shards: str, tmp_path: Path) -> None:
    lines: list[str] = []
    environment = {"DISCORD_TOKEN": "x.y.z", "AMQP_URL": "amqp://127.0.0.1:9/", "HOME": str(tmp_path)}

    async def worker_until_it_ends() -> None:
        async with Supervisor(lambda _, line: lines.append(line), lines.append) as supervisor:
            child = supervisor.add("worker", [program("gw-worker"), f"--shards={shards}"], environment)
            await child.ended.wait()

    with pytest.raises(ChildRefusedError):
        await worker_until_it_ends()
    assert [line.split(":")[1].strip() for line in lines] == ["--shards (GW_SHARDS)"], lines
