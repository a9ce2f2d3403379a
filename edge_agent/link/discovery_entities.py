"""The entities of one device in Home Assistant: which there are and where their values come from. Pure.

Rules: templates are constants (names and labels are data, never template text); entities whose values are
retained never expire, those whose values are not do; names are left out where Home Assistant has a translated
one for the device class; ``unique_id`` is ``<device>.<key>`` and never changes, and no device id has a dot.

``qos`` stands with each entity that sends: of the options at the root Home Assistant 2025.2 hands down only
availability and topics (``SHARED_OPTIONS`` in ``components/mqtt/schemas.py``).

Sources: Home Assistant 2025.2, ``components/mqtt/{sensor,binary_sensor,button,text,update}.py``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_agent.link.topics import Topics

MAX_TEXT_CHARACTERS = 255
"""The longest state, and so the longest text, that Home Assistant has."""

SAY_TTL_SECONDS = 60
_MAX_NAME_CHARACTERS = 128
_LEAST_EXPIRY_SECONDS = 60
_MISSED_MESSAGES = 3
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # as bundles have it
_NOT_PRINTED = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ANSWERING = frozenset({"intent", "classify"})


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as Home Assistant needs to know it; ``task`` is ``intent``, ``classify`` or ``embed``."""

    name: str
    task: str


