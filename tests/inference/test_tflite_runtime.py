"""The runtime's old name, for real: tflite-runtime 2.14 with NumPy 1 in a virtual environment of its own."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.forge.export.quantise import Scheme
from edge_agent.forge.judging.old_runtimes import add_old_runtime_variant
from edge_agent.inference.model import Model
from tests.tiny_bundle import build_tiny_bundle

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys
import edge_agent
from edge_agent.errors import EdgeAgentError
try:
    model = edge_agent.load(sys.argv[1])
except EdgeAgentError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
else:
    prediction = model.predict("turn on the fan in the kitchen")
    slots = [slot.value for slot in prediction.slots]
    found = {"runtime": str(model.runtime), "label": prediction.label, "confidence": prediction.confidence}
    print(json.dumps({**found, "slots": slots}))
"""


@pytest.fixture(scope="module")
def old_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python 3.11 with tflite-runtime and without LiteRT."""
    python = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if python is None:
        pytest.skip(
            "tflite-runtime 2.14 has no wheel for this Python, and there is no python3.11 on the path"
        )
    if platform.machine() not in {"x86_64", "aarch64", "armv7l"}:
        pytest.skip(f"tflite-runtime 2.14 has no wheel for {platform.machine()}")
    folder = tmp_path_factory.mktemp("old")
    subprocess.run([python, "-m", "venv", folder], check=True, timeout=120)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    done = subprocess.run(
        [*pip, "tflite-runtime==2.14.0", "numpy<2"], capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        pytest.skip(f"pip cannot install tflite-runtime here: {done.stderr.strip().splitlines()[-1:]}")
    return folder / "bin" / "python"


def ask(python: Path, bundle: Path) -> dict[str, object]:
    """Load a bundle there and ask one sentence."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [python, "-c", SCRIPT, str(bundle)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("scheme", [Scheme.INT8_PER_TENSOR, Scheme.FLOAT32])
def test_the_old_runtime_gives_the_same_answers(old_python: Path, tmp_path: Path, scheme: Scheme) -> None:
    folder = build_tiny_bundle(tmp_path / "tiny", scheme=scheme)
    found = ask(old_python, folder)
    with Model.load(folder) as model:
        expected = model.predict("turn on the fan in the kitchen")
    assert found["runtime"] == "tflite-runtime 2.14.0"
    assert found["label"] == expected.label == "HassTurnOn"
    assert found["confidence"] == pytest.approx(expected.confidence, abs=1e-3)
    assert found["slots"] == [slot.value for slot in expected.slots] == ["fan", "kitchen"]


def test_the_old_runtime_is_not_given_what_it_computes_wrongly(old_python: Path, tmp_path: Path) -> None:
    found = ask(old_python, build_tiny_bundle(tmp_path / "tiny", scheme=Scheme.INT8_PER_CHANNEL))
    assert found["error"] == "BundleError"
    assert "no file of the bundle runs on tflite-runtime 2.14.0" in str(found["message"])


def test_the_old_runtime_serves_the_same_weights_from_a_second_file(old_python: Path, tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "tiny")
    add_old_runtime_variant(folder)
    found = ask(old_python, folder)
    with Model.load(folder) as model:
        assert model.variant.file == "model.tflite"
        expected = model.predict("turn on the fan in the kitchen")
    assert found["runtime"] == "tflite-runtime 2.14.0"
    assert found["label"] == expected.label
    assert found["confidence"] == pytest.approx(expected.confidence, abs=1e-3)
