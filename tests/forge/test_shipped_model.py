"""The shipped bundles against an implementation that is not ours: ``transformers``' BERT, in float32.

Built from the file's own weights, so that what differs is the arithmetic: the runtime quantises activations.
Measured of ``home`` on the dev sentences of ``home_assistant_intents``: a mean difference of 0.15 % of the
logits' range, 0.44 % for the worst sentence, and the same best label for all.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edge_agent.forge.encoders.weights import EncoderWeights, LayerWeights, Linear, Norm
from edge_agent.inference.model import Model
from tests.inference.support import DATA
from tests.oracle import read_encoder_weights

MODELS = Path(__file__).parents[2] / "models"
NAMES = sorted(path.parent.name for path in MODELS.glob("*/bundle.json"))
MOST_BUNDLE_BYTES = 25_000_000
MOST_MEAN_DIFFERENCE = 0.005
MOST_WORST_DIFFERENCE = 0.02
LEAST_AGREEMENT = 0.99


class Reference:
    """``transformers.BertModel`` with the bundle's weights, and its two heads beside it."""

    def __init__(self, weights: EncoderWeights) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its imports warn about themselves
            from transformers import BertConfig, BertModel
        self._label_head = _linear(weights.label_head)
        config = BertConfig(
            vocab_size=len(weights.words),
            hidden_size=weights.hidden,
            num_hidden_layers=len(weights.layers),
            num_attention_heads=weights.heads,
            intermediate_size=len(weights.layers[0].intermediate.bias),
            max_position_embeddings=len(weights.positions),
            type_vocab_size=1,
            layer_norm_eps=weights.epsilon,
            hidden_act="gelu",
        )
        self._bert = _evaluating(BertModel(config, add_pooling_layer=False))
        state = {name: torch.from_numpy(array) for name, array in _state(weights)}
        missing, unexpected = self._bert.load_state_dict(state, strict=False)
        assert not unexpected
        assert not [name for name in missing if "position_ids" not in name]

    def label_logits(self, ids: tuple[int, ...]) -> NDArray[np.float32]:
        with torch.no_grad():
            states = self._bert(input_ids=torch.tensor([ids])).last_hidden_state[0]
            logits: NDArray[np.float32] = self._label_head(states.mean(dim=0)).numpy()
        return logits


def _evaluating(module: torch.nn.Module) -> torch.nn.Module:
    return module.eval()


def _linear(linear: Linear) -> torch.nn.Linear:
    module = torch.nn.Linear(linear.weight.shape[1], linear.weight.shape[0])
    module.load_state_dict({"weight": torch.from_numpy(linear.weight), "bias": torch.from_numpy(linear.bias)})
    return module


def _state(weights: EncoderWeights) -> Iterator[tuple[str, NDArray[np.float32]]]:
    yield "embeddings.word_embeddings.weight", weights.words
    yield "embeddings.position_embeddings.weight", weights.positions
    yield "embeddings.token_type_embeddings.weight", np.zeros((1, weights.hidden), np.float32)
    yield from _parameters("embeddings.LayerNorm", weights.embedding_norm)
    for number, layer in enumerate(weights.layers):
        for name, part in _parts(layer):
            yield from _parameters(f"encoder.layer.{number}.{name}", part)


def _parts(layer: LayerWeights) -> Iterator[tuple[str, Linear | Norm]]:
    yield "attention.self.query", layer.query
    yield "attention.self.key", layer.key
    yield "attention.self.value", layer.value
    yield "attention.output.dense", layer.attention_output
    yield "attention.output.LayerNorm", layer.attention_norm
    yield "intermediate.dense", layer.intermediate
    yield "output.dense", layer.output
    yield "output.LayerNorm", layer.output_norm


def _parameters(name: str, part: Linear | Norm) -> Iterator[tuple[str, NDArray[np.float32]]]:
    yield f"{name}.weight", part.weight if isinstance(part, Linear) else part.gain
    yield f"{name}.bias", part.bias if isinstance(part, Linear) else part.offset


@dataclass(frozen=True)
class Comparison:
    """Our and the reference's logits of one sentence."""

    ours: NDArray[np.float32]
    theirs: NDArray[np.float32]

    @property
    def difference(self) -> float:
        """Mean absolute difference, as a share of the reference's range."""
        return float(np.abs(self.ours - self.theirs).mean() / np.ptp(self.theirs))

    @property
    def agrees(self) -> bool:
        return bool(self.ours.argmax() == self.theirs.argmax())


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    with Model.load(MODELS / request.param, check_golden=False) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def reference(model: Model) -> Iterator[Reference]:
    if "int4-per-channel" in model.variant.features:
        pytest.skip("the oracle reads weights of 8 bits and more")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more are slower for a sentence, and much slower beside other work
    yield Reference(read_encoder_weights(model.bundle.file(model.variant.file)))
    torch.set_num_threads(threads)


def compare(model: Model, reference: Reference, texts: list[str]) -> list[Comparison]:
    analyses = [model.analyse(text) for text in texts]
    return [Comparison(each.label_logits, reference.label_logits(each.token_ids)) for each in analyses]


def check(found: list[Comparison]) -> None:
    assert np.mean([each.agrees for each in found]) >= LEAST_AGREEMENT
    assert np.mean([each.difference for each in found]) <= MOST_MEAN_DIFFERENCE
    assert max(each.difference for each in found) <= MOST_WORST_DIFFERENCE


@pytest.mark.parametrize("language", ["en", "es"])
def test_dev_sentences_get_the_logits_of_an_independent_bert(
    model: Model, reference: Reference, language: str
) -> None:
    if model.manifest.name != "home":
        pytest.skip("its own sentences are in tests/forge/test_shipped_metrics.py")
    path = DATA / "home_assistant_intents" / f"{language}.dev.jsonl"
    if not path.exists():
        pytest.skip(f"the data sets are not at {DATA} (EDGE_AGENT_DATA names their folder)")
    lines = path.read_text(encoding="utf-8").splitlines()
    check(compare(model, reference, [json.loads(line)["text"] for line in lines]))


def test_golden_sentences_get_the_logits_of_an_independent_bert(model: Model, reference: Reference) -> None:
    lines = model.bundle.file(model.manifest.golden.file).read_text(encoding="utf-8").splitlines()
    check(compare(model, reference, [json.loads(line)["text"] for line in lines]))


def test_the_golden_sentences_pass_here(model: Model) -> None:
    model.check_golden()


def test_the_bundle_is_no_larger_than_promised(model: Model) -> None:
    assert sum(path.stat().st_size for path in model.bundle.path.iterdir()) <= MOST_BUNDLE_BYTES
