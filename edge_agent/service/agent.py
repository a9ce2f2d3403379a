"""``edge-agentd``: the composition root. It wires settings, models, worker, sensors and link.

Start: connect while the models load → serve → one canary through every model → ``online`` and ``READY=1``.
Stop (SIGTERM, SIGINT): take nothing new → answer what is in hand → ``offline`` → disconnect → free the
models → die of the signal that came. SIGHUP reads the models' folders again. A restart by command stops the
same way, and the process then begins anew in its place. The main thread waits for events and for what its
timetable holds, and never polls.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TextIO, cast

from edge_agent import __version__
from edge_agent.errors import EdgeAgentError, SettingsError
from edge_agent.link.discovery import BIRTH_TOPIC, Facts, is_birth
from edge_agent.link.protocol import Delivery
from edge_agent.link.topics import Topics
from edge_agent.log import configure_log, flush_log, get_logger, with_priority
from edge_agent.service.announcer import Announcer
from edge_agent.service.assembly import make_desk, make_worker
from edge_agent.service.commands.recent import RecentEvents
from edge_agent.service.figures import Figures
from edge_agent.service.heartbeat import FED, Heartbeat
from edge_agent.service.lasting import LastingStream
from edge_agent.service.links import Links, router_of
from edge_agent.service.loading import GuardedLoader
from edge_agent.service.machine import Machine
from edge_agent.service.memory import freeze_garbage, return_memory, short_turns
from edge_agent.service.models import BundleLoader, Catalogue, Loader, load_catalogue
from edge_agent.service.notify import Notifier
from edge_agent.service.premises import Premises
from edge_agent.service.presence import Presence, facts_of
from edge_agent.service.reporter import Reporter
from edge_agent.service.sensing import Sensing
from edge_agent.service.signals import RELOADING, STOPPING, captured_signals, die_of
from edge_agent.service.timetable import Timetable
from edge_agent.service.told_models import ToldModels
from edge_agent.service.updating.updates import Surroundings, Updates
from edge_agent.settings import Settings, load_settings, read_password
from edge_agent.telemetry.metrics.facts import StageTimes
from edge_agent.telemetry.metrics.server import MetricsServer, start_metrics

FIRST_CANARY_SECONDS = 20.0
FINISH_SECONDS = 20.0
DRAIN_SECONDS = 5.0
LEAVE_SECONDS = 5.0
COMMANDS_SECONDS = 5.0
SENSORS_SECONDS = 1.0
_TEND_SECONDS = 2.0
_LOOK_SECONDS = 0.25
_ROOT = Path("/")
_EXTENDED = "EXTEND_TIMEOUT_USEC=30000000"

# What wakes the main thread: a signal's number, or one of these.
_LINK_CHANGED = 0
_CANARY_CHANGED = -1
RESTARTING = -2
_BOARD_CHANGED = -3
_HOME_ASSISTANT_CAME = -4
_MODELS_CHANGED = -5
_UPDATE_TOLD = -6


class Agent:
    """One daemon.

    Args:
        settings: all of them.
        password: of the broker, or None.
        loader: opens bundles.
        machine: what is known of this machine.
        notifier: speaks to systemd.
        recent: sees what is logged.
        root: where ``proc``, ``sys`` and ``dev`` of this machine are.

    Raises:
        SettingsError: a route cannot be.
    """

    def __init__(
        self,
        settings: Settings,
        password: str | None = None,
        *,
        loader: Loader | None = None,
        machine: Machine | None = None,
        notifier: Notifier | None = None,
        recent: RecentEvents | None = None,
        root: Path = _ROOT,
    ) -> None:
        self._settings = settings
        self._topics = Topics(settings.mqtt.base_topic, settings.device.id)
        self._machine = machine or Machine(root)
        self._notifier = notifier or Notifier()
        self._log = get_logger()
        self._events: SimpleQueue[int] = SimpleQueue()
        self._catalogue: Catalogue = {}
        self._stage_times = StageTimes()
        self._figures = Figures(stage_times=self._stage_times if settings.metrics.enabled else None)
        router = router_of(settings)
        self._premises = Premises(settings, router.filters.wait, self._figures)
        self._given_loader = loader
        self._threads = settings.inference.threads
        self._link = Links(settings, password, router, self, self._premises.subscribed.before)
        self._sensing = Sensing(
            settings,
            activity=lambda: self._figures.answered,
            cpu_times=self._machine.cpu_times,
            on_change=lambda: self._events.put(_BOARD_CHANGED),
            root=root,
        )
        self._updates = Updates(
            settings,
            self._premises.places.state,
            self._figures,
            self._sensing,
            Surroundings(
                catalogue=lambda: self._catalogue,
                canary_faults=lambda: self._worker.faults,
                is_stuck=lambda: self._reporter.is_stuck,
                clock_synced=self._machine.clock_synced,
                reload=lambda: self._events.put(_MODELS_CHANGED),
                on_told=lambda: self._events.put(_UPDATE_TOLD),
            ),
        )
        self._worker = make_worker(
            settings,
            self._link,
            router,
            self._figures,
            self._machine,
            self._premises,
            self._sensing,
            shadow=self._updates.shadow,
            on_fault=lambda: self._events.put(_CANARY_CHANGED),
        )
        self._heartbeat = Heartbeat(
            self._worker,
            self._figures,
            self._notifier,
            settings.health.interval_seconds,
            is_stuck=lambda: self._reporter.is_stuck,
            on_hang=self._note_hang,
        )
        self._reporter = Reporter(
            settings,
            self._machine,
            self._figures,
            self._link,
            self._worker,
            self._sensing,
            faults=self._faults,
            beat_seconds=self._heartbeat.seconds,
            stage_times=self._stage_times,
        )
        self._desk = make_desk(
            settings,
            self._link,
            self._topics,
            premises=self._premises,
            machine=self._machine,
            figures=self._figures,
            worker=self._worker,
            reporter=self._reporter,
            recent=recent or RecentEvents(),
            catalogue=lambda: self._catalogue,
            models=self._updates.operations,
            request_restart=lambda: self._events.put(RESTARTING),
        )
        self._announcer = Announcer(
            self._link,
            self._topics,
            self._reporter,
            self._sensing,
            catalogue=lambda: self._catalogue,
            operations=lambda: self._desk.operations,
            told=ToldModels(self._premises.places.state),
            update_of=self._updates.told,
        )
        self._presence = Presence(
            self._premises.places.state,
            settings.home_assistant.discovery_prefix,
            self._home_assistant_facts,
            self._link.announce,
            is_connected=lambda: self._link.status().connected_seconds is not None,
            is_settled=lambda: self._sensing.is_settled,
        )
        self._metrics: MetricsServer | None = None
        self._metrics_fault: str | None = None
        self._timetable = Timetable()

    def run(self) -> int:
        """Serves until a signal says stop.

        Returns:
            The signal, for the caller to die of; or :data:`RESTARTING`.
        """
        with captured_signals(self._events.put):
            self._start()
            stop = self._serve()
            self._stop(stop)
        return self._overruled() or stop  # now that no further signal is put into the queue

    # Receiver of the link, in its thread

    def on_delivery(self, delivery: Delivery) -> None:
        """Queues a request, or a command; hears Home Assistant start."""
        message = delivery.message
        if self._desk.takes(message.topic):
            self._desk.on_delivery(delivery)
        elif message.topic == BIRTH_TOPIC and self._settings.home_assistant.enabled:
            if is_birth(message.topic, message.payload):
                self._events.put(_HOME_ASSISTANT_CAME)
            self._link.settle(delivery)
        else:
            self._worker.accept(delivery, held_back=self._link.holds_back(delivery))

    def on_link_change(self) -> None:
        """Wakes the main thread, which tells it in ``health``."""
        self._events.put(_LINK_CHANGED)

    # Life

    def _start(self) -> None:
        self._log.info("agent.starting", version=__version__, device=self._settings.device.id)
        self._notifier.send("STATUS=loading models", _EXTENDED)
        self._link.start()
        self._updates.recover()
        self._catalogue = self._load({})
        self._worker.swap(self._catalogue)
        self._worker.start()
        self._sensing.start()
        self._await_canary()
        self._open_metrics()
        self._desk.start()  # commands wait until there is something to test and to tell of
        self._announcer.tell_identity()
        self._announcer.tell_health()
        self._presence.note_change(time.monotonic())
        self._link.announce(self._topics.status, b"online")
        self._updates.start()
        freeze_garbage()
        self._notifier.send("READY=1", self._announcer.status_line())
        self._log.info(
            "agent.ready", models=sorted(self._catalogue), seconds=round(self._reporter.age_seconds, 3)
        )

    def _serve(self) -> int:
        self._heartbeat.begin()
        self._fill_timetable(time.monotonic())
        while True:
            due = self._presence.due
            event = self._next_event(self._timetable.due if due is None else min(due, self._timetable.due))
            now = time.monotonic()
            self._timetable.run(now)
            if self._presence.due is not None and now >= self._presence.due:
                self._presence.tell(now)
            if event is None:
                continue
            if event == RESTARTING or (event > 0 and event != RELOADING):
                return event
            self._react(event, now)
            self._tell_health()
            self._timetable.put_off(self._tell_health, now)

    def _fill_timetable(self, now: float) -> None:
        self._timetable.every(self._heartbeat.seconds, self._heartbeat.beat, now=now)
        self._timetable.every(self._settings.health.interval_seconds, self._tell_health, now=now)
        if self._updates.tend_seconds:
            self._timetable.every(self._updates.tend_seconds, self._tend_updates, now=now)
        if self._settings.telemetry.enabled:
            self._timetable.every(self._settings.telemetry.interval_seconds, self._tell_power, now=now)
            self._timetable.every(_TEND_SECONDS, self._tend_sensors, now=now)

    def _react(self, event: int, now: float) -> None:
        if event == RELOADING:
            self._updates.read_again()
            self._reload()
        elif event == _MODELS_CHANGED:
            self._reload()
            self._updates.reloaded()
        elif event == _UPDATE_TOLD:
            self._announcer.tell_models()
        elif event == _HOME_ASSISTANT_CAME:
            self._presence.note_birth(now)
        elif event == _BOARD_CHANGED:
            self._ease()
            self._announcer.tell_identity()
            self._announcer.tell_power()
            self._presence.note_change(now)
        elif event == _LINK_CHANGED and self._link.status().connected_seconds is not None:
            self._premises.subscribed.came_up()
            self._presence.note_change(now)

    def _stop(self, number: int) -> None:
        if number == RESTARTING:
            self._log.info("agent.restarting")
            self._notifier.send("STATUS=restarting", _EXTENDED, FED)
        else:
            self._log.info("agent.stopping", signal=signal.Signals(number).name)
            self._notifier.send("STOPPING=1")
        self._link.stop_taking()
        self._updates.stop()
        self._desk.stop(COMMANDS_SECONDS)
        finished = self._worker.finish(FINISH_SECONDS)
        if finished:
            self._notifier.send(FED)
        drained = self._link.drain(DRAIN_SECONDS)
        self._link.leave((self._topics.status, b"offline"), LEAVE_SECONDS)
        self._sensing.stop(SENSORS_SECONDS)
        if self._metrics is not None:
            self._metrics.stop()
        if finished:
            self._premises.guard.close()
            for entry in self._catalogue.values():
                if entry.served is not None:
                    entry.served.model.close()
        self._log.info("agent.stopped", finished=finished, drained=drained)

    def _reload(self, *, anew: bool = False) -> None:
        """Serves what is in the models' folders now; what is unchanged stays as it is, unless ``anew``."""
        self._notifier.send("STATUS=loading models")
        before = self._catalogue
        self._catalogue = self._load(before, anew=anew)
        kept = {id(entry.served) for entry in self._catalogue.values()}
        retired = tuple(
            entry.served.model
            for entry in before.values()
            if entry.served is not None and id(entry.served) not in kept
        )
        self._worker.swap(self._catalogue, retired)
        self._await_canary()
        self._announcer.tell_identity()
        self._presence.note_change(time.monotonic())
        freeze_garbage()
        return_memory()
        self._notifier.send(self._announcer.status_line())
        self._log.info("agent.reloaded", models=sorted(self._catalogue))

    # Small steps

    def _overruled(self) -> int | None:
        """The signal that came while the daemon was ending: it ends a restart, too."""
        while (event := self._next_event(0.0)) is not None:
            if event in STOPPING:
                return event
        return None

    def _next_event(self, deadline: float) -> int | None:
        try:
            return self._events.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            return None

    def _load(self, current: Catalogue, *, anew: bool = False) -> Catalogue:
        loader = self._given_loader or BundleLoader(self._threads)
        with short_turns():
            return load_catalogue(
                self._settings.models.directories,
                GuardedLoader(loader, self._premises.loading),
                current,
                anew=anew,
                # Its golden sentences were answered, or it was found wanting: that is work, too.
                on_loaded=lambda: self._notifier.send(_EXTENDED, FED),
            )

    def _await_canary(self) -> None:
        """Waits until every model has been asked, but not for a worker that hangs: `health` has to say so."""
        canary = self._heartbeat.sing()
        deadline = time.monotonic() + FIRST_CANARY_SECONDS
        while not canary.wait(_LOOK_SECONDS):
            if self._reporter.is_stuck or time.monotonic() > deadline:
                self._log.error("agent.canary_late", busy_seconds=round(self._worker.busy_seconds, 1))
                return

    def _note_hang(self) -> None:
        self._premises.guard.note_hang()
        self._figures.note_error("worker.hangs")
        self._log.error("agent.hanging", seconds=round(self._worker.busy_seconds, 1))

    def _ease(self) -> None:
        """Asks less of a board that is strained, and as much as ever of one that is well."""
        power, usual = self._settings.power, self._settings.limits.requests_per_second
        strained = self._sensing.is_strained
        less = power.strained_requests_per_second
        self._worker.limit(min(less, usual or less) if strained and less else usual)
        threads = power.strained_threads if strained else 0
        threads = threads or self._settings.inference.threads
        if threads != self._threads:
            self._threads = threads
            self._reload(anew=True)

    def _open_metrics(self) -> None:
        if not self._settings.metrics.enabled:
            return
        try:
            self._metrics = start_metrics(self._settings.metrics, self._reporter.metrics)
        except SettingsError as error:
            self._metrics_fault = str(error)
            self._log.error("metrics.unavailable", reason=str(error), hint=error.hint)

    def _faults(self) -> list[str]:
        """What is broken that the daemon goes on without, in words."""
        others = (self._metrics_fault, self._presence.fault, self._updates.fault)
        return [*self._premises.faults, *(fault for fault in others if fault is not None)]

    def _home_assistant_facts(self) -> Facts | None:
        return facts_of(
            self._settings,
            self._topics,
            self._machine.board(),
            self._catalogue,
            self._sensing.offered(),
            self._desk.operations,
        )

    def _tell_health(self, _: float = 0.0) -> None:
        self._announcer.tell_health()

    def _tell_power(self, _: float) -> None:
        self._announcer.tell_power()

    def _tend_updates(self, _: float) -> None:
        self._updates.tend()

    def _tend_sensors(self, _: float) -> None:
        self._sensing.tend()


def main(argv: list[str] | None = None) -> int:
    """Runs ``edge-agentd``; returns the exit status, unless a signal ends it."""
    parser = argparse.ArgumentParser(
        prog="edge-agentd", description="Answers requests over MQTT with the language models of this device."
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="settings file (TOML)")
    parser.add_argument("--version", action="version", version=f"edge-agentd {__version__}")
    arguments = parser.parse_args(argv)
    log = cast(TextIO, LastingStream(sys.stderr))
    try:
        settings = load_settings(arguments.config)
        recent = RecentEvents()
        configure_log(settings.log.level, settings.log.format, log, watch=recent)
        agent = Agent(settings, read_password(settings.mqtt), recent=recent)
    except EdgeAgentError as error:
        return _complain(error)
    stop = agent.run()
    flush_log()
    log.flush()
    if stop == RESTARTING:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # ourselves, as we were called
    die_of(stop)
    return 128 + stop


def _complain(error: EdgeAgentError) -> int:
    hint = f"hint: {error.hint}\n" if error.hint else ""
    sys.stderr.write(with_priority("error", f"edge-agentd: {error}\n{hint}", sys.stderr))
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
