"""A private RabbitMQ node as a child process: start, stop, kill, restart with its data.

It listens on loopback only, has its own name, ports, folders, cookie and epmd, and so runs beside a system-wide
RabbitMQ and beside others of its kind. It cannot outlive its parent: the kernel kills it when the thread that runs
the event loop ends. The terminal's Ctrl-C does not reach it, so that its owner can drain first.

`python -m ops.broker_node --directory D [--port P]` runs one in the foreground.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from eventbus.errors import RelayError
from ops import launch_child
from ops.amqp_probe import answers_amqp
from ops.broker_config import LOOPBACK, BrokerIdentity, BrokerLimits, environment
from ops.broker_folder import BrokerFolder
from ops.errors import BrokerCommandError, BrokerMissingError, BrokerStartError, BrokerUnavailableError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence

SERVER = "rabbitmq-server"
# Debian's /usr/sbin/rabbitmq-server insists on root and changes user: the script behind it does neither.
DEBIAN_SCRIPTS = Path("/usr/lib/rabbitmq/bin")
SYSTEM_PATH = "/usr/sbin:/usr/local/sbin"  # where servers are and a user's PATH often does not look

PROBE_TIMEOUT_S = 2.0
PROBE_INTERVAL_S = 0.1
STOP_TIMEOUT_S = 20.0  # a clean stop takes about one second
KILL_TIMEOUT_S = 5.0
START_ATTEMPTS = 3
START_TIMEOUT_S = 120.0  # 3 to 8 s alone; four at once on two CPUs took 30
DEFAULT_LIMITS = BrokerLimits()


class BrokerNode:
    """One node, owned by the event loop that starts it. `async with` starts and stops it.

    `port` fixes the AMQP port; otherwise a free one is chosen and kept as long as it stays free. A plugin with a
    listener of its own (management, Prometheus, MQTT, ...) gets a free port, see `plugin_port`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int | None = None,
        plugins: Sequence[str] = (),
        limits: BrokerLimits = DEFAULT_LIMITS,
    ) -> None:
        self._folder = BrokerFolder(directory, plugins, limits, port)
        self._identity: BrokerIdentity | None = None
        self._node: Process | None = None
        self._epmd: Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """AMQP URL with user and password; the same after every restart."""
        return self._known.url

    @property
    def port(self) -> int:
        """The AMQP port on loopback."""
        return self._known.port

    @property
    def node_name(self) -> str:
        """Erlang's name of the node."""
        return self._known.node_name

    @property
    def log_directory(self) -> Path:
        """Where RabbitMQ's log (rabbit.log) and output (console.log) are."""
        return self._folder.paths.logs

    @property
    def pid(self) -> int | None:
        """Process id of the running node."""
        return self._node.pid if self._node is not None and self.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether the node's process is alive, ready or not."""
        return self._node is not None and self._node.returncode is None

    def plugin_port(self, plugin: str) -> int:
        """Port on loopback of a plugin that was asked for, for example `rabbitmq_management`."""
        return self._known.plugin_ports[plugin]

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start the node and return when it accepts connections (3 to 8 s).

        Raises BrokerUnavailableError (not installed, port taken, ended or silent) and BrokerDirectoryError.
        """
        if self.is_running:
            raise BrokerUnavailableError(f"The broker in {self._folder.paths.directory} runs already: stop it first.")
        is_known = self._identity is not None  # then clients come back to its ports
        attempts_left = 1 if is_known else START_ATTEMPTS
        while attempts_left:
            attempts_left -= 1
            try:
                await self._start_once(timeout_s)
                break
            except BrokerStartError:
                # Somebody took a port in the seconds between our choice and RabbitMQ's start: others are chosen then.
                if not attempts_left or self._identity is None or self._folder.are_free(self._identity.ports):
                    raise
                self._identity = None

    async def _start_once(self, timeout_s: float) -> None:
        server, epmd = _program(SERVER), _program("epmd")
        await self._stop_epmd()  # left over if the node ended by itself
        self._folder.release()
        self._identity = await asyncio.to_thread(self._folder.prepare, self._identity)
        try:
            async with asyncio.timeout(timeout_s):
                await self._start_processes(server, epmd)
        except TimeoutError as error:
            await self.kill()
            raise BrokerStartError(f"was not ready within {timeout_s:g} s", self.log_directory) from error
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """Stop cleanly with SIGTERM, with SIGKILL if that takes too long. The data stay."""
        if self._node is not None:
            await _end(self._node, signal.SIGTERM, STOP_TIMEOUT_S)
        await self._stop_epmd()
        self._folder.release()

    async def kill(self) -> None:
        """End the node at once with SIGKILL, as a crash would. What was confirmed stays."""
        if self._node is not None:
            await _end(self._node, signal.SIGKILL, KILL_TIMEOUT_S)
        await self._stop_epmd()
        self._folder.release()

    async def restart(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Stop and start again with the same name, port, password and data."""
        await self.stop()
        await self.start(timeout_s)

    async def wait(self) -> int:
        """Wait until the node ends for whatever reason; its return code, negative for a signal."""
        if self._node is None:
            raise BrokerUnavailableError("The broker was never started: start it first.")
        return await self._node.wait()

    async def ctl(self, *arguments: str, timeout_s: float = 120.0) -> str:
        """Run rabbitmqctl against the node (1 to 2 s) and return what it prints; BrokerCommandError if it fails."""
        process = await asyncio.create_subprocess_exec(
            _program("rabbitmqctl"),
            "--quiet",
            *arguments,
            env=self._environment(),
            cwd=self._folder.paths.directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(timeout_s):
                output, _ = await process.communicate()
        except TimeoutError as error:
            raise BrokerCommandError(f"rabbitmqctl {arguments[0]} did not end within {timeout_s:g} s.") from error
        finally:
            if process.returncode is None:
                await _end(process, signal.SIGKILL, KILL_TIMEOUT_S)
        text = output.decode(errors="replace").strip()
        if process.returncode != 0:
            raise BrokerCommandError(f"rabbitmqctl {arguments[0]} failed: {text}")
        return text

    @property
    def _known(self) -> BrokerIdentity:
        if self._identity is None:
            raise BrokerUnavailableError("The broker has no address before its first start: start it first.")
        return self._identity

    def _environment(self) -> dict[str, str]:
        return environment(self._known, self._folder.paths, os.environ)

    async def _start_processes(self, server: str, epmd: str) -> None:
        known = self._known
        with self._folder.paths.console.open("ab") as console:
            self._epmd = await self._launch(console, epmd, "-port", str(known.epmd_port), "-address", LOOPBACK)
            await self._until_listening(known.epmd_port)
            self._node = await self._launch(console, server)
        await self._until_ready()

    async def _launch(self, console: IO[bytes], *command: str) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-IS",
            launch_child.__file__,
            str(os.getpid()),
            *command,
            env=self._environment(),
            cwd=self._folder.paths.directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            # The children hold the folder's lock too: after a crash of this process it is free when they are gone.
            pass_fds=self._folder.lock,
        )

    async def _until_listening(self, port: int) -> None:
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(LOOPBACK, port)
                writer.transport.abort()
                return
            if self._epmd is None or self._epmd.returncode is not None:
                raise BrokerStartError("could not start its epmd", self.log_directory)
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def _until_ready(self) -> None:
        while not await answers_amqp(LOOPBACK, self.port, PROBE_TIMEOUT_S):
            if not self.is_running:
                raise BrokerStartError("ended while it started", self.log_directory)
            await asyncio.sleep(PROBE_INTERVAL_S)
        if not self.is_running:  # then something else answered on the port
            raise BrokerStartError("ended while it started", self.log_directory)

    async def _stop_epmd(self) -> None:
        if self._epmd is not None:
            await _end(self._epmd, signal.SIGTERM, KILL_TIMEOUT_S)
            self._epmd = None


