"""Sentence templates: a small grammar in, labelled sentences out.

``[x]`` is optional, ``(a|b)`` chooses, ``{slot}`` takes an entry of the list of that name and annotates
it, ``{list:slot}`` annotates it as another slot, ``{=a|b:slot}`` annotates one of the words given,
``<list>`` takes an entry without annotating it. List entries such as ``"0..100/5"`` are ranges.

A template is parsed once into a tree; sampling walks the tree with the caller's random generator, so the
same seed gives the same sentences.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent.errors import DataError
from edge_agent.forge.data.examples import Example, Span, read_text
from edge_agent.forge.toml import parse_toml

_RANGE = re.compile(r"(\d+)\.\.(\d+)(?:/(\d+))?")
_OPTIONAL_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class _Text:
    text: str


@dataclass(frozen=True, slots=True)
class _Choice:
    alternatives: tuple[tuple[_Node, ...], ...]
    optional: bool


@dataclass(frozen=True, slots=True)
class _Entry:
    entries: tuple[str, ...]
    slot: str | None


_Node = _Text | _Choice | _Entry


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed sentence template."""

    label: str
    weight: float
    nodes: tuple[_Node, ...]


class Grammar:
    """The templates of one file, in one language.

    Attributes:
        lang: language of the sentences.
        labels: labels that have templates, in the file's order.
        label_shares: how often to draw each label: by the root of its templates' weight, so that no large
            intent drowns the small ones.
    """

    def __init__(self, lang: str, templates: Sequence[Template]) -> None:
        self.lang = lang
        self._by_label: dict[str, list[Template]] = {}
        for template in templates:
            self._by_label.setdefault(template.label, []).append(template)
        self._weights = {label: [t.weight for t in group] for label, group in self._by_label.items()}
        self.labels = tuple(self._by_label)
        self.label_shares = [sum(weights) ** 0.5 for weights in self._weights.values()]

    def sample(self, label: str, count: int, generator: random.Random) -> list[Example]:
        """``count`` sentences of a label; a template's chance is its weight."""
        if label not in self._by_label:
            return []
        picks = generator.choices(self._by_label[label], self._weights[label], k=count)
        return [_sentence(template, self.lang, generator) for template in picks]

    @property
    def words(self) -> set[str]:
        """Every text that a sentence can contain, for choosing a vocabulary."""
        return {
            text for group in self._by_label.values() for template in group for text in _texts(template.nodes)
        }

    @property
    def slots(self) -> set[str]:
        """The names of the slots that the templates annotate."""
        return {
            slot for group in self._by_label.values() for template in group for slot in _slots(template.nodes)
        }


def read_grammar(path: Path, lang: str) -> Grammar:
    """Reads a template file: ``[lists]`` and ``[[intent]]`` tables with ``label`` and ``sentences``.

    Raises:
        DataError: not TOML, an unknown list, or a bracket without its partner; names file and template.
    """
    table = parse_toml(read_text(path), str(path))
    lists = {name: _expand_list(entries) for name, entries in table.get("lists", {}).items()}
    templates: list[Template] = []
    for intent in table.get("intent", []):
        sentences: Sequence[str] = intent["sentences"]
        for sentence in sentences:
            try:
                nodes = _Parser(sentence, lists).parse()
            except DataError as error:
                raise DataError(f"{path}: template {sentence!r}: {error}") from error
            weight = float(intent.get("weight", 1.0))
            templates.append(Template(intent["label"], weight * _variety(nodes), nodes))
    return Grammar(lang, templates)


def _expand_list(entries: Sequence[Any]) -> tuple[str, ...]:
    expanded: list[str] = []
    for entry in map(str, entries):
        match = _RANGE.fullmatch(entry)
        if match:
            first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
            expanded.extend(str(number) for number in range(first, last + 1, step))
        else:
            expanded.append(entry)
    return tuple(expanded)


_CLOSING = {"[": "]", "(": ")"}


