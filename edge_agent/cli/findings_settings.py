"""The settings as a whole, and the port that they give to Prometheus."""

from __future__ import annotations

import errno
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.cli.findings import Finding, ok, problem, warning
from edge_agent.errors import EdgeAgentError

if TYPE_CHECKING:
    from edge_agent.settings import Settings
    from edge_agent.settings.board_sections import MetricsSettings

_ASK_SECONDS = 2.0
_OURS = b"edge_agent_"
_MOST_BYTES = 1_000_000


class Read:
    """Reads the settings.

    Attributes:
        settings: once :meth:`check` found them right.
    """

    def __init__(self) -> None:
        self.settings: Settings | None = None

    def check(self, config: Path | None) -> Finding:
        """The settings can be read, whole."""
        from edge_agent.service.links import router_of
        from edge_agent.settings import DEFAULT_PATH, load_settings, read_password

        try:
            settings = load_settings(config)
            read_password(settings.mqtt)
            router_of(settings)
        except EdgeAgentError as error:
            may_not = isinstance(error.__cause__, PermissionError)
            mend = "sudo edge-agent check" if may_not else error.hint or "mend the settings file"
            return problem("settings", str(error), mend)
        self.settings = settings
        source = config or (DEFAULT_PATH if DEFAULT_PATH.exists() else "no settings file, all defaults")
        return ok("settings", f"{source}; device {settings.device.id}")


def check_metrics(settings: MetricsSettings) -> Iterator[Finding]:
    """The port for Prometheus is free, or it is the daemon that answers there."""
    if not settings.enabled:
        return
    where = f"{settings.host}:{settings.port}"
    fault = _bind(settings.host, settings.port)
    if fault is None:
        yield warning("metrics", f"nobody answers at {where}, and it is free", "start the daemon")
    elif fault == errno.EADDRINUSE:
        if _ask(settings.host, settings.port):
            yield ok("metrics", f"the daemon answers at http://{where}/metrics")
        else:
            remedy = f"sudo ss -ltnp 'sport = :{settings.port}' says who; set metrics.port to another"
            yield problem("metrics", f"another program has {where}", remedy)
    elif fault == errno.EACCES:
        yield warning("metrics", f"{where} needs a privilege", "set metrics.port to 1024 or more")
    else:
        yield problem(
            "metrics", f"{where} is no address of this machine", "set metrics.host: 127.0.0.1 or 0.0.0.0"
        )


def _bind(host: str, port: int) -> int | None:
    """Tries to listen; returns why that cannot be, as an errno (-1: the name is unknown)."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1)
    except OSError as error:
        return -1 if isinstance(error, socket.gaierror) else error.errno
    return None


def _ask(host: str, port: int) -> bool:
    """Whether what listens there has figures of ours."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # asks, does not listen
    connection = http.client.HTTPConnection(everywhere.get(host, host), port, timeout=_ASK_SECONDS)
    try:
        connection.request("GET", "/metrics")
        return _OURS in connection.getresponse().read(_MOST_BYTES)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
