"""Waves of a rollout: how many devices each reaches, in which order, and how many may fail. Pure.

A wave is cumulative: ``1,5%,25%,100%`` of 200 devices reaches 1, then 10, then 50, then 200 of them. A share
is rounded up, so that no wave is empty; the failures that are allowed are rounded down, as the rule
``⌊share × wave⌋`` has it, in exact fractions: a binary 0.29 × 100 would be 28.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from math import ceil, floor
from typing import Final

from edge_agent.errors import SettingsError

_COUNT: Final = re.compile(r"[0-9]{1,7}", re.ASCII)
_SHARE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?) ?%", re.ASCII)
_DURATION: Final = re.compile(r"([0-9]{1,6})([smhd]?)", re.ASCII)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of devices, or a share of them.

    Attributes:
        text: as it was written.
        count: devices; None where it is a share.
        share: 0 to 1; None where it is a count.
    """

    text: str
    count: int | None = None
    share: Fraction | None = None

    @classmethod
    def parse(cls, text: str) -> Amount:
        """Reads ``3`` or ``2.5%``.

        Raises:
            SettingsError: it is neither.
        """
        text = text.strip()
        if _COUNT.fullmatch(text):
            return cls(text, count=int(text))
        found = _SHARE.fullmatch(text)
        if found is None or Fraction(found[1]) > 100:
            raise SettingsError(f"{text!r:.40} is no number of devices", hint="for example 3 or 2.5%")
        return cls(text, share=Fraction(found[1]) / 100)

    def at_least(self, devices: int) -> int:
        """Of so many devices, rounded up; never more than there are."""
        return devices if self._of(devices) > devices else ceil(self._of(devices))

    def at_most(self, devices: int) -> int:
        """Of so many devices, rounded down."""
        return floor(self._of(devices))

    def _of(self, devices: int) -> Fraction:
        return Fraction(self.count or 0) if self.share is None else self.share * devices


def parse_waves(text: str) -> tuple[Amount, ...]:
    """Reads ``1,5%,25%,100%``.

    Raises:
        SettingsError: it is no such list, a wave is smaller than the one before, or the last is not all.
    """
    waves = tuple(Amount.parse(part) for part in text.split(","))
    hint = "for example 1,5%,25%,100%: each wave larger than the one before, the last all devices"
    counts = [wave.count for wave in waves if wave.count is not None]
    shares = [wave.share for wave in waves if wave.share is not None]
    if counts != sorted(set(counts)) or shares != sorted(set(shares)) or 0 in counts or 0 in shares:
        raise SettingsError(f"{text!r:.80}: waves do not grow", hint=hint)
    if waves[-1].share != 1:
        raise SettingsError(f"{text!r:.80}: the last wave is not 100%", hint=hint)
    return waves


def sizes(waves: Sequence[Amount], devices: int) -> tuple[int, ...]:
    """How many devices have been told after each wave; a wave that would add none falls away.

    Args:
        waves: as :func:`parse_waves` has them.
        devices: in the group, at least one.
    """
    found: list[int] = []
    for wave in waves:
        size = wave.at_least(devices)
        if size > (found[-1] if found else 0):
            found.append(size)
    return tuple(found)


def in_order(devices: Collection[str], absent: Collection[str], rollout: str) -> tuple[str, ...]:
    """The order in which devices are told: by a hash of the rollout and the device, those that are off last.

    The hash lets each rollout begin with another device, so that no device is always the first to suffer, and
    lets anybody find the order again. A device that is off proves nothing of the version, so it is not asked
    to.

    Args:
        devices: ids.
        absent: those of them that are off, or were never seen.
        rollout: id of the rollout.
    """
    gone = frozenset(absent)
    return tuple(
        sorted(devices, key=lambda one: (one in gone, sha256(f"{rollout}/{one}".encode()).digest(), one))
    )


def parse_seconds(text: str) -> float:
    """Reads ``90s``, ``10m``, ``1h``, ``2d`` or a bare number of seconds.

    Raises:
        SettingsError: it is none of these.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise SettingsError(f"{text!r:.40} is no length of time", hint="for example 90s, 10m, 1h or 2d")
    return float(int(found[1]) * _SECONDS[found[2]])
