"""What goes wrong on simulated devices, and on which: drawn from a seed, the device and the version. Pure.

The draw is a hash, not a generator, so that it depends on neither the order of events nor the number of
devices: whoever knows the seed knows beforehand which devices a version fails on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Final

from edge_agent.errors import SettingsError

_SHARE: Final = re.compile(r"(\d{1,3}(?:\.\d{1,4})?) ?%", re.ASCII)


class Fate(Enum):
    """What becomes of a version on a device."""

    KEPT = "kept"
    FAILS_PROOF = "fails its proof"
    UNHEALTHY = "unhealthy while watched"


@dataclass(frozen=True, slots=True)
class Faults:
    """How much goes wrong; shares from 0 to 1.

    Attributes:
        seed: another one hits other devices.
        bad: of the devices on which a version does not work: half of them find out when they prove it, the
            others while it is watched.
        bad_versions: the versions that are bad; empty for every one but that which the devices begin with.
        off: of the devices that are off at the start and return later.
        vanishing: of the devices that lose power in the middle of an update and return later.
        slow: of the devices that take ten times as long.
    """

    seed: int = 1
    bad: float = 0.0
    bad_versions: frozenset[str] = frozenset()
    off: float = 0.0
    vanishing: float = 0.0
    slow: float = 0.0

    def fate(self, device: str, version: str) -> Fate:
        """What becomes of a version on a device."""
        if self.bad_versions and version not in self.bad_versions:
            return Fate.KEPT
        if self.draw(device, "bad", version) >= self.bad:
            return Fate.KEPT
        return Fate.FAILS_PROOF if self.draw(device, "how", version) < 0.5 else Fate.UNHEALTHY

    def vanishes(self, device: str, version: str) -> bool:
        """Whether a device loses power while it installs a version."""
        return self.draw(device, "vanishing", version) < self.vanishing

    def is_off(self, device: str) -> bool:
        """Whether a device is off at the start."""
        return self.draw(device, "off") < self.off

    def is_slow(self, device: str) -> bool:
        """Whether a device takes ten times as long."""
        return self.draw(device, "slow") < self.slow

    def draw(self, device: str, *what: str) -> float:
        """A number in [0, 1), the same whenever it is asked for."""
        text = "/".join((str(self.seed), device, *what))
        return int.from_bytes(sha256(text.encode()).digest()[:7], "big") / 2**56


def parse_share(text: str) -> float:
    """Reads ``10%`` or ``0.5 %``.

    Raises:
        SettingsError: it is no share.
    """
    found = _SHARE.fullmatch(text.strip())
    if found is None or float(found[1]) > 100:
        raise SettingsError(f"{text!r:.40} is no share", hint="for example 10%")
    return float(found[1]) / 100
