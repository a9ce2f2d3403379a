"""Runs a simulated fleet: from a plan to a goodbye."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from edge_agent.errors import BrokerError
from edge_agent.fleet.simulation import descriptors
from edge_agent.fleet.simulation.device import SimulatedDevice
from edge_agent.fleet.simulation.documents import Identity
from edge_agent.fleet.simulation.faults import Faults
from edge_agent.fleet.simulation.session import Session
from edge_agent.fleet.simulation.sessions import Sessions
from edge_agent.fleet.simulation.turn import Rhythm
from edge_agent.link.address import BrokerAddress
from edge_agent.link.topics import Topics
from edge_agent.update.slots import State

_SHOW_SECONDS: Final = 1.0
_LEAVE_SECONDS: Final = 120.0
_CONNECT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be simulated.

    Attributes:
        devices: how many.
        settings: of a real device, by section; what ``info`` tells.
        prefix: of their ids.
        group: told as their channel.
        base_topic: first part of their topics.
        model: that each has.
        version: that it serves at first.
        faults: what goes wrong.
        rhythm: how often they speak, and how long things take.
        keepalive_seconds: of MQTT.
        session_expiry_seconds: likewise.
        connect_rate: connections that are opened a second.
        clean: at the end nothing of them stays at the broker.
    """

    devices: int
    settings: Mapping[str, Mapping[str, Any]]
    prefix: str = "sim"
    group: str = "default"
    base_topic: str = "edge-agent"
    model: str = "home"
    version: str = "1.0.0"
    faults: Faults = field(default_factory=Faults)
    rhythm: Rhythm = field(default_factory=Rhythm)
    keepalive_seconds: int = 30
    session_expiry_seconds: int = 86_400
    connect_rate: float = 500.0
    clean: bool = True

    def ids(self) -> list[str]:
        """The devices' names."""
        width = max(4, len(str(self.devices)))
        return [f"{self.prefix}-{number:0{width}}" for number in range(1, self.devices + 1)]


@dataclass(frozen=True, slots=True)
class Counts:
    """How the fleet is.

    Attributes:
        devices: of the plan.
        connected: that are connected now.
        off: that are off on purpose or by a power cut.
        answered: commands that have ended.
        updating: devices in the middle of an update.
        failed: devices whose latest update failed.
        rolled_back: devices that went back to the version before.
        versions: devices by the version that they serve.
        fault: why a connection last broke, or was not made, or None.
    """

    devices: int
    connected: int
    off: int
    answered: int
    updating: int
    failed: int
    rolled_back: int
    versions: Mapping[str, int]
    fault: str | None = None


def count(devices: Sequence[SimulatedDevice], fault: str | None = None) -> Counts:
    """Counts once."""
    states = Counter(device.model.record.state for device in devices)
    return Counts(
        devices=len(devices),
        connected=sum(device.is_present for device in devices),
        off=sum(device.is_off for device in devices),
        answered=sum(device.answered for device in devices),
        updating=sum(not device.model.record.is_at_rest for device in devices),
        failed=states[State.FAILED],
        rolled_back=states[State.ROLLED_BACK],
        versions=dict(Counter(device.version or "none" for device in devices)),
        fault=fault,
    )


def simulate(
    plan: Plan,
    address: BrokerAddress,
    *,
    is_over: Callable[[], bool],
    show: Callable[[Counts], None],
    clock: Callable[[], float] = time.monotonic,
) -> Counts:
    """Runs the fleet until ``is_over``, lets all devices say goodbye, and returns how it was before that.

    Args:
        plan: what to simulate.
        address: of the broker.
        is_over: asked about once a second at least.
        show: told about once a second.
        clock: monotonic seconds.

    Raises:
        SettingsError: so many sessions need more open files than there may be.
        BrokerError: no device could connect.
    """
    descriptors.allow(plan.devices)
    now = clock()
    devices = [_device(plan, name, now) for name in plan.ids()]
    sessions = [
        Session(
            device,
            address,
            keepalive_seconds=plan.keepalive_seconds,
            session_expiry_seconds=plan.session_expiry_seconds,
        )
        for device in devices
    ]
    with Sessions(sessions, plan.connect_rate, clock) as fleet:
        counts = _run(fleet, devices, address, is_over, show, clock)
        fleet.leave(clean=plan.clean)
        deadline = clock() + _LEAVE_SECONDS
        while fleet.is_busy and clock() < deadline:
            fleet.pump()
        if fleet.is_busy:
            raise BrokerError(
                f"not every device could say goodbye within {_LEAVE_SECONDS:.0f} s",
                hint="what they retained may still stand at the broker",
            )
    return counts


def _run(
    fleet: Sessions,
    devices: Sequence[SimulatedDevice],
    address: BrokerAddress,
    is_over: Callable[[], bool],
    show: Callable[[Counts], None],
    clock: Callable[[], float],
) -> Counts:
    begun = next_show = clock()
    was_connected = False
    while not is_over():
        fleet.pump()
        if clock() >= next_show:
            next_show = clock() + _SHOW_SECONDS
            counts = count(devices, fleet.fault)
            show(counts)
            was_connected = was_connected or counts.connected > 0 or counts.off > 0
            if not was_connected and clock() - begun > _CONNECT_SECONDS:
                reason = counts.fault or "no answer"
                raise BrokerError(
                    f"no device could connect to {address}: {reason}",
                    hint="is a broker running there? name another by --broker mqtt://host:port",
                )
    return count(devices, fleet.fault)


def _device(plan: Plan, name: str, now: float) -> SimulatedDevice:
    return SimulatedDevice(
        Topics(plan.base_topic, name),
        Identity(plan.model, plan.settings, plan.group),
        plan.version,
        plan.faults,
        plan.rhythm,
        now=now,
        epoch=time.time() - now,
    )
