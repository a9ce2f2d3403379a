"""Reading TOML with errors that name the file."""

from __future__ import annotations

import sys
from typing import Any

from edge_agent.errors import DataError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """The table of a TOML document.

    Raises:
        DataError: not TOML; names the file and the place.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{name}: not TOML: {error}") from error
