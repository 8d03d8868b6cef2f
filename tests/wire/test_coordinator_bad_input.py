"""Bad input ends in one clear sentence: a typed reply on the wire, an exit code on the command line."""

from __future__ import annotations

import signal
from urllib.parse import urlsplit, urlunsplit

import orjson
import pytest

from eventbus import messages
from eventbus.errors import RemoteError
from tests.wire.coordinator_rig import CoordinatorProcess, DiscordStandIn, HandWorker, rig

BAD, VERSION = messages.ErrorCode.BAD_REQUEST, messages.ErrorCode.UNKNOWN_VERSION
REGISTER = {"v": 1, "kind": "register", "worker_id": "a", "shards": "0"}
HELD_OF_A_BILLION = {
    "shard": 0,
    "fencing_token": 1,
    "session": {"session_id": "s", "resume_url": "", "seq": 1, "shard_count": 10**9},
}


async def ends(process: CoordinatorProcess, code: int) -> str:
    """The one sentence that it ends with."""
    assert await process.wait() == code, process.log
    assert "Traceback" not in process.log
    assert len(process.sentences) == 1, process.log
    assert process.sentences[0].startswith("gw-coordinator: ")
    return process.sentences[0]


async def test_every_malformed_request_gets_a_typed_reply_and_stops_nothing(broker_url: str, namespace: str) -> None:
    bodies = [
        (b"", BAD, "not JSON"),
        (b"\xff\xfe", BAD, "not JSON"),
        (b"{", BAD, "not JSON"),
        (b"[]", BAD, "body"),
        (b"null", BAD, "body"),
        (b"{}", BAD, "kind"),
        (b'{"v":2,"kind":"state"}', VERSION, "send v=1"),
        (b'{"v":"x","kind":"state"}', VERSION, "send v=1"),
        (b'{"v":1,"kind":"dance"}', BAD, "dance"),
        (orjson.dumps(REGISTER | {"colour": "red"}), BAD, "colour"),
        (orjson.dumps(REGISTER | {"worker_id": "a b"}), BAD, "worker_id"),
        (orjson.dumps(REGISTER | {"capacity": 0}), BAD, "capacity"),
        (orjson.dumps(REGISTER | {"shards": 7}), BAD, "shards"),
        (orjson.dumps(REGISTER | {"held": [{"shard": -1, "fencing_token": 1}]}), BAD, "held.0.shard"),
        (orjson.dumps(REGISTER | {"held": [HELD_OF_A_BILLION]}), BAD, "held.0.session.shard_count"),
        (orjson.dumps(REGISTER | {"shards": "0-"}), BAD, "not a shard range"),
        (orjson.dumps(REGISTER | {"shards": "0-99"}), messages.ErrorCode.OUT_OF_RANGE, "shard 99"),
        (b'{"v":1,"kind":"renew","worker_id":"nobody"}', messages.ErrorCode.UNKNOWN_WORKER, "register"),
        (b'{"v":1,"kind":"leave","worker_id":"nobody"}', messages.ErrorCode.UNKNOWN_WORKER, "register"),
    ]
    async with rig(broker_url, namespace) as fleet:
        leader = await fleet.leader()
        worker = await fleet.worker("raw")
        for body, code, part in bodies:
            reply = await fleet.raw_call(worker, body)
            assert isinstance(reply, messages.Failure), body
            assert reply.code == code, (body, reply)
            assert part in reply.message, (body, reply)
        assert [lease.shard for lease in (await worker.register("0")).leases] == [0]
        assert "Traceback" not in leader.log


async def test_forged_or_late_messages_change_nothing_and_get_a_typed_error(broker_url: str, namespace: str) -> None:
    absurd = 2**53
    async with rig(broker_url, namespace) as fleet:
        leader = await fleet.leader()
        holder, forger = await fleet.worker("holder"), await fleet.worker("forger")
        await holder.register("0-1")
        await holder.hold(0, 1)
        await forger.register("2", capacity=1)
        token = holder.held[0].fencing_token
        before = await _held(holder)
        stale, unknown = messages.ErrorCode.STALE_LEASE, messages.ErrorCode.UNKNOWN_WORKER
        forged: list[tuple[messages.Message, messages.ErrorCode]] = [
            (messages.Renew(worker_id="nobody", held=(holder.held[0],)), unknown),
            (messages.Leave(worker_id="nobody"), unknown),
            *[
                (messages.IdentifyRequest(worker_id=who, shard=shard, fencing_token=number), stale)
                for who, shard, number in (
                    ("nobody", 0, token),
                    ("forger", 0, token),
                    ("holder", 0, token + 1),
                    ("holder", 0, absurd),
                    ("holder", 99, token),
                )
            ],
            *[
                (messages.Release(worker_id=who, shard=shard, fencing_token=number), stale)
                for who, shard, number in (
                    ("nobody", 0, token),
                    ("forger", 0, token),
                    ("holder", 0, token - 1),
                    ("holder", 0, absurd),
                    ("holder", 99, token),
                    ("nobody", 3, absurd),
                    ("nobody", 3, token + 1),
                )
            ],
        ]
        for request, code in forged:
            reply = await fleet.raw_call(forger, messages.encode(request))
            assert isinstance(reply, messages.Failure), request
            assert reply.code == code, (request, reply)
        for claimed in (token - 1, token, token + 50, absurd, 2**63 - 1):
            forger.held[0] = messages.HeldLease(shard=0, fencing_token=claimed)
            for reply in (await forger.renew(), await forger.register("2", capacity=1)):
                assert 0 not in {lease.shard for lease in reply.leases}
                refused = messages.RefusedLease(shard=0, fencing_token=claimed, code=messages.ErrorCode.STALE_LEASE)
                assert reply.refused == (refused,)
        assert await _held(holder) == before
        assert "Traceback" not in leader.log


