"""``bundle.json``: what a model bundle says of itself, parsed strictly and without I/O.

Format 1. Every key is known, typed and in range, or the bundle is refused with a line that names the key;
keys that came later (``tensors`` and ``base`` of a variant) may be left out. A format that this version does
not know is refused by its number. The free parts (``metrics``, ``provenance``, ``teacher``) are kept as they
are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from edge_agent.errors import BundleError
from edge_agent.inference.fields import Fields, parse_object
from edge_agent.inference.variant import FILE_NAME, Variant, parse_variant
from edge_agent.types import Task

FORMAT: Final = 1
MANIFEST_NAME: Final = "bundle.json"
LONGEST_INPUT: Final = 512
"""Tokens that the position tables of the supported encoders can hold."""
LONGEST_WORDS: Final = 4096
"""Words of a model that has no positions."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SEMVER: Final = re.compile(
    r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(-[0-9A-Za-z.-]{1,64})?(\+[0-9A-Za-z.-]{1,64})?",
    re.ASCII,
)
_TAG: Final = re.compile(r"[BI]-[a-z0-9_]{1,64}")


class Beyond(str, Enum):
    """What happens to a text that is longer than the model."""

    TRUNCATE = "truncate"
    WINDOW = "window"


@dataclass(frozen=True, slots=True)
class WordPieceSettings:
    """How :class:`~edge_agent.inference.tokenizer.WordPiece` is made; ``vocabulary`` is a file's name."""

    vocabulary: str
    lowercase: bool
    strip_accents: bool
    max_word_characters: int


@dataclass(frozen=True, slots=True)
class RegexSettings:
    """How :class:`~edge_agent.inference.regex_tokenizer.RegexTokenizer` is made.

    Attributes:
        vocabulary: name of the file with a word and its id on each line.
        pattern: of the delimiters between words.
        lowercase: fold case before a word is looked up.
    """

    vocabulary: str
    pattern: str
    lowercase: bool


TokenizerSettings = WordPieceSettings | RegexSettings


@dataclass(frozen=True, slots=True)
class Calibration:
    """How logits become a decision.

    Attributes:
        temperature: the label logits are divided by it (Guo et al. 2017, arXiv:1706.04599).
        threshold: least probability of a recognized label.
        margin: least distance in probability between the best label and the second.
    """

    temperature: float
    threshold: float
    margin: float


@dataclass(frozen=True, slots=True)
class InputLimits:
    """Longest input in tokens, [CLS] and [SEP] included, and what happens to a longer text.

    Attributes:
        max_tokens: longest input of one call.
        beyond: cut the text, or read it in overlapping windows.
        window_stride: tokens from the start of one window to the start of the next.
    """

    max_tokens: int
    beyond: Beyond
    window_stride: int


@dataclass(frozen=True, slots=True)
class GoldenSettings:
    """The file with the golden sentences, and the least cosine between logits and reference logits."""

    file: str
    min_cosine: float


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size in bytes and sha256 (hexadecimal) of one file."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A parsed ``bundle.json``; the fields are those of the file (docs/protocol.md)."""

    name: str
    version: str
    task: Task
    languages: tuple[str, ...]
    labels: tuple[str, ...]
    out_of_scope: str | None
    slot_tags: tuple[str, ...]
    tokenizer: TokenizerSettings
    calibration: Calibration
    input: InputLimits
    variants: tuple[Variant, ...]
    golden: GoldenSettings
    metrics: Mapping[str, Any]
    teacher: Mapping[str, Any] | None
    provenance: Mapping[str, Any]
    licence: str
    files: Mapping[str, FileRecord]


