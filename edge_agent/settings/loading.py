"""Reading the settings: TOML file, environment, secret files; and what is wrong with them, in words."""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from edge_agent.errors import SettingsError
from edge_agent.settings.sections import ENVIRONMENT_PREFIX, MqttSettings, Settings

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover
    import tomli as tomllib

DEFAULT_PATH = Path("/etc/edge-agent/config.toml")
_FOLDER_VARIABLES = ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "HOME")


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


def environment_folders() -> dict[str, str]:
    """The folders that systemd, or the user's session, gives to a service, by variable."""
    return {name: os.environ[name] for name in _FOLDER_VARIABLES if os.environ.get(name)}


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
    """The model of a section; of one that may stand several times, the model of its items."""
    section = annotation if get_origin(annotation) is None else get_args(annotation)[0]
    assert isinstance(section, type)
    assert issubclass(section, BaseModel)
    return section


def may_repeat(section: str) -> bool:
    """Whether a section is written ``[[section]]`` and may stand several times."""
    return get_origin(Settings.model_fields[section].annotation) is not None


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
        tables = value if may_repeat(key) and isinstance(value, list) else [value]
        written = f"[[{key}]]" if may_repeat(key) else f"[{key}]"
        for table in tables:
            if not isinstance(table, Mapping) or (may_repeat(key) and table is value):
                raise SettingsError(
                    f"settings: {key} is a section", hint=f"write {written} and its keys below it"
                )
            for name in table:
                if f"{key}.{name}" not in known:
                    raise _unknown(f"key {key}.{name}", f"{key}.{name}", tuple(known))


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {variable_of(key): None for key in _known_keys()}
    for variable in environment:
        name = variable.upper()
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known:
            raise _unknown(f"environment variable {variable}", name, tuple(known))


def variable_of(key: str) -> str:
    """The environment variable that sets a key: ``mqtt.host`` → ``EDGE_AGENT_MQTT__HOST``.

    A section that may stand several times is one variable, a JSON list: ``EDGE_AGENT_ROUTE``.
    """
    section = key.partition(".")[0]
    return ENVIRONMENT_PREFIX + (section if may_repeat(section) else key.replace(".", "__")).upper()


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
            default = "" if item.default_factory or item.is_required() else _shown(item.default)
            yield f"{section}.{key}", default, item.description or ""


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return json.dumps([str(part) for part in value])
    return json.dumps(str(value) if isinstance(value, Path) else value)


def public_settings(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values, for ``info``; there are no secrets in them, only paths to secrets."""
    return settings.model_dump(mode="json")
