"""The data sets of a recipe → labelled sentences with the model's labels.

Each reader knows one format. What a foreign set's labels mean for our model stands in the recipe: mapped
to one of ours, dropped, or, when neither, out of scope.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from edge_agent.errors import DataError
from edge_agent.forge.data.examples import OUT_OF_SCOPE, Example, read_delimited, read_jsonl, read_text
from edge_agent.forge.data.home_assistant import read_home_assistant
from edge_agent.forge.data.home_llm import read_home_llm
from edge_agent.forge.recipe import DataSection


def read_section(section: DataSection, path: Path) -> list[Example]:
    """All sentences of a data section except templates, which are sampled.

    Raises:
        DataError: the file is damaged, or no row is left.
    """
    if section.kind == "home_assistant":
        examples = list(read_home_assistant(path))
    elif section.kind == "home_llm":
        examples = list(read_home_llm(path, section.lang))
    else:
        examples = [
            Example(
                text, mapped, section.lang, () if mapped == OUT_OF_SCOPE else None, section.file.split("/")[0]
            )
            for text, label in _rows(section, path)
            if (mapped := _mapped(section, text, label)) is not None
        ]
    if not examples:
        raise DataError(f"{path}: no sentence is left after mapping and dropping")
    return examples


def _rows(section: DataSection, path: Path) -> Iterator[tuple[str, str]]:
    """(text, the set's own label); the label is empty where the set has none."""
    if section.kind == "clinc150":
        yield from _clinc150(section, path)
    elif section.kind == "labelled":
        yield from ((row[section.text], row["intent"]) for row in read_jsonl(path))
    else:
        delimiter = "\t" if ".tsv" in path.name else ","
        yield from ((row[section.text], "") for row in read_delimited(path, delimiter=delimiter))


def _clinc150(section: DataSection, path: Path) -> Iterator[tuple[str, str]]:
    """CLINC150: in-scope rows teach in training only; dev and test are its out-of-scope parts."""
    content = json.loads(read_text(path))
    if isinstance(content, list):  # oos_train_plus.json
        parts = [content]
    elif section.use == "train":
        parts = [content["train"], content["oos_train"]]
    else:
        parts = [content["oos_val" if section.use == "dev" else "oos_test"]]
    for part in parts:
        yield from ((text, label) for text, label in part)


def _mapped(section: DataSection, text: str, label: str) -> str | None:
    if not text.strip() or label in section.drop:
        return None
    if section.drop_matching and re.search(section.drop_matching, text, re.IGNORECASE):
        return None
    return section.map.get(label, OUT_OF_SCOPE)
