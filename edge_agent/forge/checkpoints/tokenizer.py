"""The tokenizer of a checkpoint, ``tokenizer.json`` or ``vocab.txt``, where it is the WordPiece of devices.

What ``tokenizer_config.json`` says of case and accents goes before the other, as in ``transformers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_agent.errors import DataError
from edge_agent.forge.checkpoints.files import CHECKPOINT_HINT, read_object
from edge_agent.inference.manifest import LONGEST_INPUT
from edge_agent.inference.tokenizer import WordPiece

_ONLY_WORDPIECE: Final = "models with BERT's WordPiece are supported"
_WORDPIECE_CLASSES: Final = (
    "BertTokenizer",
    "DistilBertTokenizer",
    "MobileBertTokenizer",
    "PreTrainedTokenizer",
)
_OTHER_KINDS: Final = {
    "spiece.model": "SentencePiece",
    "sentencepiece.bpe.model": "SentencePiece",
    "tokenizer.model": "SentencePiece",
    "merges.txt": "byte-pair encoding",
    "vocab.json": "byte-pair encoding",
}


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """What a bundle needs to know of a tokenizer.

    Attributes:
        tokens: the vocabulary in the order of its ids.
        lowercase: fold case first.
        strip_accents: drop accents first.
        max_word_characters: a longer word is one [UNK].
        max_tokens: longest input that it cuts texts to.
    """

    tokens: tuple[str, ...]
    lowercase: bool
    strip_accents: bool
    max_word_characters: int
    max_tokens: int

    def word_piece(self) -> WordPiece:
        """The tokenizer as devices run it."""
        return WordPiece(
            self.tokens,
            lowercase=self.lowercase,
            strip_accents=self.strip_accents,
            max_word_characters=self.max_word_characters,
        )


def read_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint folder.

    Raises:
        DataError: there is none, or it is of another kind.
    """
    if (folder / "tokenizer.json").exists():
        tokenizer = _from_tokenizer_json(folder)
    elif (folder / "vocab.txt").exists():
        tokenizer = _from_vocabulary(folder)
    else:
        for name, kind in _OTHER_KINDS.items():
            if (folder / name).exists():
                raise DataError(f"{folder / name}: {kind} is not supported", hint=_ONLY_WORDPIECE)
        raise DataError(f"{folder}: neither vocab.txt nor tokenizer.json is there", hint=CHECKPOINT_HINT)
    try:
        tokenizer.word_piece()
    except ValueError as error:
        raise DataError(f"{folder}: {error}", hint=_ONLY_WORDPIECE) from error
    return tokenizer


def _from_tokenizer_json(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    content = read_object(path)
    model, normalizer = _section(content, "model"), _section(content, "normalizer")
    kind = model.get("type", "WordPiece" if "max_input_chars_per_word" in model else None)
    if kind != "WordPiece":
        raise DataError(f"{path}: a tokenizer of type {kind!r:.60} is not supported", hint=_ONLY_WORDPIECE)
    expected = {
        "the model's unk_token": (model.get("unk_token"), "[UNK]"),
        "the model's continuing_subword_prefix": (model.get("continuing_subword_prefix", "##"), "##"),
        "the normalizer": (normalizer.get("type"), "BertNormalizer"),
        "the normalizer's clean_text": (normalizer.get("clean_text", True), True),
        "the normalizer's handle_chinese_chars": (normalizer.get("handle_chinese_chars", True), True),
        "the pre_tokenizer": (_section(content, "pre_tokenizer").get("type"), "BertPreTokenizer"),
    }
    for what, (found, wanted) in expected.items():
        if found != wanted:
            raise DataError(f"{path}: {what} is {found!r:.60}, not {wanted!r}", hint=_ONLY_WORDPIECE)
    tokens = _in_order(path, model.get("vocab"))
    _check_added_tokens(path, content.get("added_tokens"), set(tokens))
    return _configured(
        folder,
        tokens,
        lowercase=bool(normalizer.get("lowercase", True)),
        strip_accents=normalizer.get("strip_accents"),
        max_word_characters=_positive(path, model.get("max_input_chars_per_word", 100)),
    )


def _section(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def _in_order(path: Path, vocabulary: Any) -> tuple[str, ...]:
    """The tokens by their ids, which must go from 0 without gaps."""
    if not isinstance(vocabulary, dict) or sorted(map(str, vocabulary.values())) != sorted(
        map(str, range(len(vocabulary)))
    ):
        raise DataError(f"{path}: the vocabulary's ids do not go from 0 without gaps")
    return tuple(sorted(vocabulary, key=lambda token: int(vocabulary[token])))


def _check_added_tokens(path: Path, added: Any, known: set[str]) -> None:
    for token in added if isinstance(added, list) else []:
        content = token.get("content") if isinstance(token, dict) else None
        if content not in known:
            raise DataError(
                f"{path}: the added token {content!r:.60} is not in the vocabulary",
                hint="models whose vocabulary was not extended are supported",
            )


def _positive(path: Path, value: Any) -> int:
    if type(value) is not int or not 1 <= value <= 1000:
        raise DataError(f"{path}: max_input_chars_per_word is not a number from 1 to 1000")
    return value


def _from_vocabulary(folder: Path) -> Tokenizer:
    path = folder / "vocab.txt"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a text file in UTF-8", hint="copy the file again") from error
    tokens = tuple(lines if lines[-1] else lines[:-1])
    _check_class(folder / "tokenizer_config.json")
    return _configured(folder, tokens, lowercase=True, strip_accents=None, max_word_characters=100)


def _check_class(path: Path) -> None:
    """A ``vocab.txt`` alone does not say how words are cut: Japanese BERT, for one, has a parser for it."""
    kind = read_object(path).get("tokenizer_class") if path.exists() else None
    if kind is not None and str(kind).removesuffix("Fast") not in _WORDPIECE_CLASSES:
        raise DataError(f"{path}: tokenizer_class {kind!r:.60} is not supported", hint=_ONLY_WORDPIECE)


def _configured(
    folder: Path,
    tokens: tuple[str, ...],
    *,
    lowercase: bool,
    strip_accents: Any,
    max_word_characters: int,
) -> Tokenizer:
    """With what ``tokenizer_config.json`` says, where there is one."""
    path = folder / "tokenizer_config.json"
    found = read_object(path) if path.exists() else {}
    for name in ("tokenize_chinese_chars", "do_basic_tokenize"):
        if found.get(name, True) is not True:
            raise DataError(f"{path}: {name} is off", hint=_ONLY_WORDPIECE)
    if isinstance(found.get("do_lower_case"), bool):  # then accents follow, unless they are named too
        lowercase, strip_accents = found["do_lower_case"], found.get("strip_accents")
    elif "strip_accents" in found:
        strip_accents = found["strip_accents"]
    longest = found.get("model_max_length")  # 1e30 stands for "unknown" in these files
    limit = (
        int(longest) if isinstance(longest, (int, float)) and 3 <= longest <= LONGEST_INPUT else LONGEST_INPUT
    )
    return Tokenizer(
        tokens=tokens,
        lowercase=lowercase,
        strip_accents=strip_accents if isinstance(strip_accents, bool) else lowercase,
        max_word_characters=max_word_characters,
        max_tokens=limit,
    )
