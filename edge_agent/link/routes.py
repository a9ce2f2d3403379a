"""Routes: any topic filter, bound to a model and to a topic for its answers (PROTOCOL §1). Pure.

A route is judged when the settings are read: it must not feed itself, alone or by way of others, nor listen
to the device's own words, nor write where it takes requests and commands from. What one device alone cannot
see are loops through other devices. What a topic template becomes is judged for every message again, by
the same rule as a response topic, because a stranger's topic fills it.

A Response Topic (MQTT 5) is honoured on a route that takes requests as ``in/`` does. Where the text stands in
a foreign payload, it belongs to that program's own talk with someone else, and the answer goes to the
route's own topic.

Two links listen. What may wait for a dead device comes by the main, persistent session; where others are to
take over it comes by a clean one, which holds nothing back for its owner: what it was handed is lost. Of
filters that overlap in one session a broker may send a message once or once for each (MQTT 5.0 section
3.3.4), so a filter that another covers is not asked for, and a shared one may not overlap any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from edge_agent.link.filters import (
    captures,
    covers,
    filter_fault,
    matches,
    overlap,
    share_fault,
    shared,
    topic_fault,
)
from edge_agent.link.json_path import JsonPath
from edge_agent.link.route_graph import Stream, refuse_clashes, refuse_loops
from edge_agent.link.templates import Template
from edge_agent.link.topics import DISCOVERY_PREFIX, Topics, response_topic_fault

_OWN_WORDS = (
    "out/#", "status", "health", "info", "power", "model/+", "unrecognized/+", "canary",
)  # fmt: skip
_OWN_EARS = ("in/+", "cmd/#", "request/+", "canary")
_MOST_REMEMBERED = 1024
_LONGEST_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Route:
    """One route, as the settings have it.

    Attributes:
        subscribe: topic filter.
        model: name of the model that reads what arrives.
        publish: template of the answers' topic.
        text: JSON path of the text; empty or ``$`` where the payload is a request as on ``in/``.
        share: name of the pool that splits this stream, or None.
        on_death: whether what was handed to a dead member of the pool waits for it.
    """

    subscribe: str
    model: str
    publish: str
    text: str = ""
    share: str | None = None
    on_death: Literal["wait", "take_over"] = "wait"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a message is to go.

    Attributes:
        model: that reads it.
        answer_topic: where the answer goes unless the request names another.
        text_path: where in a JSON payload the text is; None for a request of PROTOCOL §1.
        response_allowed: whether a Response Topic is honoured.
        fault: why the route's own topic cannot be used for this message: it is refused with ``bad_payload``
            and these words, on ``out/<model>``; or None.
    """

    model: str
    answer_topic: str
    text_path: JsonPath | None = None
    response_allowed: bool = True
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """What to subscribe to.

    Attributes:
        wait: by the main, persistent session.
        take_over: by a clean session.
    """

    wait: tuple[str, ...]
    take_over: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Checked:
    route: Route
    name: str
    template: Template
    path: JsonPath | None