async def test_a_leader_that_learns_believes_no_forged_claim(broker_url: str, namespace: str) -> None:
    session = messages.Session(session_id="forged", resume_url="ws://127.0.0.1:9/", seq=9, shard_count=4)
    async with rig(broker_url, namespace) as fleet:
        leader = await fleet.leader()
        holder, forger = await fleet.worker("holder"), await fleet.worker("forger")
        await holder.register("0-1")
        await holder.hold(0)
        token = holder.held[0].fencing_token
        leader.signal(signal.SIGKILL)
        await leader.wait()
        await fleet.coordinator()
        forger.held[0] = messages.HeldLease(shard=0, fencing_token=token + 1, state="connected", session=session)
        assert 0 not in {lease.shard for lease in (await forger.register("2", capacity=1)).leases}
        release = messages.Release(worker_id="nobody", shard=0, fencing_token=token + 1, session=session)
        reply = await fleet.raw_call(forger, messages.encode(release))
        assert isinstance(reply, messages.Failure)
        assert reply.code == messages.ErrorCode.STALE_LEASE
        (kept,) = [lease for lease in (await holder.register("0-1")).leases if lease.shard == 0]
        assert (kept.fencing_token, kept.session) == (token, None)


async def _held(worker: HandWorker) -> dict[int, int]:
    return {lease.shard: lease.fencing_token for lease in (await worker.renew()).leases}


async def test_a_range_beyond_the_shard_count_is_refused_by_name(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader()
        worker = await fleet.worker("a")
        with pytest.raises(RemoteError, match=r"'0-15' reaches to shard 15, but the bot has 4 shards"):
            await worker.register("0-15")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--amqp-url", "nonsense"), "--amqp-url (AMQP_URL)"),
        (("--amqp-url", "http://host/"), "--amqp-url (AMQP_URL)"),
        (("--intents", "GUILDZ"), "did you mean GUILDS?"),
        (("--shard-count", "none"), "--shard-count (GW_SHARD_COUNT)"),
        (("--rest-url", "discord.com"), "--rest-url (GW_REST_URL)"),
    ],
)
async def test_wrong_settings_end_with_exit_code_2(arguments: tuple[str, ...], part: str) -> None:
    process = CoordinatorProcess(*arguments, DISCORD_TOKEN="a.b.c")
    assert part in await ends(process, 2)


async def test_a_missing_bot_token_ends_with_exit_code_2() -> None:
    assert "--token (DISCORD_TOKEN) is missing" in await ends(CoordinatorProcess(), 2)


async def test_a_wrong_bot_token_ends_with_exit_code_2_and_is_not_shown(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        process = await fleet.coordinator(DISCORD_TOKEN="wrong.bot.token")
        assert "refused the bot token (401): set DISCORD_TOKEN" in await ends(process, 2)
        assert "wrong.bot.token" not in process.log


@pytest.mark.parametrize(
    ("answer", "status", "part"),
    [
        ({"message": "500"}, 500, "HTTP status 500"),
        ({"message": "404"}, 404, "HTTP status 404"),
        ({"unlike": "Discord"}, 200, "not Discord's"),
        ([], 200, "not Discord's"),
        ("<html>", 200, "not Discord's"),
        ({"message": "moved"}, 302, "HTTP status 302"),
    ],
)
async def test_a_discord_without_a_usable_answer_is_tried_again_and_then_ends_with_exit_code_1(
    broker_url: str, namespace: str, answer: object, status: int, part: str
) -> None:
    stand_in = DiscordStandIn()
    stand_in.answer, stand_in.status = answer, status
    async with rig(broker_url, namespace, stand_in) as fleet:
        process = await fleet.coordinator("--connect-timeout", "3")
        assert part in await ends(process, 1)
        assert stand_in.asked_count > 1


async def test_a_discord_that_asks_for_peace_is_not_asked_again_before(broker_url: str, namespace: str) -> None:
    stand_in = DiscordStandIn()
    stand_in.answer, stand_in.status, stand_in.headers = {"message": "429"}, 429, {"Retry-After": "2.5"}
    async with rig(broker_url, namespace, stand_in) as fleet:
        process = await fleet.coordinator("--connect-timeout", "4.9")
        assert "HTTP status 429" in await ends(process, 1)
        assert stand_in.asked_count == 2


async def test_an_unreachable_discord_ends_with_exit_code_1(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        process = await fleet.coordinator("--connect-timeout", "0.5", GW_REST_URL="http://127.0.0.1:9/api/v10")
        assert "check the network and GW_REST_URL" in await ends(process, 1)


async def test_an_unreachable_broker_ends_with_exit_code_1(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        process = await fleet.coordinator("--connect-timeout", "0.5", AMQP_URL="amqp://guest:guest@127.0.0.1:9/")
        assert "no RabbitMQ answers at 127.0.0.1:9" in await ends(process, 1)


async def test_a_refused_login_ends_with_exit_code_2_and_shows_no_password(broker_url: str, namespace: str) -> None:
    parts = urlsplit(broker_url)
    wrong = urlunsplit(parts._replace(netloc=f"nobody:hunter2secret@{parts.hostname}:{parts.port}"))
    async with rig(broker_url, namespace) as fleet:
        process = await fleet.coordinator(AMQP_URL=wrong)
        assert "refused the login of user 'nobody'" in await ends(process, 2)
        assert "hunter2secret" not in process.log


async def test_sigterm_while_discord_does_not_answer_ends_cleanly(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        process = await fleet.coordinator(GW_REST_URL="http://127.0.0.1:9/api/v10")
        await process.logged("discord_retry")
        process.signal(signal.SIGTERM)
        assert await process.wait() == 0
        assert process.sentences == []
