"""A script of a user's own that starts a fleet: FUNCTION of `consumers`, with OPTIONS; below no guard if UNGUARDED."""

from __future__ import annotations

import json
import os
from typing import Any

import consume_bots

import consumers
from consumers import Bot


def setup(bot: Bot) -> None:
    consume_bots.setup(bot)


def main() -> None:
    options: dict[str, Any] = json.loads(os.environ.get("OPTIONS", "{}"))
    if os.environ["FUNCTION"] == "run_server":
        consumers.run_server(os.environ["DISCORD_TOKEN"], os.environ["AMQP_URL"], **options)
    else:
        consumers.run_subprocesses(os.environ["DISCORD_TOKEN"], callback=setup, **options)


if __name__ == "__main__" or "UNGUARDED" in os.environ:
    main()
