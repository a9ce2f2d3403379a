"""Topic templates: ``shop/{1}/sentiment``, filled with what a filter's wildcards stood for. Pure.

What fills them was written by strangers, so it is only ever put in as levels that a topic had already:
it has no ``/``, ``+``, ``#`` or NUL of its own, and what comes out is judged anew by the one who publishes.
``{device}`` and ``{model}`` are filled in when the template is made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIELD = re.compile(r"\{([^{}/]*)\}")
_NUMBER = re.compile(r"[1-9][0-9]?")


@dataclass(frozen=True, slots=True)
class Template:
    """A template.

    Attributes:
        levels: each as its parts: text as it stands, and the numbers of wildcards, from 0.
        multi: the number of the ``#``, which may only stand for a whole level, or None.
    """

    levels: tuple[tuple[str | int, ...], ...]
    multi: int | None

    @classmethod
    def parse(cls, template: str, topic_filter: str, known: dict[str, str]) -> Template:
        """Reads a template.

        Args:
            template: as the settings have it.
            topic_filter: whose wildcards fill it.
            known: names and what they stand for.

        Raises:
            ValueError: in words that go behind "the template"; it has a field that is not known, or uses
                ``#`` within a level.
        """
        wildcards = [level for level in topic_filter.split("/") if level in ("+", "#")]
        multi = wildcards.index("#") if "#" in wildcards else None
        levels = tuple(tuple(_parts(level, len(wildcards), known)) or ("",) for level in template.split("/"))
        for parts in levels:
            if multi is not None and multi in parts and len(parts) > 1:
                raise ValueError(f"puts {{{multi + 1}}}, the #, beside other text")
        return cls(levels, multi)

    def fill(self, captures: tuple[tuple[str, ...], ...]) -> str:
        """The topic; the levels that a ``#`` stood for stay levels, and of none remains nothing."""
        filled: list[str] = []
        for parts in self.levels:
            if len(parts) == 1 and isinstance(parts[0], int):
                filled.extend(captures[parts[0]])
            else:
                filled.append("".join(p if isinstance(p, str) else captures[p][0] for p in parts))
        return "/".join(filled)

    @property
    def reach(self) -> str:
        """A filter that matches whatever the template can become, and perhaps more."""
        levels: list[str] = []
        for parts in self.levels:
            if self.multi in parts:
                return "/".join([*levels, "#"])
            levels.append("+" if any(isinstance(part, int) for part in parts) else "".join(map(str, parts)))
        return "/".join(levels)


def _parts(level: str, wildcards: int, known: dict[str, str]) -> list[str | int]:
    parts: list[str | int] = []
    for position, piece in enumerate(_FIELD.split(level)):
        if position % 2 == 0:
            if "{" in piece or "}" in piece:
                raise ValueError("has a brace without its other")
            parts.extend([piece] if piece else [])
        elif piece in known:
            parts.append(known[piece])
        elif _NUMBER.fullmatch(piece) and int(piece) <= wildcards:
            parts.append(int(piece) - 1)
        else:
            have = [
                *(f"{{{number}}}" for number in range(1, wildcards + 1)),
                *(f"{{{name}}}" for name in known),
            ]
            raise ValueError(f"has {{{piece}}}, and there are only {', '.join(have)}")
    return parts
