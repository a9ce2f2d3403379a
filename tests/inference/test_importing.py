"""``.tflite`` files with TFLite metadata: what is made of them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import BundleError, RuntimeFailure
from edge_agent.inference.foreign import label_file, tokenizer_unit
from edge_agent.inference.importing import ImportOptions, import_tflite
from edge_agent.inference.model import Model
from edge_agent.inference.runtime import Runner
from edge_agent.inference.tflite_metadata import read_files, read_metadata
from edge_agent.inference.variant import TensorNames
from edge_agent.types import Prediction
from tests.inference.support import snapshot
from tests.tflite_metadata_writer import (
    BERT,
    REGEX,
    SENTENCE_PIECE,
    Said,
    Tensor,
    Unit,
    add_metadata,
    append_zip,
    metadata_bytes,
    put_buffer,
)
from tests.tiny_graphs import Array, write_masked_classifier, write_word_vector_classifier

FIXTURES = Path(__file__).parent / "fixtures"
HIDDEN = 6
LENGTH = 12
LABELS = ("negative", "neutral", "positive")
WORDS = ("<PAD>", "<START>", "<UNKNOWN>", "good", "bad", "film", "it's", "café", "a")
PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "##s", "a", "cafe", "!")
TEXTS = (
    "A good film",
    "bad films, it's BAD!",
    "un café",
    "nothing of this is known",
    "good " * 20 + "bad",
)
WORD_INDEX = "".join(f"{word} {number}\n" for number, word in enumerate(WORDS))
WORD_UNIT = Unit(REGEX, "vocab.txt", r"[^\w\']+")
SCORES = Tensor("probability", labels="labels.txt")
WORD_SAID = Said([Tensor("input_text", [WORD_UNIT])], [SCORES])
WORD_FILES = {"vocab.txt": WORD_INDEX, "labels.txt": "\n".join(LABELS)}
BERT_FILES = {"vocab.txt": "\n".join(PIECES) + "\n", "labels.txt": "\n".join(LABELS) + "\n"}
TENSORS = {
    "ids": "serving_default_input_word_ids:0",
    "mask": "serving_default_input_mask:0",
    "segment_ids": "serving_default_input_type_ids:0",
}


def random(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def word_file(path: Path, *, said: Said = WORD_SAID, files: Mapping[str, bytes | str] = WORD_FILES) -> Path:
    write_word_vector_classifier(path, random(len(WORDS), HIDDEN), random(len(LABELS), HIDDEN), LENGTH)
    return add_metadata(path, said, files)


def bert_said(order: str = "ids mask segment_ids") -> Said:
    return Said([Tensor(name) for name in order.split()], [SCORES], [Unit(BERT, "vocab.txt")])


def bert_file(
    path: Path,
    order: str = "ids mask segment_ids",
    *,
    said: Said | None = None,
    files: Mapping[str, bytes | str] = BERT_FILES,
    softmax: bool = True,
) -> Path:
    words, head = random(len(PIECES), HIDDEN), random(len(LABELS), HIDDEN)
    write_masked_classifier(path, words, random(2, HIDDEN), head, LENGTH, order=order, softmax=softmax)
    return add_metadata(path, said or bert_said(order), files)


def by_hand(file: Path, feeds: Mapping[str, Sequence[int]]) -> Array:
    """The file's own output for these inputs, by the interpreter alone."""
    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], np.array([feeds[details["name"]]], np.int32))
    interpreter.invoke()
    output: Array = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
    return output


def probabilities(prediction: Prediction) -> list[float]:
    """By label, in the order of LABELS."""
    found = {other.label: other.confidence for other in prediction.alternatives}
    assert prediction.label is not None
    assert prediction.confidence is not None
    found[prediction.label] = prediction.confidence
    return [found[label] for label in LABELS]


def words_by_hand(text: str) -> list[int]:
    """As the Task Library feeds it, with letters folded as in training: <START>, words, <PAD>."""
    for mark in ",!":
        text = text.replace(mark, " ")
    ids = [WORDS.index(word) if word in WORDS else 2 for word in text.lower().split()]
    return ([1, *ids] + [0] * LENGTH)[:LENGTH]


