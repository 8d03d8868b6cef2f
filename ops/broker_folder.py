"""The folder of a private RabbitMQ node: its identity, secrets, configuration and lock on disk."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from ops.broker_config import (
    LOOPBACK,
    PLUGIN_LISTENERS,
    BrokerIdentity,
    BrokerLimits,
    BrokerPaths,
    render_config,
    render_enabled_plugins,
)
from ops.errors import BrokerDirectoryError, BrokerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

# Below Linux' ephemeral ports (32768 and up): another program's outgoing connection cannot take the port while the
# node restarts, and a client that reconnects to a closed port cannot connect to itself.
FIRST_PORT = 20_000
PORT_COUNT = 10_000
PORT_ATTEMPTS = 200
LOCK_WAIT_S = 5.0  # the lock of a killed parent is free as soon as its node is dead
LOCK_POLL_S = 0.05


class BrokerFolder:
    """Reads and writes what a node needs before it can start. Blocking: call it from a thread."""

    def __init__(self, directory: Path, plugins: Sequence[str], limits: BrokerLimits, port: int | None) -> None:
        self.paths = BrokerPaths(directory.resolve())
        self._plugins = tuple(plugins)
        self._limits = limits
        self._wanted_port = port
        self._lock: int | None = None

    @property
    def lock(self) -> tuple[int, ...]:
        """The descriptor that holds the folder's lock, to be passed to children; empty when it is released."""
        return () if self._lock is None else (self._lock,)

    def release(self) -> None:
        """Give up the lock; children that have the descriptor hold it until they end."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @staticmethod
    def are_free(ports: Iterable[int]) -> bool:
        """Whether nobody listens on any of `ports`."""
        return all(_is_free(port) for port in ports)

    def prepare(self, known: BrokerIdentity | None) -> BrokerIdentity:
        """Lock the folder, write what the node reads, and return the node's identity.

        `known` is the identity of an earlier start by the same owner: its ports are kept, since clients come back to
        them. Raises BrokerDirectoryError if another process runs a node here or the folder cannot be used.
        """
        try:
            for path in (self.paths.directory, self.paths.data, self.paths.logs, self.paths.config):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = self._acquire()
        except OSError as error:
            raise BrokerDirectoryError(
                f"{self.paths.directory} cannot hold a broker ({error.strerror}): choose another folder."
            ) from error
        try:
            identity = self._identity(known)
            self._write(identity)
        except BaseException:
            self.release()
            raise
        return identity

    def _acquire(self) -> int:
        descriptor = os.open(self.paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_up_at = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > give_up_at:
                    os.close(descriptor)
                    raise BrokerDirectoryError(
                        f"Another process runs a broker in {self.paths.directory}: stop it or choose another folder."
                    ) from None
                time.sleep(LOCK_POLL_S)
            else:
                return descriptor

    def _identity(self, known: BrokerIdentity | None) -> BrokerIdentity:
        if known is not None:
            _refuse_taken(known.port)
            return known
        stored = self._stored()
        if self._wanted_port is not None:
            _refuse_taken(self._wanted_port)
        return self._with_ports(stored or _new_identity())

    def _stored(self) -> BrokerIdentity | None:
        try:
            text = self.paths.identity.read_text()
        except FileNotFoundError:
            if any(self.paths.data.iterdir()):
                raise BrokerDirectoryError(
                    f"{self.paths.directory} holds a broker's data but not its password: delete the folder, "
                    f"or put {self.paths.identity.name} back."
                ) from None
            return None
        try:
            return BrokerIdentity(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise BrokerDirectoryError(
                f"{self.paths.identity} is damaged: put back a good copy, or delete the folder."
            ) from error

    def _with_ports(self, identity: BrokerIdentity) -> BrokerIdentity:
        """Keep each port that is still free, choose another one where it is not."""
        reserved: set[int] = set() if self._wanted_port is None else {self._wanted_port}

        def choose(preferred: int) -> int:
            port = (
                preferred if preferred not in reserved and preferred and _is_free(preferred) else _free_port(reserved)
            )
            reserved.add(port)
            return port

        return replace(
            identity,
            port=self._wanted_port or choose(identity.port),
            dist_port=choose(identity.dist_port),
            epmd_port=choose(identity.epmd_port),
            plugin_ports={
                plugin: choose(identity.plugin_ports.get(plugin, 0))
                for plugin in self._plugins
                if plugin in PLUGIN_LISTENERS
            },
        )

    def _write(self, identity: BrokerIdentity) -> None:
        _write_secret(self.paths.identity, json.dumps(asdict(identity), indent=2))
        if not self.paths.cookie.exists():
            _write_secret(self.paths.cookie, secrets.token_hex(20), mode=0o400)
        _write_secret(self.paths.config / "rabbitmq.conf", render_config(identity, self._limits))
        _write_secret(self.paths.config / "advanced.config", "[].\n")
        _write_secret(self.paths.config / "enabled_plugins", render_enabled_plugins(self._plugins))


def url_of_running(directory: Path) -> str | None:
    """AMQP URL, with its password, of the node that runs in `directory` now; None if there is none that we may use."""
    paths = BrokerPaths(directory)
    try:
        with paths.lock.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError:
        return None
    else:
        return None
    try:
        return BrokerIdentity(**json.loads(paths.identity.read_text())).url
    except (OSError, ValueError, TypeError):
        return None


def _new_identity() -> BrokerIdentity:
    return BrokerIdentity(
        node_name=f"relay-{secrets.token_hex(4)}@localhost",
        user="relay",
        password=secrets.token_urlsafe(24),
        port=0,
        dist_port=0,
        epmd_port=0,
        plugin_ports={},
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _refuse_taken(port: int) -> None:
    if not _is_free(port):
        raise BrokerUnavailableError(f"Port {port} on {LOOPBACK} is taken: stop what listens there, or choose another.")


def _free_port(reserved: set[int]) -> int:
    for _ in range(PORT_ATTEMPTS):
        port = FIRST_PORT + secrets.randbelow(PORT_COUNT)
        if port not in reserved and _is_free(port):
            return port
    raise BrokerUnavailableError(
        f"No free port between {FIRST_PORT} and {FIRST_PORT + PORT_COUNT - 1} on {LOOPBACK}: free some, or choose one."
    )


def _write_secret(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace the file at once, so that a kill leaves the old or the new one."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
    draft.replace(path)
