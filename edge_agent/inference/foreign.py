"""What a ``.tflite`` file with TFLite metadata is to us: tokenizer, labels, and tensors by their roles.

Pure. Two kinds are understood, as TFLite's Task Library and Model Maker define them (``BertNLClassifier`` and
``NLClassifier`` of tensorflow/tflite-support): BERT's three inputs with a WordPiece vocabulary, and one input
of word ids with a vocabulary of words. Everything else is refused by the name of what is in the way.

The metadata does not say whether letters are to be folded. Both kinds are trained on folded text unless they
are told otherwise, so text is folded unless the vocabulary itself has words with capital letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edge_agent.errors import BundleError
from edge_agent.inference.manifest import LONGEST_INPUT, LONGEST_WORDS
from edge_agent.inference.regex_tokenizer import parse_word_index
from edge_agent.inference.tflite_metadata import (
    BERT_TOKENIZER,
    REGEX_TOKENIZER,
    ModelMetadata,
    ProcessUnit,
    TensorMetadata,
)

VOCABULARY_FILE: Final = "vocab.txt"
_BERT_INPUTS: Final = {"ids": "token_ids", "mask": "mask", "segment_ids": "segment_ids"}
_SHORTEST: Final = 3
_MAX_WORD_CHARACTERS: Final = 100


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output as the runtime sees it; ``dtype`` is NumPy's name of it."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ForeignModel:
    """A file that is understood.

    Attributes:
        kind: in words.
        tokenizer: as it stands in ``bundle.json``.
        vocabulary: content of its file.
        labels: in the order of the output.
        inputs: names of tensors by role.
        output: name of the only output.
        length: tokens that the file takes.
    """

    kind: str
    tokenizer: Mapping[str, Any]
    vocabulary: bytes
    labels: tuple[str, ...]
    inputs: Mapping[str, str]
    output: str
    length: int


def tokenizer_unit(metadata: ModelMetadata) -> ProcessUnit:
    """The only step before the inputs, a tokenizer of one of the kinds that are known here.

    Raises:
        BundleError: there is none, another, or more than one.
    """
    units = {*metadata.input_units, *(unit for tensor in metadata.inputs for unit in tensor.units)}
    for unit in units:
        if unit.kind not in (BERT_TOKENIZER, REGEX_TOKENIZER):
            raise BundleError(
                f"needs the process unit {unit.kind}, which is not known here",
                hint="BertTokenizerOptions and RegexTokenizerOptions are",
            )
    if len(units) != 1:
        raise BundleError(f"its metadata names {len(units)} tokenizers, where one belongs")
    unit = units.pop()
    if not any(unit.vocabularies):
        raise BundleError(f"its {unit.kind} names no vocabulary")
    return unit


def label_file(metadata: ModelMetadata) -> str:
    """The name of the file with the labels of the only output.

    Raises:
        BundleError: there is none, or more than one output, or a step after it.
    """
    if len(metadata.outputs) != 1:
        raise BundleError(f"its metadata describes {len(metadata.outputs)} outputs, where one belongs")
    (output,) = metadata.outputs
    for unit in (*metadata.output_units, *output.units):
        raise BundleError(f"needs the process unit {unit.kind} after its output, which is not known here")
    if not output.label_files or not output.label_files[0]:
        raise BundleError("its metadata names no file with the labels of its output")
    return output.label_files[0]


def understand(
    metadata: ModelMetadata,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo],
    files: Mapping[str, bytes],
) -> ForeignModel:
    """What the file is to us.

    Args:
        metadata: of the file.
        inputs: as the runtime sees them, in its order, which is that of the metadata.
        outputs: likewise.
        files: the vocabulary and the labels that :func:`tokenizer_unit` and :func:`label_file` name.

    Raises:
        BundleError: something in it is not as it must be, by name.
    """
    unit = tokenizer_unit(metadata)
    names = _bert_inputs(metadata.inputs, inputs) if unit.kind == BERT_TOKENIZER else _word_input(inputs)
    longest = LONGEST_INPUT if unit.kind == BERT_TOKENIZER else LONGEST_WORDS
    length = _length(inputs, longest)
    labels = _labels(files[label_file(metadata)])
    _check_output(outputs, len(labels))
    content = files[unit.vocabularies[0]]
    tokenizer, vocabulary = _wordpiece(content) if unit.kind == BERT_TOKENIZER else _words(content, unit)
    kind = "BERT-style classifier" if unit.kind == BERT_TOKENIZER else "classifier of word vectors"
    return ForeignModel(kind, tokenizer, vocabulary, labels, names, outputs[0].name, length)


def _bert_inputs(described: Sequence[TensorMetadata], inputs: Sequence[TensorInfo]) -> dict[str, str]:
    """Names of tensors by role; the metadata's names tell them apart, in any order."""
    names = [tensor.name for tensor in described]
    if sorted(names) != sorted(_BERT_INPUTS) or len(inputs) != len(names):
        shown = ", ".join(f"{name!r:.40}" for name in names) or "nothing"
        raise BundleError(f"its inputs are {shown}, where ids, mask and segment_ids belong")
    roles = {_BERT_INPUTS[name]: tensor.name for name, tensor in zip(names, inputs, strict=True)}
    return {role: roles[role] for role in _BERT_INPUTS.values()}