def is_name(text: str) -> bool:
    """Whether it may be a bundle's name."""
    return _NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Whether it is a semantic version as bundles have it."""
    return _SEMVER.fullmatch(text) is not None


def render_manifest(manifest: Mapping[str, Any]) -> bytes:
    """The bytes of a ``bundle.json``, the same for the same content."""
    return (json.dumps(manifest, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def parse_manifest(content: bytes) -> Manifest:
    """Parse the bytes of a ``bundle.json``.

    Raises:
        BundleError: it is not JSON, of an unknown format, or a key is missing, unknown or wrong.
    """
    top = Fields(MANIFEST_NAME, parse_object(MANIFEST_NAME, content))
    found = top.take("format")
    if type(found) is not int or found != FORMAT:
        shown = found if isinstance(found, int) else "that is not a number"
        raise BundleError(
            f"{MANIFEST_NAME}: format {shown} is unknown to this version, which reads {FORMAT}",
            hint="update edge-agent, or build the bundle with this version",
        )
    tokenizer = _tokenizer(top.section("tokenizer"))
    longest = LONGEST_INPUT if isinstance(tokenizer, WordPieceSettings) else LONGEST_WORDS
    manifest = Manifest(
        name=top.text("name", _NAME),
        version=top.text("version", _SEMVER),
        task=Task(top.choice("task", tuple(task.value for task in Task))),
        languages=top.texts("languages"),
        labels=top.texts("labels", least=0),
        out_of_scope=top.optional_text("out_of_scope"),
        slot_tags=top.texts("slot_tags", least=0),
        tokenizer=tokenizer,
        calibration=_calibration(top.section("calibration")),
        input=_input(top.section("input"), longest),
        variants=tuple(parse_variant(section) for section in top.sections("variants")),
        golden=_golden(top.section("golden")),
        metrics=top.mapping("metrics"),
        teacher=top.optional_mapping("teacher"),
        provenance=top.mapping("provenance"),
        licence=top.text("licence"),
        files=_files(top.section("files")),
    )
    top.finish()
    _check_labels(manifest)
    _check_references(manifest)
    return manifest


def _tokenizer(fields: Fields) -> TokenizerSettings:
    settings: TokenizerSettings
    if fields.choice("type", ("wordpiece", "regex")) == "wordpiece":
        settings = WordPieceSettings(
            vocabulary=fields.text("vocabulary", FILE_NAME),
            lowercase=fields.flag("lowercase"),
            strip_accents=fields.flag("strip_accents"),
            max_word_characters=fields.integer("max_word_characters", 1, 1000),
        )
    else:
        settings = RegexSettings(
            vocabulary=fields.text("vocabulary", FILE_NAME),
            pattern=fields.text("pattern"),
            lowercase=fields.flag("lowercase"),
        )
    fields.finish()
    return settings


def parse_tokenizer(settings: Mapping[str, Any]) -> TokenizerSettings:
    """The section ``tokenizer`` of a ``bundle.json`` alone.

    Raises:
        BundleError: a key is missing, unknown or wrong.
    """
    return _tokenizer(Fields("tokenizer", settings))


def _calibration(fields: Fields) -> Calibration:
    calibration = Calibration(
        temperature=fields.number("temperature", 0.01, 100.0),
        threshold=fields.number("threshold", 0.0, 1.0),
        margin=fields.number("margin", 0.0, 1.0),
    )
    fields.finish()
    return calibration


def _input(fields: Fields, longest: int) -> InputLimits:
    max_tokens = fields.integer("max_tokens", 3, longest)
    limits = InputLimits(
        max_tokens=max_tokens,
        beyond=Beyond(fields.choice("beyond", tuple(beyond.value for beyond in Beyond))),
        window_stride=fields.integer("window_stride", 1, max_tokens - 2),
    )
    fields.finish()
    return limits


def _golden(fields: Fields) -> GoldenSettings:
    golden = GoldenSettings(
        file=fields.text("file", FILE_NAME),
        min_cosine=fields.number("min_cosine", 0.0, 1.0),
    )
    fields.finish()
    return golden


def _files(fields: Fields) -> dict[str, FileRecord]:
    files: dict[str, FileRecord] = {}
    for name in fields.names():
        if not FILE_NAME.fullmatch(name) or name == MANIFEST_NAME:
            raise fields.error(name, "is not the plain name of a bundle's file")
        record = fields.section(name)
        files[name] = FileRecord(record.integer("size", 0, 2**40), record.text("sha256", _SHA256))
        record.finish()
    return files


def _check_labels(manifest: Manifest) -> None:
    labels, tags = manifest.labels, manifest.slot_tags
    if manifest.task is Task.EMBED and labels:
        raise BundleError(f"{MANIFEST_NAME}: labels do not belong to the task embed")
    # A model of slots alone has one intent, which it always recognizes.
    least = 0 if manifest.task is Task.EMBED else 1 if tags else 2
    if len(labels) < least:
        raise BundleError(f"{MANIFEST_NAME}: labels has fewer than {least} items")
    if manifest.out_of_scope is not None and manifest.out_of_scope not in labels:
        raise BundleError(f"{MANIFEST_NAME}: out_of_scope is not one of the labels")
    if manifest.out_of_scope is not None and len(labels) == 1:
        raise BundleError(f"{MANIFEST_NAME}: out_of_scope is the only label")
    if tags and (manifest.task is not Task.INTENT or tags[0] != "O"):
        raise BundleError(f'{MANIFEST_NAME}: slot_tags start with "O" and belong to the task intent')
    if tags and not isinstance(manifest.tokenizer, WordPieceSettings):
        raise BundleError(f"{MANIFEST_NAME}: slot_tags need a tokenizer of the type wordpiece")
    for tag in tags[1:]:
        if not _TAG.fullmatch(tag):
            raise BundleError(
                f"{MANIFEST_NAME}: slot_tags has {tag!r:.80}, which is neither B-<name> nor I-<name>"
            )


def _check_references(manifest: Manifest) -> None:
    named = [manifest.tokenizer.vocabulary, manifest.golden.file]
    named += [name for variant in manifest.variants for name in (variant.file, variant.base) if name]
    for name in named:
        if name not in manifest.files:
            raise BundleError(f"{MANIFEST_NAME}: {name} is used but not listed among the files")
