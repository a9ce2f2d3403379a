"""What helps against each reason in ``health``. Pure: a reason in words → its remedy in words.

The reasons are told by many parts of the daemon; here they are known by their first words or by a word in
them. docs/troubleshooting.md has the same list at greater length, and a test holds the two together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

GENERAL = "journalctl -u edge-agent -p warning -e; edge-agent send --help tells how to ask it by hand"
"""For a reason that this list does not know."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """What helps against reasons of one kind.

    Attributes:
        pattern: found in the reason, whatever its case.
        words: what to do, one line.
        section: heading in docs/troubleshooting.md.
    """

    pattern: str
    words: str
    section: str


REMEDIES = (
    Remedy(
        r"^no model found",
        "put a bundle into one of these folders (make install-models), or set models.directories",
        "No model",
    ),
    Remedy(
        r"^model .*(golden|the canary)",
        "edge-agent model verify names the sentence; install the model again, or the version before it",
        "A model answers wrongly",
    ),
    Remedy(
        r"^model .*no right answer lately|^the worker|^canary|does not return",
        "the worker is slow or stuck, and systemd restarts it by itself: journalctl -u edge-agent -e",
        "The worker is stuck",
    ),
    Remedy(
        r"^model .*",
        "edge-agent model verify says which file; install the model again (make install-models)",
        "A model cannot be loaded",
    ),
    Remedy(
        r"user name or password|authentication method",
        "mqtt.username and mqtt.password_file, or /etc/credstore/mqtt.password, must be what it expects",
        "The broker refuses us",
    ),
    Remedy(
        r"not authorized|nothing comes back|never arrives|refuses|subscription to|answers to|messages to",
        "the broker's access list must let the device use its own topics: deploy/mosquitto/acl has the lines",
        "The broker refuses us",
    ),
    Remedy(
        r"took over the id|use the id",
        "two devices have one name: give each its own device.id and restart both",
        "Two devices with one name",
    ),
    Remedy(
        r"certificate|tls|ssl",
        "mqtt.ca_file, the broker's name in its certificate and the clock must fit: edge-agent check",
        "TLS fails",
    ),
    Remedy(
        r"^broker",
        "start the broker (sudo systemctl start mosquitto), or set mqtt.host and mqtt.port; edge-agent check "
        "tries them",
        "The broker is away",
    ),
    Remedy(
        r"under-voltage|undervoltage",
        "use the board's own power supply and a short, thick cable; take USB devices off",
        "Under-voltage",
    ),
    Remedy(
        r"throttle|caps the processor|frequency",
        "the supply is too weak or the board too hot: `supply` and `temperature` in edge-agent check",
        "Throttled",
    ),
    Remedy(
        r"^heat|too hot|temperature",
        "give it air or a heat sink, or set power.hot_celsius to what the board is made for",
        "Too hot",
    ),
    Remedy(
        r"^battery",
        "charge it; under power.low_battery_percent the daemon asks less of the board",
        "Battery low",
    ),
    Remedy(
        r"^(thermal|firmware|pmic|rpi_volt|ina\w+|rapl|psu|poe|sensors?|power)\b|sampler",
        "a right is missing, or the device is gone: `sensor` in edge-agent check, and its wires",
        "A sensor does not answer",
    ),
    Remedy(
        r"^the record of|requests that crash|cannot be (written|recorded|created)|another user|disk"
        r"|cannot be noted|no space|read-only",
        "it must be there, not full, and writable for the daemon's user: df -h, ls -ld, and `disk` in "
        "edge-agent check",
        "The disk, or a folder",
    ),
    Remedy(
        r"^Home Assistant",
        "Home Assistant shows a device only so many entities: serve fewer models, or take what is shown",
        "Home Assistant is not told of all",
    ),
    Remedy(
        r"memory",
        "serve fewer or smaller models, or stop other programs: free -m",
        "Memory",
    ),
    Remedy(r"clock", "sudo timedatectl set-ntp true; timedatectl timesync-status", "The clock"),
    Remedy(
        r"metrics|address already in use",
        "another program has the port: set metrics.port to another",
        "The port for Prometheus",
    ),
    Remedy(
        r"crash",
        "a request or a model crashes the runtime: journalctl -u edge-agent -e; edge-agent model verify",
        "It crashes",
    ),
)


def remedy_of(reason: str) -> Remedy | None:
    """The first remedy whose pattern is found in a reason; None where it is of no known kind."""
    return next((one for one in REMEDIES if re.search(one.pattern, reason, re.IGNORECASE)), None)


def remedy_words(reason: str) -> str:
    """What to do about a reason, in one line."""
    found = remedy_of(reason)
    return GENERAL if found is None else found.words
