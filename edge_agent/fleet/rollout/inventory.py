"""Which devices belong to a group: by what they say at the broker, or by a file.

At the broker a device's group is ``updates.channel`` of its settings, which its ``info`` tells; everyone is
in ``all``. A file has tags instead, any number to a device:

    device,tags                          [groups]
    pi-kitchen,kitchens ground-floor     kitchens = ["pi-kitchen", "pi-hall"]
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from edge_agent.errors import BrokerError, SettingsError
from edge_agent.fleet.rollout.documents import is_device_id, read_group, read_time
from edge_agent.fleet.rollout.operator_link import OperatorLink
from edge_agent.link.address import BrokerAddress
from edge_agent.link.documents import LONGEST_NAME, plain_line

ALL: Final = "all"
_LARGEST_BYTES: Final = 64_000_000
_FORM: Final = "a CSV with the columns device and tags, or a TOML with [groups]; see docs/fleet.md"


@dataclass(frozen=True, slots=True)
class Found:
    """A device.

    Attributes:
        tags: the groups that it is in.
        seen: it has said something at this broker.
        online: as ``status`` says; None is unknown.
        seen_at: when it was last heard, seconds since the epoch, as far as ``health`` tells.
    """

    tags: frozenset[str] = frozenset()
    seen: bool = False
    online: bool | None = None
    seen_at: float | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """Devices by id."""

    devices: Mapping[str, Found] = field(default_factory=dict)

    def select(self, group: str) -> dict[str, Found]:
        """The devices of a group.

        Raises:
            SettingsError: there is none in it.
        """
        chosen = {
            device: found for device, found in self.devices.items() if group == ALL or group in found.tags
        }
        if not chosen:
            tags = sorted({tag for found in self.devices.values() for tag in found.tags})
            named = f"groups here: {', '.join([*tags[:8], ALL])}" if self.devices else "no device was found"
            raise SettingsError(f"no device is in the group {plain_line(group, LONGEST_NAME)}", hint=named)
        return chosen


def discover(address: BrokerAddress, base: str) -> Inventory:
    """Every device that the broker retains a word of.

    Args:
        address: of the broker.
        base: the base topic.

    Raises:
        BrokerError: it cannot be reached.
    """
    filters = [f"{base}/+/{part}" for part in ("status", "info", "health")]
    with OperatorLink.connect(address, filters) as link:
        if link.refused_filters:
            raise BrokerError(
                f"the broker at {address} does not let us hear {link.refused_filters[0]}",
                hint="its access list must let this user read the devices' topics",
            )
        devices: dict[str, Found] = {}
        for message in link.hear_retained():
            levels = message.topic[len(base) + 1 :].split("/")
            if len(levels) == 2 and is_device_id(levels[0]) and message.payload:
                before = devices.get(levels[0], Found(seen=True))
                devices[levels[0]] = _heard(before, levels[1], message.payload)
    return Inventory(devices)


def _heard(found: Found, part: str, payload: bytes) -> Found:
    if part == "status":
        return replace(found, online=payload == b"online")
    if part == "health":
        return replace(found, seen_at=read_time(payload))
    group = read_group(payload)
    return found if group is None else replace(found, tags=frozenset({group}))


def merge(listed: Mapping[str, frozenset[str]], heard: Inventory) -> Inventory:
    """The devices of a file, with the file's tags and what the broker knows of them."""
    return Inventory(
        {device: replace(heard.devices.get(device, Found()), tags=tags) for device, tags in listed.items()}
    )


def read_file(path: Path) -> dict[str, frozenset[str]]:
    """Devices and their tags, from a file.

    Raises:
        SettingsError: it cannot be read, or is not of a known form.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is no text", hint=_FORM) from error
    if len(content) > _LARGEST_BYTES:
        raise SettingsError(f"{path}: too large", hint=_FORM)
    pairs = _toml_pairs(text, path) if path.suffix == ".toml" else _csv_pairs(text, path)
    found: dict[str, set[str]] = {}
    for where, device, tags in pairs:
        if not is_device_id(device):
            raise SettingsError(
                f"{path}: {where}: {plain_line(device, LONGEST_NAME)!r} is no device's id",
                hint="letters, digits, - and _, up to 64",
            )
        found.setdefault(device, set()).update(tags)
    if not found:
        raise SettingsError(f"{path}: names no device", hint=_FORM)
    return {device: frozenset(tags) for device, tags in found.items()}


def _csv_pairs(text: str, path: Path) -> Iterator[tuple[str, str, list[str]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if "device" not in (reader.fieldnames or ()):
            raise SettingsError(f"{path}: has no column device", hint=_FORM)
        for row in reader:
            tags = row.get("tags") or row.get("groups") or ""
            yield f"line {reader.line_num}", (row["device"] or "").strip(), tags.replace(";", " ").split()
    except csv.Error as error:
        raise SettingsError(f"{path}: line {reader.line_num}: {error}", hint=_FORM) from error


def _toml_pairs(text: str, path: Path) -> Iterator[tuple[str, str, list[str]]]:
    try:
        groups = _load_toml(text).get("groups")
    except ValueError as error:
        raise SettingsError(f"{path}: {error}", hint=_FORM) from error
    if not isinstance(groups, dict):
        raise SettingsError(f"{path}: has no [groups]", hint=_FORM)
    for group, devices in groups.items():
        if not isinstance(devices, list) or not all(isinstance(one, str) for one in devices):
            raise SettingsError(f"{path}: group {group!r:.64} is no list of devices", hint=_FORM)
        for device in devices:
            yield f"group {group!r:.64}", device, [group]


def _load_toml(text: str) -> dict[str, Any]:
    import sys

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)
