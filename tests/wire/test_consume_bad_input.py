"""What gw-consume says when something is wrong: one sentence, the right exit code, no traceback, soon."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from tests.wire import consume_rig
from tests.wire.consume_rig import Rig

if TYPE_CHECKING:
    pass


async def sentence(rig: Rig, *arguments: str, exit_code: int, **environment: str) -> str:
    process = rig.start(*arguments, **{"GW_LOG_LEVEL": "ERROR", **environment})
    assert await process.wait() == exit_code, process.sentences
    assert len(process.sentences) == 1, process.sentences
    assert not any("exception" in entry["message"].lower() for entry in process.log)
    assert process.sentences[0].startswith("gw-consume: ")
    return process.sentences[0]


@pytest.mark.parametrize(
    ("entrypoint", "said"),
    [
        ("no_such_bots:setup", "no module 'no_such_bots'"),
        ("consume_bots:no_such", "has no 'no_such'"),
        ("consume_bots:BIG", "not callable but str"),
        ("consume_bots", "module:function"),
        ("consume_bots:refuses", "RuntimeError: not today"),
        ("raising_bots:setup", "ZeroDivisionError"),
        ("bot_bots:bot", "is a bot: name a function that takes a bot"),
        ("consume_bots:starts", "the bot was started before its time"),
    ],
)
async def test_a_wrong_entrypoint(rig: Rig, entrypoint: str, said: str) -> None:
    (rig.directory / "raising_bots.py").write_text("1 / 0\n")
    (rig.directory / "bot_bots.py").write_text(
        "import hikari\nbot = hikari.GatewayBot('NDE5.t.t', banner=None, logs=None)\n"
    )
    directory = str(rig.directory) if entrypoint.startswith(("raising", "bot_")) else str(consume_rig.BOTS)
    text = await sentence(rig, "-ep", entrypoint, "--entrypoint-dir", directory, exit_code=2, GW_ENTRYPOINT="")
    assert said in text


async def test_no_entrypoint(rig: Rig) -> None:
    assert "--entrypoint (GW_ENTRYPOINT) is missing" in await sentence(rig, exit_code=2, GW_ENTRYPOINT="")


async def test_all_wrong_settings_are_said_together(rig: Rig) -> None:
    process = rig.start("--prefetch", "0", "--processes", "many", "--group", "a b", DISCORD_TOKEN="")
    assert await process.wait() == 2
    assert len(process.sentences) == 4


async def test_an_unreachable_broker(rig: Rig) -> None:
    text = await sentence(rig, exit_code=1, AMQP_URL="amqp://guest:guest@127.0.0.1:9/", GW_CONNECT_TIMEOUT="0.3")
    assert "no RabbitMQ answers at 127.0.0.1:9" in text


async def test_a_refused_login(rig: Rig) -> None:
    parts = urlsplit(rig.fleet.broker_url)
    url = f"amqp://nobody:wrong@{parts.hostname}:{parts.port}/"
    text = await sentence(rig, exit_code=2, AMQP_URL=url)
    assert "refused the login of user 'nobody'" in text
    assert "wrong@" not in text


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "amqp://", "nonsense", "amqp://host:port/"])
async def test_a_broken_url(rig: Rig, url: str) -> None:
    assert "is not a URL" in await sentence(rig, exit_code=2, AMQP_URL=url)


async def test_a_wrong_bot_token(rig: Rig) -> None:
    text = await sentence(rig, exit_code=2, DISCORD_TOKEN="some.other.token")
    assert "Discord refused the bot token (401)" in text


async def test_discord_out_of_reach(rig: Rig) -> None:
    url = "http://127.0.0.1:9/api/v10"
    text = await sentence(rig, exit_code=1, GW_REST_URL=url, GW_CONNECT_TIMEOUT="2")
    assert f"Discord's REST API at {url} gave no usable answer" in text


async def test_something_that_is_not_discord(rig: Rig) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"hello": "world"})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v10"
    try:
        assert "is not Discord's REST API" in await sentence(rig, exit_code=1, GW_REST_URL=url)
    finally:
        await runner.cleanup()


async def test_no_coordinator(rig: Rig) -> None:
    text = await sentence(rig, exit_code=1, GW_NAMESPACE=f"{rig.names.namespace}-empty", GW_CONNECT_TIMEOUT="4")
    assert "no coordinator answered" in text
    await rig.observer.exchange_delete(f"{rig.names.namespace}-empty.shard")


async def test_a_queue_of_another_shape(rig: Rig) -> None:
    await rig.observer.declare_queue(rig.queue, durable=False, auto_delete=True)
    text = await sentence(rig, exit_code=1, GW_CONNECT_TIMEOUT="4")
    assert "did not set up what we need" in text
    assert rig.queue in text


async def test_a_library_whose_pins_exclude_the_installed_hikari_is_named_and_the_rest_runs(rig: Rig) -> None:
    metadata = rig.directory / "oldlib-1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: oldlib\nVersion: 1.0\nRequires-Dist: hikari<2.0\n")
    process = await rig.started(PYTHONPATH=str(rig.directory))
    (entry,) = process.logged("unmet_pin")
    assert entry["message"].startswith("oldlib 1.0 asks for hikari<2.0, and hikari ")
    assert "install a version of oldlib that takes it" in entry["message"]
    assert await process.stop() == 0
