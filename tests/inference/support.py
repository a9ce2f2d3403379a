"""What several inference tests share: a picture of a folder, and every sentence of the data sets."""

from __future__ import annotations

import csv
import hashlib
import json
import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("EDGE_AGENT_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
"""Folder of the data sets; where it is absent, the tests that need it say so."""


def snapshot(folder: Path) -> dict[str, str]:
    """Every path under a folder with the hash of its content, to show that nothing changed."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


def all_texts() -> Iterator[str]:
    """Every string of every data file: sentences, and labels and slot values with them."""
    for path in sorted(path for path in DATA.rglob("*") if path.is_file()):
        content = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        yield from _texts(Path(path.name.removesuffix(".xz")).suffix, content.decode())


def _texts(suffix: str, content: str) -> Iterator[str]:
    if suffix == ".json":
        yield from _strings(json.loads(content))
    elif suffix == ".jsonl":
        for line in content.splitlines():
            yield from _strings(json.loads(line))
    elif suffix == ".csv":
        for row in csv.reader(content.splitlines()):
            yield from row
    else:
        for line in content.split("\n"):
            yield from line.split("\t")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
