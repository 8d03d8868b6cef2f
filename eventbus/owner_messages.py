"""What the processes of a consumer group tell each other about who owns which components; see docs/wire.md."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from eventbus.messages import Message

MAX_KEYS = 1000

OwnerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,255}$")]
OwnerKey = Annotated[int, Field(ge=0, lt=2**64)]


class Owned(Message):
    """What has these keys belongs to the process whose queue is `owner`; the latest word counts."""

    kind: Literal["owned"] = "owned"
    owner: OwnerName
    keys: Annotated[tuple[OwnerKey, ...], Field(max_length=MAX_KEYS)]


class OwnersRollCall(Message):
    """The process whose queue is `owner` has just come: tell it what you own."""

    kind: Literal["owners.roll_call"] = "owners.roll_call"
    owner: OwnerName


OwnerNotice = Annotated[Owned | OwnersRollCall, Field(discriminator="kind")]


class ForwardHandled(Message):
    """The listeners of a forwarded dispatch ended. `failure`: hikari cannot read it; `listener_failure`: one raised."""

    kind: Literal["forward.handled"] = "forward.handled"
    failure: str | None = None
    listener_failure: str | None = None


class ForwardBegun(Message):
    """The listeners of a forwarded dispatch run; told only when they run for a while."""

    kind: Literal["forward.begun"] = "forward.begun"


class ForwardDeclined(Message):
    """The process takes no more: handle it yourself."""

    kind: Literal["forward.declined"] = "forward.declined"


ForwardReply = Annotated[ForwardBegun | ForwardHandled | ForwardDeclined, Field(discriminator="kind")]

owner_notice: TypeAdapter[OwnerNotice] = TypeAdapter(OwnerNotice)
forward_reply: TypeAdapter[ForwardReply] = TypeAdapter(ForwardReply)
