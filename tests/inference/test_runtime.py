"""The runtime adapter over the real runtime: resizing, guarding, failing, recovering, freeing."""

from __future__ import annotations

import gc
import importlib
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edge_agent.errors import RuntimeFailure
from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.export.tflite import export_encoder
from edge_agent.inference.runtime import Runner, runtime_info
from tests.tiny_bundle import build_tiny_bundle
from tests.tiny_encoder import random_encoder


class CountingInterpreter:
    """The real interpreter, with its calls counted."""

    calls: list[str]

    def __init__(self, real: Any) -> None:
        self.calls = []
        self._real = real

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self._real, name)


@pytest.fixture
def runner(tiny_bundle: Path) -> Runner:
    return Runner(tiny_bundle / "model.tflite", vocabulary_size=90, max_tokens=32)


def counting(runner: Runner) -> CountingInterpreter:
    session = runner._session
    assert session is not None
    interpreter = CountingInterpreter(session.interpreter)
    object.__setattr__(session, "interpreter", interpreter)
    return interpreter


def test_outputs_have_the_shapes_of_the_contract(runner: Runner) -> None:
    outputs = runner.run([2, 5, 6, 7, 3])
    assert {name: output.shape for name, output in outputs.items()} == {
        "label_logits": (1, 4),
        "slot_logits": (5, 5),
    }
    assert all(output.dtype == np.float32 for output in outputs.values())
    assert runner.output_shapes == {"label_logits": (1, 4), "slot_logits": (-1, 5)}


def test_the_interpreter_is_resized_only_when_the_length_changes(runner: Runner) -> None:
    interpreter = counting(runner)
    for ids in ([2, 5, 3], [2, 6, 3], [2, 5, 6, 3], [2, 7, 8, 3], [2, 5, 3]):
        runner.run(ids)
    assert interpreter.calls.count("resize_tensor_input") == 3
    assert interpreter.calls.count("allocate_tensors") == 3
    assert interpreter.calls.count("invoke") == 5


def test_outputs_are_copies_that_later_calls_leave_alone(runner: Runner) -> None:
    first = runner.run([2, 5, 3])["label_logits"]
    kept = first.copy()
    other = runner.run([2, 9, 3])["label_logits"]
    assert not np.array_equal(first, other)
    assert np.array_equal(first, kept)


def test_a_length_gives_the_same_answer_after_any_other(runner: Runner) -> None:
    before = runner.run([2, 5, 6, 3])["slot_logits"]
    for length in (3, 32, 2, 17):
        runner.run([2, *[7] * (length - 2), 3])
    assert np.array_equal(runner.run([2, 5, 6, 3])["slot_logits"], before)


def test_bytes_and_path_give_the_same(tiny_bundle: Path, runner: Runner) -> None:
    from_bytes = Runner((tiny_bundle / "model.tflite").read_bytes(), threads=2)
    assert np.allclose(
        from_bytes.run([2, 5, 3])["label_logits"], runner.run([2, 5, 3])["label_logits"], atol=1e-5
    )


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ([], "no token ids"),
        ([2, -1, 3], "negative"),
        ([2, 90, 3], "token id 90 is not in the vocabulary of 90"),
        ([2, 2**40, 3], "not in the vocabulary"),
        ([2] * 33, "33 tokens, where the model reads 32"),
    ],
)
def test_ids_are_guarded_before_the_call(runner: Runner, ids: list[int], reason: str) -> None:
    interpreter = counting(runner)
    with pytest.raises(RuntimeFailure, match=reason):
        runner.run(ids)
    assert interpreter.calls == []


@pytest.mark.parametrize("bad", [[2, 100_000, 3], [2] * 400], ids=["unknown id", "too long"])
def test_after_a_failure_the_next_call_is_answered_by_a_new_interpreter(
    tiny_bundle: Path, bad: list[int]
) -> None:
    unguarded = Runner(tiny_bundle / "model.tflite")
    expected = unguarded.run([2, 5, 3])
    first = unguarded._session
    with pytest.raises(RuntimeFailure, match="the TFLite runtime failed"):
        unguarded.run(bad)
    again = unguarded.run([2, 5, 3])
    assert unguarded._session is not first
    assert all(np.array_equal(again[name], expected[name]) for name in expected)


