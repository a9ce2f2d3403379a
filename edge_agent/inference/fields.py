"""Strict reading of JSON objects out of a bundle: typed getters that name the key when they refuse.

Pure. Whatever is wrong, from broken UTF-8 to a number of ten thousand digits, is a
:class:`~edge_agent.errors.BundleError` with one line.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NoReturn

from edge_agent.errors import BundleError


def parse_object(where: str, content: bytes | str) -> dict[str, Any]:
    """Parse a JSON object without repeated keys, NaN or infinities.

    Args:
        where: file name (and line) for the message.
        content: UTF-8 bytes or text.

    Raises:
        BundleError: it is not such an object.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BundleError(f"{where}: not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not JSON ({error!s:.100})") from error
    if not isinstance(value, dict):
        raise BundleError(f"{where}: not a JSON object")
    return value


class Fields:
    """The keys of one JSON object; each is taken once, and :meth:`finish` refuses what is left.

    Args:
        where: file name and path of keys, for messages.
        values: the object.
    """

    def __init__(self, where: str, values: Mapping[str, Any]) -> None:
        self._where = where
        self._values = values
        self._taken: set[str] = set()

    def error(self, key: str, reason: str) -> BundleError:
        """The refusal of one key, to be raised."""
        return BundleError(f"{self._where}: {key:.80} {reason}")

    def names(self) -> tuple[str, ...]:
        """All keys, in the order of the file."""
        return tuple(self._values)

    def take(self, key: str) -> Any:
        """The value of a key, of any type."""
        if key not in self._values:
            raise self.error(key, "is missing")
        self._taken.add(key)
        return self._values[key]

    def finish(self) -> None:
        """Refuse keys that nobody took."""
        for key in self._values:
            if key not in self._taken:
                near = get_close_matches(key, self._taken, n=1)
                raise BundleError(
                    f"{self._where}: unknown key {key!r:.80}",
                    hint=f"did you mean {near[0]!r}?" if near else None,
                )

    def text(self, key: str, pattern: re.Pattern[str] | None = None) -> str:
        """A non-empty string that matches ``pattern`` whole."""
        value = self.take(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, "is not a non-empty string")
        if pattern and not pattern.fullmatch(value):
            raise self.error(key, f"has the wrong form: {value!r:.80}")
        return value

    def optional_text(self, key: str) -> str | None:
        """A non-empty string or null."""
        return None if self.take(key) is None else self.text(key)

    def texts(self, key: str, *, least: int = 1) -> tuple[str, ...]:
        """A list of at least ``least`` distinct non-empty strings."""
        values = self.take(key)
        if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
            raise self.error(key, "is not a list of non-empty strings")
        if len(values) < least:
            raise self.error(key, f"has fewer than {least} items")
        if len(set(values)) != len(values):
            raise self.error(key, "names something twice")
        return tuple(values)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of the strings ``choices``."""
        value = self.take(key)
        if value not in choices:
            raise self.error(key, f"is not one of {', '.join(choices)}")
        return str(value)

    def flag(self, key: str) -> bool:
        """A truth value."""
        value = self.take(key)
        if not isinstance(value, bool):
            raise self.error(key, "is neither true nor false")
        return value

    def integer(self, key: str, least: int, most: int) -> int:
        """A whole number, ``least`` ≤ it ≤ ``most``."""
        value = self.take(key)
        if type(value) is not int or not least <= value <= most:
            raise self.error(key, f"is not a whole number from {least} to {most}")
        return value

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        values = self.take(key)
        if not isinstance(values, list) or not all(type(value) is int for value in values):
            raise self.error(key, "is not a list of whole numbers")
        return tuple(values)

    def number(self, key: str, least: float, most: float) -> float:
        """A number, ``least`` ≤ it ≤ ``most``."""
        value = self.take(key)
        if not _is_number(value) or not least <= value <= most:
            raise self.error(key, f"is not a number from {least:g} to {most:g}")
        return float(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        values = self.take(key)
        if not isinstance(values, list) or not all(_is_number(value) for value in values):
            raise self.error(key, "is not a list of numbers")
        return tuple(float(value) for value in values)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """An object whose content is free."""
        value = self.take(key)
        if not isinstance(value, dict):
            raise self.error(key, "is not an object")
        return value

    def optional_mapping(self, key: str) -> Mapping[str, Any] | None:
        """An object whose content is free, or null."""
        return None if self.take(key) is None else self.mapping(key)

    def section(self, key: str) -> Fields:
        """An object with known keys."""
        return Fields(f"{self._where}: {key:.80}", self.mapping(key))

    def sections(self, key: str, *, least: int = 1) -> tuple[Fields, ...]:
        """A list of at least ``least`` objects with known keys."""
        values = self.take(key)
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self.error(key, "is not a list of objects")
        if len(values) < least:
            raise self.error(key, f"has fewer than {least} items")
        return tuple(Fields(f"{self._where}: {key}[{index}]", value) for index, value in enumerate(values))


def _is_number(value: object) -> bool:
    if type(value) is int:
        return abs(value) < 2**63
    return type(value) is float and math.isfinite(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key stands twice")
    return values


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")
