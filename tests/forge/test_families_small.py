"""The families at small sizes: batches, traces, poolings, and int4, where full size would be slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_agent.forge.checkpoints.checkpoint import load_checkpoint
from edge_agent.forge.encoders.bert import EncoderShape, JointEncoder
from edge_agent.forge.encoders.family import Encoder, HeadShape
from edge_agent.forge.encoders.mobilebert import MobileEncoder, MobileShape
from edge_agent.forge.encoders.weights import Activation, Pooling
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.export.tflite import (
    EMBEDDING_OUTPUT_NAME,
    LABEL_OUTPUT_NAME,
    SLOT_OUTPUT_NAME,
    export_encoder,
)
from edge_agent.inference.runtime import Runner
from tests.huggingface import save, small_model

VOCABULARY = 90
BARE = HeadShape(labels=0, tags=0)
CLASSIFIER = HeadShape(labels=3, tags=0, pooling=Pooling.FIRST, pooler=Activation.TANH)
JOINT = HeadShape(labels=3, tags=5)


def bert(heads: HeadShape) -> Encoder:
    torch.manual_seed(1)
    shape = EncoderShape(
        vocabulary=VOCABULARY,
        hidden=48,
        intermediate=96,
        layers=2,
        heads=4,
        longest=30,
        labels=heads.labels,
        tags=heads.tags,
        pooling=heads.pooling,
        pooler=heads.pooler,
    )
    return JointEncoder(shape).eval()


def mobile_bert(heads: HeadShape) -> Encoder:
    torch.manual_seed(2)
    shape = MobileShape(VOCABULARY, heads, 32, 64, 48, 96, layers=3, feed_forwards=2, longest=30)
    encoder = MobileEncoder(shape)
    for name, parameter in encoder.named_parameters():
        if ".norm." in name:
            torch.nn.init.uniform_(parameter, 0.6, 1.1)
    return encoder.eval()


FAMILIES = [pytest.param(bert, id="BERT"), pytest.param(mobile_bert, id="MobileBERT")]
HEADS = [
    pytest.param(BARE, id="bare"),
    pytest.param(CLASSIFIER, id="classifier"),
    pytest.param(JOINT, id="joint"),
]


def expected(encoder: Encoder, ids: list[int]) -> dict[str, np.ndarray]:
    batch, mask = torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool)
    with torch.no_grad():
        if not encoder.label_head.out_features:
            return {EMBEDDING_OUTPUT_NAME: encoder.embed(batch, mask).numpy()}
        labels, slots = encoder(batch, mask)
    found = {LABEL_OUTPUT_NAME: labels.numpy()}
    return found if slots is None else {**found, SLOT_OUTPUT_NAME: slots[0].numpy()}


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_float32_file_and_its_batches_equal_the_encoder(
    tmp_path: Path, family: Any, heads: HeadShape
) -> None:
    encoder = family(heads)
    export_encoder(encoder.export_weights(), tmp_path / "m.tflite", scheme=Scheme.FLOAT32, batch=3)
    runner = Runner(tmp_path / "m.tflite", vocabulary_size=VOCABULARY, max_tokens=30)
    for length in (3, 17, 30):
        sentences = np.random.default_rng(length).integers(0, VOCABULARY, (3, length)).tolist()
        together = runner.run_batch(sentences)
        for number, ids in enumerate(sentences):
            wanted, alone = expected(encoder, ids), runner.run(ids)
            assert wanted.keys() == alone.keys() == together.keys()
            for name, values in wanted.items():
                rows = len(values)
                np.testing.assert_allclose(alone[name], values, atol=1e-4)
                own = together[name][number * rows : (number + 1) * rows]
                np.testing.assert_allclose(own, values, atol=1e-4)
    runner.close()


@pytest.mark.parametrize("scheme", [Scheme.INT8_PER_CHANNEL, Scheme.INT4_PER_CHANNEL])
@pytest.mark.parametrize("family", FAMILIES)
def test_quantised_files_of_every_family_point_the_same_way(
    tmp_path: Path, family: Any, scheme: Scheme
) -> None:
    encoder = family(BARE)
    export_encoder(encoder.export_weights(), tmp_path / "m.tflite", scheme=scheme)
    runner = Runner(tmp_path / "m.tflite", vocabulary_size=VOCABULARY, max_tokens=30)
    least = 0.995 if scheme is Scheme.INT8_PER_CHANNEL else 0.95  # int4 has not been trained for
    for seed in range(5):
        ids = np.random.default_rng(seed).integers(0, VOCABULARY, 14).tolist()
        found = runner.run(ids)[EMBEDDING_OUTPUT_NAME][0]
        assert found @ expected(encoder, ids)[EMBEDDING_OUTPUT_NAME][0] > least
    runner.close()


@pytest.mark.parametrize("family", ["Bert", "DistilBert", "MobileBert"])
def test_a_trace_has_the_attention_and_the_states_of_transformers(tmp_path: Path, family: str) -> None:
    original = small_model(family, "ForTokenClassification")
    original.set_attn_implementation("eager")  # the other one keeps no attention
    encoder = load_checkpoint(save(original, tmp_path / "m")).build()
    ids, mask = torch.tensor([[2, 9, 30, 41, 3]]), torch.ones(1, 5, dtype=torch.bool)
    with torch.no_grad():
        trace = encoder.trace(ids, mask)
        theirs = original(input_ids=ids, output_attentions=True, output_hidden_states=True)
        found = [encoder.scores(layer, trace.states) for layer in range(len(theirs.attentions))]
    for scores, attention in zip(found, theirs.attentions, strict=True):
        torch.testing.assert_close(scores.softmax(dim=-1), attention, atol=1e-5, rtol=1e-4)
    for states, wanted in zip(trace.states, theirs.hidden_states, strict=True):
        torch.testing.assert_close(states, wanted, atol=1e-4, rtol=1e-4)
    assert trace.slot_logits is not None
    torch.testing.assert_close(trace.slot_logits, theirs.logits, atol=1e-4, rtol=1e-4)


def test_a_trace_ends_in_what_forward_gives() -> None:
    encoder = mobile_bert(CLASSIFIER)
    ids, mask = torch.tensor([[2, 9, 30, 41, 3]]), torch.ones(1, 5, dtype=torch.bool)
    with torch.no_grad():
        trace, (labels, slots) = encoder.trace(ids, mask), encoder(ids, mask)
        assert slots is None
        assert trace.slot_logits is None
        assert torch.equal(trace.label_logits, labels)
        assert torch.equal(encoder.label_head(trace.pooled), labels)


def test_positions_beyond_those_that_a_device_reads_are_cut_off(tmp_path: Path) -> None:
    folder = save(small_model("Bert", "Model", max_position_embeddings=600), tmp_path / "m")
    checkpoint = load_checkpoint(folder)
    assert checkpoint.shape.longest == 512
    assert checkpoint.build().states(torch.full((1, 512), 5), torch.ones(1, 512, dtype=torch.bool))
