"""``edge_agent.load``: the Python interface, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import edge_agent


def _modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh interpreter has imported after ``code``."""
    script = f"import sys\n{code}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_load_gives_a_model_that_answers(tiny_bundle: Path) -> None:
    with edge_agent.load(tiny_bundle, threads=1) as model:
        assert model.predict("apaga el ventilador").label == "HassTurnOff"
        assert model.digest.startswith("sha256:")


def test_the_version_is_that_of_the_package() -> None:
    assert edge_agent.__version__ == metadata.version("edge-agent")


def test_importing_the_package_imports_neither_numpy_nor_a_runtime() -> None:
    assert not _modules_after("import edge_agent") & {"numpy", "ai_edge_litert", "tflite_runtime", "pydantic"}


def test_answering_imports_nothing_heavy(tiny_bundle: Path) -> None:
    modules = _modules_after(
        f"import edge_agent\nedge_agent.load({str(tiny_bundle)!r}).predict('turn on the fan')"
    )
    assert {"numpy", "ai_edge_litert"} <= modules
    assert not modules & {
        *("torch", "tensorflow", "transformers", "tokenizers", "flatbuffers", "matplotlib", "sklearn"),
        *("typer", "rich", "click", "pydantic", "paho", "structlog", "psutil", "asyncio"),
    }
