"""What a private RabbitMQ node is told: its identity, folders, rabbitmq.conf and environment. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LOOPBACK = "127.0.0.1"
RAFT_LOG_BYTES = 64 * 1024 * 1024  # RabbitMQ's default of 512 MB fills a small disk and much memory

# Plugins with a listener of their own, and the settings that put it on a port of loopback.
PLUGIN_LISTENERS: Mapping[str, Sequence[str]] = {
    "rabbitmq_management": ("management.tcp.ip = {host}", "management.tcp.port = {port}"),
    "rabbitmq_prometheus": ("prometheus.tcp.ip = {host}", "prometheus.tcp.port = {port}"),
    "rabbitmq_mqtt": ("mqtt.listeners.tcp.1 = {host}:{port}", "mqtt.allow_anonymous = false"),
    "rabbitmq_stomp": ("stomp.listeners.tcp.1 = {host}:{port}",),
    "rabbitmq_stream": ("stream.listeners.tcp.1 = {host}:{port}",),
    "rabbitmq_web_mqtt": ("web_mqtt.tcp.ip = {host}", "web_mqtt.tcp.port = {port}"),
    "rabbitmq_web_stomp": ("web_stomp.tcp.ip = {host}", "web_stomp.tcp.port = {port}"),
}


@dataclass(frozen=True, slots=True)
class BrokerLimits:
    """When the node raises an alarm and blocks publishers; sizes as RabbitMQ writes them (`512MB`)."""

    disk_free: str = "50MB"
    memory: str | None = None  # RabbitMQ's own default: 40 % of the machine


@dataclass(frozen=True, slots=True)
class BrokerIdentity:
    """What stays the same over the life of a node's folder."""

    node_name: str
    user: str
    password: str
    port: int
    dist_port: int
    epmd_port: int
    plugin_ports: Mapping[str, int]

    @property
    def url(self) -> str:
        """The AMQP URL of the node, with its password."""
        return f"amqp://{self.user}:{self.password}@{LOOPBACK}:{self.port}/"

    @property
    def ports(self) -> frozenset[int]:
        """Every port that the node listens on."""
        return frozenset({self.port, self.dist_port, self.epmd_port, *self.plugin_ports.values()})


@dataclass(frozen=True, slots=True)
class BrokerPaths:
    """Where the files of a node lie below its folder."""

    directory: Path

    @property
    def identity(self) -> Path:
        """Name, password and ports, as JSON; mode 0600."""
        return self.directory / "node.json"

    @property
    def lock(self) -> Path:
        """Locked while a node runs here."""
        return self.directory / "node.lock"

    @property
    def cookie(self) -> Path:
        """The secret between this node and its own rabbitmqctl; HOME is the folder."""
        return self.directory / ".erlang.cookie"

    @property
    def data(self) -> Path:
        """Queues and messages."""
        return self.directory / "data"

    @property
    def logs(self) -> Path:
        """RabbitMQ's log and what it printed."""
        return self.directory / "log"

    @property
    def console(self) -> Path:
        """What the node and its epmd printed."""
        return self.logs / "console.log"

    @property
    def config(self) -> Path:
        """Configuration, written anew at each start."""
        return self.directory / "config"


def render_config(identity: BrokerIdentity, limits: BrokerLimits) -> str:
    """Text of rabbitmq.conf. The default user replaces guest, which then does not exist."""
    lines = [
        f"listeners.tcp.1 = {LOOPBACK}:{identity.port}",
        f"default_user = {identity.user}",
        f"default_pass = {identity.password}",
        "default_user_tags.administrator = true",
        f"disk_free_limit.absolute = {limits.disk_free}",
        "log.console = false",
        "log.file = rabbit.log",
        "log.file.level = info",
        f"raft.wal_max_size_bytes = {RAFT_LOG_BYTES}",
    ]
    if limits.memory:
        lines.append(f"vm_memory_high_watermark.absolute = {limits.memory}")
    for plugin, port in sorted(identity.plugin_ports.items()):
        lines += [line.format(host=LOOPBACK, port=port) for line in PLUGIN_LISTENERS[plugin]]
    return "\n".join(lines) + "\n"


def render_enabled_plugins(plugins: Sequence[str]) -> str:
    """Text of the enabled_plugins file: an Erlang list of atoms."""
    return f"[{','.join(plugins)}].\n"


def environment(identity: BrokerIdentity, paths: BrokerPaths, inherited: Mapping[str, str]) -> dict[str, str]:
    """Environment of the node, its epmd and its rabbitmqctl; only PATH is taken over from `inherited`."""
    tcp_address = LOOPBACK.replace(".", ",")
    return {
        "PATH": inherited.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        "LANG": "C.UTF-8",
        "HOME": str(paths.directory),
        "ERL_CRASH_DUMP": str(paths.logs / "erl_crash.dump"),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_EPMD_PORT": str(identity.epmd_port),
        # The epmd of this node is started by its parent; one that Erlang starts by itself would outlive both.
        "ERL_AFLAGS": "-start_epmd false",
        "RABBITMQ_ALLOW_INPUT": "1",  # makes the script exec the VM: the child's pid is the node
        "RABBITMQ_SERVER_START_ARGS": "-noinput +B i",
        # Without it the port between nodes listens on every address.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-kernel inet_dist_use_interface {{{tcp_address}}}",
        "RABBITMQ_NODENAME": identity.node_name,
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
        "RABBITMQ_NODE_PORT": str(identity.port),
        "RABBITMQ_DIST_PORT": str(identity.dist_port),
        "RABBITMQ_MNESIA_BASE": str(paths.data),
        "RABBITMQ_LOG_BASE": str(paths.logs),
        "RABBITMQ_CONFIG_FILE": str(paths.config / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(paths.config / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(paths.config / "enabled_plugins"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(paths.config / "generated"),
        "RABBITMQ_PID_FILE": str(paths.directory / "node.pid"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
    }
