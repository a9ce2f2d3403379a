"""Checkpoint folders that are wrong or unsupported are refused by name, and nothing is left on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_agent.errors import BundleError, DataError, EdgeAgentError
from edge_agent.forge.checkpoints.bundle import import_checkpoint
from tests.huggingface import VOCABULARY, save, small_model


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    original = small_model(
        "Bert", "ForSequenceClassification", id2label={0: "negative", 1: "neutral", 2: "positive"}
    )
    return save(original, tmp_path_factory.mktemp("checkpoints") / "classifier")


def configured(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def removed(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def written(name: str, content: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(content)

    return write


def retensored(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return rewrite


def truncated(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched"),))


def pickled_with_code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Hostile()}, folder / "pytorch_model.bin")


def pickled_list(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save([torch.zeros(1)], folder / "pytorch_model.bin")


def byte_pairs(folder: Path) -> None:
    (folder / "vocab.txt").unlink()
    (folder / "merges.txt").write_text("a b")


def not_a_number(tensors: dict[str, torch.Tensor]) -> None:
    tensors["classifier.bias"][0] = float("nan")


def without_query(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[QUERY]


QUERY = "bert.encoder.layer.1.attention.self.query.weight"
REFUSALS: dict[str, tuple[Callable[[Path], None], str]] = {
    "another family": (
        configured(model_type="roberta"),
        r"config\.json: model_type 'roberta' is not supported",
    ),
    "no family": (configured(model_type=None), "model_type None"),
    "another kind": (
        configured(architectures=["BertForQuestionAnswering"]),
        "'BertForQuestionAnswering' is not",
    ),
    "pretraining": (configured(architectures=["BertForMaskedLM"]), "has not learned a task"),
    "several labels": (configured(problem_type="multi_label_classification"), "problem_type 'multi_label"),
    "regression": (configured(id2label={"0": "LABEL_0"}), "one label only: a regression"),
    "labels with gaps": (configured(id2label={"0": "a", "2": "b"}), "without gaps"),
    "labels twice": (configured(id2label={"0": "a", "1": "a", "2": "b"}), "a label twice"),
    "positions": (
        configured(position_embedding_type="relative_key"),
        "position_embedding_type 'relative_key'",
    ),
    "decoder": (configured(is_decoder=True), "a decoder"),
    "cross-attention": (configured(add_cross_attention=True), "cross-attention"),
    "activation": (configured(hidden_act="silu"), "activation 'silu' is not supported"),
    "quantised": (configured(quantization_config={"bits": 4}), "quantised already"),
    "pruned": (configured(pruned_heads={"0": [1]}), "pruned_heads"),
    "a size that is no number": (configured(hidden_size="wide"), r"config\.json: hidden_size"),
    "heads": (configured(num_attention_heads=5), "5 attention heads do not divide the width 48"),
    "no configuration": (removed("config.json"), r"config\.json: missing"),
    "broken configuration": (written("config.json", "{"), r"config\.json: not JSON"),
    "no weights": (removed("model.safetensors"), "neither model.safetensors nor pytorch_model.bin"),
    "damaged weights": (truncated, r"model\.safetensors: damaged"),
    "code in a pickle": (pickled_with_code, r"pytorch_model\.bin: holds more than weights"),
    "no dictionary": (pickled_list, "not a dictionary of tensors"),
    "a missing tensor": (retensored(without_query), "query.weight is missing"),
    "a wrong shape": (configured(intermediate_size=100), "is 96 × 48, where config.json says 100 × 48"),
    "whole numbers": (retensored(lambda t: t.update({QUERY: t[QUERY].to(torch.int8)})), "not floating point"),
    "not a number": (retensored(not_a_number), r"classifier\.bias holds numbers that are not finite"),
    "fewer layers": (configured(num_hidden_layers=1), "has 2 layers, where config.json says 1"),
    "no tokenizer": (removed("vocab.txt"), "neither vocab.txt nor tokenizer.json"),
    "byte pairs": (byte_pairs, r"merges\.txt: byte-pair encoding is not supported"),
    "another tokenizer": (written("tokenizer.json", '{"model": {"type": "Unigram"}}'), "type 'Unigram'"),
    "no special tokens": (written("vocab.txt", "a\nb\n"), r"the vocabulary has no \[PAD\]"),
    "another vocabulary": (
        written("vocab.txt", "\n".join(VOCABULARY[:-1])),
        "tokens, the embedding of config.json",
    ),
    "another tokenizer's class": (
        written("tokenizer_config.json", '{"tokenizer_class": "BertJapaneseTokenizer"}'),
        "tokenizer_class 'BertJapaneseTokenizer'",
    ),
    "no basic tokenizer": (
        written("tokenizer_config.json", '{"do_basic_tokenize": false}'),
        "do_basic_tokenize is off",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_wrong_or_unsupported_is_refused_by_name(
    classifier: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    change, message = REFUSALS[case]
    folder = Path(shutil.copytree(classifier, tmp_path / "checkpoint"))
    change(folder)
    refuse(folder, tmp_path / "out", message)
    assert not (tmp_path / "touched").exists()


def refuse(folder: Path, out: Path, message: str, **wishes: Any) -> EdgeAgentError:
    """Imports, expects a refusal, and that nothing on disk changed."""
    before = sorted(out.parent.rglob("*"))
    with pytest.raises(EdgeAgentError, match=message) as caught:
        import_checkpoint(folder, out, **wishes)
    assert isinstance(caught.value, (DataError, BundleError))
    assert "\n" not in str(caught.value)
    assert sorted(out.parent.rglob("*")) == before
    return caught.value


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"labels": ("a", "b")}, "2 labels given, where the model has 3"),
        ({"labels": ("a", "b", "b")}, "labels names something twice"),
        ({"name": "No Name!"}, "name"),
        ({"version": "1"}, "version"),
    ],
)
def test_wishes_that_a_bundle_cannot_have_are_refused(
    classifier: Path, tmp_path: Path, wishes: dict[str, Any], message: str
) -> None:
    refuse(classifier, tmp_path / "out", message, **wishes)


def test_a_bundle_that_exists_is_not_written_over(classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    refuse(classifier, tmp_path / "out", "exists already")


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    refuse(tmp_path / "none", tmp_path / "out", "none: no such folder")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (("B-PER", "I-PER", "B-LOC"), "no tag O"),
        (("O", "PER", "LOC"), "the tag 'PER' is neither"),
        (("O", "B-PER", "B-per"), "differ in case"),
    ],
)
def test_tags_that_are_not_bio_are_refused(tmp_path: Path, tags: tuple[str, ...], message: str) -> None:
    names = {"id2label": dict(enumerate(tags)), "label2id": {tag: number for number, tag in enumerate(tags)}}
    folder = save(small_model("DistilBert", "ForTokenClassification", **names), tmp_path / "m")
    refuse(folder, tmp_path / "out", message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalization_type": "layer_norm"}, "normalization_type"),
        ({"trigram_input": False}, "trigram_input"),
        ({"num_hidden_layers": 1_000_000}, "num_hidden_layers"),
        ({"use_bottleneck": False}, "use_bottleneck"),
        ({"key_query_shared_bottleneck": False}, "neither use_bottleneck_attention"),
    ],
)
def test_a_mobilebert_of_another_build_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = save(small_model("MobileBert", "Model"), tmp_path / "m")
    configured(**change)(folder)
    refuse(folder, tmp_path / "out", message)


def test_a_pooling_that_is_neither_mean_nor_first_token_is_refused(tmp_path: Path) -> None:
    folder = save(small_model("Bert", "Model"), tmp_path / "m")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    refuse(folder, tmp_path / "out", "pooling by max")
