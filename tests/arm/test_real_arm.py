"""Shipped models on 64- and 32-bit ARM, emulated, through the daemon's own loader (docs/arm.md)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from edge_agent.forge.judging.old_runtimes import add_old_runtime_variant
from edge_agent.service.models import BundleLoader
from tests.arm.load import ASKED
from tests.testbeds.cache import NoTestbedError
from tests.testbeds.qemu import ARM64, ARMHF, CHECKOUT, Machine, run_there

pytestmark = pytest.mark.slow

MODELS = CHECKOUT / "models"
DEADLINE_SECONDS = 900
TOLERANCE = 0.02
"""Of a confidence: x86, ARM and the older runtime differ in how they quantise activations."""


def loaded(machine: Machine, cpu: str, bundles: list[Path]) -> dict[str, Any]:
    """What the emulated machine says of the bundles."""
    try:
        printed = run_there(
            machine, cpu, Path(__file__).with_name("load.py"), bundles, deadline_seconds=DEADLINE_SECONDS
        )
    except NoTestbedError as error:
        pytest.skip(str(error))
    found: dict[str, Any] = json.loads(printed)
    return found


def assert_answers_are_those_of_this_machine(model: dict[str, Any], bundle: Path) -> None:
    served = BundleLoader(threads=1).load(bundle)
    for canary, (label, confidence) in zip(served.canaries[:ASKED], model["answers"], strict=True):
        expected = served.model.predict(canary.text)
        assert label == expected.label
        assert confidence == pytest.approx(expected.confidence, abs=TOLERANCE)
    served.model.close()


@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a76"])
def test_arm64_serves_home_with_litert(cpu: str) -> None:
    found = loaded(ARM64, cpu, [MODELS / "home"])
    (home,) = found["models"]
    assert found["machine"] == "aarch64"
    assert home["runtime"].startswith("ai-edge-litert 2.")
    assert home["file"] == "model.tflite"
    assert_answers_are_those_of_this_machine(home, MODELS / "home")


def test_arm64_serves_the_other_models() -> None:
    bundles = [MODELS / name for name in ("sentiment", "assistant")]
    found = loaded(ARM64, "cortex-a53", bundles)
    for model, bundle in zip(found["models"], bundles, strict=True):
        assert model["file"] == "model.tflite"
        assert_answers_are_those_of_this_machine(model, bundle)


@pytest.mark.parametrize("name", ["home", "sentiment", "assistant"])
def test_armhf_serves_the_same_weights_with_tflite_runtime(name: str, tmp_path: Path) -> None:
    """From its second file, which is written into a copy where the shipped bundle has none."""
    bundle = tmp_path / name
    shutil.copytree(MODELS / name, bundle)
    add_old_runtime_variant(bundle)
    found = loaded(ARMHF, "cortex-a7", [bundle])
    (model,) = found["models"]
    assert found["machine"] == "armv7l"
    assert model["runtime"] == "tflite-runtime 2.14.0"
    assert model["file"] == "model.tflite-runtime.pieces"
    assert_answers_are_those_of_this_machine(model, bundle)
