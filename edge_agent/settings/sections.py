"""The settings as frozen, checked sections; every key with its default, limits and description."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from edge_agent.settings.board_sections import (
    HomeAssistantSettings,
    MetricsSettings,
    PowerSettings,
    TelemetrySettings,
)
from edge_agent.settings.section import PlainTopic, Section
from edge_agent.settings.update_sections import UpdatesSettings

ENVIRONMENT_PREFIX = "EDGE_AGENT_"
_MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_NOT_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")


def device_id_from(hostname: str, machine_id: str) -> str:
    """The default device id: host name, dash, four hex digits of a hash of the machine id."""
    name = _NOT_IN_ID.sub("", hostname) or "device"
    return f"{name}-{hashlib.sha256(machine_id.encode()).hexdigest()[:4]}"


def _default_device_id() -> str:
    hostname = socket.gethostname()
    for path in _MACHINE_ID_FILES:
        try:
            return device_id_from(hostname, path.read_text().strip())
        except OSError:
            continue
    return device_id_from(hostname, hostname)


def _fingerprint(value: Any) -> Any:
    return value.replace(":", "").strip().lower() if isinstance(value, str) else value


_Fingerprint = Annotated[str, BeforeValidator(_fingerprint), Field(pattern=r"^[0-9a-f]{64}$")]


class DeviceSettings(Section):
    """Who this device is."""

    id: str = Field(
        default_factory=_default_device_id,
        pattern=r"^[a-zA-Z0-9_-]{1,64}$",
        description="Name of the device in topics and towards the broker; letters, digits, `_` and `-`. "
        "Default: the host name and four hex digits of a hash of the machine id.",
    )
    state_directory: Path | None = Field(
        default=None,
        description="Folder for what must outlive a power cut: the commands in hand and done. Default: that "
        "of systemd, else `/var/lib/edge-agent` where it may be written, else "
        "`~/.local/state/edge-agent`.",
    )
    runtime_directory: Path | None = Field(
        default=None,
        description="Folder in memory for what must outlive a crash. Default: that of systemd, else "
        "`/run/edge-agent` where it may be written, else the user's own.",
    )


class MqttSettings(Section):
    """The broker, and how to reach it."""

    host: str = Field(
        default="localhost",
        min_length=1,
        description="Broker's host name or address; the path of a unix socket.",
    )
    port: int = Field(
        default=1883,
        ge=1,
        le=65535,
        description="Broker's port; with `tls` 8883 by default, websockets 80 or 443.",
    )
    transport: Literal["tcp", "websockets", "unix"] = Field(
        default="tcp", description="`tcp`, `websockets` or `unix` (a unix socket on the same machine)."
    )
    websocket_path: str = Field(default="/mqtt", description="Path of the request that opens the websocket.")
    base_topic: PlainTopic = Field(
        default="edge-agent", description="First part of every topic of this program."
    )
    username: str | None = Field(default=None, description="User name at the broker; none when absent.")
    password_file: Path | None = Field(
        default=None,
        description="File with the password, one line. Default: the systemd credential `mqtt.password` "
        "where there is one, else none.",
    )
    tls: bool = Field(default=False, description="Encrypt the connection.")
    ca_file: Path | None = Field(
        default=None,
        description="Certificate authority of the broker, PEM. Default: those of the operating system.",
    )
    cert_file: Path | None = Field(
        default=None, description="Certificate of this device, PEM, for mutual TLS."
    )
    key_file: Path | None = Field(
        default=None, description="Private key of this device, PEM, for mutual TLS."
    )
    tls_server_name: str | None = Field(
        default=None,
        min_length=1,
        description="Name that the broker's certificate must bear, where it is not `host`. The name is "
        "always checked.",
    )
    tls_pins: Annotated[tuple[_Fingerprint, ...], NoDecode] = Field(
        default=(),
        description="SHA-256 fingerprints of broker certificates, in hex. Where there are any, no other "
        "certificate is accepted, whoever signed it. In the environment: separated by `,`, or a JSON list.",
    )
    keepalive_seconds: int = Field(
        default=30, ge=5, le=3600, description="A silent link is probed after this long, in seconds."
    )
    session_expiry_seconds: int = Field(
        default=86_400,
        ge=0,
        le=4_294_967_295,
        description="How long the broker keeps requests for a device that is away, in seconds (MQTT 5).",
    )
    receive_maximum: int = Field(
        default=16,
        ge=1,
        le=65535,
        description="Requests that the broker may hand over before the first is answered (MQTT 5); "
        "not more than `inference.queue_size`.",
    )
    max_packet_bytes: int = Field(
        default=1_048_576,
        ge=16_384,
        le=268_435_455,
        description="Largest packet that we take, in bytes (MQTT 5).",
    )
    will_delay_seconds: int = Field(
        default=2,
        ge=0,
        le=3600,
        description="`offline` follows a lost link after this long, in seconds (MQTT 5).",
    )
    connect_timeout_seconds: float = Field(
        default=10.0, gt=0, le=120, description="Longest wait for the broker when connecting, in seconds."
    )
    reconnect_max_seconds: float = Field(
        default=30.0, ge=1, le=3600, description="Longest pause between two connection attempts, in seconds."
    )

    @model_validator(mode="before")
    @classmethod
    def _usual_port(cls, values: Any) -> Any:
        if isinstance(values, dict) and "port" not in values:
            secure = values.get("tls") in (True, "true", "True", "1", 1)
            web = values.get("transport") == "websockets"
            values = {**values, "port": (443 if secure else 80) if web else (8883 if secure else 1883)}
        return values

    @field_validator("tls_pins", mode="before")
    @classmethod
    def _pins_from_environment(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return json.loads(value) if value.lstrip().startswith("[") else value.split(",")


class ModelsSettings(Section):
    """Where the models are."""

    directories: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(Path("/var/lib/edge-agent/models"), Path("/usr/share/edge-agent/models")),
        min_length=1,
        description="Folders that hold bundles. Every bundle found is served under its name; the first "
        "folder wins. In the environment: separated by `:`, or a JSON list.",
    )

    @field_validator("directories", mode="before")
    @classmethod
    def _from_environment(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return json.loads(value) if value.lstrip().startswith("[") else value.split(os.pathsep)


class InferenceSettings(Section):
    """How the models run."""

    threads: int = Field(default=1, ge=1, le=64, description="Threads of the runtime for one sentence.")
    queue_size: int = Field(
        default=64,
        ge=1,
        le=65535,
        description="Requests that wait in memory; MQTT 3.1.1 and QoS 0 are refused beyond.",
    )
    max_text_bytes: int = Field(
        default=8192,
        ge=1,
        le=131_072,
        description="Longest text of a request in bytes of UTF-8; more is `too_large`.",
    )


class LimitsSettings(Section):
    """What strangers may ask of this device."""

    json_depth: int = Field(
        default=16, ge=2, le=128, description="Deepest nesting of a JSON payload; more is `bad_payload`."
    )
    topic_levels: int = Field(
        default=32,
        ge=8,
        le=128,
        description="Most levels of a topic that is listened to; a message on a longer one is dropped and "
        "counted.",
    )
    requests_per_second: float = Field(
        default=0.0,
        ge=0,
        le=1e6,
        description="Requests that one topic may bring a second, on average; more are answered "
        "`overloaded`. Arrivals count, so what slow senders queued while the device was away is cut to "
        "`burst`. 0: as many as can be answered.",
    )
    burst: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Requests that one topic may bring at once, where limited.",
    )


class PrivacySettings(Section):
    """What may leave a request's text."""

    echo_text: bool = Field(default=False, description="Results carry the request's text as `text`.")
    log_text: bool = Field(
        default=False, description="The log line of a request (level `debug`) carries its text."
    )


