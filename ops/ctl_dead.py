"""`gw-ctl dead`: read a group's dead letters, send them again, throw them away."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from eventbus.amqp.broker import Broker
from eventbus.amqp.dead_letters import DeadLetterReader
from eventbus.amqp.link import Link
from eventbus.errors import ConfigurationError, RelayError
from eventbus.names import Names
from eventbus.process import end_if_stopped, run_process, unless_stopped
from eventbus.settings import build, command
from ops.letter_choice import LetterChoice, check_message_id
from ops.letter_print import as_full_record, as_record, plain, print_json, print_letter, print_letters
from ops.letter_settings import ChosenSettings, DeadSettings, ListSettings, PurgeSettings, RetrySettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from eventbus.amqp.dead_letters import HeldLetter

NAME = "gw-ctl"

S = TypeVar("S", bound="DeadSettings")


class _Visit:
    """One connection to a group's dead letters; `stop` ends the reading between two letters."""

    def __init__(self, settings: DeadSettings, stop: asyncio.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._link = Link(Broker.from_settings(settings), name=NAME)
        self.reader = DeadLetterReader(self._link, Names(settings.namespace), settings.group)

    async def __aenter__(self) -> _Visit:
        opening = self._link.open(timeout_s=self._settings.connect_timeout_s)
        await unless_stopped(self._stop, opening)
        end_if_stopped(self._stop)
        try:
            await self.reader.__aenter__()
        except BaseException:
            await self._link.close()
            raise
        return self

    async def __aexit__(self, *raised: Any) -> None:  # noqa: ANN401 - what `async with` gives
        self.reader.is_hurried = self._stop.is_set()
        try:
            await self.reader.__aexit__(*raised)
        finally:
            await self._link.close()

    async def letters(self, choice: LetterChoice, limit: int | None) -> AsyncIterator[HeldLetter]:
        """The letters that are meant, oldest first, at most `limit`; all ids once found end it."""
        found = 0
        async for held in self.reader:
            if self._stop.is_set():
                return
            if choice.matches(held.letter, time.time()):
                yield held
                found += 1
                if limit is not None and found >= limit:
                    return


def _list(settings: ListSettings) -> None:
    """List dead letters, oldest first; they all stay, in their order."""
    choice = LetterChoice(event_type=settings.event_type)

    async def work(stop: asyncio.Event) -> None:
        async with _Visit(settings, stop) as visit:
            letters = [held.letter async for held in visit.letters(choice, settings.limit)]
        now = time.time()
        if settings.json_output:
            records = [as_record(letter, now) for letter in letters]
            print_json({"group": settings.group, "count": visit.reader.count, "letters": records})
        else:
            print_letters(settings.group, visit.reader.count, letters, now)
        end_if_stopped(stop)

    run_process(NAME, settings, work)


def _show(settings: DeadSettings, message_ids: Sequence[str]) -> None:
    """Show everything about a dead letter: headers, properties, body. It stays."""
    choice = LetterChoice(frozenset(message_ids))

    async def work(stop: asyncio.Event) -> None:
        async with _Visit(settings, stop) as visit:
            letters = [held.letter async for held in visit.letters(choice, None)]
        now = time.time()
        for letter in letters:
            if settings.json_output:
                print_json(as_full_record(letter, now))
            else:
                print_letter(letter, now)
        end_if_stopped(stop)
        _refuse_missing(choice, [letter.message_id for letter in letters], settings.group)

    run_process(NAME, settings, work)


def _retry(settings: RetrySettings, message_ids: Sequence[str]) -> None:
    """Send dead letters to the queues they came from, then forget them here. Asks first, unless ids are given."""
    choice = settings.choice(message_ids)
    if not message_ids:
        _confirm(settings, choice, "send", "again", settings.limit)
    sent: list[str | None] = []
    kept: list[tuple[str | None, str]] = []

    async def work(stop: asyncio.Event) -> None:
        async with _Visit(settings, stop) as visit:
            try:
                async for held in visit.letters(choice, settings.limit):
                    problem = await visit.reader.send_again(held)
                    if problem is None:
                        sent.append(held.letter.message_id)
                    else:
                        kept.append((held.letter.message_id, problem))
            except RelayError as error:
                raise RelayError(f"{len(sent)} letters were sent again; then: {error}. Run it again") from error
        _report(settings, "sent", len(sent), visit.reader.count - len(sent), kept)
        end_if_stopped(stop)
        _refuse_missing(choice, [*sent, *(message_id for message_id, _ in kept)], settings.group)
        if kept:
            raise SystemExit(RelayError.exit_code)

    run_process(NAME, settings, work)


def _purge(settings: PurgeSettings, message_ids: Sequence[str]) -> None:
    """Throw dead letters away for good. Asks first."""
    choice = settings.choice(message_ids)
    _confirm(settings, choice, "throw", "away", None)
    purged: list[str | None] = []

    async def work(stop: asyncio.Event) -> None:
        async with _Visit(settings, stop) as visit:
            async for held in visit.letters(choice, None):
                await held.ack()
                purged.append(held.letter.message_id)
        _report(settings, "purged", len(purged), visit.reader.count - len(purged), [])
        end_if_stopped(stop)
        _refuse_missing(choice, purged, settings.group)

    run_process(NAME, settings, work)


def _confirm(settings: ChosenSettings, choice: LetterChoice, verb: str, adverb: str, limit: int | None) -> None:
    """Ask on a terminal how many are meant to go; needs --yes elsewhere."""
    if settings.yes:
        return
    if not sys.stdin.isatty():
        raise ConfigurationError(f"nobody can be asked here whether to {verb} letters {adverb}: add --yes")
    meant: list[int] = []

    async def count(stop: asyncio.Event) -> None:
        async with _Visit(settings, stop) as visit:
            if not choice.is_everything:
                meant.append(len([1 async for _ in visit.letters(choice, limit)]))
            else:
                meant.append(min(visit.reader.count, limit or visit.reader.count))
        end_if_stopped(stop)

    run_process(NAME, settings, count)
    if meant[0] and not typer.confirm(f"{verb} {meant[0]} dead letters of group {settings.group} {adverb}?", err=True):
        raise SystemExit(RelayError.exit_code)


def _report(settings: ChosenSettings, what: str, count: int, left: int, kept: Sequence[tuple[str | None, str]]) -> None:
    if settings.json_output:
        problems = [{"message_id": message_id, "problem": problem} for message_id, problem in kept]
        print_json({"group": settings.group, what: count, "left": left, "problems": problems})
        return
    sys.stdout.write(f"{what} {count}, left {left} in group {settings.group}\n")
    for message_id, problem in kept:
        sys.stdout.write(plain(f"not sent: {message_id}: {problem}") + "\n")
    sys.stdout.flush()


def _refuse_missing(choice: LetterChoice, found: Sequence[str | None], group: str) -> None:
    missing = sorted(choice.message_ids.difference(found))
    if missing:
        raise RelayError(f"group {group!r} has no such dead letter: {', '.join(missing)}")


def _with_message_ids(
    model: type[S], run: Callable[[S, Sequence[str]], None], *, required: bool
) -> Callable[..., None]:
    """A typer command with the options of `model` and message ids as its arguments."""

    def entry(message_ids: list[str] | None = None, **values: Any) -> None:  # noqa: ANN401 - typer gives texts
        problems: list[str] = []
        for message_id in message_ids or ():
            try:
                check_message_id(message_id)
            except ValueError as error:
                problems.append(str(error))
        if problems:
            raise ConfigurationError(problems)
        run(build(model, values), message_ids or [])

    options = inspect.signature(command(model, lambda _: None)).parameters
    annotation: Any = Annotated[
        list[str] if required else list[str] | None,
        typer.Argument(metavar="MESSAGE_ID", help="session_id:seq, as listed"),
    ]
    argument = inspect.Parameter(
        "message_ids",
        inspect.Parameter.KEYWORD_ONLY,
        annotation=annotation,
        default=inspect.Parameter.empty if required else None,
    )
    entry.__signature__ = inspect.Signature([argument, *options.values()])  # type: ignore[attr-defined]
    entry.__annotations__ = {name: one.annotation for name, one in {"message_ids": argument, **options}.items()}
    entry.__doc__ = run.__doc__
    entry.settings = model  # type: ignore[attr-defined]  # what `run_command` reads `.env` for
    return entry


def dead_app() -> typer.Typer:
    """The sub-commands of `gw-ctl dead`."""
    app = typer.Typer(no_args_is_help=True, help="Dead letters: what a group could not handle.")
    app.command("list")(command(ListSettings, _list))
    app.command("show")(_with_message_ids(DeadSettings, _show, required=True))
    app.command("retry")(_with_message_ids(RetrySettings, _retry, required=False))
    app.command("purge")(_with_message_ids(PurgeSettings, _purge, required=False))
    return app
