"""The entities of one device in Home Assistant: which there are and where their values come from. Pure.

Rules: templates are constants (names and labels are data, never template text); entities whose values are
retained never expire, those whose values are not do; names are left out where Home Assistant has a translated
one for the device class; ``unique_id`` is ``<device>.<key>`` and never changes, and no device id has a dot.

``qos`` stands with each entity that sends: of the options at the root Home Assistant 2025.2 hands down only
availability and topics (``SHARED_OPTIONS`` in ``components/mqtt/schemas.py``).

Sources: Home Assistant 2025.2, ``components/mqtt/{sensor,binary_sensor,button,text,update}.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from edge_agent.link.discovery_board import board
from edge_agent.link.discovery_facts import Component, Facts, ServedModel, entity
from edge_agent.link.envelope import encode_json

MAX_TEXT_CHARACTERS = 255
"""The longest state, and so the longest text, that Home Assistant has."""

SAY_TTL_SECONDS = 60
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # as bundles have it
_ANSWERING = frozenset({"intent", "classify"})


def components(facts: Facts) -> list[Component]:
    """All entities, the most needed first."""
    found = [*_agent(facts), *_operations(facts), *board(facts)]
    models = [model for model in facts.models if _MODEL_NAME.fullmatch(model.name)]
    for model in models:
        found += _say(facts, model)
    for model in models:
        found += [_model(facts, model), *(_last_answer(facts, model) if facts.last_answer else ())]
    return found


def _agent(facts: Facts) -> Iterator[Component]:
    health = facts.topics.health
    yield entity(
        facts, "status", "binary_sensor",
        state_topic=facts.topics.status,
        device_class="connectivity",
        entity_category="diagnostic",
        payload_on="online",
        payload_off="offline",
        availability=[],  # else it would be unavailable rather than off
    )  # fmt: skip
    yield entity(
        facts, "health", "sensor",
        name="Health",
        state_topic=health,
        device_class="enum",
        options=["up", "degraded", "down"],
        value_template="{{ value_json.status }}",
        json_attributes_topic=health,
        json_attributes_template="{{ {'reasons': value_json.reasons} | tojson }}",
    )  # fmt: skip
    yield entity(
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
        yield entity(
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
        yield entity(
            facts, "restart", "button",
            command_topic=topic, device_class="restart", entity_category="config", **press,
        )  # fmt: skip
    if "self-test" in facts.operations:
        topic = f"{facts.topics.root}/request/self-test"
        yield entity(
            facts, "self_test", "button",
            name="Self-test", command_topic=topic, entity_category="diagnostic", **press,
        )  # fmt: skip


# A sentence that waited at the broker while the device was away must not switch a light hours later. As JSON,
# a sentence that looks like JSON is a sentence, too.
_SAY_TEMPLATE = (
    f"{{{{ {{'text': value, 'ttl_s': {SAY_TTL_SECONDS}, 'sent_at': utcnow().isoformat()}} | tojson }}}}"
)


def _say(facts: Facts, model: ServedModel) -> Iterator[Component]:
    if model.task not in _ANSWERING:
        return
    yield entity(
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
    "'update_percentage': value_json.update_percentage | default(none)} | tojson }}{% endif %}"
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
            "payload_install": encode_json({"name": model.name}).decode(),
            "entity_category": "config",
            "qos": 1,
        }
    return entity(facts, f"model_{model.name}", "update", **options)


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
    yield entity(
        facts, f"answer_{model.name}", "sensor",
        name=f"Last answer of {model.name}", state_topic=topic, value_template=_LABEL_TEMPLATE,
    )  # fmt: skip
    yield entity(
        facts, f"confidence_{model.name}", "sensor",
        name=f"Last confidence of {model.name}", state_topic=topic, value_template=_CONFIDENCE_TEMPLATE,
        state_class="measurement", unit_of_measurement="%",
    )  # fmt: skip