@dataclass(frozen=True, slots=True)
class Sensors:
    """Which figures ``power`` has on this board."""

    power: bool = False
    energy: bool = False
    temperature: bool = False
    under_voltage: bool = False
    throttled: bool = False
    battery: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the announcement is made of.

    Attributes:
        topics: of the device.
        agent_version: of this program.
        board: the board's name, as ``info`` has it.
        name: of the device in Home Assistant; None for one made of its id.
        area: that Home Assistant shall suggest.
        models: served, in a steady order.
        sensors: of the board.
        operations: names of the commands that the device knows.
        last_answer: whether the label and confidence of the last answer are entities.
        telemetry_interval_seconds: between two ``power`` messages.
    """

    topics: Topics
    agent_version: str
    board: str
    name: str | None = None
    area: str | None = None
    models: Sequence[ServedModel] = ()
    sensors: Sensors = field(default_factory=Sensors)
    operations: Sequence[str] = ()
    last_answer: bool = False
    telemetry_interval_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Component:
    """One entity: its key in the announcement, and its options."""

    key: str
    options: Mapping[str, Any]


def components(facts: Facts) -> list[Component]:
    """All entities, the most needed first."""
    found = [*_agent(facts), *_operations(facts), *_board(facts)]
    models = [model for model in facts.models if _MODEL_NAME.fullmatch(model.name)]
    for model in models:
        found += _say(facts, model)
    for model in models:
        found += [_model(facts, model), *(_last_answer(facts, model) if facts.last_answer else ())]
    return found


def plain(text: str) -> str:
    """A name without control characters and half characters, cut to a length that a page can show."""
    return _NOT_PRINTED.sub("", text)[:_MAX_NAME_CHARACTERS].strip()


def _entity(facts: Facts, key: str, platform: str, **options: Any) -> Component:
    unique = f"{facts.topics.device}.{key}"
    return Component(key, {"platform": platform, "unique_id": unique, **options})


def _agent(facts: Facts) -> Iterator[Component]:
    health = facts.topics.health
    yield _entity(
        facts, "status", "binary_sensor",
        state_topic=facts.topics.status,
        device_class="connectivity",
        entity_category="diagnostic",
        payload_on="online",
        payload_off="offline",
        availability=[],  # else it would be unavailable rather than off
    )  # fmt: skip
    yield _entity(
        facts, "health", "sensor",
        name="Health",
        state_topic=health,
        device_class="enum",
        options=["up", "degraded", "down"],
        value_template="{{ value_json.status }}",
        json_attributes_topic=health,
        json_attributes_template="{{ {'reasons': value_json.reasons} | tojson }}",
    )  # fmt: skip
    yield _entity(
        facts, "requests", "sensor",
        name="Requests per minute",
        state_topic=health,
        state_class="measurement",
        unit_of_measurement="1/min",
        value_template="{{ value_json.inference.per_minute }}",
    )  # fmt: skip
    for key, name, template in (
        ("latency_p50", "Latency, median", "{{ value_json.inference.p50_ms }}"),
        ("latency_p99", "Latency, 99th percentile", "{{ value_json.inference.p99_ms }}"),
    ):
        yield _entity(
            facts, key, "sensor",
            name=name,
            state_topic=health,
            device_class="duration",
            state_class="measurement",
            unit_of_measurement="ms",
            suggested_display_precision=1,
            entity_category="diagnostic",
            value_template=template,
        )  # fmt: skip


def _operations(facts: Facts) -> Iterator[Component]:
    # The agent mints an id for each press, so a button works again and again.
    press = {"qos": 1, "payload_press": "{}"}
    if "restart" in facts.operations:
        topic = f"{facts.topics.root}/request/restart"
        yield _entity(
            facts, "restart", "button",
            command_topic=topic, device_class="restart", entity_category="config", **press,
        )  # fmt: skip
    if "self-test" in facts.operations:
        topic = f"{facts.topics.root}/request/self-test"
        yield _entity(
            facts, "self_test", "button",
            name="Self-test", command_topic=topic, entity_category="diagnostic", **press,
        )  # fmt: skip


_SOURCE_TEMPLATE = (
    "{{ {'source': value_json.source, 'scope': value_json.scope, 'quality': value_json.quality} | tojson }}"
)
# total_increasing takes a fall for a new beginning, so a restart of the daemon needs no last_reset, which
# that state class forbids.
_WATT_HOURS_TEMPLATE = (
    "{% if value_json.energy_j is number %}{{ (value_json.energy_j / 3600) | round(4) }}"
    "{% else %}None{% endif %}"
)


def _board(facts: Facts) -> Iterator[Component]:
    power = f"{facts.topics.root}/power"
    expiry = _MISSED_MESSAGES * facts.telemetry_interval_seconds
    shared = {"state_topic": power, "expire_after": max(_LEAST_EXPIRY_SECONDS, math.ceil(expiry))}
    source = {"json_attributes_topic": power, "json_attributes_template": _SOURCE_TEMPLATE}
    if facts.sensors.power:
        yield _entity(
            facts, "power", "sensor",
            device_class="power", state_class="measurement", unit_of_measurement="W",
            suggested_display_precision=2, value_template="{{ value_json.power_w }}", **source, **shared,
        )  # fmt: skip
    if facts.sensors.energy:
        yield _entity(
            facts, "energy", "sensor",
            device_class="energy", state_class="total_increasing", unit_of_measurement="Wh",
            suggested_display_precision=2, value_template=_WATT_HOURS_TEMPLATE, **source, **shared,
        )  # fmt: skip
    if facts.sensors.temperature:
        yield _entity(
            facts, "temperature", "sensor",
            device_class="temperature", state_class="measurement", unit_of_measurement="°C",
            suggested_display_precision=1, entity_category="diagnostic",
            value_template="{{ value_json.temperature_c }}", **shared,
        )  # fmt: skip
    if facts.sensors.battery:
        yield _entity(
            facts, "battery", "sensor",
            device_class="battery", state_class="measurement", unit_of_measurement="%",
            suggested_display_precision=0, entity_category="diagnostic",
            value_template="{{ value_json.battery_percent }}", **shared,
        )  # fmt: skip
    yield from _troubles(facts, shared)


def _troubles(facts: Facts, shared: Mapping[str, Any]) -> Iterator[Component]:
    # A template writes true as True; null as None, which Home Assistant shows as unknown.
    problem = {
        "device_class": "problem",
        "entity_category": "diagnostic",
        "payload_on": "True",
        "payload_off": "False",
    }
    if facts.sensors.under_voltage:
        yield _entity(
            facts, "under_voltage", "binary_sensor",
            name="Under-voltage", value_template="{{ value_json.under_voltage }}", **problem, **shared,
        )  # fmt: skip
    if facts.sensors.throttled:
        yield _entity(
            facts, "throttled", "binary_sensor",
            name="Throttled", value_template="{{ value_json.throttled }}", **problem, **shared,
        )  # fmt: skip


# A sentence that waited at the broker while the device was away must not switch a light hours later. As JSON,
# a sentence that looks like JSON is a sentence, too.
_SAY_TEMPLATE = (
    f"{{{{ {{'text': value, 'ttl_s': {SAY_TTL_SECONDS}, 'sent_at': utcnow().isoformat()}} | tojson }}}}"
)


def _say(facts: Facts, model: ServedModel) -> Iterator[Component]:
    if model.task not in _ANSWERING:
        return
    yield _entity(
        facts, f"say_{model.name}", "text",
        name=f"Say to {model.name}",
        command_topic=facts.topics.request(model.name),
        command_template=_SAY_TEMPLATE,
        max=MAX_TEXT_CHARACTERS,
        qos=1,
        # Always empty: so what was said is not kept in Home Assistant's history, and the same sentence can be
        # said again, which its page sends only where it differs from the state.
        state_topic=facts.topics.status,
        value_template="{{ '' }}",
    )  # fmt: skip


# Home Assistant refuses a document with a key that it does not know, and a version that is null.
_UPDATE_TEMPLATE = (
    "{% if value_json.installed_version %}{{ {"
    "'installed_version': value_json.installed_version, "
    "'latest_version': value_json.latest_version or value_json.installed_version, "
    "'in_progress': value_json.in_progress == true, "
    "'update_percentage': value_json.update_percentage} | tojson }}{% endif %}"
)


def _model(facts: Facts, model: ServedModel) -> Component:
    options: dict[str, Any] = {
        "name": f"Model {model.name}",
        "state_topic": f"{facts.topics.root}/model/{model.name}",
        "value_template": _UPDATE_TEMPLATE,
        "entity_category": "diagnostic",
    }
    if "model-update" in facts.operations:
        options |= {
            "command_topic": f"{facts.topics.root}/request/model-update",
            "payload_install": f'{{"name":"{model.name}"}}',
            "entity_category": "config",
            "qos": 1,
        }
    return _entity(facts, f"model_{model.name}", "update", **options)


_LABEL_TEMPLATE = (
    "{% if value_json.error is defined %}{{ value_json.error.code[:255] }}"
    "{% else %}{{ (value_json.intent or value_json.label or 'unrecognized')[:255] }}{% endif %}"
)
_CONFIDENCE_TEMPLATE = (
    "{% if value_json.confidence is number %}{{ (value_json.confidence * 100) | round(1) }}"
    "{% else %}None{% endif %}"
)


def _last_answer(facts: Facts, model: ServedModel) -> Iterator[Component]:
    """Of answers on ``out/<model>``: those with a response topic go to their requester alone."""
    if model.task not in _ANSWERING:
        return
    topic = facts.topics.result(model.name)
    yield _entity(
        facts, f"answer_{model.name}", "sensor",
        name=f"Last answer of {model.name}", state_topic=topic, value_template=_LABEL_TEMPLATE,
    )  # fmt: skip
    yield _entity(
        facts, f"confidence_{model.name}", "sensor",
        name=f"Last confidence of {model.name}", state_topic=topic, value_template=_CONFIDENCE_TEMPLATE,
        state_class="measurement", unit_of_measurement="%",
    )  # fmt: skip
