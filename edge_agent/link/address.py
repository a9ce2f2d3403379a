"""Where a broker is and how to reach it: from the settings or from a URL. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from edge_agent.errors import SettingsError

if TYPE_CHECKING:
    from edge_agent.settings import MqttSettings

_SCHEMES = {
    "mqtt": ("tcp", False, 1883),
    "mqtts": ("tcp", True, 8883),
    "ws": ("websockets", False, 80),
    "wss": ("websockets", True, 443),
}
_HINT = "write mqtt://host:port, mqtts://…, ws://…, wss://… or unix:///path"


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """A broker and what is needed to be let in; the password never shows in its text form.

    Attributes:
        host: name or address; the path of a unix socket.
        port: of TCP.
        transport: ``tcp``, ``websockets`` or ``unix``.
        websocket_path: of the request that opens a websocket.
        username: at the broker.
        password: at the broker.
        tls: whether to encrypt.
        ca_file: certificate authorities, PEM; None for the system's.
        cert_file: certificate of our own, PEM.
        key_file: its key, PEM.
        tls_server_name: name that the broker's certificate must bear; None for ``host``.
        tls_pins: SHA-256 of the certificates (DER) that the broker may show, in hex; empty for any.
    """

    host: str
    port: int = 1883
    transport: str = "tcp"
    websocket_path: str = "/mqtt"
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    tls_server_name: str | None = None
    tls_pins: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.host if self.transport == "unix" else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"BrokerAddress({self})"

    @classmethod
    def from_settings(cls, settings: MqttSettings, password: str | None) -> BrokerAddress:
        """The address that the settings name."""
        return cls(
            host=settings.host,
            port=settings.port,
            transport=settings.transport,
            websocket_path=settings.websocket_path,
            username=settings.username,
            password=password,
            tls=settings.tls,
            ca_file=_text(settings.ca_file),
            cert_file=_text(settings.cert_file),
            key_file=_text(settings.key_file),
            tls_server_name=settings.tls_server_name,
            tls_pins=settings.tls_pins,
        )

    @classmethod
    def from_url(cls, url: str) -> BrokerAddress:
        """The address that a URL names; ``host`` and ``host:port`` alone mean MQTT over TCP.

        Raises:
            SettingsError: it is not such a URL.
        """
        parts = urlsplit(url if "://" in url else f"mqtt://{url}")
        if parts.scheme == "unix" and parts.path:
            return cls(host=unquote(parts.path), transport="unix")
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise SettingsError(f"not a broker address: {url}", hint=_HINT)
        transport, tls, usual_port = _SCHEMES[parts.scheme]
        try:
            port = parts.port or usual_port
        except ValueError as error:
            raise SettingsError(f"not a broker port in {url}", hint=_HINT) from error
        return cls(
            host=parts.hostname,
            port=port,
            transport=transport,
            websocket_path=parts.path or "/mqtt",
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=tls,
        )


def _text(path: object) -> str | None:
    return None if path is None else str(path)