class Router:
    """Finds the target of a message by its topic; the first route of the settings that matches wins.

    Args:
        topics: of this device.
        routes: in the order of the settings.
        discovery_prefix: where no answer may go.

    Raises:
        ValueError: in one line, with the route's number and filter: a route that cannot be.
    """

    def __init__(
        self, topics: Topics, routes: Sequence[Route] = (), *, discovery_prefix: str = DISCOVERY_PREFIX
    ) -> None:
        self._topics = topics
        self._discovery_prefix = discovery_prefix
        self._own = f"{topics.root}/in/"
        self._routes = tuple(
            self._check(route, f"route {number} ({route.subscribe})")
            for number, route in enumerate(routes, start=1)
        )
        streams = tuple(
            Stream(one.name, one.route.subscribe, one.template.reach, one.route.share) for one in self._routes
        )
        refuse_clashes(streams)
        refuse_loops(streams)
        self._known: dict[str, Target] = {}

    @property
    def filters(self) -> Subscriptions:
        """The subscriptions that are needed, requests on ``in/`` included."""
        wanted = [checked.route for checked in self._routes]
        wait = [self._topics.requests, *(_subscription(r) for r in _widest(wanted) if r.on_death == "wait")]
        return Subscriptions(
            tuple(dict.fromkeys(wait)),
            tuple(_subscription(route) for route in wanted if route.on_death == "take_over"),
        )

    def resolve(self, topic: str) -> Target | None:
        """Where a message on this topic goes; None where an earlier subscription brought it."""
        target = self._known.get(topic)
        if target is None:
            target = self._find(topic)
            if target is not None and len(topic) <= _LONGEST_REMEMBERED:
                if len(self._known) >= _MOST_REMEMBERED:
                    self._known.clear()
                self._known[topic] = target
        return target

    def response_topic_fault(self, topic: str) -> str | None:
        """Why a response topic is refused, in words, or None.

        An answer must not become a request, nor be one at which the broker hangs up: the request would come
        again after each reconnect, and with it the end of the link.
        """
        fault = response_topic_fault(topic, self._topics.base, self._discovery_prefix)
        if fault is not None:
            return fault
        fault = topic_fault(topic)
        if fault is not None:
            return f"the response topic {fault}"
        if any(matches(checked.route.subscribe, topic) for checked in self._routes):
            return "the response topic is one that this device listens to"
        return None

    def _find(self, topic: str) -> Target | None:
        if topic.startswith(self._own) and "/" not in (model := topic[len(self._own) :]):
            return Target(model, self._topics.result(model))
        for checked in self._routes:
            found = captures(checked.route.subscribe, topic)
            if found is not None:
                return self._target(checked, checked.template.fill(found))
        return None

    def _target(self, checked: _Checked, answer_topic: str) -> Target:
        model, path = checked.route.model, checked.path
        fault = self._answer_fault(answer_topic)
        if fault is not None:
            return Target(model, self._topics.result(model), path, False, fault)
        return Target(model, answer_topic, path, response_allowed=path is None)

    def _answer_fault(self, topic: str) -> str | None:
        fault = topic_fault(topic)
        if fault is not None:
            return f"the route's answer topic {fault}"
        fault = response_topic_fault(topic, self._topics.base, self._discovery_prefix)
        return fault and fault.replace("response topic", "route's answer topic")

    def _check(self, route: Route, name: str) -> _Checked:
        _refuse(name, "the filter", filter_fault(route.subscribe))
        if route.share is not None:
            _refuse(name, "the share's name", share_fault(route.share))
        elif route.on_death == "take_over":
            raise ValueError(f"{name}: on_death = take_over needs a share, whose members can take over")
        level_fault = "has a slash" if "/" in route.model else topic_fault(route.model)
        _refuse(name, "the model's name", level_fault)
        if overheard := self._first(_OWN_WORDS, route.subscribe):
            raise ValueError(f"{name}: it listens to the device's own {overheard}, where it publishes itself")
        if self._first(_OWN_EARS, route.subscribe):
            raise ValueError(f"{name}: it listens where the device takes requests and commands already")
        return _Checked(route, name, self._template(route, name), _path(route, name))

    def _template(self, route: Route, name: str) -> Template:
        try:
            known = {"device": self._topics.device, "model": route.model}
            template = Template.parse(route.publish, route.subscribe, known)
        except ValueError as error:
            raise ValueError(f"{name}: the template {error}") from None
        if heard := self._first(_OWN_EARS, template.reach):
            raise ValueError(
                f"{name}: its answers can go to {self._topics.root}/{heard}, where requests come from"
            )
        fault = self._answer_fault(template.fill((("x",),) * route.subscribe.count("+") + (("x",),)))
        if fault is not None:
            raise ValueError(f"{name}: {fault}")
        return template

    def _first(self, branches: tuple[str, ...], topic_filter: str) -> str | None:
        """The branch of the device's own tree that a filter reaches into, or None."""
        root = self._topics.root
        return next((branch for branch in branches if overlap(f"{root}/{branch}", topic_filter)), None)


def _refuse(name: str, what: str, fault: str | None) -> None:
    if fault is not None:
        raise ValueError(f"{name}: {what} {fault}")


def _path(route: Route, name: str) -> JsonPath | None:
    if not route.text:
        return None
    try:
        path = JsonPath.parse(route.text)
    except ValueError as error:
        raise ValueError(f"{name}: the path of the text {error}") from None
    return path if path.steps else None


def _subscription(route: Route) -> str:
    return route.subscribe if route.share is None else shared(route.share, route.subscribe)


def _widest(routes: list[Route]) -> Iterator[Route]:
    """The routes without those whose filter another one covers."""
    for route in routes:
        others = (other for other in routes if other is not route and other.subscribe != route.subscribe)
        if not any(covers(other.subscribe, route.subscribe) for other in others):
            yield route
