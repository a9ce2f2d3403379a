"""The settings of the daemon: TOML, environment and secret files in one checked, frozen model.

The only file that reads the environment or the settings file. Every key has a default that works on a
laptop with a broker on localhost; the environment (``EDGE_AGENT_MQTT__HOST``) goes before the file, and
an unknown key is an error that names the nearest known one. Secrets are never written into the file:
they come from a file that is named there, or from a systemd credential.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from edge_agent.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

DEFAULT_PATH = Path("/etc/edge-agent/config.toml")
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


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in (int, float):
            raise ValueError("must be a number")
        return value


class DeviceSettings(_Section):
    """Who this device is."""

    id: str = Field(
        default_factory=_default_device_id,
        pattern=r"^[a-zA-Z0-9_-]{1,64}$",
        description="Name of the device in topics and towards the broker; letters, digits, `_` and `-`. "
        "Default: the host name and four hex digits of a hash of the machine id.",
    )


class MqttSettings(_Section):
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
    base_topic: str = Field(default="edge-agent", description="First part of every topic of this program.")
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

    @field_validator("base_topic")
    @classmethod
    def _plain_topic(cls, value: str) -> str:
        if not re.fullmatch(r"[^+#$/\x00-\x1f]([^+#\x00-\x1f]*[^+#/\x00-\x1f])?", value):
            raise ValueError("must be a plain topic without wildcards, and without / at its ends")
        return value


class ModelsSettings(_Section):
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


class InferenceSettings(_Section):
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


class PrivacySettings(_Section):
    """What may leave a request's text."""

    echo_text: bool = Field(default=False, description="Results carry the request's text as `text`.")
    log_text: bool = Field(
        default=False, description="The log line of a request (level `debug`) carries its text."
    )


class HealthSettings(_Section):
    """How the daemon tells of itself."""

    interval_seconds: float = Field(
        default=30.0,
        ge=0.1,
        le=86_400,
        description="Seconds between two `health` messages; changes are told at once.",
    )


class LogSettings(_Section):
    """The daemon's own log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level written."
    )
    format: Literal["auto", "json", "text"] = Field(
        default="auto", description="`json`, `text`, or `auto`: text on a terminal, JSON elsewhere."
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
    privacy: PrivacySettings = Field(default_factory=PrivacySettings)
    health: HealthSettings = Field(default_factory=HealthSettings)
    log: LogSettings = Field(default_factory=LogSettings)

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


def load_settings(path: Path | str | None = None) -> Settings:
    """Reads the settings.

    Args:
        path: the TOML file. None means ``/etc/edge-agent/config.toml`` where it exists, else defaults.

    Raises:
        SettingsError: the file is missing or broken, a key is unknown, or a value does not fit.
    """
    values = _read_toml(path)
    _refuse_unknown_keys(values, _known_keys())
    _refuse_unknown_variables(os.environ)
    try:
        return Settings(**values)
    except ValidationError as error:
        raise _as_settings_error(error) from error
    except ValueError as error:
        raise SettingsError(str(error).splitlines()[0]) from error


def read_password(settings: MqttSettings) -> str | None:
    """The broker password from ``password_file`` or the systemd credential ``mqtt.password``.

    Raises:
        SettingsError: the file is named but cannot be read.
    """
    path = settings.password_file
    if path is None:
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        path = Path(credentials) / "mqtt.password" if credentials else None
        if path is None or not path.exists():
            return None
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"cannot read the broker password from {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}",
            hint="mqtt.password_file must name a text file that the daemon's user may read",
        ) from error


def known_keys() -> tuple[str, ...]:
    """Every key with its section, ``mqtt.host``, in the order of the documentation."""
    return tuple(_known_keys())


def _known_keys() -> dict[str, None]:
    return {
        f"{section}.{key}": None
        for section, field in Settings.model_fields.items()
        for key in _section_type(field.annotation).model_fields
    }


def _section_type(annotation: Any) -> type[BaseModel]:
    assert isinstance(annotation, type)
    assert issubclass(annotation, BaseModel)
    return annotation


def _read_toml(path: Path | str | None) -> dict[str, Any]:
    chosen = DEFAULT_PATH if path is None else Path(path)
    try:
        return tomllib.loads(chosen.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if path is None:
            return {}
        raise SettingsError(f"no settings file {chosen}", hint="name one with --config FILE") from error
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {chosen}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {chosen} is not valid TOML: {error}") from error


def _refuse_unknown_keys(values: Mapping[str, Any], known: Mapping[str, None]) -> None:
    sections = tuple(Settings.model_fields)
    for key, value in values.items():
        if key not in sections:
            raise _unknown(f"section or key {key}", key, sections)
        if not isinstance(value, Mapping):
            raise SettingsError(f"settings: {key} is a section", hint=f"write [{key}] and its keys below it")
        for name in value:
            if f"{key}.{name}" not in known:
                raise _unknown(f"key {key}.{name}", f"{key}.{name}", tuple(known))


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {variable_of(key): None for key in _known_keys()}
    for variable in environment:
        name = variable.upper()
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known:
            raise _unknown(f"environment variable {variable}", name, tuple(known))


def variable_of(key: str) -> str:
    """The environment variable that sets a key: ``mqtt.host`` → ``EDGE_AGENT_MQTT__HOST``."""
    return ENVIRONMENT_PREFIX + key.replace(".", "__").upper()


def _unknown(what: str, name: str, known: tuple[str, ...]) -> SettingsError:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return SettingsError(f"settings: unknown {what}", hint=f"did you mean {nearest[0]}?" if nearest else None)


def _as_settings_error(error: ValidationError) -> SettingsError:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    reason = first["msg"].removeprefix("Value error, ")
    return SettingsError(f"settings: {where + ': ' if where else ''}{reason[0].lower()}{reason[1:]}")


def describe() -> Iterator[tuple[str, str, str]]:
    """Yields (key, default, description) of every setting, for the reference in ``docs/settings.md``."""
    for section, field in Settings.model_fields.items():
        for key, item in _section_type(field.annotation).model_fields.items():
            default = "" if item.default_factory else _shown(item.default)
            yield f"{section}.{key}", default, item.description or ""


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return json.dumps([str(part) for part in value])
    return json.dumps(value)


def public_settings(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values, for ``info``; there are no secrets in them, only paths to secrets."""
    return settings.model_dump(mode="json")
