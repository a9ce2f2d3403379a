"""Tells the broker, and systemd, how the device is: the documents of PROTOCOL §1 that are the agent's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_agent.link.topics import Topics
from edge_agent.service.health import render_model
from edge_agent.service.links import Links
from edge_agent.service.models import Catalogue
from edge_agent.service.reporter import Reporter
from edge_agent.service.sensing import Sensing
from edge_agent.service.told_models import ToldModels, is_topic_level
from edge_agent.service.updating.states import Told


class Announcer:
    """For the main thread.

    Args:
        link: to the broker.
        topics: of the device.
        reporter: makes ``health`` and ``info``.
        sensing: makes ``power``.
        catalogue: what is served now.
        operations: names of the commands that the device knows.
        told: which models were told of, also by earlier lives.
        update_of: how the latest update of a model stands; None where there was none.
    """

    def __init__(
        self,
        link: Links,
        topics: Topics,
        reporter: Reporter,
        sensing: Sensing,
        catalogue: Callable[[], Catalogue],
        operations: Callable[[], Sequence[str]],
        told: ToldModels,
        update_of: Callable[[str], Told | None] = lambda _name: None,
    ) -> None:
        self._link = link
        self._topics = topics
        self._reporter = reporter
        self._sensing = sensing
        self._catalogue = catalogue
        self._operations = operations
        self._told = told
        self._update_of = update_of
        self._said: dict[str, bytes] = {}

    def tell_health(self) -> None:
        """``health``, retained."""
        self._link.announce(self._topics.health, self._reporter.health(self._catalogue()))

    def tell_identity(self) -> None:
        """``info`` and each ``model/<name>``, retained, where they changed; what went is cleared."""
        self._say(self._topics.info, self._reporter.info(self._catalogue(), self._operations()))
        self.tell_models()

    def tell_models(self) -> None:
        """Each ``model/<name>``, retained, where it changed; what went is cleared."""
        catalogue = self._catalogue()
        named = frozenset(name for name in catalogue if is_topic_level(name))
        gone = self._told.names - named
        self._told.note(named | gone)
        for name in named:
            self._say(self._topics.model(name), render_model(catalogue[name], self._update_of(name)))
        for name in gone:
            self._say(self._topics.model(name), b"")
        if gone and self._link.status().connected_seconds is not None:
            self._told.note(named)
            self._said = {topic: payload for topic, payload in self._said.items() if payload}

    def _say(self, topic: str, payload: bytes) -> None:
        """The link repeats what is retained on each connection, so the same again would only be noise."""
        if self._said.get(topic) != payload:
            self._said[topic] = payload
            self._link.announce(topic, payload)

    def tell_power(self) -> None:
        """``power``, at QoS 0: what is late is worthless."""
        payload = self._sensing.power()
        if payload is not None:
            self._link.publish_once(self._topics.power, payload)

    def status_line(self) -> str:
        """One line for systemd."""
        serving = [f"{e.name} {e.served.version}" for e in self._catalogue().values() if e.served]
        return f"STATUS=serving {', '.join(serving)}" if serving else "STATUS=no model can be served"
