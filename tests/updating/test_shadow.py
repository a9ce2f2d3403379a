"""The latest sentences: bounded, of one version, and nowhere to be read by accident."""

from __future__ import annotations

import pickle
from dataclasses import replace
from threading import Thread

import pytest

from edge_agent.service.updating.shadow import LONGEST_CHARACTERS, Shadow, ShadowSentence, shadow_of
from edge_agent.types import Prediction, Slot, Task

SECRET = "open the safe behind the painting"
ANSWER = Prediction(
    model="home",
    version="1.0.0",
    task=Task.INTENT,
    recognized=True,
    label="HassTurnOn",
    confidence=0.9,
    alternatives=(),
    slots=(Slot("area", "the painting", 21, 33, 0.9),),
    truncated=False,
    tokenize_ms=0.1,
    invoke_ms=1.0,
)


def _filled(texts: list[str], most: int = 3) -> Shadow:
    shadow = Shadow(most)
    for text in texts:
        shadow.note(text, ANSWER)
    return shadow


def _note_many(shadow: Shadow) -> None:
    for number in range(5_000):
        shadow.note(f"{number}", ANSWER)


def test_the_latest_sentences_stay_with_their_answers() -> None:
    shadow = _filled(["one", "two", "three", "four"])
    taken = shadow.take("home")
    assert [sentence.text for sentence in taken] == ["two", "three", "four"]
    assert taken[0] == ShadowSentence("two", True, "HassTurnOn", (("area", "the painting"),))
    assert shadow.take("home") == taken


def test_nothing_is_kept_unless_asked_for() -> None:
    assert shadow_of(0) is None
    asked = shadow_of(5)
    assert asked is not None
    assert asked.take("home") == ()


def test_each_model_has_its_own() -> None:
    shadow = _filled(["one"])
    shadow.note("good", replace(ANSWER, model="sentiment", task=Task.CLASSIFY, slots=()))
    assert [sentence.text for sentence in shadow.take("home")] == ["one"]
    assert [sentence.text for sentence in shadow.take("sentiment")] == ["good"]


def test_answers_of_two_versions_never_stand_together() -> None:
    shadow = _filled(["one", "two"])
    shadow.note("three", replace(ANSWER, version="1.1.0"))
    assert [sentence.text for sentence in shadow.take("home")] == ["three"]


def test_a_vector_and_a_text_beyond_measure_are_not_kept() -> None:
    shadow = _filled(["x" * (LONGEST_CHARACTERS + 1)])
    shadow.note("near", replace(ANSWER, task=Task.EMBED, label=None, slots=(), embedding=(1.0,)))
    assert shadow.take("home") == ()


def test_they_are_forgotten_on_request() -> None:
    shadow = _filled(["one"])
    shadow.note("good", replace(ANSWER, model="sentiment"))
    shadow.clear("home")
    assert (shadow.take("home"), len(shadow.take("sentiment"))) == ((), 1)
    shadow.clear("absent")
    shadow.clear()
    assert shadow.take("sentiment") == ()


def test_no_repr_shows_a_word_of_the_user() -> None:
    shadow = _filled([SECRET])
    shown = f"{shadow!r} {shadow.take('home')!r} {vars(shadow)!r} {shadow.take('home')[0]}"
    assert "HassTurnOn" in shown
    assert not [word for word in ("safe", "painting", "area") if word in shown]


def test_a_sentence_reaches_another_process_whole() -> None:
    sentence = _filled([SECRET]).take("home")[0]
    assert pickle.loads(pickle.dumps(sentence)) == sentence


@pytest.mark.parametrize("most", [1, 50])
def test_what_is_taken_while_the_worker_notes_is_whole(most: int) -> None:
    shadow = Shadow(most)
    worker = Thread(target=_note_many, args=(shadow,))
    worker.start()
    while worker.is_alive():
        numbers = [int(sentence.text) for sentence in shadow.take("home")]
        assert numbers == list(range(numbers[0], numbers[-1] + 1)) if numbers else True
    worker.join()
    assert len(shadow.take("home")) == most