class HealthSettings(Section):
    """How the daemon tells of itself."""

    interval_seconds: float = Field(
        default=30.0,
        ge=0.1,
        le=86_400,
        description="Seconds between two `health` messages; changes are told at once.",
    )


class LogSettings(Section):
    """The daemon's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level written."
    )
    format: Literal["auto", "json", "text"] = Field(
        default="auto", description="`json`, `text`, or `auto`: text on a terminal, JSON elsewhere."
    )


class RouteSettings(Section):
    """A topic filter, bound to a model; `[[route]]` may stand several times.

    In the environment: `EDGE_AGENT_ROUTE`, a JSON list of objects."""

    subscribe: str = Field(
        min_length=1, description="Topic filter, with the wildcards `+` and `#`: `shop/+/reviews`."
    )
    model: str = Field(min_length=1, description="Name of the model that reads what arrives.")
    publish: str = Field(
        min_length=1,
        description="Topic of the answers; `{1}`, `{2}` … are what the wildcards stood for: "
        "`shop/{1}/sentiment`. `{device}` and `{model}` are known, too.",
    )
    text: str = Field(
        default="",
        description="Where in a JSON payload the text is, as JSONPath: `$.body`. Default: the payload is a "
        "request as on `in/`.",
    )
    share: str | None = Field(
        default=None,
        pattern=r"^[^/+#\x00-\x1f]+$",
        description="Name of the pool of devices that split this stream (MQTT 5 shared subscription).",
    )
    on_death: Literal["wait", "take_over"] = Field(
        default="wait",
        description="When a member of the pool dies: what was handed to it waits for its return, or it is "
        "lost and the others take over what comes from then on.",
    )


class Settings(BaseSettings):
    """All settings, by section."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    device: DeviceSettings = Field(default_factory=DeviceSettings)
    mqtt: MqttSettings = Field(default_factory=MqttSettings)
    models: ModelsSettings = Field(default_factory=ModelsSettings)
    inference: InferenceSettings = Field(default_factory=InferenceSettings)
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    privacy: PrivacySettings = Field(default_factory=PrivacySettings)
    health: HealthSettings = Field(default_factory=HealthSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
    power: PowerSettings = Field(default_factory=PowerSettings)
    home_assistant: HomeAssistantSettings = Field(default_factory=HomeAssistantSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    updates: UpdatesSettings = Field(default_factory=UpdatesSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    route: tuple[RouteSettings, ...] = Field(default=(), max_length=64)

    @model_validator(mode="after")
    def _receive_maximum_fits_the_queue(self) -> Settings:
        if self.mqtt.receive_maximum > self.inference.queue_size:
            raise ValueError("mqtt.receive_maximum must not be larger than inference.queue_size")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes before the file (whose content is given to the constructor)."""
        return env_settings, init_settings
