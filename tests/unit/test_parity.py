"""docs/parity.md says the truth about every member and parameter of hikari's GatewayBot, on each supported hikari."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import hikari
import pytest
from hikari import impl

from consumers import Bot
from consumers.start_request import StartRequest
from eventbus.errors import ConfigurationError
from tests import parity_table
from tests.parity_table import DIFFERENT, PARAMETERS, REFUSED, SAME, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

MEMBERS = parity_table.hikari_members()
ROWS = {(member, parameter): verdict for member, parameter, verdict in parity_table.verdicts()}


def sub(kind: str) -> list[tuple[str, str]]:
    return sorted(row for row, verdict in ROWS.items() if verdict.kind == kind and row[1])


def test_every_member_has_a_row_and_no_row_is_left_over() -> None:
    assert {member for member, _ in ROWS} == MEMBERS.keys()


@pytest.mark.parametrize("member", PARAMETERS)
def test_every_parameter_has_a_row_and_no_row_is_left_over(member: str) -> None:
    signature = MEMBERS[member]
    assert signature is not None
    assert PARAMETERS[member].keys() == signature.parameters.keys()


@pytest.mark.parametrize("member", sorted(name for name, signature in MEMBERS.items() if signature is not None))
def test_every_member_takes_the_parameters_of_hikari(member: str) -> None:
    signature = MEMBERS[member]
    assert signature is not None
    ours = parity_table.our_parameters(member)
    assert signature.parameters.keys() <= ours.keys()
    for name, parameter in signature.parameters.items():
        if PARAMETERS.get(member, {}).get(name, Verdict(SAME)).kind == SAME:
            assert ours[name] == parameter.default, name


@pytest.mark.parametrize("member", sorted(name for name, signature in MEMBERS.items() if signature is None))
def test_what_is_no_method_there_is_none_here(member: str) -> None:
    assert isinstance(inspect.getattr_static(Bot, member), property)


@pytest.mark.parametrize(("member", "parameter"), sub(REFUSED))
def test_what_is_refused_raises_the_sentence_of_the_page(member: str, parameter: str) -> None:
    verdict = ROWS[member, parameter]
    given: Mapping[str, Any] = {parameter: verdict.sample}
    if parameter == "shard_ids":
        given = {**given, "shard_count": 1}  # hikari refuses one without the other
    with pytest.raises(ConfigurationError) as raised:
        Bot("amqp://127.0.0.1/", "token", **given) if member == "GatewayBot" else StartRequest(**given)
    assert f"{parameter}: {verdict.how}" in raised.value.problems


@pytest.mark.parametrize(("member", "parameter"), sub(REFUSED))
def test_the_usual_value_of_what_is_refused_is_taken(member: str, parameter: str) -> None:
    usual = parity_table.our_parameters(member)[parameter]
    Bot("amqp://127.0.0.1/", "token", **{parameter: usual}) if member == "GatewayBot" else StartRequest(
        **{parameter: usual}
    )


def test_the_same_errors_as_hikari_for_values_that_hikari_refuses() -> None:
    with pytest.raises(TypeError, match="'shard_ids' must be passed with 'shard_count'"):
        StartRequest(shard_ids=[0])
    with pytest.raises(ValueError, match="at least 5 seconds"):
        StartRequest(startup_window_delay=4)
    unknown: Any = {"colour": 1}
    with pytest.raises(TypeError, match="colour"):
        StartRequest(**unknown)
    with pytest.raises(ConfigurationError, match="colour: there is no such setting"):
        Bot("amqp://127.0.0.1/", "token", **unknown)


def test_a_difference_is_explained_and_the_page_is_as_generated() -> None:
    assert all(verdict.how for verdict in ROWS.values() if verdict.kind != SAME)
    assert {verdict.kind for verdict in ROWS.values()} == {SAME, DIFFERENT, REFUSED}
    assert parity_table.PAGE.read_text(encoding="utf-8") == parity_table.page(), "run `make parity`"


def test_the_settings_of_the_parts_are_those_that_were_given() -> None:
    executor = ThreadPoolExecutor()
    http, proxy = impl.HTTPSettings(max_redirects=3), impl.ProxySettings(url="http://127.0.0.1:1/")
    cache = impl.CacheSettings(max_messages=7)
    bot = Bot(
        "amqp://127.0.0.1/",
        "token",
        executor=executor,
        http_settings=http,
        proxy_settings=proxy,
        cache_settings=cache,
        rest_url="http://127.0.0.1:2/api",
        intents=hikari.Intents.GUILDS,
    )
    assert bot.executor is executor
    assert bot.http_settings is bot.rest.http_settings is http
    assert bot.proxy_settings is bot.rest.proxy_settings is proxy
    assert bot.cache.settings.max_messages == 7
    assert bot.intents == hikari.Intents.GUILDS
    with pytest.raises(ValueError, match="max_retries"):  # hikari's own bound
        Bot("amqp://127.0.0.1/", "token", max_retries=6)


def test_the_bot_has_the_token_id_and_the_capabilities_that_hikari_says() -> None:
    bot = Bot("amqp://127.0.0.1/", "NDE5NDMwNDAwMDAwNzY5MjMy.simulated.bot-token")
    assert bot.token_id == hikari.Snowflake(419430400000769232)
    assert bot.capabilities is hikari.GatewayCapabilities.NONE
    with pytest.raises(ValueError, match="Unexpected token format"):
        _ = Bot("amqp://127.0.0.1/", "token").token_id
