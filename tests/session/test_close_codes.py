"""Each close code of Discord's table, sent by gw-sim: the right next step, and nothing lost on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from eventbus.errors import ConfigurationError

if TYPE_CHECKING:
    from tests.session.rig import Rig
    from tests.sim.conftest import StartSim


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 4000, 4001, 4002, 4005, 4008, 4999])
async def test_a_close_that_keeps_the_session_is_followed_by_a_resume(rig: Rig, code: int) -> None:
    shard, session = await rig.start_connected()
    if code == 1006:
        rig.sim.fault("drop", session=session)
    else:
        rig.sim.fault("close", code=code, session=session, keep_session=True)
    rig.send(5)
    assert await rig.connected(shard, established=2) == session
    rig.send(5)
    await rig.all_arrived(session)
    assert (rig.counted("identifies"), rig.counted("resumes")) == (1, 1)
    assert len(rig.permits.asked) == 1
    rig.assert_no_violations()


@pytest.mark.parametrize("code", [4003, 4007, 4009])
async def test_a_close_that_ends_the_session_is_followed_by_an_identify(rig: Rig, code: int) -> None:
    shard, first = await rig.start_connected()
    rig.sim.fault("close", code=code, session=first, keep_session=False)
    second = await rig.connected(shard, established=2)
    assert second != first
    rig.send(3)
    await rig.all_arrived(first, second)
    assert rig.counted("identifies") == 2
    assert (rig.counted("resumes"), rig.counted("resumes_refused")) == (0, 0)
    assert rig.permits.asked == [False, True]
    rig.assert_no_violations()


@pytest.mark.parametrize("code", [4001, 4005])
async def test_a_resume_that_is_refused_after_the_close_is_followed_by_an_identify(rig: Rig, code: int) -> None:
    shard, first = await rig.start_connected()
    rig.sim.fault("close", code=code, session=first, keep_session=False)
    second = await rig.connected(shard, established=2)
    assert second != first
    assert (rig.counted("identifies"), rig.counted("resumes_refused")) == (2, 1)
    rig.assert_no_violations()


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (4004, "set DISCORD_TOKEN"),
        (4010, "set GW_SHARD_COUNT"),
        (4011, "leave GW_SHARD_COUNT unset"),
        (4012, "update hikari-relay"),
        (4013, "correct GW_INTENTS"),
        (4014, "switch the privileged intents on in the developer portal"),
    ],
)
async def test_a_close_that_no_reconnect_mends_stops_the_shard_with_a_sentence(
    rig: Rig, code: int, change: str
) -> None:
    shard, session = await rig.start_connected()
    rig.sim.fault("close", code=code, session=session)
    error = await rig.end(shard)
    assert isinstance(error, ConfigurationError)
    assert len(error.problems) == 1
    assert change in error.problems[0]
    assert error.exit_code == 2
    assert len(rig.permits.asked) == 1


async def test_a_wrong_bot_token_is_said_to_be_wrong_without_repeating_it(rig: Rig) -> None:
    shard = rig.start(bot_token="wrong.bot.token")
    error = await rig.end(shard)
    assert isinstance(error, ConfigurationError)
    assert "Discord refused the bot token (4004)" in str(error)
    assert "wrong.bot.token" not in str(error)


async def test_invalid_intents_are_said_to_be_invalid(rig: Rig) -> None:
    error = await rig.end(rig.start(intents=1 << 40))
    assert "(4013)" in str(error)


async def test_disallowed_intents_are_said_to_be_disallowed(start_sim: StartSim, rig: Rig) -> None:
    sim = start_sim("--disallowed-intents", "2", "--token", "t.t.t")
    error = await rig.end(rig.start(gateway_url=sim.gateway_url, bot_token="t.t.t"))
    assert "(4014)" in str(error)


async def test_a_shard_that_does_not_exist_is_said_to_be_invalid(rig: Rig) -> None:
    error = await rig.end(rig.start(shard=3, shard_count=2))
    assert "(4010)" in str(error)
