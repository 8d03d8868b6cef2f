"""What people write: seeded text of a given length, now and then hostile to careless parsers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_WORDS = tuple(
    word
    for line in (
        "the a and of to in is it you that he was for on are with as his they be at one have this from or had by hot",
        "but some what there we can out other were all your when up use word how said an each she which do their time",
        "if will way about many then them would write like so these her long make thing see him two has look more day",
        "could go come did my sound no most number who over know water than call first people may down side now find",
    )
    for word in line.split()
)
_RARE = (
    "naïve",
    "Übung",
    "日本語",
    "🎉",
    "👩‍👩‍👧",
    "<@123456789012345678>",
    "<:wave:190000000000000000>",
    "`code`",
    "||spoiler||",
    "https://example.com/a?b=c&d=%20",
    'he said "yes"',
    "back\\slash",
    "line\nbreak",
    "\u2028",
    '"t":"READY","s":1,"op":9,"d":false',
    '{"op":7,"d":null,"s":null,"t":null}',
    "\x00\x1f",
)


def sentence(rng: random.Random, length: int) -> str:
    """About `length` characters of text; one word in 25 is rare, quoted, not Latin, or looks like a gateway frame."""
    words: list[str] = []
    size = 0
    while size < length:
        word = rng.choice(_RARE) if rng.random() < 0.04 else rng.choice(_WORDS)
        words.append(word)
        size += len(word) + 1
    return " ".join(words)
