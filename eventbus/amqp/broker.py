"""Where the broker is and how to log in; errors of connecting, translated."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import aio_pika
import aiormq.exceptions
from yarl import URL

from eventbus.errors import BrokerRefusedError, BrokerUnreachableError, ConfigurationError

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

    from eventbus.settings import Settings

CONTROL_HEARTBEAT_S = 10
ATTEMPT_TIMEOUT_S = 10.0
_INSTEAD_OF_OPEN_OK = "Connection.OpenOk"
"""All that aiormq tells of the Connection.Close by which RabbitMQ refuses a virtual host."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Address and credentials of a RabbitMQ node; `str()` shows no password."""

    url: str = field(repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> Broker:
        """The broker that `settings` names. Raises ConfigurationError if a TLS file cannot be used."""
        url = settings.amqp_url.get_secret_value()
        tls = None
        if urlsplit(url).scheme == "amqps":
            tls = _tls_context(settings.ca_cert, settings.client_cert, settings.private_key)
        return cls(url, tls)

    @property
    def host(self) -> str:
        """Host name or address."""
        return urlsplit(self.url).hostname or "localhost"

    @property
    def port(self) -> int:
        """TCP port; 5672, or 5671 for TLS, if the URL has none."""
        return urlsplit(self.url).port or (5671 if self.tls else 5672)

    @property
    def user(self) -> str:
        """Login name."""
        return unquote(urlsplit(self.url).username or "guest")

    @property
    def password(self) -> str:
        """Password."""
        return unquote(urlsplit(self.url).password or "guest")

    @property
    def vhost(self) -> str:
        """Virtual host."""
        return unquote(urlsplit(self.url).path.removeprefix("/")) or "/"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def unreachable(self, error: BaseException | str) -> BrokerUnreachableError:
        """The error that says that nothing answered here."""
        reason = str(error) or type(error).__name__
        return BrokerUnreachableError(
            f"no RabbitMQ answers at {self} ({reason}): start it, or set AMQP_URL to where it runs"
        )

    def refused(self, reason: str) -> BrokerRefusedError:
        """The error that says that the broker does not let us in."""
        return BrokerRefusedError(
            f"RabbitMQ at {self} refused the login of user {self.user!r} to virtual host {self.vhost!r}"
            f" ({reason}): correct user, password and virtual host in AMQP_URL"
        )


def _tls_context(ca_cert: str | None, client_cert: str | None, private_key: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_cert)
        if client_cert:
            context.load_cert_chain(client_cert, private_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the TLS files cannot be used ({error}): check --ca-cert, --client-cert and --private-key"
        ) from error
    return context


async def connect(broker: Broker, *, name: str) -> AbstractConnection:
    """One attempt to connect by aio-pika; the connection does not reconnect by itself.

    Raises BrokerUnreachableError or BrokerRefusedError.
    """
    url = URL(broker.url).update_query(heartbeat=CONTROL_HEARTBEAT_S)
    try:
        return await aio_pika.connect(
            url,
            timeout=ATTEMPT_TIMEOUT_S,
            ssl_context=broker.tls,
            client_properties={"connection_name": name},
        )
    except (
        aiormq.exceptions.AuthenticationError,
        aiormq.exceptions.ProbableAuthenticationError,
        aiormq.exceptions.ConnectionNotAllowed,
    ) as error:
        raise broker.refused(_reason(error)) from error
    except aiormq.exceptions.AMQPError as error:
        if _is_refusal(error):
            raise broker.refused(_reason(error)) from error
        raise broker.unreachable(error) from error
    except (TimeoutError, OSError, RuntimeError, UnicodeError) as error:
        raise broker.unreachable(error) from error


def _is_refusal(error: BaseException) -> bool:
    return any(word in str(error) for word in ("ACCESS_REFUSED", "NOT_ALLOWED", _INSTEAD_OF_OPEN_OK))


def _reason(error: BaseException) -> str:
    if _INSTEAD_OF_OPEN_OK in str(error):
        return "there is no such virtual host, or no permission for it"
    return str(error).split("(")[0].strip(" .'\"") or type(error).__name__
