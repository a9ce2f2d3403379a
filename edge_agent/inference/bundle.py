"""Bundle folders on disk: read and check one, write one, pack and unpack ``.edgemodel`` zips.

A bundle is its ``bundle.json`` and exactly the files listed there, each with its size and sha256. What is
missing, truncated, altered or foreign is refused with one line that names the file and the reason; reading
changes nothing on disk. Golden sentences are not looked at here: they need a runtime
(:mod:`edge_agent.inference.model`).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_agent.errors import BundleError
from edge_agent.files import write_atomic
from edge_agent.inference.archive import MOST_MANIFEST_BYTES, extract_zip, write_zip
from edge_agent.inference.manifest import (
    MANIFEST_NAME,
    FileRecord,
    Manifest,
    RegexSettings,
    TokenizerSettings,
    parse_manifest,
    render_manifest,
)
from edge_agent.inference.regex_tokenizer import RegexTokenizer, parse_word_index
from edge_agent.inference.tokenizer import Tokenizer, WordPiece

SUFFIX: Final = ".edgemodel"
_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """A checked bundle folder.

    Attributes:
        path: the folder.
        manifest: its parsed ``bundle.json``.
        digest: ``sha256:`` and the sha256 of ``bundle.json``; since that lists the sha256 of every other
            file, it stands for the whole bundle.
    """

    path: Path
    manifest: Manifest
    digest: str

    def file(self, name: str) -> Path:
        """The path of one of the bundle's files."""
        return self.path / name


def read_bundle(path: str | Path) -> Bundle:
    """Read a bundle folder and check every file of it.

    Raises:
        BundleError: something is missing, truncated, altered, foreign, or of an unknown format.
    """
    folder = Path(path)
    content = _manifest_bytes(folder)
    try:
        manifest = parse_manifest(content)
    except BundleError as error:
        raise BundleError(f"{folder}/{error}", hint=error.hint) from error
    for name, record in manifest.files.items():
        _check_file(folder / name, record)
    for entry in sorted(entry.name for entry in folder.iterdir()):
        if entry != MANIFEST_NAME and entry not in manifest.files:
            raise BundleError(f"{folder / entry}: foreign file, {MANIFEST_NAME} does not list it")
    return Bundle(folder, manifest, f"sha256:{hashlib.sha256(content).hexdigest()}")


def read_tokenizer(bundle: Bundle) -> Tokenizer:
    """The tokenizer that a bundle describes.

    Raises:
        BundleError: its vocabulary is not one.
    """
    settings = bundle.manifest.tokenizer
    try:
        return make_tokenizer(settings, bundle.file(settings.vocabulary).read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"{bundle.file(settings.vocabulary)}: {error}") from error


def make_tokenizer(settings: TokenizerSettings, vocabulary: bytes) -> Tokenizer:
    """A tokenizer from its settings and the content of its vocabulary file.

    Raises:
        ValueError: the vocabulary is not one.
    """
    if isinstance(settings, RegexSettings):
        return RegexTokenizer(
            parse_word_index(vocabulary), pattern=settings.pattern, lowercase=settings.lowercase
        )
    lines = vocabulary.decode("utf-8").split("\n")
    return WordPiece(
        lines if lines[-1] else lines[:-1],
        lowercase=settings.lowercase,
        strip_accents=settings.strip_accents,
        max_word_characters=settings.max_word_characters,
    )


@contextmanager
def opened_bundle(path: str | Path) -> Iterator[Bundle]:
    """A checked bundle from a folder or from a zip, which is unpacked to a temporary folder meanwhile.

    Raises:
        BundleError: as :func:`read_bundle` and :func:`unpack`.
    """
    if not Path(path).is_file():
        yield read_bundle(path)
        return
    with tempfile.TemporaryDirectory(prefix="edge-agent-") as temporary:
        yield unpack(path, Path(temporary) / "bundle")


def write_bundle(folder: str | Path, manifest: Mapping[str, Any]) -> Bundle:
    """Make a folder with a bundle's files into a bundle: list every file and write ``bundle.json``.

    Args:
        folder: holds all files but ``bundle.json``, which is written or replaced.
        manifest: the content of ``bundle.json`` without ``files`` (an entry of that name is replaced).

    Raises:
        BundleError: the manifest is not a valid one; ``bundle.json`` is then as it was.
        OSError: it cannot be written.
    """
    target = Path(folder)
    names = sorted(entry.name for entry in target.iterdir() if entry.name != MANIFEST_NAME)
    files: dict[str, Any] = {}
    for name in names:
        if not (target / name).is_file():
            raise BundleError(f"{target / name}: foreign, a bundle holds plain files only")
        files[name] = {"size": (target / name).stat().st_size, "sha256": _sha256(target / name)}
    content = render_manifest({**manifest, "files": files})
    parse_manifest(content)
    write_atomic(target / MANIFEST_NAME, content)
    return read_bundle(target)


def pack(folder: str | Path, archive: str | Path) -> Path:
    """Check a bundle folder and write it as one zip, the same bytes for the same bundle.

    Raises:
        BundleError: the folder is not a right bundle; no zip is written.
        OSError: the zip cannot be written.
    """
    bundle = read_bundle(folder)
    write_zip(bundle.path, [MANIFEST_NAME, *bundle.manifest.files], Path(archive))
    return Path(archive)


def unpack(archive: str | Path, folder: str | Path) -> Bundle:
    """Unpack a zip as the new folder ``folder`` and check it; on a refusal nothing is left on disk.

    Raises:
        BundleError: the zip is missing, damaged or hostile, or ``folder`` exists already.
    """
    extract_zip(Path(archive), Path(folder))
    return read_bundle(folder)


def _manifest_bytes(folder: Path) -> bytes:
    path = folder / MANIFEST_NAME
    try:
        with path.open("rb") as file:
            content = file.read(MOST_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(
            f"{path}: missing", hint="a bundle is a folder with a bundle.json, or a zip of one"
        ) from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MOST_MANIFEST_BYTES:
        raise BundleError(f"{path}: larger than {MOST_MANIFEST_BYTES} bytes")
    return content


def _check_file(path: Path, record: FileRecord) -> None:
    try:
        if not path.is_file():
            raise BundleError(f"{path}: missing")
        size = path.stat().st_size
        if size < record.size:
            raise BundleError(f"{path}: truncated, {size} of {record.size} bytes")
        if size > record.size or _sha256(path) != record.sha256:
            raise BundleError(f"{path}: altered, it is not the file that {MANIFEST_NAME} lists")
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
