"""The catalogue: every bundle of the folders, and only the broken one out."""

from __future__ import annotations

import json
from pathlib import Path

from edge_agent.service.models import BundleLoader, Expected, find_bundles, load_catalogue
from edge_agent.types import Prediction, Task
from tests.fakes.model import FakeLoader
from tests.tiny_bundle import build_tiny_bundle
from tests.tiny_embed_bundle import SENTENCES, build_tiny_embed_bundle


def bundle(folder: Path, version: str, name: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "version").write_text(version)
    if name is not None:
        (folder / "bundle.json").write_text(json.dumps({"name": name}))
    return folder


def test_bundles_go_by_their_own_name_and_else_by_their_folders(tmp_path: Path) -> None:
    bundle(tmp_path / "a", "1", name="home")
    bundle(tmp_path / "b", "1")
    (tmp_path / "c").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x").touch()
    (tmp_path / "file").touch()
    (tmp_path / "b" / "bundle.json").write_text("[broken")
    assert find_bundles([tmp_path, tmp_path / "absent"]) == [("home", tmp_path / "a"), ("b", tmp_path / "b")]


def test_a_directory_that_is_a_bundle_is_one(tmp_path: Path) -> None:
    bundle(tmp_path, "1", name="home")
    assert find_bundles([tmp_path]) == [("home", tmp_path)]


def test_recipes_beside_the_bundles_are_no_bundle(tmp_path: Path) -> None:
    bundle(tmp_path / "home", "1")
    (tmp_path / "recipes" / "home").mkdir(parents=True)
    (tmp_path / "recipes" / "home.toml").touch()
    assert find_bundles([tmp_path]) == [("home", tmp_path / "home")]


def test_the_first_folder_wins(tmp_path: Path) -> None:
    bundle(tmp_path / "site" / "home", "2")
    bundle(tmp_path / "system" / "home", "1")
    loader = FakeLoader()
    catalogue = load_catalogue([tmp_path / "site", tmp_path / "system"], loader)
    assert catalogue["home"].served is not None
    assert catalogue["home"].served.version == "2"
    assert loader.loaded == ["home 2"]


def test_an_unchanged_bundle_stays_the_very_same_object(tmp_path: Path) -> None:
    bundle(tmp_path / "home", "1")
    bundle(tmp_path / "other", "1")
    loader = FakeLoader()
    before = load_catalogue([tmp_path], loader)
    bundle(tmp_path / "other", "2")
    after = load_catalogue([tmp_path], loader, before)
    assert after["home"].served is before["home"].served
    assert after["other"].served is not before["other"].served
    assert loader.loaded == ["home 1", "other 1", "other 2"]


def test_a_broken_bundle_is_named_and_the_others_are_loaded(tmp_path: Path) -> None:
    for name, version in (("bad", "bad"), ("bug", "bug"), ("good", "1")):
        bundle(tmp_path / name, version)
    calls: list[int] = []
    catalogue = load_catalogue([tmp_path], FakeLoader(), on_loaded=lambda: calls.append(1))
    assert catalogue["bad"].served is None
    assert catalogue["bad"].fault == f"model bad: {tmp_path / 'bad'}: altered"
    assert catalogue["bug"].fault == "model bug: internal: ZeroDivisionError"
    assert catalogue["good"].served is not None
    assert len(calls) == 3


def test_a_bundle_that_turned_bad_leaves_the_version_in_memory(tmp_path: Path) -> None:
    bundle(tmp_path / "home", "1")
    before = load_catalogue([tmp_path], FakeLoader())
    bundle(tmp_path / "home", "bad")
    after = load_catalogue([tmp_path], FakeLoader(), before)
    assert after["home"].served is before["home"].served
    assert after["home"].fault is not None
    assert after["home"].fault.endswith("altered; 1 goes on")


def test_a_removed_bundle_is_gone(tmp_path: Path) -> None:
    bundle(tmp_path / "home", "1")
    before = load_catalogue([tmp_path], FakeLoader())
    (tmp_path / "home" / "version").unlink()
    assert load_catalogue([tmp_path], FakeLoader(), before) == {}


def test_a_real_bundle_brings_its_golden_sentences_as_canaries(tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "tiny")
    loader = BundleLoader(threads=1)
    served = loader.load(folder)
    try:
        assert served.digest == loader.digest(folder)
        assert (served.name, served.version, served.languages) == ("tiny", "1.0.0", ("en", "es"))
        for canary in served.canaries:
            assert served.model.predict(canary.text).label == canary.label
    finally:
        served.model.close()


def test_a_bundle_that_embeds_brings_its_vectors_as_canaries(tmp_path: Path) -> None:
    loaded = BundleLoader(threads=1).load(build_tiny_embed_bundle(tmp_path / "tiny-embed"))
    assert loaded.task is Task.EMBED
    assert [canary.text for canary in loaded.canaries] == [text for _, text in SENTENCES]
    first, second = loaded.canaries[:2]
    assert first.fault(loaded.model.predict(first.text)) is None
    assert first.fault(loaded.model.predict(second.text)) is not None
    loaded.model.close()


def test_a_canary_names_what_is_wrong() -> None:
    def answer(label: str | None, embedding: tuple[float, ...] | None = None) -> Prediction:
        return Prediction("m", "1", Task.EMBED, True, label, None, (), (), False, 0, 0, embedding)

    assert Expected("sing", "sing").fault(answer("sing")) is None
    assert Expected("sing", None).fault(answer("sing")) == "expected nothing, got sing"
    vector = Expected("sing", None, (0.6, 0.8), 0.98)
    assert vector.fault(answer(None, (0.6, 0.8))) is None
    assert vector.fault(answer(None, (0.8, 0.6))) == "expected a vector within cosine 0.98, got 0.960"
    assert vector.fault(answer(None, (0.6,))) == "expected a vector within cosine 0.98, got 0.000"
    assert vector.fault(answer(None)) == "expected a vector within cosine 0.98, got 0.000"
