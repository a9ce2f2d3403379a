"""The device in Home Assistant: announced, kept true, and taken back when it is switched off.

What was announced stands in a file before it is published, so that a later life, or other settings, can take
back what is no more. Where it was never announced, nothing is published, and nothing of Home Assistant's is
touched.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_agent import __version__
from edge_agent.link.discovery import (
    Announced,
    Facts,
    Sensors,
    ServedModel,
    announced_from,
    birth_delay_seconds,
    plan,
)
from edge_agent.link.topics import Topics
from edge_agent.log import get_logger
from edge_agent.service.models import Catalogue
from edge_agent.service.state_file import StateFile
from edge_agent.settings import Settings

FILE_NAME = "home-assistant.json"
_SETTLE_SECONDS = 1.0


class Presence:
    """Of the main thread; times by its monotonic clock.

    Args:
        folder: the device's state directory.
        prefix: Home Assistant's discovery prefix.
        facts: what is so; None when the device is not to be found.
        announce: publishes a retained message now and on every later connection.
        is_connected: whether what is published now goes out now.
        is_settled: whether the facts are complete; until then nothing is told, since what is missing is
            taken from Home Assistant, and with it what its owner did to it.
        fraction: random numbers in [0, 1).

    Attributes:
        due: when :meth:`tell` is to be called; None for not.
        fault: what is wrong, in words; or None.
    """

    def __init__(
        self,
        folder: Path,
        prefix: str,
        facts: Callable[[], Facts | None],
        announce: Callable[[str, bytes], None],
        *,
        is_connected: Callable[[], bool],
        is_settled: Callable[[], bool] = lambda: True,
        fraction: Callable[[], float] | None = None,
    ) -> None:
        self._file = StateFile(folder / FILE_NAME)
        self._prefix = prefix
        self._facts = facts
        self._announce = announce
        self._is_connected = is_connected
        self._is_settled = is_settled
        self._fraction = fraction or random.SystemRandom().random
        self._log = get_logger()
        self._before = announced_from(self._file.read())
        self._is_recorded = True
        self.due: float | None = None
        self.fault: str | None = None

    def note_change(self, now: float) -> None:
        """Facts may have changed. They are told once settled: Home Assistant drops what comes too soon."""
        self.due = now + _SETTLE_SECONDS

    def note_birth(self, now: float) -> None:
        """Home Assistant has started, and with it a house full of devices tells of itself."""
        self.due = now + birth_delay_seconds(self._fraction())

    def tell(self, now: float) -> None:
        """Publishes what is so, and takes back what is no more."""
        self.due = None
        if not self._is_settled():
            self.note_change(now)
            return
        found = plan(self._prefix, self._facts(), self._before)
        if self._is_elsewhere(found.announced) and not self._is_connected():
            return  # the other place must be cleared before it is forgotten; the connection calls again
        self.fault = None
        if found.announced is not None:
            self._remember(found.announced)
        for topic, payload in found.messages:
            self._announce(topic, payload)
        if found.announced is None and self._before is not None and self._is_connected():
            self._forget()
        if found.left_out:
            self.fault = f"Home Assistant is not told of {len(found.left_out)} entities: too many models"

    def _is_elsewhere(self, announced: Announced | None) -> bool:
        """Whether it stands under another prefix than it is to."""
        return announced is not None and self._before is not None and announced.topic != self._before.topic

    def _remember(self, announced: Announced) -> None:
        if announced == self._before and self._is_recorded:
            return
        self._before = announced
        reason = self._file.write(announced.to_bytes())
        if reason is not None:
            self.fault = f"what Home Assistant was told cannot be noted in {self._file.path}: {reason}"
            if self._is_recorded:
                self._log.warning("home_assistant.unrecorded", reason=reason)
        self._is_recorded = reason is None

    def _forget(self) -> None:
        try:
            self._file.path.unlink(missing_ok=True)
        except OSError as error:
            self._log.warning("home_assistant.unrecorded", reason=error.strerror or type(error).__name__)
        self._before = None


def facts_of(
    settings: Settings,
    topics: Topics,
    board: str,
    catalogue: Catalogue,
    sensors: Sensors,
    operations: Sequence[str],
) -> Facts | None:
    """What Home Assistant is to know of this device; None where the settings say: nothing."""
    wanted = settings.home_assistant
    if not wanted.enabled:
        return None
    return Facts(
        topics=topics,
        agent_version=__version__,
        board=board,
        name=wanted.device_name,
        area=wanted.area,
        models=[
            ServedModel(name, entry.served.task.value)
            for name, entry in catalogue.items()
            if entry.served is not None
        ],
        sensors=sensors,
        operations=operations,
        last_answer=wanted.last_answer,
        telemetry_interval_seconds=settings.telemetry.interval_seconds,
    )
