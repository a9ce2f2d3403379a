"""A real Home Assistant: what was said switches what was meant, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.home_assistant.core import HomeAssistant, need_home_assistant
from tests.home_assistant.house import MADE_UP_ES
from tests.testbeds.daemon import Daemon
from tests.testbeds.probe import Probe

need_home_assistant()
pytestmark = pytest.mark.slow

SAY = "text.edge_agent_pi_test_say_to_home"
ON, OFF = b'{"state":"ON"}', b'{"state":"OFF"}'


@pytest.fixture(autouse=True)
def quiet(home: HomeAssistant, probe: Probe) -> None:
    """Nothing was said and nothing is asked."""
    home.act("persistent_notification.dismiss_all")
    home.wait(lambda: not home.notifications(), "no notification")
    probe.forget()


def _commands(home: HomeAssistant, probe: Probe) -> dict[str, bytes]:
    """What the house was told to do until now, by topic: what Home Assistant sends comes in order."""
    before = len(probe.on("house/fence"))
    home.act("mqtt.publish", {"topic": "house/fence", "payload": "x"})
    probe.wait_for("house/fence", count=before + 1)
    told = [one for one in list(probe.heard) if one.topic.startswith("house/") and one.topic != "house/fence"]
    return {one.topic.removeprefix("house/"): one.payload for one in told}


def _asked(home: HomeAssistant) -> str:
    return home.wait(lambda: " ".join(home.notifications()), "a reply")


@pytest.mark.parametrize(
    ("sentence", "command"),
    [
        ("turn on the kitchen light", ON),
        ("turn off the kitchen light", OFF),
        ("enciende la luz de la cocina", ON),
        ("apaga la luz de la cocina", OFF),
    ],
)
def test_a_sentence_switches_the_light_of_a_room(
    home: HomeAssistant, daemon: Daemon, probe: Probe, sentence: str, command: bytes
) -> None:
    home.act("text.set_value", {"value": sentence}, SAY)
    probe.wait_for("house/ceiling/set")
    home.wait_for_state("light.ceiling", "on" if command == ON else "off")
    assert _commands(home, probe)["ceiling/set"] == command
    assert "bedside/set" not in _commands(home, probe)
    assert home.notifications() == []


@pytest.mark.parametrize(
    ("sentence", "reply"),
    [
        ("purple monkey dishwasher", "I did not understand that"),
        ("cuéntame un chiste de gatos", "I did not understand that"),
        ("turn on the light in the wine cellar", "I know nothing here by the name of"),
        ("turn on the lights", "Which one do you mean?"),
        ("unlock the front door", "I may not unlock or open that"),
        ("set a timer for five minutes", "not supported here"),
    ],
)
def test_what_is_not_understood_not_known_or_not_allowed_is_asked_back_and_not_done(
    home: HomeAssistant, daemon: Daemon, probe: Probe, sentence: str, reply: str
) -> None:
    home.act("text.set_value", {"value": sentence}, SAY)
    assert reply in _asked(home)
    assert _commands(home, probe) == {}


def _answer(intent: str | None, confidence: float = 0.99, **slots: Any) -> dict[str, Any]:
    named = [{"name": name, "value": value, "confidence": 0.99} for name, value in slots.items()]
    return {
        "id": None, "model": "home", "recognized": intent is not None, "intent": intent,
        "confidence": confidence, "slots": named,
        "alternatives": [{"label": "HassTurnOn", "confidence": 0.4}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "commands"),
    [
        (_answer("HassTurnOff", area="The Kitchen"), {"ceiling/set": OFF, "worktop/set": OFF}),
        (_answer("HassTurnOn", name="kitchen lights"), {"ceiling/set": ON, "worktop/set": ON}),
        (_answer("HassTurnOn", name="kitchen blinds"), {"blinds/set": b"OPEN"}),
        (
            {**_answer("HassTurnOff", area="kitchen"), "text": "close the blinds in the kitchen"},
            {"blinds/set": b"CLOSE"},
        ),
        (_answer("HassTurnOn", name="bedside"), {"bedside/set": ON}),
        (_answer("HassTurnOn", name="front door"), {"door/set": b"LOCK"}),
        (
            _answer("HassLightSet", area="bedroom", color="rojo"),
            {"bedside/set": b'{"state":"ON","color":{"r":255,"g":0,"b":0}}'},
        ),
        (
            _answer("HassLightSet", name="del", area="bedroom", brightness="cincuenta"),
            {"bedside/set": b'{"state":"ON","brightness":128}'},
        ),
        (_answer("HassSetPosition", name="blinds", position="30"), {"blinds/position": b"30"}),
        (_answer("HassFanSetSpeed", percentage="thirty three"), {"fan/percentage": b"33"}),
        (
            _answer("HassClimateSetTemperature", name="thermostat", temperature="21,5"),
            {"thermostat/temperature": b"21.5"},
        ),
        (_answer("HassSetVolume", name="tv", volume_level="20"), {"tv/volume": b"0.2"}),
        (_answer("HassSetVolumeRelative", name="the TV", volume_step="baja"), {"tv/volume": b"down"}),
        (_answer("HassSetVolumeRelative", name="the TV", volume_step="up"), {"tv/volume": b"up"}),
        (_answer("HassTurnOff", name="tv"), {"tv/set": b"OFF"}),
        (_answer("HassVacuumStart"), {"robot/set": b"start"}),
        (_answer("HassVacuumReturnToBase", name="robot"), {"robot/set": b"return_to_base"}),
    ],
    ids=lambda value: value.get("intent", ""),
)
def test_an_intent_becomes_its_action(
    home: HomeAssistant, probe: Probe, made_up: str, answer: dict[str, Any], commands: dict[str, bytes]
) -> None:
    probe.publish(made_up, answer)
    assert _asked(home) == "Done."
    assert _commands(home, probe) == commands


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        (_answer(None), "My best guess was: turn on."),
        (_answer("HassTurnOn", confidence=0.87, area="kitchen"), "I am not sure"),
        (_answer("HassTurnOn"), "Which one do you mean?"),
        (_answer("HassTurnOn", name="attic fan"), "by the name of «attic fan»"),
        (_answer("HassTurnOn", area="{{ states }} \"'"), "by the name of «{{ states }} \"'»"),
        (_answer("HassTurnOn", name="hands off"), "by the name of «hands off»"),
        (_answer("HassTurnOn", floor="upstairs"), "by the name of «upstairs»"),
        (_answer("HassTurnOff", name="front door"), "I may not unlock or open"),
        (_answer("HassTurnOn", name="garage door"), "I may not unlock or open"),
        (_answer("HassSetPosition", name="garage door", position="100"), "I may not unlock or open"),
        (_answer("HassLightSet", area="kitchen", color="octarine"), "how much or which colour"),
        (_answer("HassLightSet", area="kitchen"), "how much or which colour"),
        (_answer("HassFanSetSpeed", percentage="a bit"), "how much or which colour"),
        (
            _answer("HassMediaSearchAndPlay", search_query="jazz"),
            "not supported here (media search and play)",
        ),
        ({"id": None, "error": {"code": "expired", "message": "late"}}, "could not answer (expired)"),
        (_answer("HassGetState", name="front door", state="locked"), "Front door: "),
        (_answer("HassGetWeather"), "sunny, 17"),
        (_answer("HassGetCurrentTime"), ":"),
        (_answer("HassGetCurrentDate"), "-"),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_is_switched(
    home: HomeAssistant, probe: Probe, made_up: str, answer: dict[str, Any], reply: str
) -> None:
    probe.publish(made_up, answer)
    assert reply in _asked(home)
    assert _commands(home, probe) == {}


def test_a_thermostat_is_asked_for_its_temperature(home: HomeAssistant, probe: Probe, made_up: str) -> None:
    probe.publish("house/thermostat/current", "19.5", retain=True)
    home.wait(
        lambda: home.states()["climate.thermostat"]["attributes"].get("current_temperature") == 19.5,
        "19.5 °C",
    )
    probe.publish(made_up, _answer("HassClimateGetTemperature", area="living room"))
    assert _asked(home) == "It is 19.5 °"


def test_lists_are_kept(home: HomeAssistant, probe: Probe, made_up: str) -> None:
    def items() -> dict[str, str]:
        found = home.ask("todo/item/list", entity_id="todo.shopping_list")["items"]
        return {item["summary"]: item["status"] for item in found}

    done, new = "completed", "needs_action"
    for answer, wanted in (
        (_answer("HassShoppingListAddItem", item="milk"), {"milk": new}),
        (_answer("HassShoppingListCompleteItem", item="milk"), {"milk": done}),
        (_answer("HassListAddItem", item="2", name="shopping"), {"milk": done, "2": new}),
        (_answer("HassListCompleteItem", item="2", name="shopping"), {"milk": done, "2": done}),
        (_answer("HassListRemoveItem", item="2", name="the shopping list"), {"milk": done}),
    ):
        home.act("persistent_notification.dismiss_all")
        probe.publish(made_up, answer)
        home.wait_equal(items, wanted)
        assert _asked(home) == "Done."


def test_a_reply_may_be_any_action_in_the_language_of_the_house(home: HomeAssistant, probe: Probe) -> None:
    probe.publish(MADE_UP_ES, _answer("HassTurnOn"))
    heard = probe.wait_for("house/reply", count=1)
    assert heard[0].payload.decode() == "question: ¿Cuál? Di su nombre o la habitación, por favor."
    probe.publish(MADE_UP_ES, _answer("HassTurnOff", name="front door"))
    assert probe.wait_for("house/door/set")[0].payload == b"UNLOCK"
    assert home.notifications() == []


def test_never_mind_and_what_is_no_answer_have_no_consequence(
    home: HomeAssistant, probe: Probe, made_up: str
) -> None:
    for payload in (_answer("HassNevermind"), "no json", "[1]", "null", '"HassTurnOn"'):
        probe.publish(made_up, payload)
    # In order: when the last is done, those before have had their turn.
    probe.publish(made_up, _answer("HassGetCurrentTime"))
    assert ":" in _asked(home)
    assert _commands(home, probe) == {}