@pytest.mark.parametrize("text", TEXTS)
def test_a_word_vector_classifier_answers_what_its_file_computes(tmp_path: Path, text: str) -> None:
    file = word_file(tmp_path / "words.tflite")
    bundle = import_tflite(file, tmp_path / "out", ImportOptions())
    with Model.load(bundle.path) as model:
        prediction = model.predict(text, top_k=9)
    expected = by_hand(file, {"serving_default_input_1:0": words_by_hand(text)})
    np.testing.assert_allclose(probabilities(prediction), expected, atol=1e-6)
    assert prediction.truncated == (len(text) > 50)


@pytest.mark.parametrize("softmax", [True, False], ids=["probabilities", "logits"])
@pytest.mark.parametrize(
    "order", ["ids mask segment_ids", "segment_ids ids mask", "mask segment_ids ids", "segment_ids mask ids"]
)
def test_a_bert_classifier_is_fed_by_name_in_any_order(tmp_path: Path, order: str, softmax: bool) -> None:
    file = bert_file(tmp_path / "bert.tflite", order, softmax=softmax)
    bundle = import_tflite(file, tmp_path / "out", ImportOptions())
    (role,) = bundle.manifest.variants[0].tensors.outputs  # type: ignore[union-attr]
    assert role == ("label_probabilities" if softmax else "label_logits")
    with Model.load(bundle.path) as model:
        for text, pieces in {
            "A good film": [8, 4, 6],
            "bad Films!": [5, 6, 7, 10],
            "café unknown": [9, 1],
            "good " * 20: [4] * 10,
        }.items():
            ids = [2, *pieces, 3]
            padding = [0] * (LENGTH - len(ids))
            expected = by_hand(
                file,
                {
                    TENSORS["ids"]: ids + padding,
                    TENSORS["mask"]: [1] * len(ids) + padding,
                    TENSORS["segment_ids"]: [0] * LENGTH,
                },
            )
            if not softmax:
                expected = np.exp(expected - expected.max())
                expected /= expected.sum()
            np.testing.assert_allclose(probabilities(model.predict(text, top_k=9)), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["average_word_vec", "bert_nl_classifier"])
def test_files_of_the_official_writer_are_taken(tmp_path: Path, name: str) -> None:
    bundle = import_tflite(FIXTURES / f"{name}.tflite", tmp_path, ImportOptions())
    assert bundle.manifest.name == name
    assert (bundle.path / "model.tflite").read_bytes() == (FIXTURES / f"{name}.tflite").read_bytes()
    with Model.load(bundle.path) as model:
        assert model.predict("a good film").label in bundle.manifest.labels


def test_the_bundle_says_where_it_comes_from_and_what_is_not_known(tmp_path: Path) -> None:
    said = replace(WORD_SAID, name="Opinions", version="2.1.0", licence="CC-BY-4.0")
    file = word_file(tmp_path / "My Opinions (1).tflite", said=said)
    bundle = import_tflite(file, tmp_path / "out", ImportOptions())
    manifest = bundle.manifest
    assert (manifest.name, manifest.version, manifest.licence) == ("my-opinions-1", "2.1.0", "CC-BY-4.0")
    assert (manifest.languages, manifest.labels) == (("und",), LABELS)
    assert manifest.provenance["imported_from"] == "My Opinions (1).tflite"
    assert manifest.provenance["metadata"]["name"] == "Opinions"
    card = (bundle.path / "MODEL_CARD.md").read_text()
    assert "not that the answers are right" in card
    assert manifest.metrics == {}


def test_options_go_before_what_the_file_says(tmp_path: Path) -> None:
    options = ImportOptions("opinions", "3.0.0", ("en", "es"), "MIT")
    manifest = import_tflite(word_file(tmp_path / "a.tflite"), tmp_path / "out", options).manifest
    assert (manifest.name, manifest.version, manifest.licence) == ("opinions", "3.0.0", "MIT")
    assert manifest.languages == ("en", "es")


