"""What a group remembers of its command syncs: which set of commands it sent, and what Discord made of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from eventbus.messages import Message

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class CommandsSynced(Message):
    """A bulk overwrite that Discord accepted: `wanted` is the digest of its body, `made` of what Discord then had.

    `scope` is `APPLICATION` or `APPLICATION/GUILD`.
    """

    kind: Literal["commands_synced"] = "commands_synced"
    scope: Annotated[str, Field(pattern=r"^[0-9]{1,20}(/[0-9]{1,20})?$")]
    wanted: Digest
    made: Digest


command_record: TypeAdapter[CommandsSynced] = TypeAdapter(CommandsSynced)


def of_scope(records: Sequence[CommandsSynced], scope: str) -> list[CommandsSynced]:
    """The records of one scope, in their order."""
    return [record for record in records if record.scope == scope]
