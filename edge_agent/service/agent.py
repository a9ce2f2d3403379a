"""``edge-agentd``: the composition root. It wires settings, models, worker and link, and owns their life.

Start: connect while the models load → serve → one canary through every model → ``online`` and ``READY=1``.
Stop (SIGTERM, SIGINT): take nothing new → answer what is in hand → ``offline`` → disconnect → free the
models → die of the signal that came. SIGHUP reads the models' folders again. A restart by command stops the
same way, and the process then begins anew in its place. The main thread waits for events; it wakes by itself
only for health and for systemd's watchdog, fed by answers and canaries.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TextIO, cast

from edge_agent import __version__
from edge_agent.errors import EdgeAgentError
from edge_agent.link.envelope import Limits
from edge_agent.link.protocol import Delivery
from edge_agent.link.topics import Topics
from edge_agent.log import configure_log, get_logger
from edge_agent.service.answering import Rules
from edge_agent.service.commands.desk import CommandDesk
from edge_agent.service.commands.diagnostics import Sources
from edge_agent.service.commands.operations import standard_operations
from edge_agent.service.commands.policy import Clocks
from edge_agent.service.commands.recent import RecentEvents
from edge_agent.service.commands.selftest import Parts
from edge_agent.service.figures import Figures
from edge_agent.service.heartbeat import FED, Heartbeat
from edge_agent.service.lasting import LastingStream
from edge_agent.service.links import Links, router_of
from edge_agent.service.loading import GuardedLoader
from edge_agent.service.machine import Machine
from edge_agent.service.models import BundleLoader, Catalogue, Loader, load_catalogue
from edge_agent.service.notify import Notifier
from edge_agent.service.premises import Premises
from edge_agent.service.reporter import Reporter
from edge_agent.service.signals import RELOADING, STOPPING, captured_signals, die_of
from edge_agent.service.worker import Worker
from edge_agent.settings import Settings, load_settings, public_settings, read_password

FIRST_CANARY_SECONDS = 20.0
FINISH_SECONDS = 20.0
DRAIN_SECONDS = 5.0
LEAVE_SECONDS = 5.0
COMMANDS_SECONDS = 5.0
_LOOK_SECONDS = 0.25
_EXTEND_MICROSECONDS = 30_000_000
_LINK_CHANGED = 0
_CANARY_CHANGED = -1
RESTARTING = -2
_TOPIC_AND_PROPERTIES_BYTES = 1024


class Agent:
    """One daemon.

    Args:
        settings: all of them.
        password: of the broker, or None.
        loader: opens bundles.
        machine: what is known of this machine.
        notifier: speaks to systemd.
        recent: sees what is logged.

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
    ) -> None:
        self._settings = settings
        self._topics = Topics(settings.mqtt.base_topic, settings.device.id)
        self._machine = machine or Machine()
        self._notifier = notifier or Notifier()
        self._figures = Figures()
        self._log = get_logger()
        self._events: SimpleQueue[int] = SimpleQueue()
        self._catalogue: Catalogue = {}
        self._router = router_of(settings)
        self._premises = Premises(settings, self._router.filters.wait, self._figures)
        self._loader = GuardedLoader(
            loader or BundleLoader(settings.inference.threads), self._premises.loading
        )
        self._link = Links(settings, password, self._router, self, self._premises.subscribed.before)
        self._worker = self._make_worker()
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
            faults=lambda: self._premises.faults,
            pulse_seconds=self._heartbeat.seconds,
        )
        self._desk = self._make_desk(recent or RecentEvents())

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
        """Queues a request, or a command."""
        if self._desk.takes(delivery.message.topic):
            self._desk.on_delivery(delivery)
            return
        self._worker.accept(delivery, held_back=self._link.holds_back(delivery))

    def on_link_change(self) -> None:
        """Wakes the main thread, which tells it in ``health``."""
        self._events.put(_LINK_CHANGED)

    # Life

    def _start(self) -> None:
        self._log.info("agent.starting", version=__version__, device=self._settings.device.id)
        self._notifier.send("STATUS=loading models", f"EXTEND_TIMEOUT_USEC={_EXTEND_MICROSECONDS}")
        self._link.start()
        self._catalogue = self._load({})
        self._worker.swap(self._catalogue)
        self._worker.start()
        self._await_canary()
        self._desk.start()  # commands wait until there is something to test and to tell of
        self._tell_info()
        self._tell_health()
        self._link.announce(self._topics.status, b"online")
        _freeze_garbage()
        self._notifier.send("READY=1", self._status_line())
        self._log.info(
            "agent.ready", models=sorted(self._catalogue), seconds=round(self._reporter.age_seconds, 3)
        )

    def _serve(self) -> int:
        self._heartbeat.begin(time.monotonic())
        next_health = time.monotonic() + self._settings.health.interval_seconds
        while True:
            event = self._next_event(min(next_health, self._heartbeat.due))
            now = time.monotonic()
            if now >= self._heartbeat.due:
                self._heartbeat.beat(now)
            if event == RELOADING:
                self._reload()
            elif event == _LINK_CHANGED and self._link.status().connected_seconds is not None:
                self._premises.subscribed.came_up()
            elif event is not None and (event > 0 or event == RESTARTING):
                return event
            if event is not None or now >= next_health:
                self._tell_health()
                next_health = time.monotonic() + self._settings.health.interval_seconds

    def _stop(self, number: int) -> None:
        if number == RESTARTING:
            self._log.info("agent.restarting")
            self._notifier.send("STATUS=restarting", f"EXTEND_TIMEOUT_USEC={_EXTEND_MICROSECONDS}", FED)
        else:
            self._log.info("agent.stopping", signal=signal.Signals(number).name)
            self._notifier.send("STOPPING=1")
        self._link.stop_taking()
        self._desk.stop(COMMANDS_SECONDS)
        finished = self._worker.finish(FINISH_SECONDS)
        if finished:
            self._notifier.send(FED)
        drained = self._link.drain(DRAIN_SECONDS)
        self._link.leave((self._topics.status, b"offline"), LEAVE_SECONDS)
        if finished:
            self._premises.guard.close()
            for entry in self._catalogue.values():
                if entry.served is not None:
                    entry.served.model.close()
        self._log.info("agent.stopped", finished=finished, drained=drained)

    def _reload(self) -> None:
        self._notifier.send("STATUS=loading models")
        before = self._catalogue
        self._catalogue = self._load(before)
        kept = {id(entry.served) for entry in self._catalogue.values()}
        retired = tuple(
            entry.served.model
            for entry in before.values()
            if entry.served is not None and id(entry.served) not in kept
        )
        self._worker.swap(self._catalogue, retired)
        self._await_canary()
        self._tell_info()
        _freeze_garbage()
        self._notifier.send(self._status_line())
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

    def _load(self, current: Catalogue) -> Catalogue:
        return load_catalogue(
            self._settings.models.directories,
            self._loader,
            current,
            # Its golden sentences were answered, or it was found wanting: that is work, too.
            on_loaded=lambda: self._notifier.send(f"EXTEND_TIMEOUT_USEC={_EXTEND_MICROSECONDS}", FED),
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

    def _status_line(self) -> str:
        serving = [f"{e.name} {e.served.version}" for e in self._catalogue.values() if e.served]
        return f"STATUS=serving {', '.join(serving)}" if serving else "STATUS=no model can be served"

    def _tell_info(self) -> None:
        self._link.announce(self._topics.info, self._reporter.info(self._catalogue, self._desk.operations))

    def _tell_health(self) -> None:
        self._link.announce(self._topics.health, self._reporter.health(self._catalogue))

    def _make_worker(self) -> Worker:
        settings = self._settings
        return Worker(
            self._link,
            self._router,
            Rules(
                limits=Limits(settings.inference.max_text_bytes, settings.limits.json_depth),
                queue_size=settings.inference.queue_size,
                requests_per_second=settings.limits.requests_per_second,
                burst=settings.limits.burst,
                echo_text=settings.privacy.echo_text,
                log_text=settings.privacy.log_text,
                log_requests=settings.log.level == "debug",
            ),
            self._figures,
            clock_synced=self._machine.clock_synced,
            guard=self._premises.guard,
            on_fault=lambda: self._events.put(_CANARY_CHANGED),
        )

    def _make_desk(self, recent: RecentEvents) -> CommandDesk:
        operations = standard_operations(
            Parts(
                singer=self._worker,
                models=lambda: {entry.name: entry.fault for entry in self._catalogue.values()},
                sentences=self._longest_golden,
                link=self._link.status,
                clock_synced=self._machine.clock_synced,
                state=self._premises.places.state,
            ),
            Sources(
                settings=lambda: public_settings(self._settings),
                health=lambda: json.loads(self._reporter.last_health),
                identity=lambda: json.loads(self._reporter.info(self._catalogue)),
                events=recent,
            ),
            request_restart=lambda: self._events.put(RESTARTING),
            most_bytes=self._most_command_bytes,
        )
        return CommandDesk(
            self._link,
            self._topics,
            self._premises.record,
            operations,
            Clocks(is_synced=self._machine.clock_synced),
            count_drop=self._figures.count_drop,
            most_bytes=self._most_command_bytes,
        )

    def _most_command_bytes(self) -> int:
        return self._link.max_packet_bytes - _TOPIC_AND_PROPERTIES_BYTES

    def _longest_golden(self) -> int:
        return max((len(e.served.canaries) for e in self._catalogue.values() if e.served), default=0)


def _freeze_garbage() -> None:
    """Spares the garbage collector all that lives as long as the daemon: 100,000 objects, 20 ms a round."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


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
    log.flush()
    if stop == RESTARTING:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # ourselves, as we were called
    die_of(stop)
    return 128 + stop


def _complain(error: EdgeAgentError) -> int:
    sys.stderr.write(f"edge-agentd: {error}\n")
    if error.hint:
        sys.stderr.write(f"hint: {error.hint}\n")
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