@pytest.mark.parametrize(("words", "folded"), [(WORDS, True), ((*WORDS[:-1], "Paris"), False)])
def test_letters_are_folded_unless_the_vocabulary_has_capitals(
    tmp_path: Path, words: Sequence[str], folded: bool
) -> None:
    vocabulary = "".join(f"{word} {number}\r\n" for number, word in enumerate(words))
    file = word_file(tmp_path / "a.tflite", files={**WORD_FILES, "vocab.txt": vocabulary})
    assert import_tflite(file, tmp_path, ImportOptions()).manifest.tokenizer.lowercase is folded


def test_there_may_be_no_start(tmp_path: Path) -> None:
    file = word_file(
        tmp_path / "a.tflite", files={**WORD_FILES, "vocab.txt": WORD_INDEX.replace("<START>", "the")}
    )
    with Model.load(import_tflite(file, tmp_path, ImportOptions()).path) as model:
        assert model.analyse("the good film").token_ids == (1, 3, 5)
        assert len(model.analyse("the " * 50).token_ids) == LENGTH


def refused(tmp_path: Path, file: Path, reason: str) -> None:
    """The file is refused for this reason, and nothing is on disk that was not."""
    before = snapshot(tmp_path)
    with pytest.raises(BundleError, match=reason) as refusal:
        import_tflite(file, tmp_path / "out", ImportOptions())
    assert str(refusal.value).startswith(str(file))
    assert "\n" not in str(refusal.value)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "is missing, or not a file"),
        (b"", "is not a TFLite file"),
        (b"hello", "is not a TFLite file"),
        (b"\xff\xff\xff\xffTFL3" + b"\xff" * 90, "metadata is damaged"),
    ],
)
def test_what_is_no_file_of_the_kind_is_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "a.tflite"
    if content is not None:
        file.write_bytes(content)
    refused(tmp_path, file, reason)


def test_a_file_without_metadata_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bare.tflite"
    write_word_vector_classifier(file, random(9, HIDDEN), random(3, HIDDEN), LENGTH)
    append_zip(file, WORD_FILES)
    refused(tmp_path, file, "has no TFLite metadata")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "of another kind than M001"),
        (b"\x10\0\0\0M002" + b"\0" * 40, "of another kind than M001"),
        (b"\xf0\xff\xff\xffM001" + b"\0" * 40, "metadata is damaged"),
        (metadata_bytes(WORD_SAID)[:60], "metadata is damaged"),
        (metadata_bytes(Said([Tensor("x", [WORD_UNIT] * 17)], [SCORES])), "metadata is damaged"),
        (metadata_bytes(Said([Tensor("x" * 9000, [WORD_UNIT])], [SCORES])), "metadata is damaged"),
    ],
    ids=["empty", "other", "wild offset", "cut", "many", "long"],
)
def test_damaged_metadata_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "damaged.tflite"
    write_word_vector_classifier(file, random(9, HIDDEN), random(3, HIDDEN), LENGTH)
    put_buffer(file, content)
    append_zip(file, WORD_FILES)
    refused(tmp_path, file, reason)


def test_a_file_without_its_zip_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "nozip.tflite"
    write_word_vector_classifier(file, random(9, HIDDEN), random(3, HIDDEN), LENGTH)
    put_buffer(file, metadata_bytes(WORD_SAID))
    refused(tmp_path, file, "has no files behind the model, or they are damaged")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Said([Tensor("text")], [SCORES]), "names 0 tokenizers, where one belongs"),
        (Said([Tensor("text", [Unit(SENTENCE_PIECE)])], [SCORES]), "SentencePieceTokenizerOptions, which"),
        (Said([Tensor("text", [Unit(1)])], [SCORES]), "process unit NormalizationOptions"),
        (Said([Tensor("text", [Unit(99)])], [SCORES]), "process unit number 99"),
        (Said([Tensor("t", [WORD_UNIT, Unit(BERT, "vocab.txt")])], [SCORES]), "names 2 tokenizers"),
        (Said([Tensor("t", [Unit(REGEX, None, r"\W")])], [SCORES]), "TokenizerOptions names no vocabulary"),
        (Said([Tensor("t", [Unit(REGEX, "gone.txt", r"\W")])], [SCORES]), "has no file 'gone.txt'"),
        (Said([Tensor("t", [WORD_UNIT])], [Tensor("p")]), "names no file with the labels"),
        (Said([Tensor("t", [WORD_UNIT])], []), "describes 0 outputs"),
        (Said([Tensor("t", [WORD_UNIT])], [Tensor("p", [Unit(2)], "labels.txt")]), "ScoreCalibrationOptions"),
        (Said([Tensor("t", [Unit(BERT, "vocab.txt")])], [SCORES]), "its inputs are 't', where ids, mask and"),
    ],
    ids=[
        "no tokenizer", "sentence piece", "normalization", "unknown unit", "two tokenizers", "no vocabulary",
        "vocabulary not there", "no labels", "no outputs", "score calibration", "wrong inputs",
    ],
)  # fmt: skip
def test_metadata_of_another_kind_is_refused_by_name(tmp_path: Path, said: Said, reason: str) -> None:
    refused(tmp_path, word_file(tmp_path / "a.tflite", said=said), reason)


