"""The second file of a bundle, for tflite-runtime: the same numbers, chosen by what a runtime computes right.

That runtime itself is in tests/inference/test_tflite_runtime.py; LiteRT computes both forms, so the second is
compared with the first here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edge_agent.errors import BundleError, DataError
from edge_agent.forge.encoders.family import HeadShape
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.export.row_scales import with_row_scales_apart
from edge_agent.forge.export.tflite import export_encoder
from edge_agent.forge.judging.old_runtimes import add_old_runtime_variant, write_measured
from edge_agent.inference.bundle import read_bundle
from edge_agent.inference.golden import cosine
from edge_agent.inference.model import Model
from edge_agent.inference.runtime import Runner, RuntimeInfo, runtime_info
from edge_agent.inference.variants import choose_variant, model_of
from tests.forge.test_families_small import FAMILIES, HEADS
from tests.tiny_bundle import build_tiny_bundle
from tests.tiny_encoder import random_encoder

IDS = [2, 5, 30, 41, 7, 3]
LEAST_COSINE = 0.9995
PIECES = "model.tflite-runtime.pieces"
OLD = RuntimeInfo("tflite-runtime", "2.14.0", frozenset({"float32", "int8-per-tensor"}))


def outputs(content: bytes) -> dict[str, NDArray[np.float32]]:
    runner = Runner(content)
    found = runner.run(IDS)
    runner.close()
    return found


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_second_form_computes_what_the_first_does(tmp_path: Path, family: Any, heads: HeadShape) -> None:
    export_encoder(family(heads).export_weights(), tmp_path / "model.tflite", batch=4)
    content = (tmp_path / "model.tflite").read_bytes()
    first, second = outputs(content), outputs(with_row_scales_apart(content))
    assert first.keys() == second.keys()
    for name, expected in first.items():
        likeness = cosine(second[name].reshape(-1), expected.reshape(-1))
        assert likeness > LEAST_COSINE, name


def test_no_matrix_of_the_second_form_has_more_than_one_scale(tmp_path: Path) -> None:
    export_encoder(random_encoder(60, 16, 4, 5, 1), tmp_path / "model.tflite", batch=4)
    content = with_row_scales_apart((tmp_path / "model.tflite").read_bytes())
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    quantised = [tensor for tensor in graph.tensors if tensor.type == schema.TensorType.INT8]
    assert quantised
    assert all(list(tensor.quantization.scale) == [1.0] for tensor in quantised)
    versions = {(code.builtinCode, code.version) for code in model.operatorCodes}
    assert (schema.BuiltinOperator.FULLY_CONNECTED, 9) in versions
    assert (schema.BuiltinOperator.EMBEDDING_LOOKUP, 2) in versions


def test_matrices_of_four_bits_have_no_second_form(tmp_path: Path) -> None:
    export_encoder(random_encoder(60, 16, 4, 5, 1), tmp_path / "m.tflite", scheme=Scheme.INT4_PER_CHANNEL)
    with pytest.raises(ValueError, match="type that old runtimes do not have"):
        with_row_scales_apart((tmp_path / "m.tflite").read_bytes())


def test_each_runtime_takes_the_file_that_it_computes_rightly(tmp_path: Path) -> None:
    bundle = add_old_runtime_variant(build_tiny_bundle(tmp_path / "tiny"))
    assert choose_variant(bundle.manifest, runtime_info()).file == "model.tflite"
    chosen = choose_variant(bundle.manifest, OLD)
    assert (chosen.file, chosen.base) == (PIECES, "model.tflite")
    content = model_of(bundle, chosen)
    assert isinstance(content, bytes)
    assert outputs(content).keys() == {"label_logits", "slot_logits"}
    with Model.load(bundle.path) as model:
        assert model.variant.file == "model.tflite"


def test_a_bundle_serves_from_pieces_where_they_are_its_first_choice(tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "tiny")
    add_old_runtime_variant(folder)
    with Model.load(folder) as model:
        expected = model.predict("turn on the fan in the kitchen")
    change_variants(folder, lambda entries: entries[::-1])
    with Model.load(folder) as model:  # the golden sentences come out right
        found = model.predict("turn on the fan in the kitchen")
        assert model.variant.file == PIECES
        assert model.batch_size == 1
    assert (found.label, found.slots[0].value) == (expected.label, expected.slots[0].value)
    assert found.confidence == pytest.approx(expected.confidence, abs=1e-3)


def change_variants(folder: Path, change: Any) -> None:
    from edge_agent.inference.bundle import write_bundle

    manifest = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    write_bundle(folder, {**manifest, "variants": change(manifest["variants"])})


def test_a_bundle_with_the_second_file_is_told_the_same_way_twice(tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "tiny")
    first = add_old_runtime_variant(folder)
    assert add_old_runtime_variant(folder).digest == first.digest
    assert [variant.file for variant in first.manifest.variants] == ["model.tflite", PIECES]


def test_pieces_are_a_small_part_of_a_model_that_is_not_tiny(tmp_path: Path) -> None:
    """Of the shipped ones they are 1 %."""
    from edge_agent.forge.export.pieces import tell_by_pieces

    export_encoder(random_encoder(4000, 64, 4, 5, 1), tmp_path / "model.tflite")
    content = (tmp_path / "model.tflite").read_bytes()
    assert len(tell_by_pieces(with_row_scales_apart(content), content)) < 0.6 * len(content)


def test_a_bundle_of_another_kind_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "tiny", scheme=Scheme.FLOAT32)
    before = sorted((file.name, file.read_bytes()) for file in folder.iterdir())
    with pytest.raises(DataError, match="not of int8 weights with a scale for each row"):
        add_old_runtime_variant(folder)
    assert sorted((file.name, file.read_bytes()) for file in folder.iterdir()) == before


def test_a_variant_may_not_be_made_of_a_file_that_the_bundle_has_not(tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "tiny")
    add_old_runtime_variant(folder)
    for base, reason in (("other.tflite", r"other\.tflite is used but not listed"), (PIECES, "itself")):
        with pytest.raises(BundleError, match=reason):
            change_variants(folder, lambda entries, base=base: [entries[0], {**entries[1], "base": base}])


def measured(folder: Path, **changes: Any) -> Mapping[str, Any]:
    """As ``edge-agent model eval --json`` prints it."""
    slots = {"f1": 0.9, "precision": 0.9, "recall": 0.9}
    group = {"intent_accuracy": 0.95, "in_scope_accepted": 0.9, "slots": slots}
    return {
        "runtime": "tflite-runtime 2.14.0",
        "digest": read_bundle(folder).digest,
        "data": ["/somewhere/home/en.dev.jsonl"],
        "figures": {"all": group, "en": {**group, "slots": None}},
        **changes,
    }


def test_measured_figures_stand_in_the_bundle_and_once_in_its_card(tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "tiny")
    add_old_runtime_variant(folder)
    for _ in range(2):
        bundle = write_measured(folder, measured(folder))
    assert bundle.manifest.variants[1].metrics == {
        "all.intent_accuracy": 0.95,
        "all.in_scope_accepted": 0.9,
        "all.slot_f1": 0.9,
        "en.intent_accuracy": 0.95,
        "en.in_scope_accepted": 0.9,
        "runtime": "tflite-runtime 2.14.0",
        "data": ["home/en.dev.jsonl"],
    }
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith("# tiny\n")
    assert card.count("## On 32-bit ARM") == 1
    assert "| all | 95.00% | 90.00% | 90.00% |" in card
    assert "/somewhere" not in card


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"runtime": "ai-edge-litert 2.3.0"}, "of ai-edge-litert 2.3.0, not of tflite-runtime"),
        ({"digest": "sha256:0"}, "of another bundle"),
    ],
)
def test_figures_of_something_else_are_refused(
    tmp_path: Path, changes: Mapping[str, Any], reason: str
) -> None:
    folder = build_tiny_bundle(tmp_path / "tiny")
    before = add_old_runtime_variant(folder).digest
    with pytest.raises(DataError, match=reason):
        write_measured(folder, measured(folder, **changes))
    assert read_bundle(folder).digest == before
