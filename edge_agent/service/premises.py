"""The folders of a device, and what earlier lives left in them.

None of it is needed to answer: a disk that is full or read-only is named, and the daemon serves.
"""

from __future__ import annotations

from edge_agent.errors import SettingsError
from edge_agent.log import get_logger
from edge_agent.service.commands.store import CommandStore
from edge_agent.service.figures import Figures
from edge_agent.service.places import find_places, make_places
from edge_agent.service.poison import PoisonGuard
from edge_agent.service.subscribed import Subscribed
from edge_agent.settings import Settings, environment_folders

_GUARD_FILE = "in-hand"
_LOADING_FILE = "in-loading"


class Premises:
    """Makes the folders that are missing, and opens the records in them.

    Args:
        settings: of which the section ``device`` is read.
        filters: what the persistent session is to subscribe to.
        figures: hears of a crash.

    Attributes:
        places: the folders.
        guard: what the last process had in hand when it died.
        loading: what it was loading then.
        record: of commands; its own thread reads it.
        subscribed: what the broker may still hold.
    """

    def __init__(self, settings: Settings, filters: tuple[str, ...], figures: Figures) -> None:
        self._faults: list[str] = []
        self._log = get_logger()
        self.places = find_places(
            environment_folders(),
            settings.device.id,
            state_directory=settings.device.state_directory,
            runtime_directory=settings.device.runtime_directory,
        )
        try:
            make_places(self.places)
        except SettingsError as error:
            self._note(str(error))
        self.guard = PoisonGuard.open(self.places.runtime / _GUARD_FILE)
        if self.guard.fault is not None:
            self._note(self.guard.fault)
        if self.guard.hung:
            figures.note_error("process.hung")
            self._log.error("agent.hung_before", suspected=self.guard.suspected)
        elif self.guard.crash is not None:
            figures.note_error("process.crashed")
            self._log.error(
                "agent.crashed_before", reason=self.guard.crash.signal, suspected=self.guard.suspected
            )
        self.loading = PoisonGuard.open(self.places.runtime / _LOADING_FILE, crash_note=False)
        if self.loading.suspected:
            figures.note_error("model.ended_process")
            self._log.error("agent.died_loading")
        self.record = CommandStore(self.places.state)
        self.subscribed = Subscribed(self.places.state, filters)

    @property
    def faults(self) -> list[str]:
        """What is broken, in words, for ``health``."""
        later = (self.record.fault, self.subscribed.fault)
        return [*self._faults, *(fault for fault in later if fault is not None)]

    def _note(self, fault: str) -> None:
        self._faults.append(fault)
        self._log.warning("agent.impaired", reason=fault)