@pytest.mark.parametrize("names", ["ids mask", "ids mask type_ids", "ids ids mask"])
def test_inputs_that_are_not_berts_are_refused(tmp_path: Path, names: str) -> None:
    refused(
        tmp_path,
        bert_file(tmp_path / "a.tflite", said=bert_said(names)),
        "where ids, mask and segment_ids belong",
    )


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"labels.txt": "negative\npositive\n"}, "has 2 labels and an output of 3 numbers"),
        ({"labels.txt": "a\na\nb\n"}, "names a label twice"),
        ({"labels.txt": b"\xff\n"}, "labels are not UTF-8"),
        ({"vocab.txt": ""}, "the vocabulary has no <PAD>"),
        ({"vocab.txt": b"\xff 1\n"}, "its vocabulary is not one"),
        ({"vocab.txt": "<PAD> 0\n<UNKNOWN>\n"}, "line 2 is not a word and its id"),
        ({"vocab.txt": "<PAD> 0\n<UNKNOWN> -1\n"}, "line 2 is not a word and its id"),
        ({"vocab.txt": "<PAD> 0\n<UNKNOWN> 1\nx 99999999999\n"}, "line 3 is not a word and its id"),
        ({"vocab.txt": WORD_INDEX + "good 3\n"}, "line 10: its word stands twice"),
        ({"vocab.txt": WORD_INDEX + "beyond 9\n"}, "goes up to id 9, which the model does not know"),
        ({"vocab.txt": WORD_INDEX + "beyond 2000000000\n"}, "goes up to id 2000000000, which the model"),
        ({"/etc/passwd": "x"}, "'/etc/passwd' is a foreign file"),
        ({"../vocab.txt": "x"}, "'../vocab.txt' is a foreign file"),
        ({"vocab.txt": WORD_INDEX + "x" * (1 << 24)}, "vocab.txt is larger than 16777216 bytes"),
    ],
)
def test_hostile_or_wrong_files_are_refused(
    tmp_path: Path, files: Mapping[str, bytes | str], reason: str
) -> None:
    refused(tmp_path, word_file(tmp_path / "a.tflite", files={**WORD_FILES, **files}), reason)


@pytest.mark.parametrize(
    ("vocabulary", "reason"),
    [
        ("\n".join(PIECES) + "\ntwo\nmore\n", "goes up to id 12, which the model does not know"),
        ("\n".join(PIECES[1:]), "has no \\[PAD\\]"),
        ("\n".join((*PIECES, "a")), "a token occurs twice"),
        ("[PAD]\n\n[UNK]\n", "has an empty line"),
        (b"\xff\xfe", "are not UTF-8"),
    ],
    ids=["too long", "no pad", "twice", "empty line", "no text"],
)
def test_a_wordpiece_vocabulary_that_is_none_is_refused(
    tmp_path: Path, vocabulary: bytes | str, reason: str
) -> None:
    refused(tmp_path, bert_file(tmp_path / "a.tflite", files={**BERT_FILES, "vocab.txt": vocabulary}), reason)


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", r"(\w|\w\w)*!", "[^a", "", "a|b", "[a]*", "[[:space:]]+", "[a&&b]", "[" + "a" * 300 + "]"],
)
def test_patterns_that_may_take_forever_or_are_none_are_refused(tmp_path: Path, pattern: str) -> None:
    unit = Unit(REGEX, "vocab.txt", pattern)
    refused(
        tmp_path,
        word_file(tmp_path / "a.tflite", said=Said([Tensor("t", [unit])], [SCORES])),
        "pattern",
    )


