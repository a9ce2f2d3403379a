"""Canonical slot values are found where a reader would point at them."""

from __future__ import annotations

import pytest

from edge_agent.forge.data.home_assistant import find_slots, fold, missing_slots


def pairs(text: str, slots: dict[str, object]) -> list[tuple[str, str]]:
    return [(span.name, text[span.start : span.end]) for span in find_slots(text, slots)]


@pytest.mark.parametrize(
    ("text", "slots", "expected"),
    [
        ("turn on the Kitchen light", {"area": "kitchen", "domain": "light"}, [("area", "Kitchen")]),
        ("pon el salon en rojo", {"area": "Salón", "color": "red"}, [("area", "salon"), ("color", "rojo")]),
        (
            "bedroom to twenty point five degrees",
            {"temperature": 20.5},
            [("temperature", "twenty point five")],
        ),
        ("quita hora y media", {"hours": 1, "minutes": 30}, [("minutes", "media")]),
        ("add half an hour", {"minutes": 30}, [("minutes", "half an hour")]),
        (
            "temporizador de 5 minutos y medio",
            {"minutes": 5, "seconds": 30},
            [("minutes", "5"), ("seconds", "medio")],
        ),
        ("brillo al máximo", {"brightness": 100}, [("brightness", "máximo")]),
        ("turn down the volume", {"volume_step": "down"}, [("volume_step", "down")]),
        ("volume down by 20%", {"volume_step": -20}, [("volume_step", "20")]),
        ("abrir llave de paso al 100 por cien", {"position": 100}, [("position", "100")]),
        (
            "is the pet door open?",
            {"state": "on", "name": "Pet door"},
            [("name", "pet door"), ("state", "open")],
        ),
        (
            "are lights on on the first floor",
            {"state": "on", "floor": "First Floor"},
            [("state", "on"), ("floor", "first floor")],
        ),
    ],
)
def test_a_value_is_found_where_a_reader_would_point(
    text: str, slots: dict[str, object], expected: list[tuple[str, str]]
) -> None:
    assert pairs(text, slots) == expected


def test_a_timers_own_duration_is_the_one_beside_the_word_timer() -> None:
    text = "remove 30 seconds from 30 second timer"
    spans = {span.name: span.start for span in find_slots(text, {"seconds": 30, "start_seconds": 30})}
    assert spans == {"seconds": text.index("30"), "start_seconds": text.rindex("30")}


def test_longer_values_are_placed_before_shorter_ones_that_they_contain() -> None:
    assert pairs("turn on the kitchen light", {"area": "Kitchen", "name": "Kitchen Light"}) == [
        ("name", "kitchen light")
    ]


@pytest.mark.parametrize(
    "slots", [{"domain": "light"}, {"device_class": "gas"}, {"name": "all"}, {"area": "Living Room"}]
)
def test_inferred_values_are_left_out(slots: dict[str, object]) -> None:
    assert pairs("turn all lights on in here", slots) == []


def test_a_value_that_cannot_be_found_is_reported_as_missing_unless_it_is_inferred_by_nature() -> None:
    assert missing_slots("lights on in here", {"area": "Living Room", "domain": "light"}) == ["area"]


def test_folding_keeps_every_offset() -> None:
    text = "¿Está la luz del SALÓN encendida, İstanbul ß?"
    assert len(fold(text)) == len(text)
    assert "salon" in fold(text)
