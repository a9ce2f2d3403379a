"""A real Home Assistant as a child process: its own folder, MQTT set up, and its API over a websocket."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, TypeVar

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.testbeds.broker import HOST, free_port
from tests.testbeds.waiting import eventually

T = TypeVar("T")

_ENTRY: dict[str, Any] = {
    "created_at": "2025-01-01T00:00:00+00:00",
    "modified_at": "2025-01-01T00:00:00+00:00",
    "options": {},
    "disabled_by": None,
    "discovery_keys": {},
    "version": 1,
    "pref_disable_new_entities": False,
    "pref_disable_polling": False,
    "source": "user",
    "subentries": [],
    "unique_id": None,
}
_START_SECONDS = 180.0
_CONFIGURATION = """\
http:
  server_host: {host}
  server_port: {port}
api:
websocket_api:
config:
onboarding:
persistent_notification:
logger:
  default: warning
{more}
"""


def program() -> Path | None:
    """``hass``, where ``HOME_ASSISTANT`` names it."""
    path = Path(os.environ.get("HOME_ASSISTANT", ""))
    return path if path.is_file() else None


def need_home_assistant() -> None:
    """Skips the module that calls it where there is none."""
    if program() is None:
        reason = "no Home Assistant: HOME_ASSISTANT does not name the program hass of its environment"
        pytest.skip(reason, allow_module_level=True)


def _entry(domain: str, minor_version: int, data: dict[str, Any]) -> dict[str, Any]:
    """An integration that was set up, as ``.storage/core.config_entries`` has it."""
    own = {"domain": domain, "entry_id": domain, "title": domain, "minor_version": minor_version}
    return {**_ENTRY, **own, "data": data}


class HomeAssistant:
    """One Home Assistant.

    Args:
        folder: for its configuration; blueprints go to its ``blueprints/automation``.
        program: ``hass`` of the environment that it is installed in.
        broker_port: of the broker that it uses.
        configuration: further YAML.
        user: name and password at the broker.
    """

    def __init__(
        self,
        folder: Path,
        program: Path,
        broker_port: int,
        configuration: str = "",
        user: tuple[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: ClientConnection | None = None
        self._token = ""
        self._last_id = 0
        entry: dict[str, Any] = {
            "broker": HOST, "port": broker_port, "protocol": "5",
            "discovery": True, "discovery_prefix": "homeassistant",
        }  # fmt: skip
        if user is not None:
            entry |= {"username": user[0], "password": user[1]}
        stored = {
            "version": 1,
            "minor_version": 4,
            "key": "core.config_entries",
            "data": {"entries": [_entry("mqtt", 2, entry), _entry("shopping_list", 1, {})]},
        }
        (folder / ".storage").mkdir(parents=True)
        (folder / ".storage/core.config_entries").write_text(json.dumps(stored))
        text = _CONFIGURATION.format(host=HOST, port=self.port, more=configuration)
        (folder / "configuration.yaml").write_text(text, encoding="utf-8")

    @property
    def version(self) -> str:
        done = subprocess.run([self._program, "--version"], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def add_blueprint(self, source: Path) -> str:
        """Copies a blueprint as a person would; returns the path that an automation names."""
        target = self.folder / "blueprints/automation/edge-agent"
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        return f"edge-agent/{source.name}"

    def start(self) -> None:
        with (self.folder / "output.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", str(self.folder)],
                stdout=log,
                stderr=log,
            )
        eventually(self._answers, _START_SECONDS, "Home Assistant's API")
        if not self._token:
            self._token = self._onboard()
        self._open()
        eventually(lambda: self.ask("get_config")["state"] == "RUNNING", _START_SECONDS, "its start")

    def stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None

    def ask(self, kind: str, **fields: Any) -> Any:
        """One command of the websocket API, and its result."""
        assert self._socket is not None
        self._last_id += 1
        self._socket.send(json.dumps({"id": self._last_id, "type": kind, **fields}))
        while True:
            answer = json.loads(self._socket.recv(60))
            if answer.get("id") == self._last_id and answer["type"] == "result":
                assert answer["success"], answer
                return answer["result"]

    def act(self, action: str, data: dict[str, Any] | None = None, entity: str | None = None) -> None:
        """Calls an action, as a person's button does."""
        domain, _, service = action.partition(".")
        target = {"entity_id": entity} if entity else {}
        self.ask("call_service", domain=domain, service=service, service_data=data or {}, target=target)

    def states(self) -> dict[str, dict[str, Any]]:
        return {state["entity_id"]: state for state in self.ask("get_states")}

    def entities(self) -> dict[str, dict[str, Any]]:
        """The registry's entities of MQTT, by unique id."""
        return {
            entry["unique_id"]: self.ask("config/entity_registry/get", entity_id=entry["entity_id"])
            for entry in self.ask("config/entity_registry/list")
            if entry["platform"] == "mqtt"
        }

    def devices(self) -> list[dict[str, Any]]:
        """The registry's devices of MQTT."""
        return [
            device
            for device in self.ask("config/device_registry/list")
            if any(domain == "mqtt" for domain, _ in device["identifiers"])
        ]

    def notifications(self) -> list[str]:
        """What it tells people now."""
        return [one["message"] for one in self.ask("persistent_notification/get")]

    def wait(self, is_it: Callable[[], T], what: str, within_seconds: float = 60.0) -> T:
        """Asks five times a second until the answer is true, and returns it."""
        deadline = time.monotonic() + within_seconds
        pause = Event()
        while not (answer := is_it()):
            assert time.monotonic() < deadline, f"{what} did not happen within {within_seconds} s"
            pause.wait(0.2)
        return answer

    def wait_equal(self, ask: Callable[[], object], wanted: object, within_seconds: float = 60.0) -> None:
        """Until the answer is this; what it was instead is told where it never is."""
        deadline = time.monotonic() + within_seconds
        pause = Event()
        while (answer := ask()) != wanted and time.monotonic() < deadline:
            pause.wait(0.2)
        assert answer == wanted, f"still {answer!r}"

    def wait_for_state(self, entity: str, state: str, within_seconds: float = 60.0) -> None:
        """Until an entity is so."""
        self.wait(lambda: self.state(entity) == state, f"{entity} {state}", within_seconds)

    def state(self, entity: str) -> str | None:
        """How an entity is; None where there is none."""
        found = self.states().get(entity)
        return None if found is None else str(found["state"])

    def log_text(self) -> str:
        return (self.folder / "output.log").read_text(encoding="utf-8", errors="replace")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "output.log").read_text()
        try:
            self._http("/api/onboarding")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def _onboard(self) -> str:
        """The first user, as the first page of a new Home Assistant makes it; returns an access token."""
        client = f"http://{HOST}:{self.port}/"
        person = {"name": "Test", "username": "test", "password": "test-test", "language": "en"}
        made = self._http("/api/onboarding/users", json.dumps({"client_id": client, **person}))
        form = {"grant_type": "authorization_code", "code": made["auth_code"], "client_id": client}
        return str(self._http("/auth/token", urllib.parse.urlencode(form))["access_token"])

    def _http(self, path: str, body: str | None = None) -> Any:
        request = urllib.request.Request(f"http://{HOST}:{self.port}{path}", body.encode() if body else None)
        kind = "application/json" if body and body.startswith("{") else "application/x-www-form-urlencoded"
        request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def _open(self) -> None:
        self._socket = connect(f"ws://{HOST}:{self.port}/api/websocket", max_size=None, proxy=None)
        json.loads(self._socket.recv(30))
        self._socket.send(json.dumps({"type": "auth", "access_token": self._token}))
        assert json.loads(self._socket.recv(30))["type"] == "auth_ok"
        self._last_id = 0

    def __enter__(self) -> HomeAssistant:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
