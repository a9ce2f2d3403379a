"""Figures of a bundle's file for 32-bit ARM, measured on tflite-runtime: ``python -m tests.arm.accuracy``.

The runtime computes on x86-64 what it computes on ARM, where it is emulated far too slowly for hundreds of
sentences. It has no wheel past Python 3.11 and wants NumPy 1, so it lives in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from edge_agent.forge.judging.old_runtimes import add_old_runtime_variant, write_measured

CHECKOUT = Path(__file__).parents[2]
_PACKAGES = ("tflite-runtime>=2.14,<2.15", "numpy<2", "typer", "rich", "pydantic-settings", "structlog")
_COMMAND = "from edge_agent.cli.main import main; main()"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="a bundle's folder; the variant and its figures go into it")
    parser.add_argument("--data", type=Path, action="append", required=True, help="as of model eval")
    asked = parser.parse_args()
    add_old_runtime_variant(asked.bundle)
    with tempfile.TemporaryDirectory() as folder:
        measured = json.loads(evaluate(old_python(Path(folder)), asked.bundle, asked.data))
    bundle = write_measured(asked.bundle, measured)
    sys.stdout.write(json.dumps(bundle.manifest.variants[-1].metrics, indent=1) + "\n")
    return 0


def old_python(folder: Path) -> Path:
    """A Python 3.11 with tflite-runtime and what the command line needs.

    Raises:
        SystemExit: there is no Python 3.11.
    """
    python = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if python is None:
        sys.exit("tflite-runtime 2.14 needs Python 3.11, and there is no python3.11 on the path")
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    program = folder / "bin" / "python"
    pip = [str(program), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    subprocess.run([*pip, *_PACKAGES], check=True)
    return program


def evaluate(python: Path, bundle: Path, data: list[Path]) -> str:
    """What ``edge-agent model eval --json`` prints there."""
    files = [word for path in data for word in ("--data", str(path.resolve()))]
    command = [
        str(python),
        "-c",
        _COMMAND,
        "model",
        "eval",
        "--model",
        str(bundle.resolve()),
        *files,
        "--json",
    ]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


if __name__ == "__main__":
    sys.exit(main())