async def _end(process: Process, first: signal.Signals, patience_s: float) -> None:
    """Send the signal, and SIGKILL if the process is still there after `patience_s`; return when it is gone.

    What it has left in its process group ends with it: a loaded machine can leave Erlang's starters of epmd behind.
    """
    if process.returncode is not None:
        return
    leads_group = _leads_group(process)
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(first)
    try:
        async with asyncio.timeout(patience_s):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if leads_group:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _leads_group(process: Process) -> bool:
    try:
        return os.getpgid(process.pid) == process.pid
    except ProcessLookupError:
        return False


def _program(name: str) -> str:
    places = (str(DEBIAN_SCRIPTS), os.environ.get("PATH", os.defpath), SYSTEM_PATH)
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise BrokerMissingError(name)
    return found


async def _serve(node: BrokerNode) -> None:
    """Run the node until SIGTERM or SIGINT; print its URL as a line of JSON when it is ready."""
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_stop.set)
    running = asyncio.create_task(_run(node), name="run the broker")
    stopping = asyncio.create_task(asked_to_stop.wait(), name="wait for a signal")
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    running.cancel()  # its `async with` stops the node
    await asyncio.wait({running})
    if not running.cancelled():
        running.result()
        raise BrokerUnavailableError(f"RabbitMQ ended by itself: see the logs in {node.log_directory}.")


async def _run(node: BrokerNode) -> None:
    async with node:
        sys.stdout.write(json.dumps({"url": node.url, "pid": node.pid, "node_name": node.node_name}) + "\n")
        sys.stdout.flush()
        await node.wait()


def main() -> None:
    """Run one node in the foreground: the command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m ops.broker_node", description="Run a private RabbitMQ node.")
    parser.add_argument("--directory", type=Path, required=True, help="folder for its data, logs and password")
    parser.add_argument("--port", type=int, help="AMQP port on loopback (default: a free one)")
    parser.add_argument("--plugin", action="append", default=[], help="plugin to enable; may be repeated")
    arguments = parser.parse_args()
    try:
        asyncio.run(_serve(BrokerNode(arguments.directory, port=arguments.port, plugins=arguments.plugin)))
    except RelayError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
