"""A script of a user's own: makes a bot, runs it as HOW says, and writes down how that ended."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import signal
import sys
import threading
from typing import Any

import hikari
from consume_bots import record, setup

from consumers import Bot


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
    how: dict[str, Any] = json.loads(os.environ.get("HOW", "{}"))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    in_thread = how.pop("in_thread", False)
    executor = concurrent.futures.ThreadPoolExecutor()
    bot = Bot(
        os.environ["AMQP_URL"],
        os.environ["DISCORD_TOKEN"],
        executor=executor,
        namespace=os.environ["GW_NAMESPACE"],
        group=os.environ["GW_GROUP"],
        rest_url=os.environ["GW_REST_URL"],
        connect_timeout_s=float(os.environ.get("GW_CONNECT_TIMEOUT", "30")),
        log_format="json",
    )
    setup(bot)
    bot.subscribe(hikari.StartedEvent, started_on(loop))
    if in_thread:
        thread = threading.Thread(target=bot.run, kwargs=how)
        thread.start()
        thread.join()
    else:
        run(bot, how)
    record("after", loop_is_closed=loop.is_closed(), executor_is_shut=is_shut(executor), is_alive=bot.is_alive)


def started_on(loop: asyncio.AbstractEventLoop) -> Any:
    async def on_started(_: hikari.StartedEvent) -> None:
        depth = sys.get_coroutine_origin_tracking_depth()
        is_the_scripts = asyncio.get_running_loop() is loop
        record("loop", is_the_scripts=is_the_scripts, debug=loop.get_debug(), depth=depth)

    return on_started


def run(bot: Bot, how: dict[str, Any]) -> None:
    if "status" in how:
        how["status"] = hikari.Status(how["status"])
    if "activity" in how:
        how["activity"] = hikari.Activity(name=how["activity"])
    try:
        bot.run(**how)
    except hikari.HikariInterrupt as interrupt:
        record("interrupt", number=interrupt.signum)


def is_shut(executor: concurrent.futures.Executor) -> bool:
    try:
        executor.submit(int).result()
    except RuntimeError:
        return True
    return False


if __name__ == "__main__":
    main()
