"""Every family at its published size, with random weights, against ``transformers``.

The weights go the way of an import: the oracle's state, renamed, into our module, and from there into the
file. Differences of float32 are shares of the largest value of the tensor compared: without layer norms,
MobileBERT's values are not near 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edge_agent.forge.checkpoints.config import parse_config
from edge_agent.forge.checkpoints.tensors import new_encoder, state_of
from edge_agent.forge.encoders.family import Encoder
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.export.tflite import EMBEDDING_OUTPUT_NAME, export_encoder
from edge_agent.inference.runtime import Runner
from tests.huggingface import random_model

Array = NDArray[np.float32]

MINILM = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}
TINYBERT = {
    "hidden_size": 312,
    "num_hidden_layers": 4,
    "num_attention_heads": 12,
    "intermediate_size": 1200,
}
FAMILIES = [
    pytest.param("BertModel", MINILM, id="MiniLM-L6-H384"),
    pytest.param("BertModel", TINYBERT, id="TinyBERT-4-312"),
    pytest.param("DistilBertModel", {}, id="DistilBERT-6-768"),
    pytest.param("MobileBertModel", {}, id="MobileBERT-24"),
]
LENGTHS = (5, 24, 64)
MOST_DIFFERENCE = 1e-4
LEAST_COSINE = 0.995

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more are much slower beside other work
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("name", "sizes"), FAMILIES)
def test_a_family_of_full_size_computes_what_transformers_computes(
    tmp_path: Path, name: str, sizes: dict[str, Any]
) -> None:
    oracle = random_model(name, sizes)
    encoder = imported(oracle)
    sentences = [random_ids(oracle.config.vocab_size, length) for length in LENGTHS]
    expected = [oracle_states(oracle, ids) for ids in sentences]
    for ids, wanted in zip(sentences, expected, strict=True):
        for found, state in zip(our_states(encoder, ids), wanted, strict=True):
            assert difference(found, state) < MOST_DIFFERENCE
    vectors = [sentence_vector(wanted[-1]) for wanted in expected]
    for vector, found in zip(
        vectors, file_vectors(encoder, tmp_path, Scheme.FLOAT32, sentences), strict=True
    ):
        assert difference(found, vector) < MOST_DIFFERENCE
    int8 = file_vectors(encoder, tmp_path, Scheme.INT8_PER_CHANNEL, sentences)
    for vector, found in zip(vectors, int8, strict=True):
        assert found @ vector >= LEAST_COSINE  # both of length 1


def imported(oracle: Any) -> Encoder:
    """Our module with the oracle's weights, renamed as those of a checkpoint."""
    folder = Path("checkpoint")
    configuration = parse_config(folder / "config.json", oracle.config.to_diff_dict())
    encoder = new_encoder(configuration.shape)
    encoder.load_state_dict(state_of(folder / "model.safetensors", oracle.state_dict(), configuration))
    return encoder.eval()


def random_ids(vocabulary: int, length: int) -> list[int]:
    inner = np.random.default_rng(length).integers(1000, vocabulary, length - 2)
    return [101, *(int(number) for number in inner), 102]


def oracle_states(oracle: Any, ids: list[int]) -> list[Array]:
    with torch.no_grad():
        outputs = oracle(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return [states[0].numpy() for states in outputs.hidden_states]


def our_states(encoder: Encoder, ids: list[int]) -> list[Array]:
    with torch.no_grad():
        states = encoder.states(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))
    return [each[0].numpy() for each in states]


def sentence_vector(states: Array) -> Array:
    mean = states.mean(axis=0)
    vector: Array = mean / np.linalg.norm(mean)
    return vector


def file_vectors(encoder: Encoder, folder: Path, scheme: Scheme, sentences: list[list[int]]) -> list[Array]:
    path = folder / f"{scheme.value}.tflite"
    export_encoder(encoder.export_weights(), path, scheme=scheme)
    runner = Runner(path, max_tokens=512)
    vectors = [runner.run(ids)[EMBEDDING_OUTPUT_NAME][0] for ids in sentences]
    runner.close()
    path.unlink()
    return vectors


def difference(found: Array, expected: Array) -> float:
    """The largest difference, as a share of the largest value."""
    return float(np.abs(found - expected).max() / np.abs(expected).max())
