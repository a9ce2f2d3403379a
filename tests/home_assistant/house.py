"""A house with things to switch: MQTT entities in rooms, whose commands the test hears at the broker."""

from __future__ import annotations

import json
from typing import Any

from tests.testbeds.probe import Probe

PREFIX = "homeassistant"
REAL = "edge-agent/pi-test/out/home"
MADE_UP = "edge-agent/pi-made-up/out/home"
MADE_UP_ES = "edge-agent/pi-spanish/out/home"

_THINGS: tuple[tuple[str, str, str, str | None, dict[str, Any]], ...] = (
    ("light", "ceiling", "Ceiling", "Kitchen", {"schema": "json", "brightness": True}),
    ("light", "worktop", "Worktop", "Kitchen", {"schema": "json", "brightness": True}),
    ("light", "hands_off", "Hands off", "Kitchen", {"schema": "json"}),
    (
        "light", "bedside", "Bedside lamp", "Bedroom",
        {"schema": "json", "brightness": True, "supported_color_modes": ["rgb"]},
    ),
    ("fan", "fan", "Ventilator", "Living Room", {"percentage_command_topic": "house/fan/percentage"}),
    (
        "cover", "blinds", "Blinds", "Kitchen",
        {"set_position_topic": "house/blinds/position", "position_topic": "house/blinds/is"},
    ),
    ("cover", "garage", "Garage door", "Garage", {"device_class": "garage"}),
    ("lock", "door", "Front door", None, {}),
    (
        "climate", "thermostat", "Thermostat", "Living Room",
        {
            "temperature_command_topic": "house/thermostat/temperature",
            "current_temperature_topic": "house/thermostat/current",
            "modes": ["off", "heat"],
            "mode_command_topic": "house/thermostat/mode",
        },
    ),
    (
        "vacuum", "robot", "Robot", None,
        {"supported_features": ["start", "return_home"]},
    ),
)  # fmt: skip
"""Domain, key, name, area, and what else the discovery says; all commands go to ``house/<key>/…``."""

CONFIGURATION = (
    f"""
automation:
  - id: real
    alias: Does what the daemon understood
    use_blueprint:
      path: edge-agent/edge-agent-home.yaml
      input:
        topic: {REAL}
        other_words: {{cocina: Kitchen, dormitorio: Bedroom}}
  - id: made_up
    alias: Does what tests make up
    use_blueprint:
      path: edge-agent/edge-agent-home.yaml
      input:
        topic: {MADE_UP}
        confirm: true
        excluded: [light.hands_off]
  - id: spanish
    alias: Replies in Spanish, and may open
    use_blueprint:
      path: edge-agent/edge-agent-home.yaml
      input:
        topic: {MADE_UP_ES}
        language: es
        may_open: true
        reply:
          - action: mqtt.publish
            data: {{topic: house/reply, payload: "{{{{ kind }}}}: {{{{ message }}}}"}}
"""
    + """
shopping_list:
media_player:
  - platform: universal
    name: TV
    unique_id: tv
    commands:
      turn_on: {action: mqtt.publish, data: {topic: house/tv/set, payload: "ON"}}
      turn_off: {action: mqtt.publish, data: {topic: house/tv/set, payload: "OFF"}}
      volume_up: {action: mqtt.publish, data: {topic: house/tv/volume, payload: up}}
      volume_down: {action: mqtt.publish, data: {topic: house/tv/volume, payload: down}}
      volume_set:
        action: mqtt.publish
        data: {topic: house/tv/volume, payload: "{{ volume_level }}"}
weather:
  - platform: template
    name: Outside
    condition_template: sunny
    temperature_template: "{{ 17 }}"
    humidity_template: "{{ 40 }}"
"""
)
"""Three uses of the blueprint, and what MQTT has no entities for."""


def build_house(probe: Probe) -> dict[str, str]:
    """Announces the house; returns the entity id that each thing gets, by key."""
    for domain, key, name, area, options in _THINGS:
        device = {"identifiers": [f"house-{key}"], "name": name}
        if area:
            device["suggested_area"] = area
        config = {
            "unique_id": f"house-{key}",
            "name": None,
            "device": device,
            "optimistic": True,
            "command_topic": f"house/{key}/set",
            **options,
        }
        if domain == "climate":
            del config["command_topic"]
        probe.publish(f"{PREFIX}/{domain}/{key}/config", json.dumps(config), retain=True)
    ids = {key: f"{domain}.{name.lower().replace(' ', '_')}" for domain, key, name, *_ in _THINGS}
    return {**ids, "tv": "media_player.tv", "outside": "weather.outside"}