def _other_id_type(path: Path) -> None:
    write_word_vector_classifier(path, random(9, HIDDEN), random(3, HIDDEN), LENGTH, id_type=np.float32)


def _no_length(path: Path) -> None:
    write_word_vector_classifier(path, random(9, HIDDEN), random(3, HIDDEN), -1)


def _sigmoid(path: Path) -> None:
    write_word_vector_classifier(path, random(9, HIDDEN), random(3, HIDDEN), LENGTH, sigmoid=True)


def _not_numbers(path: Path) -> None:
    write_word_vector_classifier(
        path, random(9, HIDDEN) * np.float32(np.nan), random(3, HIDDEN), LENGTH, softmax=False
    )


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (_other_id_type, "is float32, where int32 belongs"),
        (_no_length, "takes 1 tokens, where 3 to 4096 are known here"),
        (_sigmoid, "neither logits nor probabilities that sum to 1"),
        (_not_numbers, "computes numbers that are none"),
    ],
)
def test_graphs_of_another_kind_are_refused(
    tmp_path: Path, write: Callable[[Path], None], reason: str
) -> None:
    file = tmp_path / "a.tflite"
    write(file)
    refused(tmp_path, add_metadata(file, WORD_SAID, WORD_FILES), reason)


def test_a_tensor_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    file = word_file(tmp_path / "a.tflite")
    file.write_bytes(file.read_bytes().replace(b"Stateful", b"State\xa4ul"))
    refused(tmp_path, file, "cannot load model.tflite")


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    file = word_file(tmp_path / "a.tflite")
    (tmp_path / "out" / "a").mkdir(parents=True)
    before = snapshot(tmp_path)
    with pytest.raises(BundleError, match="already exists"):
        import_tflite(file, tmp_path / "out", ImportOptions())
    assert snapshot(tmp_path) == before


def test_a_foreign_file_takes_no_more_than_its_length(tmp_path: Path) -> None:
    file = bert_file(tmp_path / "a.tflite")
    names = import_tflite(file, tmp_path, ImportOptions()).manifest.variants[0].tensors
    runner = Runner(file, dynamic_length=False, tensors=names)
    assert runner.output_shapes == {"label_logits": (1, 3)}
    with pytest.raises(RuntimeFailure, match="13 tokens, where the model's file takes 12"):
        runner.run([2] * 13)
    assert runner.run([2, 4, 3])["label_logits"].shape == (1, 3)


def test_names_that_are_not_the_files_are_refused(tmp_path: Path) -> None:
    file = word_file(tmp_path / "a.tflite")
    with pytest.raises(RuntimeFailure, match="not those that the bundle names"):
        Runner(file, dynamic_length=False, tensors=TensorNames({"token_ids": "x"}, {"label_logits": "y"}))


def test_a_probability_of_nothing_has_a_logarithm(tmp_path: Path) -> None:
    file = tmp_path / "sure.tflite"
    head = np.array([[200.0] * HIDDEN, [0.0] * HIDDEN, [-200.0] * HIDDEN], np.float32)
    write_word_vector_classifier(file, np.ones((len(WORDS), HIDDEN), np.float32), head, LENGTH)
    add_metadata(file, WORD_SAID, WORD_FILES)
    with Model.load(import_tflite(file, tmp_path, ImportOptions()).path) as model:
        prediction = model.predict("good")
    assert prediction.label == "negative"
    assert prediction.confidence == pytest.approx(1.0)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["average_word_vec", "bert_nl_classifier"]), st.data())
def test_any_damage_to_the_metadata_is_read_or_refused(name: str, data: st.DataObject) -> None:
    content = bytearray((FIXTURES / f"{name}.tflite").read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    with suppress(BundleError):
        metadata = read_metadata(damaged)
        read_files(damaged, [*tokenizer_unit(metadata).vocabularies, label_file(metadata)])
