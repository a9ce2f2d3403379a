"""A checkpoint folder as ``transformers`` writes it becomes a bundle that answers as it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from safetensors.torch import load_file
from tokenizers import BertWordPieceTokenizer
from typer.testing import CliRunner

from edge_agent.cli.forge_import import import_folder
from edge_agent.forge.checkpoints.bundle import import_checkpoint
from edge_agent.forge.checkpoints.checkpoint import load_checkpoint
from edge_agent.forge.checkpoints.tokenizer import read_tokenizer
from edge_agent.inference.model import Model
from edge_agent.types import Task
from tests.huggingface import VOCABULARY, hugging_face, save, small_model

TEXTS = ("The light of the room?", "light", "Señor, the ROOM.")
SENTIMENTS = {
    "id2label": {0: "negative", 1: "neutral", 2: "positive"},
    "label2id": {"negative": 0, "neutral": 1, "positive": 2},
}
TAGS = ("B-PER", "I-PER", "O", "B-LOC.x", "I-LOC.x")
TAGGED = {"id2label": dict(enumerate(TAGS)), "label2id": {tag: number for number, tag in enumerate(TAGS)}}
FAMILIES = ("Bert", "DistilBert", "MobileBert")


def token_ids(folder: Path, text: str) -> list[int]:
    encoding = read_tokenizer(folder).word_piece().encode(text)
    return list(encoding.ids)


def outputs(model: Any, ids: list[int]) -> Any:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]))


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float(left.ravel() @ right.ravel() / np.linalg.norm(left) / np.linalg.norm(right))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_classifier_becomes_a_bundle_with_its_labels(tmp_path: Path, family: str) -> None:
    original = small_model(family, "ForSequenceClassification", **SENTIMENTS)
    folder = save(original, tmp_path / "My Model")
    out = import_checkpoint(folder, tmp_path / "out", languages=("en", "es"))
    with Model.load(out) as model:
        assert (model.manifest.name, model.manifest.task) == ("my-model", Task.CLASSIFY)
        assert model.manifest.labels == ("negative", "neutral", "positive")
        assert model.manifest.languages == ("en", "es")
        for text in TEXTS:
            wanted = outputs(original, token_ids(folder, text)).logits[0].numpy()
            assert cosine(model.analyse(text).label_logits, wanted) > 0.99
    assert sorted(path.name for path in tmp_path.iterdir()) == ["My Model", "out"]
    assert (
        "BERT" in (out / "MODEL_CARD.md").read_text() or family.lower() in (out / "MODEL_CARD.md").read_text()
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bare_encoder_becomes_a_bundle_that_embeds(tmp_path: Path, family: str) -> None:
    original = small_model(family, "Model")
    folder = save(original, tmp_path / "encoder")
    with Model.load(import_checkpoint(folder, tmp_path / "out")) as model:
        assert model.manifest.task is Task.EMBED
        for text in TEXTS:
            mean = outputs(original, token_ids(folder, text)).last_hidden_state[0].mean(dim=0).numpy()
            found = model.embed(text).embedding
            assert np.linalg.norm(found) == pytest.approx(1, abs=1e-3)
            assert cosine(found, mean) > 0.99


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tagger_becomes_a_bundle_with_one_intent_and_its_tags_as_slots(tmp_path: Path, family: str) -> None:
    original = small_model(family, "ForTokenClassification", **TAGGED)
    folder = save(original, tmp_path / "ner")
    with Model.load(import_checkpoint(folder, tmp_path / "out")) as model:
        manifest = model.manifest
        assert (manifest.task, manifest.labels) == (Task.INTENT, ("slots",))
        assert manifest.slot_tags == ("O", "B-per", "I-per", "B-loc_x", "I-loc_x")
        assert model.predict("the light").recognized
        for text in TEXTS:
            wanted = outputs(original, token_ids(folder, text)).logits[0].numpy()
            found = model.analyse(text).slot_logits
            assert found is not None
            assert cosine(found, wanted[:, [2, 0, 1, 3, 4]]) > 0.99


@pytest.mark.parametrize(
    ("family", "kind", "more"),
    [
        ("Bert", "ForSequenceClassification", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5}),
        ("Bert", "ForSequenceClassification", {"hidden_act": "relu", "type_vocab_size": 1}),
        ("Bert", "ForTokenClassification", {"hidden_act": "gelu_pytorch_tanh"}),
        ("DistilBert", "ForSequenceClassification", {"activation": "relu"}),
        ("DistilBert", "ForTokenClassification", {"sinusoidal_pos_embds": True}),
        ("MobileBert", "ForSequenceClassification", {"classifier_activation": False}),
        ("MobileBert", "ForSequenceClassification", {"use_bottleneck_attention": True}),
        ("MobileBert", "ForTokenClassification", {"num_feedforward_networks": 1, "hidden_act": "gelu"}),
        (
            "MobileBert",
            "ForTokenClassification",
            {"use_bottleneck_attention": True, "key_query_shared_bottleneck": False},
        ),
    ],
)
def test_every_variant_of_a_family_computes_what_transformers_computes(
    tmp_path: Path, family: str, kind: str, more: dict[str, Any]
) -> None:
    original = small_model(family, kind, **more)
    folder = save(original, tmp_path / "model")
    encoder = load_checkpoint(folder).build()
    ids = token_ids(folder, TEXTS[0])
    with torch.no_grad():
        labels, tags = encoder(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))
    found = tags if kind == "ForTokenClassification" else labels
    assert found is not None
    torch.testing.assert_close(found, outputs(original, ids).logits, atol=1e-4, rtol=1e-4)


def test_padding_changes_nothing_in_a_mobilebert(tmp_path: Path) -> None:
    encoder = load_checkpoint(
        save(small_model("MobileBert", "ForTokenClassification"), tmp_path / "m")
    ).build()
    ids = torch.tensor([[2, 9, 8, 3, 0, 0], [2, 5, 6, 7, 8, 3]])
    mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    with torch.no_grad():
        _, together = encoder(ids, mask)
        _, alone = encoder(ids[:1, :4], mask[:1, :4])
    assert together is not None
    assert alone is not None
    torch.testing.assert_close(together[0, :4], alone[0], atol=1e-5, rtol=1e-5)


def test_a_pickled_file_of_pure_weights_with_the_first_names_of_norms_is_read(tmp_path: Path) -> None:
    original = small_model("Bert", "ForSequenceClassification")
    folder = save(original, tmp_path / "old")
    state = load_file(folder / "model.safetensors")
    renamed = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor.half()
        for name, tensor in state.items()
    }
    torch.save(renamed, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    found = load_checkpoint(folder)
    weight = found.state["layers.0.attention_norm.weight"]
    expected = state["bert.encoder.layer.0.attention.output.LayerNorm.weight"]
    torch.testing.assert_close(weight, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [None, True, False])
def test_tokenizer_json_gives_the_ids_of_its_own_library(
    tmp_path: Path, lowercase: bool, strip_accents: bool | None
) -> None:
    vocabulary = {token: number for number, token in enumerate((*VOCABULARY, "T", "##T"))}
    theirs = BertWordPieceTokenizer(vocabulary, lowercase=lowercase, strip_accents=strip_accents)
    theirs.save(str(tmp_path / "tokenizer.json"))
    ours = read_tokenizer(tmp_path).word_piece()
    for text in (*TEXTS, "T the  año"):
        assert list(ours.encode(text).ids) == theirs.encode(text).ids


@pytest.mark.parametrize("own", [(True, False), (True, None), (False, True), (False, None)])
@pytest.mark.parametrize(
    "said", [{}, {"strip_accents": None}, {"strip_accents": False}, {"strip_accents": True}]
)
@pytest.mark.parametrize("lowercase", [True, False])
def test_tokenizer_config_goes_before_tokenizer_json_as_in_transformers(
    tmp_path: Path, own: tuple[bool, bool | None], said: dict[str, Any], lowercase: bool
) -> None:
    vocabulary = {token: number for number, token in enumerate(VOCABULARY)}
    BertWordPieceTokenizer(vocabulary, lowercase=own[0], strip_accents=own[1]).save(
        str(tmp_path / "tokenizer.json")
    )
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": lowercase, **said}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    theirs, ours = (
        hugging_face().AutoTokenizer.from_pretrained(tmp_path),
        read_tokenizer(tmp_path).word_piece(),
    )
    for text in TEXTS:
        assert list(ours.encode(text).ids) == theirs(text)["input_ids"]


def test_tokenizer_config_may_shorten_the_input(tmp_path: Path) -> None:
    vocabulary = {token: number for number, token in enumerate(VOCABULARY)}
    BertWordPieceTokenizer(vocabulary, lowercase=True).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false, "model_max_length": 64}')
    found = read_tokenizer(tmp_path)
    assert (found.lowercase, found.strip_accents, found.max_tokens) == (False, False, 64)


def test_positions_and_labels_can_be_chosen(tmp_path: Path) -> None:
    folder = save(small_model("Bert", "ForSequenceClassification", **SENTIMENTS), tmp_path / "m")
    assert load_checkpoint(folder, 16).state["positions.weight"].shape == (16, 48)
    out = import_checkpoint(
        folder, tmp_path / "out", name="opinions", version="2.0.1", labels=("a", "b", "c")
    )
    manifest = json.loads((out / "bundle.json").read_text())
    assert (manifest["name"], manifest["version"]) == ("opinions", "2.0.1")
    assert manifest["labels"] == ["a", "b", "c"]
    assert manifest["input"]["max_tokens"] == 80


def test_the_pooling_of_a_sentence_transformer_is_kept(tmp_path: Path) -> None:
    original = small_model("Bert", "Model")
    folder = save(original, tmp_path / "m")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 40}')
    with Model.load(import_checkpoint(folder, tmp_path / "out")) as model:
        first = outputs(original, token_ids(folder, "the light")).last_hidden_state[0, 0].numpy()
        assert cosine(model.embed("the light").embedding, first) > 0.99
        assert model.manifest.input.max_tokens == 40


def test_tokens_are_those_of_the_checkpoints_own_tokenizer(tmp_path: Path) -> None:
    classifier = save(small_model("Bert", "ForSequenceClassification"), tmp_path / "m")
    theirs = hugging_face().AutoTokenizer.from_pretrained(classifier)
    ours = read_tokenizer(classifier).word_piece()
    for text in TEXTS:
        assert list(ours.encode(text).ids) == theirs(text)["input_ids"]


def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    folder = save(small_model("DistilBert", "ForSequenceClassification", **SENTIMENTS), tmp_path / "m")
    app = typer.Typer()
    app.command()(import_folder)
    done = CliRunner().invoke(
        app, [str(folder), "--out", str(tmp_path / "out"), "--labels", "a, b,c", "--json"]
    )
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert (found["name"], found["task"]) == ("m", "classify")
    assert found["metrics"]["agreement_with_float32"]["sentences"] > 0
    assert json.loads((tmp_path / "out" / "bundle.json").read_text())["labels"] == ["a", "b", "c"]
