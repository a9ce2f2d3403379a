"""home-llm's request files → sentences with Home Assistant's intents.

The set names services (``light.turn_on``); those with one clear intent of ours are taken, the others
(toggle, stop_cover, fan speed up and down, compound requests) are left out. Templates are filled with the
set's own device names; the device is the slot ``name``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

from edge_agent.forge.data.examples import Example, Span, read_delimited
from edge_agent.forge.data.home_assistant import find_slots

_INTENTS = {
    "turn_on": "HassTurnOn",
    "turn_off": "HassTurnOff",
    "open_cover": "HassTurnOn",
    "close_cover": "HassTurnOff",
    "lock": "HassTurnOn",
    "unlock": "HassTurnOff",
    "media_next_track": "HassMediaNext",
    "media_previous_track": "HassMediaPrevious",
    "media_pause": "HassMediaPause",
    "media_stop": "HassMediaPause",
    "media_play": "HassMediaUnpause",
    "volume_up": "HassSetVolumeRelative",
    "volume_down": "HassSetVolumeRelative",
    "volume_mute": "HassMediaPlayerMute",
    "set_temperature": "HassClimateSetTemperature",
    "add_item": "HassListAddItem",
}
_BY_DEVICE = {
    ("vacuum", "start"): "HassVacuumStart",
    ("vacuum", "return_to_base"): "HassVacuumReturnToBase",
    ("timer", "cancel"): "HassCancelTimer",
}
_LIGHT_PLACEHOLDERS = {"<brightness>": "brightness", "<color>": "color"}
_COLOURS = {
    "en": ["red", "green", "blue", "yellow", "orange", "purple", "pink", "white", "turquoise"],
    "es": ["rojo", "verde", "azul", "amarillo", "naranja", "morado", "rosa", "blanco", "turquesa"],
}
_TODO = {
    "en": [
        "milk",
        "buy bread",
        "call the plumber",
        "water the plants",
        "laundry detergent",
        "eggs",
        "fix the sink",
    ],
    "es": [
        "leche",
        "comprar pan",
        "llamar al fontanero",
        "regar las plantas",
        "detergente",
        "huevos",
        "pilas",
    ],
}
_FILLINGS_PER_TEMPLATE = 6


def read_home_llm(folder: Path, lang: str) -> Iterator[Example]:
    """The sentences of one language; the same on every call."""
    generator = random.Random(0)
    names = _device_names(folder, lang)
    yield from _templated(folder, lang, names, generator)
    yield from _specific(folder, lang)
    yield from _status(folder, lang, names, generator)


def _device_names(folder: Path, lang: str) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for row in read_delimited(folder / f"{lang}.device_names.csv"):
        device_type = row["device_name"].split(".")[0]
        names.setdefault(device_type, []).append(row["description"].strip())
    return names


def _templated(
    folder: Path, lang: str, names: dict[str, list[str]], generator: random.Random
) -> Iterator[Example]:
    for row in read_delimited(folder / f"{lang}.templated_actions.csv"):
        device, service, phrase = row["device_type"], row["service"], row["phrase"].strip().strip('"')
        label = _label(device, service)
        if label == "HassTurnOn" and any(mark in phrase for mark in _LIGHT_PLACEHOLDERS):
            label = "HassLightSet"
        if label is None or device not in names:
            continue
        for _ in range(_FILLINGS_PER_TEMPLATE):
            filled = _fill(phrase, lang, names[device], generator)
            if filled is not None:
                yield Example(filled[0], label, lang, filled[1], "home_llm_requests")


def _specific(folder: Path, lang: str) -> Iterator[Example]:
    for row in read_delimited(folder / f"{lang}.specific_actions.csv"):
        device, service = row["service_name"].split(".")
        label = _label(device, service)
        if label is not None:
            yield Example(row["phrase"].strip(), label, lang, None, "home_llm_requests")


def _status(
    folder: Path, lang: str, names: dict[str, list[str]], generator: random.Random
) -> Iterator[Example]:
    for row in read_delimited(folder / f"{lang}.status_requests.csv"):
        device = row["device_type"]
        if device not in names or device == "timer":
            continue
        for _ in range(2):
            name = generator.choice(names[device])
            text = row["phrase"].strip().replace("<device_name>", name)
            if "<" in text:
                continue
            spans = find_slots(text, {"name": name, "state": row["state"]})
            yield Example(text, "HassGetState", lang, spans, "home_llm_requests")


def _label(device: str, service: str) -> str | None:
    if "|" in device:
        return None
    return _BY_DEVICE.get((device, service)) or (
        _INTENTS.get(service) if device not in ("vacuum", "timer") else None
    )


def _fill(
    phrase: str, lang: str, names: list[str], generator: random.Random
) -> tuple[str, tuple[Span, ...]] | None:
    """The phrase with its placeholders filled, and where; None when one is unknown."""
    choices = {
        "<device_name>": ("name", generator.choice(names)),
        "<brightness>": ("brightness", str(generator.randint(1, 100))),
        "<color>": ("color", generator.choice(_COLOURS[lang])),
        "<temp_f>": ("temperature", str(generator.randint(60, 80))),
        "<temp_c>": ("temperature", str(generator.randint(15, 27))),
        "<todo>": ("item", generator.choice(_TODO[lang])),
    }
    text, spans, at = "", [], 0
    for match in re.finditer(r"<\w+>", phrase):
        if match[0] not in choices:
            return None
        slot, value = choices[match[0]]
        text += phrase[at : match.start()]
        spans.append(Span(slot, len(text), len(text) + len(value)))
        text += value
        at = match.end()
    return text + phrase[at:], tuple(spans)
