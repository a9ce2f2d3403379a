"""What ``edge-agent check`` looks at: one function a finding, each with its remedy.

A *problem* keeps the agent from doing its work; a *warning* is worth knowing and does not.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from edge_agent.errors import EdgeAgentError

if TYPE_CHECKING:
    from edge_agent.settings import Settings

SLOW_ROUND_TRIP_MS = 30.0
"""Slower than this on the same machine is the 40 ms of a delayed acknowledgement, not work."""

_SUPPORTED_PYTHONS = ((3, 10), (3, 13))
_ONLY_PYTHON_OF_ARMV7L = (3, 11)
_SUPPORTED_MACHINES = ("x86_64", "aarch64")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class State(str, Enum):
    """How a finding turned out."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``remedy`` is set where it is not ok."""

    about: str
    state: State
    message: str
    remedy: str | None = None


def all_findings(config: Path | None) -> Iterator[Finding]:
    """Every finding, the cheap ones first."""
    yield check_platform()
    settings_finding, settings = check_settings(config)
    yield settings_finding
    yield check_runtime()
    yield check_clock()
    if settings is not None:
        yield from check_broker(settings)
        yield from check_models(settings)


def check_platform() -> Finding:
    """Python and processor are ones that this package supports."""
    system, machine = platform.system(), platform.machine()
    description = f"{platform.python_implementation()} {platform.python_version()} on {system} {machine}"
    return judge_platform(sys.version_info[:2], system, machine, description)


def judge_platform(python: tuple[int, int], system: str, machine: str, description: str) -> Finding:
    """Whether a Python version on a system and processor is supported."""
    first, last = _SUPPORTED_PYTHONS
    state, remedy = State.OK, None
    if not first <= python <= last:
        state, remedy = State.PROBLEM, "use Python 3.10 to 3.13"
    elif machine == "armv7l":
        if python != _ONLY_PYTHON_OF_ARMV7L:
            state, remedy = State.PROBLEM, "32-bit ARM has a runtime for Python 3.11 only: Raspberry Pi OS 12"
    elif system != "Linux" or machine not in _SUPPORTED_MACHINES:
        state, remedy = State.WARNING, "not tested here; Linux on x86-64 or ARM is"
    return Finding("platform", state, description, remedy)


def check_settings(config: Path | None) -> tuple[Finding, Settings | None]:
    """The settings can be read, whole."""
    from edge_agent.service.links import router_of
    from edge_agent.settings import DEFAULT_PATH, load_settings, read_password

    try:
        settings = load_settings(config)
        read_password(settings.mqtt)
        router_of(settings)
    except EdgeAgentError as error:
        return Finding("settings", State.PROBLEM, str(error), error.hint or "mend the settings file"), None
    source = config or (DEFAULT_PATH if DEFAULT_PATH.exists() else "no settings file, all defaults")
    return Finding("settings", State.OK, f"{source}; device {settings.device.id}"), settings


def check_runtime() -> Finding:
    """A TFLite runtime is installed and can be loaded."""
    from edge_agent.inference.runtime import runtime_info

    try:
        return Finding("runtime", State.OK, str(runtime_info()))
    except EdgeAgentError as error:
        return Finding("runtime", State.PROBLEM, str(error), error.hint or "pip install ai-edge-litert")


def check_clock() -> Finding:
    """The clock is synchronised; ``sent_at`` and certificates need it."""
    from edge_agent.service.machine import kernel_clock_synced

    if kernel_clock_synced():
        return Finding("clock", State.OK, "synchronised")
    remedy = "sudo timedatectl set-ntp true; until then ttl_s counts from receipt"
    return Finding("clock", State.WARNING, "not synchronised", remedy)


def check_broker(settings: Settings) -> Iterator[Finding]:
    """The broker lets us in, and answers without the delay of a missing ``set_tcp_nodelay``."""
    from edge_agent.cli.probe import probe_broker
    from edge_agent.link.address import BrokerAddress
    from edge_agent.link.topics import Topics
    from edge_agent.settings import read_password

    address = BrokerAddress.from_settings(settings.mqtt, read_password(settings.mqtt))
    topic = f"{Topics(settings.mqtt.base_topic, settings.device.id).root}/canary"
    try:
        report = probe_broker(address, topic)
    except EdgeAgentError as error:
        remedy = error.hint or f"start it (sudo systemctl start mosquitto), or set mqtt.host; tried {address}"
        yield Finding("broker", State.PROBLEM, str(error), remedy)
        return
    yield Finding("broker", State.OK, f"{address} lets us in, {report.protocol}")
    measured = f"a QoS 1 round trip takes {report.round_trip_ms:.1f} ms"
    if report.round_trip_ms <= SLOW_ROUND_TRIP_MS:
        yield Finding("broker speed", State.OK, measured)
    elif settings.mqtt.host in _LOOPBACK or settings.mqtt.transport == "unix":
        remedy = "put `set_tcp_nodelay true` into the broker's configuration (Mosquitto) and restart it"
        yield Finding("broker speed", State.PROBLEM, f"{measured}: it delays small packets", remedy)
    else:
        remedy = "the network is slow, or the broker lacks `set_tcp_nodelay true` (Mosquitto)"
        yield Finding("broker speed", State.WARNING, measured, remedy)


def check_models(settings: Settings) -> Iterator[Finding]:
    """Every model found is intact and answers its golden sentences here."""
    from edge_agent.cli.find import bundles, describe_folders
    from edge_agent.cli.model import judge

    found = bundles(settings.models.directories)
    if not found:
        message = f"none in {describe_folders(settings.models.directories)}"
        yield Finding("models", State.PROBLEM, message, "make install-models, or set models.directories")
    for item in found:
        verdict = judge(item.path)
        about = f"model {item.name}"
        if verdict.well:
            yield Finding(
                about, State.OK, f"{verdict.version}, {verdict.golden_sentences} golden sentences right"
            )
        else:
            remedy = f"install {item.name} again (make install-models), or remove {item.path}"
            yield Finding(about, State.PROBLEM, verdict.reason or "refused", remedy)
