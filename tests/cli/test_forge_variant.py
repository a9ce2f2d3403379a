"""``edge-agent forge variant``: a bundle's second file, and its figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edge_agent.cli.forge_variant import variant
from edge_agent.errors import DataError
from edge_agent.inference.bundle import read_bundle
from tests.tiny_bundle import build_tiny_bundle

app = typer.Typer()
app.command()(variant)


def test_a_bundle_is_given_its_second_file(tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "tiny")
    done = CliRunner().invoke(app, [str(folder), "--json"], catch_exceptions=False)
    told = json.loads(done.stdout)
    bundle = read_bundle(folder)
    assert (told["digest"], told["file"]) == (bundle.digest, "model.tflite-runtime.pieces")
    assert told["bytes"] == bundle.file(told["file"]).stat().st_size


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"figures": 1}'])
def test_what_is_no_output_of_model_eval_is_refused(tmp_path: Path, content: str) -> None:
    folder = build_tiny_bundle(tmp_path / "tiny")
    (tmp_path / "eval.json").write_text(content, encoding="utf-8")
    before = read_bundle(folder).digest
    with pytest.raises(DataError, match=r"eval\.json"):
        CliRunner().invoke(
            app, [str(folder), "--metrics", str(tmp_path / "eval.json")], catch_exceptions=False
        )
    assert read_bundle(folder).digest == before