class _Parser:
    """Recursive descent over one template."""

    def __init__(self, source: str, lists: Mapping[str, tuple[str, ...]]) -> None:
        self._source = source
        self._lists = lists
        self._at = 0

    def parse(self) -> tuple[_Node, ...]:
        alternatives = self._alternatives("")
        if len(alternatives) > 1:
            return (_Choice(alternatives, optional=False),)
        return alternatives[0]

    def _alternatives(self, closing: str) -> tuple[tuple[_Node, ...], ...]:
        alternatives: list[tuple[_Node, ...]] = []
        nodes: list[_Node] = []
        while self._at < len(self._source):
            character = self._source[self._at]
            if character == closing:
                self._at += 1
                return (*alternatives, tuple(nodes))
            if character == "|":
                self._at += 1
                alternatives.append(tuple(nodes))
                nodes = []
            else:
                nodes.append(self._node(character))
        if closing:
            raise DataError(f"'{closing}' is missing")
        return (*alternatives, tuple(nodes))

    def _node(self, character: str) -> _Node:
        if character in "[(":
            self._at += 1
            return _Choice(self._alternatives(_CLOSING[character]), optional=character == "[")
        if character in "{<":
            return self._entry("}" if character == "{" else ">")
        if character in "])}>":
            raise DataError(f"'{character}' without its partner")
        start = self._at
        while self._at < len(self._source) and self._source[self._at] not in "[]()|{}<>":
            self._at += 1
        return _Text(self._source[start : self._at])

    def _entry(self, closing: str) -> _Entry:
        end = self._source.find(closing, self._at)
        if end < 0:
            raise DataError(f"'{closing}' is missing")
        content, self._at = self._source[self._at + 1 : end], end + 1
        if closing == ">":
            return _Entry(self._list(content), None)
        if content.startswith("="):
            words, _, slot = content[1:].rpartition(":")
            return _Entry(tuple(words.split("|")), slot)
        name, _, slot = content.partition(":")
        return _Entry(self._list(name), slot or name)

    def _list(self, name: str) -> tuple[str, ...]:
        if name not in self._lists:
            raise DataError(f"no list is called '{name}'")
        return self._lists[name]


def _sentence(template: Template, lang: str, generator: random.Random) -> Example:
    pieces: list[tuple[str, str | None]] = []
    _walk(template.nodes, generator, pieces)
    text = ""
    spans: list[Span] = []
    for piece, slot in pieces:
        words = " ".join(piece.split())
        if piece[:1].isspace() and text and not text.endswith(" "):
            text += " "
        if slot is not None and words:
            spans.append(Span(slot, len(text), len(text) + len(words)))
        text += words
        if words and piece[-1:].isspace():
            text += " "
    return Example(text.rstrip(), template.label, lang, tuple(spans), "templates")


def _walk(nodes: tuple[_Node, ...], generator: random.Random, pieces: list[tuple[str, str | None]]) -> None:
    for node in nodes:
        if isinstance(node, _Text):
            pieces.append((node.text, None))
        elif isinstance(node, _Entry):
            pieces.append((generator.choice(node.entries), node.slot))
        elif not node.optional or generator.random() < _OPTIONAL_SHARE:
            _walk(generator.choice(node.alternatives), generator, pieces)


def _texts(nodes: tuple[_Node, ...]) -> set[str]:
    texts: set[str] = set()
    for node in nodes:
        if isinstance(node, _Text):
            texts.add(node.text)
        elif isinstance(node, _Entry):
            texts.update(node.entries)
        else:
            for alternative in node.alternatives:
                texts |= _texts(alternative)
    return texts


def _slots(nodes: tuple[_Node, ...]) -> set[str]:
    slots: set[str] = set()
    for node in nodes:
        if isinstance(node, _Entry) and node.slot is not None:
            slots.add(node.slot)
        elif isinstance(node, _Choice):
            for alternative in node.alternatives:
                slots |= _slots(alternative)
    return slots


def _variety(nodes: tuple[_Node, ...]) -> float:
    """The fourth root of how many sentences a template can say, which is how often it is drawn."""
    count = 1.0
    for node in nodes:
        if isinstance(node, _Choice):
            count *= sum(_variety(a) ** 4 for a in node.alternatives) + node.optional
    return float(min(count, 1e4) ** 0.25)