def test_a_closed_runner_refuses_and_holds_nothing(runner: Runner) -> None:
    session = runner._session
    assert session is not None
    interpreter = weakref.ref(session.interpreter)
    del session
    runner.close()
    runner.close()
    gc.collect()
    assert interpreter() is None
    with pytest.raises(RuntimeFailure, match="closed"):
        runner.run([2, 3])


def test_closing_gives_the_memory_back(tmp_path: Path) -> None:
    """Twenty models of 16 MB, one after the other, stay within the memory of a few."""
    export_encoder(random_encoder(60_000, 32, 4, 5, 1), tmp_path / "wide.tflite", scheme=Scheme.FLOAT32)
    content = (tmp_path / "wide.tflite").read_bytes()
    size = len(content)
    process = psutil.Process()

    def load_use_close() -> None:
        runner = Runner(bytes(bytearray(content)))
        runner.run([2, 5, 3])
        runner.close()

    load_use_close()
    before = process.memory_info().rss
    for _ in range(20):
        load_use_close()
    assert process.memory_info().rss - before < 4 * size


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"\0" * 1000, b"x" * 100], ids=["empty", "magic", "zeros", "text"]
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(RuntimeFailure, match=r"cannot load model\.tflite"):
        Runner(tmp_path / "model.tflite")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match=r"cannot load gone\.tflite"):
        Runner(tmp_path / "gone.tflite")


def test_an_unknown_backend_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(RuntimeFailure, match="no such runtime: onnx"):
        Runner(tiny_bundle / "model.tflite", backend="onnx")


def test_without_a_runtime_the_failure_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(RuntimeFailure, match="no TFLite runtime") as failure:
        runtime_info()
    assert failure.value.hint is not None
    assert "pip install ai-edge-litert" in failure.value.hint


def test_the_runtime_is_named_with_its_version() -> None:
    info = runtime_info("ai-edge-litert")
    assert str(info) == f"ai-edge-litert {importlib.import_module('ai_edge_litert').__version__}"
    assert "int8-per-channel" in info.features


class FixedInterpreter:
    """A model of fixed length 8 that answers with its input, as the runtimes show such a file."""

    def __init__(self, **_: Any) -> None:
        self._input = np.zeros((1, 8), np.int32)

    def get_input_details(self) -> list[dict[str, Any]]:
        shape = np.array([1, 8])
        return [{"index": 0, "dtype": np.int32, "shape": shape, "shape_signature": shape}]

    def get_output_details(self) -> list[dict[str, Any]]:
        shape = np.array([1, 8])
        return [{"name": "label_logits", "index": 1, "shape": shape, "shape_signature": shape}]

    def resize_tensor_input(self, *_: Any) -> None:
        raise AssertionError("a fixed length must not be resized")

    def allocate_tensors(self) -> None: ...

    def set_tensor(self, _: int, value: Any) -> None:
        self._input = value

    def invoke(self) -> None: ...

    def get_signature_list(self) -> dict[str, Any]:
        return {}

    def get_tensor(self, _: int) -> Any:
        return self._input.astype(np.float32)


@pytest.fixture
def fixed_length(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("ai_edge_litert.interpreter")
    monkeypatch.setattr(module, "Interpreter", FixedInterpreter)


@pytest.mark.usefixtures("fixed_length")
def test_a_fixed_length_is_padded() -> None:
    runner = Runner(b"model", dynamic_length=False, pad_id=9)
    assert runner.run([2, 5, 3])["label_logits"].tolist() == [[2, 5, 3, 9, 9, 9, 9, 9]]
    with pytest.raises(RuntimeFailure, match="9 tokens, where the model's file takes 8"):
        runner.run([2] * 9)


@pytest.mark.usefixtures("fixed_length")
def test_a_fixed_length_that_was_declared_dynamic_is_refused() -> None:
    with pytest.raises(RuntimeFailure, match="takes 8 tokens only"):
        Runner(b"model", dynamic_length=True)


def test_int8_per_tensor_and_float32_run_too(tmp_path: Path) -> None:
    logits = []
    for scheme in (Scheme.FLOAT32, Scheme.INT8_PER_TENSOR, Scheme.INT8_PER_CHANNEL):
        folder = build_tiny_bundle(tmp_path / scheme.value, scheme=scheme)
        logits.append(Runner(folder / "model.tflite").run([2, 5, 30, 3])["label_logits"])
    assert np.abs(logits[1] - logits[0]).max() < 0.5
    assert np.abs(logits[2] - logits[0]).max() < 0.5
