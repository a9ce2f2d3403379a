"""Boards as fixture trees: real files and symlinks, with failing reads and the firmware's answers.

A fixture (``tests/fixtures/power/*.json``) has a ``source``, the ``files`` by their path, what commands print
(``commands``), and what is expected. Content stands without the kernel's newline. ``u32be:5000`` is a
device-tree number; ``!EIO`` is a file, or an answer, whose reading fails so. As on a real machine the entries
of ``/sys/class`` and the chips of ``/sys/bus/i2c/drivers`` are symlinks, and the numbers of ``hwmonN`` are
drawn anew. ``expect`` is what a correct reader reports, from the sources; ``says`` is all that this package
says.
"""

from __future__ import annotations

import errno
import json
import random
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_agent.telemetry.reading import BatteryReading, Inventory, PowerReading, SupplyReading
from edge_agent.telemetry.sysfs import Tree, read_bytes, sensor_error

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "power"
_HWMON = re.compile(r"hwmon[0-9]+")
_CLASS = re.compile(r"(sys/class/[^/]+/[^/]+)/")
_CHIP = re.compile(r"(sys/bus/i2c/drivers/[^/]+/[0-9]+-[0-9a-f]{4})/")


@dataclass(frozen=True)
class Board:
    """One fixture."""

    name: str
    source: str
    files: Mapping[str, str]
    commands: Mapping[str, str]
    expect: Mapping[str, Any]
    says: Mapping[str, Any]

    def with_files(self, changed: Mapping[str, str | None]) -> Board:
        """The same board with some files changed, added, or (None) taken away."""
        files = {**self.files, **changed}
        kept = {path: content for path, content in files.items() if content is not None}
        return Board(self.name, self.source, kept, self.commands, self.expect, self.says)

    def build(self, root: Path, seed: int = 0) -> Tree:
        """The board's files below ``root``, and a tree that reads them."""
        return build_tree(root, self.files, seed)

    def firmware(self) -> FakeFirmware | None:
        """The board's firmware, or None where it has none that answers."""
        return FakeFirmware(self.commands) if self.commands else None


class FakeFirmware:
    """Answers commands as a board was seen to; what it never heard of it refuses as a Pi does."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self._answers = answers

    def ask(self, command: str) -> str:
        answer = self._answers.get(command, 'error=1 error_msg="Command not registered"')
        if answer.startswith("!"):
            number = getattr(errno, answer[1:])
            raise sensor_error("/dev/vcio", OSError(number, "injected"))
        return answer


def board(name: str) -> Board:
    """The fixture of that name."""
    content = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    return Board(
        name,
        content["source"],
        content["files"],
        content.get("commands", {}),
        content["expect"],
        content.get("says", {}),
    )


def board_names() -> list[str]:
    """Names of all fixtures."""
    return sorted(path.stem for path in FIXTURES.glob("*.json"))


def said(inventory: Inventory) -> dict[str, Any]:
    """All that an inventory says, as the ``says`` of a fixture; what is unknown is left out."""

    def known(reading: PowerReading | SupplyReading | BatteryReading) -> dict[str, Any]:
        return {key: value for key, value in asdict(reading).items() if value not in (None, {})}

    parts = {
        "power": [
            {"source": source.name, "scope": source.scope.value, "quality": source.quality.value}
            | known(source.read())
            for source in inventory.power
        ],
        "supply": [{"source": source.name} | known(source.read()) for source in inventory.supply],
        "batteries": [{"name": source.name} | known(source.read()) for source in inventory.batteries],
        "notes": [_HWMON.sub("hwmonN", note) for note in inventory.notes],
    }
    return {name: part for name, part in parts.items() if part}


def build_tree(root: Path, files: Mapping[str, str], seed: int = 0) -> Tree:
    """Write ``files`` below ``root`` as the kernel would show them.

    Args:
        root: an empty folder.
        files: content by path, as in a fixture.
        seed: decides the new numbers of ``hwmonN``.
    """
    numbers = _new_hwmon_numbers(files, seed)
    for path, content in files.items():
        shown = _HWMON.sub(lambda found: numbers[found.group()], path)
        place = root / _real_place(root, shown)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(_as_bytes(path, content))
    return Tree(root, read_or_fail)


def read_or_fail(path: Path, limit: int) -> bytes:
    """Read a file; one that holds ``!EIO`` fails with that error, since root may read what has mode 0."""
    content = read_bytes(path, limit)
    marked = re.fullmatch(rb"!(E[A-Z]+)\n?", content)
    if marked:
        number = getattr(errno, marked.group(1).decode())
        raise OSError(number, "injected", str(path))
    return content


def _new_hwmon_numbers(paths: Iterable[str], seed: int) -> dict[str, str]:
    old = sorted({name for path in paths for name in _HWMON.findall(path)})
    new = [f"hwmon{number}" for number in range(len(old) + 3)]
    random.Random(seed).shuffle(new)
    return dict(zip(old, new, strict=False))


def _real_place(root: Path, shown: str) -> str:
    """Where a file of a class or of an I²C chip really is; the symlink to its folder is made on the way."""
    for pattern, bus in ((_CLASS, "virtual"), (_CHIP, "platform")):
        found = pattern.match(shown)
        if not found:
            continue
        link = found.group(1)
        real = f"sys/devices/{bus}/{'/'.join(link.split('/')[-2:])}"
        _link(root, link, real)
        inner = re.match(r"hwmon/(hwmon[0-9]+)/", shown[len(link) + 1 :])
        if inner:  # the kernel shows a chip's hwmon folder in the class too
            _link(root, f"sys/class/hwmon/{inner.group(1)}", f"{real}/hwmon/{inner.group(1)}")
        return real + shown[len(link) :]
    return shown


def _link(root: Path, link: str, real: str) -> None:
    (root / real).mkdir(parents=True, exist_ok=True)
    place = root / link
    if not place.is_symlink():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(root / real)


def _as_bytes(path: str, content: str) -> bytes:
    if content.startswith("u32be:"):
        return struct.pack(">I", int(content[6:]))
    if path.startswith("proc/device-tree/"):
        return content.encode()
    return content.encode() + b"\n" if content else b""
