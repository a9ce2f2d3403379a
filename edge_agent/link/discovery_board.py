"""The board's figures as entities of Home Assistant, from the document ``power``. Pure.

``power`` is not retained, so these expire: after three missed messages they are unavailable rather than old.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from edge_agent.link.discovery_facts import Component, Facts, entity

_LEAST_EXPIRY_SECONDS = 60
_MISSED_MESSAGES = 3
_SOURCE_TEMPLATE = (
    "{{ {'source': value_json.source, 'scope': value_json.scope, 'quality': value_json.quality} | tojson }}"
)
# total_increasing takes a fall for a new beginning, so a restart of the daemon needs no last_reset, which
# that state class forbids.
_WATT_HOURS_TEMPLATE = (
    "{% if value_json.energy_j is number %}{{ (value_json.energy_j / 3600) | round(4) }}"
    "{% else %}None{% endif %}"
)


def board(facts: Facts) -> Iterator[Component]:
    """Those that this board has a sensor for."""
    power = f"{facts.topics.root}/power"
    expiry = _MISSED_MESSAGES * facts.telemetry_interval_seconds
    shared = {"state_topic": power, "expire_after": max(_LEAST_EXPIRY_SECONDS, math.ceil(expiry))}
    source = {"json_attributes_topic": power, "json_attributes_template": _SOURCE_TEMPLATE}
    if facts.sensors.power:
        yield entity(
            facts, "power", "sensor",
            device_class="power", state_class="measurement", unit_of_measurement="W",
            suggested_display_precision=2, value_template="{{ value_json.power_w }}", **source, **shared,
        )  # fmt: skip
    if facts.sensors.energy:
        yield entity(
            facts, "energy", "sensor",
            device_class="energy", state_class="total_increasing", unit_of_measurement="Wh",
            suggested_display_precision=2, value_template=_WATT_HOURS_TEMPLATE, **source, **shared,
        )  # fmt: skip
    if facts.sensors.temperature:
        yield entity(
            facts, "temperature", "sensor",
            device_class="temperature", state_class="measurement", unit_of_measurement="°C",
            suggested_display_precision=1, entity_category="diagnostic",
            value_template="{{ value_json.temperature_c }}", **shared,
        )  # fmt: skip
    if facts.sensors.battery:
        yield entity(
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
        yield entity(
            facts, "under_voltage", "binary_sensor",
            name="Under-voltage", value_template="{{ value_json.under_voltage }}", **problem, **shared,
        )  # fmt: skip
    if facts.sensors.throttled:
        yield entity(
            facts, "throttled", "binary_sensor",
            name="Throttled", value_template="{{ value_json.throttled }}", **problem, **shared,
        )  # fmt: skip
