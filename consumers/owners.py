"""Brings a component or modal interaction to the process of the group that sent the message or opened the modal."""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from typing import TYPE_CHECKING

from consumers.claims import Claims
from consumers.outcome import Outcome
from consumers.owner_book import OwnerBook
from consumers.owner_keys import keys_of
from eventbus.amqp.owner_queue import OwnerQueue
from eventbus.errors import BrokerLostError, UnroutableError
from eventbus.owner_messages import MAX_KEYS, ForwardHandled, Owned, OwnersRollCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from consumers.frame import Frame
    from consumers.owner_keys import Key
    from eventbus.amqp.deliveries import Delivery
    from eventbus.amqp.link import Link
    from eventbus.names import Names
    from eventbus.owner_messages import OwnerNotice

_log = logging.getLogger(__name__)

GATHER_S = 0.01
LEARN_S = 0.3
PAUSE_S = 0.2
MAX_WAITING = 1000


class NotForwarded(Enum):
    """HERE: it is this process's, or nobody's. LOST: its owner may have had it, and is gone. LATE: it has not begun."""

    HERE = "here"
    LOST = "lost"
    LATE = "late"


class Owners:
    """What this process knows of the owners in its group. Run `tell` and `watch` as tasks; `learn` at the start."""

    def __init__(self, link: Link, names: Names, group: str, *, take: Callable[[Delivery], None]) -> None:
        self._book = OwnerBook()
        self._queue = OwnerQueue(link, names, group, hear=self._hear, take=take, opened=self._opened)
        self._untold: list[Key] = []
        self._newcomers: list[str] = []
        self._is_new = False
        self._has_news = asyncio.Event()
        self._forwarding: set[str] = set()
        self._late: set[str] = set()
        self.claims = Claims(self.claim)
        self.reply = self._queue.reply
        self.watch = self._queue.watch

    # What is whose

    def claim(self, keys: Iterable[Key]) -> None:
        """This process has sent or opened what has these keys: the group is told within some milliseconds."""
        keys = tuple(keys)
        self._book.claim(keys, _now())
        self._untold.extend(keys)
        self._has_news.set()

    def _hear(self, notice: OwnerNotice) -> None:
        if notice.owner == self._queue.name:
            return
        if isinstance(notice, Owned):
            self._book.learn(notice.owner, notice.keys, _now())
        elif len(self._newcomers) < MAX_WAITING:
            self._newcomers.append(notice.owner)
            self._has_news.set()

    def _opened(self) -> None:
        """Under a new name: all that is own is to be told again, and what others own was not heard meanwhile."""
        self._is_new = True
        self._untold = list(self._book.own_keys())
        self._has_news.set()

    async def learn(self) -> None:
        """Wait for what the others say they own."""
        await asyncio.sleep(LEARN_S)

    async def tell(self) -> None:
        """Tell the group for ever: what comes first at once, before its request is sent, the rest in one message."""
        while True:
            await self._has_news.wait()
            self._has_news.clear()
            is_new, self._is_new = self._is_new, False
            untold, self._untold = self._untold, []
            newcomers, self._newcomers = self._newcomers, []
            if is_new:
                await self._queue.tell_all([OwnersRollCall(owner=self._queue.name)])
            await self._queue.tell_all(tuple(self._owned(untold)))
            for newcomer in newcomers:
                for owned in self._owned(self._book.own_keys()):
                    await self._queue.tell(newcomer, owned)
            await asyncio.sleep(GATHER_S)

    def _owned(self, keys: Sequence[Key]) -> Iterator[Owned]:
        for start in range(0, len(keys), MAX_KEYS):
            yield Owned(owner=self._queue.name, keys=tuple(keys[start : start + MAX_KEYS]))

    # Interactions

    def is_forwarding(self, message_id: str) -> bool:
        """Whether another process handles that dispatch for this one."""
        return message_id in self._forwarding

    async def forward(
        self, delivery: Delivery, frame: Frame, *, begin_within_s: float | None
    ) -> Outcome | NotForwarded:
        """What came of an interaction where it belongs, if in another process: that has `begin_within_s` to begin.

        None: as long as it lives.
        """
        while owner := self._book.owner_of(keys_of(frame.payload), _now()):
            self._forwarding.add(frame.dispatch.message_id)
            try:
                reply = await self._queue.forward(delivery, owner, begin_within_s=begin_within_s)
            except UnroutableError:
                self._book.lose(owner)
                continue
            except TimeoutError:
                self._note_late(owner)
                return NotForwarded.LATE
            except BrokerLostError as error:
                _log.debug("not forwarded", extra={"action": "forward_lost", "reason": str(error)})
                await asyncio.sleep(PAUSE_S)
                return NotForwarded.LOST
            finally:
                self._forwarding.discard(frame.dispatch.message_id)
            if isinstance(reply, ForwardHandled):
                return Outcome(reply.failure, reply.listener_failure)
            if reply is None:  # it is gone, or only the way back was: the next forward tells which
                return NotForwarded.LOST
            self._book.lose(owner)
        return NotForwarded.HERE

    def _note_late(self, owner: str) -> None:
        if owner not in self._late and len(self._late) < MAX_WAITING:
            self._late.add(owner)
            sentence = (
                "a process does not begin with the clicks on its own components in time: its event loop is blocked,"
                " or as many run there as --limit allows"
            )
            _log.warning(sentence, extra={"action": "owner_late", "owner": owner})


def _now() -> float:
    return asyncio.get_running_loop().time()
