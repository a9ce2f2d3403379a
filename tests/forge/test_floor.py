"""The linear floor learns from the sentences that the encoder learns from, and from nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_agent.forge.data.examples import Example
from edge_agent.forge.data.mixture import WeightedSet
from edge_agent.forge.data.templates import read_grammar
from edge_agent.forge.judging.floor import Floor, as_read, fit_floor
from tests.forge.judged import intent_corpus

TEMPLATES = """
[lists]
area = ["kitchen", "bedroom"]
[[intent]]
label = "TurnOn"
sentences = ["turn on the {area} light", "lights on in the {area}"]
[[intent]]
label = "TurnOff"
sentences = ["turn off the {area} light", "lights off in the {area}"]
"""


def said(text: str, label: str, weight: float = 1.0) -> Example:
    return Example(text, label, "en", None, "toy", weight=weight)


def best(floor: Floor | None, *texts: str) -> list[str]:
    assert floor is not None
    logits = floor.read([said(text, "") for text in texts]).logits
    return [floor.labels[index] for index in logits.argmax(axis=1)]


def test_it_tells_apart_what_words_tell_apart() -> None:
    corpus = intent_corpus()
    floor = fit_floor(corpus.training, corpus.labels)
    assert best(floor, "turn on the light in the attic", "sing a joke") == ["TurnOn", "out_of_scope"]


def test_it_sees_no_more_of_a_text_than_the_models_do() -> None:
    assert as_read("It's  SPACED , oddly !") == as_read("it ' s spaced, oddly!")
    training = [said("so be it !", "copied"), said("and now ?", "copied"), said("so be it!", "typed")]
    floor = fit_floor([WeightedSet(1, training)], ("copied", "typed"))
    assert best(floor, "and now?", "and now ?") == ["copied", "copied"]


def test_it_reads_letters_where_words_are_new() -> None:
    training = [said("reservation", "book"), said("reserve", "book"), said("cancel", "drop")]
    assert best(fit_floor([WeightedSet(1, training)], ("book", "drop")), "reserved", "cancelled") == [
        "book",
        "drop",
    ]


def test_a_label_that_training_never_showed_is_never_the_best() -> None:
    training = [WeightedSet(1, [said("yes", "a"), said("no", "b")])]
    floor = fit_floor(training, ("a", "b", "unseen"))
    assert "unseen" not in best(floor, "yes", "no", "anything")
    assert floor is not None
    assert floor.read([said("yes", "a")]).logits.shape == (1, 3)
    assert floor.read([]).logits.shape == (0, 3)
    assert floor.read([said("yes", "a")]).slots is None


def test_one_label_is_nothing_to_learn() -> None:
    assert fit_floor([WeightedSet(1, [said("yes", "a"), said("no", "a")])], ("a", "b")) is None
    assert fit_floor([], ("a", "b")) is None


def test_unlabelled_and_foreign_sentences_teach_it_nothing() -> None:
    known = [said("yes", "a"), said("no", "b")]
    floor = fit_floor([WeightedSet(1, [*known, said("yes", ""), said("no", "foreign")])], ("a", "b"))
    assert floor is not None
    assert floor.sentences == 2


def test_a_set_counts_by_its_weight() -> None:
    heavy, light = [said("maybe", "a")], [said("maybe", "b"), said("other", "b")]
    labels = ("a", "b")
    assert best(fit_floor([WeightedSet(9, heavy), WeightedSet(1, light)], labels), "maybe") == ["a"]
    assert best(fit_floor([WeightedSet(1, heavy), WeightedSet(20, light)], labels), "maybe") == ["b"]


def test_sets_without_a_weight_are_left_out_as_in_training() -> None:
    used, unused = [said("yes", "a"), said("no", "b")], [said("yes", "b")] * 5
    floor = fit_floor([WeightedSet(1, used), WeightedSet(0, unused)], ("a", "b"))
    assert floor is not None
    assert floor.sentences == 2


def test_it_learns_from_templates_too_and_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(TEMPLATES, encoding="utf-8")
    training = [WeightedSet(1, grammar=read_grammar(tmp_path / "t.toml", "en"))]
    labels = ("TurnOff", "TurnOn")
    first, second = fit_floor(training, labels, seed=4), fit_floor(training, labels, seed=4)
    assert best(first, "switch the hall light off please") == ["TurnOff"]
    assert first is not None
    assert second is not None
    example = [said("lights on", "TurnOn")]
    assert np.array_equal(first.read(example).logits, second.read(example).logits)
