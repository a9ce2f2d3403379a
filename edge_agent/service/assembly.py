"""Puts together the two parts of the daemon that are made of most others: worker and commands' desk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from edge_agent.link.envelope import Limits
from edge_agent.link.routes import Router
from edge_agent.link.topics import Topics
from edge_agent.service.answering import Rules
from edge_agent.service.commands.desk import CommandDesk
from edge_agent.service.commands.diagnostics import Sources
from edge_agent.service.commands.operation import Operation
from edge_agent.service.commands.operations import standard_operations
from edge_agent.service.commands.policy import Clocks
from edge_agent.service.commands.recent import RecentEvents
from edge_agent.service.commands.selftest import Parts
from edge_agent.service.figures import Figures
from edge_agent.service.links import Links
from edge_agent.service.machine import Machine
from edge_agent.service.models import Catalogue
from edge_agent.service.premises import Premises
from edge_agent.service.reporter import Reporter
from edge_agent.service.sensing import Sensing
from edge_agent.service.updating.shadow import Shadow
from edge_agent.service.worker import Worker
from edge_agent.settings import Settings, public_settings

_TOPIC_AND_PROPERTIES_BYTES = 1024


def make_worker(  # noqa: PLR0913
    settings: Settings,
    link: Links,
    router: Router,
    figures: Figures,
    machine: Machine,
    premises: Premises,
    sensing: Sensing,
    *,
    shadow: Shadow | None,
    on_fault: Callable[[], None],
) -> Worker:
    """The worker of these settings; it is not started."""
    rules = Rules(
        limits=Limits(settings.inference.max_text_bytes, settings.limits.json_depth),
        queue_size=settings.inference.queue_size,
        requests_per_second=settings.limits.requests_per_second,
        burst=settings.limits.burst,
        echo_text=settings.privacy.echo_text,
        log_text=settings.privacy.log_text,
        log_requests=settings.log.level == "debug",
    )
    return Worker(
        link,
        router,
        rules,
        figures,
        clock_synced=machine.clock_synced,
        guard=premises.guard,
        on_fault=on_fault,
        on_begin=sensing.note_activity,
        power_ok=sensing.is_power_ok,
        shadow=shadow,
    )


def make_desk(  # noqa: PLR0913
    settings: Settings,
    link: Links,
    topics: Topics,
    *,
    premises: Premises,
    machine: Machine,
    figures: Figures,
    worker: Worker,
    reporter: Reporter,
    recent: RecentEvents,
    catalogue: Callable[[], Catalogue],
    models: Mapping[str, Operation],
    request_restart: Callable[[], None],
) -> CommandDesk:
    """The desk with every operation that this device knows; it is not started."""

    def most_bytes() -> int:
        return link.max_packet_bytes - _TOPIC_AND_PROPERTIES_BYTES

    operations = standard_operations(
        Parts(
            singer=worker,
            models=lambda: {entry.name: entry.fault for entry in catalogue().values()},
            sentences=lambda: max(
                (len(e.served.canaries) for e in catalogue().values() if e.served), default=0
            ),
            link=link.status,
            clock_synced=machine.clock_synced,
            state=premises.places.state,
        ),
        Sources(
            settings=lambda: public_settings(settings),
            health=lambda: json.loads(reporter.last_health),
            identity=lambda: json.loads(reporter.info(catalogue())),
            events=recent,
        ),
        request_restart=request_restart,
        most_bytes=most_bytes,
    )
    return CommandDesk(
        link,
        topics,
        premises.record,
        {**operations, **models},
        Clocks(is_synced=machine.clock_synced),
        count_drop=figures.count_drop,
        most_bytes=most_bytes,
    )
