"""Bundles on disk: whatever is wrong is refused by name, and nothing changes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.errors import BundleError
from edge_agent.inference.bundle import opened_bundle, pack, read_bundle, unpack, write_bundle
from tests.inference.support import snapshot
from tests.tiny_bundle import tiny_manifest


def _truncate(folder: Path) -> None:
    os.truncate(folder / "model.tflite", 100)


def _alter(folder: Path) -> None:
    content = bytearray((folder / "vocab.txt").read_bytes())
    content[3] ^= 1
    (folder / "vocab.txt").write_bytes(content)


def _grow(folder: Path) -> None:
    (folder / "golden.jsonl").write_bytes((folder / "golden.jsonl").read_bytes() + b"x")


def _format_9(folder: Path) -> None:
    manifest = json.loads((folder / "bundle.json").read_bytes())
    (folder / "bundle.json").write_text(json.dumps({**manifest, "format": 9}))


WRONGS: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("no manifest", lambda f: (f / "bundle.json").unlink(), "bundle.json", "missing"),
    ("no model", lambda f: (f / "model.tflite").unlink(), "model.tflite", "missing"),
    ("a cut file", _truncate, "model.tflite", "truncated, 100 of"),
    ("an altered file", _alter, "vocab.txt", "altered"),
    ("a grown file", _grow, "golden.jsonl", "altered"),
    ("a foreign file", lambda f: (f / "notes.txt").write_text("x"), "notes.txt", "foreign"),
    ("a foreign folder", lambda f: (f / "extra").mkdir(), "extra", "foreign"),
    ("a hidden file", lambda f: (f / ".hidden").write_text("x"), ".hidden", "foreign"),
    ("an unknown format", _format_9, "bundle.json", "format 9 is unknown"),
    ("no JSON", lambda f: (f / "bundle.json").write_text("{"), "bundle.json", "not JSON"),
    (
        "a huge manifest",
        lambda f: (f / "bundle.json").write_bytes(b" " * (2 << 20)),
        "bundle.json",
        "larger than",
    ),
]


@pytest.mark.parametrize(("damage", "file", "reason"), [w[1:] for w in WRONGS], ids=[w[0] for w in WRONGS])
def test_a_damaged_folder_is_refused_by_file_and_reason(
    bundle_copy: Path, damage: Callable[[Path], object], file: str, reason: str
) -> None:
    damage(bundle_copy)
    before = snapshot(bundle_copy.parent)
    with pytest.raises(BundleError) as refusal:
        read_bundle(bundle_copy)
    assert file in str(refusal.value)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)
    with pytest.raises(BundleError):
        pack(bundle_copy, bundle_copy.parent / "out.edgemodel")
    assert snapshot(bundle_copy.parent) == before


@pytest.mark.parametrize("name", ["nowhere", "file.txt"])
def test_what_is_no_folder_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(BundleError, match=r"bundle\.json: missing"):
        read_bundle(tmp_path / name)


def test_the_digest_is_that_of_the_manifest(tiny_bundle: Path) -> None:
    expected = hashlib.sha256((tiny_bundle / "bundle.json").read_bytes()).hexdigest()
    assert read_bundle(tiny_bundle).digest == f"sha256:{expected}"


def test_a_wrong_manifest_is_not_written(bundle_copy: Path) -> None:
    before = snapshot(bundle_copy)
    with pytest.raises(BundleError, match="name has the wrong form"):
        write_bundle(bundle_copy, tiny_manifest(name="Not A Name"))
    assert snapshot(bundle_copy) == before


def test_packing_gives_the_same_bytes_each_time(bundle_copy: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    os.utime(bundle_copy / "vocab.txt", (0, 0))
    one = pack(tiny_bundle, tmp_path / "one.edgemodel")
    two = pack(bundle_copy, tmp_path / "two.edgemodel")
    assert one.read_bytes() == two.read_bytes()


def test_a_packed_bundle_unpacks_to_the_same_files(tiny_bundle: Path, tmp_path: Path) -> None:
    archive = pack(tiny_bundle, tmp_path / "tiny-1.0.0.edgemodel")
    bundle = unpack(archive, tmp_path / "deep" / "tiny")
    assert snapshot(bundle.path) == snapshot(tiny_bundle)
    assert bundle.digest == read_bundle(tiny_bundle).digest
    with opened_bundle(archive) as opened:
        assert opened.digest == bundle.digest
        folder = opened.path
    assert not folder.exists()


def test_unpacking_over_something_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    archive = pack(tiny_bundle, tmp_path / "tiny.edgemodel")
    (tmp_path / "there").mkdir()
    before = snapshot(tmp_path)
    with pytest.raises(BundleError, match="there: already exists"):
        unpack(archive, tmp_path / "there")
    assert snapshot(tmp_path) == before


Members = list[tuple[zipfile.ZipInfo, bytes]]


def _members(folder: Path) -> Members:
    return [(zipfile.ZipInfo(path.name), path.read_bytes()) for path in sorted(folder.iterdir())]


def _zip(members: Members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as output:
        for info, content in members:
            info.compress_type = zipfile.ZIP_DEFLATED
            output.writestr(info, content)
    return buffer.getvalue()


def _plus(name: str, content: bytes = b"x", kind: int = 0) -> Callable[[Members], Members]:
    info = zipfile.ZipInfo(name)
    info.external_attr = kind << 16
    return lambda members: [*members, (info, content)]


def _without(name: str) -> Callable[[Members], Members]:
    return lambda members: [(info, content) for info, content in members if info.filename != name]


def _replaced(name: str, content: bytes) -> Callable[[Members], Members]:
    return lambda members: [(i, content if i.filename == name else old) for i, old in members]


def _bomb(members: Members) -> Members:
    """A vocabulary of 200 MB that packs into 200 kB, where bundle.json declares a few hundred bytes."""
    return _replaced("vocab.txt", bytes(200 << 20))(members)


HOSTILE: list[tuple[str, Callable[[Members], Members], str, str]] = [
    ("path escape", _plus("../evil"), "../evil", "foreign"),
    ("absolute path", _plus("/tmp/evil"), "/tmp/evil", "foreign"),
    ("windows path", _plus("..\\evil"), "evil", "foreign"),
    ("folder", _plus("sub/"), "sub/", "foreign"),
    ("link", _plus("responses.toml", b"/etc/passwd", stat.S_IFLNK | 0o777), "responses.toml", "foreign"),
    ("not listed", _plus("notes.txt"), "notes.txt", "foreign"),
    ("no manifest", _without("bundle.json"), "bundle.json", "missing"),
    ("no model", _without("model.tflite"), "model.tflite", "missing"),
    ("altered", lambda m: _replaced("vocab.txt", m[-1][1][:-2] + b"z\n")(m), "vocab.txt", "altered"),
    ("bomb", _bomb, "vocab.txt", "altered: 209715200 bytes"),
    ("huge manifest", _replaced("bundle.json", b" " * (2 << 20)), "bundle.json", "larger than"),
    ("no JSON", _replaced("bundle.json", b"{"), "bundle.json", "not JSON"),
    (
        "many",
        lambda m: [*m, *((zipfile.ZipInfo(f"f{n}"), b"") for n in range(99))],
        "tiny.edgemodel",
        "more than",
    ),
]


@pytest.mark.parametrize(("change", "file", "reason"), [h[1:] for h in HOSTILE], ids=[h[0] for h in HOSTILE])
def test_a_hostile_zip_is_refused_and_leaves_nothing(
    tiny_bundle: Path, tmp_path: Path, change: Callable[[Members], Members], file: str, reason: str
) -> None:
    archive = tmp_path / "tiny.edgemodel"
    archive.write_bytes(_zip(change(_members(tiny_bundle))))
    assert_refused(archive, file, reason)


def assert_refused(archive: Path, file: str, reason: str) -> None:
    before = snapshot(archive.parent)
    with pytest.raises(BundleError) as refusal:
        unpack(archive, archive.parent / "unpacked")
    assert "tiny.edgemodel" in str(refusal.value)
    assert file in str(refusal.value)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert snapshot(archive.parent) == before


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_stands_twice_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "tiny.edgemodel"
    archive.write_bytes(_zip(_plus("vocab.txt")(_members(tiny_bundle))))
    assert_refused(archive, "vocab.txt", "stands twice")


def test_a_bomb_that_lies_about_its_size_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    """The directory of the zip says the declared size; the data unfolds to far more."""
    archive = tmp_path / "tiny.edgemodel"
    size = (tiny_bundle / "vocab.txt").stat().st_size
    content = _zip(_bomb(_members(tiny_bundle)))
    archive.write_bytes(content.replace(struct.pack("<I", 200 << 20), struct.pack("<I", size)))
    assert_refused(archive, "vocab.txt", "")


def test_an_encrypted_member_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "tiny.edgemodel"
    content = bytearray(_zip(_members(tiny_bundle)))
    directory = content.rindex(b"PK\x01\x02")
    content[directory + 8] |= 1
    archive.write_bytes(content)
    assert_refused(archive, "vocab.txt", "encrypted")


def test_a_member_packed_in_another_way_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    archive = tmp_path / "tiny.edgemodel"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as output:
        for path in sorted(tiny_bundle.iterdir()):
            output.write(path, path.name)
    assert_refused(archive, "MODEL_CARD.md", "neither stored nor deflated")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_zip_is_refused(tiny_bundle: Path, tmp_path: Path, share: float) -> None:
    archive = tmp_path / "tiny.edgemodel"
    content = _zip(_members(tiny_bundle))
    archive.write_bytes(content[: int(len(content) * share)])
    assert_refused(archive, "tiny.edgemodel", "not a bundle's zip, or truncated")


def test_no_single_flipped_byte_gets_through(tiny_bundle: Path, tmp_path: Path) -> None:
    """Each flip is refused, or was in a part that does not reach the files (dates, attributes)."""
    archive = tmp_path / "tiny.edgemodel"
    content = _zip(_members(tiny_bundle))
    for place in range(0, len(content), len(content) // 150):
        altered = bytearray(content)
        altered[place] ^= 0xFF
        archive.write_bytes(altered)
        target = tmp_path / f"unpacked{place}"
        try:
            unpack(archive, target)
        except BundleError:
            assert not target.exists()
        else:
            assert snapshot(target) == snapshot(tiny_bundle)


def test_a_missing_zip_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"gone\.edgemodel: missing"):
        unpack(tmp_path / "gone.edgemodel", tmp_path / "unpacked")
    assert snapshot(tmp_path) == {}