def _word_input(inputs: Sequence[TensorInfo]) -> dict[str, str]:
    if len(inputs) != 1:
        raise BundleError(f"has {len(inputs)} inputs, where one of word ids belongs")
    return {"token_ids": inputs[0].name}


def _length(inputs: Sequence[TensorInfo], longest: int) -> int:
    """The fixed length of all inputs."""
    for tensor in inputs:
        if tensor.dtype != "int32":
            raise BundleError(f"its input {tensor.name!r:.80} is {tensor.dtype}, where int32 belongs")
        if len(tensor.shape) != 2 or tensor.shape[0] != 1 or tensor.shape != inputs[0].shape:
            raise BundleError(f"its input {tensor.name!r:.80} has the shape {_shown(tensor.shape)}")
    length = inputs[0].shape[1]
    if not _SHORTEST <= length <= longest:
        raise BundleError(f"takes {length} tokens, where {_SHORTEST} to {longest} are known here")
    return length


def _check_output(outputs: Sequence[TensorInfo], labels: int) -> None:
    if len(outputs) != 1:
        raise BundleError(f"has {len(outputs)} outputs, where one belongs")
    (output,) = outputs
    if output.dtype != "float32":
        raise BundleError(f"its output {output.name!r:.80} is {output.dtype}, where float32 belongs")
    if output.shape[:-1] not in ((), (1,)) or not output.shape:
        raise BundleError(f"its output {output.name!r:.80} has the shape {_shown(output.shape)}")
    if output.shape[-1] != labels:
        raise BundleError(f"has {labels} labels and an output of {output.shape[-1]} numbers")
    if labels < 2:
        raise BundleError("has a single label, where a classifier has several")


def _labels(content: bytes) -> tuple[str, ...]:
    labels = tuple(line for line in _lines(content, "labels") if line)
    if len(set(labels)) != len(labels):
        raise BundleError("names a label twice")
    return labels


def _wordpiece(content: bytes) -> tuple[dict[str, Any], bytes]:
    tokens = _lines(content, "vocabulary")
    if not all(tokens):
        raise BundleError("its vocabulary has an empty line")
    folded = not any(_is_capital(token) for token in tokens)
    settings = {
        "type": "wordpiece",
        "vocabulary": VOCABULARY_FILE,
        "lowercase": folded,
        "strip_accents": folded,
        "max_word_characters": _MAX_WORD_CHARACTERS,
    }
    return settings, "".join(f"{token}\n" for token in tokens).encode()


def _words(content: bytes, unit: ProcessUnit) -> tuple[dict[str, Any], bytes]:
    try:
        words = parse_word_index(content)
    except ValueError as error:
        raise BundleError(f"its vocabulary is not one: {error}") from error
    settings = {
        "type": "regex",
        "vocabulary": VOCABULARY_FILE,
        "pattern": unit.pattern or "",
        "lowercase": not any(_is_capital(word) for word in words),
    }
    return settings, content


def _is_capital(word: str) -> bool:
    """Whether a word has a capital letter; special tokens, in brackets, do not count."""
    return word[:1] not in "[<" and word != word.lower()


def _lines(content: bytes, what: str) -> list[str]:
    """Lines without their ends, the last of which may be missing."""
    try:
        lines = content.decode("utf-8").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise BundleError(f"its {what} are not UTF-8") from error
    return lines if lines[-1] else lines[:-1]


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
